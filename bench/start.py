"""From the start of the process to its first answer: the whole service, and a bare uvicorn with a Starlette app."""

import statistics
import tempfile
import time
from pathlib import Path

from bench.processes import answered, free_port, started
from bench.samples import Row, environment

ALTERNATIONS = 11


def rows() -> list[Row]:
    """Start to ready, side by side: medians, after one start of each that compiles what is not compiled yet."""
    pairs = [_pair() for _ in range(1 + ALTERNATIONS)][1:]
    ratio = statistics.median(ours / theirs for theirs, ours in pairs)
    bare, ready = (statistics.median(each) for each in zip(*pairs, strict=True))
    return [("start to ready", f"{ready:.2f} s", f"{ratio:.2f} times a bare uvicorn's {bare:.2f} s")]


def _pair() -> tuple[float, float]:
    """Seconds: theirs, and ours, which makes its database first: its longer start."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        return _seconds("/", 404, "bench.bare"), _seconds("/readyz", 200, "receiver", "serve", folder=folder)


def _seconds(path: str, status: int, *command: str, folder: str = ".") -> float:
    port = free_port()
    # Compiled once and kept, as where it is installed, though whoever runs this may have told Python to keep nothing.
    env = environment(Path(folder).resolve(), RECEIVER_PORT=str(port), PYTHONDONTWRITEBYTECODE="")
    began = time.perf_counter()
    with started(*command, *([str(port)] if command == ("bench.bare",) else []), env=env):
        if (heard := answered(port, path)) != status:
            raise SystemExit(f"{command[0]} answered {heard} to its first request")
        return time.perf_counter() - began
