"""An end that cannot be believed or read: someone is told at once, its place is free, and the deadline holds."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import (
    HOUR,
    MINUTE,
    NOW,
    PICTURES,
    POLICY,
    Clock,
    FakeProvider,
    a_task,
    attention,
    body,
    foreign,
    got,
    notices,
    parse,
    put,
    says,
)
from kit.sweep_loop import BARRED, BUSY, NOTHING, UNKNOWN, UNREADABLE, Rig, a_sweep, heard
from receiver.core.types import Ending, NoticeEvent, Outcome, OutcomeSource, PollReply, Report, Task, TaskState, Verdict
from receiver.store import open_store
from receiver.tasks.ingest import CallbackIngest
from receiver.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

BARE = says(Ending.COMPLETED, images=())
STRANGE = says(Ending.COMPLETED, status="baked", doubt="its status 'baked' is unknown")
STRANGE_FAILURE = foreign(Ending.FAILED, status="cooked", doubt="its status 'cooked' is unknown")
DOUBTED = pytest.mark.parametrize("end", [BARE, STRANGE, STRANGE_FAILURE], ids=["bare", "word", "failure"])
LATE = NOW + POLICY.deadline_ms


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    store = await open_store(tmp_path / "r.db")
    provider, clock = FakeProvider(), Clock()
    yield Rig(store, provider, clock, a_sweep(store, provider, clock))
    await store.close()


async def waiting(rig: Rig, **more: Any) -> Task:
    task = a_task(**more)
    await put(rig.store, task)
    return task


async def told(rig: Rig, event: NoticeEvent = NoticeEvent.ATTENTION) -> Report:
    """The only report of this kind."""
    [notice] = await notices(rig.store, event=event)
    return notice.report


async def accept(rig: Rig, callback_id: int) -> Verdict:
    return await CallbackIngest(rig.store, parse, POLICY, rig.clock, Metrics()).replay(callback_id, accept=True)


# -- told at once, once, for that task --


@DOUBTED
async def test_a_doubted_end_in_a_callback_is_told_at_once_with_what_can_be_done(rig: Rig, end: Outcome) -> None:
    task = await waiting(rig, label="hero")
    assert await rig.receive(task, end) is Verdict.HINT
    report = await told(rig)
    assert (report.cause, report.ref) == (f"doubted:{task.ref}", task.ref)
    assert report.text is not None
    [callback] = await rig.store.callbacks.page(ref=task.ref)
    for part in (end.status, end.why_doubted, f"tasks show {task.ref}", f"callbacks replay --accept {callback.id}"):
        assert part is not None
        assert part in report.text


@DOUBTED
async def test_a_doubted_end_in_a_poll_is_told_at_once_and_is_not_still_running(rig: Rig, end: Outcome) -> None:
    task = await rig.overdue(label="hero")
    await rig.look(heard(replace(end, task_id="job-1")))
    report = await told(rig)
    assert report.ref == task.ref
    assert report.text is not None
    assert end.status in report.text
    assert (await got(rig.store, task.ref)).state is TaskState.WAITING
    assert await rig.polls_of(task) == [("outcome", b"what came")], "the body is kept, so that it can be looked at"


async def test_it_is_told_once_per_task_however_long_it_is_said(rig: Rig) -> None:
    tasks = [await rig.overdue(task_id=f"job-{n}") for n in range(2)]
    for task in tasks:
        await rig.receive(task, BARE)
    while rig.clock() < NOW + 5 * HOUR:
        await rig.look_when_due(heard(BARE))
        await rig.receive(tasks[0], BARE)
    assert sorted(await attention(rig.store)) == sorted(f"doubted:{it.ref}" for it in tasks)


async def test_it_is_told_although_a_readable_end_is_waiting_for_its_poll(rig: Rig) -> None:
    task = await waiting(rig)
    await rig.receive(task, foreign(Ending.COMPLETED))
    await rig.receive(task, BARE)
    assert await attention(rig.store) == [f"doubted:{task.ref}"]
    assert (await got(rig.store, task.ref)).hint == foreign(Ending.COMPLETED)


async def test_what_settles_in_the_same_moment_is_not_told_as_doubted(rig: Rig) -> None:
    task = await waiting(rig)
    ingest = CallbackIngest(rig.store, parse, POLICY, rig.clock, Metrics())
    async with rig.store.write():
        both = [
            asyncio.create_task(ingest.receive_callback(task.ref, body(it), b"{}"))
            for it in (BARE, says(Ending.COMPLETED))
        ]
        await asyncio.sleep(0)
    assert [await it for it in both] == [Verdict.HINT, Verdict.ACCEPTED]
    assert await attention(rig.store) == []


async def test_a_lost_task_of_which_a_doubted_end_is_heard_is_told_too(rig: Rig) -> None:
    task = await waiting(rig, state=TaskState.LOST, poll_at=None)
    await rig.receive(task, BARE)
    assert await attention(rig.store) == [f"doubted:{task.ref}"]


# -- its place, its polls, its deadline --


@DOUBTED
@pytest.mark.parametrize("polled", [False, True])
async def test_a_doubted_end_frees_its_place(rig: Rig, end: Outcome, polled: bool) -> None:
    """Ten of them would otherwise stop all submissions."""
    task = await rig.overdue()
    assert await rig.store.tasks.places_taken(rig.clock()) == 1
    if polled:
        await rig.look(heard(replace(end, task_id="job-1")))
    else:
        await rig.receive(task, end)
    assert await rig.store.tasks.places_taken(rig.clock()) == 0


async def test_a_poll_that_says_running_takes_the_place_back(rig: Rig) -> None:
    task = await waiting(rig)
    await rig.receive(task, BARE)
    await rig.look(heard(says(Ending.RUNNING)))
    assert await rig.store.tasks.places_taken(rig.clock()) == 1
    await rig.receive(task, BARE)
    assert await rig.store.tasks.places_taken(rig.clock()) == 0


@pytest.mark.parametrize("unread", ["callback", "poll"])
async def test_what_nobody_can_read_holds_its_place_for_a_quarter_of_an_hour(rig: Rig, unread: str) -> None:
    task = await rig.overdue()
    if unread == "callback":
        await rig.receive(task, None)
    await rig.look(UNREADABLE if unread == "poll" else NOTHING)
    assert await rig.store.tasks.places_taken(rig.clock()) == 1
    assert await rig.store.tasks.places_taken(rig.clock() + 15 * MINUTE) == 0


async def test_a_doubted_end_is_polled_as_a_hint_and_settles_by_a_poll_that_shows_the_pictures(rig: Rig) -> None:
    task = await waiting(rig)
    await rig.receive(task, BARE)
    await rig.look(heard(BARE))
    await rig.look_when_due(heard(says(Ending.COMPLETED)))
    after = await got(rig.store, task.ref)
    assert (after.state, after.confirmed, after.hint_note) == (TaskState.COMPLETED, True, None)
    assert (await rig.store.tasks.images_by_ref([task.ref]))[task.ref] == PICTURES


@DOUBTED
@pytest.mark.parametrize("reply", [UNKNOWN, NOTHING, UNREADABLE, BARRED])
async def test_a_doubted_end_never_settles_by_itself(rig: Rig, end: Outcome, reply: PollReply) -> None:
    task = await waiting(rig)
    await rig.receive(task, end)
    while rig.clock() < NOW + 3 * POLICY.confirm_within_ms:
        await rig.look_when_due(reply)
    assert (await got(rig.store, task.ref)).state is TaskState.WAITING


@pytest.mark.parametrize("reply", [heard(BARE), heard(STRANGE), UNREADABLE])
async def test_the_deadline_holds_whatever_polls_say_that_cannot_be_read(rig: Rig, reply: PollReply) -> None:
    task = await rig.overdue()
    while (after := await got(rig.store, task.ref)).state is TaskState.WAITING:
        assert rig.clock() <= LATE + POLICY.sweep_max_ms
        await rig.look_when_due(reply)
    assert (after.state, after.poll_at) == (TaskState.LOST, None)
    assert rig.clock() >= LATE


@pytest.mark.parametrize("reply", [NOTHING, BARRED, BUSY])
async def test_errors_still_postpone_it(rig: Rig, reply: PollReply) -> None:
    task = await waiting(rig)
    await rig.receive(task, BARE)
    rig.clock.now = LATE + HOUR
    for _ in range(5):
        await rig.look_when_due(reply)
    assert (await got(rig.store, task.ref)).state is TaskState.WAITING


@pytest.mark.parametrize(
    ("heard_before", "words"),
    [
        (BARE, ("completed", "no picture")),
        (STRANGE, ("baked", "unknown")),
        (None, ("callback could not be read",)),
    ],
)
async def test_the_lost_ping_says_what_was_heard_and_why_it_did_not_count(
    rig: Rig, heard_before: Outcome | None, words: tuple[str, ...]
) -> None:
    task = await waiting(rig)
    await rig.receive(task, heard_before)
    rig.clock.now = LATE
    await rig.look_when_due(UNKNOWN)
    said = (await told(rig, NoticeEvent.LOST)).heard
    assert said is not None
    assert all(word in said for word in words)
    assert (await got(rig.store, task.ref)).hint_note is not None, "it can still be shown"


async def test_the_lost_ping_says_that_polls_could_not_be_read(rig: Rig) -> None:
    await rig.overdue()
    rig.clock.now = LATE
    await rig.look(UNREADABLE)
    assert (await told(rig, NoticeEvent.LOST)).heard == "The provider's answer to a poll could not be read."


# -- a person --


async def test_a_person_may_accept_a_doubted_end_as_its_best_guess(rig: Rig) -> None:
    task, other = await waiting(rig), await waiting(rig, task_id="job-2")
    await rig.receive(task, STRANGE)
    await rig.receive(other, STRANGE_FAILURE)
    [second, first] = await rig.store.callbacks.page()
    assert [await accept(rig, it.id) for it in (first, second)] == [Verdict.ACCEPTED] * 2
    after = await got(rig.store, task.ref)
    assert (after.state, after.settled_by, after.confirmed) == (TaskState.COMPLETED, OutcomeSource.PERSON, True)
    assert (await rig.store.tasks.images_by_ref([task.ref]))[task.ref] == PICTURES
    assert (await got(rig.store, other.ref)).state is TaskState.FAILED


async def test_a_person_may_accept_an_end_without_pictures(rig: Rig) -> None:
    task = await waiting(rig)
    await rig.receive(task, BARE)
    [callback] = await rig.store.callbacks.page()
    assert await accept(rig, callback.id) is Verdict.ACCEPTED
    after = await got(rig.store, task.ref)
    assert (after.state, after.archive, after.poll_at) == (TaskState.COMPLETED, None, None)
    assert [it.event for it in await notices(rig.store, event=NoticeEvent.COMPLETED)] == [NoticeEvent.COMPLETED]


# -- without a key --


async def test_without_a_key_every_task_is_told_of_in_time(rig: Rig) -> None:
    """By the ping of its settlement, at once, or when its callback could not be read by then."""
    blind = replace(POLICY, can_poll=False)
    rig = rig.with_policy(can_poll=False)
    tasks = [await waiting(rig, task_id=f"job-{n}", poll_at=None) for n in range(4)]
    for task, outcome in zip(tasks, (foreign(Ending.COMPLETED), BARE, None, None), strict=True):
        await rig.receive(task, outcome, blind)
    while rig.clock() < NOW + POLICY.confirm_within_ms:
        await rig.look_when_due(NOTHING)
    while (work := await rig.sweep.claim()) is not None:
        await rig.sweep.carry_out(work)
    assert (await got(rig.store, tasks[0].ref)).state is TaskState.COMPLETED
    assert "PROVIDER_KEY" in ((await told(rig, NoticeEvent.COMPLETED)).unconfirmed or "")
    causes = await attention(rig.store)
    unread = [f"{kind}:{it.ref}" for kind in ("unparsed", "unread") for it in tasks[2:]]
    assert sorted(causes) == sorted([f"doubted:{tasks[1].ref}", *unread])


async def test_a_body_nobody_can_read_is_not_told_again_once_a_poll_says_running(rig: Rig) -> None:
    task = await waiting(rig)
    await rig.receive(task, None)
    while rig.clock() < NOW + HOUR:
        await rig.look_when_due(heard(says(Ending.RUNNING)))
    assert await attention(rig.store) == [f"unparsed:{task.ref}"]
