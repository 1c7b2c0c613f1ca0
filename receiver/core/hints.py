"""What is kept of an outcome that is not believed: the hint, what it said, and the ids to poll the task by. Pure.

Everything that a callback brings may come from someone who merely knows the URL. So the ids it names are candidates:
each is polled until the provider denies it, and none of them hides another.
"""

import hashlib
from collections.abc import Iterable, Sequence
from enum import IntEnum

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.schedule import UNSURE_MOST
from receiver.core.types import (
    Ending,
    HintNote,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    Policy,
    PollResult,
    Task,
    TaskOrigin,
    TaskState,
)

CANDIDATES_MOST = 8  # ids that are polled in turn
DENIED_MOST = 64  # ids that are not taken again; after so many, a new one no longer brings its poll forward
_SLACK_MS = 10_000  # a callback is stamped before the transaction that calls its task submitted


class HintRank(IntEnum):
    """How much a hint says about the end. A hint is replaced only by one of a higher rank, or by later progress."""

    PROGRESS = 0
    UNREADABLE = 1  # it may be the end
    DOUBTED = 2  # it says that the task ended, but cannot be believed
    END = 3


class KeptHint(Struct, frozen=True, gc=False):
    """A stored callback that was a hint, parsed again."""

    received_at: int
    outcome: Outcome


class HintChoice(Struct, frozen=True, gc=False):
    """The hint that may settle its task, and whether other hints report another end."""

    outcome: Outcome
    disputed: bool = False


def add_hint(
    task: Task,
    outcome: Outcome | None,
    policy: Policy,
    now: int,
    *,
    source: OutcomeSource = OutcomeSource.CALLBACK,
    digest: bytes | None = None,
) -> Task:
    """The task with the hint kept and a poll due at once.

    The first hint starts the hint's polls, and so does the first of each higher rank. The oldest end stays the hint: a
    later one may come from anyone. A doubted end frees the task's place, because the provider may well have finished;
    after a body that nobody can read the place is held for a while longer.
    """
    rank = _rank_outcome(outcome)
    fresh = task.hint is None and task.hint_step is None
    matters = rank > HintRank.UNREADABLE or (rank is HintRank.UNREADABLE and task.state is not TaskState.LOST)
    risen = matters and rank > _kept_rank(task)
    kept = _replace_hint(task, outcome, make_note(outcome, source, digest))
    place = task.place_until
    if rank is HintRank.DOUBTED:
        place = None
    elif rank is HintRank.UNREADABLE and place is not None:
        place = min(place, now + UNSURE_MOST)
    kept = replace(
        kept,
        place_until=place,
        doubted_at=now if rank is HintRank.DOUBTED and task.doubted_at is None else task.doubted_at,
    )
    before = kept.candidates
    if source is OutcomeSource.CALLBACK and outcome is not None:
        kept = add_candidate(kept, outcome, policy, now)
    until = task.hint_until
    if risen:
        until = None if rank is HintRank.DOUBTED else now + policy.confirm_within_ms
    news = kept.candidates is not before and polls_candidates(kept) and len(kept.denied) < DENIED_MOST
    if not (fresh or risen or news):
        return kept
    soon = now if policy.can_poll else until
    return replace(
        kept,
        hint_step=0 if fresh or risen else task.hint_step,
        hint_until=until,
        poll_at=min(filter(None, (soon, task.poll_at)), default=None),
    )


def add_unreadable_reply(task: Task, now: int) -> Task:
    """The task after a reply that says nothing we can read: it may well have ended, so its place is limited."""
    place = task.place_until
    silent = task.hint_note is None or task.hint_note.ending is Ending.RUNNING
    return replace(
        task,
        place_until=None if place is None else min(place, now + UNSURE_MOST),
        hint_note=HintNote("", OutcomeSource.POLL) if silent else task.hint_note,
    )


def note_status(task: Task, outcome: Outcome, source: OutcomeSource, now: int) -> Task:
    """The task after a status that says no end. One that we do not know may be an end all the same: its place is
    limited then, and what was said is remembered until a status comes that we know."""
    told = task.hint_note is not None and task.hint_note.ending is not Ending.RUNNING
    noted = task.hint_note is not None and task.hint_note.doubt is not None
    if not outcome.unknown_status:
        return replace(task, hint_note=None) if noted and not told else task
    place = task.place_until
    note = HintNote(outcome.status, source, Ending.RUNNING, "receiver does not know this status")
    return replace(
        task,
        place_until=None if place is None else min(place, now + UNSURE_MOST),
        hint_note=task.hint_note if told or note == task.hint_note else note,
    )


def forget_confirmed_hint(task: Task) -> Task:
    """The task without its hint, if that only says what the provider's own id now makes believable: it needs no poll.

    To be called once the provider has given us the id; the callback itself is then applied.
    """
    hint = task.hint
    if hint is None or hint.task_id is None or hint.task_id != task.task_id or hint.shape is not OutcomeShape.TASK:
        return task
    unread = task.hint_note is not None and task.hint_note.ending is None
    if unread or task.candidates or hint.why_doubted is not None:
        return task
    return replace(task, **dict.fromkeys(("hint", "hint_note", "hint_step", "hint_until")))


def believable_hints(task: Task, kept: Iterable[KeptHint]) -> list[KeptHint]:
    """Those of the task's stored hints that have the id which the provider has given us since."""
    return [
        it
        for it in kept
        if it.outcome.task_id is not None
        and it.outcome.task_id == task.task_id
        and it.outcome.shape is OutcomeShape.TASK
        and it.outcome.why_doubted is None
        and it.received_at >= hints_since(task)
    ]


def add_candidate(task: Task, outcome: Outcome, policy: Policy, now: int) -> Task:
    """The task with the outcome's id among its candidates, if that may be the provider's id of the task.

    A denied id is not taken again. If eight are undecided, a new one waits until one of them is denied. Past the
    deadline no more are taken from someone who has already made up so many.
    """
    task_id = outcome.task_id
    if task_id is None or outcome.shape is not OutcomeShape.TASK or task_id == task.task_id:
        return task
    if len(task.denied) >= DENIED_MOST and now >= (task.submitted_at or task.created_at) + policy.deadline_ms:
        return task
    return add_candidate_id(task, task_id)


def add_candidate_id(task: Task, task_id: str) -> Task:
    """The task with this id among its candidates, unless all places are taken or it was denied."""
    if task_id in task.candidates or len(task.candidates) >= CANDIDATES_MOST or is_denied(task, task_id):
        return task
    return replace(task, candidates=(*task.candidates, task_id))


def take_reply(task: Task, task_id: str, result: PollResult, *, fits: bool, past_deadline: bool) -> Task:
    """The task after a reply to a poll by `task_id`; `fits` if the reply can be about this task.

    Only the provider drops a candidate: by denying it. One that turns out to be another task gives up its place when
    all places are taken. Past the deadline each candidate that was answered about has had its chance.
    """
    misfit = result is PollResult.OUTCOME and not fits
    if result is PollResult.UNKNOWN or (misfit and task_id == task.task_id):
        return deny_id(task, task_id)
    if result is PollResult.OUTCOME and fits:
        task = allow_id(task, task_id)
    had_its_chance = past_deadline and (misfit or result is PollResult.UNREADABLE)
    if task_id in task.candidates and (had_its_chance or (misfit and len(task.candidates) >= CANDIDATES_MOST)):
        return deny_id(task, task_id)
    return put_last(task, task_id)


def deny_id(task: Task, task_id: str) -> Task:
    """The task once the provider said that it does not know this id."""
    digest = _digest_id(task_id)
    if digest not in task.denied:
        task = replace(task, denied=(*task.denied, digest)[-DENIED_MOST:])
    return drop_candidate(task, task_id)


def allow_id(task: Task, task_id: str) -> Task:
    """The task once the provider does know this id."""
    digest = _digest_id(task_id)
    return replace(task, denied=tuple(it for it in task.denied if it != digest)) if digest in task.denied else task


def drop_candidate(task: Task, task_id: str) -> Task:
    """The task without this candidate."""
    if task_id not in task.candidates:
        return task
    return replace(task, candidates=tuple(it for it in task.candidates if it != task_id))


def put_last(task: Task, task_id: str) -> Task:
    """The task with this candidate behind the others, because it had its turn."""
    if task_id not in task.candidates:
        return task
    return replace(task, candidates=(*(it for it in task.candidates if it != task_id), task_id))


def is_denied(task: Task, task_id: str) -> bool:
    """Whether the provider said that it does not know this id."""
    return bool(task.denied) and _digest_id(task_id) in task.denied


def polls_candidates(task: Task) -> bool:
    """Whether the candidates are polled: while no id is known, or the known one is denied."""
    return bool(task.candidates) and (task.task_id is None or is_denied(task, task.task_id))


def next_id(task: Task) -> str | None:
    """The id to poll by: the task's own; while that is unknown or denied, the candidates in turn."""
    if not polls_candidates(task) or (task.task_id is not None and task.polls % 2 == 0):
        return task.task_id
    return task.candidates[0]


def hints_since(task: Task) -> int:
    """When the hints of the task begin to count: those from before it was submitted again do not."""
    if task.origin is not TaskOrigin.SUBMITTED or task.submitted_at is None:
        return 0
    return task.submitted_at - _SLACK_MS


def choose_hint(task: Task, kept: Iterable[KeptHint]) -> HintChoice | None:
    """The end that may settle the task unconfirmed: the oldest that no poll refuted; None if there is no end.

    `kept` are the task's stored hints, oldest first. A poll refutes an end if it says later that the task still runs,
    or if it denies the id in it.
    """
    ends = [it for it in kept if it.outcome.is_terminal]
    if task.hint is not None and task.hint.is_terminal:
        known = replace(task.hint, task_id=None)  # it loses an id that turns out to be another task's
        if all(replace(it.outcome, task_id=None) != known for it in ends):
            ends.insert(0, KeptHint(0, task.hint))
    standing = [it.outcome for it in ends if not _is_refuted(task, it)] or [it.outcome for it in ends]
    if not standing:
        return None
    first, *others = standing
    return HintChoice(first, any(_says(it) != _says(first) for it in others))


def describe_hint(note: HintNote | None) -> str | None:
    """What was heard and why it did not count, in a sentence; None if nothing was heard of an end."""
    if note is None or (note.ending is Ending.RUNNING and note.doubt is None):
        return None
    who = "The provider's answer to a poll" if note.source is OutcomeSource.POLL else "A callback"
    if note.source is OutcomeSource.ANSWER:
        who = "The provider's answer to the submission"
    if note.ending is None:
        return f"{who} could not be read."
    return f"{who} said “{note.status or note.ending.value}”, but {note.doubt or 'no poll has confirmed it'}."


def why_unconfirmed(task: Task, hint: Outcome, result: PollResult | None, policy: Policy, *, barred: bool) -> str:
    """Why no poll confirmed a hint: the end of “a callback reports this, but …”; `result` is that of the last poll."""
    if not policy.can_poll:
        return "PROVIDER_KEY is not set, so the provider could not be asked"
    if hint.task_id is not None and is_denied(task, hint.task_id):
        return f"the provider does not confirm the id in it, {hint.task_id}"
    if result is None:
        if barred:
            return "the provider refuses our key"
        if task.denied:
            return "the provider confirms none of the ids that callbacks named"
        return "the provider could not be asked, because its id of the task is unknown"
    return _WHY_UNCONFIRMED[result]


_WHY_UNCONFIRMED = {
    PollResult.OUTCOME: "the provider's own answer does not confirm it",
    PollResult.UNKNOWN: "the provider does not know the task",
    PollResult.UNAUTHORIZED: "the provider refuses our key",
    PollResult.BUSY: "the provider was too busy to answer",
    PollResult.UNREADABLE: "the provider's answer could not be read",
    PollResult.NOTHING: "the provider did not answer",
}


def _replace_hint(task: Task, outcome: Outcome | None, note: HintNote) -> Task:
    """The task with this hint if it says more than the one before; later progress replaces progress."""
    rank = _rank_outcome(outcome)
    known = HintRank.PROGRESS if task.hint_note is None else _rank_note(task.hint_note)
    if outcome is None:
        return replace(task, hint_note=note) if rank > known else task
    if task.hint is not None:
        before = _rank_outcome(task.hint)
        if rank < before or (rank == before and rank is not HintRank.PROGRESS):
            return task
    return replace(task, hint=outcome, hint_note=note if rank >= known else task.hint_note)


def make_note(outcome: Outcome | None, source: OutcomeSource, digest: bytes | None) -> HintNote:
    """What is remembered of a hint; None could not be read."""
    if outcome is None:
        return HintNote("", source, digest=digest)
    return HintNote(outcome.status, source, outcome.ending, outcome.why_doubted, digest)


def _rank_outcome(outcome: Outcome | None) -> HintRank:
    if outcome is None:
        return HintRank.UNREADABLE
    if not outcome.says_end:
        return HintRank.PROGRESS
    return HintRank.END if outcome.is_terminal else HintRank.DOUBTED


def _rank_note(note: HintNote) -> HintRank:
    if note.ending is None and note.source is OutcomeSource.CALLBACK:
        return HintRank.UNREADABLE
    if note.ending is None or note.ending is Ending.RUNNING:
        return HintRank.PROGRESS
    return HintRank.END if note.doubt is None else HintRank.DOUBTED


def _kept_rank(task: Task) -> HintRank:
    """The rank of what is kept; a lost task begins anew."""
    if task.hint is not None:
        rank = _rank_outcome(task.hint)
        return max(rank, _rank_note(task.hint_note)) if task.hint_note and task.state is not TaskState.LOST else rank
    if task.hint_note is None or task.state is TaskState.LOST:
        return HintRank.PROGRESS
    return _rank_note(task.hint_note)


def _is_refuted(task: Task, kept: KeptHint) -> bool:
    if task.refuted_at is not None and kept.received_at <= task.refuted_at:
        return True
    return kept.outcome.task_id is not None and is_denied(task, kept.outcome.task_id)


def _says(outcome: Outcome) -> tuple[Ending, Sequence[str]]:
    """What two ends must share to agree: the ending, and the pictures without the signatures of their links."""
    return outcome.ending, sorted(image.url.partition("?")[0] for image in outcome.images)


def _digest_id(task_id: str) -> str:
    return hashlib.blake2b(task_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
