"""Plain text, for every service that has no style of its own, and in small for ntfy, which counts bytes."""

from bisect import bisect
from urllib.parse import quote

from msgspec.structs import replace

from receiver.core.sanitize import BODY_MOST, TITLE_MOST, defuse_mentions, encode_url, fit_escaped
from receiver.notify.messages.content import DigestContent, ReportContent, TextLine

NTFY_MOST = 3_900  # bytes; ntfy makes a file of a message above 4,096
NTFY_CAPTION_MOST = 5_000  # characters in the query of a picture's upload, where the message is percent-encoded

Paragraph = tuple[TextLine, ...]


def plain_title(told: ReportContent | DigestContent) -> str:
    """The title for those that would take a word in it for a call."""
    return fit_escaped(told.title, TITLE_MOST, defuse_mentions)


def render_text(told: ReportContent | DigestContent) -> str:
    """At most BODY_MOST characters without its URLs, which are whole."""
    return _join_paragraphs(make_paragraphs(told))


def make_paragraphs(told: ReportContent | DigestContent) -> list[Paragraph]:
    """What `body` says, before it is written: lines of words, and a URL after some of them."""
    return _report_paragraphs(told) if isinstance(told, ReportContent) else _digest_paragraphs(told)


def render_ntfy(told: ReportContent | DigestContent, *, captions: bool) -> str:
    """A body that `fits`. Links and items that find no place whole are counted instead."""

    def write_shown(shown: int) -> str:
        return _join_paragraphs(
            _report_paragraphs(told, shown) if isinstance(told, ReportContent) else _digest_paragraphs(told, shown)
        )

    def too_long(shown: int) -> bool:
        return not fits_ntfy(write_shown(shown), captions=captions)

    most = len(told.pictures if isinstance(told, ReportContent) else told.items)
    shown = most if not too_long(most) else bisect(range(1, most), False, key=too_long)
    if not too_long(shown) and (shown or isinstance(told, ReportContent)):
        return write_shown(shown)
    # What is cut now has no URL in it: one that is cut leads nowhere.
    if isinstance(told, ReportContent):
        whole = _report_paragraphs(replace(told, page=None), 0)
    else:
        whole = _digest_paragraphs(replace(told, items=(replace(told.items[0], url=None),)), 1)
    raw = "\n\n".join("\n".join(line.text for line in paragraph) for paragraph in whole)
    return fit_escaped(raw, NTFY_MOST, defuse_mentions, lambda body: NTFY_MOST + _excess_bytes(body, captions=captions))


def fits_ntfy(body: str, *, captions: bool) -> bool:
    """Whether it is short enough for ntfy, which is told it in a query if it `captions` a picture."""
    return _excess_bytes(body, captions=captions) <= 0


def _excess_bytes(body: str, *, captions: bool) -> int:
    """How much too long it is, in bytes; 0 or less if it is not."""
    return max(len(body.encode()) - NTFY_MOST, len(quote(body)) - NTFY_CAPTION_MOST if captions else -NTFY_MOST)


def _report_paragraphs(told: ReportContent, shown: int | None = None) -> list[Paragraph]:
    links = told.pictures[:shown]
    missing = told.more + len(told.pictures) - len(links)
    pictures = [TextLine(f"{line.text}:", line.url) for line in links]
    if missing:
        pictures.append(TextLine(f"… and {missing} more" if links else f"its {missing} links do not fit here"))
    about = tuple(TextLine(text) for text in (told.facts_line, f"“{told.prompt}”" if told.prompt else "") if text)
    paragraphs: list[Paragraph] = [
        tuple(map(TextLine, told.text)),
        about,
        (TextLine(told.doubt),) if told.doubt else (),
        tuple(pictures),
        tuple(map(TextLine, told.trouble)),
        (TextLine(f"Task {told.ref}{':' if told.page else ''}", told.page),) if told.ref else (),
        (TextLine(told.note),) if told.note else (),
    ]
    return [paragraph for paragraph in paragraphs if paragraph] or [(TextLine(told.title),)]


def _digest_paragraphs(told: DigestContent, shown: int | None = None) -> list[Paragraph]:
    lines: list[TextLine] = []
    room = BODY_MOST - 100 - len(told.note)  # for the total and the line that counts the rest
    for item in told.items[:shown]:
        room -= len(defuse_mentions(item.summary_line)) + 3
        if room < 0:
            break
        lines.append(TextLine(item.summary_line, item.url))
    if len(lines) < told.count:
        lines.append(TextLine(f"… and {told.count - len(lines)} more"))
    return [tuple(lines), *((TextLine(words),) for words in (told.total, told.note) if words)]


def _join_paragraphs(paragraphs: list[Paragraph]) -> str:
    return "\n\n".join("\n".join(map(_write_line, paragraph)) for paragraph in paragraphs)


def _write_line(line: TextLine) -> str:
    return f"{defuse_mentions(line.text)} {encode_url(line.url)}" if line.url else defuse_mentions(line.text)
