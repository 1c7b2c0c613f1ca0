"""Slack's Block Kit. Limits are those of its reference (docs.slack.dev, Blocks and Composition objects).

Texts from outside are `plain_text`, which knows no markup, wherever no link has to stand beside them; all are escaped.
"""

import re

from receiver.core.sanitize import calm, fit, joined, web
from receiver.core.types import Picture
from receiver.notify.messages import fitted_list
from receiver.notify.messages.content import Digest, Item, Line, Single
from receiver.notify.messages.json_payload import Json, chunks, packed
from receiver.notify.messages.message import Kind

TEXT_MOST = 3_000  # characters of a text object
HEADER_MOST = 150
ALT_MOST = 2_000
URL_MOST = 3_000
_LINK_MOST = 2_000  # of a URL beside words
_WORDS_MOST = 900
_ROOMS = (10_000, 5_000, 2_000, 0)

_LIVE = re.compile(r"((?<![^\W_])_|_(?![^\W_])|[*~`]|:(?=\w))")
COLOURS = {Kind.SUCCESS: "#2eb67d", Kind.FAILURE: "#e01e5a", Kind.WARNING: "#ecb22e", Kind.INFO: "#36c5f0"}


def blocks(told: Single | Digest, picture: Picture | None) -> str:
    """The attachment that says it all: `fallback`, `color`, `blocks`."""

    def make(room: int) -> Json:
        above, below = _single(told, room) if isinstance(told, Single) else _digest(told, room)
        return _attachment(told, [_header(told.title), *above, *_sheet(told, picture), *below])

    return packed(make, _ROOMS)


def own(told: Single | Digest, title: str, body: str, picture: Picture | None) -> str:
    """A target's own template in blocks. `body` is mrkdwn that `fits`, escaped where it came from outside."""

    def make(room: int) -> Json:
        sections = [_marked(piece) for piece in chunks(body.split("\n"), TEXT_MOST, "\n") if piece.strip()]
        button = _button(told.page) if isinstance(told, Single) else []
        return _attachment(told, [_header(title), *sections, *_sheet(told, picture), *button])

    return packed(make, (0,))


def fits(body: str) -> bool:
    """Whether each line of a template's body has room in a text object."""
    return all(len(line) <= TEXT_MOST for line in body.split("\n"))


def linked(picture: Picture | None) -> bool:
    """Whether a block shows the picture by its link."""
    url = web(picture.url) if picture else None
    return bool(url and len(url) <= URL_MOST)


def escape(text: str) -> str:
    """What came from outside, for a text that knows no markup but Slack's `<…>` and `&…;`."""
    return calm(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_marked(text: str) -> str:
    """What came from outside, to stand in mrkdwn: bold, code, emoji and the rest of its marks stay what they are.

    An underscore within a word is not live: `sea_01` and `PROVIDER_KEY` can be searched for and copied as they are.
    """
    return _LIVE.sub("\u200b\\1\u200b", escape(text))


def _attachment(told: Single | Digest, inner: list[Json]) -> Json:
    return {"fallback": fit(told.title, 300, escape), "color": COLOURS[told.kind], "blocks": inner}


def _single(told: Single, room: int) -> tuple[list[Json], list[Json]]:
    """What stands above the contact sheet, and what below it."""
    prompt = f"“{told.prompt}”" if told.prompt else ""
    above = ["\n".join(told.text), prompt, told.doubt, "\n".join(told.trouble)]
    facts = joined(told.facts, f"Task {told.ref}" if told.ref else "")
    return [_plain(words) for words in above if words], [
        *_pictures(told, room),
        *_context(facts),
        *_button(told.page),
        *_context(told.note),
    ]


def _digest(told: Digest, room: int) -> tuple[list[Json], list[Json]]:
    lines = fitted_list.items(told, room, _item)
    return [_marked(piece) for piece in chunks(lines, TEXT_MOST, "\n")], [*_context(told.total), *_context(told.note)]


def _item(item: Item) -> str:
    mark, _, rest = item.headline.partition(" ")
    url, words = _link(item.url), fit(rest, _WORDS_MOST, escape_marked)
    return joined(f"{mark} <{url}|{words}>" if url else f"{mark} {words}", item.figures)


def _pictures(told: Single, room: int) -> list[Json]:
    return [_marked(piece) for piece in chunks(fitted_list.links(told, room, _picture), TEXT_MOST, " · ")]


def _picture(line: Line) -> str:
    url = _link(line.url)
    return f"<{url}|{escape_marked(line.text)}>" if url else ""


def _link(url: str | None) -> str | None:
    """A URL as it stands in `<…|…>`, if it is one of the web's and short enough."""
    found = web(url)
    found = found.replace("&", "&amp;") if found else None
    return found if found and len(found) <= _LINK_MOST else None


def _sheet(told: Single | Digest, picture: Picture | None) -> list[Json]:
    if picture is None or not linked(picture):
        return []
    return [
        {
            "type": "image",
            "image_url": web(picture.url),
            "alt_text": fit(f"The pictures: {told.title[2:]}", ALT_MOST, escape),
        }
    ]


def _button(page: str | None) -> list[Json]:
    url = web(page)
    if not url or len(url) > URL_MOST:
        return []
    text = {"type": "plain_text", "text": "Open the task", "emoji": False}
    return [{"type": "actions", "elements": [{"type": "button", "text": text, "url": url}]}]


def _context(words: str) -> list[Json]:
    if not words:
        return []
    return [{"type": "context", "elements": [_text(words)]}]


def _header(title: str) -> Json:
    return {"type": "header", "text": _text(title or "…", HEADER_MOST)}


def _plain(words: str) -> Json:
    return {"type": "section", "text": _text(words)}


def _marked(words: str) -> Json:
    # verbatim: no word is made a link or a call that is not written as one
    return {"type": "section", "text": {"type": "mrkdwn", "text": words, "verbatim": True}}


def _text(words: str, most: int = TEXT_MOST) -> Json:
    return {"type": "plain_text", "text": fit(words, most, escape), "emoji": False}
