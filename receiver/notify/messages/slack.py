"""Slack's Block Kit. Limits are those of its reference (docs.slack.dev, Blocks and Composition objects).

Outside texts are escaped, and they are `plain_text`, which has no markup, unless a link stands beside them.
"""

import re

from receiver.core.sanitize import defuse_mentions, fit_escaped, join_nonempty, utf16_length, web_url
from receiver.core.types import AttachedPicture
from receiver.notify.messages import fitted_list
from receiver.notify.messages.commands import has_commands, write_commands
from receiver.notify.messages.content import (
    Content,
    DigestContent,
    DigestItem,
    ReportContent,
    describe_sheet,
)
from receiver.notify.messages.json_payload import Json, join_in_chunks, pack_json
from receiver.notify.messages.media_words import button_words
from receiver.notify.messages.message import MessageKind, TextLine

TEXT_MOST = 3_000  # characters of a text object
HEADER_MOST = 150
ALT_MOST = 2_000
URL_MOST = 3_000
LABEL_MOST = 75
BUTTONS_MOST = 8  # of pictures; Slack takes 25 in a block
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


def render_blocks(content: Content, picture: AttachedPicture | None) -> str:
    """The whole message as one attachment: `fallback`, `color`, `blocks`."""

    def make_payload(room: int) -> Json:
        above, below = (
            _report_blocks(content, room) if isinstance(content, ReportContent) else _digest_blocks(content, room)
        )
        return _make_attachment(
            content, [_header_block(content.title), *above, *_sheet_block(content, picture), *below]
        )

    return pack_json(make_payload, _ROOMS)


def render_template_blocks(content: Content, title: str, body: str, picture: AttachedPicture | None) -> str:
    """Blocks with what the target's template wrote. `body` is mrkdwn that `fits_sections`; outside text is escaped."""

    def make_payload(room: int) -> Json:
        sections = [
            _mrkdwn_section(piece) for piece in join_in_chunks(body.split("\n"), TEXT_MOST, "\n") if piece.strip()
        ]
        button = (
            [
                *_button_block(_pick_buttons(content)),
                *_button_block([*_picture_buttons(content), *_page_button(content.page)]),
            ]
            if isinstance(content, ReportContent)
            else []
        )
        return _make_attachment(content, [_header_block(title), *sections, *_sheet_block(content, picture), *button])

    return pack_json(make_payload, (0,))


def fits_sections(body: str) -> bool:
    """Whether each line of a template's body fits into a text object."""
    return all(len(line) <= TEXT_MOST for line in body.split("\n"))


def can_link_picture(picture: AttachedPicture | None) -> bool:
    """Whether a block can show the picture by its link."""
    url = web_url(picture.url) if picture else None
    return bool(url and len(url) <= URL_MOST)


def escape(text: str) -> str:
    """Outside text for a field whose only markup is `<…>` and `&…;`."""
    return defuse_mentions(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_mrkdwn(text: str) -> str:
    """Outside text for mrkdwn: its marks for bold, code, emoji and the rest are shown as they are.

    An underscore within a word is left alone, since it is not markup: `sea_01` can be searched for and copied.
    """
    return _LIVE.sub("\u200b\\1\u200b", escape(text))


def _make_attachment(content: Content, inner: list[Json]) -> Json:
    return {
        "fallback": fit_escaped(content.title, 300, escape, utf16_length),
        "color": COLOURS[content.kind],
        "blocks": inner,
    }


def _report_blocks(content: ReportContent, room: int) -> tuple[list[Json], list[Json]]:
    """The blocks above the contact sheet, and those below it."""
    prompt = f"“{content.prompt}”" if content.prompt else ""
    above = ["\n".join(content.text), "\n".join(content.trouble), content.doubt]
    facts = join_nonempty(content.facts_line, f"Task {content.shown_ref}" if content.ref else "")
    buttons = _picture_buttons(content)
    return [_section(words) for words in above if words], [
        *([] if buttons else _picture_sections(content, room)),
        *_button_block(_pick_buttons(content)),
        *_button_block([*buttons, *_page_button(content.page)]),
        *([_plain_section(prompt)] if prompt else []),
        *_command_block(content.commands),
        *_context_block(facts),
        *_context_block(content.note),
    ]


def _digest_blocks(content: DigestContent, room: int) -> tuple[list[Json], list[Json]]:
    lines = fitted_list.fit_items(content, room, _digest_line)
    return [_mrkdwn_section(piece) for piece in join_in_chunks(lines, TEXT_MOST, "\n")], [
        *_context_block(content.total),
        *_context_block(content.note),
    ]


def _digest_line(item: DigestItem) -> str:
    mark, _, rest = item.headline.partition(" ")
    url = _linkable_url(item.url)
    words = fit_escaped(rest, _WORDS_MOST, escape_mrkdwn if url else _write_mrkdwn, utf16_length)
    line = join_nonempty(f"{mark} <{url}|{words}>" if url else f"{mark} {words}", item.figures)
    return f"{line}\n{fit_escaped(item.advice, _WORDS_MOST, _write_mrkdwn, utf16_length)}\n" if item.advice else line


def _picture_sections(content: ReportContent, room: int) -> list[Json]:
    return [
        _mrkdwn_section(piece)
        for piece in join_in_chunks(fitted_list.fit_links(content, room, _picture_link), TEXT_MOST, " · ")
    ]


def _picture_link(line: TextLine) -> str:
    url = _linkable_url(line.url)
    return f"<{url}|{escape_mrkdwn(line.text)}>" if url else ""


def _linkable_url(url: str | None) -> str | None:
    """A URL escaped for `<…|…>`; None unless it is http or https and short enough."""
    found = web_url(url)
    found = found.replace("&", "&amp;") if found else None
    return found if found and len(found) <= _LINK_MOST else None


def _sheet_block(content: Content, picture: AttachedPicture | None) -> list[Json]:
    if picture is None or not can_link_picture(picture):
        return []
    return [
        {
            "type": "image",
            "image_url": web_url(picture.url),
            "alt_text": fit_escaped(describe_sheet(content), ALT_MOST, escape, utf16_length),
        }
    ]


def _picture_buttons(content: ReportContent) -> list[Json]:
    """A button for each picture or video; none if they are many, or one has no short link."""
    urls = [web_url(line.url) for line in content.pictures]
    if content.more or len(urls) > BUTTONS_MOST or not all(url and len(url) <= URL_MOST for url in urls):
        return []
    return [
        _button(button_words(line.text), url, f"Open {line.text}" if " " in line.text else "")
        for line, url in zip(content.pictures, urls, strict=True)
        if url
    ]


def _pick_buttons(content: ReportContent) -> list[Json]:
    """A button to pick each picture, told apart from those that only open one."""
    urls = [(line.text, web_url(line.url)) for line in content.picks]
    return [{**_button(words, url), "style": "primary"} for words, url in urls if url and len(url) <= URL_MOST]


def _page_button(page: str | None) -> list[Json]:
    url = web_url(page)
    return [_button("Open the task", url)] if url and len(url) <= URL_MOST else []


def _button(words: str, url: str, spoken: str = "") -> Json:
    text = {"type": "plain_text", "text": words, "emoji": False}
    named: Json = {"accessibility_label": fit_escaped(spoken, LABEL_MOST, escape, utf16_length)} if spoken else {}
    return {"type": "button", "text": text, "url": url, **named}


def _button_block(buttons: list[Json]) -> list[Json]:
    return [{"type": "actions", "elements": buttons}] if buttons else []


def _context_block(words: str) -> list[Json]:
    if not words:
        return []
    return [{"type": "context", "elements": [_plain_text(words)]}]


def _command_block(commands: tuple[str, ...]) -> list[Json]:
    if not commands:
        return []
    words = fit_escaped("\n".join(commands), TEXT_MOST, _write_mrkdwn, utf16_length)
    return [{"type": "context", "elements": [{"type": "mrkdwn", "text": words, "verbatim": True}]}]


def _header_block(title: str) -> Json:
    return {"type": "header", "text": _plain_text(title or "…", HEADER_MOST)}


def _section(words: str) -> Json:
    """Words of ours; if there are commands in them, these are code."""
    if not has_commands(words):
        return _plain_section(words)
    return _mrkdwn_section(fit_escaped(words, TEXT_MOST, _write_mrkdwn, utf16_length))


def _write_mrkdwn(words: str) -> str:
    return write_commands(words, escape_mrkdwn, "`{}`".format)


def _plain_section(words: str) -> Json:
    return {"type": "section", "text": _plain_text(words)}


def _mrkdwn_section(words: str) -> Json:
    # verbatim: Slack makes no links and no mentions of plain words
    return {"type": "section", "text": {"type": "mrkdwn", "text": words, "verbatim": True}}


def _plain_text(words: str, most: int = TEXT_MOST) -> Json:
    return {"type": "plain_text", "text": fit_escaped(words, most, escape, utf16_length), "emoji": False}
