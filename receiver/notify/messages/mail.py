"""HTML for email: inline styles, since many clients read nothing else, and a style sheet for dark mode.

The plain part is our own plain text, which `senders/mail_headers` puts beside it. Where a target's template wrote the
mail, Apprise makes it from the HTML; it leaves out the words of a list: that is where the preheader stands, which mail
programs show in their list of mails.
"""

import html
import re

from msgspec.structs import replace

from receiver.core.sanitize import encode_url, join_nonempty, truncate_text, web_url
from receiver.core.types import AttachedPicture
from receiver.notify.messages.content import (
    Content,
    DigestContent,
    DigestItem,
    ReportContent,
    describe_sheet,
)
from receiver.notify.messages.media_words import button_words, describe_links
from receiver.notify.messages.message import MessageKind, TextLine
from receiver.notify.messages.text import make_paragraphs

SHEET = "sheet.jpg"  # the name by which the sender attaches the contact sheet
BUTTONS_MOST = 12
PREHEADER_MOST = 150  # characters; no program shows more
LINKS_MOST = 60_000  # characters of all URLs; mail clients cut a mail of more than about 100 KB

_COLOURS = {
    MessageKind.SUCCESS: "#1a7f37",
    MessageKind.FAILURE: "#cf222e",
    MessageKind.WARNING: "#9a6700",
    MessageKind.INFO: "#0969da",
}
_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_DARK = """:root{color-scheme:light dark}
@media (prefers-color-scheme:dark){
.page{background:#15181c !important}.card{background:#22272e !important}
.ink{color:#e6edf3 !important}.dim{color:#9aa7b4 !important}.dim a{color:#9aa7b4 !important}
.box{background:#2d333b !important}.link{color:#6cb6ff !important}
.success{color:#57ab5a !important}.failure{color:#f47067 !important}.warning{color:#d4a72c !important}}"""


def render_mail(content: Content, picture: AttachedPicture | None) -> str:
    """The whole mail. It shows the picture as `cid:sheet.jpg`."""
    inner = _render_report(content, picture) if isinstance(content, ReportContent) else _render_digest(content, picture)
    return wrap_in_page(content, inner)


def render_plain(content: Content) -> str:
    """The mail's other part, for who reads no HTML: all of its words, and whole URLs of at most LINKS_MOST together."""
    links = content.pictures if isinstance(content, ReportContent) else content.items
    room, shown = LINKS_MOST, 0
    for link in links:
        room -= _url_weight(link.url)
        if room < 0:
            break
        shown += 1
    return "\n\n".join(
        "\n".join(" ".join(filter(None, (line.text, encode_url(line.url) if line.url else ""))) for line in paragraph)
        for paragraph in make_paragraphs(content, shown)
    )


def wrap_in_page(content: Content, inner: str) -> str:
    """`inner` on a card, under a stripe in the kind's colour."""
    title = html.escape(content.title)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">'
        f"<title>{title}</title><style>{_DARK}</style></head>"
        f'<body class="page" style="margin:0;padding:0;background:#f3f4f6">{_preheader(content)}'
        '<table role="presentation" class="page" width="100%" cellpadding="0" cellspacing="0" border="0"'
        ' style="background:#f3f4f6"><tr><td align="center" style="padding:20px 10px">'
        '<table role="presentation" class="card" width="100%" cellpadding="0" cellspacing="0" border="0"'
        f' style="max-width:600px;table-layout:fixed;background:#ffffff;border-top:4px solid {_COLOURS[content.kind]};'
        f'border-radius:6px"><tr><td class="ink" style="padding:22px 24px;{_FONT};font-size:15px;line-height:1.5;'
        f'color:#1f2328;text-align:left">{inner}</td></tr></table></td></tr></table></body></html>'
    )


def sheet_image(content: Content, picture: AttachedPicture | None) -> str:
    """The contact sheet, inline."""
    if picture is None:
        return ""
    alt = html.escape(describe_sheet(content))
    return (
        f'<div style="margin:0 0 16px"><img src="cid:{SHEET}" alt="{alt}" width="552" class="dim"'
        ' style="display:block;width:100%;max-width:552px;height:auto;border:0;border-radius:4px;color:#57606a"></div>'
    )


def _preheader(content: Content) -> str:
    """What a list of mails shows after the subject: what the subject does not say."""
    if isinstance(content, ReportContent):
        said = content.text[:1] and content.text[0] in content.title
        first = content.trouble[:2] or content.text[1 if said else 0 :][:1] or (content.doubt,)
        words = join_nonempty(*first, content.cost, f"“{content.prompt}”" if content.prompt else "")
    else:
        words = join_nonempty(content.total, *(item.headline for item in content.items[:3]))
    words = words.replace("`", "")
    if not words:
        return ""
    # The spaces keep programs from going on with the words of the page.
    hidden = "display:none;max-height:0;overflow:hidden;margin:0;padding:0;font-size:1px;line-height:1px;opacity:0"
    spaces = "&#847;&zwnj;&nbsp;" * 40
    return f'<ul style="{hidden}">{html.escape(truncate_text(words, PREHEADER_MOST))}{spaces}</ul>'


def _render_report(content: ReportContent, picture: AttachedPicture | None) -> str:
    text = "".join(_paragraph(_mark_code(line), "margin:0 0 4px") for line in content.text)
    facts = (
        ("Model", content.model),
        ("Cost", content.cost),
        ("Took", content.took),
        ("Error", content.code),
        ("Task", content.shown_ref),
    )
    parts = [
        _title_heading(content),
        f'<div style="margin:0 0 16px">{text}</div>' if text else "",
        _coloured_box(content.trouble, content.kind),
        _coloured_box((content.doubt,), MessageKind.WARNING) if content.doubt else "",
        sheet_image(content, picture),
        _buttons(content),
        _prompt_quote(content.prompt),
        _facts_table(tuple(fact for fact in facts if fact[1])),
        "".join(_command_line(line) for line in content.commands),
        _small_print(TextLine(content.note)) if content.note else "",
        _picture_links(content) if not _numbered_pictures(content) else "",
    ]
    return " ".join(part for part in parts if part)


def _render_digest(content: DigestContent, picture: AttachedPicture | None) -> str:
    room = LINKS_MOST
    trouble = done = ""
    for item in content.items:
        room -= _url_weight(item.url)
        row = _digest_row(item if room > 0 else replace(item, url=None))
        if item.kind is MessageKind.SUCCESS:
            done += row
        else:
            trouble += row
    rest = content.count - len(content.items)
    parts = [
        _title_heading(content),
        _digest_table(trouble),
        sheet_image(content, picture),
        _digest_table(done),
        _paragraph(f"… and {rest} more", "margin:0 0 8px") if rest else "",
        _paragraph(html.escape(content.total), "margin:8px 0 0;font-weight:600") if content.total else "",
        _small_print(TextLine(content.note)) if content.note else "",
    ]
    return " ".join(part for part in parts if part)


def _title_heading(content: Content) -> str:
    mark, _, rest = content.title.partition(" ")
    return (
        '<h1 class="ink" style="margin:0 0 16px;font-size:20px;line-height:1.3;font-weight:600;color:#1f2328;'
        f'word-break:break-word"><span class="{content.kind}" style="color:{_COLOURS[content.kind]}">{mark}</span>'
        f" {html.escape(rest)}</h1>"
    )


def _prompt_quote(prompt: str) -> str:
    if not prompt:
        return ""
    return (
        '<div class="dim" style="margin:0 0 16px;padding:2px 0 2px 12px;border-left:3px solid #b9c1ca;'
        f'color:#57606a;word-break:break-word">“{html.escape(prompt)}”</div>'
    )


def _coloured_box(lines: tuple[str, ...], kind: MessageKind) -> str:
    if not lines:
        return ""
    inner = "".join(_paragraph(_mark_code(line), "margin:0 0 4px") for line in lines)
    return (
        f'<div class="box" style="margin:0 0 16px;padding:10px 14px 8px;background:#f6f8fa;word-break:break-word;'
        f'border-left:3px solid {_COLOURS[kind]};border-radius:4px">{inner}</div>'
    )


def _facts_table(facts: tuple[tuple[str, str], ...]) -> str:
    """A table with one cell in each row, so that the plain part has one fact on each line."""
    rows = "".join(
        '<tr><td style="padding:1px 0;word-break:break-word"><span class="dim" style="display:inline-block;'
        f'min-width:64px;color:#57606a">{name}:</span>'
        f' <span style="font-size:{_fact_size(value)}px">{html.escape(value)}</span></td></tr>'
        for name, value in facts
    )
    return (
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"'
        f' style="table-layout:fixed;margin:0 0 16px;font-size:14px">{rows}</table>'
        if rows
        else ""
    )


def _fact_size(value: str) -> int:
    """A ref stays on one line on a phone."""
    return 11 if len(value) > 30 else 14


def _buttons(content: ReportContent) -> str:
    """A button for the task's page, and one for each picture or video, unless they are too many."""
    picks = [(line.text, url) for line in content.picks if (url := web_url(line.url))]
    rows = [" ".join(_button(words, url) for words, url in picks)] if picks else []
    rows += [_button("Open the task", url)] if (url := web_url(content.page)) else []
    if numbers := _numbered_pictures(content):
        words = describe_links([it.text for it in content.pictures])
        label = (
            [f'<span class="dim" style="font-size:13px;color:#57606a;margin-right:4px">{words}</span>'] if words else []
        )
        rows.append(" ".join([*label, *(_button(words, url) for words, url in numbers)]))
    inner = "".join(f"<div>{row}</div>" for row in rows)
    return f'<div style="margin:0 0 10px">{inner}</div>' if rows else ""


def _numbered_pictures(content: ReportContent) -> list[tuple[str, str]]:
    """The words and URL of each picture's button; empty if they are too many for buttons, or one is not on the web."""
    urls = [web_url(it.url) for it in content.pictures]
    if content.more or len(urls) > BUTTONS_MOST or not all(urls):
        return []
    return [(button_words(it.text), url) for it, url in zip(content.pictures, urls, strict=True) if url]


def _button(words: str, url: str) -> str:
    return (
        f'<a href="{html.escape(url)}" style="display:inline-block;min-width:14px;margin:0 4px 6px 0;padding:8px 14px;'
        "background:#0969da;border-radius:6px;color:#ffffff;text-decoration:none;font-weight:600;font-size:14px;"
        f'text-align:center">{html.escape(words)}</a>'
    )


def _picture_links(content: ReportContent) -> str:
    lines: list[str] = []
    room = LINKS_MOST
    for line in content.pictures:
        room -= _url_weight(line.url)
        if room < 0:
            break
        lines.append(_small_print(TextLine(f"{line.text}:", line.url)))
    missing = content.more + len(content.pictures) - len(lines)
    if missing:
        lines.append(_small_print(TextLine(f"… and {missing} more")))
    return f'<div style="margin:12px 0 0">{"".join(lines)}</div>' if lines else ""


def _digest_table(rows: str) -> str:
    return (
        f'<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"'
        f' style="table-layout:fixed;margin:0 0 12px">{rows}</table>'
        if rows
        else ""
    )


def _digest_row(item: DigestItem) -> str:
    mark, _, rest = item.headline.partition(" ")
    words, url = _mark_code(rest), web_url(item.url)
    if url:
        words = f'<a class="link" href="{html.escape(url)}" style="color:#0969da;text-decoration:none">{words}</a>'
    figures = f' <span class="dim" style="color:#57606a">· {html.escape(item.figures)}</span>' if item.figures else ""
    small = _small_print(TextLine("", item.url)) if item.url and not url else ""
    advice = _paragraph(_mark_code(item.advice), "margin:4px 0 0;font-size:14px") if item.advice else ""
    return (
        '<tr><td style="padding:6px 0;border-bottom:1px solid #8b949e33;word-break:break-word">'
        f'<span class="{item.kind}" style="color:{_COLOURS[item.kind]};font-weight:600">{mark}</span>'
        f" {words}{figures}{advice}{small}</td></tr>"
    )


def _url_weight(url: str | None) -> int:
    """How many characters a URL adds, once as a link and once in words."""
    return 2 * len(html.escape(encode_url(url))) if url else 0


def _small_print(line: TextLine) -> str:
    """A whole URL in small print on one line; CSS hides what does not fit."""
    words = html.escape(line.text)
    if line.url:
        shown, url = html.escape(encode_url(line.url)), web_url(line.url)
        # `javascript:` is shown, never linked
        linked = f'<a href="{html.escape(url)}" style="color:#57606a">{shown}</a>' if url else shown
        words = f"{words} {linked}" if words else linked
    return (
        '<div class="dim" style="font-size:12px;line-height:1.6;color:#57606a;white-space:nowrap;overflow:hidden;'
        f'text-overflow:ellipsis">{words}</div>'
    )


def _command_line(line: str) -> str:
    style = "margin:0 0 6px;font-size:13px;color:#57606a;word-break:break-word"
    return f'<p class="dim" style="{style}">{_mark_code(line)}</p>'


def _paragraph(inner: str, style: str) -> str:
    return f'<p style="{style}">{inner}</p>'


def _mark_code(line: str) -> str:
    """Text between backticks in the look of code. Outside text may use them too: that is harmless."""
    code = (  # not <code>, which Apprise takes for a line of its own
        '<span class="box" style="padding:1px 4px;background:#f0f2f4;border-radius:3px;'
        'font-family:Menlo,Consolas,monospace;font-size:13px">\\1</span>'
    )
    return re.sub(r"`([^`]+)`", code, html.escape(line))
