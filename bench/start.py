"""Time from process start to the first answer: the whole service, beside a bare uvicorn with a Starlette app."""

import statistics
import tempfile
import time
from pathlib import Path

from bench.processes import free_port, start_module, wait_for_answer
from bench.samples import TableRow, service_env

ALTERNATIONS = 11


def rows() -> list[TableRow]:
    """Start to ready, side by side: medians, after one start of each that compiles the modules."""
    pairs = [_measure_pair() for _ in range(1 + ALTERNATIONS)][1:]
    ratio = statistics.median(ours / theirs for theirs, ours in pairs)
    bare, ready = (statistics.median(each) for each in zip(*pairs, strict=True))
    return [("start to ready", f"{ready:.2f} s", f"{ratio:.2f} times a bare uvicorn's {bare:.2f} s")]


def _measure_pair() -> tuple[float, float]:
    """Seconds: theirs, and ours, which includes creating a database."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        return _seconds_to_answer("/", 404, "bench.bare"), _seconds_to_answer(
            "/readyz", 200, "receiver", "serve", folder=folder
        )


def _seconds_to_answer(path: str, status: int, *command: str, folder: str = ".") -> float:
    port = free_port()
    # Keep compiled modules as an installation does, even if this shell sets PYTHONDONTWRITEBYTECODE.
    env = service_env(Path(folder).resolve(), RECEIVER_PORT=str(port), PYTHONDONTWRITEBYTECODE="")
    began = time.perf_counter()
    with start_module(*command, *([str(port)] if command == ("bench.bare",) else []), env=env):
        if (heard := wait_for_answer(port, path)) != status:
            raise SystemExit(f"{command[0]} answered {heard} to its first request")
        return time.perf_counter() - began
