"""When the disk fails under a running service: 503 and a reason, nothing half stored, and on again by itself.

Each fault is real where it can be made: another process's lock, a limit that the kernel sets, a full file system of its
own. What needs a read-only disk is asked of the live connection.
"""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from kit.chains import a_child
from kit.database_faults import NOWHERE, locked, new_callback
from kit.fakes import MINUTE, NOW, Clock, a_notice, a_ref, a_task, got, impatient, notices, owe, put
from kit.live_service import PATIENCE_S, Service, serving, until
from kit.web import DONE, Served, callback_path, minted, opened, served
from receiver.core.errors import StoreUnavailable
from receiver.core.types import ArchiveState, Callback, NoticeState, TaskState
from receiver.service import worker
from receiver.service.wiring import ServiceParts
from receiver.store import Topic, open_store
from receiver.store.sqlite.engine import SqliteStore

pytestmark = pytest.mark.anyio

LARGE = json.dumps({"pad": "x" * 200_000}).encode()


async def pragma(parts: ServiceParts, sql: str) -> int:
    """Say or ask a pragma on the live writing connection, past the store: what it is to be, once the fault is over."""
    assert isinstance(parts.store, SqliteStore)
    rows = list(await parts.store._writing.execute_fetchall(f"PRAGMA {sql}"))
    return int(rows[0][0]) if rows else 0


@contextlib.asynccontextmanager
async def locked_by_another(parts: ServiceParts, path: Path) -> AsyncIterator[None]:
    await impatient(parts.store)
    with locked(path):
        yield


@contextlib.asynccontextmanager
async def full(parts: ServiceParts, path: Path) -> AsyncIterator[None]:
    """The file may not grow by a page, which SQLite tells as it tells a full disk."""
    await pragma(parts, f"max_page_count = {await pragma(parts, 'page_count')}")
    yield
    await pragma(parts, "max_page_count = 1000000")


@contextlib.asynccontextmanager
async def damaged(parts: ServiceParts, path: Path) -> AsyncIterator[None]:
    """The first pages of both tables are junk on disk, and in nobody's memory; as they were again at the end."""
    assert isinstance(parts.store, SqliteStore)
    connections = (parts.store._writing, parts.store._reading)
    named = "SELECT rootpage FROM sqlite_schema WHERE name IN ('tasks', 'notices')"
    roots = [int(root) for (root,) in await connections[0].execute_fetchall(named)]
    size = await pragma(parts, "page_size")
    assert await pragma(parts, "wal_checkpoint(TRUNCATE)") == 0

    async def overwrite(pages: list[bytes]) -> None:
        with path.open("r+b") as file:
            for root, page in zip(roots, pages, strict=True):
                os.pwrite(file.fileno(), page, (root - 1) * size)
        for connection in connections:
            await connection.execute_fetchall("PRAGMA shrink_memory")

    with path.open("rb") as file:
        whole = [os.pread(file.fileno(), size, (root - 1) * size) for root in roots]
    await overwrite([b"\xff" * size] * len(roots))
    yield
    await overwrite(whole)


@contextlib.asynccontextmanager
async def read_only(parts: ServiceParts, path: Path) -> AsyncIterator[None]:
    await pragma(parts, "query_only = ON")
    yield
    await pragma(parts, "query_only = OFF")


Fault = Callable[[ServiceParts, Path], contextlib.AbstractAsyncContextManager[None]]
STOPPING_ALL = [(locked_by_another, "another process holds"), (read_only, "cannot be written")]
FAULTS = [*STOPPING_ALL, (full, "the disk is full")]  # what changes rows in place still goes well in a full file


def refused(answer: httpx.Response, reason: str) -> bool:
    """503 with the reason, and when to come again."""
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable"), answer.text
    assert reason in answer.json()["error"]["message"]
    return int(answer.headers["retry-after"]) > 0


async def unready(web: Served) -> str:
    """What /readyz gives as the reason."""
    answer = await web.client.get("/readyz")
    assert answer.status_code == 503, answer.text
    return str(answer.json()["why"])


@pytest.mark.parametrize(("fault", "reason"), FAULTS)
async def test_a_fault_is_503_stores_nothing_is_told_and_passes(tmp_path: Path, fault: Fault, reason: str) -> None:
    large = {**DONE, "pad": "x" * 200_000}
    async with served(tmp_path, clock=Clock()) as web:
        ref = await minted(web.client, task_id="prov-1", model="midjourney_outpaint")
        before = await got(web.parts.store, ref)
        assert (await web.client.get("/readyz")).status_code == 200
        async with fault(web.parts, tmp_path / "receiver.db"):
            for _ in range(2):
                assert refused(await web.client.post(callback_path(web.parts, ref), json=large), reason)
            assert reason in await unready(web)
            assert (await web.client.get("/healthz")).status_code == 200
            assert await got(web.parts.store, ref) == before, "reading goes on, and nothing changed"
            assert await web.parts.store.callbacks.page(ref=ref) == []
            assert await notices(web.parts.store) == []
        answer = await web.client.post(callback_path(web.parts, ref), json=large)
        assert (answer.status_code, answer.json()["verdict"]) == (200, "accepted")
        assert len(await notices(web.parts.store, ref)) == 2
        assert (await web.client.get("/readyz")).status_code == 200, "though the next probe is not due yet"


@pytest.mark.parametrize(("fault", "reason"), STOPPING_ALL)
async def test_readiness_comes_back_though_no_callback_does(tmp_path: Path, fault: Fault, reason: str) -> None:
    clock = Clock()
    async with served(tmp_path, clock=clock) as web:
        async with fault(web.parts, tmp_path / "receiver.db"):
            assert reason in await unready(web)
        clock.forward(MINUTE)
        assert (await web.client.get("/readyz")).status_code == 200


async def test_a_known_reason_is_told_while_the_probe_waits_for_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.web.health.PROBE_MOST_S", 0.01)
    async with served(tmp_path) as web, web.parts.store.write():
        web.parts.store.fault = "the disk is full"
        assert await unready(web) == "the disk is full"


@pytest.mark.parametrize("fault", [locked_by_another, read_only, damaged])
async def test_the_loops_try_once_then_wait_and_go_on_when_it_has_passed(
    tmp_path: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that tries again and again would keep the one writing connection from everyone."""
    waits: list[tuple[Topic, float]] = []
    attempts: list[str] = []
    passed, stop = asyncio.Event(), asyncio.Event()
    async with opened(tmp_path, clock=Clock()) as parts:
        store = parts.store
        loops = parts.loops
        topics = {loop.topic for loop in loops}
        pictures = a_task(TaskState.COMPLETED, task_id="done", archive=ArchiveState.DUE, archive_at=1)
        await put(store, a_task(TaskState.QUEUED), a_task(poll_at=1), pictures, a_child(pictures, None))
        await owe(store, a_notice())
        async with store.write() as tx:
            await tx.chains.add_followups([pictures.ref])
        write = store.write

        def counted(*lane: object) -> object:
            attempts.append("write")
            return write(*lane)  # type: ignore[arg-type]

        async def waiting(topic: Topic, seen: int, timeout_s: float) -> None:
            waits.append((topic, timeout_s))
            await passed.wait()
            await asyncio.sleep(0.001)

        async def told() -> bool:
            return [it.state for it in await notices(store)] == [NoticeState.SENT]

        async def all_wait() -> bool:
            return {topic for topic, _ in waits} == topics

        async with fault(parts, tmp_path / "receiver.db"):
            monkeypatch.setattr(store, "write", counted)
            monkeypatch.setattr(store, "wait_for_wake", waiting)
            running = asyncio.create_task(worker.run_loops(loops, store, parts.clock, stop))
            await until(all_wait)
            idle = {Topic.PRUNE: worker.INTERVAL_S}  # nothing is old, so it wants nothing of the store
            assert sorted(waits) == sorted((it, idle.get(it, worker.FAULT_WAIT_S)) for it in topics)
            assert (len(attempts) <= len(loops), running.done()) == (True, False)
        passed.set()
        await until(told)
        stop.set()
        await running


# -- the service as a process, and faults that the kernel makes --


async def down_and_up(service: Service, reason: str, begin: Callable[[], object], end: Callable[[], object]) -> None:
    """Callbacks are stored, refused for `reason` between `begin` and `end`, and stored again; one process all along."""
    (_, first), (_, refused_path), (_, last) = (new_callback() for _ in range(3))
    assert (await service.http.post(first, content=LARGE)).status_code == 200
    begin()
    try:
        assert refused(await service.http.post(refused_path, content=LARGE), reason)
        ready = await service.http.get("/readyz")
        assert (ready.status_code, reason in ready.json()["why"]) == (503, True), ready.text
        assert (await service.http.get("/healthz")).status_code == 200
        assert len((await service.http.get("/api/v1/tasks")).json()["tasks"]) == 1, "reading goes on"
    finally:
        end()
    assert (await service.http.post(last, content=LARGE)).status_code == 200
    assert (await service.http.get("/readyz")).status_code == 200
    kept = (await service.http.get("/api/v1/callbacks")).json()["callbacks"]
    assert len(kept) == 2, "the refused one left nothing"


async def test_an_io_error_is_503_and_passes(tmp_path: Path) -> None:
    """The kernel refuses every write beyond the first byte of a file: EFBIG, which SQLite tells as an I/O error."""
    async with serving(tmp_path, NOWHERE) as service:
        pid = service.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        await down_and_up(
            service,
            "the disk reports an error",
            lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard)),
            lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard)),
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        not mount
        or not umount
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=8m", "receiver-test", str(folder)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting is not permitted here: the full disk was only simulated")
    yield folder
    subprocess.run([umount, "--lazy", str(folder)], check=True)


async def test_a_disk_that_is_full_is_503_and_passes(small_disk: Path) -> None:
    ballast = small_disk / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    async with serving(small_disk, NOWHERE) as service:
        await down_and_up(service, "the disk is full", fill, ballast.unlink)


async def test_a_full_disk_is_not_ready_because_it_has_room_for_a_little(small_disk: Path) -> None:
    """What a failed batch leaves in the log is room for a small commit, and says nothing of the next batch."""
    store = await open_store(small_disk / "receiver.db")
    try:
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        huge = [(Callback(ref=a_ref(), received_at=NOW, body=bytes(100_000)), True) for _ in range(10)]
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            async with store.write() as tx:
                await tx.callbacks.insert(huge)
        assert [await store.probe() is None for _ in range(5)] == [False] * 5
        ballast.unlink()
        assert await store.probe() is None
        assert store.fault is None
        assert await store.probe() is None
    finally:
        await store.close()


# -- damage --


def refuses_to_start(path: Path) -> None:
    """One line of advice and status 2, which systemd does not try again; the file is left as it was."""
    before = path.read_bytes()
    env = {**os.environ, "RECEIVER_DATABASE_URL": f"sqlite:///{path}"}
    command = [sys.executable, "-m", "receiver", "serve", "--port", "0"]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    [line] = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert "the database is damaged" in line
    assert "restore a backup" in line
    assert path.read_bytes() == before


def test_garbage_for_a_database_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "receiver.db").write_bytes(os.urandom(8192))
    refuses_to_start(tmp_path / "receiver.db")


async def test_half_a_database_refuses_to_start(tmp_path: Path) -> None:
    path = tmp_path / "receiver.db"
    await (await open_store(path)).close()
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)
    refuses_to_start(path)


async def test_a_database_damaged_while_it_runs_is_503_until_a_person_acts(tmp_path: Path) -> None:
    """The probe's own commit touches another page and goes well: that must not hide the damage."""
    clock = Clock()
    async with served(tmp_path, clock=clock) as web:
        ref = await minted(web.client, task_id="prov-1", model="midjourney_outpaint")
        async with damaged(web.parts, tmp_path / "receiver.db"):
            assert refused(await web.client.post(callback_path(web.parts, ref), json=DONE), "damaged")
            for _ in range(2):
                assert "restore a backup" in await unready(web)
                clock.forward(MINUTE)
            assert refused(await web.client.get("/api/v1/tasks"), "damaged"), "the API says so too, and is no 500"
            assert (await web.client.get("/healthz")).status_code == 200
