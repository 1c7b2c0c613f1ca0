"""Durable callbacks over HTTP, over SQLite and over PostgreSQL in turn: how many, and what CPU each costs.

Each callback settles its own waiting task and owes one notice, which is not sent. Servers, database and load share the
cores as they like, in both cases. The database's CPU is that of all its processes. Only the ratio of two runs one right
after the other says something on a machine that does other work.
"""

import asyncio
import contextlib
import json
import os
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench.load import pack_requests
from bench.postgres.cluster import PostgresCluster, cluster_cpu_seconds, fill_database
from bench.processes import cpu_seconds, port_of, start_module
from bench.samples import TableRow, fill_store, service_env, waiting_tasks
from bench.throughput import CONNECTIONS, callback_requests
from receiver.core.types import Task

CALLBACKS = 6_000
ALTERNATIONS = 5
RATE_LEAST = 0.60
CPU_MOST = 1.75
CORES = set(range(os.cpu_count() or 1))


class Measured(Struct, frozen=True):
    """Callbacks a second, and the microseconds of CPU for each: of the receivers, and of the database."""

    rate: float
    receiver_us: float
    database_us: float

    @property
    def cpu_us(self) -> float:
        """Of all together."""
        return self.receiver_us + self.database_us


def measure_sqlite(folder: Path, tasks: list[Task]) -> Measured:
    """One process over one file."""
    folder.mkdir()
    asyncio.run(fill_store(folder / "receiver.db", tasks))
    return _measure(folder, tasks, service_env(folder), webs=1, cluster=None)


def measure_postgres(folder: Path, tasks: list[Task], cluster: PostgresCluster, webs: int) -> Measured:
    """So many processes over one database of their own."""
    folder.mkdir()
    name = cluster.make_database()
    try:
        asyncio.run(fill_database(cluster.url(name), tasks))
        env = service_env(folder, RECEIVER_DATABASE_URL=cluster.url(name), RECEIVER_STATE_DIR=str(folder))
        return _measure(folder, tasks, env, webs=webs, cluster=cluster)
    finally:
        cluster.drop_database(name)


def _measure(
    folder: Path, tasks: list[Task], env: Mapping[str, str], *, webs: int, cluster: PostgresCluster | None
) -> Measured:
    """Load so many servers at once, each with its share."""
    shares = [tasks[number::webs] for number in range(webs)]
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(start_module("bench.servers", "held", env=env, cores=CORES)) for _ in range(webs)
        ]
        ports = [port_of(server) for server in servers]
        before = sum(cpu_seconds(server.pid) for server in servers)
        stored = cluster_cpu_seconds(cluster) if cluster else 0.0
        loads = []
        for number, (port, share) in enumerate(zip(ports, shares, strict=True)):
            requests = folder / f"requests.{number}"
            pack_requests(callback_requests(share), requests)
            command = ("bench.load", str(port), str(CONNECTIONS // webs), str(requests))
            loads.append(stack.enter_context(start_module(*command, cores=CORES)))
        found = [_figures(load.stdout.readline()) for load in loads if load.stdout is not None]
        receiver = sum(cpu_seconds(server.pid) for server in servers) - before
        database = cluster_cpu_seconds(cluster) - stored if cluster else 0.0
    for figures, share in zip(found, shares, strict=True):
        if figures["statuses"] != {"200": len(share)}:
            raise SystemExit(f"callbacks were answered {figures['statuses']}")
    rate = sum(figures["rate"] for figures in found)
    return Measured(rate, receiver / len(tasks) * 1e6, database / len(tasks) * 1e6)


def _figures(line: str) -> dict[str, Any]:
    return dict(json.loads(line))


def callback_rows(cluster: PostgresCluster, alternations: int = ALTERNATIONS) -> list[TableRow]:
    """The lines of the table."""
    runs: list[tuple[Measured, Measured, Measured]] = []
    with tempfile.TemporaryDirectory(dir=".") as name:
        for number in range(alternations):
            folder = Path(name).resolve()
            tasks = waiting_tasks(CALLBACKS)
            runs.append(
                (
                    measure_sqlite(folder / f"sqlite.{number}", tasks),
                    measure_postgres(folder / f"one.{number}", tasks, cluster, 1),
                    measure_postgres(folder / f"two.{number}", tasks, cluster, 2),
                )
            )
    rates = [one.rate / sqlite.rate for sqlite, one, _ in runs]
    costs = [one.cpu_us / sqlite.cpu_us for sqlite, one, _ in runs]
    pairs = [two.rate / one.rate for _, one, two in runs]
    middle = statistics.median
    return [
        (
            f"PostgreSQL: durable callbacks, of SQLite's, {alternations} alternations",
            f"{middle(rates):.2f}",
            f"at least {RATE_LEAST:.2f}; {_spread(rates)}; {middle(it.rate for _, it, _ in runs):,.0f} / s beside "
            f"{middle(it.rate for it, _, _ in runs):,.0f}",
        ),
        (
            "CPU a callback, receiver and database, of SQLite's",
            f"{middle(costs):.2f}",
            f"at most {CPU_MOST}; {_spread(costs)}; {middle(it.receiver_us for _, it, _ in runs):.0f} + "
            f"{middle(it.database_us for _, it, _ in runs):.0f} µs beside {middle(it.cpu_us for it, _, _ in runs):.0f}",
        ),
        (
            "two web processes, of one's rate",
            f"{middle(pairs):.2f}",
            f"reported on {os.cpu_count()} cores, at least 1.6 on 4; {_spread(pairs)}",
        ),
    ]


def _spread(ratios: list[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f}"
