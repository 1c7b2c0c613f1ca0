"""One task that the provider refuses does not stop the others; what is put off again and again comes to a person."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from kit.fakes import (
    MINUTE,
    NOW,
    SECOND,
    Clock,
    a_task,
    attention,
    claimed,
    got,
    notices,
    put,
    says,
)
from kit.submit_loop import BUSY, NOT_SENT, TAKEN, Rig, a_rig, a_submit
from receiver.core.submissions import BUSY_TRIES_MOST, REFUSALS_MOST
from receiver.core.types import (
    Ending,
    HoldReason,
    NoticeEvent,
    RefusalCause,
    SubmitAnswer,
    SubmitResult,
    Task,
    TaskError,
    TaskState,
)
from receiver.store import Store
from receiver.tasks.submit import DOWN_LEAST

pytestmark = pytest.mark.anyio

WORDS = TaskError(None, "Forbidden")
FORBIDDEN = SubmitAnswer(SubmitResult.UNAUTHORIZED, "HTTP 403: Forbidden", error=WORDS, may_be_own=True)
NO_BALANCE = replace(FORBIDDEN, error=TaskError(None, "insufficient balance"), cause=RefusalCause.BALANCE)
BAD_KEY = replace(
    FORBIDDEN, text="HTTP 401", error=TaskError(None, "bad key"), cause=RefusalCause.KEY, may_be_own=False
)
NO_PERMISSION = replace(BAD_KEY, text="HTTP 403: Permission_Denied", cause=RefusalCause.PERMISSION)


@pytest.fixture
def rig(store: Store, clock: Clock) -> Rig:
    return a_rig(store, clock)


async def in_turn(rig: Rig, count: int) -> list[Task]:
    """Queued tasks, due one after the other."""
    tasks = [a_task(TaskState.QUEUED, due_at=rig.clock() - 1_000 + place, turn=place) for place in range(count)]
    await put(rig.store, *tasks)
    return tasks


async def run(rig: Rig, answer: Callable[[str], SubmitAnswer], until: int) -> list[str]:
    """Let the loop run until the clock shows `until`; what was sent, in order. Tasks that were taken end at once."""
    sent = []

    def answer_last() -> SubmitAnswer:
        ref = (rig.provider.submitted[-1][2] or "").rpartition("/")[2]
        sent.append(ref)
        said = answer(ref)
        if said.result is not SubmitResult.TAKEN:
            return said
        return SubmitAnswer(SubmitResult.TAKEN, "200", says(Ending.COMPLETED, f"job-{len(sent)}"))

    rig.provider.answer = answer_last
    while rig.clock() <= until:
        work = await rig.submit.claim()
        if work is not None:
            await rig.submit.carry_out(work)
            rig.clock.forward(50)
        elif (due := await rig.submit.next_due()) is not None:
            rig.clock.now = max(due, rig.clock() + 1)
        else:
            break
    return sent


def refuses(*refs: str, answer: SubmitAnswer = FORBIDDEN) -> Callable[[str], SubmitAnswer]:
    return lambda ref: answer if ref in refs else TAKEN


# -- a refusal of one task --


async def test_a_task_refused_while_another_is_taken_fails_in_the_providers_words(rig: Rig) -> None:
    bad, *good = await in_turn(rig, 4)
    sent = await run(rig, refuses(bad.ref), NOW + SECOND)
    assert sent == [bad.ref, *(it.ref for it in good)], "the next is sent at once"
    after = await got(rig.store, bad.ref)
    assert (after.state, after.error, after.refused_at) == (TaskState.FAILED, WORDS, None)
    assert [it.event for it in await notices(rig.store, bad.ref)] == [NoticeEvent.FAILED]
    assert await attention(rig.store) == []
    for task in good:
        assert (await got(rig.store, task.ref)).state is TaskState.COMPLETED


@pytest.mark.parametrize(
    "answer", [FORBIDDEN, NO_BALANCE, NO_PERMISSION, BAD_KEY], ids=["403", "balance", "permission", "key"]
)
async def test_good_tasks_do_not_wait_for_a_bad_one(rig: Rig, answer: SubmitAnswer) -> None:
    """Whatever it says of itself: at worst they wait once, until a probe shows that others are taken."""
    bad, *good = await in_turn(rig, 30)
    await run(rig, refuses(bad.ref, answer=answer), NOW + 2 * MINUTE)
    for task in good:
        assert (await got(rig.store, task.ref)).state is TaskState.COMPLETED
    late = (await in_turn(rig, 1))[0]
    before = rig.clock()
    await run(rig, refuses(bad.ref, answer=answer), before + SECOND)
    assert (await got(rig.store, late.ref)).state is TaskState.COMPLETED
    await run(rig, refuses(bad.ref, answer=answer), NOW + 3 * 60 * MINUTE)
    after = await got(rig.store, bad.ref)
    own = answer is not BAD_KEY  # a key is never one task's own: a person has to say
    assert (after.state, after.held_by) == ((TaskState.FAILED, None) if own else (TaskState.QUEUED, after.held_by))


async def test_several_bad_tasks_among_good_ones_all_fail_and_only_they(rig: Rig) -> None:
    tasks = await in_turn(rig, 20)
    bad = {it.ref for it in tasks[::4]}
    await run(rig, refuses(*bad), NOW + MINUTE)
    states = {it.ref: (await got(rig.store, it.ref)).state for it in tasks}
    assert {ref for ref, state in states.items() if state is TaskState.FAILED} == bad
    assert {state for ref, state in states.items() if ref not in bad} == {TaskState.COMPLETED}
    assert await attention(rig.store) == []


async def test_a_task_that_was_taken_while_the_suspect_was_under_way_is_a_witness(rig: Rig) -> None:
    [bad, good] = await in_turn(rig, 2)
    first = await claimed(rig.submit.claim)
    rig.clock.forward(10)
    second = await claimed(rig.submit.claim)
    rig.provider.answers += [TAKEN, FORBIDDEN]
    await rig.submit.carry_out(second)
    await rig.submit.carry_out(first)
    assert (await got(rig.store, bad.ref)).state is TaskState.FAILED
    assert (await got(rig.store, good.ref)).state is TaskState.WAITING


async def test_a_task_that_was_sent_before_the_suspect_is_no_witness(rig: Rig) -> None:
    """The balance may have been used up by it: a batch must not fail for that."""
    [good, bad] = await in_turn(rig, 2)
    assert await rig.step(TAKEN)
    rig.clock.forward(SECOND)
    assert await rig.step(FORBIDDEN)
    after = await got(rig.store, bad.ref)
    assert (after.state, after.held_by, after.error) == (TaskState.QUEUED, HoldReason.SUSPECT, WORDS)
    assert (after.tries, after.due_at) == (0, rig.clock() + MINUTE)


async def test_a_suspect_alone_probes_itself_after_1_2_4_minutes_and_then_a_person_is_asked(rig: Rig) -> None:
    [task] = await in_turn(rig, 1)
    sent = await run(rig, refuses(task.ref), NOW + 24 * 60 * MINUTE)
    assert len(sent) == REFUSALS_MOST
    after = await got(rig.store, task.ref)
    assert (after.state, after.held_by, after.due_at) == (TaskState.QUEUED, HoldReason.PERSON, None)
    assert await attention(rig.store) == [f"held:{task.ref}"]
    [notice] = await notices(rig.store, event=NoticeEvent.ATTENTION)
    assert "Forbidden" in (notice.report.text or "")
    assert f"receiver tasks resubmit {task.ref}" in (notice.report.text or "")


async def test_a_suspect_survives_a_restart(rig: Rig) -> None:
    bad, good = await in_turn(rig, 2)
    assert await rig.step(FORBIDDEN)
    fresh = Rig(rig.store, rig.provider, rig.clock, a_submit(rig.store, rig.provider, rig.clock))
    assert await fresh.step(TAKEN)
    assert (await got(rig.store, bad.ref)).state is TaskState.FAILED
    assert (await got(rig.store, good.ref)).state is TaskState.WAITING


async def test_a_callback_on_a_suspects_url_means_that_somebody_took_it(rig: Rig) -> None:
    bad, _ = await in_turn(rig, 2)
    assert await rig.step(FORBIDDEN)
    await rig.called(bad, Ending.RUNNING)
    assert await rig.step(TAKEN)
    assert (await got(rig.store, bad.ref)).state is TaskState.WAITING


# -- a refusal of all --


@pytest.mark.parametrize("answer", [FORBIDDEN, NO_BALANCE], ids=["403", "balance"])
async def test_a_refusal_of_the_witness_too_pauses_and_names_the_words(rig: Rig, answer: SubmitAnswer) -> None:
    first, second, third = await in_turn(rig, 3)
    assert await rig.step(answer)
    assert await rig.step(answer)
    assert not await rig.step(TAKEN), "paused"
    for task in (first, second):
        assert (await got(rig.store, task.ref)).held_by is HoldReason.PAUSE
    [notice] = await notices(rig.store, event=NoticeEvent.ATTENTION)
    assert notice.report.cause == "provider-key"
    assert answer.text in (notice.report.text or "")
    await run(rig, refuses(), NOW + 2 * MINUTE)
    for task in (first, second, third):
        assert (await got(rig.store, task.ref)).state is TaskState.COMPLETED, "nobody failed for what all shared"


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (RefusalCause.KEY, "refuses our key"),
        (RefusalCause.BALANCE, "refuses our balance"),
        (RefusalCause.PERMISSION, "denies us permission"),
        (None, "refuses all tasks alike"),
    ],
)
async def test_the_attention_names_the_cause(rig: Rig, cause: RefusalCause | None, words: str) -> None:
    await rig.after(replace(BAD_KEY, cause=cause))
    [notice] = await notices(rig.store, event=NoticeEvent.ATTENTION)
    assert words in (notice.report.text or "")
    assert "HTTP 401" in (notice.report.text or "")


async def test_a_balance_that_runs_out_in_the_middle_fails_nobody(rig: Rig) -> None:
    tasks = await in_turn(rig, 12)
    paid: list[str] = []

    def until_five(ref: str) -> SubmitAnswer:
        if len(paid) >= 5:
            return NO_BALANCE
        paid.append(ref)
        return TAKEN

    await run(rig, until_five, NOW + 20 * MINUTE)
    states = [(await got(rig.store, it.ref)).state for it in tasks]
    assert (states.count(TaskState.COMPLETED), states.count(TaskState.QUEUED)) == (5, 7)
    await run(rig, refuses(), rig.clock() + 30 * MINUTE)
    for task in tasks:
        assert (await got(rig.store, task.ref)).state is TaskState.COMPLETED


async def test_a_pause_uses_up_no_try_and_holds_nobody_for_good(rig: Rig) -> None:
    [task] = await in_turn(rig, 1)
    await run(rig, refuses(task.ref, answer=BAD_KEY), NOW + 24 * 60 * MINUTE)
    after = await got(rig.store, task.ref)
    assert (after.state, after.held_by, after.tries) == (TaskState.QUEUED, HoldReason.PAUSE, 0)


# -- bounds --


async def test_a_task_that_the_provider_is_too_busy_for_though_it_takes_others_comes_to_a_person(rig: Rig) -> None:
    task, *others = (a_task(TaskState.QUEUED, due_at=NOW + (turn - 1) * SECOND, turn=turn) for turn in range(200))
    await put(rig.store, task, *others)
    busy = SubmitAnswer(SubmitResult.BUSY, "HTTP 503: 004007099 service unavailable")
    sent = await run(rig, lambda ref: busy if ref == task.ref else TAKEN, NOW + 24 * 60 * MINUTE)
    assert sent.count(task.ref) == BUSY_TRIES_MOST
    after = await got(rig.store, task.ref)
    assert (after.state, after.held_by, after.due_at) == (TaskState.QUEUED, HoldReason.PERSON, None)
    assert await attention(rig.store) == [f"held:{task.ref}"]
    [notice] = await notices(rig.store, event=NoticeEvent.ATTENTION)
    assert f"{BUSY_TRIES_MOST} times (HTTP 503: 004007099 service unavailable)" in (notice.report.text or "")


async def test_a_provider_that_is_down_uses_up_no_tries_and_is_probed_by_one_task(rig: Rig) -> None:
    tasks = await in_turn(rig, 50)
    sent = await run(rig, lambda _: NOT_SENT, NOW + 60 * MINUTE)
    assert len(sent) < 75, "at most one a minute, after the first"
    for task in tasks:
        assert ((after := await got(rig.store, task.ref)).state, after.tries, after.held_by) == (
            TaskState.QUEUED,
            0,
            None,
        )
    assert set(await attention(rig.store)) == {"provider-down"}
    back = rig.clock()
    await run(rig, refuses(), back + 2 * MINUTE)
    for task in tasks:
        assert (await got(rig.store, task.ref)).state is TaskState.COMPLETED


async def test_nobody_is_told_of_a_provider_that_is_down_for_a_moment(rig: Rig) -> None:
    await in_turn(rig, 1)
    left = [NOT_SENT] * (DOWN_LEAST - 1)
    await run(rig, lambda _: left.pop() if left else TAKEN, NOW + 60 * MINUTE)
    assert await attention(rig.store) == []


async def test_a_refusal_after_a_callback_fails_nobody(rig: Rig) -> None:
    """Someone took it: a gateway may have refused a repeat of its own."""
    [task] = await in_turn(rig, 1)
    work = await claimed(rig.submit.claim)
    await rig.called(task, Ending.RUNNING)
    rig.provider.answers.append(SubmitAnswer(SubmitResult.REFUSED, "HTTP 400", error=TaskError(None, "no")))
    await rig.submit.carry_out(work)
    assert (await got(rig.store, task.ref)).state is TaskState.WAITING


async def test_an_id_in_an_odd_place_of_an_unclear_answer_is_polled(rig: Rig) -> None:
    outcome = says(Ending.RUNNING, "job-7")
    task = await rig.after(SubmitAnswer(SubmitResult.UNCLEAR, "HTTP 200", outcome))
    assert (task.state, task.unsure, task.task_id) == (TaskState.WAITING, True, None)
    assert (task.candidates, task.poll_at) == (("job-7",), NOW)


async def test_busy_still_backs_off(rig: Rig) -> None:
    task = await rig.after(BUSY)
    assert (task.tries, task.due_at) == (1, NOW + 41 * SECOND)
