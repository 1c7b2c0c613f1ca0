"""`make bench`: runs every benchmark, prints a table, writes `bench/results.json`.

Ratios are the figures to believe; absolute ones are this machine's, on this day. `ARGS="--callbacks N"` runs longer.
"""

import argparse
import asyncio
import json
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.load import pack, post
from bench.processes import LOAD_CORE, cpu_seconds, port_of, resident_mb, started
from receiver.model import State, Task
from receiver.store import open_store
from receiver.tokens import Ring, new_ref

KEY = "bench-only-key-bench-only-key"
CONNECTIONS = 64
ALTERNATIONS = 3
Row = tuple[str, str, str]


def body(task_id: str) -> bytes:
    """A completed task object of about 1 KB."""
    pictures = [
        {"type": "image", "url": f"https://cdn.example.com/pictures/{task_id}/{place}.png", "jobId": "5a" * 16}
        for place in range(4)
    ]
    task = {
        "id": task_id,
        "status": "completed",
        "model": "midjourney_outpaint",
        "created_at": 1_795_337_505,
        "output": [{"content": pictures}],
        "usage": {"cost": "0.05", "discount": 1},
        "metadata": {"pad": ""},
    }
    task["metadata"] = {"pad": "x" * max(0, 1024 - len(json.dumps(task)))}
    return json.dumps(task).encode()


def waiting(count: int) -> list[Task]:
    """Tasks that the provider has, each with an id."""
    now = time.time_ns() // 1_000_000
    return [
        Task(
            ref=new_ref(now - count + number),  # as they come in life: one after the other
            created_at=now,
            state=State.WAITING,
            task_id=f"bench{number:015d}",
            model="midjourney_outpaint",
            params=b'{"jobId":"5a5a5a5a","imageNo":0,"scale":1.5}',
            submitted_at=now,
            poll_at=now + 86_400_000,
        )
        for number in range(count)
    ]


async def fill(path: Path, tasks: list[Task]) -> None:
    """A database with these tasks."""
    store = await open_store(path)
    for at in range(0, len(tasks), 500):
        async with store.write() as tx:
            await tx.tasks.insert(tasks[at : at + 500])
    await store.close()


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The receiver's settings: a target that is never reached, a provider that is never asked."""
    return {
        "RECEIVER_DATABASE_URL": f"sqlite:///{folder}/receiver.db",
        "RECEIVER_SECRET_KEYS": KEY,
        "RECEIVER_NOTIFY_URLS": "json://127.0.0.1:9/bench",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


def load(port: int, requests: Path) -> dict[str, Any]:
    """Drive a server from the other core."""
    with started("bench.load", str(port), str(CONNECTIONS), str(requests), cores=LOAD_CORE) as running:
        assert running.stdout is not None
        return dict(json.loads(running.stdout.readline()))


def callbacks(count: int) -> list[dict[str, Any]]:
    """No-op handler and durable callbacks in turn; each durable one settles its own task and owes one notice."""
    runs = []
    for _ in range(ALTERNATIONS):
        with tempfile.TemporaryDirectory(dir=".") as name:
            folder = Path(name).resolve()
            tasks = waiting(count)
            asyncio.run(fill(folder / "receiver.db", tasks))
            ring = Ring([KEY])
            requests = folder / "requests"
            pack((post(f"/callbacks/{ring.token(it.ref)}", body(it.task_id or "")) for it in tasks), requests)
            run: dict[str, Any] = {}
            for server in ("noop", "held"):
                with started("bench.servers", server, env=environment(folder)) as running:
                    port = port_of(running)
                    before = cpu_seconds(running.pid)
                    idle = resident_mb(running.pid)
                    figures = load(port, requests)
                    figures["cpu_us"] = (cpu_seconds(running.pid) - before) / count * 1e6
                    figures["idle_mb"], figures["after_mb"] = idle, resident_mb(running.pid)
                if figures["statuses"] != {"200": count}:
                    raise SystemExit(f"{server} answered {figures['statuses']}")
                run[server] = figures
            runs.append(run)
    return runs


def start_to_ready() -> tuple[float, float, float]:
    """Seconds from start to the first answer (a bare no-op server, the receiver), and the receiver's idle MB."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        began = time.perf_counter()
        with started("bench.servers", "noop") as running:
            port_of(running)
            bare = time.perf_counter() - began
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        env = environment(Path(name).resolve(), RECEIVER_PORT=str(port))
        began = time.perf_counter()
        with started("receiver", "serve", env=env) as running:
            _answers(f"http://127.0.0.1:{port}/readyz")
            return bare, time.perf_counter() - began, resident_mb(running.pid)


def _answers(url: str) -> None:
    until = time.perf_counter() + 20
    while time.perf_counter() < until:
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - our own server on loopback
                return
        except OSError:
            time.sleep(0.005)
    raise SystemExit(f"{url} did not answer within 20 s")


def main() -> None:
    """Run all, print, write."""
    arguments = argparse.ArgumentParser(prog="make bench")
    arguments.add_argument("--callbacks", type=int, default=10_000)
    count = arguments.parse_args().callbacks
    runs = callbacks(count)
    starts = [start_to_ready() for _ in range(ALTERNATIONS)]

    def median(of: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(of(run) for run in runs)

    bare, ready, idle = (statistics.median(each) for each in zip(*starts, strict=True))
    figures = {
        "callbacks": count,
        "rate_ratio": median(lambda run: run["held"]["rate"] / run["noop"]["rate"]),
        "durable_per_s": median(lambda run: run["held"]["rate"]),
        "noop_per_s": median(lambda run: run["noop"]["rate"]),
        "p99_ratio": median(lambda run: run["held"]["p99_ms"] / run["noop"]["p99_ms"]),
        "cpu_us": median(lambda run: run["held"]["cpu_us"]),
        "noop_cpu_us": median(lambda run: run["noop"]["cpu_us"]),
        "idle_mb": idle,
        "after_mb": median(lambda run: run["held"]["after_mb"]),
        "ready_s": ready,
        "bare_s": bare,
        "ready_ratio": ready / bare,
    }
    rows: list[Row] = [
        (
            "durable callbacks, 64 connections",
            f"{figures['durable_per_s']:,.0f} / s",
            f"{figures['rate_ratio']:.2f} of a no-op handler",
        ),
        (
            "their p99",
            f"{median(lambda run: run['held']['p99_ms']):.1f} ms",
            f"{figures['p99_ratio']:.1f} times the no-op's",
        ),
        ("CPU a callback", f"{figures['cpu_us']:.0f} µs", f"no-op: {figures['noop_cpu_us']:.0f} µs"),
        ("memory idle", f"{figures['idle_mb']:.0f} MB", ""),
        (f"memory after {count:,} callbacks", f"{figures['after_mb']:.0f} MB", ""),
        ("start to ready", f"{figures['ready_s']:.2f} s", f"{figures['ready_ratio']:.2f} times a bare uvicorn"),
    ]
    where = f"{platform.machine()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    print(f"| {where} | | |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    Path("bench/results.json").write_text(json.dumps({"where": where, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except subprocess.SubprocessError as error:
        sys.exit(f"bench: {error}")
