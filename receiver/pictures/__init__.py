"""Thumbnails and contact sheets, drawn from files that strangers made, in a child process with limits.

These are its words; `studio` starts the child, which is `python -m receiver.pictures`: `child` sets the limits and
answers, `drawing` draws. All that is imported here is imported there too, and counts against its memory and its time:
hence named tuples, and nothing but the standard library.
"""

from typing import NamedTuple

MOST = 36
"""Pictures on one contact sheet."""


class Limits(NamedTuple):
    """What the child may use."""

    memory_mb: int = 192  # of address space; a decoded picture takes 4 bytes a pixel, a WebP 16 as it is read
    cpu_s: int = 8
    pixels: int = 20_000_000  # of one picture, by its header; a third of it for a WebP


class Drawn(NamedTuple):
    """What was drawn of one picture: `small`, a JPEG of at most 512 pixels; and how large it is itself, upright."""

    small: bytes | None = None
    width: int | None = None
    height: int | None = None
    error: str | None = None  # why there is no thumbnail, in one line


class Sheet(NamedTuple):
    """A contact sheet of at most 1600 × 1600 pixels and 1 MB, a JPEG, and what was drawn of each picture, in order."""

    picture: bytes | None = None
    drawn: tuple[Drawn, ...] = ()
    error: str | None = None  # why there is no contact sheet, in one line
