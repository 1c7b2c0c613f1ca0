"""A Discord embed, for a webhook. Limits are those of its reference (Message resource, embed limits).

The contact sheet is the embed's image where the world can reach it, and a file beside it otherwise: Apprise uploads in
a message of its own, so that `attachment://` would name nothing.
"""

import re

from receiver.core.sanitize import defuse_mentions, fit_escaped, join_nonempty, web_url
from receiver.core.types import AttachedPicture
from receiver.notify.messages import fitted_list
from receiver.notify.messages.content import DigestContent, DigestItem, ReportContent, TextLine
from receiver.notify.messages.json_payload import Json, pack_json
from receiver.notify.messages.markdown import LEADING
from receiver.notify.messages.message import MessageKind

TITLE_MOST = 256  # characters
DESCRIPTION_MOST = 4_096
TOTAL_MOST = 6_000
URL_MOST = 2_048
_BODY_MOST = 4_000
_LINK_MOST = 1_500
_REST = 30  # for the words that count what is missing
_ROOMS = (_BODY_MOST, 2_000, 0)
_MARKS = re.compile(r"([\\`*_~|\[\]()<>]|:(?=[/\w]))")
COLOURS = {
    MessageKind.SUCCESS: 0x2EB67D,
    MessageKind.FAILURE: 0xE01E5A,
    MessageKind.WARNING: 0xECB22E,
    MessageKind.INFO: 0x36C5F0,
}


def render_embed(told: ReportContent | DigestContent, picture: AttachedPicture | None) -> str:
    """The payload: one embed, and nobody mentioned."""

    def make_payload(room: int) -> Json:
        if isinstance(told, DigestContent):
            return _make_embed(told, told.title, _describe_digest(told, room), picture, footer=told.total)
        facts = (("Model", told.model), ("Cost", told.cost), ("Took", told.took))
        footer = f"Task {told.ref}" if told.ref else ""
        return _make_embed(told, told.title, _describe_report(told, room), picture, facts=facts, footer=footer)

    return pack_json(make_payload, _ROOMS)


def render_template_embed(
    told: ReportContent | DigestContent, title: str, body: str, picture: AttachedPicture | None
) -> str:
    """A target's own template in an embed. `body` is Markdown, escaped where it came from outside."""
    return pack_json(lambda room: _make_embed(told, title, body, picture), (0,))


def can_link_picture(picture: AttachedPicture | None) -> bool:
    """Whether the embed shows the picture by its link."""
    url = web_url(picture.url) if picture else None
    return bool(url and len(url) <= URL_MOST)


def escape(text: str) -> str:
    """What came from outside: no Markdown, no mention, no emoji, no time stamp."""
    return LEADING.sub(r"\1\\\2", _MARKS.sub(r"\\\1", defuse_mentions(text)))


def _make_embed(
    told: ReportContent | DigestContent,
    title: str,
    description: str,
    picture: AttachedPicture | None,
    *,
    facts: tuple[tuple[str, str], ...] = (),
    footer: str = "",
) -> Json:
    embed: Json = {"title": fit_escaped(title or "…", TITLE_MOST, escape), "color": COLOURS[told.kind]}
    page = web_url(told.page) if isinstance(told, ReportContent) else None
    if page and len(page) <= URL_MOST:
        embed["url"] = page
    if description:
        embed["description"] = description
    if any(value for _, value in facts):
        embed["fields"] = [{"name": name, "value": escape(value), "inline": True} for name, value in facts if value]
    if picture and can_link_picture(picture):
        embed["image"] = {"url": web_url(picture.url)}
    if footer:
        embed["footer"] = {"text": footer}  # knows no markup
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def _describe_report(told: ReportContent, room: int) -> str:
    """At most `room` characters, and then links while they fit into as many as _BODY_MOST."""
    above = [
        "\n".join(map(escape, told.text)),
        f"> “{escape(told.prompt)}”" if told.prompt else "",
        escape(told.doubt),
        "\n".join(map(escape, told.trouble)),
    ]
    text = "\n\n".join(part for part in above if part)
    left = min(room, _BODY_MOST - len(text) - 2 * len(told.note)) - _REST
    links = " · ".join(fitted_list.fit_links(told, left, _picture_link))
    return "\n\n".join(part for part in (text, links, escape(told.note)) if part)


def _picture_link(line: TextLine) -> str:
    url = _linkable_url(line.url)
    return f"[{escape(line.text)}]({url})" if url else ""


def _describe_digest(told: DigestContent, room: int) -> str:
    lines = fitted_list.fit_items(told, room - 2 * len(told.note) - _REST, _digest_line)
    return "\n".join(lines) + (f"\n\n{escape(told.note)}" if told.note else "")


def _digest_line(item: DigestItem) -> str:
    mark, _, rest = item.headline.partition(" ")
    url, words = _linkable_url(item.url), fit_escaped(rest, 400, escape)
    return join_nonempty(f"{mark} [{words}]({url})" if url else f"{mark} {words}", escape(item.figures))


def _linkable_url(url: str | None) -> str | None:
    """A URL as it stands in `[…](…)`, if it is one of the web's and short enough."""
    found = web_url(url)
    found = found.replace("(", "%28").replace(")", "%29") if found else None
    return found if found and len(found) <= _LINK_MOST else None
