"""Telegram's HTML, as Apprise's plugin takes it: the picture's caption if it is short enough, else a text below it."""

import html
import re

from receiver.core.sanitize import fit_escaped, join_nonempty, utf16_length, web_url
from receiver.notify.messages import fitted_list
from receiver.notify.messages.commands import write_commands
from receiver.notify.messages.content import Content, DigestContent, DigestItem, ReportContent
from receiver.notify.messages.message import TextLine

BODY_MOST = 4_000  # characters with their markup; the service takes 4,096
CAPTION_MOST = 1_000  # Apprise sends what is shorter than 1,024 as a caption
_BREAK = "<br>"


def render_html(content: Content, *, captions: bool) -> str:
    """The whole message, its title in bold. If it `captions` a picture and the task has a page, it is kept short."""
    if isinstance(content, DigestContent):
        return _render_digest(content)
    return _render_report(content, CAPTION_MOST if captions and content.page else BODY_MOST, captions=captions)


def add_title(title: str, body: str) -> str:
    """What the target's template wrote: its title in bold, then its HTML."""
    return f"{_bold_title(title)}{_BREAK}{body}"


def escape(text: str) -> str:
    """Outside text without markup, and without `@name` mentions."""
    return html.escape(re.sub(r"@(?=[^\s\u200b])", "@\u200b", text), quote=False)


def _render_report(content: ReportContent, most: int, *, captions: bool) -> str:
    prompt = fit_escaped(content.prompt, 600, escape, utf16_length)
    above = [
        _bold_title(content.title),
        fit_escaped("\n".join(content.text), 1_500, _break_lines, utf16_length),
        fit_escaped("\n".join(content.trouble), 1_100, _break_lines, utf16_length),
        fit_escaped(content.doubt, 700, escape, utf16_length),
        " · ".join(filter(None, map(_picture_link, content.picks))),
    ]
    commands = "" if captions else _break_lines("\n".join(content.commands))  # a caption is short
    page, ref = _linkable_url(content.page, 400), fit_escaped(content.shown_ref, 100, escape)
    below = [
        f"<blockquote>{prompt}</blockquote>" if prompt else "",
        fit_escaped(content.facts_line, 300, escape, utf16_length),
        commands,
        f'<a href="{page}">Task {ref}</a>' if page else f"Task {ref}" if ref else "",
        fit_escaped(content.note, 350, escape, utf16_length),
    ]
    room = most - sum(utf16_length(part) + len(_BREAK) for part in (*above, *below)) - 20
    links = fitted_list.fit_links(content, room, _picture_link)
    if most < BODY_MOST and links and not links[-1].startswith("<a"):
        links = []  # the picture shows them all and the task's page has the links; half of them would confuse
    return _join_lines([*above, " · ".join(links), *below])


def _render_digest(content: DigestContent) -> str:
    title, note = _bold_title(content.title), fit_escaped(content.note, 350, escape, utf16_length)
    room = BODY_MOST - utf16_length(title) - len(content.total) - utf16_length(note) - 60
    return _join_lines([title, *fitted_list.fit_items(content, room, _digest_line), content.total, note])


def _picture_link(line: TextLine) -> str:
    url = _linkable_url(line.url, 2_000)
    return f'<a href="{url}">{escape(line.text)}</a>' if url else ""


def _digest_line(item: DigestItem) -> str:
    mark, _, rest = item.headline.partition(" ")
    url = _linkable_url(item.url, 1_000)
    words = fit_escaped(rest, 500, escape if url else _break_lines, utf16_length)
    line = join_nonempty(f'{mark} <a href="{url}">{words}</a>' if url else f"{mark} {words}", item.figures)
    advice = fit_escaped(item.advice, 700, _break_lines, utf16_length)
    return f"{line}{_BREAK}{advice}{_BREAK}" if advice else line


def _bold_title(title: str) -> str:
    return f"<b>{fit_escaped(title, 400, escape, utf16_length)}</b>"


def _join_lines(lines: list[str]) -> str:
    """The lines, one below the other; a quote needs no break around it."""
    text = _BREAK.join(line for line in lines if line)
    return text.replace(f"{_BREAK}<blockquote>", "<blockquote>").replace(f"</blockquote>{_BREAK}", "</blockquote>")


def _break_lines(text: str) -> str:
    """Lines in HTML, our commands as code."""
    return write_commands(text, escape, "<code>{}</code>".format).replace("\n", _BREAK)


def _linkable_url(url: str | None, most: int) -> str | None:
    """A URL escaped for an attribute; None unless it is http or https and short enough."""
    found = web_url(url)
    found = html.escape(found) if found else None
    return found if found and len(found) <= most else None
