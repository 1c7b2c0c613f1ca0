"""Turns reports of tasks into a message, written as each service wants it.

Promises that no text from outside can forge a line, turn the direction of writing, mention everybody (`@channel`) or
become markup, that everything is within the service's documented limits, and that a picture's URL is never cut. Pure:
`links` makes the links to us.
"""

from pathlib import Path

from msgspec.structs import replace

from receiver.core.sanitize import TITLE_MOST, defuse_mentions, fit_escaped, one_line, truncate_text
from receiver.core.types import AttachedPicture, MessageStyle, Report, Target
from receiver.notify.messages import text
from receiver.notify.messages.content import Content, build_content
from receiver.notify.messages.json_payload import JSON_MOST
from receiver.notify.messages.message import BodyFormat, Message, NoLinks, PublicLinks, TemplateError


def render(
    reports: tuple[Report, ...],
    target: Target,
    *,
    links: PublicLinks | None = None,
    picture: AttachedPicture | None = None,
) -> Message:
    """One message to `target` about all `reports`: one in full, several as a digest with a line for each.

    It has the target's style, `picture` if that style shows one, and the target's own template if there is one. If the
    template fails, the message is written without it and says so, as does its `note`. Without `links` it has no links
    to us. A title has at most `TITLE_MOST` characters, a plain text body `BODY_MOST` without its URLs. Raises
    ValueError without reports.
    """
    if not reports:
        raise ValueError("a message needs at least one report")
    links = links or NoLinks()
    content, note = build_content(reports, links), None
    if target.template is not None:
        from receiver.notify.messages import template  # as with the styles below

        try:
            title, body = template.render_template(target.template, reports, content, links, target.style)
            return _render_from_template(content, title, body, target.style, picture)
        except TemplateError as error:
            which = f"The template {one_line(target.template_file, 100)}" if target.template_file else "The template"
            note = f"{which} of {target.name} could not be used: {error}"
            content = replace(content, note=truncate_text(note, 300))
    return replace(_render_builtin(content, target.style, picture), note=note)


def _render_builtin(content: Content, style: MessageStyle, picture: AttachedPicture | None) -> Message:
    from receiver.notify.messages import (
        discord,
        mail,
        slack,
        telegram,
    )  # not before the first message, for a faster start

    title, body, form, blocks, file = text.plain_title(content), "", BodyFormat.TEXT, None, picture
    match style:
        case MessageStyle.TEXT:
            body, file = text.render_text(content), None
        case MessageStyle.NTFY:
            body = text.render_ntfy(content, captions=picture is not None)
        case MessageStyle.EMAIL:
            title, body, form = content.title, mail.render_mail(content, picture), BodyFormat.HTML
        case MessageStyle.TELEGRAM:
            title, body, form = "", telegram.render_html(content, captions=picture is not None), BodyFormat.HTML
        case MessageStyle.SLACK:
            body, blocks = text.render_text(content), slack.render_blocks(content, picture)
            file = _picture_to_attach(slack.can_link_picture(picture), picture)
        case MessageStyle.DISCORD:
            body, blocks = text.render_text(content), discord.render_embed(content, picture)
            file = _picture_to_attach(discord.can_link_picture(picture), picture)
    return Message(title, body, form, content.kind, blocks, Path(file.path) if file else None)


def _render_from_template(
    content: Content, title: str, body: str, style: MessageStyle, picture: AttachedPicture | None
) -> Message:
    from receiver.notify.messages import discord, mail, slack, telegram

    plain = fit_escaped(title, TITLE_MOST, defuse_mentions)
    form, blocks, file, fits = BodyFormat.TEXT, None, picture, True
    match style:
        case MessageStyle.TEXT:
            file = None
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
