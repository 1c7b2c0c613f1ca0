"""Draws one picture in a process of its own: whatever it does there, the others are drawn all the same.

The result is not trusted: a picture may have taken over its process.
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
TINY_MOST = 1 << 20  # bytes of the second thumbnail
# width, height (0: unknown), bytes of error and of both thumbnails, width and height of the tile
_HEAD = struct.Struct("<7I")
_REPLY_MOST = _HEAD.size + (1 << 16) + SMALL_MOST + TINY_MOST + 3 * SIDE_MOST**2
_LIED = "damaged: the process that drew it returned nonsense"
_WORDS = {
    signal.SIGXCPU: "drawing it takes too long",
    signal.SIGKILL: "drawing it was killed: out of memory, or out of time",
    signal.SIGSEGV: "damaged: its decoder broke",
    signal.SIGABRT: "damaged: its decoder broke",
}


class SheetTile(NamedTuple):
    """A picture for the sheet: rows of pixels, a byte each for red, green and blue."""

    size: Size
    pixels: bytes


Work = Callable[[], tuple[DrawResult, SheetTile | None]]
"""Draws thumbnails and a tile; without a thumbnail, the tile is None."""


def run_isolated(work: Work, within_s: float) -> tuple[DrawResult, SheetTile | None, bool]:
    """Run `work` in a process of its own; returns its result, and whether the picture made that process die.

    Raises TimeoutError after `within_s` seconds (not the picture's fault), and OSError if there is no process.
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
        reply = _read_reply(reader, until)
    finally:
        os.close(reader)
        # If it closed its pipe by dying, this changes nothing: its exit status is final by then.
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if reply is None:
        return DrawResult(error=_LIED), None, True
    try:
        return *_unpack_reply(reply), False
    except ValueError:
        return DrawResult(error=_LIED), None, True
    except struct.error:  # it ended before or while it wrote its result
        return DrawResult(error=_death_reason(os.waitstatus_to_exitcode(status))), None, True


def _run_in_child(work: Work, reader: int, writer: int, within_s: float) -> None:
    """Runs in the picture's own process; never returns."""
    code = 70  # EX_SOFTWARE
    try:
        signal.alarm(math.ceil(within_s) + 1)  # in case the parent is killed
        os.close(reader)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        with contextlib.suppress(OSError, ValueError):  # if limits are refused, `apply_rlimits` has reported it
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        left = memoryview(_pack_reply(*work()))
        while left:
            left = left[os.write(writer, left) :]
        code = 0
    finally:
        os._exit(code)


def _read_reply(reader: int, until: float) -> bytes | None:
    """Everything that the process writes; None if that is too much. Raises TimeoutError."""
    reply = bytearray()
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            raise TimeoutError
        chunk = os.read(reader, 1 << 20)
        if not chunk:
            return bytes(reply)
        reply += chunk
        if len(reply) > _REPLY_MOST:
            return None


def _pack_reply(drawn: DrawResult, tile: SheetTile | None) -> bytes:
    error, small, tiny = (drawn.error or "").encode()[: 1 << 16], drawn.small or b"", drawn.tiny or b""
    wide, high = tile.size if tile else (0, 0)
    head = _HEAD.pack(drawn.width or 0, drawn.height or 0, len(error), len(small), len(tiny), wide, high)
    return head + error + small + tiny + (tile.pixels if tile else b"")


def _unpack_reply(reply: bytes) -> tuple[DrawResult, SheetTile | None]:
    """Raises struct.error if the reply is cut off, ValueError if it makes no sense."""
    width, height, error_size, small_size, tiny_size, wide, high = _HEAD.unpack_from(reply)
    small_at = _HEAD.size + error_size
    tiny_at = small_at + small_size
    tile_at = tiny_at + tiny_size
    size = tile_at + wide * high * 3
    if max(wide, high) > SIDE_MOST or small_size > SMALL_MOST or tiny_size > TINY_MOST or len(reply) > size:
        raise ValueError("too large")
    if len(reply) < size:
        raise struct.error("cut off")
    error, small = reply[_HEAD.size : small_at].decode(errors="replace"), reply[small_at:tiny_at]
    tiny = reply[tiny_at:tile_at]
    if tiny and not (small and tiny.startswith(b"\xff\xd8\xff")):
        raise ValueError("not a JPEG, or without the larger one")
    if bool(small) is not small.startswith(b"\xff\xd8\xff") or bool(small) is not bool(wide and high):
        raise ValueError("not a JPEG, or not with its tile")
    if small and error:
        raise ValueError("both drawn and not")
    drawn = DrawResult(small or None, width or None, height or None, error or None, tiny or None)
    return drawn, SheetTile((wide, high), reply[tile_at:]) if small else None


def _death_reason(code: int) -> str:
    """Why the process ended, as the error of its picture."""
    try:
        reason = signal.Signals(-code)
    except ValueError:
        return f"drawing it ended its process: status {code}"
    return _WORDS.get(reason, f"drawing it ended its process: {reason.name}")
