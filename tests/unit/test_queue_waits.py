"""What a queued task waits for: the first thing that stands in its way, since when, and until when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kit.fakes import NOW, a_task
from receiver.core.budgets import BudgetWait
from receiver.core.proven_limit import ProvenLimit
from receiver.core.provider_pace import ProviderPace, Signal
from receiver.core.queue_waits import (
    QueueReason,
    QueueScene,
    QueueState,
    QueueWait,
    count_waits,
    describe_reason,
    describe_wait,
    explain_wait,
    reason_for,
)
from receiver.core.types import HoldReason, LanePriority, QueueLane, TaskState

SECOND, MINUTE = 1_000, 60_000
QUEUED = replace(a_task(), state=TaskState.QUEUED, due_at=NOW, refused_at=None, held_by=None)
FREE = ProviderPace()
DOWN = FREE.after(Signal.NOT_SENT, sent_at=NOW - 10, now=NOW - 5)
REFUSED = FREE.after(Signal.UNAUTHORIZED, sent_at=NOW - 10, now=NOW - 5)
BUSY = FREE.after(Signal.BUSY, sent_at=NOW - 10, now=NOW, retry_after_ms=30 * SECOND)
HELD = {hold: replace(QUEUED, held_by=hold) for hold in HoldReason}


def scene(pace: ProviderPace = FREE, taken: int = 0, *, has_key: bool = True, now: int = NOW) -> QueueScene:
    return QueueScene(pace, taken, 2, has_key, now)


@pytest.mark.parametrize(
    ("task", "among", "wait"),
    [
        (QUEUED, scene(), QueueWait(QueueReason.TURN)),
        (QUEUED, scene(taken=1), QueueWait(QueueReason.TURN)),
        (QUEUED, scene(taken=2), QueueWait(QueueReason.ROOM, detail="2 of 2 places are taken")),
        (replace(QUEUED, due_at=None), scene(), QueueWait(QueueReason.TURN)),
        (replace(QUEUED, due_at=NOW + 1), scene(taken=2), QueueWait(QueueReason.RETRY, until=NOW + 1)),
        (QUEUED, scene(has_key=False), QueueWait(QueueReason.NO_KEY)),
        (QUEUED, scene(DOWN, has_key=False), QueueWait(QueueReason.NO_KEY)),
        (QUEUED, scene(DOWN), QueueWait(QueueReason.DOWN, NOW - 5, DOWN.down_until)),
        (replace(QUEUED, due_at=NOW + MINUTE), scene(DOWN), QueueWait(QueueReason.DOWN, NOW - 5, DOWN.down_until)),
        (QUEUED, scene(DOWN, now=NOW + 10 * SECOND), QueueWait(QueueReason.DOWN, NOW - 5)),  # it is tried now
        (QUEUED, scene(REFUSED), QueueWait(QueueReason.KEY, NOW - 5, REFUSED.unauthorized_until)),
        (HELD[HoldReason.SUSPECT], scene(REFUSED), QueueWait(QueueReason.KEY, NOW - 5, REFUSED.unauthorized_until)),
        (QUEUED, scene(REFUSED, now=NOW + 5 * MINUTE), QueueWait(QueueReason.KEY, NOW - 5)),
        (
            replace(
                HELD[HoldReason.PAUSE], due_at=NOW + 7, refused_at=NOW - 7
            ),  # after a restart, which forgets the pace
            scene(),
            QueueWait(QueueReason.KEY, NOW - 7, NOW + 7),
        ),
        (QUEUED, scene(BUSY), QueueWait(QueueReason.BUSY, until=NOW + 30 * SECOND)),
        (replace(QUEUED, due_at=NOW + MINUTE), scene(BUSY), QueueWait(QueueReason.BUSY, until=NOW + MINUTE)),
        (
            replace(HELD[HoldReason.SUSPECT], due_at=NOW + 7, refused_at=NOW - 7),
            scene(taken=2),
            QueueWait(QueueReason.SUSPECT, NOW - 7, NOW + 7),
        ),
        (HELD[HoldReason.PERSON], scene(DOWN, has_key=False), QueueWait(QueueReason.PERSON)),
        (HELD[HoldReason.BUDGET], scene(REFUSED), QueueWait(QueueReason.BUDGET)),
        (HELD[HoldReason.PARENT], scene(), QueueWait(QueueReason.PARENT)),
        (HELD[HoldReason.PICK], scene(), QueueWait(QueueReason.PICK)),
    ],
)
def test_a_queued_task_waits_for_the_first_thing_in_its_way(task, among, wait) -> None:  # type: ignore[no-untyped-def]
    assert explain_wait(task, among) == wait


@pytest.mark.parametrize("state", [it for it in TaskState if it is not TaskState.QUEUED])
def test_only_a_queued_task_waits_in_the_queue(state: TaskState) -> None:
    assert explain_wait(replace(QUEUED, state=state), scene(DOWN, has_key=False)) is None


def test_that_a_provider_is_down_is_said_since_its_first_failure_and_not_longer_than_that() -> None:
    pace = FREE
    for at in (NOW, NOW + MINUTE, NOW + 2 * MINUTE):
        pace = pace.after(Signal.NOT_SENT, sent_at=at, now=at + 1)
    assert pace.down_since == NOW + 1
    up = pace.after(Signal.FINE, sent_at=NOW + 3 * MINUTE, now=NOW + 3 * MINUTE + 1)
    assert up.down_since == 0
    assert up.after(Signal.NOT_SENT, sent_at=NOW + 4 * MINUTE, now=NOW + 4 * MINUTE).down_since == NOW + 4 * MINUTE


def test_that_a_key_is_refused_is_said_since_the_first_refusal_until_it_is_taken() -> None:
    pace = FREE
    for at in (NOW, NOW + 2 * MINUTE):
        pace = pace.after(Signal.UNAUTHORIZED, sent_at=at, now=at + 1)
    assert pace.refused_since == NOW + 1
    assert pace.after(Signal.FINE, sent_at=NOW + 5 * MINUTE, now=NOW + 5 * MINUTE).refused_since == 0


def test_what_is_known_of_a_wait_does_not_change() -> None:
    for known in (QueueWait(QueueReason.TURN), scene()):
        with pytest.raises(AttributeError):
            setattr(known, known.__struct_fields__[0], None)


def test_every_reason_has_words_and_a_newer_one_is_its_own() -> None:
    assert all(describe_reason(it) != it.value for it in QueueReason)
    assert describe_reason("weather") == "weather"
    down = "the provider cannot be reached"
    assert describe_wait("down") == down
    assert describe_wait("down", "09:16 UTC", "09:17 UTC") == f"{down} (since 09:16 UTC; next try at 09:17 UTC)"
    assert describe_wait("down", detail="refused") == f"{down}: refused"
    assert describe_wait("down", "09:16 UTC", detail="it (x) refused") == f"{down} (since 09:16 UTC): it (x) refused"
    assert describe_wait("down", None, "09:17 UTC") == f"{down} (next try at 09:17 UTC)"


def test_of_an_older_service_the_hold_says_it() -> None:
    assert {hold: reason_for(None, hold.value) for hold in HoldReason} == {
        HoldReason.PARENT: "parent",
        HoldReason.PICK: "pick",
        HoldReason.BUDGET: "budget",
        HoldReason.PAUSE: "key",
        HoldReason.SUSPECT: "suspect",
        HoldReason.PERSON: "person",
    }
    assert reason_for("room", None) == "room"
    assert reason_for(None, "weather") == "weather"
    assert reason_for(None, None) is None


TIMES = st.one_of(st.none(), st.integers(NOW - MINUTE, NOW + MINUTE))


@given(
    held=st.one_of(st.none(), st.sampled_from(HoldReason)),
    due_at=TIMES,
    refused_at=TIMES,
    lane=st.integers(1, 6),
    answers=st.lists(st.sampled_from(Signal), max_size=6),
    taken=st.integers(0, 3),
    has_key=st.booleans(),
    paused_at=TIMES,
)
def test_after_any_history_a_queued_task_waits_for_something_that_has_words(
    held: HoldReason | None,
    due_at: int | None,
    refused_at: int | None,
    lane: int,
    answers: list[Signal],
    taken: int,
    has_key: bool,
    paused_at: int | None,
) -> None:
    pace = FREE
    for step, signal in enumerate(answers):
        pace = pace.after(signal, sent_at=NOW - 50 + step, now=NOW - 49 + step, retry_after_ms=step * SECOND)
    batch = QueueLane(id=5, name="rows", batch=True, priority=LanePriority.LOW, created_at=NOW, paused_at=NOW)
    among = replace(scene(pace, taken, has_key=has_key), paused_at=paused_at, paused_lanes={5: batch})
    task = replace(QUEUED, held_by=held, due_at=due_at, refused_at=refused_at, lane=lane)
    wait = explain_wait(task, among)
    assert wait is not None
    assert describe_reason(wait.why) != wait.why.value
    own = (HoldReason.PERSON, HoldReason.PARENT, HoldReason.PICK, HoldReason.BUDGET)
    if paused_at is None and lane == 5 and held not in own:
        assert wait == QueueWait(QueueReason.PAUSED, NOW, detail="the batch rows: `receiver batch resume rows`")


def test_a_batch_that_paused_by_itself_says_why() -> None:
    lane = QueueLane(id=5, name="rows", batch=True, priority=LanePriority.LOW, created_at=NOW, paused_at=NOW)
    halted = replace(scene(), paused_lanes={5: replace(lane, paused_why="ten rows failed")})
    wait = explain_wait(replace(QUEUED, lane=5), halted)
    assert wait is not None
    assert wait.detail == "the batch rows: ten rows failed; `receiver batch resume rows`"


def test_queued_tasks_are_counted_by_what_the_next_of_their_lane_waits_for() -> None:
    normal = QueueLane(id=2, name="normal", batch=False, priority=LanePriority.NORMAL, created_at=NOW)
    rows = QueueLane(id=5, name="rows", batch=True, priority=LanePriority.LOW, created_at=NOW, paused_at=NOW)
    state = QueueState(replace(scene(), paused_lanes={5: rows}), ProvenLimit(2), None, [(normal, 3), (rows, 40)])
    counts = count_waits(state, 45)
    assert {why.value: count for why, count in counts.items() if count} == {"turn": 3, "paused": 40, "person": 2}
    assert set(counts) == set(QueueReason), "each is there from the start"
    assert count_waits(state, 42)[QueueReason.PERSON] == 0, "one was submitted between the two counts"


def test_a_task_waits_for_the_budget_of_all_or_for_that_of_its_lane() -> None:
    short, own = BudgetWait("the day's", NOW - 5, NOW + 5), BudgetWait("its own", NOW - 3)
    task = replace(QUEUED, lane=5)
    waits = [
        explain_wait(task, replace(scene(), budget=budget, lane_budgets=lanes))
        for budget, lanes in ((short, {}), (None, {5: own}), (short, {5: own}), (None, {6: own}))
    ]
    day = QueueWait(QueueReason.BUDGET, NOW - 5, NOW + 5, "the day's")
    assert waits == [day, QueueWait(QueueReason.BUDGET, NOW - 3, None, "its own"), day, QueueWait(QueueReason.TURN)]


@pytest.mark.parametrize(("why", "said"), [("", ""), ("it was copied", "it was copied; ")])
def test_a_queue_that_is_paused_says_why_and_what_lets_it_go_on(why: str, said: str) -> None:
    paused = replace(scene(), paused_at=NOW - 7, paused_why=why)
    detail = f"the whole queue: {said}`receiver queue resume`"
    assert explain_wait(QUEUED, paused) == QueueWait(QueueReason.PAUSED, NOW - 7, detail=detail)
