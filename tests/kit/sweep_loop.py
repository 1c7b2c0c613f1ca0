"""A sweep with all it stands on, for the tests of polling and of giving up."""

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kit.fakes import NOW, POLICY, Clock, FakeProvider, a_task, body, claimed, got, parse, put, steady
from receiver.core.clock_check import ClockWatch
from receiver.core.types import (
    NoticeEvent,
    Outcome,
    OutcomeSource,
    Policy,
    PollReply,
    PollResult,
    Task,
    TaskState,
    Verdict,
)
from receiver.store import Store
from receiver.tasks.ingest import CallbackIngest
from receiver.tasks.settle import TaskBatch
from receiver.tasks.sweep import SweepLoop
from receiver.telemetry.metrics import Metrics

UNKNOWN = PollReply(PollResult.UNKNOWN, "404")
BARRED = PollReply(PollResult.UNAUTHORIZED, "401")
UNREADABLE = PollReply(PollResult.UNREADABLE, "200", body=b"<html>")
BUSY = PollReply(PollResult.BUSY, "429", retry_after_ms=30_000)
NOTHING = PollReply(PollResult.NOTHING, "timeout")


def heard(outcome: Outcome) -> PollReply:
    """A reply that says `outcome`."""
    return PollReply(PollResult.OUTCOME, "200", outcome, b"what came")


def a_sweep(
    store: Store, provider: FakeProvider, clock: Clock, policy: Policy = POLICY, watch: ClockWatch | None = None
) -> SweepLoop:
    """A sweep without jitter."""
    watch = watch or steady(clock)
    return SweepLoop(store, provider, policy, clock, watch=watch, parse=parse, jitter=lambda: 0.5, metrics=Metrics())


class Rig(Struct, frozen=True, eq=False):
    """The loop, its store, and the two seams."""

    store: Store
    provider: FakeProvider
    clock: Clock
    sweep: SweepLoop

    async def overdue(self, **more: Any) -> Task:
        """A waiting task that is to be looked at now."""
        task = a_task(**{"poll_at": self.clock(), **more})
        await put(self.store, task)
        return task

    async def called(self, task: Task, outcome: Outcome, policy: Policy = POLICY) -> None:
        """A callback, applied as ingest would."""
        async with self.store.write() as tx:
            book = await TaskBatch.read_tasks(tx, [task.ref], policy, self.clock())
            await book.look_up_owners([(task.ref, outcome)])
            book.apply_outcome(task.ref, outcome, OutcomeSource.CALLBACK)
            await book.write_back()

    async def receive(self, task: Task, outcome: Outcome | None, policy: Policy = POLICY) -> Verdict:
        """A callback by the way of all callbacks, so that its body is kept. None: nobody can read it."""
        raw = b"?" if outcome is None else body(outcome)
        return await self.an_ingest(policy).receive_callback(task.ref, raw, b"{}")

    def an_ingest(self, policy: Policy = POLICY) -> CallbackIngest:
        return CallbackIngest(self.store, parse, policy, self.clock, Metrics())

    async def hinted(self, outcome: Outcome, **more: Any) -> Task:
        """A waiting task with a hint."""
        task = a_task(**more)
        await put(self.store, task)
        await self.called(task, outcome)
        return task

    async def look(self, reply: PollReply) -> None:
        """One turn of the loop, which must have work; what is asked is answered by `reply`."""
        self.provider.reply = reply
        await self.sweep.carry_out(await claimed(self.sweep.claim))

    async def look_when_due(self, reply: PollReply) -> None:
        """Let time pass until there is work, then look."""
        self.provider.reply = reply
        work = await self.sweep.claim()
        while work is None:
            due = await self.sweep.next_due()
            assert due is not None, "nothing will ever be looked at again"
            assert due > self.clock()
            self.clock.now = due
            work = await self.sweep.claim()
        await self.sweep.carry_out(work)

    async def unconfirmed(self, task: Task, reply: PollReply) -> None:
        """Look until the task settles: at the end of its time, by its hint, told as unconfirmed."""
        until = NOW + POLICY.confirm_within_ms
        while (after := await got(self.store, task.ref)).state is TaskState.WAITING:
            assert self.clock() < until
            await self.look_when_due(reply)
        assert (self.clock(), after.state) == (until, TaskState.COMPLETED)
        assert (after.confirmed, after.settled_by) == (False, OutcomeSource.CALLBACK)
        page = await self.store.notices.page(ref=task.ref)
        told = [it.report for it in page if it.event is not NoticeEvent.ATTENTION]
        assert [it.confirmed for it in told] == [False]
        assert told[0].unconfirmed, "it says why"

    async def polls_of(self, task: Task) -> list[tuple[str, bytes | None]]:
        """What was heard of a task, and the bodies that were kept."""
        sql = "SELECT heard, body FROM polls WHERE ref = ? ORDER BY id"
        return [tuple(row) for row in await self.store.tasks._db.fetch_rows(sql, (task.ref,))]

    def with_policy(self, **more: Any) -> "Rig":
        """The same under another policy, as after a start with other settings."""
        policy = replace(POLICY, **more)
        return replace(self, sweep=a_sweep(self.store, self.provider, self.clock, policy))


def a_rig(store: Store, clock: Clock) -> Rig:
    """The loop over an empty store and a provider that answers as told."""
    provider = FakeProvider()
    return Rig(store, provider, clock, a_sweep(store, provider, clock))
