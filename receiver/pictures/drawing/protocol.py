"""Thumbnails and contact sheets, drawn from strangers' files in child processes with limits.

The types that both sides use are here. `process` starts the child, `python -m receiver.pictures.drawing`. There,
`child` applies the limits and assembles the sheet, `isolated` gives each picture a process of its own, and `draw`
draws. What this module imports counts against the child's memory and time: hence named tuples, and only the standard
library.
"""

from typing import NamedTuple

SHEET_PICTURES_MOST = 36
"""Pictures on one contact sheet."""
SMALL, TINY = 512, 256
"""Pixels: the longer side of a thumbnail at most, and of the second one."""


class DrawLimits(NamedTuple):
    """What drawing may use up."""

    memory_mb: int = 192  # address space of each process; a decoded picture takes 4 bytes a pixel, a WebP 16
    cpu_s: int = 3  # for each picture, and for the sheet; the heaviest allowed took 1.0 s when measured
    pixels: int = 20_000_000  # of one picture, by its header; a third of that for a WebP or an AVIF
    within_s: float = 12.0  # all pictures of one sheet, wall-clock time


class DrawResult(NamedTuple):
    """What was drawn of one picture: thumbnails, JPEGs of at most `SMALL` and `TINY` pixels; and its own size, upright.

    Without `small` and `error` it was not drawn through no fault of its own: there was no time, or no process.
    """

    small: bytes | None = None
    width: int | None = None
    height: int | None = None
    error: str | None = None  # why a thumbnail can never be drawn, in one line
    tiny: bytes | None = None  # only with `small`, and only if that is larger


class ContactSheet(NamedTuple):
    """A contact sheet (a JPEG of at most 1600 × 1600 pixels and 1 MB), and what was drawn of each picture, in order."""

    picture: bytes | None = None
    drawn: tuple[DrawResult, ...] = ()
    error: str | None = None  # why there is no contact sheet, in one line


def fitted_width(width: int, height: int, side: int) -> int:
    """How wide a picture of `width` by `height` is once its longer side is at most `side`."""
    return max(1, round(width * min(1.0, side / max(width, height))))
