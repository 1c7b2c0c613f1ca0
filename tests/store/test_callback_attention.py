"""Callbacks that call for a person: each task is reported at once, and a thousand of them in a few messages."""

import asyncio

import pytest

from kit.fakes import (
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    Clock,
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
from receiver.core.types import Ending, HoldReason, Notice, NoticeEvent, Task, TaskState
from receiver.notify.attention import SINGLY_MOST
from receiver.store import Store
from receiver.tasks.ingest import CallbackIngest
from receiver.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

UNREADABLE = b"<xml>done</xml>"
DOUBTED = body(says(Ending.COMPLETED, images=()))


class Calls:
    """Callbacks at one clock."""

    def __init__(self, store: Store) -> None:
        self.clock = Clock()
        self._ingest = CallbackIngest(store, parse, POLICY, self.clock, Metrics())

    async def call(self, *tasks: Task, raw: bytes = UNREADABLE) -> None:
        """One callback for each task, all together."""
        await asyncio.gather(*(self._ingest.receive_callback(it.ref, raw, b"{}") for it in tasks))


@pytest.fixture
def calls(store: Store) -> Calls:
    return Calls(store)


async def tasks_of(store: Store, count: int, state: TaskState = TaskState.WAITING) -> list[Task]:
    tasks = [a_task(state, task_id=None) for _ in range(count)]
    await put(store, *tasks)
    return tasks


async def summaries(store: Store) -> list[Notice]:
    """The attention notices that are about no single task."""
    return [it for it in await notices(store, event=NoticeEvent.ATTENTION) if it.ref is None]


# -- one by one, and then together --


async def test_each_of_ten_tasks_whose_callback_could_not_be_read_is_reported_at_once(
    store: Store, calls: Calls
) -> None:
    tasks = await tasks_of(store, 10)
    for task in tasks:
        await calls.call(task)
    assert await attention(store) == [f"unparsed:{it.ref}" for it in tasks]
    for task, notice in zip(tasks, await notices(store), strict=True):
        assert task.ref in (notice.report.text or "")


async def test_a_task_that_is_called_again_and_again_is_reported_once_an_hour(store: Store, calls: Calls) -> None:
    [task] = await tasks_of(store, 1)
    await calls.call(task, task)
    calls.clock.forward(HOUR - 1)
    await calls.call(task, raw=b"again")
    assert len(await attention(store)) == 1
    calls.clock.forward(1)
    await calls.call(task, raw=b"and again")
    assert len(await attention(store)) == 2


@pytest.mark.parametrize(
    ("raw", "kind", "command"),
    [
        (UNREADABLE, "unparsed", "receiver callbacks list --verdict unparsed"),
        (DOUBTED, "doubted", "receiver callbacks list --verdict hint"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
async def test_a_thousand_tasks_in_a_change_of_the_format_make_a_few_messages_that_count_and_list_them(
    store: Store, calls: Calls, raw: bytes, kind: str, command: str, together: bool
) -> None:
    tasks = await tasks_of(store, 1000)
    if together:
        await calls.call(*tasks, raw=raw)
    else:
        for start in range(0, 1000, 5):
            await calls.call(*tasks[start : start + 5], raw=raw)
            calls.clock.forward(1000)
    causes = await attention(store)
    assert len([it for it in causes if it.startswith(f"{kind}:")]) == SINGLY_MOST
    told = await summaries(store)
    assert 1 <= len(told) <= 3
    last = told[-1].report.text or ""
    assert "1,000 tasks" in last
    assert command in last


async def test_the_next_hour_begins_with_single_reports_again(store: Store, calls: Calls) -> None:
    await calls.call(*await tasks_of(store, SINGLY_MOST + 5))
    calls.clock.forward(HOUR)
    [task] = await tasks_of(store, 1)
    await calls.call(task)
    assert (await attention(store))[-1] == f"unparsed:{task.ref}"


async def test_one_kind_of_trouble_does_not_hide_another(store: Store, calls: Calls) -> None:
    await calls.call(*await tasks_of(store, SINGLY_MOST + 5))
    [task] = await tasks_of(store, 1)
    await calls.call(task, raw=DOUBTED)
    assert (await attention(store))[-1] == f"doubted:{task.ref}"


async def test_a_clock_that_was_set_back_hides_no_task(store: Store, calls: Calls) -> None:
    calls.clock.forward(5 * HOUR)
    await calls.call(*await tasks_of(store, SINGLY_MOST))
    calls.clock.now = NOW
    [task] = await tasks_of(store, 1)
    await calls.call(task)
    assert (await attention(store))[-1] == f"unparsed:{task.ref}"


# -- a task that is still queued --


@pytest.mark.parametrize("raw", [UNREADABLE, DOUBTED, body(foreign(Ending.COMPLETED)), body(says(Ending.RUNNING))])
@pytest.mark.parametrize("held", [None, HoldReason.PERSON, HoldReason.PAUSE])
async def test_a_queued_task_whose_url_is_called_is_reported_at_once_with_what_to_do(
    store: Store, calls: Calls, raw: bytes, held: HoldReason | None
) -> None:
    task = a_task(TaskState.QUEUED, held_by=held, label="hero")
    await put(store, task)
    await calls.call(task, raw=raw)
    after = await got(store, task.ref)
    assert (after.state, after.unsure) == (TaskState.WAITING, True)
    [report] = [it.report for it in await notices(store) if (it.report.cause or "").startswith("called:")]
    assert report.ref == task.ref
    text = report.text or ""
    for part in ("still queued", "“hero”", "not be submitted", f"tasks show {task.ref}", f"tasks resubmit {task.ref}"):
        assert part in text
    assert f"tasks tell-id {task.ref} ID" in text


async def test_it_is_reported_again_when_it_happens_again_after_a_resubmit(store: Store, calls: Calls) -> None:
    task = a_task(TaskState.QUEUED)
    await put(store, task)
    await calls.call(task)
    await calls.call(task, raw=b"more")
    calls.clock.forward(MINUTE)
    before = await got(store, task.ref)
    async with store.write() as tx:  # as `resubmit` leaves it
        await tx.tasks.update([(before, a_task(TaskState.QUEUED, ref=task.ref, kept=before.kept))])
    await calls.call(task)
    assert len([it for it in await attention(store) if it.startswith("called:")]) == 2


async def test_a_thousand_queued_tasks_that_are_called_make_a_few_messages(store: Store, calls: Calls) -> None:
    await calls.call(*await tasks_of(store, 1000, TaskState.QUEUED), raw=body(says(Ending.RUNNING)))
    causes = await attention(store)
    assert len(causes) <= SINGLY_MOST + 3
    told = await summaries(store)
    assert "1,000 tasks" in (told[-1].report.text or "")
    assert "tasks resubmit" in (told[-1].report.text or "")


async def test_a_callback_that_overtakes_the_answer_to_its_submission_calls_for_nobody(
    store: Store, calls: Calls
) -> None:
    task = a_task(TaskState.SUBMITTING)
    await put(store, task)
    await calls.call(task, raw=body(says(Ending.COMPLETED)))
    assert await attention(store) == []
