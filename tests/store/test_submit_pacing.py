"""How many are in hand at once, and what happens while the provider refuses our key or our balance."""

import asyncio

import pytest
from msgspec.structs import replace

from kit.fakes import (
    MINUTE,
    NOW,
    POLICY,
    SECOND,
    Clock,
    attention,
    claimed,
    got,
    says,
)
from kit.submit_loop import BARRED, TAKEN, UNCLEAR, Rig, a_rig, a_submit, forget_states
from receiver.core.decide import FOREVER
from receiver.core.queue_waits import QueueReason, QueueWait
from receiver.core.types import Ending, OutcomeSource, SubmitAnswer, SubmitResult, TaskState
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import Store
from receiver.tasks.settle import TaskBatch

pytestmark = pytest.mark.anyio


@pytest.fixture
def rig(store: Store, clock: Clock) -> Rig:
    return a_rig(store, clock)


# -- places --


async def test_never_more_are_in_hand_than_the_provider_bears(rig: Rig) -> None:
    tasks = await rig.queue(6)
    rig.provider.answer = lambda: SubmitAnswer(
        SubmitResult.TAKEN, "200", says(Ending.RUNNING, f"job-{len(rig.provider.submitted)}")
    )
    await rig.submit.carry_out(await claimed(rig.submit.claim))
    begun = [await claimed(rig.submit.claim) for _ in range(3)]
    assert await rig.submit.claim() is None
    for work in begun:
        await rig.submit.carry_out(work)
    assert await rig.submit.claim() is None, "those that wait for their pictures hold their places"
    await rig.called(tasks[0], Ending.COMPLETED)
    assert await rig.submit.claim() is not None
    assert await rig.submit.claim() is None


async def test_an_unsure_one_holds_its_place_for_three_expected_times(rig: Rig) -> None:
    rig.provider.answer = lambda: UNCLEAR
    await rig.queue(5)
    for _ in range(4):
        await rig.submit.carry_out(await claimed(rig.submit.claim))
    assert await rig.submit.claim() is None
    until = NOW + 3 * POLICY.sweep_first_ms
    assert await rig.submit.next_due() == until
    rig.clock.now = until - 1
    assert await rig.submit.claim() is None
    rig.clock.now = until
    assert await rig.submit.claim() is not None


async def test_an_unsure_one_that_turns_out_to_be_running_holds_its_place_to_the_end(rig: Rig) -> None:
    task = await rig.after(UNCLEAR)
    async with rig.store.write() as tx:
        book = await TaskBatch.read_tasks(tx, [task.ref], POLICY, NOW)
        book.apply_outcome(task.ref, says(Ending.RUNNING, progress=0.3), OutcomeSource.POLL)
        await book.write_back()
    after = await got(rig.store, task.ref)
    assert (after.unsure, after.place_until) == (False, FOREVER)


async def test_what_the_provider_refused_to_take_at_once_is_its_limit_and_one_more_is_tried_in_time(rig: Rig) -> None:
    await rig.queue(30)
    assert await rig.step(*(replace(TAKEN, outcome=says(Ending.RUNNING, f"job-{n}")) for n in range(2)))
    assert await rig.step(SubmitAnswer(SubmitResult.BUSY, "429", too_many=True))
    assert await rig.submit.claim() is None, "two are in hand, and that is the limit"
    rig.clock.forward(5 * SECOND - 1)
    assert await rig.submit.claim() is None
    assert await rig.submit.next_due() == NOW + 5 * SECOND
    rig.clock.forward(1)
    assert await rig.step(replace(TAKEN, outcome=says(Ending.RUNNING, "job-2"))), "a third is tried"
    assert await rig.submit.claim() is None
    rig.clock.forward(5 * SECOND)
    assert await rig.step(replace(TAKEN, outcome=says(Ending.RUNNING, "job-3"))), "and a fourth"
    rig.clock.forward(MINUTE)
    assert await rig.submit.claim() is None, "never above what was configured"


async def test_a_429_while_fewer_are_in_hand_than_before_holds_back_only_its_own_task(rig: Rig) -> None:
    tasks = await rig.queue(6)
    assert await rig.step(*(replace(TAKEN, outcome=says(Ending.RUNNING, f"job-{n}")) for n in range(2)))
    for n in range(2):
        await rig.called(tasks[n], Ending.COMPLETED, f"job-{n}")
    assert await rig.step(SubmitAnswer(SubmitResult.BUSY, "HTTP 429", too_many=True))
    late = await got(rig.store, tasks[2].ref)
    assert (late.state, late.due_at, late.why, late.tries) == (TaskState.QUEUED, NOW + SECOND, "HTTP 429", 1)
    assert await rig.step(*(replace(TAKEN, outcome=says(Ending.RUNNING, f"job-{n}")) for n in (3, 4)))
    rig.clock.forward(SECOND)
    work = await claimed(rig.submit.claim)
    assert work.ref == late.ref, "it kept its turn"


# -- a first request, and a pause by a person --


async def test_before_one_was_taken_three_requests_are_under_way_at_most(rig: Rig) -> None:
    await rig.queue(5)
    begun = [await claimed(rig.submit.claim) for _ in range(3)]
    assert await rig.submit.claim() is None
    rig.provider.answer = lambda: TAKEN
    await rig.submit.carry_out(begun[0])
    assert await rig.submit.claim() is not None


async def test_a_refused_key_costs_three_requests_whatever_is_queued(rig: Rig) -> None:
    await rig.queue(50)
    rig.provider.answer = lambda: BARRED
    begun = []
    while (work := await rig.submit.claim()) is not None:
        begun.append(work)
    await asyncio.gather(*map(rig.submit.carry_out, begun))
    assert await rig.submit.claim() is None
    assert len(rig.provider.submitted) == 3
    assert await attention(rig.store) == ["provider-key"]


async def test_a_person_pauses_all_submissions_over_restarts_and_resumes_them(rig: Rig) -> None:
    await rig.queue(2)
    async with rig.store.write() as tx:
        await tx.gates.pause(DEFAULT_PROVIDER, NOW)
        await tx.gates.pause(DEFAULT_PROVIDER, NOW + 1)
    assert await rig.submit.claim() is None
    again = a_submit(rig.store, rig.provider, rig.clock)
    assert await again.claim() is None
    assert (await again.queue.describe()).wait == QueueWait(
        QueueReason.PAUSED, NOW, detail="the whole queue: `receiver queue resume`"
    )
    async with rig.store.write() as tx:
        await tx.gates.resume(DEFAULT_PROVIDER)
    assert await again.claim() is not None


# -- pause and probes --


async def test_while_the_key_is_refused_one_task_probes_after_1_2_4_8_15_minutes(rig: Rig) -> None:
    await rig.queue(3)
    gaps = []
    assert await rig.step(BARRED)
    for _ in range(6):
        refused_at = rig.clock()
        while not await rig.step(BARRED):
            due = await rig.submit.next_due()
            assert due is not None
            assert due > rig.clock()
            rig.clock.now = due
        gaps.append((rig.clock() - refused_at) // MINUTE)
    assert gaps == [1, 2, 4, 8, 15, 15]
    assert await attention(rig.store) == ["provider-key"], "at most once an hour"


async def test_only_one_probes_at_a_time_and_a_success_opens_the_gate(rig: Rig) -> None:
    await rig.queue(5)
    await rig.step(BARRED)
    rig.clock.forward(MINUTE)
    probe = await claimed(rig.submit.claim)
    assert await rig.submit.claim() is None
    rig.provider.answers.append(TAKEN)
    await rig.submit.carry_out(probe)
    assert [await rig.submit.claim() is not None for _ in range(3)] == [True] * 3


async def test_refusals_of_requests_under_way_together_count_once(rig: Rig) -> None:
    await rig.queue(4)
    begun = [await claimed(rig.submit.claim) for _ in range(3)]
    rig.provider.answer = lambda: BARRED
    await asyncio.gather(*map(rig.submit.carry_out, begun))
    rig.clock.forward(MINUTE)
    assert await rig.submit.claim() is not None, "the first probe comes after one minute, not after eight"


async def test_an_answer_to_what_was_sent_before_opens_no_gate(rig: Rig) -> None:
    await rig.queue(3)
    begun = [await claimed(rig.submit.claim) for _ in range(2)]
    rig.clock.forward(SECOND)
    rig.provider.answers.append(SubmitAnswer(SubmitResult.BUSY, "429", retry_after_ms=40 * SECOND))
    await rig.submit.carry_out(begun[0])
    rig.provider.answers.append(TAKEN)
    await rig.submit.carry_out(begun[1])
    assert await rig.submit.claim() is None
    rig.clock.forward(40 * SECOND)
    assert await rig.submit.claim() is not None


async def test_a_start_lets_one_task_probe_at_once(rig: Rig) -> None:
    """The key may just have been mended; but if not, one refusal is enough to know."""
    await rig.queue(3)
    assert await rig.step(BARRED)
    rig.clock.forward(MINUTE)
    assert await rig.step(BARRED)
    await forget_states(rig.store)
    fresh = a_submit(rig.store, rig.provider, rig.clock)
    probe = await claimed(fresh.claim)
    assert probe.state is TaskState.SUBMITTING
    assert await fresh.claim() is None
    rig.provider.answers.append(BARRED)
    await fresh.carry_out(probe)
    assert await fresh.claim() is None
    rig.clock.forward(MINUTE)
    assert await fresh.claim() is not None
