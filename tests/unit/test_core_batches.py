"""What is said at a batch's end, and when equal failures halt it."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from kit.fakes import MAIL, NOW, POLICY, SLACK, a_task
from receiver.core.batches import (
    CANCELLED_WHY,
    GROUPS_MOST,
    HALT_AFTER,
    LINES_MOST,
    BatchFigures,
    cancel_lane,
    check_name,
    count_streak,
    describe_end,
    end_notices,
    group_failures,
    is_halted,
    open_again,
    pause_lane,
    reopen_lane,
    resume_lane,
)
from receiver.core.errors import RequestRefused
from receiver.core.types import (
    LanePriority,
    MessageStyle,
    NoticeEvent,
    PauseCause,
    QueueLane,
    Task,
    TaskError,
    TaskState,
)

LANE = QueueLane(id=4, name="rows-3fa92c", batch=True, priority=LanePriority.LOW, created_at=NOW)
FAILED = TaskError("004007098", "generation failed")
REFUSED = TaskError(None, "prompt refused")


def ended(state: TaskState, error: TaskError | None = None) -> Task:
    return replace(a_task(), state=state, error=error)


def test_the_end_is_told_in_one_line() -> None:
    failures = group_failures([(line, FAILED) for line in range(5)] + [(line, REFUSED) for line in (7, 9)])
    figures = BatchFigures({TaskState.COMPLETED: 493, TaskState.FAILED: 7}, failures, Decimal("24.65"))
    assert describe_end(figures, 52 * 60_000) == (
        "493 of 500 completed, 7 failed (5 × 004007098 generation failed, 2 × prompt refused), $24.65 in 52 min"
    )


@pytest.mark.parametrize(
    ("states", "cost", "took", "words"),
    [
        ({TaskState.COMPLETED: 1}, None, None, "1 completed"),
        ({TaskState.COMPLETED: 1_200}, None, 9_000, "all 1,200 completed, in 9.0 s"),
        ({TaskState.COMPLETED: 1, TaskState.CANCELLED: 2}, None, None, "1 of 3 completed, 2 cancelled"),
        (
            {TaskState.CANCELLED: 2, TaskState.LOST: 1},
            Decimal("1"),
            None,
            "none of 3 completed, 2 cancelled, 1 lost, $1.00",
        ),
        ({TaskState.FAILED: 3}, None, None, "all 3 failed (3 × others)"),
        ({TaskState.CANCELLED: 2}, None, None, "all 2 cancelled"),
        ({TaskState.LOST: 1}, None, None, "1 lost"),
    ],
)
def test_what_is_not_known_is_not_said(
    states: dict[TaskState, int], cost: Decimal | None, took: int | None, words: str
) -> None:
    assert describe_end(BatchFigures(states, (), cost), took) == words


@pytest.mark.parametrize(
    ("queued", "picks", "words"),
    [
        (2, 0, "2 wait for a person"),
        (1, 1, "1 waits for you to pick a picture"),
        (3, 2, "2 wait for you to pick a picture, 1 more goes on after that"),
        (12, 6, "6 wait for you to pick a picture, 6 more go on after that"),
    ],
)
def test_what_waits_for_a_pick_is_told_from_what_goes_on_after_it(queued: int, picks: int, words: str) -> None:
    figures = BatchFigures({TaskState.COMPLETED: 6, TaskState.QUEUED: queued}, picks=picks)
    assert describe_end(figures, None) == f"6 of {6 + queued} completed, {words}"
    [notice] = end_notices(LANE, figures, POLICY, NOW)
    assert notice.report.picks == picks


def test_a_batch_that_waited_only_for_picks_ends_when_it_is_cancelled() -> None:
    ended = replace(LANE, finished_at=NOW, idle_ms=5)
    cancelled = cancel_lane(ended, NOW + 60)
    assert (cancelled.finished_at, cancelled.idle_ms, cancelled.closed_why) == (NOW + 60, 65, CANCELLED_WHY)
    assert cancel_lane(replace(LANE, finished_at=None), NOW).finished_at is None


def test_many_reasons_are_the_most_frequent_and_the_rest() -> None:
    failed = [(line, TaskError(None, f"reason {line % 30}")) for line in range(100)] + [(200, FAILED)] * 9
    groups = group_failures(failed)
    assert len(groups) == GROUPS_MOST + 1
    assert (groups[0].code, groups[0].count) == ("004007098", 9)
    assert groups[-1].message == "other reasons"
    assert sum(group.count for group in groups) == 109
    assert all(len(group.lines) <= LINES_MOST for group in groups)
    assert group_failures([]) == []
    assert group_failures([(2, None)])[0].message == "no reason was given"


def test_ten_equal_failures_in_a_row_halt_it() -> None:
    lane = count_streak(LANE, [ended(TaskState.FAILED, FAILED)] * (HALT_AFTER - 1))
    assert not is_halted(lane)
    assert is_halted(count_streak(lane, [ended(TaskState.FAILED, FAILED)]))
    assert not is_halted(count_streak(lane, [ended(TaskState.FAILED, REFUSED)]))
    assert not is_halted(count_streak(lane, [ended(TaskState.COMPLETED), ended(TaskState.FAILED, FAILED)]))
    assert is_halted(count_streak(lane, [ended(TaskState.CANCELLED), ended(TaskState.FAILED, FAILED)]))
    halted = replace(lane, streak=HALT_AFTER)
    assert not is_halted(replace(halted, paused_at=NOW))
    assert not is_halted(replace(halted, finished_at=NOW))


def test_an_end_that_changes_no_count_is_no_change() -> None:
    assert count_streak(LANE, [ended(TaskState.COMPLETED), ended(TaskState.LOST)]) is LANE


def test_a_batch_tells_those_that_it_names_else_all_that_want_its_label() -> None:
    figures = BatchFigures({TaskState.COMPLETED: 1})
    picky = replace(MAIL, labels=("other*",))
    policy = replace(POLICY, targets=(SLACK, picky, replace(SLACK, name="mute", on=frozenset({NoticeEvent.FAILED}))))

    def told(lane: QueueLane) -> list[str]:
        return [it.target for it in end_notices(lane, figures, policy, NOW + 5_000)]

    assert told(LANE) == ["slack"]
    assert told(replace(LANE, label="others")) == ["slack", "mail"]
    assert told(replace(LANE, targets=("mail",))) == ["mail"]
    assert told(replace(LANE, targets=("gone",))) == ["slack"]
    [notice] = end_notices(LANE, figures, POLICY, NOW + 5_000)
    assert (notice.ref, notice.report.batch, notice.report.failed) == (None, LANE.name, False)
    assert notice.report.text == "1 completed, in 5.0 s"
    [notice] = end_notices(LANE, BatchFigures({TaskState.COMPLETED: 1, TaskState.LOST: 1}), POLICY, NOW)
    assert notice.report.failed


def test_an_empty_batch_tells_nobody() -> None:
    assert end_notices(LANE, BatchFigures({}), POLICY, NOW) == ()


def test_a_batch_that_was_reopened_tells_its_end_once_more_only_if_something_came_of_it() -> None:
    figures = BatchFigures({TaskState.COMPLETED: 2})
    ended = replace(LANE, closed_at=NOW, closed_why="RETENTION", finished_at=NOW + 1_000)
    reopened = reopen_lane(ended, 2, NOW + 90_000)
    assert (reopened.closed_at, reopened.closed_why, reopened.finished_at) == (None, None, None)
    assert end_notices(reopened, figures, POLICY, NOW + 91_000) == ()
    assert end_notices(reopened, BatchFigures({TaskState.COMPLETED: 3}), POLICY, NOW + 91_000) != ()
    assert end_notices(open_again(reopened, NOW + 91_000), figures, POLICY, NOW + 91_000) != ()
    assert reopen_lane(replace(LANE, closed_at=NOW), 2, NOW) == LANE, "its end is still to come"


def test_the_time_in_which_a_batch_had_ended_is_not_counted() -> None:
    lane = open_again(replace(LANE, finished_at=NOW + 1_000), NOW + 90_000)
    assert open_again(lane, NOW + 95_000) is lane
    lane = reopen_lane(replace(lane, closed_at=NOW, finished_at=NOW + 92_000), 0, NOW + 192_000)
    [notice] = end_notices(lane, BatchFigures({TaskState.COMPLETED: 2}), POLICY, NOW + 193_000)
    assert notice.report.duration_ms == 1_000 + 2_000 + 1_000
    set_back = open_again(replace(LANE, finished_at=NOW + 1_000), NOW)
    assert set_back.idle_ms == 0


def test_what_shows_pictures_waits_for_those_of_a_batch_a_while() -> None:
    policy = replace(POLICY, targets=(replace(SLACK, style=MessageStyle.SLACK), replace(SLACK, name="words")))
    figures = BatchFigures({TaskState.COMPLETED: 1})
    notices = end_notices(LANE, figures, policy, NOW, awaits_pictures=True)
    assert [it.due_at for it in notices] == [NOW + policy.picture_wait_ms, NOW]
    assert [it.due_at for it in end_notices(LANE, figures, policy, NOW)] == [NOW, NOW]


def test_a_batch_that_is_paused_says_by_what_and_why() -> None:
    paused = pause_lane(LANE, PauseCause.BUDGET, NOW, "its budget of $1 is used up")
    assert (paused.paused_at, paused.paused_by, paused.paused_why) == (NOW, "budget", "its budget of $1 is used up")
    assert resume_lane(paused) == LANE


@pytest.mark.parametrize("name", ["", "a" * 201, "a/b", ".", "..", "a\nb", "a\0", " a", "a ", "-x", "\ud800"])
def test_a_name_fits_paths_and_commands(name: str) -> None:
    with pytest.raises(RequestRefused, match="without /"):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "a" * 200, "rows-3fa92c", "März 2026 (2)", "..."])
def test_any_other_plain_text_is_a_name(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["low", "day", "month"])
def test_a_name_that_commands_take_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(RequestRefused, match="is the name of a priority or of a budget"):
        check_name(name)


@pytest.mark.parametrize("name", ["a\u202eb", "a\u200b", "\ufeffa", "a\u2028b"])
def test_a_name_with_what_nobody_can_see_is_refused(name: str) -> None:
    with pytest.raises(RequestRefused, match="plain text"):
        check_name(name)


@pytest.mark.parametrize(
    ("states", "priced", "unknown", "earlier"),
    [
        ({TaskState.COMPLETED: 5, TaskState.FAILED: 1}, 5, 1, 0),
        ({TaskState.COMPLETED: 5, TaskState.WAITING: 1, TaskState.CANCELLED: 3}, 5, 2, 2),
        ({TaskState.COMPLETED: 5, TaskState.LOST: 1}, 5, 1, 0),
        ({TaskState.COMPLETED: 5}, 3, 0, 0),
    ],
)
def test_the_earlier_tries_are_those_in_the_cost_that_are_no_longer_rows(
    states: dict[TaskState, int], priced: int, unknown: int, earlier: int
) -> None:
    assert BatchFigures(states, (), Decimal(1), unknown, priced).earlier == earlier
