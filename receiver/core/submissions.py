"""What follows from the answer to a submission that the provider did not take. Pure.

A refusal may be about one task (its prompt) or about all of them (key, balance, permission), and its words do not
always say which. Then the task is a suspect: it steps aside, and the next queued task is the witness. If the witness is
taken, the refusal was the suspect's own; if it is refused too, all submissions pause. Nobody waits for a suspect.
"""

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.decide import pause_task, requeue_task
from receiver.core.sanitize import one_line
from receiver.core.schedule import probe_gap
from receiver.core.types import HoldReason, RefusalCause, Step, StepKind, SubmitAnswer, SubmitResult, Task

BUSY_TRIES_MOST = 8  # submissions of one task that the provider was too busy for, though it took others in between
TOO_MANY_TRIES_MOST = 20  # the same, answered 429
PROBE_LATER = 1_000  # ms after the probe; another task makes that
REFUSALS_MOST = 6  # refusals of one task that nobody could tell from a refusal of all
ALIKE_LEAST = 3  # tasks refused in different words, none taken: that is shared too
STEP_TEXT_MOST = 300


class NextAction(Enum):
    """What happens to a task that the provider did not take."""

    UNSURE = "unsure"  # it may have been taken after all
    REQUEUE = "requeue"
    FAIL = "fail"  # the refusal is the task's own
    SUSPECT = "suspect"  # perhaps its own: the next task shows it
    ASIDE = "aside"  # it says that all are refused, but others are taken
    PAUSE = "pause"  # all are refused
    ASK = "ask"  # a person has to say


class RefusalScene(Struct, frozen=True):
    """What else is known when a task is refused. Times are those at which the requests were sent."""

    sent_at: int
    taken_at: int  # the newest submission that was taken; 0: none
    now: int
    breaker_open: bool  # submissions are paused, and this was a probe
    alone: bool = True  # the answer before this one was not that the provider is busy
    others: Sequence[Task] = ()  # other queued tasks whose refusal is not explained yet


def choose_action(task: Task, answer: SubmitAnswer, scene: RefusalScene) -> NextAction:
    """What happens to `task`, whose submission got `answer`, which is not that it was taken."""
    if task.called_at is not None:  # a callback came on its URL, so somebody took it
        return NextAction.UNSURE
    match answer.result:
        case SubmitResult.REFUSED:
            return NextAction.FAIL
        case SubmitResult.NOT_SENT:
            return NextAction.REQUEUE
        case SubmitResult.BUSY:
            most = TOO_MANY_TRIES_MOST if answer.too_many else BUSY_TRIES_MOST
            return NextAction.ASK if count_busy(task, scene) >= most else NextAction.REQUEUE
        case SubmitResult.UNAUTHORIZED:
            return _judge_refusal(task, answer, scene)
    return NextAction.UNSURE


def count_busy(task: Task, scene: RefusalScene) -> int:
    """How often the provider was too busy for this task though it had taken another just before: only that may be the
    task's own fault."""
    return task.tries + (1 if scene.alone else 0)


def _judge_refusal(task: Task, answer: SubmitAnswer, scene: RefusalScene) -> NextAction:
    if scene.breaker_open:
        return NextAction.PAUSE
    used_up = task.refusals + 1 >= REFUSALS_MOST
    since = task.refused_at
    if since is None and answer.may_be_own and answer.cause is None:
        since = scene.sent_at  # one that was sent later and taken is a witness
    if since is not None and since <= scene.taken_at <= scene.now:
        if answer.may_be_own or answer.cause is RefusalCause.PERMISSION:
            return NextAction.FAIL
        return NextAction.ASK if used_up else NextAction.ASIDE
    if not answer.may_be_own or _is_shared(answer, scene.others):
        return NextAction.PAUSE
    if used_up:
        return NextAction.ASK
    return NextAction.SUSPECT if answer.cause is None else NextAction.ASIDE


def _is_shared(answer: SubmitAnswer, others: Sequence[Task]) -> bool:
    """Whether others were refused in the same words, or several in any."""
    words = answer.error and answer.error.message
    alike = any(it.error is not None and it.error.message == words for it in others)
    return alike or len(others) + 1 >= ALIKE_LEAST


def is_refused(task: Task) -> bool:
    """Whether the task waits with a refusal that is not explained yet."""
    return task.refused_at is not None and task.held_by in (HoldReason.SUSPECT, HoldReason.PAUSE)


def step_aside(task: Task, answer: SubmitAnswer, scene: RefusalScene, *, suspect: bool) -> Task:
    """The refused task back in the queue, behind those that are due, until it probes for itself. A refusal whose words
    speak of what all share is explained only by a task sent after it."""
    return replace(
        requeue_task(task, scene.now + probe_gap(task.refusals), answer.text),
        held_by=HoldReason.SUSPECT if suspect else HoldReason.PAUSE,
        error=answer.error,
        refused_at=scene.sent_at if suspect else scene.now,
        refusals=task.refusals + 1,
    )


def own_probe_at(refusals: int, now: int) -> int:
    """When a task that was refused like all others goes out again: a little after the probe, which another task makes
    if there is one. It keeps its turn, so it would be the probe again and again, and it may be the only one refused."""
    return now + probe_gap(refusals) + PROBE_LATER


def pause_refused(task: Task, answer: SubmitAnswer, due_at: int, now: int) -> Task:
    """The task back in the queue while the provider refuses all of them. It uses up no try."""
    return replace(pause_task(task, due_at, answer.text), error=answer.error, refused_at=now)


def hold_for_person(task: Task, answer: SubmitAnswer, scene: RefusalScene) -> Task:
    """The task held until a person submits it again or cancels it."""
    held = replace(requeue_task(task, scene.now, answer.text), held_by=HoldReason.PERSON, due_at=None)
    tries = count_busy(task, scene) if answer.result is SubmitResult.BUSY else task.tries
    return replace(held, error=answer.error, refused_at=None, tries=tries)


def without_refusal(task: Task) -> Task:
    """The task once it was sent after all: what was refused before no longer counts."""
    return replace(task, error=None, why=None, refused_at=None, refusals=0)


def describe_try(ref: str, answer: SubmitAnswer, action: NextAction, now: int) -> list[Step]:
    """What is noted of a submission that did not bring the task to the provider, or perhaps not; nothing if it ended
    the task, which then says so itself."""
    if action is NextAction.FAIL:
        return []
    kind = StepKind.REFUSED if answer.result is SubmitResult.UNAUTHORIZED else StepKind.PUT_BACK
    if action is NextAction.UNSURE:
        kind = StepKind.UNSURE
    return [Step(ref, now, kind, one_line(answer.text, STEP_TEXT_MOST))]
