"""One picture in a process of its own: whatever it does there, those beside it are drawn all the same.

What comes back from there is not trusted: a picture may have taken the process over.
"""

import contextlib
import math
import os
import resource
import select
import signal
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from receiver.pictures.drawing.protocol import DrawResult

Size = tuple[int, int]

SMALL_MOST = 4 << 20  # bytes of a thumbnail
SIDE_MOST = 1600  # pixels, either side of a tile
# width, height (0: unknown), bytes of error and of thumbnail, width and height of the tile
_HEAD = struct.Struct("<6I")
_SAID_MOST = _HEAD.size + (1 << 16) + SMALL_MOST + 3 * SIDE_MOST**2
_LIED = "damaged: the process that drew it is not itself after it"
_WORDS = {
    signal.SIGXCPU: "drawing it takes too long",
    signal.SIGKILL: "drawing it was killed: too little memory, or too long",
    signal.SIGSEGV: "damaged: its decoder broke",
    signal.SIGABRT: "damaged: its decoder broke",
}


class SheetTile(NamedTuple):
    """A picture for the sheet: rows of pixels, each red, green and blue in a byte."""

    size: Size
    pixels: bytes


Work = Callable[[], tuple[DrawResult, SheetTile | None]]
"""Draws a thumbnail and a tile; the latter None where there is no thumbnail."""


def run_isolated(work: Work, within_s: float) -> tuple[DrawResult, SheetTile | None, bool]:
    """What `work` gave in a process of its own, and whether that process died of it, which the picture is blamed for.

    Raises TimeoutError after `within_s` seconds by the clock, which blames nobody; and OSError without a process.
    """
    until = time.monotonic() + within_s
    reader, writer = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        raise
    if child == 0:
        _run_in_child(work, reader, writer, within_s)
    os.close(writer)
    try:
        said = _read_reply(reader, until)
    finally:
        os.close(reader)
        # Of one that closed its pipe by dying, this changes nothing: how it ended is settled by then.
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if said is None:
        return DrawResult(error=_LIED), None, True
    try:
        return *_unpack_reply(said), False
    except ValueError:
        return DrawResult(error=_LIED), None, True
    except struct.error:  # it ended before it had said anything, or in the midst of it
        return DrawResult(error=_death_reason(os.waitstatus_to_exitcode(status))), None, True


def _run_in_child(work: Work, reader: int, writer: int, within_s: float) -> None:
    """The process of the picture's own; never returns."""
    code = 70  # EX_SOFTWARE
    try:
        signal.alarm(math.ceil(within_s) + 1)  # where whoever waits for it is killed
        os.close(reader)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        with contextlib.suppress(OSError, ValueError):  # where limits are forbidden, `confine` has said so
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        left = memoryview(_pack_reply(*work()))
        while left:
            left = left[os.write(writer, left) :]
        code = 0
    finally:
        os._exit(code)


def _read_reply(reader: int, until: float) -> bytes | None:
    """All that is said; None if it is too much. Raises TimeoutError."""
    said = bytearray()
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            raise TimeoutError
        chunk = os.read(reader, 1 << 20)
        if not chunk:
            return bytes(said)
        said += chunk
        if len(said) > _SAID_MOST:
            return None


def _pack_reply(drawn: DrawResult, tile: SheetTile | None) -> bytes:
    error, small = (drawn.error or "").encode()[: 1 << 16], drawn.small or b""
    wide, high = tile.size if tile else (0, 0)
    head = _HEAD.pack(drawn.width or 0, drawn.height or 0, len(error), len(small), wide, high)
    return head + error + small + (tile.pixels if tile else b"")


def _unpack_reply(said: bytes) -> tuple[DrawResult, SheetTile | None]:
    """Raises struct.error if there is too little of it, ValueError if it cannot be."""
    width, height, error_size, small_size, wide, high = _HEAD.unpack_from(said)
    small_at = _HEAD.size + error_size
    tile_at = small_at + small_size
    size = tile_at + wide * high * 3
    if max(wide, high) > SIDE_MOST or small_size > SMALL_MOST or len(said) > size:
        raise ValueError("too large")
    if len(said) < size:
        raise struct.error("cut off")
    error, small = said[_HEAD.size : small_at].decode(errors="replace"), said[small_at:tile_at]
    if bool(small) is not small.startswith(b"\xff\xd8\xff") or bool(small) is not bool(wide and high):
        raise ValueError("not a JPEG, or not with its tile")
    if small and error:
        raise ValueError("both drawn and not")
    drawn = DrawResult(small or None, width or None, height or None, error or None)
    return drawn, SheetTile((wide, high), said[tile_at:]) if small else None


def _death_reason(code: int) -> str:
    """Why the process ended, in words about the picture."""
    try:
        reason = signal.Signals(-code)
    except ValueError:
        return f"drawing it ended its process: status {code}"
    return _WORDS.get(reason, f"drawing it ended its process: {reason.name}")
