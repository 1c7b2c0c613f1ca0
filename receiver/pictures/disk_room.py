"""Room for the archive on its disk: what it leaves free, and what happens to tasks while there is none."""

import logging
from collections.abc import Sequence

from msgspec.structs import replace

from receiver.core.errors import Unwritable
from receiver.core.types import Clock, Policy, Task
from receiver.notify.attention import raise_attention
from receiver.pictures.files import ArchiveFiles
from receiver.store import Store, Tx
from receiver.store.insist import record_with_retries

FULL_GAP_MS = 600_000  # until the disk is checked again
FLOOR_LEAST, FLOOR_MOST = 512 << 20, 5 << 30  # bytes
TURN = 200  # rows a transaction

log = logging.getLogger(__name__)


def disk_reserve(total: int) -> int:
    """How many bytes of a disk of `total` bytes the archive leaves free, above all for callbacks: a twentieth, but at
    least 512 MiB (a quarter of a small disk) and at most 5 GiB."""
    return min(max(total // 20, FLOOR_LEAST), FLOOR_MOST, total // 4)


class ArchiveRoom:
    """Whether there is room for pictures, and the postponement of tasks until there is."""

    def __init__(self, store: Store, files: ArchiveFiles, policy: Policy, clock: Clock) -> None:
        self._store = store
        self._files = files
        self._policy = policy
        self._clock = clock

    def find_shortage(self) -> str | None:
        """Why we must not write to the archive's disk; None while there is room."""
        try:
            free, total = self._files.disk_space()
        except Unwritable as error:
            return str(error)
        if free >= disk_reserve(total):
            return None
        return f"the archive's disk is nearly full: {free >> 20} MiB of {total >> 20} MiB are free"

    async def postpone_due(self, why: str) -> None:
        """Postpone all tasks that are due."""
        count = TURN

        async def postpone_some() -> None:
            nonlocal count
            async with self._store.write() as tx:
                due = await tx.tasks.due_for_archive(self._clock(), limit=TURN)
                changes = [(it, self.postpone(it)) for it in due]
                await tx.tasks.update(changes, guard=("archive_at",))
                await self.report_shortage(tx, due, why)
            count = len(due)

        while count == TURN:
            await record_with_retries(postpone_some)

    def postpone(self, task: Task) -> Task:
        """The task, due once there may be room."""
        return replace(task, archive_at=self._clock() + FULL_GAP_MS)

    async def report_shortage(self, tx: Tx, tasks: Sequence[Task], why: str) -> None:
        """Release the notices of tasks that were postponed, and raise attention."""
        now = self._clock()
        for task in tasks:
            await tx.notices.make_due_now(task.ref, now)
        if tasks and await raise_attention(
            tx,
            "archive-disk",
            f"{why[0].upper()}{why[1:]}. No pictures are archived, and pings come without them. Fix this soon: "
            "the provider's links expire.",
            self._policy,
            now,
        ):
            log.error(why, extra={"action": "archive.disk"})
