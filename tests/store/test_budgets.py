"""Budgets on the real store: what is reserved at the claim, what becomes of it, and what a person is told."""

import pytest
from msgspec.structs import replace

from kit.fakes import DAY, MINUTE, MODEL, NOW, POLICY, Clock, attention, got, notices
from kit.spending import CENT, DOLLAR, PRICED, TODAY, a_spender, check_books
from kit.submit_loop import NOT_SENT, UNCLEAR
from receiver.core.budgets import Budget, BudgetRules, PeriodKind
from receiver.core.clock_check import ClockWatch
from receiver.core.errors import RequestRefused
from receiver.core.money import NANO
from receiver.core.queue_waits import QueueReason
from receiver.core.spend import SpendCounts
from receiver.core.types import Ending, NoticeEvent, Task, TaskState
from receiver.store import Store
from receiver.tasks.intake import TaskIntake
from receiver.telemetry.metrics import Metrics
from receiver.tokens import Ring

pytestmark = pytest.mark.anyio


async def test_without_a_budget_nothing_waits_and_the_books_are_kept_all_the_same(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, BudgetRules())
    await spender.queue(5)
    sent = await spender.send_all()
    assert len(sent) == 5
    assert {(it.reserved, it.spend_day) for it in sent} == {(None, TODAY)}
    for task in sent:
        await spender.end(task, "0.05")
    assert (await store.spend.sum_all("0", "9")) == SpendCounts(completed=5, cost=25 * CENT)
    await spender.queue()
    [more] = await spender.send_all()
    assert more.reserved == 5 * CENT
    await check_books(store)


async def test_a_budget_is_spent_to_the_last_cent_and_no_further(store: Store, clock: Clock) -> None:
    """$1 at $0.05 each, ten in hand: 20 tasks, whenever their ends come."""
    spender = a_spender(store, clock, replace(DOLLAR, prices=PRICED))
    await spender.queue(40)
    done: list[Task] = []
    for _ in range(20):
        for task in await spender.send_all():
            assert await spender.committed() <= NANO
            done.append(task)
        if done:
            await spender.end(done.pop(0), "0.05")
    assert len(spender.provider.submitted) == 20
    assert await spender.committed() == NANO
    assert await store.spend.sum_all("0", "9") == SpendCounts(completed=20, cost=NANO)
    await check_books(store)


async def test_without_history_or_price_the_first_is_alone_until_its_cost_is_known(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock)
    queued = await spender.queue(40)
    [first] = await spender.send_all()
    [wait] = await spender.submit.queue.find_waits([queued[1]])
    assert wait is not None
    assert wait.why is QueueReason.BUDGET
    assert (wait.until, wait.detail is not None and "one is submitted at a time" in wait.detail) == (None, True)
    assert not await attention(store), "that is no reason to tell anybody"
    await spender.end(first, "0.05")
    rest = await spender.send_all()
    assert len(rest) == 10
    assert {it.reserved for it in rest} == {5 * CENT}
    for task in rest:
        await spender.end(task, "0.05")
    for task in await spender.send_all():
        await spender.end(task, "0.05")
    assert (len(spender.provider.submitted), await spender.committed()) == (20, NANO)


async def test_what_costs_three_times_the_estimate_goes_over_by_what_was_in_hand(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, replace(DOLLAR, prices=PRICED))
    await spender.queue(100)
    in_hand = await spender.send_all()
    while in_hand:
        await spender.end(in_hand.pop(0), "0.15")
        in_hand += await spender.send_all()
    assert NANO < await spender.committed() <= NANO + 10 * 10 * CENT
    await check_books(store)


async def test_what_was_not_taken_gives_its_reservation_back(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, replace(DOLLAR, prices=PRICED))
    await spender.queue()
    assert await spender.step(NOT_SENT)
    assert await spender.committed() == 0
    await check_books(store)
    [back] = await store.tasks.page()
    assert (back.reserved, back.spend_day) == (None, None), "a backup restored now counts nothing for it"


async def test_an_unsure_task_keeps_its_reservation_and_sent_again_it_stays_in_the_books(
    store: Store, clock: Clock
) -> None:
    spender = a_spender(store, clock, replace(DOLLAR, prices=PRICED))
    [task] = await spender.queue()
    assert await spender.step(UNCLEAR)
    assert await spender.committed() == 5 * CENT
    await check_books(store)
    shared = (store, POLICY, Ring(["k" * 32]), clock, Metrics())
    intake = TaskIntake(*shared, public_url="https://me.example", unreachable=None)
    await intake.resubmit_task(task.ref)
    assert await store.spend.sum_all("0", "9") == SpendCounts(lost=1, unknown=1, presumed=5 * CENT)
    clock.forward(MINUTE)
    [again] = await spender.send_all()
    await spender.end(again, "0.04")
    assert await store.spend.sum_all("0", "9") == SpendCounts(
        completed=1, lost=1, unknown=1, cost=4 * CENT, presumed=5 * CENT
    )


async def test_a_lost_task_counts_at_its_estimate_until_its_end_is_known(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, replace(DOLLAR, prices=PRICED))
    await spender.queue()
    [task] = await spender.send_all()
    async with store.write() as tx:
        await tx.tasks.update([(task, replace(task, state=TaskState.LOST, place_until=None, poll_at=None))])
    assert await spender.committed() == 5 * CENT
    await spender.end(task, "0.03")
    assert await spender.committed() == 3 * CENT
    await check_books(store)


async def test_failures_whose_cost_nobody_knows_count_as_what_was_reserved(store: Store, clock: Clock) -> None:
    """A provider may bill what failed."""
    spender = a_spender(store, clock, replace(DOLLAR, prices=PRICED))
    await spender.queue(100)
    while sent := await spender.send_all():
        for task in sent:
            await spender.end(task, None, Ending.FAILED)
    assert (len(spender.provider.submitted), await spender.committed()) == (20, NANO)
    assert await store.spend.sum_all("0", "9") == SpendCounts(failed=20, unknown=20, presumed=NANO)
    await check_books(store)


# -- what a person is told --


async def test_at_80_percent_and_at_the_limit_a_person_is_told_once_a_period(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, replace(DOLLAR, prices=PRICED))
    queued = await spender.queue(40)
    for _ in range(15):
        [task] = await spender.send_all(1)
        await spender.end(task, "0.05")
    assert not await attention(store)
    for _ in range(5):
        [task] = await spender.send_all(1)
        await spender.end(task, "0.05")
    assert await spender.send() is None
    near, reached = await notices(store, event=NoticeEvent.ATTENTION)
    assert near.report.text == (
        "$0.80 of this day's budget of $1.00 is spent or reserved. At the limit, tasks wait until 00:00 UTC. "
        "To raise it, run `receiver costs raise day 2`."
    )
    assert reached.report.text == (
        "The budget of this day is used up: $1.00 of $1.00 spent or reserved; 20 tasks wait until 00:00 UTC. "
        "To spend more, run `receiver costs raise day 2`."
    )
    [wait] = await spender.submit.queue.find_waits([queued[-1]])
    assert wait is not None
    assert (wait.why, wait.detail) == (
        QueueReason.BUDGET,
        "the $1.00 of this day are used up: `receiver costs raise day 2` lets it go on",
    )
    assert (wait.since, wait.until) == (NOW, NOW - NOW % DAY + DAY)
    assert await spender.submit.next_due() == wait.until
    for _ in range(3):
        clock.forward(90 * MINUTE)
        assert await spender.send() is None
    assert len(await attention(store)) == 2


async def test_what_is_only_reserved_is_waited_for_silently(store: Store, clock: Clock) -> None:
    """What is in hand may cost less; then the tasks go on."""
    spender = a_spender(store, clock, BudgetRules(Budget(10 * CENT), prices=PRICED))
    queued = await spender.queue(4)
    one, two = await spender.send_all()
    [wait] = await spender.submit.queue.find_waits([queued[-1]])
    assert wait is not None
    assert wait.detail == "what is left of the budget is reserved for the tasks in hand"
    assert len(await attention(store)) == 1, "it is nearly used up"
    await spender.end(one, "0.00")
    await spender.end(two, "0.00")
    assert len(await spender.send_all()) == 2
    assert len(await attention(store)) == 1


async def test_a_raise_holds_for_this_period_only(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, BudgetRules(Budget(10 * CENT), prices=PRICED))
    await spender.queue(9)
    for task in await spender.send_all():
        await spender.end(task, "0.05")
    assert await spender.send() is None
    async with store.write() as tx:
        await spender.budget.raise_limit(tx, PeriodKind.DAY, 20 * CENT, clock())
    for task in await spender.send_all():
        await spender.end(task, "0.05")
    assert len(spender.provider.submitted) == 4
    clock.forward(DAY)
    assert len(await spender.send_all()) == 2, "the setting is the rule"


async def test_what_was_raised_by_mistake_is_lowered_as_far_as_it_is_not_spent(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, BudgetRules(Budget(10 * CENT), prices=PRICED))

    async def set_to(limit: int) -> int:
        async with store.write() as tx:
            await spender.budget.raise_limit(tx, PeriodKind.DAY, limit, clock())
        return (await spender.budget.states(store.spend, clock()))[0].limit

    assert await set_to(50 * NANO) == 50 * NANO
    assert await set_to(30 * CENT) == 30 * CENT
    assert await set_to(10 * CENT) == 10 * CENT
    with pytest.raises(RequestRefused, match=r"the settings give each day \$0\.10; to lower that, set BUDGET_DAY"):
        await set_to(9 * CENT)
    await set_to(50 * NANO)
    await spender.queue(4)
    sent = await spender.send_all()
    with pytest.raises(
        RequestRefused, match=r"\$0\.20 of the budget of this day is spent or reserved already; 0\.20 or"
    ):
        await set_to(19 * CENT)
    await spender.queue()
    assert not await attention(store)
    assert await set_to(20 * CENT) == 20 * CENT
    assert await spender.send() is None
    await spender.end(sent[0], "0.05")
    assert not await attention(store), "whoever set it knows how much of it is used"


@pytest.mark.parametrize(
    ("kind", "limit", "code"),
    [(PeriodKind.MONTH, NANO, "no_budget"), (PeriodKind.DAY, NANO - 1, "invalid_parameter")],
)
async def test_what_cannot_be_raised(store: Store, clock: Clock, kind: PeriodKind, limit: int, code: str) -> None:
    spender = a_spender(store, clock)
    with pytest.raises(RequestRefused) as refused:
        async with store.write() as tx:
            await spender.budget.raise_limit(tx, kind, limit, clock())
    assert refused.value.code == code


async def test_a_task_dearer_than_a_whole_budget_is_refused(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, BudgetRules(month=Budget(4 * CENT), prices=PRICED))
    with pytest.raises(RequestRefused, match=r"costs about \$0\.05, which is more than the whole budget of a month"):
        await spender.budget.refuse_oversized(store.spend, MODEL)
    await spender.budget.refuse_oversized(store.spend, "another")


# -- days --


async def test_a_task_counts_in_the_day_in_which_it_was_submitted_though_it_ends_in_the_next(store: Store) -> None:
    clock = Clock(NOW - NOW % DAY + DAY - MINUTE)
    spender = a_spender(store, clock, BudgetRules(Budget(5 * CENT), prices=PRICED))
    await spender.queue(2)
    [late] = await spender.send_all()
    clock.forward(2 * MINUTE)
    await spender.end(late, "0.05")
    assert (await spender.committed(), await spender.committed("2025-12-30")) == (5 * CENT, 0)
    [early] = await spender.send_all()
    assert early.spend_day == "2025-12-30"


async def test_the_days_of_a_zone_begin_at_its_midnight_also_where_clocks_are_changed(store: Store) -> None:
    clock = Clock(1_792_879_200_000)  # 2026-10-25 00:00 in Berlin: a day of 25 hours
    spender = a_spender(store, clock, BudgetRules(Budget(5 * CENT, "Europe/Berlin"), prices=PRICED))
    await spender.queue(3)
    [task] = await spender.send_all()
    await spender.end(task, "0.05")
    assert task.spend_day == "2026-10-25"
    clock.forward(25 * 3_600_000 - 1)
    assert await spender.send() is None
    assert await spender.submit.next_due() == clock() + 1
    clock.forward(1)
    waits = (await spender.submit.queue.read_state()).waits
    assert spender.budget.wait_at(waits, clock()) is None, "a wait that is over would wake the loop for ever"
    [next_day] = await spender.send_all()
    assert next_day.spend_day == "2026-10-26"


async def test_a_clock_that_stays_wrong_opens_a_period_after_an_hour_and_says_so_until_then(
    store: Store, clock: Clock
) -> None:
    boot = Clock(0)
    spender = a_spender(store, clock, BudgetRules(Budget(5 * CENT), prices=PRICED), watch=ClockWatch(clock, boot))
    first, second = await spender.queue(2)
    await spender.send_all()
    await spender.end(await got(store, first.ref), "0.05")
    assert await spender.send() is None
    clock.forward(DAY)
    [wait] = await spender.submit.queue.find_waits([second])
    assert wait is not None
    assert (wait.why, wait.until) == (QueueReason.BUDGET, None), "before anything was tried again"
    opens = clock() + 60 * MINUTE
    for _ in range(2):
        assert await spender.send() is None
        [wait] = await spender.submit.queue.find_waits([second])
        assert wait is not None
        assert (wait.why, wait.until) == (QueueReason.BUDGET, opens)
        assert await spender.submit.next_due() == opens
        clock.forward(30 * MINUTE)
        boot.forward(30 * MINUTE)
    [sent] = await spender.send_all()
    assert sent.spend_day == "2025-12-30"


async def test_a_month_has_its_own_budget(store: Store, clock: Clock) -> None:
    spender = a_spender(store, clock, BudgetRules(month=Budget(10 * CENT), prices=PRICED))
    await spender.queue(5)
    for task in await spender.send_all():
        await spender.end(task, "0.05")
    clock.forward(DAY)  # 30 December
    assert await spender.send() is None
    clock.forward(2 * DAY)  # January
    assert len(await spender.send_all()) == 2


async def test_a_clock_that_leaps_100_days_for_40_seconds_opens_no_period(store: Store, clock: Clock) -> None:
    boot = Clock(0)
    watch = ClockWatch(clock, boot)
    spender = a_spender(store, clock, BudgetRules(Budget(5 * CENT), prices=PRICED), watch=watch)
    await spender.queue(3)
    [task] = await spender.send_all()
    await spender.end(task, "0.05")
    clock.forward(100 * DAY)
    for _ in range(4):
        assert await spender.send() is None
        clock.forward(10_000)
        boot.forward(10_000)
    clock.forward(-100 * DAY)
    assert await spender.send() is None
    assert await store.spend.last_day() == TODAY
    clock.forward(DAY)  # and with both clocks, the next day comes
    boot.forward(DAY)
    [next_day] = await spender.send_all()
    assert next_day.spend_day == "2025-12-30"


async def test_one_cost_above_the_whole_budget_is_told_with_what_to_change(store: Store, clock: Clock) -> None:
    """A new day does not help: the next task may cost as much."""
    spender = a_spender(store, clock, BudgetRules(Budget(40 * CENT), prices={MODEL: 45 * CENT}))
    [task] = await spender.queue()
    assert await spender.send() is None
    [wait] = await spender.submit.queue.find_waits([task])
    assert wait is not None
    assert "more than the whole budget of a day ($0.40): set BUDGET_DAY higher" in (wait.detail or "")
    [told] = await notices(store, event=NoticeEvent.ATTENTION)
    assert "more than the whole budget of a day" in (told.report.text or "")
