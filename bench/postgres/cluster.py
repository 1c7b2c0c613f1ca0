"""A PostgreSQL of a benchmark's own, as the tests have one, but durable: what it has answered is on the disk.

`cluster_cpu_seconds` is what all its processes have used until now, those included that have ended.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))

from kit.postgres_cluster import PostgresCluster, StopMode, missing, own_cluster
from receiver.core.types import Task
from receiver.store import open_store
from receiver.store.postgres.place import PostgresPlace

_TICKS = os.sysconf("SC_CLK_TCK")

__all__ = [
    "PostgresCluster",
    "StopMode",
    "cluster_cpu_seconds",
    "database_place",
    "fill_database",
    "missing",
    "open_cluster",
]


@contextlib.contextmanager
def open_cluster(options: Mapping[str, str] | None = None, *, durable: bool = True) -> Iterator[PostgresCluster]:
    """A cluster with memory as a small server has it; SystemExit if there can be none here."""
    if why := missing():
        raise SystemExit(why)
    with own_cluster(durable=durable, options={"shared_buffers": "128MB", **(options or {})}) as cluster:
        yield cluster


def database_place(url: str) -> PostgresPlace:
    """The database for `open_store`."""
    return PostgresPlace(url=url)


async def fill_database(url: str, tasks: list[Task]) -> None:
    """Migrate the database and add these tasks."""
    store = await open_store(database_place(url))
    try:
        for at in range(0, len(tasks), 500):
            async with store.write() as tx:
                await tx.tasks.insert(tasks[at : at + 500])
    finally:
        await store.close()


def cluster_cpu_seconds(cluster: PostgresCluster) -> float:
    """User and system time of the server, its processes, and those of its processes that it has seen end."""
    server = _times(cluster.pid)
    ticks = sum(server)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = _fields(int(folder.name))
                if int(fields[1]) == cluster.pid:
                    ticks += sum(_times(int(folder.name)))
    return ticks / _TICKS


def _fields(pid: int) -> list[str]:
    """What /proc says of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _times(pid: int) -> tuple[int, int, int, int]:
    """Its own user and system time, and those of its children that have ended, in ticks."""
    user, system, ended_user, ended_system = map(int, _fields(pid)[11:15])
    return user, system, ended_user, ended_system
