"""Ten thousand due notices over ten json:// sinks, and how much a hanging target delays the others.

The whole service runs as a separate process; the sinks run in this one.
"""

import asyncio
import contextlib
import re
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from msgspec.structs import replace

from bench.processes import cpu_seconds, free_port, resident_mb, start_module, wait_for_answer
from bench.samples import KEY, TableRow, completed_body, fill_store, service_env, waiting_tasks
from receiver.config.target_urls import simple_name
from receiver.core.types import Image, Notice, NoticeEvent, Report, Task
from receiver.store import open_store
from receiver.tokens import Ring, new_ref

TARGETS = 10
NOTICES = 10_000
PER_SECOND = 5  # callbacks; each owes every target a message
SECONDS = 8
PATIENCE_S = 120.0
_LABEL = re.compile(rb"drain-(\d+)-")


class DrainSinks:
    """json:// targets by path; they record when each message arrived. `/hang` reads everything and never answers."""

    def __init__(self) -> None:
        self.port = 0
        self.arrivals: list[tuple[bytes, int, float]] = []  # target, number, when
        self.hanging = 0
        self._wanted = 0
        self._enough = asyncio.Event()

    async def wait_for_messages(self, count: int) -> None:
        """Wait until this many messages arrived. Raises TimeoutError."""
        self._wanted = count
        if len(self.arrivals) < count:
            self._enough.clear()
            await asyncio.wait_for(self._enough.wait(), PATIENCE_S)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Receive one message."""
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if path == b"/hang":
                self.hanging += 1
                with contextlib.suppress(asyncio.CancelledError):  # at the end
                    await reader.read()
                return
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            message = await reader.readexactly(length)
            at = time.perf_counter()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            if found := _LABEL.search(message):
                self.arrivals.append((path, int(found[1]), at))
                if len(self.arrivals) >= self._wanted:
                    self._enough.set()


@contextlib.asynccontextmanager
async def _open_sinks() -> AsyncIterator[DrainSinks]:
    sinks = DrainSinks()
    server = await asyncio.start_server(sinks.serve, "127.0.0.1", 0, backlog=1024)
    sinks.port = server.sockets[0].getsockname()[1]
    try:
        yield sinks
    finally:
        server.close()


def rows() -> list[TableRow]:
    """The lines of the table."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        rate, cpu_ms, resident = asyncio.run(_measure_drain(Path(name).resolve()))
    waits: list[float] = []
    for hanging in (False, True):
        with tempfile.TemporaryDirectory(dir=".") as name:
            waits.append(asyncio.run(_measure_waits(Path(name).resolve(), hanging=hanging)))
    calm, among = waits
    return [
        (
            f"{NOTICES:,} due notices over {TARGETS} targets",
            f"{rate:,.0f} / s",
            f"{cpu_ms:.1f} ms of CPU each; {resident:.0f} MB afterwards",
        ),
        (
            f"answer to message at {TARGETS} sinks, p95, beside one that hangs",
            f"{among:.0f} ms",
            f"{calm:.0f} ms without it; {PER_SECOND * TARGETS} messages a second",
        ),
    ]


async def _measure_drain(folder: Path) -> tuple[float, float, float]:
    """Messages per second, milliseconds of CPU for each, and the resident megabytes at the end."""
    async with _open_sinks() as sinks:
        urls = [f"json://127.0.0.1:{sinks.port}/{number}" for number in range(TARGETS)]
        await _fill_notices(folder / "receiver.db", [simple_name(url) for url in urls])
        port = free_port()
        env = service_env(folder, RECEIVER_PORT=str(port), RECEIVER_NOTIFY_URLS=" ".join(urls))
        with start_module("receiver", "serve", env=env) as service:
            await sinks.wait_for_messages(TARGETS)  # by now Apprise is loaded
            cpu_before, done_before, began = cpu_seconds(service.pid), len(sinks.arrivals), time.perf_counter()
            await sinks.wait_for_messages(NOTICES)
            took, done = time.perf_counter() - began, len(sinks.arrivals) - done_before
            cpu = cpu_seconds(service.pid) - cpu_before
            resident = resident_mb(service.pid)
    if len({(path, number) for path, number, _ in sinks.arrivals}) != NOTICES:
        raise SystemExit("some messages came twice, and others never arrived")
    return done / took, cpu / done * 1000, resident


async def _fill_notices(path: Path, targets: list[str]) -> None:
    """Create a database with due notices, spread evenly over the targets."""
    now = time.time_ns() // 1_000_000
    images = tuple(Image(place, f"https://cdn.example.com/pictures/{place}.png") for place in range(4))
    store = await open_store(path)
    for first in range(0, NOTICES, 500):
        async with store.write() as tx:
            await tx.notices.insert(
                Notice(
                    target=targets[number % TARGETS],
                    event=NoticeEvent.COMPLETED,
                    report=Report(
                        event=NoticeEvent.COMPLETED,
                        ref=(ref := new_ref(now)),
                        label=f"drain-{number}-",
                        model="midjourney_outpaint",
                        prompt="a house by the sea, in the light of late summer",
                        images=images,
                    ),
                    created_at=now,
                    due_at=now,
                    ref=ref,
                )
                for number in range(first, first + 500)
            )
    await store.close()


async def _measure_waits(folder: Path, *, hanging: bool) -> float:
    """The 95th percentile of the milliseconds from a callback's answer to its message at each sink."""
    count = PER_SECOND * SECONDS + 1
    tasks = [replace(task, label=f"drain-{number}-") for number, task in enumerate(waiting_tasks(count))]
    await fill_store(folder / "receiver.db", tasks)
    async with _open_sinks() as sinks:
        urls = [f"json://127.0.0.1:{sinks.port}/{number}" for number in range(TARGETS)]
        urls += [f"json://127.0.0.1:{sinks.port}/hang"] if hanging else []
        port = free_port()
        env = service_env(folder, RECEIVER_PORT=str(port), RECEIVER_NOTIFY_URLS=" ".join(urls))
        with start_module("receiver", "serve", env=env):
            await asyncio.to_thread(wait_for_answer, port, "/readyz")
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                answers = [await _post_callback(client, tasks[0])]
                await sinks.wait_for_messages(TARGETS)  # the first message loads Apprise
                began = time.perf_counter()
                for number, task in enumerate(tasks[1:]):
                    await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.perf_counter()))
                    answers.append(await _post_callback(client, task))
            await sinks.wait_for_messages(count * TARGETS)
    if hanging and not sinks.hanging:
        raise SystemExit("the service never called the hanging target")
    waits = [max(0.0, at - answers[number]) * 1000 for _, number, at in sinks.arrivals if number]
    return statistics.quantiles(waits, n=100)[94]


async def _post_callback(client: httpx.AsyncClient, task: Task) -> float:
    """Post the callback of a task; the time of its answer."""
    answer = await client.post(f"/callbacks/{Ring([KEY]).token(task.ref)}", content=completed_body(task.task_id or ""))
    at = time.perf_counter()
    answer.raise_for_status()
    return at


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row))
