"""The server's disk is full while callbacks come: they are refused, and accepted once there is room again."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kit.callback_senders import CallbackSenders
from kit.live_service import until
from kit.lost_copies import lost_copies_forgiven
from kit.postgres_cluster import PostgresCluster, another_user, missing
from receiver.store import PostgresPlace, Store, open_store

pytestmark = pytest.mark.anyio

OPTIONS = {"max_wal_size": "32MB", "min_wal_size": "32MB", "autovacuum": "off"}
MANY = 400


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    """A server on a disk of 128 MB."""
    if why := missing():
        pytest.skip(why)
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    cluster = PostgresCluster(durable=True, options=OPTIONS)
    who = another_user()
    options = f"size=128m,mode=700,uid={who['user']},gid={who['group']}"
    cluster.data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "receiver-test", str(cluster.data)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        cluster.close()
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        with cluster:
            yield cluster
    finally:
        subprocess.run(["umount", "--lazy", str(cluster.data)], check=True)
        shutil.rmtree(cluster.folder, ignore_errors=True)


@contextlib.contextmanager
def full_disk(cluster: PostgresCluster) -> Iterator[None]:
    """Nothing is left of the disk for as long as this lasts."""
    ballast = cluster.data / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        yield
    finally:
        ballast.unlink()


def has_ended(cluster: PostgresCluster) -> bool:
    status = Path("/proc", str(cluster.pid), "stat").read_text()
    return status.rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
async def store(cluster: PostgresCluster) -> AsyncIterator[Store]:
    opened = await open_store(PostgresPlace(url=cluster.url(cluster.make_database()), pool=3))
    with lost_copies_forgiven():
        yield opened
        await opened.close()


async def test_a_full_disk(cluster: PostgresCluster, store: Store) -> None:
    senders = CallbackSenders(store)
    tasks = await senders.make_tasks(MANY)
    with full_disk(cluster):
        sending = asyncio.create_task(senders.send(tasks))

        async def refused() -> bool:
            assert not sending.done(), "there was room for all"
            return bool(senders.refused)

        await until(refused)
        assert any("the database's disk is full" in it for it in senders.refused), senders.refused
        assert "disk is full" in (store.fault or "")
    if has_ended(cluster):  # it could not write its log either
        cluster.restart()
    await sending
    await senders.check(store)
    assert await store.probe() is None
    assert store.fault is None
