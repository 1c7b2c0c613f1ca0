"""As many links or tasks as there is room for, and then how many more there are."""

from collections.abc import Callable, Iterable

from receiver.core.sanitize import utf16_length
from receiver.notify.messages.content import DigestContent, DigestItem, ReportContent
from receiver.notify.messages.message import TextLine


def fit_links(content: ReportContent, room: int, write: Callable[[TextLine], str]) -> list[str]:
    """The pictures' links as `write` writes them, in at most `room` UTF-16 units; last, how many more there are.

    Stops at the first link that `write` turns into nothing. Empty if not even one fits.
    """
    found = _take_fitting(map(write, content.pictures), room, least=0)
    missing = content.more + len(content.pictures) - len(found)
    return [*found, _count_missing(missing)] if found and missing else found


def fit_items(content: DigestContent, room: int, write: Callable[[DigestItem], str]) -> list[str]:
    """The tasks as `write` writes them, in at most `room` UTF-16 units; last, how many more there are.

    The first is shown even if it does not fit.
    """
    found = _take_fitting(map(write, content.items), room, least=1)
    missing = content.count - len(found)
    return [*found, _count_missing(missing)] if missing else found


def _take_fitting(parts: Iterable[str], room: int, *, least: int) -> list[str]:
    """The first parts that fit, at least `least`; with room for four characters between two (Telegram's `<br>`)."""
    found: list[str] = []
    for part in parts:
        room -= utf16_length(part) + 4
        if not part or (room < 0 and len(found) >= least):
            break
        found.append(part)
    return found


def _count_missing(missing: int) -> str:
    return f"… and {missing} more"
