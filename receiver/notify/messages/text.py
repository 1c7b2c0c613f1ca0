"""Plain text, for every service without a style of its own, and a shorter form for ntfy, which counts bytes."""

from bisect import bisect
from urllib.parse import quote

from msgspec.structs import replace

from receiver.core.sanitize import BODY_MOST, TITLE_MOST, defuse_mentions, encode_url, fit_escaped
from receiver.notify.messages.content import Content, DigestContent, ReportContent
from receiver.notify.messages.message import TextLine

NTFY_MOST = 3_900  # bytes; ntfy turns a message above 4,096 into a file
NTFY_CAPTION_MOST = 5_000  # characters, percent-encoded, in the query of a picture's upload

Paragraph = tuple[TextLine, ...]


def plain_title(content: Content) -> str:
    """The title, for services that would read a word in it as a mention."""
    return fit_escaped(content.title, TITLE_MOST, defuse_mentions)


def ntfy_title(content: Content) -> str:
    """The title without its mark, in whose place ntfy shows an emoji."""
    return plain_title(content).partition(" ")[2]


def render_text(content: Content) -> str:
    """A body of at most BODY_MOST characters, not counting its URLs, which are never cut."""
    return _join_paragraphs(make_paragraphs(content))


def make_paragraphs(content: Content, shown: int | None = None) -> list[Paragraph]:
    """The paragraphs of a body, with up to `shown` of its links or items: lines of words, some with a URL."""
    if isinstance(content, ReportContent):
        return _report_paragraphs(content, shown)
    return _digest_paragraphs(content, shown)


def render_ntfy(content: Content, *, captions: bool) -> str:
    """A body that `fits_ntfy`. Links and items that do not fit whole are counted instead.

    It is read on a phone, so it names no commands for what went well, and no pictures if a tap opens their page.
    """
    if isinstance(content, ReportContent):
        content = replace(content, commands=())
        if content.page:
            content = replace(content, pictures=(), more=0)

    def write_shown(shown: int) -> str:
        return _join_paragraphs(make_paragraphs(content, shown))

    def too_long(shown: int) -> bool:
        return not fits_ntfy(write_shown(shown), captions=captions)

    most = len(content.pictures if isinstance(content, ReportContent) else content.items)
    shown = most if not too_long(most) else bisect(range(1, most), False, key=too_long)
    if not too_long(shown) and (shown or isinstance(content, ReportContent)):
        return write_shown(shown)
    # No URL is left in what is cut now: a cut URL would lead nowhere.
    if isinstance(content, ReportContent):
        whole = _report_paragraphs(replace(content, page=None), 0)
    else:
        whole = _digest_paragraphs(replace(content, items=(replace(content.items[0], url=None),)), 1)
    raw = "\n\n".join("\n".join(line.text for line in paragraph) for paragraph in whole)
    return fit_escaped(raw, NTFY_MOST, defuse_mentions, lambda body: NTFY_MOST + _excess_bytes(body, captions=captions))


def fits_ntfy(body: str, *, captions: bool) -> bool:
    """Whether it is short enough for ntfy, which gets it in a query if it `captions` a picture."""
    return _excess_bytes(body, captions=captions) <= 0


def _excess_bytes(body: str, *, captions: bool) -> int:
    """By how many bytes it is too long; 0 or less if it fits."""
    return max(len(body.encode()) - NTFY_MOST, len(quote(body)) - NTFY_CAPTION_MOST if captions else -NTFY_MOST)


def _report_paragraphs(content: ReportContent, shown: int | None = None) -> list[Paragraph]:
    links = content.pictures[:shown]
    missing = content.more + len(content.pictures) - len(links)
    pictures = [TextLine(f"{line.text}:", line.url) for line in links]
    if missing:
        pictures.append(TextLine(f"… and {missing} more" if links else f"{missing} links, which do not fit here"))
    prompt = f"“{content.prompt}”" if content.prompt else ""
    paragraphs: list[Paragraph] = [
        tuple(map(TextLine, content.text)),
        tuple(map(TextLine, content.trouble)),
        (TextLine(content.doubt),) if content.doubt else (),
        tuple(TextLine(f"{line.text}:", line.url) for line in content.picks),
        (TextLine(prompt),) if prompt else (),
        tuple(pictures),
        (TextLine(content.facts_line),) if content.facts_line else (),
        tuple(map(TextLine, content.commands)),
        (TextLine(f"Task {content.shown_ref}{':' if content.page else ''}", content.page),) if content.ref else (),
        (TextLine(content.note),) if content.note else (),
    ]
    return [paragraph for paragraph in paragraphs if paragraph] or [(TextLine(content.title),)]


def _digest_paragraphs(content: DigestContent, shown: int | None = None) -> list[Paragraph]:
    paragraphs: list[Paragraph] = []
    room = BODY_MOST - 100 - len(content.note)  # for the total and the line that counts the rest
    for item in content.items[:shown]:
        words = filter(None, (item.summary_line, item.advice))
        lines = (*map(TextLine, words), *((TextLine("", item.url),) if item.url else ()))
        room -= sum(len(defuse_mentions(line.text)) + 2 for line in lines)
        if room < 0:
            break
        paragraphs.append(lines)
    if len(paragraphs) < content.count:
        paragraphs.append((TextLine(f"… and {content.count - len(paragraphs)} more"),))
    return [*paragraphs, *((TextLine(words),) for words in (content.total, content.note) if words)]


def _join_paragraphs(paragraphs: list[Paragraph]) -> str:
    return "\n\n".join("\n".join(map(_write_line, paragraph)) for paragraph in paragraphs)


def _write_line(line: TextLine) -> str:
    return " ".join(filter(None, (defuse_mentions(line.text), encode_url(line.url) if line.url else "")))
