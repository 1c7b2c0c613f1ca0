"""Retention: removes what is older than `RETENTION` allows, in small turns behind all other work.

An hourly pass goes through one kind of row after the other, oldest first, and stops at the first that is young. Then it
gives free pages back to the disk, and looks through a part of the archive for orphaned files. After a leap of the clock
it removes nothing for an hour. Of several processes over one database, one does it. The loop also raises attention when
the clock leapt, and when the disk has no room left for callbacks.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

from receiver.core.clock_check import ClockCheck, ClockWatch, leap_text
from receiver.core.errors import ClockLeapt, RequestRefused, StoreError, Unwritable
from receiver.core.schedule import MINUTE, is_paused
from receiver.core.types import Clock, Policy, Retention
from receiver.notify.attention import raise_attention
from receiver.pictures.files import ArchiveFiles
from receiver.pictures.orphans import OrphanCleanup
from receiver.store import AgedRow, RemovalResult, Store, Topic, Tx
from receiver.store.tables.hours import HOURS_KEPT_MS
from receiver.tasks.batch_ends import close_pruned
from receiver.telemetry.metrics import Metrics
from receiver.upkeep.aged_keys import DAY_MS, Key, due_keys
from receiver.upkeep.prune_lease import PruneLease, PruneLeaseLost

FIRST_MS = 600_000  # after a start: by then a clock that was wrong at boot is correct
EVERY_MS = 3_600_000
AGAIN_MS = 60_000  # after an error of the store
TURN_LEAST, TURN_MOST = 16, 200  # rows a transaction
TURN_S = 0.020  # that a transaction may take
PAGES, PAGES_ALONE = 64, 2048  # of the file that one transaction gives back
SPARE_LEAST = 4096  # free pages that stay in the file for new rows
SPARE_SHARE = 10  # likewise: a tenth of the file
REST_LEAST_S, REST_TIMES = 0.01, 4  # between two turns: four times as long as the last one took
ATTENTION_MS = 86_400_000  # how long we remember a reported cause; after an hour it may be reported again
_ROWS_A_TASK = 8  # one callback, picture, copy, notice, send and attempt each, and the task

log = logging.getLogger(__name__)


class _PruneTurn:
    """One transaction of a pass; its user sets `gone`, the rows that it removed."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.gone = RemovalResult()


class RetentionPruner:
    """The loop that removes what is old. With `alone`, nobody else uses the database, and the loop need not yield.

    `removed` counts removed rows by kind; rows that go with a task count as tasks.
    """

    topic = Topic.PRUNE
    width = 1
    grace_s = 1.0

    def __init__(
        self,
        store: Store,
        files: ArchiveFiles,
        policy: Policy,
        clock: Clock,
        *,
        keep: Retention,
        watch: ClockWatch,
        metrics: Metrics | None = None,
        alone: bool = False,
    ) -> None:
        self._store = store
        self._files = files
        self._orphans = OrphanCleanup(store, files)
        self._policy = policy
        self._clock = clock
        self._watch = watch
        self._metrics = metrics or Metrics()
        self._stored_check: ClockCheck | None = None
        self._leaps = 0  # reported
        self._record_again_at = 0  # when the store may take the clock's check again
        self._keep = keep
        self._alone = alone
        self._lease = PruneLease(store, clock)
        self._next_at = policy.started_at + FIRST_MS
        self._to_come: list[str] = []  # kinds of the pass under way, the present one first
        self._after: str | int | None = None  # the last key looked at
        self._rows = TURN_MOST // 4
        self._shrinking = alone
        self._asked = False  # by a person, who will look for the result in the log
        self._before = Counter[str]()
        self.removed = Counter[str]()

    @property
    def keep(self) -> Retention:
        """How many days each kind of row is kept."""
        return self._keep

    def start_pass_now(self) -> bool:
        """Begin a pass now; False if one is already running. Raises RequestRefused while the clock is not trusted."""
        if (held := self._hold_reason()) is not None:
            raise RequestRefused(409, "clock_leapt", held.problem, remedy=held.remedy)
        self._next_at = self._clock()
        self._asked = True
        self._store.wake(self.topic)
        return not self._to_come

    async def claim(self) -> str | None:
        """The next kind of rows; None between two passes."""
        now = self._clock()
        await self._record_clock(now)
        await self._warn_disk_full(now)
        if not self._to_come:
            if is_paused(self._next_at, now, EVERY_MS):
                return None
            if (held := self._hold_reason()) is not None:
                log.warning("%s", held, extra={"action": "prune.held"})
                self._next_at = now + self._watch.hold_left_ms()
                return None
            if (later := await self._lease.take(EVERY_MS, asked=self._asked)) is not None:
                self._next_at = later
                return None
            self._to_come, self._after, self._before = list(_STEPS), None, self.removed.copy()
        return self._to_come[0]

    async def carry_out(self, kind: str) -> None:
        """One step: look at some rows, and remove the old ones."""
        try:
            await self._lease.keep()
            if not await _STEPS[kind](self):
                self._to_come.pop(0)
                self._after = None
        except Unwritable as error:  # an error of the archive must not hold up the rest
            log.warning("%s; trying again in an hour", error, extra={"action": "prune.fault"})
            self._to_come.pop(0)
            self._after = None
        except Exception as error:
            known = isinstance(error, StoreError | ClockLeapt)
            fault = {"action": "prune.fault"}
            log.warning("%s; retention continues in a minute", error, exc_info=not known, extra=fault)
            self._to_come, self._next_at = [], self._clock() + AGAIN_MS
            return
        if not self._to_come:
            self._next_at = self._clock() + EVERY_MS
            gone = self.removed - self._before
            if gone or self._asked:
                counts = ", ".join(f"{count:,} {name}" for name, count in gone.items()) or "nothing is old enough"
                log.info("retention removed: %s", counts, extra={"action": "prune.pass"})
            self._asked = False
            await self._lease.end(self._next_at)

    async def next_due(self) -> int | None:
        """When the next pass begins."""
        return self._next_at

    async def run_full_pass(self) -> None:
        """One whole pass. Raises ClockLeapt, StoreError (PruneLeaseLost if another process is at it), Unwritable."""
        await self._record_clock(self._clock())
        if await self._lease.take(EVERY_MS, asked=True) is not None:
            raise PruneLeaseLost
        next_at = None
        try:
            for step in _STEPS.values():
                self._after = None
                while await step(self):
                    await self._lease.keep()
            next_at = self._clock() + EVERY_MS
        finally:
            await self._lease.end(next_at)

    # -- the kinds: each step returns whether there may be more --

    async def _prune_tasks(self) -> bool:
        old, more = await self._find_due(self._store.pruning.aged_tasks, "", self._keep.tasks, self._tasks_a_turn)
        refs = await self._store.pruning.closed_tasks(old, self._trusted_now()) if old else []
        await self._files.remove_folders(refs)  # before their rows, so that a kill leaves no file without a row
        while refs:
            async with self._begin_turn("tasks") as turn:
                turn.gone = await turn.tx.pruning.drop_tasks(refs, self._trusted_now(), self._rows)
                if turn.gone.lanes:
                    await close_pruned(turn.tx, turn.gone.lanes, self._policy, self._trusted_now())
            await self._remove_digests(turn.gone)
            refs = [ref for ref in refs if ref not in turn.gone.refs]
        return more

    async def _prune_images(self) -> bool:
        days = self._keep.images
        old, more = await self._find_due(self._store.pruning.tasks_with_copies, "", days, TURN_MOST, in_order=False)
        while old:
            some, old = old[: self._tasks_a_turn], old[self._tasks_a_turn :]
            refs = await self._store.pruning.closed_tasks(some, self._trusted_now())
            await self._files.remove_folders(refs)
            async with self._begin_turn("pictures") as turn:
                why = f"our copy was removed after {days} {'day' if days == 1 else 'days'}, as set by RETENTION"
                turn.gone = await turn.tx.pruning.drop_copies(refs, why)
        return more

    async def _prune_callbacks(self) -> bool:
        ids, more = await self._find_due(self._store.pruning.aged_callbacks, 0, self._keep.callbacks, self._rows)
        if ids:
            async with self._begin_turn("callbacks") as turn:
                turn.gone = await turn.tx.pruning.drop_callbacks(ids)
        return more

    async def _prune_overflow(self) -> bool:
        days = self._keep.callbacks
        refs, more = await self._find_due(self._store.pruning.aged_overflow, "", days, self._rows, in_order=False)
        if refs:
            async with self._begin_turn("callbacks") as turn:
                turn.gone = await turn.tx.pruning.drop_overflow(refs)
        return more

    async def _prune_notices(self) -> bool:
        ids, more = await self._find_due(self._store.pruning.aged_notices, 0, self._keep.notices, self._rows // 2)
        if ids:
            async with self._begin_turn("notices") as turn:
                turn.gone = await turn.tx.pruning.drop_notices(ids)
            await self._remove_digests(turn.gone)
        return more

    async def _prune_polls(self) -> bool:
        before = self._trusted_now() - self._keep.polls * DAY_MS
        return bool(self._keep.polls) and await self._prune_by_time(
            "polls", lambda tx, limit: tx.pruning.drop_polls(before, limit)
        )

    async def _prune_attention(self) -> bool:
        before = self._trusted_now() - ATTENTION_MS
        return await self._prune_by_time("attention", lambda tx, limit: tx.pruning.drop_attention(before, limit))

    async def _prune_idempotency_keys(self) -> bool:
        now = self._trusted_now()

        async def forget_keys(tx: Tx, limit: int) -> RemovalResult:
            return RemovalResult(await tx.tasks.forget_keys(now, limit))

        return await self._prune_by_time("idempotency keys", forget_keys)

    async def _prune_hours(self) -> bool:
        before = self._trusted_now() - HOURS_KEPT_MS
        async with self._store.write() as tx:
            await tx.hours.forget(before)
        return False

    async def _free_pages(self) -> bool:
        """Give free pages back once they are a tenth of the file, down to half of that; when alone, all of them."""
        free, total = await self._store.pruning.page_counts()
        spare = 0 if self._alone else max(SPARE_LEAST, total // SPARE_SHARE)
        if free <= (spare // 2 if self._shrinking else spare):
            self._shrinking = self._alone
            return False
        self._shrinking = True
        async with self._begin_turn("") as turn:
            await turn.tx.pruning.vacuum_pages(PAGES_ALONE if self._alone else PAGES)
        return (await self._store.pruning.page_counts())[0] < free

    async def _remove_orphans(self) -> bool:
        now, days = self._trusted_now(), self._keep.images
        began = time.monotonic()
        if self._after is None:
            self._after = ""
            await self._orphans.begin_pass(now, whole=self._alone)
        removed, more = await self._orphans.remove_some(now, now - days * DAY_MS if days else None)
        if removed:
            self.removed["orphaned files"] += removed
        if more and not self._alone:
            await asyncio.sleep(max(REST_LEAST_S, REST_TIMES * (time.monotonic() - began)))
        return more

    # -- how --

    @property
    def _tasks_a_turn(self) -> int:
        """How many tasks fit a turn."""
        return max(1, self._rows // _ROWS_A_TASK)

    async def _find_due(
        self,
        page: Callable[[Key, int], Awaitable[list[AgedRow[Key]]]],
        start: Key,
        days: int,
        limit: int,
        *,
        in_order: bool = True,
    ) -> tuple[list[Key], bool]:
        """The keys due on the next page, and whether to go on. Rows `in_order` end in the order they were made."""
        if not days:
            return [], False
        after = start if self._after is None else self._after
        rows = await page(after, limit)  # type: ignore[arg-type]  # all keys have the type of `start`
        if rows:
            self._after = rows[-1].key
        old, more = due_keys(rows, days, self._trusted_now())
        return old, len(rows) == limit and (more or not in_order)

    def _trusted_now(self) -> int:
        """The time, for a removal. Raises ClockLeapt while nothing may be removed."""
        now = self._watch.trusted_now()
        if now is None:
            raise self._hold_reason() or ClockLeapt("the clock leapt just now")
        return now

    def _hold_reason(self) -> ClockLeapt | None:
        """Why nothing may be removed now."""
        left_ms = self._watch.hold_left_ms()
        if not left_ms:
            return None
        leap_ms = self._watch.check.leap_ms
        why = f"the clock leapt {leap_text(leap_ms)}" if leap_ms else "the machine was started not long ago"
        return ClockLeapt(
            f"{why}, so nothing is removed until it has been right for an hour",
            remedy=f"check it with `date`, and wait {-(-left_ms // MINUTE)} minutes",
        )

    async def _record_clock(self, now: int) -> None:
        """Store what is known of the clock, and report a new leap. If the store fails, try again in a minute."""
        self._watch.trusted_now()
        check = self._watch.check
        if check == self._stored_check or (self._alone and not check.leap_ms):
            return
        if is_paused(self._record_again_at, now, AGAIN_MS):
            return
        leapt = check.leaps - self._leaps
        self._record_again_at = now + AGAIN_MS
        with contextlib.suppress(StoreError):
            async with self._store.write() as tx:
                await tx.clock_checks.save(check)
                if leapt:
                    await raise_attention(
                        tx,
                        "clock",
                        f"This machine's clock leapt {leap_text(check.leap_ms)}. Until it has been right for an hour, "
                        "nothing is removed and no task or notice is given up. Callbacks, polls and pings go on. "
                        "Check it with `date` and `timedatectl`.",
                        self._policy,
                        now,
                    )
            self._stored_check, self._leaps, self._record_again_at = check, check.leaps, 0
            if leapt:
                self._metrics.count_clock_leaps(leapt)
                log.error("the clock leapt %s", leap_text(check.leap_ms), extra={"action": "clock.leap"})

    async def _prune_by_time(self, name: str, drop: Callable[[Tx, int], Awaitable[RemovalResult]]) -> bool:
        limit = self._rows
        async with self._begin_turn(name) as turn:
            turn.gone = await drop(turn.tx, limit)
        return turn.gone.rows >= limit

    async def _remove_digests(self, gone: RemovalResult) -> None:
        await self._files.remove_folders([f"digest-{send}" for send in gone.sends])

    @contextlib.asynccontextmanager
    async def _begin_turn(self, name: str) -> AsyncIterator[_PruneTurn]:
        """One transaction, then a rest. How long it took decides how large the next one is."""
        async with self._store.write() as tx:
            await self._lease.renew(tx)
            began = time.monotonic()
            turn = _PruneTurn(tx)
            yield turn
        took_s = time.monotonic() - began
        if turn.gone.rows:
            self.removed[name] += turn.gone.rows
        self._rows = max(TURN_LEAST, self._rows // 2) if took_s > TURN_S else min(TURN_MOST, self._rows + 10)
        if not self._alone:
            await asyncio.sleep(max(REST_LEAST_S, REST_TIMES * took_s))

    async def _warn_disk_full(self, now: int) -> None:
        """Raise attention, once an hour, while the disk is so full that callbacks are not stored."""
        if (why := self._store.disk_full_reason()) is None:
            return
        with contextlib.suppress(StoreError):
            async with self._store.write() as tx:
                if await raise_attention(
                    tx,
                    "disk",
                    f"{why[0].upper()}{why[1:]}. Callbacks are refused with 503 until there is room. The provider may "
                    "send them again; we poll for the other results later. Free some space now.",
                    self._policy,
                    now,
                ):
                    log.error("%s: callbacks are refused", why, extra={"action": "prune.disk"})


_STEPS: dict[str, Callable[[RetentionPruner], Awaitable[bool]]] = {
    "tasks": RetentionPruner._prune_tasks,
    "images": RetentionPruner._prune_images,
    "callbacks": RetentionPruner._prune_callbacks,
    "overflown": RetentionPruner._prune_overflow,
    "polls": RetentionPruner._prune_polls,
    "notices": RetentionPruner._prune_notices,
    "attention": RetentionPruner._prune_attention,
    "keys": RetentionPruner._prune_idempotency_keys,
    "hours": RetentionPruner._prune_hours,
    "pages": RetentionPruner._free_pages,
    "orphaned files": RetentionPruner._remove_orphans,
}
"""The steps of a pass, in order: tasks first, since the rows that go with them are then gone for the other steps."""
