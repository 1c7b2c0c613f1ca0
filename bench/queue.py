"""The queue against the sandbox: how long 500 one-second tasks take with ten places, and what many queued tasks cost.

The width is measured as it is, with a provider that takes fewer at once than is configured, and with one that refuses a
tenth at random (`--reject 0.1`: half 429 with Retry-After 1, half 503). Then 100,000 tasks are queued through the API
while nothing listens at the provider's address.
"""

import asyncio
import os
import re
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
from msgspec import Struct

from bench.processes import cpu_seconds, free_port, resident_mb, start_module, wait_for_answer
from bench.samples import TableRow, service_env
from receiver.core.types import LanePriority, QueueLane, Task, TaskState
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import open_store
from receiver.tokens import new_ref

TASKS = 500
PLACES = 10
CALL = 100  # tasks in one call
INTAKE = 10_000
QUEUED = 100_000
DOWN_S = 120.0
CLAIMS = 300
LANES = 200
PATIENCE_S = 400.0
HERE = os.getcwd()
TOKEN = "bench-only-token-bench-only-token"  # noqa: S105 - only for this benchmark
TASK = {"model": "midjourney_outpaint", "params": {"jobId": "5a5a5a5a", "imageNo": 0, "scale": 1.5}}


class _Service(Struct, frozen=True, eq=False):
    """A service under measurement: its process, its API, and the port at which it looks for its provider."""

    pid: int
    http: httpx.AsyncClient
    provider: int

    async def queue(self, count: int) -> None:
        """Queue tasks in calls of `CALL`."""
        for at in range(0, count, CALL):
            body = {"tasks": [TASK] * min(CALL, count - at)}
            (await self.http.post("/api/v1/tasks/batch", json=body)).raise_for_status()

    async def count(self, metric: str) -> int:
        """The sum of a counter over the given labels."""
        text = (await self.http.get("/metrics")).text
        return sum(int(float(found)) for found in re.findall(rf"^{metric}.* ([0-9.e+]+)$", text, re.MULTILINE))


@contextmanager
def _run_sandbox(port: int, *options: str) -> Iterator[None]:
    with start_module("receiver", "sandbox", "--port", str(port), "--latency", "1", *options) as sandbox:
        assert sandbox.stdout is not None
        threading.Thread(target=sandbox.stdout.read, daemon=True).start()  # a line for each submission
        yield


@asynccontextmanager
async def _run_service(name: str) -> AsyncIterator[_Service]:
    folder = Path(name)
    port, provider = free_port(), free_port()
    env = service_env(
        folder,
        RECEIVER_PORT=str(port),
        RECEIVER_PUBLIC_URL=f"http://127.0.0.1:{port}",
        RECEIVER_API_TOKENS=TOKEN,
        RECEIVER_PROVIDER_URL=f"http://127.0.0.1:{provider}/model/v1/generation",
        RECEIVER_PROVIDER_KEY="bench-only-provider-key",
        RECEIVER_PROVIDER_CONCURRENCY=str(PLACES),
        RECEIVER_NOTIFY_URLS="",
    )
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=bearer, timeout=30) as http:
        with start_module("receiver", "serve", env=env) as service:
            await asyncio.to_thread(wait_for_answer, port, "/readyz")
            yield _Service(service.pid, http, provider)


async def measure_width(*options: str) -> tuple[float, int]:
    """Seconds for `TASKS` one-second tasks, and how many submissions the provider was too busy for."""
    with tempfile.TemporaryDirectory(dir=HERE) as name:
        async with _run_service(name) as service:
            with _run_sandbox(service.provider, *options):
                await asyncio.to_thread(wait_for_answer, service.provider, "/model/v1/generation")
                await service.queue(TASKS)
                began = time.monotonic()
                while await service.count('receiver_tasks_total{.*state="completed"') < TASKS:
                    if time.monotonic() > began + PATIENCE_S:
                        raise SystemExit(f"{TASKS} tasks did not end within {PATIENCE_S:.0f} s")
                    await asyncio.sleep(0.2)
                return time.monotonic() - began, await service.count('receiver_submissions_total{result="busy"')


async def measure_down() -> tuple[float, float, int, float, float]:
    """With 100,000 queued and nothing at the provider's address: tasks per second that were queued, megabytes more for
    it, connections tried in two minutes, share of a core, and seconds from the provider's return to the first task."""
    with tempfile.TemporaryDirectory(dir=HERE) as name:
        async with _run_service(name) as service:
            await service.queue(CALL)
            idle_mb, began = resident_mb(service.pid), time.monotonic()
            await service.queue(INTAKE)
            rate, grown = INTAKE / (time.monotonic() - began), resident_mb(service.pid) - idle_mb
            await service.queue(QUEUED - INTAKE - CALL)
            tried = await service.count('receiver_submissions_total{result="not_sent"')
            cpu, began = cpu_seconds(service.pid), time.monotonic()
            await asyncio.sleep(DOWN_S)
            share = (cpu_seconds(service.pid) - cpu) / (time.monotonic() - began)
            tried = await service.count('receiver_submissions_total{result="not_sent"') - tried
            with _run_sandbox(service.provider):
                began = time.monotonic()
                while not await service.count('receiver_submissions_total{result="taken"'):  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(0.2)
                return rate, grown, tried, share, time.monotonic() - began


async def measure_claims(queued: int, lanes: int = 0) -> float:
    """Milliseconds until the next task is found, the median of `CLAIMS`, with 50 that were put off in front; `lanes`:
    spread over so many batches."""
    now = 1_790_000_000_000
    with tempfile.TemporaryDirectory(dir=HERE) as name:
        store = await open_store(Path(name, "receiver.db"))
        for number in range(lanes):
            async with store.write() as tx:
                lane = QueueLane(id=0, name=f"rows-{number}", batch=True, priority=LanePriority.LOW, created_at=now)
                await tx.lanes.insert(lane)
        ids = [lane.id for lane in (await store.lanes.by_name([f"rows-{n}" for n in range(lanes)])).values()] or [2]
        tasks = [
            Task(
                ref=new_ref(now + turn),
                created_at=now,
                provider=DEFAULT_PROVIDER,
                state=TaskState.QUEUED,
                model="midjourney_outpaint",
                lane=ids[turn % len(ids)],
                turn=turn,
                due_at=now + (60_000 if turn < 50 else 0),
            )
            for turn in range(queued)
        ]
        for at in range(0, queued, 500):
            async with store.write() as tx:
                await tx.tasks.insert(tasks[at : at + 500])
        took = []
        for _ in range(CLAIMS):
            began = time.perf_counter()
            found = await store.tasks.next_queued(now)
            took.append(time.perf_counter() - began)
            assert found is not None
        await store.close()
        return statistics.median(took) * 1_000


def rows() -> list[TableRow]:
    """The lines of the table."""
    return asyncio.run(_rows())


async def _rows() -> list[TableRow]:
    ideal = TASKS / PLACES
    widths: list[TableRow] = []
    runs: Sequence[tuple[str, tuple[str, ...], str]] = (
        ("as many as are configured", (), f"at most {1.1 * ideal:.0f} s"),
        ("the provider takes 6 at once", ("--limit", "6"), "at most 92 s and 8 refused"),
        ("a tenth is refused at random", ("--reject", "0.1"), "at most 75 s"),
    )
    for what, options, goal in runs:
        seconds, busy = await measure_width(*options)
        widths.append((f"{TASKS} one-second tasks, ten places: {what}", f"{seconds:.0f} s, {busy} refused", goal))
    few, many, spread = [await measure_claims(*it) for it in ((100, 0), (QUEUED, 0), (2_000, LANES))]
    rate, grown, tried, share, back_s = await measure_down()
    return [
        *widths,
        (f"the next of {QUEUED:,} queued tasks is found in", f"{many:.2f} ms", f"{few / many:.2f} of the rate at 100"),
        (f"the next over {LANES} batches", f"{spread:.2f} ms", "at most 2 ms"),
        (f"{INTAKE:,} tasks through the API, {CALL} a call", f"{rate:,.0f} / s", f"{grown:+.0f} MB"),
        (f"provider down for {DOWN_S:.0f} s, {QUEUED:,} queued", f"{tried} tries, {share:.1%} of a core", "12, 2 %"),
        ("after it is back, the first is taken after", f"{back_s:.0f} s", "at most 60 s"),
    ]
