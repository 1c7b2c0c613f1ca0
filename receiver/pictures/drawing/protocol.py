"""Thumbnails and contact sheets, drawn from files that strangers made, in child processes with limits.

These are its words; `process` starts the child, which is `python -m receiver.pictures.drawing`: `child` takes the
limits and puts the sheet together, `isolated` gives each picture a process of its own, `draw` draws. All that is
imported here is imported there too, and counts against memory and time: hence named tuples, and nothing but the
standard library.
"""

from typing import NamedTuple

SHEET_PICTURES_MOST = 36
"""Pictures on one contact sheet."""


class DrawLimits(NamedTuple):
    """What drawing may use."""

    memory_mb: int = 192  # of address space, each process; a decoded picture takes 4 bytes a pixel, a WebP 16
    cpu_s: int = 3  # each picture, and the sheet; the heaviest that may be drawn took 1.0 s where this was written
    pixels: int = 20_000_000  # of one picture, by its header; a third of it for a WebP
    within_s: float = 12.0  # all pictures of one sheet, by the clock


class DrawResult(NamedTuple):
    """What was drawn of one picture: `small`, a JPEG of at most 512 pixels; and how large it is itself, upright.

    With neither `small` nor `error` it is no fault of its own: there was no time for it, or no process.
    """

    small: bytes | None = None
    width: int | None = None
    height: int | None = None
    error: str | None = None  # why there never will be a thumbnail, in one line


class ContactSheet(NamedTuple):
    """A contact sheet of at most 1600 × 1600 pixels and 1 MB, a JPEG, and what was drawn of each picture, in order."""

    picture: bytes | None = None
    drawn: tuple[DrawResult, ...] = ()
    error: str | None = None  # why there is no contact sheet, in one line
