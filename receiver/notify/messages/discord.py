"""A Discord embed, for a webhook. Limits are those of its reference (Message resource, embed limits).

The contact sheet is the embed's image if it can be reached from outside, else a file: Apprise uploads files in a
separate message, so `attachment://` would not find it.
"""

import re

from receiver.core.sanitize import defuse_mentions, fit_escaped, join_nonempty, utf16_length, web_url
from receiver.core.types import AttachedPicture
from receiver.notify.messages import fitted_list
from receiver.notify.messages.commands import write_commands
from receiver.notify.messages.content import Content, DigestContent, DigestItem, ReportContent
from receiver.notify.messages.json_payload import Json, pack_json
from receiver.notify.messages.markdown import LEADING
from receiver.notify.messages.message import MessageKind, TextLine

TITLE_MOST = 256  # characters
DESCRIPTION_MOST = 4_096
TOTAL_MOST = 6_000
URL_MOST = 2_048
_BODY_MOST = 4_000
_LINK_MOST = 1_500
_REST = 30  # for the words that count the rest
_ROOMS = (_BODY_MOST, 2_000, 0)
_MARKS = re.compile(r"([\\`*_~|\[\]()<>]|:(?=[/\w]))")
COLOURS = {
    MessageKind.SUCCESS: 0x2EB67D,
    MessageKind.FAILURE: 0xE01E5A,
    MessageKind.WARNING: 0xECB22E,
    MessageKind.INFO: 0x36C5F0,
}


def render_embed(content: Content, picture: AttachedPicture | None) -> str:
    """The payload: one embed that mentions no one."""

    def make_payload(room: int) -> Json:
        if isinstance(content, DigestContent):
            return _make_embed(content, content.title, _describe_digest(content, room), picture, footer=content.total)
        footer = join_nonempty(content.facts_line, f"Task {content.shown_ref}" if content.ref else "")
        return _make_embed(content, content.title, _describe_report(content, room), picture, footer=footer)

    return pack_json(make_payload, _ROOMS)


def render_template_embed(content: Content, title: str, body: str, picture: AttachedPicture | None) -> str:
    """An embed with what the target's template wrote. `body` is Markdown; outside text in it is escaped."""
    return pack_json(lambda room: _make_embed(content, title, body, picture), (0,))


def can_link_picture(picture: AttachedPicture | None) -> bool:
    """Whether the embed can show the picture by its link."""
    url = web_url(picture.url) if picture else None
    return bool(url and len(url) <= URL_MOST)


def escape(text: str) -> str:
    """Outside text without Markdown, mentions, emoji and time stamps."""
    return LEADING.sub(r"\1\\\2", _escape_marks(text))


def _escape_marks(text: str) -> str:
    return _MARKS.sub(r"\\\1", defuse_mentions(text))


def _escape_line(line: str) -> str:
    """A line of ours, its commands as code."""
    return LEADING.sub(r"\1\\\2", write_commands(line, _escape_marks, "`{}`".format))


def _make_embed(
    content: Content,
    title: str,
    description: str,
    picture: AttachedPicture | None,
    *,
    footer: str = "",
) -> Json:
    embed: Json = {"title": fit_escaped(title or "…", TITLE_MOST, escape, utf16_length), "color": COLOURS[content.kind]}
    page = web_url(content.page) if isinstance(content, ReportContent) else None
    if page and len(page) <= URL_MOST:
        embed["url"] = page
    if description:
        embed["description"] = description
    if picture and can_link_picture(picture):
        embed["image"] = {"url": web_url(picture.url)}
    if footer:
        embed["footer"] = {"text": footer}  # without markup
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def _describe_report(content: ReportContent, room: int) -> str:
    """The description, of at most _BODY_MOST UTF-16 units; links are added while they fit into `room`."""
    prompt = f"> “{escape(content.prompt)}”" if content.prompt else ""
    above = [
        "\n".join(map(_escape_line, content.text)),
        "\n".join(map(_escape_line, content.trouble)),
        escape(content.doubt),
    ]
    picks = " · ".join(filter(None, map(_picture_link, content.picks)))
    text = "\n\n".join(part for part in (*above, picks) if part)
    below = [prompt, "\n".join(map(_escape_line, content.commands)), escape(content.note)]
    used = utf16_length(text) + sum(utf16_length(part) + 2 for part in below)
    left = min(room, _BODY_MOST - used) - _REST
    links = " · ".join(fitted_list.fit_links(content, left, _picture_link))
    return "\n\n".join(part for part in (text, links, *below) if part)


def _picture_link(line: TextLine) -> str:
    url = _linkable_url(line.url)
    return f"[{escape(line.text)}]({url})" if url else ""


def _describe_digest(content: DigestContent, room: int) -> str:
    lines = fitted_list.fit_items(content, room - 2 * len(content.note) - _REST, _digest_line)
    return "\n".join(lines) + (f"\n\n{escape(content.note)}" if content.note else "")


def _digest_line(item: DigestItem) -> str:
    mark, _, rest = item.headline.partition(" ")
    url = _linkable_url(item.url)
    words = fit_escaped(rest, 500, escape if url else _escape_line, utf16_length)
    line = join_nonempty(f"{mark} [{words}]({url})" if url else f"{mark} {words}", escape(item.figures))
    return f"{line}\n{fit_escaped(item.advice, 700, _escape_line, utf16_length)}\n" if item.advice else line


def _linkable_url(url: str | None) -> str | None:
    """A URL escaped for `[…](…)`; None unless it is http or https and short enough."""
    found = web_url(url)
    found = found.replace("(", "%28").replace(")", "%29") if found else None
    return found if found and len(found) <= _LINK_MOST else None
