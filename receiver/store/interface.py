"""What the store offers. `write()` is the only way to change anything.

    async with store.write() as tx:                     # other loops: at most 200 rows and 20 ms a turn
        tasks = await tx.tasks.get(refs)
        await tx.tasks.update([(task, changed)])
    await store.tasks.page(state="waiting")             # reads have their own connection

Over PostgreSQL other processes write at the same time, and a transaction sees what they commit between two of its
statements. So what it goes on to change it locks first, looks at then, in a statement of its own, and reads the clock
last. Its reads of tasks and lanes lock by themselves.

All lock in one order, or they would wait for each other: paces, targets by name, tasks by ref (their changes bring
those of the books), lanes by id, budget periods, sends, notices, attention. What cannot keep to it may be ended as a
deadlock (StaleUpdate), and decides again.

After a commit, the loops that have new work are woken by topic, and listeners get the refs of the changed tasks.
"""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from receiver.core.types import Clock
from receiver.store.postgres.place import PostgresPlace
from receiver.store.process_row import ProcessRow
from receiver.store.signals import ChangeListener
from receiver.store.sqlite.engine import open_sqlite
from receiver.store.tables.batch_rows import BatchRowTable
from receiver.store.tables.callbacks import CallbackTable
from receiver.store.tables.chains import ChainTable
from receiver.store.tables.clock import ClockTable
from receiver.store.tables.connection import Topic
from receiver.store.tables.dialect import Dialect
from receiver.store.tables.gallery import GalleryTable
from receiver.store.tables.gates import GateTable
from receiver.store.tables.hours import HourTable
from receiver.store.tables.lanes import LaneTable
from receiver.store.tables.notices import NoticeTable
from receiver.store.tables.paces import PaceTable
from receiver.store.tables.picture_copies import PictureCopyTable
from receiver.store.tables.retention import RetentionQueries
from receiver.store.tables.sends import SendTable
from receiver.store.tables.sessions import SessionTable
from receiver.store.tables.spend import SpendTable
from receiver.store.tables.standing import StandingQueries
from receiver.store.tables.steps import StepTable
from receiver.store.tables.tasks import TaskTable
from receiver.store.writer_turns import Lane


class Tables(Protocol):
    """All tables, on one connection."""

    dialect: Dialect
    tasks: TaskTable
    callbacks: CallbackTable
    copies: PictureCopyTable
    notices: NoticeTable
    sends: SendTable
    pruning: RetentionQueries
    clock_checks: ClockTable
    lanes: LaneTable
    batch_rows: BatchRowTable
    chains: ChainTable
    spend: SpendTable
    gates: GateTable
    paces: PaceTable
    gallery: GalleryTable
    steps: StepTable
    sessions: SessionTable
    hours: HourTable
    standing: StandingQueries


class Tx(Tables, Protocol):
    """The tables inside one transaction."""


class Store(Tables, Protocol):
    """Tables to read from, `write()` to change them, and ways to wait for changes."""

    fault: str | None
    """Why the last transaction could not be committed; None if it was."""
    shared: bool
    """Whether other processes may work over the same database."""
    clock: Clock | None
    """The database's clock, which all processes over it go by; None: the machine's is meant."""

    @property
    def listening(self) -> bool | None:
        """Whether wake-ups of other processes are heard; None if there are none."""

    @property
    def timeline(self) -> str | None:
        """Which of its histories the database is at: another one once a replica has taken over. None if there is but
        one, or if that is not known."""

    def write(self, lane: Lane = Lane.OTHER) -> AbstractAsyncContextManager[Tx]:
        """A transaction: committed when the block ends, rolled back when it raises.

        Raises StoreUnavailable, StaleUpdate.
        """

    async def probe(self) -> str | None:
        """Try a commit now: None if it succeeds, otherwise why it failed."""

    def disk_full_reason(self) -> str | None:
        """Why new callbacks are refused, though other changes are still stored; None while the disk has room."""

    def file_sizes(self) -> tuple[int, int]:
        """The bytes of the database and of its write-ahead log. Blocks for a moment."""

    def wake(self, topic: Topic) -> None:
        """Make the loop of `topic` look for work."""

    def wake_count(self, topic: Topic) -> int:
        """The count to pass to `wait_for_wake`; read it before looking for work."""

    async def wait_for_wake(self, topic: Topic, seen: int, timeout_s: float) -> None:
        """Return once `topic` was woken after `seen`, or after `timeout_s` seconds."""

    def open_listener(self) -> ChangeListener:
        """A listener that collects the refs of changed tasks; close it afterwards."""

    async def known_targets(self) -> frozenset[str]:
        """The targets that any live process over this database has in its settings."""

    async def processes(self) -> list[ProcessRow]:
        """The processes over this database that were seen lately, this one among them, if it is shared."""

    async def identity(self) -> str | None:
        """Names the database itself, wherever it is served; None if a copy could not be told apart."""

    async def close(self) -> None:
        """Release the database and its lock."""


async def open_store(place: Path | PostgresPlace) -> Store:
    """Open the database at `place`, an SQLite file or on a server; create or migrate it if necessary.

    Raises a kind of StoreError; SettingsError if the server refuses what the settings say.
    """
    if isinstance(place, PostgresPlace):
        from receiver.store.postgres.engine import open_postgres  # brings asyncpg

        return await open_postgres(place)
    return await open_sqlite(place)
