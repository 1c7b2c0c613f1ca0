"""The child process: limits itself, has each picture drawn in a process of its own, and puts the results on the sheet.

It reads `{"limits": [...], "pictures": [[caption, path], ...]}` and writes records: a line of JSON, then as many bytes
as its `size` and its `tiny` say. The first record lists the limits that the system refused. One for each picture
follows, as soon as that is drawn, and one for the contact sheet. The child never opens a picture itself.
"""

import json
import os
import resource
import stat
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from receiver.pictures.drawing.isolated import SheetTile, run_isolated
from receiver.pictures.drawing.protocol import DrawLimits, DrawResult

if TYPE_CHECKING:
    from receiver.pictures.drawing.draw import SheetCanvas

NICENESS = 10
_DESCRIPTORS = 16


def run_child(task: BinaryIO, out: BinaryIO) -> None:
    """Draw what `task` asks for, and write the records to `out`."""
    asked = json.load(task)
    limits = DrawLimits(*asked["limits"])
    _write_record(out, {"without": list(apply_rlimits(limits))})
    # Only now, so that Pillow runs within the limits.
    from receiver.pictures.drawing import draw

    pictures: list[tuple[str, str]] = asked["pictures"]
    sheet = draw.SheetCanvas(len(pictures), limits.pixels)
    until = time.monotonic() + limits.within_s
    for place, (caption, path) in enumerate(pictures, 1):
        # A share each: one that hangs, or a machine too busy to end it by its CPU time, leaves time for the others.
        share_s = (until - time.monotonic()) / (1 if place == len(pictures) else 2)
        drawn, tile, died = DrawResult(), None, False
        fields: dict[str, Any] = {}
        try:
            drawn, tile, died = run_isolated(partial(_draw_picture, sheet, path), share_s)
        except TimeoutError:
            fields["why"] = "there was no time for it"
        except OSError as error:
            fields["why"] = f"cannot start a process for it: {error.strerror or error}"
        if tile is not None:
            sheet.add_tile(caption, tile.size, tile.pixels)
        fields |= {"width": drawn.width, "height": drawn.height, "error": drawn.error, "died": died}
        _write_record(out, fields, drawn.small, drawn.tiny)
    try:
        _write_record(out, {}, sheet.encode_sheet())
    except MemoryError:
        _write_record(out, {"error": "it needs more memory than the limit"})


def _draw_picture(sheet: "SheetCanvas", path: str) -> tuple[DrawResult, SheetTile | None]:
    """Runs in the picture's own process: draws its thumbnails and its tile."""
    try:
        with _open_regular_file(path) as file:
            drawn, tile = sheet.draw_picture(file)
    except OSError as error:
        return DrawResult(error=f"cannot be read: {error.strerror or error}"), None
    return drawn, SheetTile(tile.size, tile.tobytes()) if tile else None


def apply_rlimits(limits: DrawLimits) -> Iterator[str]:
    """Apply the limits to this process; yields a line for each one that the system refuses (a seccomp filter may)."""
    os.umask(0o077)
    megabyte = 1 << 20
    wanted = (
        ("memory", resource.RLIMIT_AS, limits.memory_mb * megabyte, limits.memory_mb * megabyte),
        # SIGXCPU ends it first, which says what happened; SIGKILL follows; each picture's process has its own time
        ("CPU time", resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1),
        ("file size", resource.RLIMIT_FSIZE, 0, 0),  # the results go into a pipe
        ("descriptors", resource.RLIMIT_NOFILE, _DESCRIPTORS, _DESCRIPTORS),
        ("core", resource.RLIMIT_CORE, 0, 0),
    )
    for name, what, soft, hard in wanted:
        try:
            most = resource.getrlimit(what)[1]
            if most != resource.RLIM_INFINITY:
                soft, hard = min(soft, most), min(hard, most)
            resource.setrlimit(what, (soft, hard))
        except (OSError, ValueError) as error:
            yield f"{name}: {error}"
    try:
        os.nice(NICENESS)
    except OSError as error:
        yield f"niceness: {error}"


def _open_regular_file(path: str) -> BinaryIO:
    """Open a regular file and nothing else: opening a pipe would block for ever. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a file")
    return os.fdopen(descriptor, "rb")


def _write_record(
    out: BinaryIO, fields: dict[str, Any], content: bytes | None = None, tiny: bytes | None = None
) -> None:
    line = {**fields, "size": len(content or b""), "tiny": len(tiny or b"")}
    try:
        out.write(json.dumps(line).encode() + b"\n")
        out.write(content or b"")
        out.write(tiny or b"")
        out.flush()
    except BrokenPipeError:
        sys.exit(1)  # the service is gone
