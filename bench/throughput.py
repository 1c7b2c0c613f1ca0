"""Durable callbacks beside a no-op handler: how much of its rate is left when each callback is on disk first.

Each callback settles its own waiting task and owes one notice, which is not sent. Both servers get the same requests
over the same number of connections.
"""

import asyncio
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.load import pack_requests, post_request
from bench.processes import LOAD_CORE, cpu_seconds, port_of, start_module
from bench.samples import KEY, TableRow, completed_body, fill_store, service_env, waiting_tasks
from receiver.core.types import Task
from receiver.tokens import Ring

CALLBACKS = 10_000
CONNECTIONS = 64
ALTERNATIONS = 3


def load_server(port: int, requests: Path) -> dict[str, Any]:
    """Send the packed requests to a server from the other core; returns the figures of `bench.load`."""
    with start_module("bench.load", str(port), str(CONNECTIONS), str(requests), cores=LOAD_CORE) as running:
        assert running.stdout is not None
        return dict(json.loads(running.stdout.readline()))


def callback_requests(tasks: list[Task]) -> Iterator[bytes]:
    """One request for each of these tasks, which settles it."""
    ring = Ring([KEY])
    return (post_request(f"/callbacks/{ring.token(task.ref)}", completed_body(task.task_id or "")) for task in tasks)


def measure_server(server: str, folder: Path, requests: Path, count: int) -> dict[str, Any]:
    """Load one server of `bench.servers` and return its figures."""
    with start_module("bench.servers", server, env=service_env(folder)) as running:
        port = port_of(running)
        before = cpu_seconds(running.pid)
        figures = load_server(port, requests)
        figures["cpu_us"] = (cpu_seconds(running.pid) - before) / count * 1e6
    if figures["statuses"] != {"200": count}:
        raise SystemExit(f"{server} answered {figures['statuses']}")
    return figures


def measure_both(count: int) -> dict[str, dict[str, Any]]:
    """Measure the no-op handler, then the receiver."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).resolve()
        tasks = waiting_tasks(count)
        asyncio.run(fill_store(folder / "receiver.db", tasks))
        requests = folder / "requests"
        pack_requests(callback_requests(tasks), requests)
        return {server: measure_server(server, folder, requests, count) for server in ("noop", "held")}


def rows(count: int = CALLBACKS) -> list[TableRow]:
    """Rate, p99 and CPU, each beside the no-op handler's: medians."""
    runs = [measure_both(count) for _ in range(ALTERNATIONS)]

    def medians(figure: str) -> tuple[float, float, float]:
        """Ours, the no-op handler's, and the ratio of the two."""
        ours, theirs = ([run[server][figure] for run in runs] for server in ("held", "noop"))
        ratios = [mine / bare for mine, bare in zip(ours, theirs, strict=True)]
        return statistics.median(ours), statistics.median(theirs), statistics.median(ratios)

    (rate, _, of_rate), (p99_ms, _, of_p99), (cpu_us, noop_us, _) = map(medians, ("rate", "p99_ms", "cpu_us"))
    return [
        (f"durable callbacks, {CONNECTIONS} connections", f"{rate:,.0f} / s", f"{of_rate:.2f} of a no-op handler"),
        ("their p99", f"{p99_ms:.1f} ms", f"{of_p99:.1f} times the no-op's"),
        ("CPU a callback", f"{cpu_us:.0f} µs", f"no-op: {noop_us:.0f} µs"),
    ]
