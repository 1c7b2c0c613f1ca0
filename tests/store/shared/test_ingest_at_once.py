"""Two processes take callbacks of the same tasks at once: each is stored and judged as if one came after the other."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import pytest

from kit.chain_requests import an_intake
from kit.fakes import POLICY, Clock, a_ref, a_task, body, got, notices, parse, put, says
from receiver.core.errors import RequestRefused
from receiver.core.types import Ending, NoticeEvent, Task, TaskOrigin, TaskState, Verdict
from receiver.store import Store
from receiver.store.tables.hours import HourKind
from receiver.tasks.ingest import CallbackIngest
from receiver.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

TASKS, TURNS = 12, 5
Ingests = tuple[CallbackIngest, CallbackIngest]


@pytest.fixture
def ingests(store: Store, other: Store) -> Ingests:
    one, two = (CallbackIngest(it, parse, POLICY, Clock(), Metrics()) for it in (store, other))
    return one, two


async def some(store: Store) -> list[Task]:
    tasks = [a_task(task_id=f"job-{number}") for number in range(TASKS)]
    await put(store, *tasks)
    return tasks


async def in_turns(receive: Callable[[int, int], Awaitable[Sequence[Verdict]]]) -> list[Verdict]:
    """What is given in all turns of both, which do not wait for each other: `receive` has the turn, and whose it is."""

    async def take(place: int) -> list[Verdict]:
        return [verdict for turn in range(TURNS) for verdict in await receive(turn, place)]

    return [verdict for given in await asyncio.gather(take(0), take(1)) for verdict in given]


async def test_what_is_kept_of_each_task_adds_up(store: Store, ingests: Ingests) -> None:
    tasks = await some(store)

    async def receive(turn: int, place: int) -> Sequence[Verdict]:
        words = [says(Ending.RUNNING, it.task_id, status=f"turn {turn} of {place}") for it in tasks]
        taken = ingests[place].receive_callback
        return await asyncio.gather(*(taken(it.ref, body(said), b"{}") for it, said in zip(tasks, words, strict=True)))

    assert Counter(await in_turns(receive)) == {Verdict.DUPLICATE: 2 * TURNS * TASKS}, "they say nothing new"
    for task in tasks:
        rows = await store.callbacks.page(ref=task.ref, limit=100)
        now = await got(store, task.ref)
        assert (now.kept, len(rows), now.kept_bytes) == (2 * TURNS, 2 * TURNS, sum(it.size for it in rows))


async def test_each_task_ends_once(store: Store, ingests: Ingests) -> None:
    tasks = await some(store)

    async def receive(turn: int, place: int) -> Sequence[Verdict]:
        words = [says(Ending.COMPLETED, it.task_id, status=f"turn {turn} of {place}") for it in tasks]
        taken = ingests[place].receive_callback
        return await asyncio.gather(*(taken(it.ref, body(said), b"{}") for it, said in zip(tasks, words, strict=True)))

    given = Counter(await in_turns(receive))
    assert given == {Verdict.ACCEPTED: TASKS, Verdict.DUPLICATE: (2 * TURNS - 1) * TASKS}
    assert len(await notices(store, event=NoticeEvent.COMPLETED)) == TASKS
    assert [it.count for it in await store.hours.counts_since(HourKind.SETTLED, 0)] == [TASKS]


async def test_both_adopt_a_task_that_is_not_known(store: Store, ingests: Ingests) -> None:
    refs = [[a_ref() for _ in range(TASKS)] for _ in range(TURNS)]

    async def receive(turn: int, place: int) -> Sequence[Verdict]:
        words = [says(Ending.RUNNING, f"job of {ref}", status=f"by {place}") for ref in refs[turn]]
        taken = ingests[place].receive_callback
        return await asyncio.gather(*(taken(ref, body(it), b"{}") for ref, it in zip(refs[turn], words, strict=True)))

    assert Verdict.UNPARSED not in await in_turns(receive)
    for ref in (ref for some in refs for ref in some):
        task = await got(store, ref)
        assert (task.origin, task.kept, len(await store.callbacks.page(ref=ref))) == (TaskOrigin.ADOPTED, 2, 2)


async def test_an_id_that_two_tasks_are_said_to_have_belongs_to_one(store: Store, ingests: Ingests) -> None:
    pairs = [[(a_task(task_id=None), a_task(task_id=None)) for _ in range(TASKS)] for _ in range(TURNS)]
    every = [pair for some in pairs for pair in some]
    await put(store, *(task for pair in every for task in pair))

    async def receive(turn: int, place: int) -> Sequence[Verdict]:
        taken = ingests[place].receive_callback
        sent = [(pair[place].ref, body(says(Ending.RUNNING, f"job of {pair[0].ref}"))) for pair in pairs[turn]]
        return await asyncio.gather(*(taken(ref, raw, b"{}") for ref, raw in sent))

    assert Verdict.UNPARSED not in await in_turns(receive)
    for pair in every:
        now = [await got(store, task.ref) for task in pair]
        assert [it.kept for it in now] == [1, 1]
        assert sorted(it.task_id or "" for it in now) in (["", f"job of {pair[0].ref}"], ["", ""])


async def test_a_person_cancels_tasks_that_are_called_at_the_same_moment(
    store: Store, other: Store, ingests: Ingests
) -> None:
    tasks = [a_task(TaskState.QUEUED) for _ in range(TASKS)]
    await put(store, *tasks)
    intake = an_intake(other)

    async def cancel(task: Task) -> bool:
        with contextlib.suppress(RequestRefused):
            await intake.cancel_task(task.ref)
            return True
        return False

    cancelled, verdicts = await asyncio.gather(
        asyncio.gather(*map(cancel, tasks)),
        asyncio.gather(*(ingests[0].receive_callback(it.ref, b"what?", b"{}") for it in tasks)),
    )
    assert set(verdicts) == {Verdict.UNPARSED}
    for task, was_cancelled in zip(tasks, cancelled, strict=True):
        now = await got(store, task.ref)
        assert (now.state is TaskState.CANCELLED, now.kept) == (was_cancelled, 1), now
