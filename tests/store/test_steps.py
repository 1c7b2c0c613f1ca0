"""What is noted of a task when it happens: who notes what, how many, and for how long."""

import pytest
from msgspec.structs import replace

from kit.chain_requests import an_intake
from kit.chains import ChainBench, a_child
from kit.fakes import MINUTE, NOW, POLICY, Clock, a_notice, a_task, body, foreign, parse, put
from kit.submit_loop import BARRED, BUSY, NOT_SENT, REFUSED, TAKEN, UNCLEAR, a_rig
from receiver.client.schemas import AgainRequest
from receiver.core.errors import RequestRefused
from receiver.core.submissions import NextAction, describe_try
from receiver.core.types import (
    ArchiveState,
    Ending,
    HoldReason,
    ImageCopy,
    NoticeState,
    Step,
    StepKind,
    SubmitAnswer,
    SubmitResult,
    Task,
    TaskState,
)
from receiver.pictures.again import describe_round
from receiver.store import Store
from receiver.store.tables.steps import STEPS_MOST
from receiver.tasks.ingest import CallbackIngest
from receiver.tasks.intake import TaskIntake
from receiver.tasks.notify_again import notify_again
from receiver.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio


async def note(store: Store, *steps: Step) -> None:
    async with store.write() as tx:
        await tx.steps.add(steps)


async def texts(store: Store, ref: str = "a") -> list[str]:
    return [it.text for it in await store.steps.of(ref)]


async def test_steps_are_read_in_the_order_in_which_they_happened(store: Store) -> None:
    first, second = Step("a", NOW + 5, StepKind.PICKED, "link"), Step("a", NOW, StepKind.KEPT, "4 of 4")
    await note(store, first, Step("b", NOW, StepKind.SHARED))
    await note(store, second)
    assert await store.steps.of("a") == [first, second]
    assert await store.steps.of("c") == []


async def test_readers_of_the_task_are_told_of_a_step(store: Store) -> None:
    listener = store.open_listener()
    await note(store)
    await note(store, Step("a", NOW, StepKind.KEPT))
    assert await listener.take_refs(5) == ["a"]
    listener.close()


async def test_of_a_task_the_newest_fifty_are_kept(store: Store) -> None:
    for number in range(STEPS_MOST + 3):
        await note(store, Step("a", NOW + number, StepKind.KEPT, str(number)), Step("b", NOW, StepKind.KEPT, "b"))
    assert await texts(store) == [str(number) for number in range(3, STEPS_MOST + 3)]
    assert len(await texts(store, "b")) == STEPS_MOST


async def test_many_tries_never_displace_what_people_did(store: Store) -> None:
    await note(store, Step("a", NOW, StepKind.PUT_FIRST, "deed"))
    await note(store, *[Step("a", NOW, StepKind.PUT_BACK, f"try {number}") for number in range(STEPS_MOST + 20)])
    await note(store, Step("a", NOW, StepKind.CANCELLED, "end"))
    found = await texts(store)
    assert len(found) == STEPS_MOST
    assert found[0] == "deed"
    assert found[-2:] == [f"try {STEPS_MOST + 19}", "end"]


async def test_steps_go_with_their_task(store: Store) -> None:
    task = a_task(TaskState.COMPLETED)
    async with store.write() as tx:
        await tx.tasks.insert([task])
        await tx.steps.add([Step(task.ref, NOW, StepKind.KEPT), Step("other", NOW, StepKind.KEPT)])
    async with store.write() as tx:
        await tx.pruning.drop_tasks([task.ref], NOW, 1000)
    assert await store.steps.of(task.ref) == []
    assert len(await store.steps.of("other")) == 1


@pytest.mark.parametrize(
    ("result", "action", "kind"),
    [
        (SubmitResult.REFUSED, NextAction.FAIL, None),
        (SubmitResult.UNAUTHORIZED, NextAction.FAIL, None),
        (SubmitResult.BUSY, NextAction.REQUEUE, StepKind.PUT_BACK),
        (SubmitResult.NOT_SENT, NextAction.REQUEUE, StepKind.PUT_BACK),
        (SubmitResult.BUSY, NextAction.ASK, StepKind.PUT_BACK),
        (SubmitResult.UNAUTHORIZED, NextAction.SUSPECT, StepKind.REFUSED),
        (SubmitResult.UNAUTHORIZED, NextAction.ASIDE, StepKind.REFUSED),
        (SubmitResult.UNAUTHORIZED, NextAction.PAUSE, StepKind.REFUSED),
        (SubmitResult.UNAUTHORIZED, NextAction.ASK, StepKind.REFUSED),
        (SubmitResult.UNCLEAR, NextAction.UNSURE, StepKind.UNSURE),
        (SubmitResult.BUSY, NextAction.UNSURE, StepKind.UNSURE),
    ],
)
def test_what_is_noted_of_a_submission(result: SubmitResult, action: NextAction, kind: StepKind | None) -> None:
    answer = SubmitAnswer(result, "HTTP 429:\n slow\u202e down" + "!" * 400)
    steps = describe_try("a", answer, action, NOW)
    assert [it.kind for it in steps] == ([] if kind is None else [kind])
    for step in steps:
        assert step.text.startswith("HTTP 429: slow down!")
        assert len(step.text) == 300


COPIES = [ImageCopy(0, "0.png"), ImageCopy(1, error="HTTP 404"), ImageCopy(2, error="HTTP 403")]


@pytest.mark.parametrize(
    ("kept", "over", "copies", "expected"),
    [
        (1, True, COPIES, [(StepKind.KEPT, "1 of 3")]),
        (1, False, COPIES, [(StepKind.KEPT, "1 of 3")]),
        (0, False, COPIES[1:], []),
        (0, True, COPIES[1:], [(StepKind.NOT_KEPT, "HTTP 404")]),
        (0, True, [], [(StepKind.NOT_KEPT, "")]),
    ],
)
def test_what_is_noted_of_a_round_of_fetching(
    kept: int, over: bool, copies: list[ImageCopy], expected: list[tuple[StepKind, str]]
) -> None:
    task = replace(a_task(), archive=ArchiveState.DUE, archive_at=None if over else NOW + MINUTE)
    assert [(it.kind, it.text) for it in describe_round(task, kept, 3, NOW, copies)] == expected


async def test_a_repeated_report_is_noted_and_a_refused_one_is_not(store: Store) -> None:
    done, open_ = a_task(TaskState.COMPLETED), a_task(task_id="job-2")
    async with store.write() as tx:
        await tx.tasks.insert([done, open_])
        await tx.notices.insert([a_notice(ref=done.ref, state=NoticeState.DEAD)])
    await notify_again(store, POLICY, Clock(NOW + 1), done.ref)
    assert await store.steps.of(done.ref) == [Step(done.ref, NOW + 1, StepKind.NOTIFIED)]
    with pytest.raises(RequestRefused, match="no end to report"):
        await notify_again(store, POLICY, Clock(NOW + 1), open_.ref)
    assert await store.steps.of(open_.ref) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (TAKEN, []),
        (REFUSED, []),
        (BUSY, [(StepKind.PUT_BACK, "429")]),
        (NOT_SENT, [(StepKind.PUT_BACK, "connection refused")]),
        (BARRED, [(StepKind.REFUSED, "401")]),
        (UNCLEAR, [(StepKind.UNSURE, "read timeout")]),
    ],
    ids=lambda it: it.result if isinstance(it, SubmitAnswer) else None,
)
async def test_the_submit_loop_notes_what_did_not_bring_a_task_to_the_provider(
    store: Store, answer: SubmitAnswer, expected: list[tuple[StepKind, str]]
) -> None:
    rig = a_rig(store, Clock())
    task = await rig.after(answer)
    assert [(it.kind, it.text) for it in await store.steps.of(task.ref)] == expected


async def test_an_answer_that_never_came_is_noted(store: Store) -> None:
    clock = Clock()
    task = a_task(TaskState.SUBMITTING)
    await put(store, task)
    clock.forward(2 * MINUTE)
    await a_rig(store, clock).submit.claim()
    [step] = await store.steps.of(task.ref)
    assert (step.kind, step.at) == (StepKind.UNSURE, clock())


async def test_what_a_person_believes_is_noted_and_other_callbacks_are_not(store: Store) -> None:
    ingest = CallbackIngest(store, parse, POLICY, Clock(), Metrics())
    task = a_task()
    await put(store, task)
    await ingest.receive_callback(task.ref, body(foreign(Ending.COMPLETED)), b"{}")
    assert await store.steps.of(task.ref) == []
    [first] = await store.callbacks.page(ref=task.ref)
    await ingest.replay(first.id, accept=True)
    assert await store.steps.of(task.ref) == [Step(task.ref, NOW, StepKind.BELIEVED, str(first.id))]


UNSURE = a_task(task_id=None, unsure=True)
HELD = a_task(TaskState.QUEUED, held_by=HoldReason.PERSON, due_at=None)


@pytest.mark.parametrize(
    ("task", "act", "args", "kind", "text"),
    [
        (a_task(TaskState.QUEUED), TaskIntake.cancel_task, (), StepKind.CANCELLED, ""),
        (a_task(TaskState.QUEUED), TaskIntake.put_first, (), StepKind.PUT_FIRST, ""),
        (UNSURE, TaskIntake.resubmit_task, (), StepKind.RESUBMITTED, ""),
        (HELD, TaskIntake.resubmit_task, (), StepKind.RESUBMITTED, ""),
        (UNSURE, TaskIntake.set_task_id, ("job-9",), StepKind.ID_GIVEN, "job-9"),
    ],
    ids=["cancel", "first", "unsure-again", "held-again", "id"],
)
async def test_what_a_person_does_with_a_task_is_noted(
    store: Store, task: Task, act: object, args: tuple[str, ...], kind: StepKind, text: str
) -> None:
    await put(store, task)
    await act(an_intake(store), task.ref, *args)  # type: ignore[operator]  # each is a method
    assert await store.steps.of(task.ref) == [Step(task.ref, NOW, kind, text)]


async def test_of_a_refused_act_nothing_is_noted(store: Store) -> None:
    task = a_task(TaskState.COMPLETED)
    await put(store, task)
    for act in (TaskIntake.cancel_task, TaskIntake.put_first, TaskIntake.resubmit_task):
        with pytest.raises(RequestRefused):
            await act(an_intake(store), task.ref)
    assert await store.steps.of(task.ref) == []


async def test_a_repeated_task_names_the_new_one(store: Store) -> None:
    task = a_task(TaskState.FAILED, params=b'{"jobId": "job-7", "imageNo": 1, "scale": 1.5}')
    await put(store, task)
    new, _ = await an_intake(store).submit_again(task.ref, AgainRequest(), "once")
    await an_intake(store).submit_again(task.ref, AgainRequest(), "once")
    assert await store.steps.of(task.ref) == [Step(task.ref, NOW, StepKind.REPEATED, new.ref)]
    assert await store.steps.of(new.ref) == []


async def test_a_pick_is_noted_with_what_goes_on(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task(label="make", task_id=None)
    root, child = await bench.plant(root, a_child(root, None, label="wide"))
    await bench.end(root)
    await bench.follow_all()
    await bench.picks.pick(root.ref, [2], by="link")
    assert [(it.kind, it.text) for it in await store.steps.of(child.ref)] == [(StepKind.PICKED, "link")]
