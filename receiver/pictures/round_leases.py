"""Leases of the archive's rounds: while a round fetches and draws the pictures of a task, nobody else does.

The lease is the task's `archive_at`, which each round sets to a time of its own. A round records only while that is
still there: what a process that was frozen for minutes brings is too late, and changes nothing.
"""

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from receiver.core.errors import StaleUpdate
from receiver.core.types import LOW_LANE, Clock, Task
from receiver.store import Store, Tx
from receiver.store.insist import record_with_retries

LEASE_MS = 180_000  # longer than one fetch, or the drawing; renewed with each picture


class LeaseLost(Exception):
    """Another round may be at the pictures of this task now."""


class RoundLeases:
    """The rounds that are under way in this process."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._held: dict[str, Task] = {}  # by ref, as it is stored

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, ref: str) -> bool:
        return ref in self._held

    def count_later(self) -> int:
        """How many of them are not the first of their task."""
        return sum(it.archive_tries > 0 for it in self._held.values())

    def extend(self, task: Task) -> Task:
        """The task with a new lease."""
        return replace(task, archive_at=self._clock() + LEASE_MS)

    async def claim(self, tx: Tx, task: Task) -> Task:
        """Take a task that was read and locked; it counts as under way once `add` was called, after the commit."""
        leased = self.extend(task)
        await tx.tasks.update([(task, leased)], guard=("archive_at",))
        return leased

    def add(self, task: Task) -> None:
        """A round of this task is under way."""
        self._held[task.ref] = task

    def remove(self, task: Task) -> None:
        """The round has ended."""
        self._held.pop(task.ref, None)

    def check_time(self, ref: str) -> None:
        """Raise LeaseLost if another process may have begun a round since we last recorded something."""
        held = self._held.get(ref)
        if self._store.shared and (held is None or self._clock() >= (held.archive_at or 0)):
            raise LeaseLost

    async def record(
        self,
        task: Task,
        change: Callable[[Task], Task],
        write_more: Callable[[Tx, Task], Awaitable[None]],
        *,
        ends: bool = False,
    ) -> None:
        """Store the task as `change` makes it, and with it what `write_more` writes, if its lease is still ours; retry
        while the store fails. Raises LeaseLost.

        The rounds of a batch's tasks take turns to end (`ends`): so the last one sees that it is the last.
        """

        async def write() -> None:
            held = self._held.get(task.ref)
            if held is None:  # after a leap of the clock this process had two rounds of it, of which one has ended
                raise LeaseLost
            try:
                async with self._store.write() as tx:
                    if ends and self._store.shared and task.lane > LOW_LANE:
                        await tx.lanes.get([task.lane])
                    changed = change(held)
                    await tx.tasks.update([(held, changed)], guard=("archive_at",))
                    await write_more(tx, changed)
            except StaleUpdate:
                stored = (await self._store.tasks.get([task.ref])).get(task.ref)
                if stored is None or stored.archive_at != held.archive_at:
                    raise LeaseLost from None
                raise
            self._held[task.ref] = changed

        await record_with_retries(write)
