"""The receiver's memory: idle, after many callbacks whose notices were sent, and at the peak of a flood.

`python -m bench.memory [--callbacks N]` runs `receiver serve` with a json:// sink for its notices. All figures are
resident memory as the kernel counts it, seen from outside, from a single run: between runs, memory varies by a megabyte
or two.
"""

import argparse
import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from msgspec import Struct

from bench.load import pack_requests, post_request
from bench.processes import LOAD_CORE, free_port, resident_mb, start_module, wait_for_answer
from bench.samples import KEY, TableRow, completed_body, fill_store, service_env, waiting_tasks
from receiver.tokens import Ring

CALLBACKS = 10_000
CONNECTIONS = 64
LARGE = 200_000  # bytes of a callback in the flood, so that few senders reach the limits in bytes
FLOOD_CONNECTIONS = 256
PATIENCE_S = 300.0
GOALS_MB = {"idle": 40, "after": 65}


class MemoryUse(Struct, frozen=True):
    """Megabytes just after a start on an empty database, at the peak of the callbacks, after their notices were sent,
    and at the peak of the flood."""

    idle: float
    busiest: float
    after: float
    flooded: float


class _CountingSink:
    """A json:// target that counts its messages."""

    def __init__(self) -> None:
        self.count = 0
        self._moved = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        async with self._moved:
            self.count += 1
            self._moved.notify_all()

    async def wait_for_count(self, count: int) -> None:
        """Wait until it got `count` messages. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S), self._moved:
            await self._moved.wait_for(lambda: self.count >= count)


@contextlib.asynccontextmanager
async def _open_sink() -> AsyncIterator[tuple[_CountingSink, str]]:
    sink = _CountingSink()
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0)
    async with server:
        yield sink, f"json://127.0.0.1:{server.sockets[0].getsockname()[1]}/sink"


def measure_memory(count: int = CALLBACKS) -> MemoryUse:
    """Run the service once: `count` callbacks of 1 KB that each settle a task and owe a notice, then a flood."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        return asyncio.run(_measure_run(count, Path(name).resolve()))


async def _measure_run(count: int, folder: Path) -> MemoryUse:
    tasks = waiting_tasks(count)
    await fill_store(folder / "receiver.db", tasks)
    ring = Ring([KEY])
    small, large = folder / "small", folder / "large"
    paths = [f"/callbacks/{ring.token(it.ref)}" for it in tasks]
    pack_requests(
        (post_request(path, completed_body(it.task_id or "")) for path, it in zip(paths, tasks, strict=True)), small
    )
    pack_requests(
        (post_request(path, json.dumps({"pad": "x" * LARGE}).encode()) for path in paths[: 2 * FLOOD_CONNECTIONS]),
        large,
    )
    async with _open_sink() as (sink, url):
        (folder / "empty").mkdir()
        with _serve_folder(folder / "empty", url) as (pid, port):
            await asyncio.to_thread(wait_for_answer, port, "/readyz")
            idle = resident_mb(pid)
        with _serve_folder(folder, url) as (pid, port):
            await asyncio.to_thread(wait_for_answer, port, "/readyz")
            await _run_load(port, CONNECTIONS, small)
            busiest = _peak_mb(pid)
            await sink.wait_for_count(count)
            after = resident_mb(pid)
            _forget_peak(pid)
            await _run_load(port, FLOOD_CONNECTIONS, large)
            return MemoryUse(idle, busiest, after, _peak_mb(pid))


@contextlib.contextmanager
def _serve_folder(folder: Path, sink_url: str) -> Iterator[tuple[int, int]]:
    """Run `receiver serve` in a folder; yields its process id and port."""
    port = free_port()
    env = service_env(folder, RECEIVER_PORT=str(port), RECEIVER_NOTIFY_URLS=sink_url)
    with start_module("receiver", "serve", env=env) as running:
        yield running.pid, port


async def _run_load(port: int, connections: int, requests: Path) -> None:
    def run_process() -> None:
        with start_module("bench.load", str(port), str(connections), str(requests), cores=LOAD_CORE) as running:
            assert running.stdout is not None
            running.stdout.readline()

    await asyncio.to_thread(run_process)


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no VmHWM")


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): VmHWM is set to VmRSS


def rows(count: int = CALLBACKS) -> list[TableRow]:
    """The lines of the table."""
    found = measure_memory(count)
    return [
        ("memory idle", f"{found.idle:.0f} MB", f"at most {GOALS_MB['idle']}"),
        (f"memory while {count:,} callbacks come in", f"{found.busiest:.0f} MB", "its peak"),
        ("memory when their notices are sent", f"{found.after:.0f} MB", f"at most {GOALS_MB['after']}"),
        (
            f"memory in a flood of {LARGE // 1000} KB bodies",
            f"{found.flooded:.0f} MB",
            f"its peak, {FLOOD_CONNECTIONS} connections",
        ),
    ]


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(prog="python -m bench.memory")
    arguments.add_argument("--callbacks", type=int, default=CALLBACKS)
    for row in rows(arguments.parse_args().callbacks):
        print(f"| {' | '.join(row)} |")
