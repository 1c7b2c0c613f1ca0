"""What a queued task waits for: the first thing that stands in its way, since when, and until when."""

import pytest
from msgspec.structs import replace

from kit.fakes import NOW, a_task
from receiver.core.provider_pace import ProviderPace, Signal
from receiver.core.queue_waits import (
    QueueReason,
    QueueScene,
    QueueWait,
    describe_reason,
    describe_wait,
    explain_wait,
    reason_for,
)
from receiver.core.types import HoldReason, TaskState

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
            known.until = known.taken = NOW  # type: ignore[misc,union-attr]


def test_every_reason_has_words_and_a_newer_one_is_its_own() -> None:
    assert all(describe_reason(it) != it.value for it in QueueReason)
    assert describe_reason("weather") == "weather"
    down = "the provider cannot be reached"
    assert describe_wait("down") == down
    assert describe_wait("down", "09:16 UTC", "09:17 UTC") == f"{down} (since 09:16 UTC; next try at 09:17 UTC)"
    assert describe_wait("down", detail="refused") == f"{down} (refused)"
    assert describe_wait("down", None, "09:17 UTC") == f"{down} (next try at 09:17 UTC)"


def test_of_an_older_service_the_hold_says_it() -> None:
    assert {hold: reason_for(None, hold.value) for hold in HoldReason} == {
        HoldReason.PARENT: "parent",
        HoldReason.BUDGET: "budget",
        HoldReason.PAUSE: "key",
        HoldReason.SUSPECT: "suspect",
        HoldReason.PERSON: "person",
    }
    assert reason_for("room", None) == "room"
    assert reason_for(None, "weather") == "weather"
    assert reason_for(None, None) is None
