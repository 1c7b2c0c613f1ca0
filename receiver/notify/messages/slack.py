"""Slack's Block Kit. Limits are those of its reference (docs.slack.dev, Blocks and Composition objects).

Texts from outside are `plain_text`, which knows no markup, wherever no link has to stand beside them; all are escaped.
"""

import re

from receiver.core.sanitize import defuse_mentions, fit_escaped, join_nonempty, web_url
from receiver.core.types import AttachedPicture
from receiver.notify.messages import fitted_list
from receiver.notify.messages.content import DigestContent, DigestItem, ReportContent, TextLine
from receiver.notify.messages.json_payload import Json, join_in_chunks, pack_json
from receiver.notify.messages.message import MessageKind

TEXT_MOST = 3_000  # characters of a text object
HEADER_MOST = 150
ALT_MOST = 2_000
URL_MOST = 3_000
_LINK_MOST = 2_000  # of a URL beside words
_WORDS_MOST = 900
_ROOMS = (10_000, 5_000, 2_000, 0)

_LIVE = re.compile(r"((?<![^\W_])_|_(?![^\W_])|[*~`]|:(?=\w))")
COLOURS = {
    MessageKind.SUCCESS: "#2eb67d",
    MessageKind.FAILURE: "#e01e5a",
    MessageKind.WARNING: "#ecb22e",
    MessageKind.INFO: "#36c5f0",
}


def render_blocks(told: ReportContent | DigestContent, picture: AttachedPicture | None) -> str:
    """The attachment that says it all: `fallback`, `color`, `blocks`."""

    def make_payload(room: int) -> Json:
        above, below = _report_blocks(told, room) if isinstance(told, ReportContent) else _digest_blocks(told, room)
        return _make_attachment(told, [_header_block(told.title), *above, *_sheet_block(told, picture), *below])

    return pack_json(make_payload, _ROOMS)


def render_template_blocks(
    told: ReportContent | DigestContent, title: str, body: str, picture: AttachedPicture | None
) -> str:
    """A target's own template in blocks. `body` is mrkdwn that `fits`, escaped where it came from outside."""

    def make_payload(room: int) -> Json:
        sections = [
            _mrkdwn_section(piece) for piece in join_in_chunks(body.split("\n"), TEXT_MOST, "\n") if piece.strip()
        ]
        button = _button_block(told.page) if isinstance(told, ReportContent) else []
        return _make_attachment(told, [_header_block(title), *sections, *_sheet_block(told, picture), *button])

    return pack_json(make_payload, (0,))


def fits_sections(body: str) -> bool:
    """Whether each line of a template's body has room in a text object."""
    return all(len(line) <= TEXT_MOST for line in body.split("\n"))


def can_link_picture(picture: AttachedPicture | None) -> bool:
    """Whether a block shows the picture by its link."""
    url = web_url(picture.url) if picture else None
    return bool(url and len(url) <= URL_MOST)


def escape(text: str) -> str:
    """What came from outside, for a text that knows no markup but Slack's `<…>` and `&…;`."""
    return defuse_mentions(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_mrkdwn(text: str) -> str:
    """What came from outside, to stand in mrkdwn: bold, code, emoji and the rest of its marks stay what they are.

    An underscore within a word is not live: `sea_01` and `PROVIDER_KEY` can be searched for and copied as they are.
    """
    return _LIVE.sub("\u200b\\1\u200b", escape(text))


def _make_attachment(told: ReportContent | DigestContent, inner: list[Json]) -> Json:
    return {"fallback": fit_escaped(told.title, 300, escape), "color": COLOURS[told.kind], "blocks": inner}


def _report_blocks(told: ReportContent, room: int) -> tuple[list[Json], list[Json]]:
    """What stands above the contact sheet, and what below it."""
    prompt = f"“{told.prompt}”" if told.prompt else ""
    above = ["\n".join(told.text), prompt, told.doubt, "\n".join(told.trouble)]
    facts = join_nonempty(told.facts_line, f"Task {told.ref}" if told.ref else "")
    return [_plain_section(words) for words in above if words], [
        *_picture_sections(told, room),
        *_context_block(facts),
        *_button_block(told.page),
        *_context_block(told.note),
    ]


def _digest_blocks(told: DigestContent, room: int) -> tuple[list[Json], list[Json]]:
    lines = fitted_list.fit_items(told, room, _digest_line)
    return [_mrkdwn_section(piece) for piece in join_in_chunks(lines, TEXT_MOST, "\n")], [
        *_context_block(told.total),
        *_context_block(told.note),
    ]


def _digest_line(item: DigestItem) -> str:
    mark, _, rest = item.headline.partition(" ")
    url, words = _linkable_url(item.url), fit_escaped(rest, _WORDS_MOST, escape_mrkdwn)
    return join_nonempty(f"{mark} <{url}|{words}>" if url else f"{mark} {words}", item.figures)


def _picture_sections(told: ReportContent, room: int) -> list[Json]:
    return [
        _mrkdwn_section(piece)
        for piece in join_in_chunks(fitted_list.fit_links(told, room, _picture_link), TEXT_MOST, " · ")
    ]


def _picture_link(line: TextLine) -> str:
    url = _linkable_url(line.url)
    return f"<{url}|{escape_mrkdwn(line.text)}>" if url else ""


def _linkable_url(url: str | None) -> str | None:
    """A URL as it stands in `<…|…>`, if it is one of the web's and short enough."""
    found = web_url(url)
    found = found.replace("&", "&amp;") if found else None
    return found if found and len(found) <= _LINK_MOST else None


def _sheet_block(told: ReportContent | DigestContent, picture: AttachedPicture | None) -> list[Json]:
    if picture is None or not can_link_picture(picture):
        return []
    return [
        {
            "type": "image",
            "image_url": web_url(picture.url),
            "alt_text": fit_escaped(f"The pictures: {told.title[2:]}", ALT_MOST, escape),
        }
    ]


def _button_block(page: str | None) -> list[Json]:
    url = web_url(page)
    if not url or len(url) > URL_MOST:
        return []
    text = {"type": "plain_text", "text": "Open the task", "emoji": False}
    return [{"type": "actions", "elements": [{"type": "button", "text": text, "url": url}]}]


def _context_block(words: str) -> list[Json]:
    if not words:
        return []
    return [{"type": "context", "elements": [_plain_text(words)]}]


def _header_block(title: str) -> Json:
    return {"type": "header", "text": _plain_text(title or "…", HEADER_MOST)}


def _plain_section(words: str) -> Json:
    return {"type": "section", "text": _plain_text(words)}


def _mrkdwn_section(words: str) -> Json:
    # verbatim: no word is made a link or a call that is not written as one
    return {"type": "section", "text": {"type": "mrkdwn", "text": words, "verbatim": True}}


def _plain_text(words: str, most: int = TEXT_MOST) -> Json:
    return {"type": "plain_text", "text": fit_escaped(words, most, escape), "emoji": False}
