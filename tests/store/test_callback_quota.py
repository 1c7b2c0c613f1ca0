"""What a task keeps of its callbacks: the quota falls on repetition and progress, never on what says how it ended."""

import asyncio
import contextlib

import pytest

from kit.fakes import NOW, POLICY, Clock, a_task, attention, body, foreign, got, parse, put, says
from receiver.core.errors import StoreUnavailable
from receiver.core.hints import deny_id
from receiver.core.types import Ending, Outcome, Task, TaskState, Verdict
from receiver.store import Store
from receiver.tasks.ingest import ENDS_BYTES_MOST, ENDS_MOST, KEPT_MOST, CallbackIngest
from receiver.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

ENDS = {
    "a hint of the end": foreign(Ending.COMPLETED),
    "another id": says(Ending.FAILED, "job-2"),
    "without pictures": says(Ending.COMPLETED, images=()),
    "an unknown word": says(Ending.COMPLETED, doubt="its status is unknown"),
    "unreadable": None,
}


@pytest.fixture
def ingest(store: Store) -> CallbackIngest:
    return CallbackIngest(store, parse, POLICY, Clock(), Metrics())


def sent(outcome: Outcome | None, number: int = 0) -> bytes:
    return b"?%d" % number if outcome is None else body(outcome)


async def full(store: Store, ingest: CallbackIngest) -> Task:
    """A task that keeps fifty bodies of progress."""
    task = a_task()
    await put(store, task)
    for number in range(KEPT_MOST + 3):
        await ingest.receive_callback(task.ref, body(foreign(Ending.RUNNING, job_id=str(number))), b"{}")
    assert len(await bodies(store, task)) == KEPT_MOST
    return task


async def bodies(store: Store, task: Task) -> list[bytes | None]:
    page = await store.callbacks.page(ref=task.ref, limit=1000)
    return [it.body for it in await store.callbacks.get([it.id for it in page])]


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_what_says_how_the_task_ended_is_kept_whatever_came_before(
    store: Store, ingest: CallbackIngest, end: Outcome | None
) -> None:
    task = await full(store, ingest)
    await ingest.receive_callback(task.ref, sent(end), b"{}")
    assert (await bodies(store, task))[-1] == sent(end)
    after = await got(store, task.ref)
    assert (after.kept, after.kept_ends, after.kept_ends_bytes) == (KEPT_MOST, 1, len(sent(end)))
    assert after.hint_note is not None
    ids = await store.callbacks.ids_by_digest([task.ref])
    assert (task.ref, after.hint_note.digest) in ids, "the hint can be shown and accepted"


async def test_the_same_bytes_again_are_only_counted(store: Store, ingest: CallbackIngest) -> None:
    task = await full(store, ingest)
    for _ in range(3):
        await ingest.receive_callback(task.ref, sent(foreign(Ending.COMPLETED)), b"{}")
    assert (await got(store, task.ref)).kept_ends == 1
    assert await store.callbacks.overflow_count(task.ref) == 3 + 2


async def test_an_end_that_contradicts_the_final_state_is_kept_beyond_the_quota(
    store: Store, ingest: CallbackIngest
) -> None:
    task = await full(store, ingest)
    assert await ingest.receive_callback(task.ref, sent(says(Ending.FAILED)), b"{}") is Verdict.ACCEPTED
    assert await ingest.receive_callback(task.ref, sent(says(Ending.COMPLETED)), b"{}") is Verdict.CONFLICT
    assert (await bodies(store, task))[-1] == sent(says(Ending.COMPLETED))


async def test_an_end_that_finds_no_room_is_not_answered_as_if_it_were_kept(
    store: Store, ingest: CallbackIngest
) -> None:
    task = await full(store, ingest)
    for number in range(ENDS_MOST):
        await ingest.receive_callback(task.ref, sent(foreign(Ending.COMPLETED, job_id=str(number))), b"{}")
    before = await got(store, task.ref)
    one_more = sent(foreign(Ending.COMPLETED, job_id="one more"))
    with pytest.raises(StoreUnavailable, match="too many callbacks that say how it ended"):
        await ingest.receive_callback(task.ref, one_more, b"{}")
    assert await got(store, task.ref) == before
    assert await attention(store) == [f"crowded:{task.ref}"]
    assert len(await bodies(store, task)) == KEPT_MOST + ENDS_MOST
    async with store.write() as tx:  # a poll finds that one of them was made up
        await tx.tasks.update([(before, deny_id(before, "made up"))])
    assert await ingest.receive_callback(task.ref, one_more, b"{}") is Verdict.HINT
    assert (await bodies(store, task))[-1] == one_more


async def test_beside_an_end_that_finds_no_room_others_are_stored(store: Store, ingest: CallbackIngest) -> None:
    task, other = await full(store, ingest), a_task(task_id="job-2")
    await put(store, other)
    for number in range(ENDS_MOST):
        await ingest.receive_callback(task.ref, sent(foreign(Ending.COMPLETED, job_id=str(number))), b"{}")
    results = await asyncio.gather(
        ingest.receive_callback(task.ref, sent(foreign(Ending.FAILED)), b"{}"),
        ingest.receive_callback(other.ref, sent(says(Ending.COMPLETED, "job-2")), b"{}"),
        return_exceptions=True,
    )
    assert [type(it) for it in results] == [StoreUnavailable, Verdict]
    assert (await got(store, other.ref)).state is TaskState.COMPLETED


async def test_what_settles_finds_room_beside_any_number_of_ends(store: Store, ingest: CallbackIngest) -> None:
    task = await full(store, ingest)
    for number in range(ENDS_MOST):
        await ingest.receive_callback(task.ref, sent(foreign(Ending.COMPLETED, job_id=str(number))), b"{}")
    assert await ingest.receive_callback(task.ref, sent(says(Ending.COMPLETED)), b"{}") is Verdict.ACCEPTED
    assert (await bodies(store, task))[-1] == sent(says(Ending.COMPLETED)), "what settles is always kept"
    assert (await got(store, task.ref)).state is TaskState.COMPLETED


async def test_ends_are_bounded_by_their_bytes(store: Store, ingest: CallbackIngest) -> None:
    task = await full(store, ingest)
    for number in range(5):
        large = foreign(Ending.COMPLETED, job_id=str(number), status="x" * (ENDS_BYTES_MOST // 3))
        with pytest.raises(StoreUnavailable) if number > 1 else contextlib.nullcontext():
            await ingest.receive_callback(task.ref, sent(large), b"{}")
    after = await got(store, task.ref)
    assert (after.kept_ends, after.kept_ends_bytes <= ENDS_BYTES_MOST) == (2, True)


async def test_what_cannot_be_read_leaves_half_of_that_to_what_says_the_end(
    store: Store, ingest: CallbackIngest
) -> None:
    task = await full(store, ingest)
    for number in range(ENDS_MOST):
        with pytest.raises(StoreUnavailable) if number >= ENDS_MOST // 2 else contextlib.nullcontext():
            await ingest.receive_callback(task.ref, sent(None, number), b"{}")
    assert (await got(store, task.ref)).kept_ends == ENDS_MOST // 2
    await ingest.receive_callback(task.ref, sent(foreign(Ending.COMPLETED)), b"{}")
    assert (await bodies(store, task))[-1] == sent(foreign(Ending.COMPLETED))


async def test_progress_that_names_the_first_id_is_kept_too(store: Store, ingest: CallbackIngest) -> None:
    """The id can be polled, so the body that named it can be looked at."""
    task = await full(store, ingest)
    named = body(says(Ending.RUNNING, "job-9", created_at=NOW))
    await ingest.receive_callback(task.ref, named, b"{}")
    assert (await bodies(store, task))[-1] == named
