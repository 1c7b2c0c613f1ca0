"""More than the disk takes: bounded memory, a 503 at once, fair turns, and reading that holds up nobody's writing."""

import asyncio
import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from anyio import wait_all_tasks_blocked

from kit.database_faults import NOWHERE, locked, new_callback
from kit.fakes import POLICY, Clock, a_ref, a_task, parse, put
from kit.live_service import PATIENCE_S, Service, until
from kit.web import callback_path, served
from receiver.core.errors import StoreUnavailable
from receiver.store import Lane
from receiver.store.sqlite.engine import SqliteConnection, SqliteStore, open_sqlite
from receiver.tasks.ingest import HELD_EACH, HELD_MOST, CallbackIngest
from receiver.telemetry.metrics import Metrics
from receiver.web.callbacks import READING_MOST

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n, tasks"
# The service, save that it waits for a lock as long as the test holds it: then who is held and who is refused is a
# matter of bytes, not of how fast this machine is today.
PATIENT = """
import sys
from receiver.cli.main import main
from receiver.store.sqlite import engine
hasty = "PRAGMA busy_timeout = 1000"
assert hasty in engine._PRAGMAS
engine._PRAGMAS = tuple("PRAGMA busy_timeout = 120000" if it == hasty else it for it in engine._PRAGMAS)
sys.argv[1:] = ["serve"]
main()
"""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_sqlite(tmp_path / "r.db")
    yield opened
    await opened.close()


def memory_mb(service: Service, field: str) -> float:
    """The service's resident memory: `VmRSS` now, `VmHWM` at its highest."""
    status = Path(f"/proc/{service.pid}/status").read_text()
    [line] = [it for it in status.splitlines() if it.startswith(f"{field}:")]
    return int(line.split()[1]) / 1024


class Sender:
    """One connection that sends a callback, whole or in part, and remembers what it was answered."""

    def __init__(self) -> None:
        self.ref, self.path = new_callback()
        self.status: int | None = None
        self.head = ""

    async def send(self, port: int, body: bytes, *, upto: int | None = None) -> None:
        """Send `body`, or its first `upto` bytes and no more, and wait for the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            head = f"POST {self.path} HTTP/1.1\r\nHost: flood\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode())
            sent = memoryview(body)[:upto]
            for at in range(0, len(sent), 64 * 1024):  # piece by piece: else all of it waits in our own memory
                writer.write(sent[at : at + 64 * 1024])
                await writer.drain()
            self.head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            self.status = int(self.head.split()[1])


@contextlib.asynccontextmanager
async def patient(folder: Path) -> AsyncIterator[Service]:
    """The service that waits for locks."""
    service = Service(folder, NOWHERE, BODY_TIMEOUT="300")
    try:
        await service.start("-c", PATIENT)
        yield service
    finally:
        await service.stop()
        await service.http.aclose()


def answered(senders: Sequence[Sender]) -> list[Sender]:
    """Those who have their answer."""
    return [it for it in senders if it.status is not None]


async def until_answered(senders: Sequence[Sender], count: int) -> None:
    """Once `count` of them are: with 503, and for want of room, as the time to come again tells from a fault."""

    async def enough() -> bool:
        return len(answered(senders)) >= count

    await until(enough)
    assert {it.status for it in answered(senders)} == {503}
    assert all("retry-after: 2\r" in it.head for it in answered(senders))


async def test_a_flood_while_the_disk_is_stuck_is_refused_beyond_its_bytes_and_costs_bounded_memory(
    tmp_path: Path,
) -> None:
    """40 MB of callbacks against a locked database, and 40 MB more that never end: 16 MiB of each are held."""
    body = json.dumps({"pad": "x" * 250_000}).encode()
    part = 200_000
    held = HELD_MOST // (len(body) + HELD_EACH + len(b"{}"))  # no header of theirs is kept
    whole, endless = [Sender() for _ in range(160)], [Sender() for _ in range(200)]
    async with patient(tmp_path) as service:
        idle = memory_mb(service, "VmRSS")
        with locked(tmp_path / "receiver.db"):
            sending = [asyncio.create_task(it.send(service.port, body)) for it in whole]
            await until_answered(whole, len(whole) - held)
            assert memory_mb(service, "VmHWM") - idle <= 64
            dripping = [asyncio.create_task(it.send(service.port, body, upto=part)) for it in endless]
            await until_answered(endless, len(endless) - READING_MOST // part)
            assert memory_mb(service, "VmHWM") - idle <= 96, "both bounds at once"
            assert len(answered(whole)) == len(whole) - held, "the held ones are neither lost nor refused"
        await asyncio.gather(*sending)
        for drip in dripping:
            drip.cancel()
        await asyncio.gather(*dripping, return_exceptions=True)
        assert Counter(it.status for it in whole) == {200: held, 503: len(whole) - held}
        after = Sender()
        await after.send(service.port, body)
        assert after.status == 200
        for it in (*whole, *endless, after):
            assert len(await service.callbacks(it.ref)) == (it.status == 200)


# -- turns --


@pytest.mark.parametrize("gather_s", [0.001, 0.2])
async def test_no_callback_waits_for_more_than_two_commits_of_callbacks_and_one_other(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, gather_s: float
) -> None:
    """However many of the other lane wait: one that came while a commit was under way is in the next but one.

    Nor does a batch that waits for its other half (at the second length: for sure) let them pass meanwhile.
    """
    monkeypatch.setattr("receiver.tasks.ingest.GATHER_MOST_S", gather_s)
    ended: list[Lane] = []
    write = store.write

    @contextlib.asynccontextmanager
    async def noted(lane: Lane = Lane.OTHER) -> AsyncIterator[object]:
        async with write(lane) as tx:
            yield tx
            await asyncio.sleep(0)  # so that others may come meanwhile
        ended.append(lane)

    monkeypatch.setattr(store, "write", noted)
    ingest = CallbackIngest(store, parse, POLICY, Clock(), Metrics())
    waited: list[Counter[Lane]] = []

    async def one() -> None:
        before = len(ended)
        await ingest.receive_callback(a_ref(), b"{}", b"{}")
        waited.append(Counter(ended[before:]))

    others = [asyncio.create_task(put(store, a_task(task_id=None))) for _ in range(60)]
    callbacks = []
    for _ in range(40):  # spread over many commits
        callbacks += [asyncio.create_task(one()) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*callbacks)
    callbacks.append(asyncio.create_task(one()))  # alone after a batch of many
    await asyncio.gather(*callbacks, *others)
    assert max(it[Lane.INGEST] for it in waited) <= 2
    assert max(it[Lane.OTHER] for it in waited) <= 2, "the turn under way when it came, and one more"
    assert Lane.OTHER in ended[ended.index(Lane.INGEST) :], "and the others had their turns in between"


async def test_callbacks_are_committed_while_reading_is_stuck(tmp_path: Path) -> None:
    """Reads have a connection of their own, and the way of a callback never crosses it."""
    async with served(tmp_path) as web:
        store = web.parts.store
        assert isinstance(store, SqliteStore)
        await put(store, a_task())
        stuck = asyncio.create_task(SqliteConnection(store._reading, read_most_s=3600).fetch_rows(ENDLESS))
        lists = [asyncio.create_task(web.client.get("/api/v1/tasks")) for _ in range(20)]
        for number in range(50):
            answer = await web.client.post(callback_path(web.parts, a_ref()), content=b'{"n": %d}' % number)
            assert answer.status_code == 200
        assert not any(it.done() for it in lists)
        await store._reading.interrupt()
        with pytest.raises(StoreUnavailable):
            await stuck
        assert {it.status_code for it in await asyncio.gather(*lists)} == {200}


async def test_callbacks_are_committed_among_many_who_read(tmp_path: Path) -> None:
    """Every callback is answered while 16 ask for page after page; both get on."""
    read = 0
    async with served(tmp_path) as web:
        await put(web.parts.store, *(a_task(task_id=None) for _ in range(200)))

        async def reader() -> None:
            nonlocal read
            while True:
                answer = await web.client.get("/api/v1/tasks", params={"limit": 100})
                assert answer.status_code == 200
                read += 1

        readers = [asyncio.create_task(reader()) for _ in range(16)]
        crowds = 0
        async with asyncio.timeout(PATIENCE_S):
            while crowds < 4 or not read:  # a disk that is quick may take four crowds before the first page is read
                sent = (web.client.post(callback_path(web.parts, a_ref()), content=b"{}") for _ in range(16))
                assert {it.status_code for it in await asyncio.gather(*sent)} == {200}
                crowds += 1
        assert not any(it.done() for it in readers)
        for it in readers:
            it.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


# -- the log that SQLite writes ahead --


def wal_bytes(store: SqliteStore) -> int:
    return store.path.with_name(store.path.name + "-wal").stat().st_size


async def write_mib(store: SqliteStore, count: int) -> None:
    """`count` commits of one MiB each."""
    for _ in range(count):
        await put(store, a_task(task_id=None, params=bytes(MIB)))


async def test_a_read_that_was_interrupted_holds_back_no_checkpoint(store: SqliteStore) -> None:
    """Or each page that is asked for too much would keep the log growing."""
    await put(store, a_task())
    with pytest.raises(StoreUnavailable, match="too long"):
        await SqliteConnection(store._reading, read_most_s=0.02).fetch_rows(ENDLESS)
    await put(store, a_task(task_id=None))
    assert list(await store._writing.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")) == [(0, 0, 0)]


async def test_a_read_that_waits_for_its_turn_interrupts_nobody(store: SqliteStore) -> None:
    """Its time begins with its turn: before that, only the read under way would be met."""
    long = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 3000000) SELECT count(*) FROM n"
    patient = SqliteConnection(store._reading, 3600, store._may_read)
    hasty = SqliteConnection(store._reading, 0.02, store._may_read)
    reading = asyncio.create_task(patient.fetch_rows(long))
    others = [asyncio.create_task(hasty.fetch_rows("SELECT 1")) for _ in range(3)]
    assert await reading == [(3_000_000,)]
    await asyncio.gather(*others, return_exceptions=True)


async def test_a_read_whose_reader_has_gone_is_interrupted_too(store: SqliteStore) -> None:
    await put(store, a_task())
    reading = asyncio.create_task(SqliteConnection(store._reading, read_most_s=0.02).fetch_rows(ENDLESS))
    await wait_all_tasks_blocked()
    reading.cancel()
    assert len(await store.tasks.page()) == 1


async def test_readers_one_upon_the_other_do_not_keep_the_log_growing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is never a moment without a reader here, and SQLite by itself would never start its log again."""
    monkeypatch.setattr("receiver.store.sqlite.engine.LOG_MOST", MIB)
    await store._writing.execute_fetchall(f"PRAGMA journal_size_limit = {MIB}")
    await put(store, a_task())
    slow = SqliteConnection(store._reading, 0.2, store._may_read)

    async def reader() -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):
                await slow.fetch_rows(ENDLESS)

    async def started_again() -> bool:
        return wal_bytes(store) <= MIB

    reading = [asyncio.create_task(reader()) for _ in range(3)]
    await write_mib(store, 8)
    await until(started_again)
    for it in reading:
        it.cancel()
    await asyncio.gather(*reading, return_exceptions=True)


async def test_a_log_that_grew_behind_a_reader_is_cut_when_it_has_gone(store: SqliteStore) -> None:
    """`journal_size_limit`, lowered here to 1 MiB: that it is 64 on the live connection is asserted where it opens."""
    await store._writing.execute_fetchall(f"PRAGMA journal_size_limit = {MIB}")
    other = sqlite3.connect(store.path, isolation_level=None)
    with contextlib.closing(other):
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM tasks").fetchall()
        await write_mib(store, 8)
        assert wal_bytes(store) > 8 * MIB
    await put(store, a_task(task_id=None))  # checkpoints all of it
    await put(store, a_task(task_id=None))  # and starts the log again
    assert wal_bytes(store) <= MIB
