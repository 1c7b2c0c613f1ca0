"""Which rows are old enough to be removed. Pure."""

from collections.abc import Sequence
from typing import TypeVar

from receiver.store import AgedRow

DAY_MS = 86_400_000

Key = TypeVar("Key", str, int)


def due_keys(rows: Sequence[AgedRow[Key]], days: int, now: int) -> tuple[list[Key], bool]:
    """The keys of rows that ended more than `days` (≥ 1) ago, and whether later rows may have ended then, too.

    A young row shows that they have not. A row from the future shows nothing: the clock was ahead.
    """
    before = now - days * DAY_MS
    old = [row.key for row in rows if row.ended_at is not None and row.ended_at < before]
    return old, not any(before <= row.made_at <= now for row in rows)
