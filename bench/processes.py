"""Servers as processes of their own: started, pinned, measured from outside, ended."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

SERVER_CORE = {0}
LOAD_CORE = {1} if (os.cpu_count() or 1) > 1 else {0}
_TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(
    *command: str, env: Mapping[str, str] | None = None, cores: set[int] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process of this Python on the given cores; ended with SIGTERM, and after 10 s with SIGKILL."""
    running = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **(env or {})},
        preexec_fn=lambda: os.sched_setaffinity(0, cores or SERVER_CORE),
    )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        if running.stdout:
            running.stdout.close()


def port_of(running: subprocess.Popen[str]) -> int:
    """The port that a server of `bench.servers` prints when it listens."""
    assert running.stdout is not None
    return int(running.stdout.readline())


def resident_mb(pid: int) -> float:
    """Resident memory in MB, as the kernel accounts it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no VmRSS")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
