"""What a ping says: reports of tasks become a title and a body, written as each service wants it.

Promises that no text from outside can forge a line, turn the direction of writing, call everybody (`@channel`) or
become markup, that everything is within the service's documented limits, and that a picture's URL is never cut. Pure;
links to us come as callables, and how a message is carried is `senders`' to say.
"""

from pathlib import Path

from msgspec.structs import replace

from receiver.core.sanitize import TITLE_MOST, defuse_mentions, fit_escaped, one_line, truncate_text
from receiver.core.types import AttachedPicture, MessageStyle, Report, Target
from receiver.notify.messages import text
from receiver.notify.messages.content import DigestContent, ReportContent, build_content
from receiver.notify.messages.json_payload import JSON_MOST
from receiver.notify.messages.message import BodyFormat, Message, NoLinks, PublicLinks
from receiver.notify.messages.template_limits import TemplateError


def render(
    reports: tuple[Report, ...],
    target: Target,
    *,
    links: PublicLinks | None = None,
    picture: AttachedPicture | None = None,
) -> Message:
    """One message that tells `target` of all `reports`: one in full, several as a digest of a line each.

    In the target's style, with `picture` where that shows any, by its own template if it has one. A template that
    fails is left aside, and the message says so, as does its `note`. Without `links` nobody can reach us. As text, the
    title has at most `TITLE_MOST` characters and the body `BODY_MOST` without its URLs. Raises ValueError when there is
    nothing to tell.
    """
    if not reports:
        raise ValueError("a message tells at least one report")
    where = links or NoLinks()
    told, note = build_content(reports, where), None
    if target.template is not None:
        from receiver.notify.messages import template  # as with the styles below

        try:
            title, body = template.render_template(target.template, reports, told, where, target.style)
            return _render_from_template(told, title, body, target.style, picture)
        except TemplateError as error:
            which = f"The template {one_line(target.template_file, 100)}" if target.template_file else "The template"
            note = f"{which} of {target.name} could not be used: {error}"
            told = replace(told, note=truncate_text(note, 300))
    return replace(_render_builtin(told, target.style, picture), note=note)


def _render_builtin(
    told: ReportContent | DigestContent, style: MessageStyle, picture: AttachedPicture | None
) -> Message:
    from receiver.notify.messages import discord, mail, slack, telegram  # with the first message: a start needs none

    title, body, form, blocks, file = text.plain_title(told), "", BodyFormat.TEXT, None, picture
    match style:
        case MessageStyle.TEXT:
            body, file = text.render_text(told), None
        case MessageStyle.NTFY:
            body = text.render_ntfy(told, captions=picture is not None)
        case MessageStyle.EMAIL:
            title, body, form = told.title, mail.render_mail(told, picture), BodyFormat.HTML
        case MessageStyle.TELEGRAM:
            title, body, form = "", telegram.render_html(told, captions=picture is not None), BodyFormat.HTML
        case MessageStyle.SLACK:
            body, blocks, file = (
                text.render_text(told),
                slack.render_blocks(told, picture),
                _picture_to_attach(slack.can_link_picture(picture), picture),
            )
        case MessageStyle.DISCORD:
            body, blocks = text.render_text(told), discord.render_embed(told, picture)
            file = _picture_to_attach(discord.can_link_picture(picture), picture)
    return Message(title, body, form, told.kind, blocks, Path(file.path) if file else None)


def _render_from_template(
    told: ReportContent | DigestContent, title: str, body: str, style: MessageStyle, picture: AttachedPicture | None
) -> Message:
    from receiver.notify.messages import discord, mail, slack, telegram

    plain, form, blocks, file, fits = (
        fit_escaped(title, TITLE_MOST, defuse_mentions),
        BodyFormat.TEXT,
        None,
        picture,
        True,
    )
    match style:
        case MessageStyle.TEXT:
            file = None
        case MessageStyle.NTFY:
            fits = text.fits_ntfy(body, captions=picture is not None)
        case MessageStyle.EMAIL:
            plain, form, body = title, BodyFormat.HTML, mail.wrap_in_page(told, mail.sheet_image(told, picture) + body)
        case MessageStyle.TELEGRAM:
            plain, form, body = "", BodyFormat.HTML, telegram.add_title(title, body)
        case MessageStyle.SLACK:
            fits = slack.fits_sections(body)
            blocks, file = (
                slack.render_template_blocks(told, title, body, picture),
                _picture_to_attach(slack.can_link_picture(picture), picture),
            )
        case MessageStyle.DISCORD:
            blocks, file = (
                discord.render_template_embed(told, title, body, picture),
                _picture_to_attach(discord.can_link_picture(picture), picture),
            )
    if not fits or (blocks and len(blocks) > JSON_MOST):
        raise TemplateError("it writes more than the service takes")
    return Message(plain, body, form, told.kind, blocks, Path(file.path) if file else None)


def _picture_to_attach(shown: bool, picture: AttachedPicture | None) -> AttachedPicture | None:
    """The picture as a file, unless the message shows it by its link."""
    return None if shown else picture
