"""How far a batch is: one line that changes, on a terminal."""

import sys
import time
from typing import Self

from receiver.cli.streams import note

CLEARED = "\r\x1b[K"  # a terminal's line
BAR_WIDTH = 24
_GAP_S = 0.1  # between two drawings


def format_bar(done: int, total: int, width: int = BAR_WIDTH) -> str:
    """A bar that is full only when all is done."""
    full = width if done >= total else width * done // max(total, 1)
    return f"[{'#' * full}{'-' * (width - full)}] {100 * min(done, total) // max(total, 1):3d} %"


def is_terminal() -> bool:
    """Whether standard error is one."""
    return sys.stderr.isatty() if sys.stderr else False


class ProgressLine:
    """`checked [####----]  50 %  500 of 1,000`; nothing where there is no terminal. It is gone at the end.

    With a `unit`, it also says how many a second: `… 500 of 1,000 rows, 120 / s`.
    """

    def __init__(self, what: str, total: int, unit: str = "") -> None:
        self._what = what
        self._total = total
        self._unit = unit
        self._began = time.monotonic()
        self._drawn_at = 0.0
        self._moving = is_terminal()
        self.done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.done += count
        if self._moving and time.monotonic() - self._drawn_at >= _GAP_S:
            self._drawn_at = time.monotonic()
            bar = format_bar(self.done, self._total)
            rate = f" {self._unit}, {self.done / (time.monotonic() - self._began):,.0f} / s" if self._unit else ""
            note(f"{CLEARED}{self._what} {bar}  {self.done:,} of {self._total:,}{rate}", nl=False)

    def clear(self) -> None:
        """Empty the line, before something else is written."""
        if self._moving:
            note(CLEARED, nl=False)
