"""The child: takes limits upon itself, then reads the pictures it is told of and writes what it drew of each.

In comes `{"limits": [...], "pictures": [[caption, path], ...]}`, out go records: a line of JSON, then as many bytes as
its `size` says. The first tells which limits it could not have, then comes one for each picture as soon as it is drawn,
then one for the contact sheet. Whoever reads along knows, if it dies, which picture it was at.
"""

import json
import os
import resource
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from receiver.pictures import Drawn, Limits

NICENESS = 10
_DESCRIPTORS = 16
_FOR_PICTURES = 0.75  # of its CPU time


def run(task: BinaryIO, out: BinaryIO) -> None:
    """Do what `task` says, and write to `out` until all is drawn."""
    asked = json.load(task)
    limits = Limits(*asked["limits"])
    _write(out, {"without": list(confine(limits))})
    # Only now: what Pillow does, it does within the limits.
    from receiver.pictures import drawing

    pictures: list[tuple[str, str]] = asked["pictures"]
    sheet = drawing.Sketch(len(pictures), limits.pixels)
    for caption, path in pictures:
        try:
            with _opened(path) as file:
                # What is left is for the sheet: one with some of them is better than none.
                late = time.process_time() > limits.cpu_s * _FOR_PICTURES
                drawn = Drawn(error="the others took all the time") if late else sheet.add(caption, file)
        except OSError as error:
            drawn = Drawn(error=f"cannot be read: {error.strerror or error}")
        fields = {"width": drawn.width, "height": drawn.height, "error": drawn.error}
        _write(out, fields, drawn.small)
    try:
        _write(out, {}, sheet.finished())
    except MemoryError:
        _write(out, {"error": "needs more memory than it may have"})


def confine(limits: Limits) -> Iterator[str]:
    """Take the limits; yields a word for each that the system does not let us have (a filter of system calls, say)."""
    os.umask(0o077)
    megabyte = 1 << 20
    wanted = (
        ("memory", resource.RLIMIT_AS, limits.memory_mb * megabyte, limits.memory_mb * megabyte),
        # the first ends it with SIGXCPU, which says what happened; SIGKILL follows
        ("CPU time", resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1),
        ("file size", resource.RLIMIT_FSIZE, 0, 0),  # what it draws goes into a pipe
        ("descriptors", resource.RLIMIT_NOFILE, _DESCRIPTORS, _DESCRIPTORS),
        ("processes", resource.RLIMIT_NPROC, 0, 0),
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


def _opened(path: str) -> BinaryIO:
    """A file that is nothing but a file: opening a pipe would wait for ever. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a file")
    return os.fdopen(descriptor, "rb")


def _write(out: BinaryIO, fields: dict[str, Any], content: bytes | None = None) -> None:
    line = {**fields, "size": len(content or b"")}
    try:
        out.write(json.dumps(line).encode() + b"\n")
        out.write(content or b"")
        out.flush()
    except BrokenPipeError:
        sys.exit(1)  # nobody is there any more
