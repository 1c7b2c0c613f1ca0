"""A day's work on a small machine: memory after 10,000 tasks with pictures, and what the idle service costs.

`python -m bench.day [--tasks N] [--idle SECONDS]` runs `receiver serve` with a provider and two targets on loopback.
All tasks are submitted through the API, called back at once, each with four pictures, and both targets get a ping. The
day is shortened: it ends with the last ping to json://, when the pictures of some hundred tasks are archived (a few per
second are drawn) and ntfy:// has shown some (Apprise sends one every 5.5 s). CPU is that of all threads.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from pathlib import Path

import httpx
from msgspec import Struct
from PIL import Image

from bench.processes import free_port, resident_mb, start_module, wait_for_answer
from bench.samples import TableRow, service_env

TASKS = 10_000
PICTURES = 4  # per task
SIDE = 512  # pixels
BATCH = 100
IDLE_S = 30.0
SCRAPE_S = 15.0  # between two scrapes by Prometheus
PATIENCE_S = 1200.0
KEPT, SHOWN = 200, 3  # archived tasks, and pings with pictures, before the day may end
TOKEN = "bench-only-token-bench-only-token"  # noqa: S105 - only for this benchmark
GOAL_MB, GOAL_SHARE = 90, 0.002
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class DayCost(Struct, frozen=True):
    """Megabytes of the service at its start, at the day's peak and at its end; tasks with archived pictures by then;
    seconds that the day took."""

    idle: float
    busiest: float
    after: float
    archived: int
    took_s: float


class IdleCost(Struct, frozen=True):
    """The share of a core that an idle service takes, alone and while monitored, and its wake-ups per second."""

    alone: float
    watched: float
    wakes: float


class _Surroundings:
    """The provider, its pictures, and both targets."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.pings = {"json": 0, "ntfy": 0}
        self._calls: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self._service = port
        self._count = 0
        self._pictures = [_make_png(seed) for seed in range(PICTURES)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = (asyncio.IncompleteReadError, ConnectionError)
        with contextlib.closing(writer), contextlib.suppress(*gone):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                kind, answer = self._answer_request(head.split()[1].decode(), body)
                writer.write(
                    f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(answer)}\r\n\r\n".encode()
                    + answer
                )
                await writer.drain()

    async def call_back(self) -> None:
        """Post the queued callbacks over one keep-alive connection."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._service}", trust_env=False) as http:
            while True:
                path, body = await self._calls.get()
                answer = await http.post(path, content=body)
                if answer.status_code != httpx.codes.OK:
                    raise SystemExit(f"a callback was answered {answer.status_code}")

    def _answer_request(self, path: str, body: bytes) -> tuple[str, bytes]:
        if path.endswith(".png"):
            return "image/png", self._pictures[int(path[-5])]
        if path.startswith("/json"):
            self.pings["json"] += 1
            return "text/plain", b""
        if not path.startswith("/model"):
            self.pings["ntfy"] += 1
            return "application/json", b"{}"
        self._count += 1
        task = {"id": f"day{self._count:07d}", "model": "midjourney_outpaint", "created_at": int(time.time())}
        url = json.loads(body)["input"][0]["params"]["callback"]
        places = [f"http://127.0.0.1:{self.port}/{task['id']}/{place}.png" for place in range(PICTURES)]
        pictures = [{"type": "image", "url": place, "jobId": "5a" * 16} for place in places]
        done = {**task, "status": "completed", "output": [{"content": pictures}], "usage": {"cost": "0.05"}}
        self._calls.put_nowait((url[url.index("/callbacks/") :], json.dumps(done).encode()))
        return "application/json", json.dumps({**task, "status": "pending"}).encode()


def measure_day(count: int = TASKS) -> DayCost:
    """Run one day of `count` tasks."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        return asyncio.run(_run_day(Path(name).resolve(), count))


def measure_idle(seconds: float = IDLE_S) -> IdleCost:
    """Run a service with nothing to do: `seconds` alone, and as long with a Prometheus that scrapes it and a monitor
    that requests /readyz."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        return asyncio.run(_run_idle(Path(name).resolve(), seconds))


async def _run_day(folder: Path, count: int) -> DayCost:
    began = time.perf_counter()
    async with _run_service(folder) as (world, pid, http):
        idle_mb = peak = resident_mb(pid)
        params = {"jobId": "5a5a5a5a", "imageNo": 0, "scale": 1.5}
        task = {"model": "midjourney_outpaint", "params": params, "label": "a day"}
        for at in range(0, count, BATCH):
            tasks = [task] * min(BATCH, count - at)
            (await http.post("/api/v1/tasks/batch", json={"tasks": tasks})).raise_for_status()
            peak = max(peak, resident_mb(pid))

        async def day_is_over() -> bool:
            nonlocal peak
            peak = max(peak, resident_mb(pid))
            if world.pings["json"] < count or world.pings["ntfy"] < SHOWN:
                return False
            return await _count_archived(http) >= min(KEPT, count)

        await _wait_until(day_is_over)
        after = resident_mb(pid)
        return DayCost(idle_mb, peak, after, await _count_archived(http), time.perf_counter() - began)


async def _count_archived(http: httpx.AsyncClient) -> int:
    """The number of tasks with archived pictures."""
    found = re.search(r'receiver_archived_total\{state="done"\} (\d+)', (await http.get("/metrics")).text)
    return int(found[1]) if found else 0


async def _run_idle(folder: Path, seconds: float) -> IdleCost:
    async with _run_service(folder) as (_, pid, http):
        await asyncio.sleep(2)
        before, woken, began = cpu_ns(pid), _wakeup_count(pid), time.perf_counter()
        await asyncio.sleep(seconds)
        took = time.perf_counter() - began
        alone, wakes = (cpu_ns(pid) - before) / 1e9 / took, (_wakeup_count(pid) - woken) / took
        await http.get("/metrics")  # the first one imports the exporter
        before, began = cpu_ns(pid), time.perf_counter()
        while time.perf_counter() < began + seconds:
            for path in ("/metrics", "/readyz"):
                (await http.get(path)).raise_for_status()
            await asyncio.sleep(min(SCRAPE_S, seconds / 2))
        return IdleCost(alone, (cpu_ns(pid) - before) / 1e9 / (time.perf_counter() - began), wakes)


@contextlib.asynccontextmanager
async def _run_service(folder: Path) -> AsyncIterator[tuple[_Surroundings, int, httpx.AsyncClient]]:
    """The surroundings, the service's process id, and a client of its API."""
    port = free_port()
    world = _Surroundings(port)
    server = await asyncio.start_server(world.serve, "127.0.0.1", 0)
    world.port = server.sockets[0].getsockname()[1]
    here = f"127.0.0.1:{world.port}"
    env = service_env(
        folder,
        RECEIVER_PORT=str(port),
        RECEIVER_PUBLIC_URL=f"http://127.0.0.1:{port}",
        RECEIVER_API_TOKENS=TOKEN,
        RECEIVER_PROVIDER_URL=f"http://{here}/model/v1/generation",
        RECEIVER_PROVIDER_KEY="bench-only-provider-key",
        RECEIVER_PROVIDER_CONCURRENCY="50",
        RECEIVER_NOTIFY_URLS=f"json://{here}/json ntfy://{here}/day",
        RECEIVER_FETCH_ALLOW="127.0.0.1",
    )
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    async with server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=bearer, timeout=30) as http:
        with start_module("receiver", "serve", env=env) as service:
            await asyncio.to_thread(wait_for_answer, port, "/readyz")
            calling = asyncio.create_task(world.call_back())
            try:
                yield world, service.pid, http
            finally:
                calling.cancel()


async def _wait_until(what: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not await what():
        if time.monotonic() > end:
            raise SystemExit(f"the day did not end within {PATIENCE_S:.0f} s")
        await asyncio.sleep(0.5)


def cpu_ns(pid: int) -> int:
    """Nanoseconds that all living threads have run until now."""
    return sum(int(each.read_text().split()[0]) for each in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def _wakeup_count(pid: int) -> int:
    """How often its threads gave up the processor voluntarily, that is, went to sleep and woke again."""
    statuses = (each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", each, re.MULTILINE)[0]) for each in statuses)


def _make_png(seed: int) -> bytes:
    """A PNG with grain, which makes it as large and as slow to read as a photograph of its size."""
    grain = Image.frombytes("RGB", (SIDE // 4,) * 2, random.Random(seed).randbytes(3 * (SIDE // 4) ** 2))
    made = BytesIO()
    grain.resize((SIDE, SIDE)).save(made, "PNG")
    return made.getvalue()


def rows(count: int = TASKS, seconds: float = IDLE_S) -> list[TableRow]:
    """The lines of the table."""
    still, day = measure_idle(seconds), measure_day(count)
    return [
        ("CPU of an idle service", f"{still.alone:.3%} of a core", f"at most {GOAL_SHARE:.1%}; {seconds:.0f} s"),
        (
            "CPU of one that is only monitored",
            f"{still.watched:.3%} of a core",
            f"/metrics and /readyz every {SCRAPE_S:.0f} s",
        ),
        (
            f"memory after a day of {count:,} tasks",
            f"{day.after:.0f} MB",
            f"at most {GOAL_MB}; pictures of {day.archived:,} archived by then; {day.idle:.0f} MB at its start",
        ),
        ("memory during that day", f"{day.busiest:.0f} MB", "its peak, without the drawing process"),
    ]


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(prog="python -m bench.day")
    arguments.add_argument("--tasks", type=int, default=TASKS)
    arguments.add_argument("--idle", type=float, default=IDLE_S)
    asked = arguments.parse_args()
    for row in rows(asked.tasks, asked.idle):
        print(f"| {' | '.join(row)} |")
