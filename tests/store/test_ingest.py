"""Callbacks in, verdicts out: stored before they are answered, in few transactions, and each body on its own."""

import asyncio
from pathlib import Path

import pytest
from anyio import wait_all_tasks_blocked

from kit.fakes import (
    NOW,
    PICTURES,
    POLICY,
    Clock,
    a_ref,
    a_task,
    body,
    busy,
    foreign,
    got,
    impatient,
    notices,
    parse,
    put,
    says,
)
from receiver.core.errors import RequestRefused, StoreUnavailable
from receiver.core.types import (
    Ending,
    Image,
    NoticeEvent,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    Task,
    TaskOrigin,
    TaskState,
    Verdict,
)
from receiver.store import Lane, Store
from receiver.store.tables.callbacks import StoredCallback
from receiver.tasks.ingest import HELD_EACH, CallbackIngest
from receiver.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

E, V = Ending, Verdict


@pytest.fixture
def ingest(store: Store) -> CallbackIngest:
    return CallbackIngest(store, parse, POLICY, Clock(), Metrics())


async def waiting(store: Store, task_id: str | None = "job-1") -> Task:
    task = a_task(task_id=task_id)
    await put(store, task)
    return task


async def stored(store: Store, ref: str | None = None) -> list[StoredCallback]:
    """The callbacks in the store with their bytes, oldest first."""
    page = await store.callbacks.page(ref=ref, limit=1000)
    return await store.callbacks.get([it.id for it in page])


def transactions(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[Lane]:
    """The lanes of the transactions that begin from now on."""
    begun: list[Lane] = []
    write = store.write

    def counted(lane: Lane = Lane.OTHER) -> object:
        begun.append(lane)
        return write(lane)

    monkeypatch.setattr(store, "write", counted)
    return begun


async def test_all_six_verdicts_are_given_and_stored(store: Store, ingest: CallbackIngest) -> None:
    task = await waiting(store)
    story = [
        (b"gibberish", V.UNPARSED),
        (body(foreign(E.COMPLETED)), V.HINT),
        (body(says(E.RUNNING, progress=0.5)), V.ACCEPTED),
        (body(says(E.COMPLETED)), V.ACCEPTED),
        (body(says(E.COMPLETED)), V.DUPLICATE),
        (body(says(E.RUNNING, progress=0.9)), V.LATE),
        (body(says(E.FAILED)), V.CONFLICT),
    ]
    given = [await ingest.receive_callback(task.ref, sent, b'{"a": "b"}') for sent, _ in story]
    assert given == [verdict for _, verdict in story]
    kept = await stored(store)
    assert [(it.body, it.verdict) for it in kept] == story
    assert {(it.ref, it.received_at, it.headers) for it in kept} == {(task.ref, NOW, b'{"a": "b"}')}


async def test_a_settled_task_is_stored_with_its_pictures_and_one_notice(store: Store, ingest: CallbackIngest) -> None:
    task = await waiting(store)
    for _ in range(3):
        await ingest.receive_callback(task.ref, body(says(E.COMPLETED)), b"{}")
    after = await got(store, task.ref)
    assert (after.state, after.settled_by, after.settled_at) == (TaskState.COMPLETED, OutcomeSource.CALLBACK, NOW)
    assert (await store.tasks.images_by_ref([task.ref]))[task.ref] == PICTURES
    assert [it.event for it in await notices(store, task.ref)] == [NoticeEvent.COMPLETED]


async def test_callbacks_that_arrive_together_share_few_transactions(
    store: Store, ingest: CallbackIngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [a_task(task_id=f"job-{n}") for n in range(100)]
    await put(store, *tasks)
    begun = transactions(store, monkeypatch)
    given = await asyncio.gather(
        *(ingest.receive_callback(it.ref, body(says(E.COMPLETED, it.task_id)), b"{}") for it in tasks)
    )
    assert (set(given), len(given)) == ({V.ACCEPTED}, 100)
    assert begun == [Lane.INGEST]


async def test_callbacks_of_one_task_are_decided_in_the_order_of_their_arrival(
    store: Store, ingest: CallbackIngest
) -> None:
    task = await waiting(store)
    outcomes = [says(E.RUNNING, progress=0.2), says(E.COMPLETED), says(E.FAILED)]
    given = await asyncio.gather(*(ingest.receive_callback(task.ref, body(it), b"{}") for it in outcomes))
    assert given == [V.ACCEPTED, V.ACCEPTED, V.CONFLICT]


async def test_an_id_that_two_bodies_of_a_batch_claim_belongs_to_one_task(store: Store, ingest: CallbackIngest) -> None:
    first, second = a_task(task_id="job-9"), a_task(TaskState.SUBMITTING)
    await put(store, first, second)
    sent = body(says(E.RUNNING, "job-9", progress=0.2))
    given = await asyncio.gather(
        ingest.receive_callback(first.ref, sent, b"{}"), ingest.receive_callback(second.ref, sent, b"{}")
    )
    assert list(given) == [V.ACCEPTED, V.HINT]
    after = await got(store, second.ref)
    assert (after.task_id, after.candidates) == (None, ())


# -- poison --

_POISON: dict[bytes, Outcome] = {
    b"a place beyond 64 bits": says(E.COMPLETED, images=(Image(1 << 70, "https://pics.example/0.png"),)),
    b"a lone surrogate in a URL": says(E.COMPLETED, images=(Image(0, "https://pics.example/\ud800"),)),
    b"a lone surrogate in a hint": foreign(E.RUNNING, job_id="\ud800"),
    b"a lone surrogate in an id": says(E.RUNNING, "\udfff"),
    b"a type that no column takes": says(E.RUNNING, progress=object()),
}


def poisoned(sent: bytes) -> Outcome | None:
    if sent == b"raises":
        raise RecursionError("too deep")
    return _POISON.get(sent) or parse(sent)


@pytest.mark.parametrize("poison", [*_POISON, b"raises"], ids=bytes.decode)
async def test_a_body_that_breaks_its_row_costs_only_itself(store: Store, poison: bytes) -> None:
    ingest = CallbackIngest(store, poisoned, POLICY, Clock(), Metrics())
    tasks = [a_task(task_id=f"job-{n}") for n in range(7)]
    victim = a_task(TaskState.SUBMITTING) if b"an id" in poison else a_task(task_id="job-1x")
    if b"place" in poison or b"URL" in poison or b"column" in poison:
        victim = a_task(task_id="job-1")
        tasks[1] = a_task(task_id="job-100")
    await put(store, *tasks, victim)
    sent = [(it.ref, body(says(E.COMPLETED, it.task_id))) for it in tasks]
    sent.insert(3, (victim.ref, poison))
    given = await asyncio.gather(*(ingest.receive_callback(ref, raw, b"{}") for ref, raw in sent))
    assert given == [*[V.ACCEPTED] * 3, V.UNPARSED, *[V.ACCEPTED] * 4]
    assert {(it.ref, it.body) for it in await stored(store)} == set(sent), "every body is kept, the poison too"
    after = await got(store, victim.ref)
    assert after.poll_at == NOW, "it is polled instead"


async def test_a_nul_and_a_huge_number_in_a_hint_can_be_read_again(store: Store) -> None:
    """What was stored must not break whoever reads the task afterwards."""
    odd = foreign(E.RUNNING, job_id="a\0b", created_at=1 << 70, progress=float("inf"))
    ingest = CallbackIngest(store, lambda _: odd, POLICY, Clock(), Metrics())
    task = await waiting(store)
    assert await ingest.receive_callback(task.ref, b"odd", b"{}") is V.HINT
    hint = (await got(store, task.ref)).hint
    assert hint is not None
    assert (hint.job_id, hint.created_at) == ("a\0b", 1 << 70)


async def test_a_row_that_the_store_refuses_to_the_last_is_kept_as_bytes(
    store: Store, ingest: CallbackIngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the fault, the bytes are on disk and the sender need not come again."""
    task = await waiting(store)

    async def broken(*_: object) -> None:
        raise TypeError("a bug of ours")

    monkeypatch.setattr("receiver.tasks.ingest.TaskBatch.read_tasks", broken)
    assert await ingest.receive_callback(task.ref, b"precious", b"{}") is V.UNPARSED
    assert [it.body for it in await stored(store)] == [b"precious"]


# -- bounds --


async def test_equal_bodies_are_kept_once_and_read_from_every_row(store: Store, ingest: CallbackIngest) -> None:
    task = await waiting(store)
    sent = body(foreign(E.RUNNING))
    await asyncio.gather(*(ingest.receive_callback(task.ref, sent, b"{}") for _ in range(2)))
    await ingest.receive_callback(task.ref, sent, b"{}")
    assert [it.body for it in await stored(store)] == [sent] * 3
    assert (await got(store, task.ref)).kept_bytes == len(sent)


async def test_the_same_bytes_for_two_tasks_are_two_bodies(store: Store, ingest: CallbackIngest) -> None:
    sent = body(foreign(E.RUNNING))
    tasks = [await waiting(store, None) for _ in range(2)]
    await asyncio.gather(*(ingest.receive_callback(it.ref, sent, b"{}") for it in tasks))
    assert [(await got(store, it.ref)).kept_bytes for it in tasks] == [len(sent)] * 2


async def test_beyond_fifty_bodies_only_a_count_is_kept_but_an_end_always_is(
    store: Store, ingest: CallbackIngest
) -> None:
    task = await waiting(store)
    hints = [body(foreign(E.RUNNING, job_id=str(n))) for n in range(53)]
    assert set(await asyncio.gather(*(ingest.receive_callback(task.ref, it, b"{}") for it in hints))) == {V.HINT}
    assert len(await stored(store)) == 50
    assert await store.callbacks.overflow_count(task.ref) == 3
    assert await ingest.receive_callback(task.ref, body(says(E.COMPLETED)), b"{}") is V.ACCEPTED
    kept = await stored(store)
    assert (len(kept), kept[-1].body) == (51, body(says(E.COMPLETED)))
    assert await ingest.receive_callback(task.ref, body(says(E.FAILED)), b"{}") is V.CONFLICT
    kept = await stored(store)
    assert (len(kept), kept[-1].body) == (52, body(says(E.FAILED))), "it says how the task ended"
    assert await ingest.receive_callback(task.ref, body(says(E.FAILED)), b"{}") is V.CONFLICT
    assert (len(await stored(store)), await store.callbacks.overflow_count(task.ref)) == (52, 4)


async def test_beyond_two_mebibytes_only_a_count_is_kept(store: Store, ingest: CallbackIngest) -> None:
    task = await waiting(store)
    large = [body(foreign(E.RUNNING, status=letter * (1_000_000))) for letter in "abc"]
    for sent in (*large, large[0]):  # the same bytes again cost nothing
        await ingest.receive_callback(task.ref, sent, b"{}")
    assert [it.size for it in await stored(store)] == [len(large[0])] * 3
    assert (await got(store, task.ref)).kept_bytes == 2 * len(large[0])
    assert await store.callbacks.overflow_count(task.ref) == 1


async def test_beyond_sixteen_mebibytes_in_memory_the_sender_is_asked_to_come_again(
    store: Store, ingest: CallbackIngest
) -> None:
    async with store.write():  # the disk is slow: nothing is committed meanwhile
        most = [
            asyncio.create_task(ingest.receive_callback(a_ref(), b"x" * ((1 << 20) - 2 - HELD_EACH), b"{}"))
            for _ in range(16)
        ]
        await wait_all_tasks_blocked()
        with pytest.raises(StoreUnavailable):
            await ingest.receive_callback(a_ref(), b"x", b"{}")
    await asyncio.gather(*most)
    assert len(await stored(store)) == 16
    assert await ingest.receive_callback(a_ref(), b"x", b"{}") is V.UNPARSED, "there is room again"


# -- adoption, replay --


async def test_a_good_token_without_a_task_makes_one(store: Store, ingest: CallbackIngest) -> None:
    """A restored backup, or a URL minted offline: the outcome is a hint, since there is no id to compare."""
    ref = a_ref(NOW - 5000)
    assert await ingest.receive_callback(ref, body(says(E.COMPLETED, "job-9")), b"{}") is V.HINT
    task = await got(store, ref)
    assert (task.origin, task.state, task.unsure, task.created_at) == (
        TaskOrigin.ADOPTED,
        TaskState.WAITING,
        True,
        NOW - 5000,
    )
    assert (task.called_at, task.submitted_at, task.poll_at) == (NOW, NOW, NOW)
    assert task.hint == says(E.COMPLETED, "job-9")
    assert await ingest.receive_callback(ref, body(says(E.COMPLETED, "job-9")), b"{}") is V.HINT


async def test_two_callbacks_of_one_batch_adopt_one_task(store: Store, ingest: CallbackIngest) -> None:
    ref = a_ref()
    sent = [body(foreign(E.RUNNING)), b"?"]
    assert await asyncio.gather(*(ingest.receive_callback(ref, it, b"{}") for it in sent)) == [V.HINT, V.UNPARSED]
    assert len(await stored(store, ref)) == 2


async def test_a_replay_obeys_the_same_rules_and_is_a_callback_of_its_own(store: Store, ingest: CallbackIngest) -> None:
    task = await waiting(store)
    await ingest.receive_callback(task.ref, body(foreign(E.COMPLETED)), b'{"h": "1"}')
    [first] = await stored(store)
    assert await ingest.replay(first.id, accept=False) is V.HINT
    assert (await got(store, task.ref)).state is TaskState.WAITING
    again = (await stored(store))[-1]
    assert (again.replay_of, again.body, again.headers) == (first.id, first.body, b'{"h": "1"}')


async def test_a_person_may_believe_a_hint(store: Store, ingest: CallbackIngest) -> None:
    task = await waiting(store)
    await ingest.receive_callback(task.ref, body(foreign(E.COMPLETED)), b"{}")
    [first] = await stored(store)
    assert await ingest.replay(first.id, accept=True) is V.ACCEPTED
    after = await got(store, task.ref)
    assert (after.state, after.settled_by, after.confirmed) == (TaskState.COMPLETED, OutcomeSource.PERSON, True)
    assert await ingest.replay(first.id, accept=True) is V.DUPLICATE


async def test_nobody_is_told_that_a_task_was_withdrawn_that_a_person_believes_to_be_cancelled(
    store: Store, ingest: CallbackIngest
) -> None:
    task = await waiting(store)
    await ingest.receive_callback(task.ref, body(foreign(E.CANCELLED)), b"{}")
    [first] = await stored(store)
    told_before = await notices(store, event=NoticeEvent.ATTENTION)
    assert await ingest.replay(first.id, accept=True) is V.ACCEPTED
    assert (await got(store, task.ref)).state is TaskState.CANCELLED
    assert await notices(store, event=NoticeEvent.ATTENTION) == told_before


async def test_a_replay_with_a_better_parser_settles(store: Store) -> None:
    """The provider changed its format; the parser followed; nothing was lost."""
    task = await waiting(store)
    await CallbackIngest(store, lambda _: None, POLICY, Clock(), Metrics()).receive_callback(
        task.ref, body(says(E.COMPLETED)), b"{}"
    )
    [first] = await stored(store)
    assert await CallbackIngest(store, parse, POLICY, Clock(), Metrics()).replay(first.id, accept=False) is V.ACCEPTED


async def test_what_cannot_be_replayed_is_refused(store: Store, ingest: CallbackIngest) -> None:
    with pytest.raises(RequestRefused) as unknown:
        await ingest.replay(77, accept=False)
    await ingest.receive_callback(a_ref(), b"?", b"{}")
    [kept] = await stored(store)
    with pytest.raises(RequestRefused) as unreadable:
        await ingest.replay(kept.id, accept=True)
    assert (unknown.value.status, unreadable.value.status) == (404, 409)


# -- when things go wrong --


async def test_a_client_that_goes_away_does_not_take_its_callback_along(store: Store, ingest: CallbackIngest) -> None:
    task = await waiting(store)
    async with store.write(Lane.INGEST) as tx:
        await tx.tasks.get([task.ref])  # others wait for it
        gone = asyncio.create_task(ingest.receive_callback(task.ref, body(says(E.COMPLETED)), b"{}"))
        stays = asyncio.create_task(ingest.receive_callback(a_ref(), b"?", b"{}"))
        await wait_all_tasks_blocked()
        gone.cancel()
    assert await stays is V.UNPARSED
    assert gone.cancelled()
    assert (await got(store, task.ref)).state is TaskState.COMPLETED


@pytest.mark.sqlite_only
async def test_a_busy_database_stores_nothing_and_says_so_to_all_then_recovers(
    store: Store, ingest: CallbackIngest, tmp_path: Path
) -> None:
    task = await waiting(store)
    await impatient(store)
    with busy(tmp_path / "r.db"):
        sent = [(task.ref, body(says(E.COMPLETED))), (a_ref(), b"?")]
        given = await asyncio.gather(*(ingest.receive_callback(*it, b"{}") for it in sent), return_exceptions=True)
        assert [type(it) for it in given] == [StoreUnavailable, StoreUnavailable]
    assert (await stored(store), await got(store, task.ref)) == ([], task)
    assert await ingest.receive_callback(*sent[0], b"{}") is V.ACCEPTED


async def test_closing_flushes_what_waits(store: Store, ingest: CallbackIngest) -> None:
    async with store.write():
        received = asyncio.create_task(ingest.receive_callback(a_ref(), b"?", b"{}"))
        await wait_all_tasks_blocked()
    await ingest.close()
    assert len(await stored(store)) == 1
    assert await received is V.UNPARSED


async def test_a_foreign_shape_is_kept_as_a_hint_with_what_it_said(store: Store, ingest: CallbackIngest) -> None:
    task = await waiting(store)
    for shape in (OutcomeShape.JOB, OutcomeShape.WRAPPED, OutcomeShape.OTHER):
        assert await ingest.receive_callback(task.ref, body(foreign(E.COMPLETED, shape)), b"{}") is V.HINT
    assert (await got(store, task.ref)).hint == foreign(E.COMPLETED, OutcomeShape.JOB), "the oldest end stays the hint"
