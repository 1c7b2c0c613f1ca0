"""Starts servers as processes, pins them to a core, measures them from outside and stops them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

SERVER_CORE = {0}
LOAD_CORE = {1} if (os.cpu_count() or 1) > 1 else {0}
PATIENCE_S = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")


def start_module(
    *command: str, env: Mapping[str, str] | None = None, cores: set[int] | None = None
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """Run a module of this Python as a process, by default on the servers' core; see `start_process`."""
    return start_process(sys.executable, "-m", *command, env=env, cores=cores)


@contextlib.contextmanager
def start_process(
    *command: str, env: Mapping[str, str] | None = None, cores: set[int] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a process, by default on the servers' core; afterwards stop it with SIGTERM, after 10 s with SIGKILL."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **(env or {})},
        preexec_fn=lambda: os.sched_setaffinity(0, cores or SERVER_CORE),
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def port_of(process: subprocess.Popen[str]) -> int:
    """The port that a server of `bench.servers` or `bench.bare` prints once it listens."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def free_port() -> int:
    """An unused loopback port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for_answer(port: int, path: str) -> int:
    """Repeat a GET until it is answered, and return the status; SystemExit after `PATIENCE_S`."""
    until = time.perf_counter() + PATIENCE_S
    while time.perf_counter() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as asking:
            asking.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            if head := asking.recv(64):
                return int(head[9:12])
        time.sleep(0.002)
    raise SystemExit(f"no answer on port {port} within {PATIENCE_S:g} s")


def resident_mb(pid: int) -> float:
    """Resident memory in MB, as the kernel counts it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no VmRSS")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
