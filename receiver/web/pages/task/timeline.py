"""What happened to a task, in sentences and in order: the rows of its page. Pure.

Reports of progress and equal polls are folded; of more than `ROWS_MOST` rows the middle is.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.types import Outcome, OutcomeSource, PollResult, Step, StepKind, Task, TaskState, Verdict
from receiver.web.pages.sentences import Piece, Sentence, format_gap, say
from receiver.web.pages.task.timeline_notices import NoticeStory, notice_rows
from receiver.web.pages.task.timeline_rows import (
    QUEUE,
    ArrivedCallback,
    AskedPoll,
    KeptPictures,
    TimelineRow,
    beginning_row,
    callback_row,
    ending_row,
    held_rows,
    lost_row,
    picture_rows,
    poll_row,
    sent_rows,
)
from receiver.web.pages.task.timeline_steps import step_rows

ROWS_MOST = 60
_FIRST, _LAST = 30, 29  # of more rows than that
PROGRESS_GAP_MS = 10_000
_SLACK_MS = 5_000  # a callback is stamped when it arrives, and the task when it is settled


class TaskStory(Struct, frozen=True, kw_only=True):
    """All that is known of what happened to a task."""

    task: Task
    parent: Task | None = None
    again_of: Task | None = None
    batch: str = ""
    batch_tells: bool = False  # at its end, instead of each of its tasks
    callbacks: Sequence[ArrivedCallback] = ()
    only_counted: int = 0  # callbacks that were only counted
    polls: Sequence[AskedPoll] = ()
    notices: Sequence[NoticeStory] = ()
    pictures: KeptPictures = KeptPictures()
    steps: Sequence[Step] = ()
    lost_at: int | None = None
    can_poll: bool = True


class Timeline(Struct, frozen=True):
    """The rows: all of them, or the `first` and the `last` with the `middle` folded."""

    first: Sequence[TimelineRow]
    middle: Sequence[TimelineRow] = ()
    last: Sequence[TimelineRow] = ()


def build_timeline(story: TaskStory) -> Timeline:
    """The rows of a task's page."""
    rows = sorted(_all_rows(story), key=lambda it: (it.at, it.order))
    rows = fold_polls(fold_progress(rows))
    began = rows[0].at
    rows = [rows[0], *(replace(it, gap=format_gap(it.at - began) if it.timed else "") for it in rows[1:])]
    if len(rows) <= ROWS_MOST:
        return Timeline(rows)
    return Timeline(rows[:_FIRST], rows[_FIRST:-_LAST], rows[-_LAST:])


def _all_rows(story: TaskStory) -> list[TimelineRow]:
    task = story.task
    settling = find_settling_callback(task, story.callbacks)
    polled = find_settling_poll(task, story.polls) if settling is None else None
    rows = [beginning_row(task, story.parent, batch=story.batch, again_of=story.again_of)]
    if story.batch_tells:
        note = say("Nobody is told of this task by itself: its batch sends one ping at its end.")
        rows[0] = replace(rows[0], notes=(*rows[0].notes, note))
    rows += held_rows(task, story.parent)
    noted = {it.kind for it in story.steps}
    believed = settling is not None and task.settled_by is OutcomeSource.PERSON  # its row says so
    rows += step_rows([it for it in story.steps if not (believed and it.kind is StepKind.BELIEVED)], task)
    rows += sent_rows(task, noted)
    rows += [callback_row(it, settles=it is settling, task=task, can_poll=story.can_poll) for it in story.callbacks]
    rows += [poll_row(it, settles=it is polled, task=task) for it in story.polls]
    if story.only_counted:
        more = "1 more callback was" if story.only_counted == 1 else f"{story.only_counted:,} more callbacks were"
        last = max((it.at for it in story.callbacks), default=task.created_at)
        rows.append(TimelineRow(last, "←", say(f"{more} only counted, not kept."), timed=False))
    if settling is None and polled is None and (end := ending_row(task, noted)) is not None:
        rows.append(end)
    if task.state is TaskState.LOST and story.lost_at is not None:
        rows.append(lost_row(task, story.lost_at))
    rows += picture_rows(task, story.pictures)
    for each in story.notices:
        rows += notice_rows(each)
    # what an adopted task began with came before its row was made
    return [replace(rows[0], at=min(it.at for it in rows)), *rows[1:]]


def find_settling_callback(task: Task, callbacks: Sequence[ArrivedCallback]) -> ArrivedCallback | None:
    """The callback that settled the task: the last one that was accepted, says so, and came before."""
    by = (OutcomeSource.CALLBACK, OutcomeSource.PERSON)
    if task.settled_at is None or task.settled_by not in by or not task.confirmed:
        return None
    ends = [
        it
        for it in callbacks
        if it.verdict is Verdict.ACCEPTED and _says_state(it.outcome, task) and it.at <= task.settled_at + _SLACK_MS
    ]
    return max(ends, key=lambda it: it.id, default=None)


def find_settling_poll(task: Task, polls: Sequence[AskedPoll]) -> AskedPoll | None:
    """The poll that settled the task: the last one before that was answered."""
    if task.settled_at is None or task.settled_by is not OutcomeSource.POLL:
        return None
    answered = [it for it in polls if it.heard == PollResult.OUTCOME and it.at <= task.settled_at]
    return max(answered, key=lambda it: it.at, default=None)


def _says_state(outcome: Outcome | None, task: Task) -> bool:
    return outcome is not None and outcome.ending.value == task.state.value


def fold_progress(rows: Sequence[TimelineRow]) -> list[TimelineRow]:
    """The rows with only the first report of progress, and each that comes 10 s or more after the one before it; a row
    says how many follow it."""
    shown: list[TimelineRow] = []
    last_at, place, more = None, 0, 0

    def close() -> None:
        if more:
            words = "1 more report of progress" if more == 1 else f"{more} more reports of progress"
            shown[place] = replace(shown[place], notes=(*shown[place].notes, say(f"and {words}")))

    for row in rows:
        if row.fold != "progress":
            shown.append(row)
            continue
        if last_at is None or row.at - last_at >= PROGRESS_GAP_MS:
            close()
            place, more = len(shown), 0
            shown.append(row)
        else:
            more += 1
        last_at = row.at
    close()
    return shown


def fold_polls(rows: Sequence[TimelineRow]) -> list[TimelineRow]:
    """The rows with equal polls, equal steps and equal failures to tell somebody that follow each other as one."""
    found: list[TimelineRow] = []
    run: list[TimelineRow] = []
    for row in rows:
        if run and row.fold not in ("", "progress") and row.fold == run[0].fold:
            run.append(row)
            continue
        found += [_join_run(run)] if run else []
        run = [row]
    return [*found, *([_join_run(run)] if run else [])]


def _join_run(run: Sequence[TimelineRow]) -> TimelineRow:
    first, last = run[0], run[-1]
    if len(run) == 1:
        return first
    until: Sentence = say(f" ×{len(run)} until ", Piece(at=last.at)) if first.order != QUEUE else say(f" ×{len(run)}")
    return replace(first, sentence=(*first.sentence, *until), notes=last.notes or first.notes)
