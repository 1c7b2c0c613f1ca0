"""This process among the others: what it says of itself, what it hears of them, and the clock that they share.

One connection, straight to the database, listens and carries the heartbeat, so that one that is dead without saying so
is noticed. Wake-ups are sent after the commit that causes them: inside it, all commits of the database would take
turns. They may be lost, since every loop looks for work now and then by itself.
"""

import asyncio
import contextlib
import logging
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import asyncpg
import msgspec

from receiver.store.postgres.place import PostgresPlace
from receiver.store.postgres.pool import CALL_MOST_S, connect, is_direct
from receiver.store.postgres.shared_clock import SharedClock
from receiver.store.process_row import ProcessRow
from receiver.store.signals import ChangeListeners
from receiver.store.tables.connection import Topic

CHANNEL = "receiver"
HEARTBEAT_S = 10.0
HEARD_MOST_S = 2.0  # after this, our own first call counts as not heard
LIVE_MS = 15 * 60_000  # a process that was not seen for longer counts as gone
FORGOTTEN_MS = 24 * 3_600_000
GATHER_S = 0.05
_REFS_EACH = 150  # of 36 characters; a payload of 8,000 is refused
_SPREAD_S = 0.02  # ten processes that hear a call do not ask at once
_AGAIN_LEAST_S, _AGAIN_MOST_S = 0.5, 5.0
_LOOK_EVERY_S = 60.0

log = logging.getLogger(__name__)


class Presence:
    """Says that this process lives, sends its wake-ups, and hears those of the others."""

    def __init__(
        self,
        place: PostgresPlace,
        schema: int,
        clock: SharedClock,
        *,
        wake: Callable[[Topic], None],
        publish: Callable[[set[str]], None],
    ) -> None:
        self.listening = False
        self.database_bytes = 0
        self.timeline: str | None = None
        self._place = place
        self._schema = schema
        self._clock = clock
        self._wake = wake
        self._publish = publish
        self.id = uuid.uuid4().hex
        self._started_at = clock()
        self._raw: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()  # of that connection
        self._heard_self = asyncio.Event()
        self._topics: set[Topic] = set()
        self._refs: dict[str, None] = {}
        self._gather_s = GATHER_S
        self._sending: asyncio.Task[None] | None = None
        self._connecting: asyncio.Future[asyncpg.Connection] | None = None
        self._running = asyncio.create_task(self._stay(), name="presence")
        self._was_deaf = False

    # -- what others are to hear --

    def announce(self, topics: Iterable[Topic], refs: Iterable[str]) -> None:
        """Tell the other processes, soon: these loops have work, and these tasks changed."""
        self._topics.update(topics)
        self._refs.update(dict.fromkeys(refs))
        while len(self._refs) > ChangeListeners.REFS_MOST:
            del self._refs[next(iter(self._refs))]
        if self._sending is None and (self._topics or self._refs):
            self._sending = asyncio.create_task(self._send_gathered(), name="announce")

    async def _send_gathered(self) -> None:
        try:
            await asyncio.sleep(self._gather_s)
            topics, refs = sorted(self._topics), list(self._refs)
            self._topics, self._refs = set(), {}
            parts = [refs[at : at + _REFS_EACH] for at in range(0, len(refs), _REFS_EACH)] or [[]]
            with contextlib.suppress(Exception):  # a call that is lost costs the others a moment
                for place, part in enumerate(parts):
                    await self._call(() if place else topics, part)
        finally:
            self._sending = None
        if self._topics or self._refs:
            self.announce((), ())

    async def _call(self, topics: Sequence[Topic], refs: Sequence[str]) -> None:
        async with self._turn:
            if self._raw is not None:
                payload = f"{self.id} {','.join(topics)} {' '.join(refs)}"
                await self._raw.execute("SELECT pg_notify($1, $2)", CHANNEL, payload, timeout=CALL_MOST_S)

    # -- what is heard --

    def _hear(self, _: asyncpg.Connection, __: int, ___: str, payload: str) -> None:
        sender, _, rest = payload.partition(" ")
        topics, *refs = rest.split(" ")
        if sender == self.id:
            self._heard_self.set()
            self._be_heard()
            return
        if refs := [it for it in refs if it]:
            self._publish(set(refs))
        asyncio.get_running_loop().call_later(random.random() * _SPREAD_S, self._wake_all, topics.split(","))  # noqa: S311

    def _wake_all(self, topics: Iterable[str]) -> None:
        for topic in Topic:
            if topic.value in topics:
                self._wake(topic)

    # -- staying --

    async def _stay(self) -> None:
        """Connect, again and again; while connected, say every few seconds that this process lives."""
        gap_s = _AGAIN_LEAST_S
        while True:
            try:
                raw = await self._connect()
                try:
                    await self._begin(raw)
                    gap_s = _AGAIN_LEAST_S
                    await self._beat_until_lost(raw)
                finally:
                    self.listening, self._raw = False, None
                    raw.terminate()
            except Exception as error:
                log.debug("not connected: %s", type(error).__name__, extra={"action": "store.listen"})
            await asyncio.sleep(gap_s * (0.8 + 0.4 * random.random()))  # noqa: S311
            gap_s = min(_AGAIN_MOST_S, gap_s * 2)

    async def _connect(self) -> asyncpg.Connection:
        """A connection straight to the database. To cut it off half made would leave asyncpg with an error that nobody
        hears, so whoever stops us waits for it."""
        self._connecting = asyncio.ensure_future(connect(self._place.listen_url or self._place.url))
        try:
            return await asyncio.shield(self._connecting)
        except asyncio.CancelledError:
            self._connecting.add_done_callback(_close_made)
            raise

    async def _begin(self, raw: asyncpg.Connection) -> None:
        await self._clock.compare(raw)
        self.timeline = await read_timeline(raw)
        direct = await is_direct(raw)
        if direct:  # a pooler would take it, and leave another's connection listening
            await raw.add_listener(CHANNEL, self._hear)
        self._heard_self.clear()
        self._raw = raw
        async with self._turn:
            await self._say_alive(raw)
        for topic in Topic:  # what was called while nobody listened
            self._wake(topic)
        await self._call((), ())
        try:
            async with asyncio.timeout(HEARD_MOST_S if direct else 0):
                await self._heard_self.wait()
        except TimeoutError:
            if not self._was_deaf:
                log.warning(
                    "this process does not hear others over the database, so it looks for work every two seconds;"
                    " if DATABASE_URL is that of a pooler, set DATABASE_LISTEN_URL to the database itself",
                    extra={"action": "store.listen"},
                )
            self._was_deaf = True

    def _be_heard(self) -> None:
        """Our own call came back, perhaps late."""
        self.listening = True
        if self._was_deaf:
            log.info("wake-ups of other processes are heard again", extra={"action": "store.listen"})
        self._was_deaf = False

    async def _beat_until_lost(self, raw: asyncpg.Connection) -> None:
        lost = asyncio.Event()
        raw.add_termination_listener(lambda _: lost.set())
        looked_at = -_LOOK_EVERY_S
        while not raw.is_closed():
            if time.monotonic() - looked_at >= _LOOK_EVERY_S:
                async with self._turn:
                    await self._look_around(raw)
                looked_at = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await lost.wait()
                return
            async with self._turn:
                await self._clock.compare(raw, times=1)
                await self._say_alive(raw)

    async def _say_alive(self, raw: asyncpg.Connection) -> None:
        now, place = self._clock(), self._place
        await raw.execute(
            "INSERT INTO processes (id, role, host, version, schema, targets, started_at, seen_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
            *(self.id, place.role, socket.gethostname()[:200], place.version, self._schema),
            *(msgspec.json.encode(place.targets).decode(), self._started_at, now),
            timeout=CALL_MOST_S,
        )

    async def _look_around(self, raw: asyncpg.Connection) -> None:
        """What changes slowly: how large the database is, how many processes there are, which are long gone."""
        now = self._clock()
        self.database_bytes = await raw.fetchval("SELECT pg_database_size(current_database())", timeout=CALL_MOST_S)
        await raw.execute("DELETE FROM processes WHERE seen_at < $1", now - FORGOTTEN_MS, timeout=CALL_MOST_S)
        live = await raw.fetchval(
            "SELECT count(*) FROM processes WHERE seen_at > $1", now - LIVE_MS, timeout=CALL_MOST_S
        )
        self._gather_s = GATHER_S * max(1.0, live / 8)  # each call is heard by all: it grows with the square

    async def close(self) -> None:
        """Stop, and say that this process is gone. What it says of itself is never cut off, or it could come last."""
        connected = self._raw is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CALL_MOST_S), self._turn:
                await self._stop()
                if connected:
                    await self._say_gone()
                return
        await self._stop()

    async def _stop(self) -> None:
        ending = [it for it in (self._sending, self._running) if it is not None]
        for task in ending:
            task.cancel()
        await asyncio.wait(ending)
        if self._connecting is not None and not self._connecting.done():
            await asyncio.wait([self._connecting], timeout=CALL_MOST_S)

    async def _say_gone(self) -> None:
        with contextlib.suppress(Exception):  # then it counts as gone after a while
            again = await connect(self._place.listen_url or self._place.url)
            try:
                await again.execute("DELETE FROM processes WHERE id = $1", self.id, timeout=CALL_MOST_S)
            finally:
                again.terminate()


def _close_made(made: "asyncio.Future[asyncpg.Connection]") -> None:
    if not made.cancelled() and made.exception() is None:
        made.result().terminate()


async def read_timeline(raw: asyncpg.Connection) -> str | None:
    """Which of its histories the database is at: another one once a replica has taken over, or it was restored.

    Of its control file the number may lag behind. None if the server is no PostgreSQL that says so.
    """
    try:
        return str(await raw.fetchval("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)", timeout=CALL_MOST_S))
    except asyncpg.PostgresError:
        return None


def process_from_row(row: Sequence[Any]) -> ProcessRow:
    """A process from a row of the table."""
    name, role, host, version, schema, targets, started_at, seen_at = row
    known = msgspec.json.decode(targets, type=tuple[str, ...])
    return ProcessRow(name, role, host, version, schema, known, started_at, seen_at)
