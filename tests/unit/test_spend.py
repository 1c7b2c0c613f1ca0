"""receiver.core.spend: what a task adds to the books in each state, and what a change adds and takes away."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kit.fakes import MODEL, NOW, a_task
from receiver.core.money import NANO
from receiver.core.spend import (
    SpendCounts,
    SpendDeltas,
    SpendKey,
    add_change,
    contribution,
    model_changes,
    spend_key,
    total_changes,
)
from receiver.core.types import LOW_LANE, OutcomeSource, Task, TaskState, Usage

CENT = NANO // 100
TODAY = "2025-12-29"
PAID = Usage(Decimal("0.05"))


def claimed(state: TaskState, reserved: int | None = 7 * CENT, **more: object) -> Task:
    """A task that was claimed here, with what was reserved for it."""
    return a_task(state, reserved=reserved, spend_day=TODAY, **more)


@pytest.mark.parametrize(
    ("task", "adds"),
    [
        (a_task(TaskState.QUEUED), None),
        (claimed(TaskState.QUEUED), None),  # it was not taken: nothing is reserved any more
        (claimed(TaskState.SUBMITTING), SpendCounts(in_hand=1, reserved=7 * CENT)),
        (claimed(TaskState.WAITING), SpendCounts(in_hand=1, reserved=7 * CENT)),
        (claimed(TaskState.WAITING, unsure=True), SpendCounts(in_hand=1, reserved=7 * CENT)),
        (claimed(TaskState.WAITING, None), SpendCounts(in_hand=1, unpriced=1)),
        (a_task(TaskState.WAITING), None),  # minted, adopted, or sent before there were books
        (claimed(TaskState.COMPLETED, usage=PAID), SpendCounts(completed=1, cost=5 * CENT)),
        (a_task(TaskState.COMPLETED, usage=PAID), SpendCounts(completed=1, cost=5 * CENT)),
        (claimed(TaskState.COMPLETED), SpendCounts(completed=1, unknown=1, presumed=7 * CENT)),
        (claimed(TaskState.COMPLETED, None), SpendCounts(completed=1, unknown=1)),
        (
            claimed(TaskState.COMPLETED, usage=Usage(Decimal(-1))),
            SpendCounts(completed=1, unknown=1, presumed=7 * CENT),
        ),
        (claimed(TaskState.COMPLETED, usage=Usage(Decimal(0))), SpendCounts(completed=1)),
        (claimed(TaskState.FAILED), SpendCounts(failed=1, unknown=1, presumed=7 * CENT)),
        (claimed(TaskState.FAILED, None), SpendCounts(failed=1, unknown=1)),
        (claimed(TaskState.FAILED, usage=PAID), SpendCounts(failed=1, cost=5 * CENT)),
        (
            claimed(TaskState.FAILED, task_id=None, settled_by=OutcomeSource.ANSWER),
            SpendCounts(failed=1),
        ),
        (
            claimed(TaskState.FAILED, settled_by=OutcomeSource.ANSWER),
            SpendCounts(failed=1, unknown=1, presumed=7 * CENT),
        ),
        (claimed(TaskState.CANCELLED, submitted_at=NOW), SpendCounts(failed=1, unknown=1, presumed=7 * CENT)),
        (a_task(TaskState.CANCELLED), None),
        (claimed(TaskState.LOST), SpendCounts(lost=1, unknown=1, presumed=7 * CENT)),
        (claimed(TaskState.LOST, None), SpendCounts(lost=1, unknown=1)),
        (a_task(TaskState.LOST), None),
    ],
)
def test_what_a_task_adds(task: Task, adds: SpendCounts | None) -> None:
    assert contribution(task) == adds


def test_what_was_spent_is_what_is_known_and_what_is_presumed() -> None:
    assert SpendCounts(cost=3, presumed=2, reserved=7).spent == 5


def test_a_task_without_a_day_counts_from_midnight_to_midnight() -> None:
    midnight = 20_451 * 86_400_000  # 2025-12-29
    days = [spend_key(a_task(submitted_at=at, spend_day=None)).day for at in (midnight - 1, midnight, midnight + 1)]
    assert days == ["2025-12-28", TODAY, TODAY]


def test_the_line_of_a_task() -> None:
    task = claimed(TaskState.WAITING, lane=5, label="hero")
    assert spend_key(task) == SpendKey(TODAY, task.provider, MODEL, 5, "hero")
    bare = replace(task, label=None, model=None, spend_day=None, submitted_at=86_400_000)
    assert spend_key(bare) == SpendKey("1970-01-02", task.provider, "", 5, "")
    assert spend_key(replace(bare, submitted_at=None, created_at=0)).day == "1970-01-01"


def changes(*states: Task) -> dict[SpendKey, SpendCounts]:
    """The books after a task went through these states."""
    deltas: SpendDeltas = {}
    before = None
    for task in states:
        add_change(deltas, before, task)
        before = task
    return {key: SpendCounts(*values) for key, values in deltas.items() if any(values)}


def test_a_task_that_settles_gives_back_what_was_reserved() -> None:
    waiting = claimed(TaskState.WAITING)
    done = replace(waiting, state=TaskState.COMPLETED, usage=PAID)
    assert changes(waiting, done) == {spend_key(done): SpendCounts(completed=1, cost=5 * CENT)}


def test_one_that_was_not_taken_leaves_nothing() -> None:
    queued, submitting = claimed(TaskState.QUEUED), claimed(TaskState.SUBMITTING)
    assert changes(queued, submitting, queued) == {}


def test_a_lost_one_that_ends_after_all_is_no_longer_presumed() -> None:
    lost = claimed(TaskState.LOST)
    assert changes(lost, replace(lost, state=TaskState.COMPLETED, usage=PAID)) == {
        spend_key(lost): SpendCounts(completed=1, cost=5 * CENT)
    }


@pytest.mark.parametrize("state", [TaskState.WAITING, TaskState.LOST])
def test_one_that_a_person_sends_again_stays_in_the_books_as_lost(state: TaskState) -> None:
    unsure = claimed(state, unsure=True)
    again = replace(unsure, state=TaskState.QUEUED)
    second = replace(again, state=TaskState.SUBMITTING, reserved=9 * CENT, spend_day="2025-12-30")
    assert changes(unsure, again) == {spend_key(unsure): SpendCounts(lost=1, unknown=1, presumed=7 * CENT)}
    assert changes(unsure, again, second) == {
        spend_key(unsure): SpendCounts(lost=1, unknown=1, presumed=7 * CENT),
        spend_key(second): SpendCounts(in_hand=1, reserved=9 * CENT),
    }


def test_one_without_a_claim_that_is_sent_again_leaves_nothing() -> None:
    """Restored from a backup: whether it was ever sent, nobody knows."""
    restored = a_task(TaskState.WAITING, unsure=True)
    assert changes(restored, replace(restored, state=TaskState.QUEUED)) == {}


def test_totals_are_kept_by_day_and_by_batch() -> None:
    deltas: SpendDeltas = {}
    add_change(deltas, None, claimed(TaskState.WAITING, None, lane=LOW_LANE))
    add_change(deltas, None, claimed(TaskState.WAITING, lane=LOW_LANE + 1))
    add_change(deltas, None, claimed(TaskState.FAILED, lane=LOW_LANE + 2))
    assert sorted(total_changes(deltas, LOW_LANE)) == [
        (TODAY, 7 * CENT, 7 * CENT, 1),
        (f"lane {LOW_LANE + 1}", 0, 7 * CENT, 0),
        (f"lane {LOW_LANE + 2}", 7 * CENT, 0, 0),
    ]


def test_what_is_spent_and_what_is_presumed_add_up_in_the_totals() -> None:
    deltas: SpendDeltas = {}
    add_change(deltas, None, claimed(TaskState.COMPLETED, usage=PAID))
    add_change(deltas, None, claimed(TaskState.LOST))
    add_change(deltas, None, claimed(TaskState.SUBMITTING, 3 * CENT, label="hero"))
    assert total_changes(deltas, LOW_LANE) == [(TODAY, 12 * CENT, 3 * CENT, 0)]


def test_the_books_of_a_model_have_its_ends_and_how_many_did_not_tell_their_cost() -> None:
    deltas: SpendDeltas = {}
    for task in (
        claimed(TaskState.WAITING),
        claimed(TaskState.FAILED),
        claimed(TaskState.LOST, lane=9),
        claimed(TaskState.COMPLETED, usage=PAID, label="hero"),
        replace(claimed(TaskState.COMPLETED), model=None),
    ):
        add_change(deltas, None, task)
    assert sorted(model_changes(deltas)) == [("", 1, 1, 1, 0), (MODEL, 1, 3, 2, 5 * CENT)]
    assert model_changes({spend_key(claimed(TaskState.WAITING)): [0] * 4 + [1, 0, 0, 7, 0]}) == []


@pytest.mark.parametrize(
    ("counts", "priced"),
    [
        (SpendCounts(completed=3, cost=9), 3),
        (SpendCounts(completed=3, failed=5, lost=2, unknown=2), 3),  # five were refused
        (SpendCounts(completed=3, lost=2, unknown=4), 1),
        (SpendCounts(completed=3, unknown=9), 0),
    ],
)
def test_how_many_completed_with_a_known_cost(counts: SpendCounts, priced: int) -> None:
    assert counts.priced == priced


_TASKS = st.builds(
    lambda state, reserved, day, cost, label: a_task(
        state,
        reserved=reserved,
        spend_day=day,
        usage=None if cost is None else Usage(Decimal(cost)),
        label=label,
    ),
    st.sampled_from(TaskState),
    st.sampled_from([None, 0, CENT]),
    st.sampled_from([None, TODAY, "2025-12-30"]),
    st.sampled_from([None, "0", "0.05", "-1"]),
    st.sampled_from([None, "a"]),
)


@given(st.lists(_TASKS, min_size=1, max_size=6))
def test_the_books_hold_what_the_task_contributes_now_whatever_came_before(history: list[Task]) -> None:
    """But for what a person sent again: that stays."""
    again = any(
        old.state in (TaskState.WAITING, TaskState.LOST) and new.state is TaskState.QUEUED and old.spend_day
        for old, new in pairwise(history)
    )
    now = contribution(history[-1])
    expected = {spend_key(history[-1]): now} if now is not None and any(now) else {}
    books = changes(*history)
    if again:
        assert all(value >= 0 for counts in books.values() for value in counts)
    else:
        assert books == expected


def test_the_books_of_a_model_follow_a_cost_that_is_told_later() -> None:
    key = spend_key(claimed(TaskState.COMPLETED))
    told = dict.fromkeys(SpendCounts._fields, 0)
    for changed in ({"unknown": -1}, {"cost": 5 * CENT}):
        [(model, *_)] = model_changes({key: list((told | changed).values())})
        assert model == MODEL
