"""As many links or tasks as there is room for, and in their place how many are missing."""

from collections.abc import Callable, Iterable

from receiver.notify.messages.content import DigestContent, DigestItem, ReportContent, TextLine


def fit_links(told: ReportContent, room: int, write: Callable[[TextLine], str]) -> list[str]:
    """What `write` makes of the pictures' links in at most `room` characters, up to the first of which it makes
    nothing; and last how many more there are, unless none is shown."""
    found = _take_fitting(map(write, told.pictures), room, least=0)
    missing = told.more + len(told.pictures) - len(found)
    return [*found, _count_missing(missing)] if found and missing else found


def fit_items(told: DigestContent, room: int, write: Callable[[DigestItem], str]) -> list[str]:
    """What `write` makes of the tasks in at most `room` characters, of the first in any case; and last how many more
    there are."""
    found = _take_fitting(map(write, told.items), room, least=1)
    missing = told.count - len(found)
    return [*found, _count_missing(missing)] if missing else found


def _take_fitting(parts: Iterable[str], room: int, *, least: int) -> list[str]:
    """Up to four characters may stand between two of them (Telegram's `<br>`)."""
    found: list[str] = []
    for part in parts:
        room -= len(part) + 4
        if not part or (room < 0 and len(found) >= least):
            break
        found.append(part)
    return found


def _count_missing(missing: int) -> str:
    return f"… and {missing} more"
