"""Upkeep of a database of a million tasks: its migration, a backup under full load of callbacks, retention.

The backup runs on the server's core, as it would on a machine with one core.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench.history import APART_MS, BORN, make_history
from bench.load import pack_requests
from bench.processes import SERVER_CORE, port_of, start_module, start_process
from bench.samples import TableRow, fill_store, service_env, waiting_tasks
from bench.throughput import callback_requests, load_server
from receiver.core.clock_check import ClockWatch
from receiver.core.types import Policy, Retention
from receiver.pictures.files import ArchiveFiles
from receiver.store import open_store
from receiver.upkeep.retention import RetentionPruner

TASKS = 1_000_000
CHUNK = 5_000  # callbacks: about one second of load
AROUND = 5  # chunks before the backup, and as many after
CHUNKS = 60
OLD = 20_000  # tasks that retention removes
_DAY_MS = 86_400_000
BACKUP_MOST_S = 900


def rows(count: int = TASKS) -> list[TableRow]:
    """Migration, backup under load and retention of a database of `count` tasks."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).resolve()
        path = folder / "receiver.db"
        make_history(path, count, schema=1)
        size = path.stat().st_size / (1 << 20)
        began = time.perf_counter()
        asyncio.run(_open_and_close(path))
        migrated_s = time.perf_counter() - began
        found = [(f"migration of {count:,} tasks", f"{migrated_s:.1f} s", f"0001 to the last; {size:,.0f} MiB")]
        found += _measure_backup(folder, path, count)
        return [*found, *asyncio.run(_measure_retention(folder, path, min(OLD, count // 2)))]


class StillClock(Struct, frozen=True):
    """A clock that stands still."""

    now: int

    def __call__(self) -> int:
        return self.now


async def _open_and_close(path: Path) -> None:
    await (await open_store(path)).close()


def _measure_backup(folder: Path, path: Path, count: int) -> list[TableRow]:
    """The rate of callbacks during a backup, beside the rate before and after it."""
    tasks = waiting_tasks(CHUNK * CHUNKS)
    asyncio.run(fill_store(path, tasks))
    chunks = []
    for place in range(CHUNKS):
        requests = folder / f"requests-{place}"
        pack_requests(callback_requests(tasks[place * CHUNK : (place + 1) * CHUNK]), requests)
        chunks.append(requests)
    env = service_env(folder)
    alone: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []
    with start_module("bench.servers", "held", env=env) as server:
        port = port_of(server)
        load_server(port, chunks.pop())  # to warm up
        alone += [load_server(port, chunks.pop()) for _ in range(AROUND)]
        command = [sys.executable, "-m", "receiver", "backup", str(folder / "backup.db")]
        began = time.perf_counter()
        with start_process(*command, env=env, cores=SERVER_CORE) as backing_up:
            while backing_up.poll() is None and len(chunks) > AROUND:
                beside.append(load_server(port, chunks.pop()))
            loaded_s = time.perf_counter() - began
            if backing_up.wait(BACKUP_MOST_S):
                raise SystemExit(f"the backup ended with {backing_up.returncode}")
            took_s = time.perf_counter() - began
        alone += [load_server(port, chunks.pop()) for _ in range(AROUND)]
    wrong = [each["statuses"] for each in (*alone, *beside) if each["statuses"] != {"200": CHUNK}]
    if wrong:
        raise SystemExit(f"callbacks were answered {wrong[0]}")
    rates = [statistics.median(each["rate"] for each in which) for which in (beside, alone)]
    p99s = [statistics.median(each["p99_ms"] for each in which) for which in (beside, alone)]
    size = (folder / "backup.db").stat().st_size / (1 << 20)
    note = f"{size:,.0f} MiB, {len(beside) * CHUNK:,} callbacks in its first {loaded_s:.0f} s"
    return [
        (f"backup of {count:,} tasks under load", f"{took_s:.0f} s", note),
        ("callbacks beside it", f"{rates[0]:,.0f} / s", f"{rates[0] / rates[1]:.2f} of {rates[1]:,.0f} / s without"),
        ("their p99", f"{p99s[0]:.1f} ms", f"without: {p99s[1]:.1f} ms"),
    ]


async def _measure_retention(folder: Path, path: Path, old: int) -> list[TableRow]:
    """How fast old tasks are removed with everything that belongs to them, alone and beside other work."""
    store = await open_store(path)
    found = []
    for turn, alone in enumerate((True, False)):
        clock = StillClock(BORN + 60_000 + old * APART_MS * (turn + 1) // 2 + _DAY_MS)
        keep = Retention(tasks=1, callbacks=0, polls=0, notices=0, images=0)
        files, watch = ArchiveFiles(folder / "images"), ClockWatch(clock, clock)
        pruner = RetentionPruner(store, files, Policy(), clock, keep=keep, watch=watch, alone=alone)
        began = time.perf_counter()
        while await pruner._prune_tasks():
            pass
        took_s = time.perf_counter() - began
        count = old // 2
        how = "alone" if alone else "by the running service, with pauses"
        found.append(
            (
                f"retention, {how}",
                f"{count / took_s:,.0f} tasks / s",
                f"{pruner.removed['tasks'] / count:.1f} rows each",
            )
        )
    await store.close()
    return found


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row))
