"""Time from the answer to a callback until its message reaches a json:// sink, at the pace of a busy day.

The whole service runs. The first message is measured separately, because it loads Apprise and its plugins.
"""

import asyncio
import contextlib
import json
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from msgspec.structs import replace

from bench.processes import free_port, start_module, wait_for_answer
from bench.samples import KEY, TableRow, completed_body, fill_store, service_env, waiting_tasks
from receiver.core.types import Task
from receiver.tokens import Ring

PER_SECOND = 20
SECONDS = 8
PATIENCE_S = 20.0
_LABEL = re.compile(r"latency-(\d+)-")


class TimedSink:
    """A json:// target that records when the message about each task arrived."""

    def __init__(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        self.arrivals: list[asyncio.Future[float]] = [loop.create_future() for _ in range(count)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Receive one message."""
        with contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            message = json.loads(await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0])))
            at = time.perf_counter()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        found = _LABEL.search(json.dumps(message))
        if found and not (arrival := self.arrivals[int(found[1])]).done():
            arrival.set_result(at)


def rows() -> list[TableRow]:
    """p50 and p99 of all messages but the first, and the time of the first."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        first, others = asyncio.run(_measure_latencies(Path(folder).absolute()))
    hundredths = statistics.quantiles(others, n=100)
    pace = f"{PER_SECOND} / s for {SECONDS} s"
    return [
        ("callback answered to message at a sink, p50", f"{hundredths[49]:.0f} ms", pace),
        ("the same, p99", f"{hundredths[98]:.0f} ms", f"the first message of all, alone: {first:.0f} ms"),
    ]


async def _measure_latencies(folder: Path) -> tuple[float, list[float]]:
    """Milliseconds of the first message, and of each of the others."""
    count = 1 + PER_SECOND * SECONDS
    tasks = [replace(task, label=f"latency-{number}-") for number, task in enumerate(waiting_tasks(count))]
    sink = TimedSink(count)
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0)
    port = free_port()
    await fill_store(folder / "receiver.db", tasks)
    url = f"json://127.0.0.1:{server.sockets[0].getsockname()[1]}/sink"
    env = service_env(folder, RECEIVER_PORT=str(port), RECEIVER_NOTIFY_URLS=url)
    async with server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        with start_module("receiver", "serve", env=env):
            await asyncio.to_thread(wait_for_answer, port, "/readyz")
            posts = _callback_posts(tasks)
            first = await _time_message(client, *next(posts), sink.arrivals[0])
            began = time.perf_counter()
            under_way = []
            for number, post in enumerate(posts):
                await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.perf_counter()))
                under_way.append(asyncio.create_task(_time_message(client, *post, sink.arrivals[number + 1])))
            return first, await asyncio.gather(*under_way)


def _callback_posts(tasks: list[Task]) -> Iterator[tuple[str, bytes]]:
    ring = Ring([KEY])
    return ((f"/callbacks/{ring.token(task.ref)}", completed_body(task.task_id or "")) for task in tasks)


async def _time_message(
    client: httpx.AsyncClient, path: str, content: bytes, arrival: "asyncio.Future[float]"
) -> float:
    """Post a callback; milliseconds from its answer to its message, 0 if the message came first."""
    answer = await client.post(path, content=content)
    at = time.perf_counter()
    answer.raise_for_status()
    return max(0.0, await asyncio.wait_for(arrival, PATIENCE_S) - at) * 1000
