"""Two processes poll over one database: the times of the polls and what the replies teach are one."""

import asyncio

import pytest
from msgspec import Struct

from kit.fakes import SECOND, Clock, FakeProvider, a_task, attention, claimed, got, put, says
from kit.sweep_loop import BARRED, BUSY, NOTHING, a_sweep, heard
from receiver.core.types import Ending, PollReply, Task, TaskState
from receiver.store import Store
from receiver.tasks.sweep import LEASE_MS, SPACING_MS, STREAK, SweepLoop

pytestmark = pytest.mark.anyio


class Pair(Struct, frozen=True, eq=False):
    """Two loops that have looked for work once, and the provider that they share."""

    store: Store
    provider: FakeProvider
    clock: Clock
    one: SweepLoop
    two: SweepLoop

    async def overdue(self, count: int = 1) -> list[Task]:
        tasks = [a_task(poll_at=self.clock(), task_id=f"job-{number}") for number in range(count)]
        await put(self.store, *tasks)
        return tasks

    async def look(self, loop: SweepLoop, reply: PollReply) -> None:
        self.provider.reply = reply
        await loop.carry_out(await claimed(loop.claim))


@pytest.fixture
async def pair(store: Store, other: Store, clock: Clock) -> Pair:
    provider = FakeProvider()
    one, two = a_sweep(store, provider, clock), a_sweep(other, provider, clock)
    assert [await one.claim(), await two.claim()] == [None, None]
    return Pair(store, provider, clock, one, two)


async def test_both_together_poll_twice_a_second(pair: Pair) -> None:
    await pair.overdue(12)
    polled = []
    began = pair.clock()
    while pair.clock() < began + 4 * SPACING_MS:
        polled += [it for it in (await pair.one.claim(), await pair.two.claim()) if it is not None]
        pair.clock.forward(SPACING_MS // 5)
    assert len({it.task.ref for it in polled}) == len(polled) == 4


async def test_claims_at_the_same_moment_get_one_slot(pair: Pair) -> None:
    await pair.overdue(6)
    found = await asyncio.gather(*(loop.claim() for loop in (pair.one, pair.two) * 3))
    assert len([it for it in found if it is not None]) == 1
    assert await pair.one.next_due() == await pair.two.next_due() == pair.clock() + SPACING_MS


async def test_a_look_with_nothing_to_poll_takes_no_slot(pair: Pair) -> None:
    assert await pair.one.claim() is None
    await pair.overdue()
    assert await pair.two.claim() is not None


async def test_a_rest_that_one_was_asked_for_is_kept_by_the_other(pair: Pair) -> None:
    await pair.overdue(2)
    await pair.look(pair.one, BUSY)
    pair.clock.forward(30 * SECOND - 1)
    assert await pair.two.claim() is None
    assert await pair.two.next_due() == pair.clock() + 1
    pair.clock.forward(1)
    assert await pair.two.claim() is not None


async def test_a_key_that_is_refused_to_one_is_not_tried_by_the_other(pair: Pair) -> None:
    await pair.overdue(3)
    await pair.look(pair.one, BARRED)
    pair.clock.forward(SPACING_MS)
    job = await claimed(pair.two.claim)
    assert (job.task_id, job.barred) == (None, True)


async def test_tasks_that_only_polls_settle_are_counted_together(pair: Pair) -> None:
    tasks = await pair.overdue(STREAK)
    for number in range(len(tasks)):
        assert await attention(pair.store) == []
        loop = pair.two if number % 2 else pair.one
        job = await claimed(loop.claim)
        pair.provider.reply = heard(says(Ending.COMPLETED, job.task.task_id))
        await loop.carry_out(job)
        pair.clock.forward(SPACING_MS)
    assert await attention(pair.store) == ["callbacks-stopped"]


async def test_a_reply_after_its_lease_is_dropped_once_another_poll_was_sent(pair: Pair) -> None:
    [task] = await pair.overdue()
    late = await claimed(pair.one.claim)
    pair.clock.forward(LEASE_MS)
    newer = await claimed(pair.two.claim)
    pair.provider.reply = heard(says(Ending.FAILED, task.task_id))
    await pair.one.carry_out(late)
    between = await got(pair.store, task.ref)
    assert (between.state, between.polls, between.lease_until) == (TaskState.WAITING, 0, newer.task.lease_until)
    pair.provider.reply = heard(says(Ending.COMPLETED, task.task_id))
    await pair.two.carry_out(newer)
    after = await got(pair.store, task.ref)
    assert (after.state, after.polls) == (TaskState.COMPLETED, 1)


async def test_a_reply_after_its_lease_is_dropped_once_another_one_came(pair: Pair) -> None:
    [task] = await pair.overdue()
    late = await claimed(pair.one.claim)
    pair.clock.forward(LEASE_MS)
    await pair.look(pair.two, NOTHING)
    before = await got(pair.store, task.ref)
    await pair.one.carry_out(late)
    assert await got(pair.store, task.ref) == before


async def test_what_a_dropped_reply_says_of_the_provider_counts(pair: Pair) -> None:
    await pair.overdue(2)
    late = await claimed(pair.one.claim)
    pair.clock.forward(LEASE_MS)
    await claimed(pair.two.claim)
    pair.provider.reply = BUSY
    await pair.one.carry_out(late)
    pair.clock.forward(20 * SECOND)
    assert await pair.two.claim() is None


async def test_a_reply_after_its_lease_counts_if_nobody_asked_again(pair: Pair) -> None:
    [task] = await pair.overdue()
    late = await claimed(pair.one.claim)
    pair.clock.forward(2 * LEASE_MS)
    pair.provider.reply = heard(says(Ending.COMPLETED, task.task_id))
    await pair.one.carry_out(late)
    assert (await got(pair.store, task.ref)).state is TaskState.COMPLETED
