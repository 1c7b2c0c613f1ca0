"""The store: the only rooms that hold SQL. `write()` is the only way to change anything.

    async with store.write() as tx:                     # the second lane: at most 200 rows and 20 ms a turn
        tasks = await tx.tasks.get(refs)
        await tx.tasks.update([(task, changed)])
    await store.tasks.page(state="waiting")             # reading, on a connection of its own

What a transaction changed is told after its commit: loops are woken by topic, listeners hear the refs.
"""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from receiver.store.signals import ChangeListener
from receiver.store.sqlite.engine import open_sqlite
from receiver.store.tables.callbacks import CallbackTable
from receiver.store.tables.connection import Topic
from receiver.store.tables.notices import NoticeTable
from receiver.store.tables.picture_copies import PictureCopyTable
from receiver.store.tables.retention import RetentionQueries
from receiver.store.tables.sends import SendTable
from receiver.store.tables.tasks import TaskTable
from receiver.store.writer_turns import Lane


class Tx(Protocol):
    """The tables inside one transaction."""

    tasks: TaskTable
    callbacks: CallbackTable
    copies: PictureCopyTable
    notices: NoticeTable
    sends: SendTable
    pruning: RetentionQueries


class Store(Protocol):
    """The tables for reading, `write()` for changing, and who waits for what."""

    tasks: TaskTable
    callbacks: CallbackTable
    copies: PictureCopyTable
    notices: NoticeTable
    sends: SendTable
    pruning: RetentionQueries
    fault: str | None
    """Why the last transaction could not be committed; None when it went well."""

    def write(self, lane: Lane = Lane.OTHER) -> AbstractAsyncContextManager[Tx]:
        """A transaction: committed when the block ends, rolled back when it raises. Raises Unavailable, Stale."""

    async def probe(self) -> str | None:
        """Whether a commit goes through now: None, or why not."""

    def disk_full_reason(self) -> str | None:
        """Why no more callbacks are stored, though other changes still are; None while there is room on the disk."""

    def file_sizes(self) -> tuple[int, int]:
        """How many bytes the database has, and how many the log of what is not in it yet. Blocks for a moment."""

    def wake(self, topic: Topic) -> None:
        """Tell the loop of `topic` to look."""

    def wake_count(self, topic: Topic) -> int:
        """The count to hand to `wait`; take it before looking for work."""

    async def wait_for_wake(self, topic: Topic, seen: int, timeout_s: float) -> None:
        """Return once `topic` was woken after `seen`, or after `timeout_s` seconds."""

    def open_listener(self) -> ChangeListener:
        """Follow the changes of tasks."""

    async def close(self) -> None:
        """Give everything back."""


async def open_store(path: Path) -> Store:
    """Open, and if need be make or migrate, the SQLite database at `path`. Raises StoreError's children."""
    return await open_sqlite(path)
