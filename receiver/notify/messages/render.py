"""What a ping says: reports of tasks become a title and a body, written as each service wants it.

Promises that no text from outside can forge a line, turn the direction of writing, call everybody (`@channel`) or
become markup, that everything is within the service's documented limits, and that a picture's URL is never cut. Pure;
links to us come as callables, and how a message is carried is `senders`' to say.
"""

from pathlib import Path

from msgspec.structs import replace

from receiver.core.sanitize import TITLE_MOST, calm, cut, fit, one_line
from receiver.core.types import Picture, Report, Style, Target
from receiver.notify.messages import text
from receiver.notify.messages.content import Digest, Single, tell
from receiver.notify.messages.json_payload import JSON_MOST
from receiver.notify.messages.message import Format, Links, Message, NoLinks
from receiver.notify.messages.template_limits import Failed


def render(
    reports: tuple[Report, ...], target: Target, *, links: Links | None = None, picture: Picture | None = None
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
    told, note = tell(reports, where), None
    if target.template is not None:
        from receiver.notify.messages import template  # as with the styles below

        try:
            title, body = template.write(target.template, reports, told, where, target.style)
            return _own(told, title, body, target.style, picture)
        except Failed as error:
            which = f"The template {one_line(target.template_file, 100)}" if target.template_file else "The template"
            note = f"{which} of {target.name} could not be used: {error}"
            told = replace(told, note=cut(note, 300))
    return replace(_ours(told, target.style, picture), note=note)


def _ours(told: Single | Digest, style: Style, picture: Picture | None) -> Message:
    from receiver.notify.messages import discord, mail, slack, telegram  # with the first message: a start needs none

    title, body, form, blocks, file = text.title(told), "", Format.TEXT, None, picture
    match style:
        case Style.TEXT:
            body, file = text.body(told), None
        case Style.NTFY:
            body = text.small(told, captions=picture is not None)
        case Style.EMAIL:
            title, body, form = told.title, mail.body(told, picture), Format.HTML
        case Style.TELEGRAM:
            title, body, form = "", telegram.body(told, captions=picture is not None), Format.HTML
        case Style.SLACK:
            body, blocks, file = text.body(told), slack.blocks(told, picture), _unless(slack.linked(picture), picture)
        case Style.DISCORD:
            body, blocks = text.body(told), discord.blocks(told, picture)
            file = _unless(discord.linked(picture), picture)
    return Message(title, body, form, told.kind, blocks, Path(file.path) if file else None)


def _own(told: Single | Digest, title: str, body: str, style: Style, picture: Picture | None) -> Message:
    from receiver.notify.messages import discord, mail, slack, telegram

    plain, form, blocks, file, fits = fit(title, TITLE_MOST, calm), Format.TEXT, None, picture, True
    match style:
        case Style.TEXT:
            file = None
        case Style.NTFY:
            fits = text.fits(body, captions=picture is not None)
        case Style.EMAIL:
            plain, form, body = title, Format.HTML, mail.page(told, mail.sheet(told, picture) + body)
        case Style.TELEGRAM:
            plain, form, body = "", Format.HTML, telegram.headed(title, body)
        case Style.SLACK:
            fits = slack.fits(body)
            blocks, file = slack.own(told, title, body, picture), _unless(slack.linked(picture), picture)
        case Style.DISCORD:
            blocks, file = discord.own(told, title, body, picture), _unless(discord.linked(picture), picture)
    if not fits or (blocks and len(blocks) > JSON_MOST):
        raise Failed("it writes more than the service takes")
    return Message(plain, body, form, told.kind, blocks, Path(file.path) if file else None)


def _unless(shown: bool, picture: Picture | None) -> Picture | None:
    """The picture as a file, unless the message shows it by its link."""
    return None if shown else picture
