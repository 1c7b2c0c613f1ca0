"""What happens next to a task that a poll did not settle: it is settled unconfirmed, lost, asked about, polled again.

Pure: the sweep polls, applies the reply by `decide`, and then asks here.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.decide import FOREVER, mark_lost, settle_task, task_deadline
from receiver.core.hints import (
    DENIED_MOST,
    HintChoice,
    KeptHint,
    choose_hint,
    is_denied,
    next_id,
    polls_candidates,
    why_unconfirmed,
)
from receiver.core.schedule import HINT_LADDER, UNSURE_MOST, hint_gap, poll_gap
from receiver.core.types import (
    ConfirmMode,
    Decision,
    OutcomeSource,
    Policy,
    PollResult,
    Task,
    TaskOrigin,
    TaskState,
    Verdict,
)

START_GRACE_MS = 600_000  # after a start, before a task that cannot be polled is given up
_ANSWERS = frozenset({PollResult.OUTCOME, PollResult.UNKNOWN, PollResult.UNREADABLE})
_DISPUTED = "; other callbacks report another end, `receiver tasks show {}` lists them"


class PollNews(Struct, frozen=True):
    """What a poll brought."""

    asked_at: int
    result: PollResult | None  # None: no poll was possible
    is_running: bool  # the provider says that this task still runs
    fits: bool = True  # whether the reply can be about this task; if not, it says nothing
    dropped: bool = False  # the provider denied the id that was polled
    barred: bool = False  # no poll was possible, because the provider refuses our key


class NextStep(Struct, frozen=True):
    """What happens to a task that a poll did not settle: the decision, and the question for a person, if any."""

    decision: Decision
    ask: str | None = None


def decide_next_step(
    task: Task,
    news: PollNews,
    policy: Policy,
    now: int,
    *,
    first_ms: int,
    jitter: float,
    kept: Sequence[KeptHint] = (),
    trusted: bool = True,
) -> NextStep:
    """What happens to an unsettled `task` after a poll; `first_ms` is the model's expected time, `kept` are its stored
    hints.

    If `now` cannot be `trusted`, because the clock leapt, the deadline does not end the task yet, and a hint only once
    all its polls were made.

    1. A terminal hint that no poll could confirm or refute in time settles the task, or a person is asked. A poll
       that says "not finished" refutes the hint for now. If a callback could not be read, a person is asked then.
    2. Past its deadline the task is lost if a poll since then was answered without an end, whether it says "not
       finished", "unknown", an end that cannot be believed, or nothing that we can read; or if the task cannot be
       polled and this process has been receiving for ten minutes. Errors postpone it.
    3. If an unsure task's place has run out, a person is asked, once.
    4. Otherwise the task is polled again: soon after a hint, then in growing gaps.
    """
    ask: str | None = None
    if news.is_running:
        task = _hold_place(replace(task, refuted_at=news.asked_at))
    until = task.hint_until
    if until is not None:
        if news.is_running:
            task = replace(task, hint_until=now + policy.confirm_within_ms if _may_settle(task) else None)
        # more than `confirm_within_ms` ahead: the clock was set back
        elif not now < until <= now + policy.confirm_within_ms and (trusted or task.hint_step is None):
            choice = choose_hint(task, kept)
            if choice is not None and policy.confirm is ConfirmMode.MISMATCH:
                return NextStep(_settle_unconfirmed(task, choice, news, policy, now))
            ask = "unread" if choice is None else "disputed" if choice.disputed else "unconfirmed"
            task = replace(task, hint_until=None, place_until=None if choice else task.place_until)
    pollable = policy.can_poll and next_id(task) is not None
    past = now >= task_deadline(task, policy)
    pending = task.hint_until is not None and _may_settle(task) and not news.is_running
    if task.state is not TaskState.LOST and past and not pending and trusted and _has_no_end(task, news, policy, now):
        return NextStep(mark_lost(task, policy, now), ask)
    place = task.place_until
    # more than UNSURE_MOST ahead: the clock was set back
    run_out = place is not None and (place <= now or now + UNSURE_MOST < place < FOREVER)
    if run_out and task.unsure and task.origin is TaskOrigin.SUBMITTED:
        ask, task = ask or "unsure", replace(task, place_until=None)
    at_once = news.dropped and polls_candidates(task) and (past or len(task.denied) < DENIED_MOST)
    if at_once:
        task = replace(task, lease_until=None, poll_at=now)
    else:
        task = _schedule_next_poll(task, policy, now, first_ms, jitter, pollable=pollable)
    return NextStep(Decision(Verdict.HINT, task), ask)


def plan_recheck(task: Task, news: PollNews, policy: Policy, now: int, *, jitter: float) -> Task:
    """When a task whose end was not confirmed, and was contradicted since, is asked about again: in growing gaps until
    the provider has answered about each id, or past the deadline."""
    answered = news.result in _ANSWERS and not news.is_running
    left = polls_candidates(task) or not answered
    if not left or not policy.can_poll or next_id(task) is None or now >= task_deadline(task, policy):
        return replace(task, poll_at=None, lease_until=None)
    gap = poll_gap(task.poll_step, first=HINT_LADDER[-1], most=policy.sweep_max_ms, jitter=jitter)
    soon = news.dropped and len(task.denied) < DENIED_MOST
    return replace(task, poll_at=now if soon else now + gap, poll_step=task.poll_step + 1, lease_until=None)


def _has_no_end(task: Task, news: PollNews, policy: Policy, now: int) -> bool:
    """Whether a task past its deadline has been asked about by every id that there is, without an end; or cannot be."""
    answered = news.asked_at >= task_deadline(task, policy) and news.result in _ANSWERS
    if answered and polls_candidates(task):
        return False  # the other ids first
    if answered and news.fits:
        return True
    pollable = policy.can_poll and next_id(task) is not None
    return (answered or not pollable) and now >= policy.started_at + START_GRACE_MS


def _settle_unconfirmed(task: Task, choice: HintChoice, news: PollNews, policy: Policy, now: int) -> Decision:
    hint = choice.outcome
    why = why_unconfirmed(task, hint, news.result, policy, barred=news.barred)
    why += _DISPUTED.format(task.ref) if choice.disputed else ""
    if hint.task_id is not None and is_denied(task, hint.task_id):
        hint = replace(hint, task_id=None)
    return settle_task(task, hint, OutcomeSource.CALLBACK, policy, now, unconfirmed=why)


def _may_settle(task: Task) -> bool:
    """Whether there is a hint that settles the task if no poll refutes it; a lost one is not settled that way twice."""
    return task.state is not TaskState.LOST and task.hint is not None and task.hint.is_terminal


def _hold_place(task: Task) -> Task:
    """A task that the provider works on holds its place, even if a doubted end had freed it."""
    ours = task.origin is TaskOrigin.SUBMITTED and task.state is TaskState.WAITING
    return replace(task, place_until=FOREVER) if ours and not task.unsure else task


def _schedule_next_poll(task: Task, policy: Policy, now: int, first_ms: int, jitter: float, *, pollable: bool) -> Task:
    ends = [task_deadline(task, policy), task.hint_until, task.place_until]
    if not pollable:
        ends.append(policy.started_at + START_GRACE_MS)
    task = replace(task, lease_until=None)
    step = task.hint_step
    gap = hint_gap(step + 1) if step is not None else None
    if step is not None and gap is not None:
        task = replace(task, hint_step=step + 1)
    else:
        task = replace(task, hint_step=None)
        if task.state is TaskState.LOST and task.hint_until is None:
            return replace(task, poll_at=None)
        if pollable:
            gap = poll_gap(task.poll_step, first=first_ms, most=policy.sweep_max_ms, jitter=jitter)
            task = replace(task, poll_step=task.poll_step + 1)
    times = [at for at in ends if at is not None and at > now]
    if gap is not None and polls_candidates(task):
        gap //= len(task.candidates) + (task.task_id is not None)  # so that each is polled as often as one alone
    if gap is not None or not times:
        times.append(now + (gap if gap is not None else policy.sweep_max_ms))
    return replace(task, poll_at=min(times))
