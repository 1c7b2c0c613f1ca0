"""Two processes submit over one database: their limits, their pauses and their money are one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kit.fakes import MINUTE, MODEL, SECOND, Clock, claimed, got
from kit.spending import CENT, check_books
from kit.submit_loop import BARRED, BUSY, NOT_SENT, a_submit, put_state
from kit.two_submitters import Pair, a_pair
from receiver.core.budgets import Budget, BudgetRules, PeriodKind
from receiver.core.errors import StoreUnavailable
from receiver.core.money import NANO
from receiver.core.proven_limit import ProvenLimit
from receiver.core.provider_pace import ProviderPace
from receiver.core.queue_waits import QueueReason
from receiver.core.types import SubmitAnswer, SubmitResult, TaskState
from receiver.store import Lane, Store, Tx
from receiver.store.process_row import ProcessRow
from receiver.tasks.shared_state import ALIVE_MS, SUBMITTING, working_since
from receiver.tasks.submit import LEASE_MS, REQUEST_MS, UNPROVEN_MOST

pytestmark = pytest.mark.anyio

FULL = SubmitAnswer(SubmitResult.BUSY, "429", too_many=True)


@pytest.fixture
async def pair(store: Store, other: Store, clock: Clock) -> Pair:
    return await a_pair(store, other, clock)


# -- how many at once --


async def test_both_together_claim_no_more_than_the_provider_bears(store: Store, other: Store, clock: Clock) -> None:
    pair = await a_pair(store, other, clock, concurrency=5)
    await put_state(store, taken_at=1)
    await pair.queue(12)
    begun = await pair.claim_in_turn()
    assert len({it.ref for it in begun}) == len(begun) == 5
    for work in begun:
        await pair.two.carry_out(work)
    assert await pair.claim_in_turn() == [], "those that wait for their pictures hold their places"


async def test_claims_at_the_same_moment_take_turns(store: Store, other: Store, clock: Clock) -> None:
    pair = await a_pair(store, other, clock, concurrency=2)
    await put_state(store, taken_at=1)
    await pair.queue(8)
    works = await asyncio.gather(*(loop.claim() for loop in (pair.one, pair.two) * 4), return_exceptions=True)
    faults = [it for it in works if isinstance(it, BaseException)]
    refs = [it.ref for it in works if it is not None and not isinstance(it, BaseException)]
    assert faults == []
    assert len(set(refs)) == len(refs) == 2
    assert await store.tasks.places_taken(clock()) == 2


async def test_before_one_is_taken_only_a_few_of_both_are_under_way(pair: Pair) -> None:
    await pair.queue(8)
    begun = await pair.claim_in_turn()
    assert len(begun) == UNPROVEN_MOST
    await pair.one.carry_out(begun[0])
    assert len(await pair.claim_in_turn()) == 1, "one is taken, so all four places count"


async def test_what_one_finds_to_be_the_limit_holds_for_the_other(pair: Pair) -> None:
    await pair.queue(8)
    for loop in (pair.one, pair.two):
        await loop.carry_out(await claimed(loop.claim))
    await pair.answer(pair.one, FULL)
    assert await pair.two.claim() is None
    view = await pair.two.queue.describe()
    assert (view.limit.ceiling, view.scene.places, view.scene.taken) == (2, 2, 2)


async def test_each_has_its_own_setting_and_the_provider_bears_both(store: Store, other: Store, clock: Clock) -> None:
    pair = await a_pair(store, other, clock, concurrency=1)
    wider = a_submit(other, pair.provider, clock, concurrency=3)
    assert await wider.claim() is None
    await put_state(store, taken_at=1, limit=ProvenLimit(100))
    await pair.queue(8)
    assert await pair.one.claim() is not None
    assert await pair.one.claim() is None
    assert [await wider.claim() is None for _ in range(3)] == [False, False, True]


# -- pauses --


async def test_a_refused_key_stops_both_and_one_of_them_probes(pair: Pair) -> None:
    await pair.queue(8)
    await pair.answer(pair.one, BARRED)
    assert await pair.claim_in_turn() == []
    due = await pair.one.next_due()
    assert due == await pair.two.next_due() == pair.clock() + MINUTE
    pair.clock.forward(MINUTE)
    [probe] = await pair.claim_in_turn()
    await pair.two.carry_out(probe)
    assert (await got(pair.store, probe.ref)).state is TaskState.WAITING
    assert len(await pair.claim_in_turn()) > 1, "and its end is seen by both"


async def test_a_rest_that_one_was_asked_for_is_kept_by_the_other(pair: Pair) -> None:
    await pair.queue(4)
    await pair.answer(pair.one, BUSY)
    assert await pair.two.claim() is None
    assert await pair.two.next_due() == pair.clock() + 40 * SECOND
    [wait] = await pair.two.queue.find_waits(await pair.store.tasks.queue_heads(pair.clock(), limit=1))
    assert wait is not None
    assert (wait.why, wait.until) == (QueueReason.BUSY, pair.clock() + 40 * SECOND)
    pair.clock.forward(40 * SECOND)
    assert await pair.two.claim() is not None


async def test_a_provider_that_is_down_is_asked_by_one_at_a_time(pair: Pair) -> None:
    await pair.queue(4)
    await pair.answer(pair.one, NOT_SENT)
    assert await pair.claim_in_turn() == []
    pair.clock.forward(2 * SECOND)
    assert len(await pair.claim_in_turn()) == 1


async def test_a_process_that_starts_later_heeds_the_pause_of_the_others(
    pair: Pair, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.queue(4)
    await put_state(pair.store, pace=ProviderPace(unauthorized=True, unauthorized_until=pair.clock() + MINUTE), at=7)
    _seen(monkeypatch, other, pair.clock, began=7)
    third = a_submit(other, pair.provider, pair.clock)
    assert await third.claim() is None
    assert await third.next_due() == pair.clock() + MINUTE


async def test_a_state_that_no_living_process_has_seen_is_forgotten(
    pair: Pair, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a stop of all of them: whatever paused the tasks may have been put right."""
    await pair.queue(4)
    await put_state(pair.store, pace=ProviderPace(unauthorized=True, unauthorized_until=pair.clock() + MINUTE), at=7)
    _seen(monkeypatch, other, pair.clock, began=8)
    assert await a_submit(other, pair.provider, pair.clock).claim() is not None
    state = await SUBMITTING.read(pair.store.paces)
    assert state is not None
    assert (state.pace, state.at) == (ProviderPace(retry_after_most_ms=LEASE_MS), pair.clock())


async def test_a_rest_holds_though_whoever_was_asked_for_it_did_not_say_for_minutes_that_it_works(
    pair: Pair, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calls may be late, as the database's answers are; that does not make the provider bear more."""
    await pair.queue(1)
    until = pair.clock() + 40 * SECOND
    await put_state(pair.store, pace=ProviderPace(busy_until=until, busy_in_a_row=1), at=7)
    _seen(monkeypatch, other, pair.clock, began=7, quiet_ms=14 * MINUTE)
    third = a_submit(other, pair.provider, pair.clock)
    assert await third.claim() is None
    assert await third.next_due() == until


async def test_only_processes_that_work_and_are_not_known_to_be_gone_keep_a_state_alive(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _seen(monkeypatch, store, clock, began=8)
    assert await working_since(store, clock()) == 8
    assert await working_since(store, clock() + ALIVE_MS) == clock() + ALIVE_MS
    _seen(monkeypatch, store, clock, began=8, role="web")
    assert await working_since(store, clock()) == clock()


def _seen(
    monkeypatch: pytest.MonkeyPatch,
    store: Store,
    clock: Clock,
    *,
    began: int,
    role: str = "worker",
    quiet_ms: int = 0,
) -> None:
    """As if one process had been seen over this database, so long ago."""

    async def processes() -> list[ProcessRow]:
        return [ProcessRow("a", role, "host", "1", 21, (), began, clock() - quiet_ms)]

    monkeypatch.setattr(store, "shared", True)
    monkeypatch.setattr(store, "processes", processes)


async def test_what_cannot_be_read_counts_as_nothing(pair: Pair) -> None:
    await pair.queue(1)
    async with pair.store.write() as tx:
        await tx.paces.lock("submit:vtrix", "")
        await tx.paces.put("submit:vtrix", '{"pace": 3}')
    assert await pair.two.claim() is not None


# -- money --


async def test_two_processes_never_submit_more_than_one_budget(store: Store, other: Store, clock: Clock) -> None:
    rules = BudgetRules(Budget(NANO), prices={MODEL: 5 * CENT})
    pair = await a_pair(store, other, clock, concurrency=100, rules=rules)
    await pair.queue(30)
    sent = 0
    while sent < 30:
        works = [it for it in await asyncio.gather(pair.one.claim(), pair.two.claim()) if it is not None]
        if not works:
            break
        for work in works:
            await pair.one.carry_out(work)
            sent += 1
            assert (await store.spend.committed(PeriodKind.DAY, "2025-12-29")).amount <= NANO
    assert (sent, len(pair.provider.submitted)) == (20, 20)
    assert (await store.spend.committed(PeriodKind.DAY, "2025-12-29")).amount == NANO
    await check_books(store)


async def test_why_there_is_no_money_is_told_by_a_process_that_submits_nothing(
    store: Store, other: Store, clock: Clock
) -> None:
    rules = BudgetRules(Budget(4 * CENT), prices={MODEL: 5 * CENT})
    pair = await a_pair(store, other, clock, rules=rules)
    await pair.queue(1)
    assert await pair.one.claim() is None
    web = a_submit(other, pair.provider, clock, budget=pair.two._budget)
    wait = (await web.queue.describe()).wait
    assert wait is not None
    assert wait.why is QueueReason.BUDGET
    async with other.write() as tx:
        await pair.two._budget.raise_limit(tx, PeriodKind.DAY, NANO, clock())
    wait = (await web.queue.describe()).wait
    assert wait is not None
    assert wait.why is QueueReason.TURN
    assert await pair.one.claim() is not None


# -- what stood still, and what nobody knows --


async def test_a_process_that_stood_still_sends_nothing_and_gives_the_task_back(pair: Pair) -> None:
    [task] = await pair.queue(1)
    work = await claimed(pair.one.claim)
    pair.clock.forward(LEASE_MS - REQUEST_MS + 1)
    await pair.one.carry_out(work)
    assert pair.provider.submitted == []
    after = await got(pair.store, task.ref)
    assert (after.state, after.lease_until, after.place_until, after.reserved) == (TaskState.QUEUED, None, None, None)
    again = await claimed(pair.two.claim)
    assert (again.ref, again.claim) == (task.ref, work.claim + 1)


async def test_a_process_that_stood_still_does_not_send_what_another_has_marked_unsure(pair: Pair) -> None:
    [task] = await pair.queue(1)
    work = await claimed(pair.one.claim)
    pair.clock.forward(LEASE_MS)
    assert await pair.two.claim() is None
    await pair.one.carry_out(work)
    assert pair.provider.submitted == []
    assert (await got(pair.store, task.ref)).unsure


async def test_a_task_just_in_time_is_sent(pair: Pair) -> None:
    [task] = await pair.queue(1)
    work = await claimed(pair.one.claim)
    pair.clock.forward(LEASE_MS - REQUEST_MS)
    await pair.one.carry_out(work)
    assert (await got(pair.store, task.ref)).state is TaskState.WAITING


@pytest.mark.parametrize("stored", [False, True])
async def test_a_claim_whose_commit_answered_nothing_is_taken_up_if_it_was_stored(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    [task] = await pair.queue(1)
    _cut_commits(monkeypatch, pair.store, stored=stored)
    with pytest.raises(StoreUnavailable):
        await pair.one.claim()
    with pytest.raises(StoreUnavailable):  # nobody knows yet
        await pair.one.claim()
    monkeypatch.undo()
    assert (await got(pair.store, task.ref)).state is (TaskState.SUBMITTING if stored else TaskState.QUEUED)
    work = await claimed(pair.one.claim)
    assert (work.ref, work.claim) == (task.ref, 1)
    await pair.one.carry_out(work)
    assert len(pair.provider.submitted) == 1
    assert (await got(pair.store, task.ref)).state is TaskState.WAITING
    assert await pair.one.claim() is None


async def test_a_claim_whose_commit_answered_nothing_is_left_alone_once_another_has_decided(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    [task] = await pair.queue(1)
    _cut_commits(monkeypatch, pair.store, stored=True)
    with pytest.raises(StoreUnavailable):
        await pair.one.claim()
    monkeypatch.undo()
    pair.clock.forward(LEASE_MS)
    assert await pair.two.claim() is None
    assert await pair.one.claim() is None
    assert (await got(pair.store, task.ref)).unsure


def _cut_commits(monkeypatch: pytest.MonkeyPatch, store: Store, *, stored: bool) -> None:
    """From now on nobody hears whether a transaction was committed; it is, if `stored`."""
    write = store.write

    @asynccontextmanager
    async def cut(lane: Lane = Lane.OTHER) -> AsyncIterator[Tx]:
        async with write(lane) as tx:
            yield tx
            if not stored:
                raise StoreUnavailable("the connection was cut")
        raise StoreUnavailable("the connection was cut")

    monkeypatch.setattr(store, "write", cut)


async def test_the_time_is_taken_under_the_lock(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that waited for the others decides by the time when it is its turn."""
    await pair.queue(1)
    lock = SUBMITTING.lock

    async def slow(paces: object) -> object:
        found = await lock(paces)  # type: ignore[arg-type]
        pair.clock.forward(5 * SECOND)
        return found

    monkeypatch.setattr(SUBMITTING, "lock", slow)
    began = pair.clock()
    work = await claimed(pair.one.claim)
    assert (work.submitted_at, work.lease_until) == (began + 5 * SECOND, began + 5 * SECOND + LEASE_MS)
