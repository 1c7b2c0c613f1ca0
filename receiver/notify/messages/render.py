"""Turns reports of tasks into a message, written as each service wants it.

Promises that no text from outside can forge a line, turn the direction of writing, mention everybody (`@channel`) or
become markup, that everything is within the service's documented limits, and that a picture's URL is never cut. Pure:
`links` makes the links to us.
"""

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from receiver.core.sanitize import TITLE_MOST, defuse_mentions, fit_escaped, one_line, truncate_text
from receiver.core.types import AttachedPicture, MessageStyle, Report, Target
from receiver.notify.messages import text
from receiver.notify.messages.content import Content, build_content
from receiver.notify.messages.importance import choose_buttons, choose_click, choose_importance, choose_tags
from receiver.notify.messages.json_payload import JSON_MOST
from receiver.notify.messages.message import BodyFormat, Extras, Message, NoLinks, PublicLinks, TemplateError
from receiver.notify.messages.own_links import KeptFiles, use_own_links
from receiver.notify.messages.short_line import fit_sms, short_line

_FOR_MACHINES = {f"{name}{secure}" for name in ("json", "xml", "form") for secure in ("", "s")}  # schemes
_NOTHING_KEPT: Mapping[str, Mapping[int, str]] = {}


def render(
    reports: tuple[Report, ...],
    target: Target,
    *,
    links: PublicLinks | None = None,
    picture: AttachedPicture | None = None,
    kept: KeptFiles = _NOTHING_KEPT,
    key: str = "",
    late: bool = False,
) -> Message:
    """One message to `target` about all `reports`: one in full, several as a digest with a line for each.

    It has the target's style, `picture` if the target shows one, and the target's own template if there is one. If the
    template fails, the message is written without it and says so, as does its `note`. Without `links` it has no links
    to us; with them, the pictures of `kept` have our links instead of the provider's. `key` tells this message from
    every other, so that a mail which is sent twice is shown once. If the sheet was not ready (`late`), it says so. A
    title has at most `TITLE_MOST` characters, a plain text body `BODY_MOST` without its URLs. Raises ValueError without
    reports.
    """
    if not reports:
        raise ValueError("a message needs at least one report")
    links = links or NoLinks()
    linked = use_own_links(reports, links, kept)
    content = build_content(linked, links, late=late)
    message = _render_styled(linked, content, target, links, picture if target.shows_pictures else None)
    return replace(message, extras=_make_extras(reports, linked, content, message, target, links, picture, key))


def _render_styled(
    reports: tuple[Report, ...], content: Content, target: Target, links: PublicLinks, picture: AttachedPicture | None
) -> Message:
    note = None
    if target.template is not None:
        from receiver.notify.messages import template  # as with the styles below

        try:
            if template.writes_words_of(target.template, reports, target.style):
                title, body = template.render_template(target.template, reports, content, links, target.style)
                return _render_from_template(content, title, body, target.style, picture)
        except TemplateError as error:
            which = f"The template {one_line(target.template_file, 100)}" if target.template_file else "The template"
            note = f"{which} of {target.name} could not be used: {error}"
            content = replace(content, note=truncate_text(f"{content.note} {note}".strip(), 300))
    return replace(_render_builtin(content, target.style, picture), note=note)


def _make_extras(
    reports: tuple[Report, ...],
    linked: tuple[Report, ...],
    content: Content,
    message: Message,
    target: Target,
    links: PublicLinks,
    picture: AttachedPicture | None,
    key: str,
) -> Extras:
    fields: dict[str, object] = {}
    mail = None
    if target.style is MessageStyle.EMAIL:
        from receiver.notify.messages.mail_ids import mail_ids

        mail = mail_ids(reports, key)
    elif target.style is MessageStyle.TEXT and target.url.partition("://")[0].lower() in _FOR_MACHINES:
        from receiver.notify.messages.machine_fields import machine_fields

        fields = machine_fields(reports, linked, links, picture.url if picture else None)
    importance, asked = choose_importance(reports, target)
    return Extras(
        plain=message.extras.plain,
        short=fit_sms(message.title) if target.template and message.title else short_line(content),
        importance=importance,
        asked=asked,
        tags=choose_tags(reports),
        click=choose_click(content, picture),
        buttons=choose_buttons(content),
        fields=fields,
        mail=mail,
    )


def _render_builtin(content: Content, style: MessageStyle, picture: AttachedPicture | None) -> Message:
    from receiver.notify.messages import (
        discord,
        mail,
        slack,
        telegram,
    )  # not before the first message, for a faster start

    title, body, form, blocks, file = text.plain_title(content), "", BodyFormat.TEXT, None, picture
    extras = Extras()
    match style:
        case MessageStyle.TEXT:
            body = text.render_text(content)
        case MessageStyle.NTFY:
            title, body = text.ntfy_title(content), text.render_ntfy(content, captions=picture is not None)
        case MessageStyle.EMAIL:
            title, body, form = content.title, mail.render_mail(content, picture), BodyFormat.HTML
            extras = Extras(plain=mail.render_plain(content))
        case MessageStyle.TELEGRAM:
            title, body, form = "", telegram.render_html(content, captions=picture is not None), BodyFormat.HTML
        case MessageStyle.SLACK:
            body, blocks = text.render_text(content), slack.render_blocks(content, picture)
            file = _picture_to_attach(slack.can_link_picture(picture), picture)
        case MessageStyle.DISCORD:
            body, blocks = text.render_text(content), discord.render_embed(content, picture)
            file = _picture_to_attach(discord.can_link_picture(picture), picture)
    return Message(title, body, form, content.kind, blocks, Path(file.path) if file else None, extras=extras)


def _render_from_template(
    content: Content, title: str, body: str, style: MessageStyle, picture: AttachedPicture | None
) -> Message:
    from receiver.notify.messages import discord, mail, slack, telegram

    plain = fit_escaped(title, TITLE_MOST, defuse_mentions)
    form, blocks, file, fits = BodyFormat.TEXT, None, picture, True
    match style:
        case MessageStyle.NTFY:
            fits = text.fits_ntfy(body, captions=picture is not None)
        case MessageStyle.EMAIL:
            plain, form = title, BodyFormat.HTML
            body = mail.wrap_in_page(content, mail.sheet_image(content, picture) + body)
        case MessageStyle.TELEGRAM:
            plain, form, body = "", BodyFormat.HTML, telegram.add_title(title, body)
        case MessageStyle.SLACK:
            fits = slack.fits_sections(body)
            blocks = slack.render_template_blocks(content, title, body, picture)
            file = _picture_to_attach(slack.can_link_picture(picture), picture)
        case MessageStyle.DISCORD:
            blocks = discord.render_template_embed(content, title, body, picture)
            file = _picture_to_attach(discord.can_link_picture(picture), picture)
    if not fits or (blocks and len(blocks) > JSON_MOST):
        raise TemplateError("it writes more than the service accepts")
    return Message(plain, body, form, content.kind, blocks, Path(file.path) if file else None)


def _picture_to_attach(shown: bool, picture: AttachedPicture | None) -> AttachedPicture | None:
    """The picture as a file, unless the message shows it by its link."""
    return None if shown else picture
