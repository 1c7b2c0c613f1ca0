"""Plain text, for every service that has no style of its own, and in small for ntfy, which counts bytes."""

from bisect import bisect
from urllib.parse import quote

from msgspec.structs import replace

from receiver.core.sanitize import BODY_MOST, TITLE_MOST, address, calm, fit
from receiver.notify.messages.content import Digest, Line, Single

NTFY_MOST = 3_900  # bytes; ntfy makes a file of a message above 4,096
NTFY_CAPTION_MOST = 5_000  # characters in the query of a picture's upload, where the message is percent-encoded

Paragraph = tuple[Line, ...]


def title(told: Single | Digest) -> str:
    """The title for those that would take a word in it for a call."""
    return fit(told.title, TITLE_MOST, calm)


def body(told: Single | Digest) -> str:
    """At most BODY_MOST characters without its URLs, which are whole."""
    return _written(paragraphs(told))


def paragraphs(told: Single | Digest) -> list[Paragraph]:
    """What `body` says, before it is written: lines of words, and a URL after some of them."""
    return _single(told) if isinstance(told, Single) else _digest(told)


def small(told: Single | Digest, *, captions: bool) -> str:
    """A body that `fits`. Links and items that find no place whole are counted instead."""

    def written(shown: int) -> str:
        return _written(_single(told, shown) if isinstance(told, Single) else _digest(told, shown))

    def too_long(shown: int) -> bool:
        return not fits(written(shown), captions=captions)

    most = len(told.pictures if isinstance(told, Single) else told.items)
    shown = most if not too_long(most) else bisect(range(1, most), False, key=too_long)
    if not too_long(shown) and (shown or isinstance(told, Single)):
        return written(shown)
    # What is cut now has no URL in it: one that is cut leads nowhere.
    if isinstance(told, Single):
        whole = _single(replace(told, page=None), 0)
    else:
        whole = _digest(replace(told, items=(replace(told.items[0], url=None),)), 1)
    raw = "\n\n".join("\n".join(line.text for line in paragraph) for paragraph in whole)
    return fit(raw, NTFY_MOST, calm, lambda body: NTFY_MOST + _over(body, captions=captions))


def fits(body: str, *, captions: bool) -> bool:
    """Whether it is short enough for ntfy, which is told it in a query if it `captions` a picture."""
    return _over(body, captions=captions) <= 0


def _over(body: str, *, captions: bool) -> int:
    """How much too long it is, in bytes; 0 or less if it is not."""
    return max(len(body.encode()) - NTFY_MOST, len(quote(body)) - NTFY_CAPTION_MOST if captions else -NTFY_MOST)


def _single(told: Single, shown: int | None = None) -> list[Paragraph]:
    links = told.pictures[:shown]
    missing = told.more + len(told.pictures) - len(links)
    pictures = [Line(f"{line.text}:", line.url) for line in links]
    if missing:
        pictures.append(Line(f"… and {missing} more" if links else f"its {missing} links do not fit here"))
    about = tuple(Line(text) for text in (told.facts, f"“{told.prompt}”" if told.prompt else "") if text)
    paragraphs: list[Paragraph] = [
        tuple(map(Line, told.text)),
        about,
        (Line(told.doubt),) if told.doubt else (),
        tuple(pictures),
        tuple(map(Line, told.trouble)),
        (Line(f"Task {told.ref}{':' if told.page else ''}", told.page),) if told.ref else (),
        (Line(told.note),) if told.note else (),
    ]
    return [paragraph for paragraph in paragraphs if paragraph] or [(Line(told.title),)]


def _digest(told: Digest, shown: int | None = None) -> list[Paragraph]:
    lines: list[Line] = []
    room = BODY_MOST - 100 - len(told.note)  # for the total and the line that counts the rest
    for item in told.items[:shown]:
        room -= len(calm(item.line)) + 3
        if room < 0:
            break
        lines.append(Line(item.line, item.url))
    if len(lines) < told.count:
        lines.append(Line(f"… and {told.count - len(lines)} more"))
    return [tuple(lines), *((Line(words),) for words in (told.total, told.note) if words)]


def _written(paragraphs: list[Paragraph]) -> str:
    return "\n\n".join("\n".join(map(_line, paragraph)) for paragraph in paragraphs)


def _line(line: Line) -> str:
    return f"{calm(line.text)} {address(line.url)}" if line.url else calm(line.text)
