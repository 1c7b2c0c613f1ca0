"""What an outcome does to a task: which outcomes are believed, and every change of state. Pure.

Start reading at `decide`. The other functions are its steps, and the changes that submit and sweep make without an
outcome. Nothing here reads a clock or a database: the same arguments give the same answer.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from msgspec.structs import replace

from receiver.core.after_end import (
    STATE_AT_END,
    ask_again,
    contradicts_refusal,
    picture_digest,
    reopen_task,
    verdict_after_end,
)
from receiver.core.chains import needs_picker, reports_completion
from receiver.core.hints import add_hint, describe_hint, drop_candidate, note_status
from receiver.core.schedule import unsure_place
from receiver.core.types import (
    ArchiveState,
    ConfirmMode,
    Decision,
    HoldReason,
    Image,
    Notice,
    NoticeEvent,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    Policy,
    Report,
    Target,
    Task,
    TaskError,
    TaskOrigin,
    TaskState,
    Verdict,
)

CREATED_TOLERANCE_MS = 600_000  # how far a reply's `created_at` may be from the submission
FOREVER = 1 << 62  # a place held until the task settles
_NOTHING_LEFT: dict[str, Any] = {  # the fields that say what is still to be done about a task
    **dict.fromkeys(("held_by", "due_at", "lease_until", "place_until", "poll_at", "hint", "hint_step", "hint_until")),
    "refused_at": None,
    "unsure": False,
}
_NOTHING_HEARD: dict[str, Any] = {
    **dict.fromkeys(("hint_note", "doubted_at", "refuted_at")),
    **dict.fromkeys(("candidates", "denied"), ()),
}
_EVENT_AT_END = {
    TaskState.COMPLETED: NoticeEvent.COMPLETED,
    TaskState.FAILED: NoticeEvent.FAILED,
    TaskState.CANCELLED: NoticeEvent.FAILED,
}


def decide(
    task: Task,
    outcome: Outcome | None,
    source: OutcomeSource,
    policy: Policy,
    now: int,
    *,
    digest: bytes | None = None,
) -> Decision:
    """What `outcome`, which came from `source`, does to `task`. None means that the body could not be parsed.

    `digest` is that of the callback's body: a hint remembers it.

    1. A final task does not change any more: the outcome is a duplicate, late, or a conflict. The exceptions: its
       submission was refused, and yet something says that it was carried out: then it is open again. Or its end could
       not be confirmed: then what is believed corrects it, and what is not is a reason to ask the provider again.
    2. No outcome, or one that is not believed, is a hint: it is kept, and the task is polled. A doubted end is never
       believed unless a person does, and never counts as "still running": `Task.doubted_at` records the first.
    3. A believed end settles the task and creates its notices.
    4. A believed "still running" updates the progress, and may give us the provider's id.
    """
    if task.state.is_final and not contradicts_refusal(task, outcome):
        return _decide_after_end(task, outcome, source, policy, now)
    task = reopen_task(task) if task.state.is_final else task
    called = _record_call(task, policy, now) if source is OutcomeSource.CALLBACK else task
    if source is OutcomeSource.POLL and outcome is not None and not matches_task(task, outcome):
        return Decision(Verdict.HINT)  # the reply is about another task
    if outcome is None or not is_believed(task, outcome, source, policy):
        verdict = Verdict.UNPARSED if outcome is None else Verdict.HINT
        if outcome is not None and source is not OutcomeSource.CALLBACK:
            called = _apply_progress(called, outcome, source, now)  # it is about this task, whatever its end is worth
        return Decision(verdict, add_hint(called, outcome, policy, now, source=source, digest=digest))
    if outcome.says_end:
        return settle_task(called, outcome, source, policy, now)
    if task.state is TaskState.LOST:
        return Decision(Verdict.LATE)
    moved = _apply_progress(called, outcome, source, now)
    news = (moved.task_id, moved.progress) != (task.task_id, task.progress)
    return Decision(Verdict.ACCEPTED if news else Verdict.DUPLICATE, moved if moved != task else None)


def _decide_after_end(task: Task, outcome: Outcome | None, source: OutcomeSource, policy: Policy, now: int) -> Decision:
    verdict = verdict_after_end(task, outcome)
    if task.confirmed or outcome is None or not outcome.says_end:
        return Decision(verdict)
    if source is OutcomeSource.POLL and not matches_task(task, outcome):
        return Decision(verdict)
    if not is_believed(task, outcome, source, policy):
        asks = verdict is Verdict.CONFLICT and source is OutcomeSource.CALLBACK
        return Decision(verdict, ask_again(task, outcome, policy, now) if asks else None)
    if verdict is Verdict.DUPLICATE:
        known = task.task_id or outcome.task_id
        sure = replace(task, **_NOTHING_LEFT, **_NOTHING_HEARD, confirmed=True, task_id=known)
        return Decision(verdict, sure, (), pick_notices(sure, outcome.images, policy, now))
    corrected = settle_task(replace(task, archive_tries=0), outcome, source, policy, now)
    return replace(corrected, corrects=True)


def is_believed(task: Task, outcome: Outcome, source: OutcomeSource, policy: Policy) -> bool:
    """Whether the outcome may change the task now. A doubted end may only if a person believes it.

    A callback is believed only if it has the id that the provider itself gave us: whoever knows the URL can send one,
    and guess that the submission is still under way.
    """
    if source is OutcomeSource.PERSON:
        return True
    if outcome.why_doubted is not None:
        return False
    if source is not OutcomeSource.CALLBACK:
        return True
    if policy.confirm is ConfirmMode.ALWAYS or outcome.shape is not OutcomeShape.TASK:
        return False
    return outcome.task_id is not None and outcome.task_id == task.task_id


def matches_task(task: Task, outcome: Outcome) -> bool:
    """Whether a poll's reply can be about this task: the model fits, and so does the creation time (± 10 minutes).

    If the answer to the submission carried the provider's `created_at`, the reply must match it, so a wrong clock of
    ours does no harm. For a task that was submitted elsewhere, the reply must not be older than the callback URL,
    unless it has the task's id: that submission may be older than the URL.
    """
    if task.model and outcome.model and task.model != outcome.model:
        return False
    if outcome.created_at is None:
        return True
    if task.provider_created_at is not None:
        return abs(outcome.created_at - task.provider_created_at) <= CREATED_TOLERANCE_MS
    if task.origin is TaskOrigin.SUBMITTED and task.submitted_at is not None:
        return abs(outcome.created_at - task.submitted_at) <= CREATED_TOLERANCE_MS
    same_id = task.task_id is not None and outcome.task_id == task.task_id
    return same_id or outcome.created_at >= task.created_at - CREATED_TOLERANCE_MS


def settle_task(
    task: Task, outcome: Outcome, source: OutcomeSource, policy: Policy, now: int, *, unconfirmed: str | None = None
) -> Decision:
    """The settled task, with the notices that report it; `unconfirmed` says why no poll confirmed it."""
    confirmed = unconfirmed is None
    state = STATE_AT_END[outcome.ending]
    error = outcome.error
    if state is not TaskState.COMPLETED and error is None:
        error = TaskError(None, f"the provider reports {outcome.status} without a reason")
    done = replace(
        task,
        **_NOTHING_LEFT,
        **_NOTHING_HEARD,
        state=state,
        confirmed=confirmed,
        settled_by=source,
        settled_at=now,
        submitted_at=task.submitted_at or now,
        task_id=task.task_id or outcome.task_id,
        model=task.model or outcome.model,
        progress=1.0 if state is TaskState.COMPLETED else task.progress,
        error=None if state is TaskState.COMPLETED else error,
        usage=outcome.usage,
        pictures=picture_digest(outcome.images),
        archive=ArchiveState.DUE if outcome.images else None,
        archive_at=now if outcome.images else None,
    )
    report = _report_end(done, outcome.images, _duration_ms(task, now), unconfirmed)
    if state is not TaskState.COMPLETED:
        notices = owed_notices(done, report, policy, now)
    elif reports_completion(done):
        aloud = needs_picker(done) or done.ping is True
        notices = owed_notices(replace(done, quiet=done.quiet and not aloud), report, policy, now)
    else:
        notices = ()
    return Decision(Verdict.ACCEPTED, done, outcome.images, notices)


def pick_notices(task: Task, images: Sequence[Image], policy: Policy, now: int) -> tuple[Notice, ...]:
    """The notices that a person has to pick one of the `images` with which the task has completed; none if nothing
    waits for that."""
    if not needs_picker(task):
        return ()
    report = _report_end(task, images, _duration_ms(task, task.settled_at or now), None)
    return owed_notices(replace(task, quiet=False), report, policy, now)


def _report_end(done: Task, images: Sequence[Image], duration_ms: int | None, unconfirmed: str | None) -> Report:
    return replace(
        begin_report(done, _EVENT_AT_END[done.state]),
        confirmed=done.confirmed,
        unconfirmed=unconfirmed,
        images=tuple(images),
        error=done.error and replace(done.error, raw=None),
        cost=done.usage.cost if done.usage else None,
        duration_ms=duration_ms,
        picks=done.picks if needs_picker(done) else 0,
        waiting=done.children if done.state is TaskState.FAILED else 0,
    )


def begin_report(task: Task, event: NoticeEvent) -> Report:
    """The report of an event of this task, with what names the task and nothing of what happened."""
    return Report(
        event=event,
        ref=task.ref,
        task_id=task.task_id,
        label=task.label,
        step=task.step,
        model=task.model,
        prompt=task.prompt,
    )


def mark_lost(task: Task, policy: Policy, now: int) -> Decision:
    """The task given up; a late callback can still settle it. A minted URL that was never used creates no notice.

    What was heard of it stays, and the notice says it.
    """
    used = task.origin is not TaskOrigin.MINTED or task.submitted_at is not None
    gone = replace(task, **{**_NOTHING_LEFT, "unsure": task.unsure}, state=TaskState.LOST)
    heard = describe_hint(task.hint_note)
    report = replace(begin_report(task, NoticeEvent.LOST), heard=heard, waiting=task.children)
    return Decision(Verdict.ACCEPTED, gone, (), owed_notices(gone, report, policy, now) if used else ())


def mark_unsure(task: Task, now: int, expected_ms: int) -> Task:
    """The task when it is unclear whether the provider took it: it waits, holds its place while the provider may be
    at it, counted from when it was sent, and is then looked at.

    If a callback already gave us the provider's id, the task is not unsure. If one already reported an end that cannot
    be believed, it holds no place. Nor does one that was restored from a backup in which it was queued, for which no
    place was ever taken: there may be hundreds, nearly all of them over or never sent, and should some be running after
    all, the provider answers 429.
    """
    sure = task.task_id is not None
    look_at = now + (expected_ms if sure else unsure_place(expected_ms))
    restored = task.state is TaskState.SUBMITTING and task.place_until is None
    sent_at = min(task.submitted_at or now, now)
    place = FOREVER if sure else now if restored else max(now, sent_at + unsure_place(expected_ms))
    return replace(
        task,
        state=TaskState.WAITING,
        held_by=None,
        unsure=not sure,
        submitted_at=task.submitted_at or now,
        due_at=None,
        lease_until=None,
        place_until=None if heard_doubted_end(task) else place,
        poll_at=min(filter(None, (task.poll_at, look_at))),
    )


def heard_doubted_end(task: Task) -> bool:
    """Whether the task probably ended, though what says so cannot be believed."""
    return task.hint is not None and task.hint.why_doubted is not None


def task_deadline(task: Task, policy: Policy) -> int:
    """When the task may be given up, counted from its submission, or from its creation if it was never submitted."""
    return (task.submitted_at or task.created_at) + policy.deadline_ms


def owed_notices(
    task: Task, report: Report, policy: Policy, now: int, *, awaits_pictures: bool = False
) -> tuple[Notice, ...]:
    """One notice for each target that wants this report; none of a task that is reported with its batch only. A target
    that can show pictures gets its notice when the archive has them, or after `picture_wait_ms`: those of the report,
    or others that the message `awaits_pictures` of.

    If all the targets that a task names are gone from the settings, the task is treated as if it named none.
    """
    if task.quiet:
        return ()
    with_pictures = now + policy.picture_wait_ms if report.images or awaits_pictures else now
    if task.targets and not any(target.name in task.targets for target in policy.targets):
        task = replace(task, targets=None)
    return tuple(
        Notice(
            target=target.name,
            event=report.event,
            report=report,
            created_at=now,
            due_at=with_pictures if target.shows_pictures else now,
            ref=report.ref,
        )
        for target in policy.targets
        if report.event in target.on and wants_task(task, target)
    )


def pause_task(task: Task, due_at: int, why: str | None = None) -> Task:
    """The task back in the queue while the provider refuses our key or our balance."""
    return replace(requeue_task(task, due_at, why), held_by=HoldReason.PAUSE)


def requeue_task(task: Task, due_at: int, why: str | None = None) -> Task:
    """The task back in its place in the queue after a submission that the provider certainly did not take, for the
    reason `why`."""
    return replace(
        task,
        state=TaskState.QUEUED,
        held_by=None,
        unsure=False,
        reserved=None,
        spend_day=None,
        submitted_at=None,
        lease_until=None,
        place_until=None,
        poll_at=None,
        due_at=due_at,
        why=why,
    )


def withdraw_task(task: Task, now: int) -> Task:
    """A queued task, cancelled by a person."""
    return replace(
        task,
        state=TaskState.CANCELLED,
        held_by=None,
        due_at=None,
        refused_at=None,
        settled_at=now,
        settled_by=OutcomeSource.PERSON,
    )


def _record_call(task: Task, policy: Policy, now: int) -> Task:
    """The task after a callback on its token: a queued task must have been submitted, a minted URL is in use."""
    if task.called_at is None:
        task = replace(task, called_at=now, submitted_at=task.submitted_at or now)
    return mark_unsure(task, now, policy.sweep_first_ms) if task.state is TaskState.QUEUED else task


def _apply_progress(task: Task, outcome: Outcome, source: OutcomeSource, now: int) -> Task:
    progress = outcome.progress
    if progress is None or (task.progress is not None and progress <= task.progress):
        progress = task.progress
    task_id = task.task_id or outcome.task_id
    found = task.unsure and task_id is not None
    moved = replace(
        drop_candidate(task, task_id or ""),
        task_id=task_id,
        model=task.model or outcome.model,
        progress=progress,
        unsure=task.unsure and not found,
        place_until=FOREVER if found and task.origin is TaskOrigin.SUBMITTED else task.place_until,
    )
    return note_status(moved, outcome, source, now)


def _duration_ms(task: Task, now: int) -> int | None:
    """Milliseconds since the submission; None if it was made elsewhere, since we do not know when."""
    if task.origin is not TaskOrigin.SUBMITTED or task.submitted_at is None:
        return None
    return max(0, now - task.submitted_at)


def wants_task(task: Task, target: Target) -> bool:
    """Whether the target gets notices of this task. A task that names targets goes to those, whatever their filters."""
    if task.targets is not None:
        return target.name in task.targets
    a_model = task.model is None or _any_match(target.models, task.model)  # unknown: it may match
    return a_model and _any_match(target.labels, task.label or "")


def _any_match(globs: Sequence[str], text: str) -> bool:
    return not globs or any(fnmatchcase(text, glob) for glob in globs)
