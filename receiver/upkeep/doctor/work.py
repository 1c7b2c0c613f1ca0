"""Checks the newest tasks and notices for what needs a person: the service may be well, and yet notify nobody.

Pure: `receiver doctor` asks the API for them. What continues by itself is not a finding.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from receiver.client.queue_schemas import QueueView
from receiver.client.schemas import NoticeView, TaskView
from receiver.core.local_time import format_local
from receiver.core.pacing import WaitReason
from receiver.core.queue_waits import QueueReason, describe_wait, reason_for, resume_command
from receiver.core.schedule import UNSURE_MOST
from receiver.core.types import NoticeEvent, TaskOrigin, TaskState
from receiver.upkeep.doctor.findings import Finding, ok, warning

LOOKED_MOST = 100  # of each kind, the newest
_NAMED_MOST = 3
STOPPED: dict[str, str] = {
    QueueReason.NO_KEY: "set PROVIDER_KEY where the service runs",
    QueueReason.KEY: "fix that, and submissions resume by themselves",
    QueueReason.PRICE: "set it under [prices] in receiver.toml, and restart the service",
    QueueReason.DOWN: "check the network and PROVIDER_URL; once it answers, submissions resume by themselves",
}
"""What stops all submissions, or those of a model, and what to do about it. What passes by itself is not among it."""
_SETTLING = timedelta(milliseconds=UNSURE_MOST)  # within this time a callback probably settles it
_OF_INTEREST = timedelta(days=7)  # how long we keep reporting a lost task


class WorkSnapshot(Struct, frozen=True):
    """What the API listed: up to `LOOKED_MOST` each."""

    dead: Sequence[NoticeView]
    due: Sequence[NoticeView]
    queued: Sequence[TaskView]
    waiting: Sequence[TaskView]
    lost: Sequence[TaskView]
    newest: Sequence[NoticeView] = ()  # whatever their state
    targets: Collection[str] | None = None  # the names in the service's settings, if they are ours to read
    queue: QueueView | None = None


def check_work(seen: WorkSnapshot, now: datetime) -> Iterator[Finding]:
    """A warning for each kind of thing that needs a person, with the command that shows more or fixes it."""
    held = [it for it in seen.queued if _waits_for(it) == QueueReason.PERSON]
    unsure = [it for it in (*seen.waiting, *seen.lost) if _is_unsure(it, now)]
    doubted = [it for it in (*seen.waiting, *seen.lost) if _is_doubted(it, now)]
    told = {it.ref for it in (*held, *unsure, *doubted)}
    others = {it.ref for it in (*seen.queued, *seen.waiting, *seen.lost)} - told
    found = [
        *_check_dead(seen.dead, seen.targets),
        *_check_resting(seen.due),
        *_check_stopped(seen.queued),
        *(_check_queue(seen.queue) if seen.queue is not None else ()),
        *_check_held(held),
        *_check_unsure(unsure),
        *_check_doubted(doubted),
        *_check_asked(seen.newest, others, now),
    ]
    yield from found or [ok("no ping was given up, and no task needs a person")]


def _check_dead(dead: Sequence[NoticeView], targets: Collection[str] | None) -> Iterator[Finding]:
    if dead:
        text = f"{_count_text(len(dead), 'ping')} given up: {_by_target(dead)}"
        gone = [] if targets is None else list(dict.fromkeys(it.target for it in dead if it.target not in targets))
        them = f"those to targets that are gone ({', '.join(gone)})" if gone else ""
        if gone and all(it.target in gone for it in dead):
            them = "them: their target is gone" if len(gone) == 1 else "them: their targets are gone"
            remedy = f"`receiver notices redrive --to NAME` sends {them}"
        else:
            remedy = "see why with `receiver notices list --state dead`, then send them with `receiver notices redrive`"
            remedy += f", and {them} with `--to NAME`" if gone else ""
        yield warning(text, f"{remedy}; `receiver notices discard` gives up what you do not want")


def _check_resting(due: Sequence[NoticeView]) -> Iterator[Finding]:
    if resting := [it for it in due if it.waits_for == WaitReason.REST]:
        names = sorted({it.target for it in resting})
        verb = "is" if len(names) == 1 else "are"
        text = f"{', '.join(names)} {verb} paused after failures; pings waiting: {_by_target(resting)}"
        yield warning(text, f"see why with `receiver notices list --target {names[0]} --history`; it resumes by itself")


def _check_stopped(queued: Sequence[TaskView]) -> Iterator[Finding]:
    """What stops all submissions, in the words of the tasks that wait for it."""
    for why, remedy in STOPPED.items():
        if behind := [it for it in queued if _waits_for(it) == why]:
            since = min((it.waits_since for it in behind if it.waits_since), default=None)
            until = min((it.waits_until for it in behind if it.waits_until), default=None)
            words = describe_wait(why, _clock_time(since), _clock_time(until))
            remedy += "; see `receiver tasks list --state queued`" if why == QueueReason.KEY else ""
            yield warning(f"{_count_text(len(queued), 'task')} queued: {words}", remedy)


def _check_queue(queue: QueueView) -> Iterator[Finding]:
    """What a person, a budget or failures have stopped, so that only a person lets it go on for now."""
    queued = _count_text(sum(lane.queued for lane in queue.lanes), "task", exact=True)
    if queue.waits_for == QueueReason.PAUSED:
        since = f" since {_clock_time(queue.paused_at)}" if queue.paused_at else ""
        yield warning(f"submitting is paused{since}; {queued} queued", "`receiver queue resume` lets it go on")
    elif queue.waits_for == QueueReason.BUDGET and queue.waits_until and queue.lanes:
        words = describe_wait(queue.waits_for, until=_clock_time(queue.waits_until), detail=queue.waits_detail)
        yield warning(f"{queued} queued: {words}", "see `receiver costs`")
    paused = [lane for lane in queue.lanes if lane.batch and lane.paused_at]
    if len(paused) == 1:
        [lane] = paused
        why = lane.paused_why or "by a person"
        yield warning(
            f"the batch {lane.name} is paused: {why}", f"`{resume_command(lane.name, lane.paused_by)}` lets it go on"
        )
    elif paused:
        names = ", ".join(lane.name for lane in paused[:_NAMED_MOST])
        more = f" and {len(paused) - _NAMED_MOST} more" if len(paused) > _NAMED_MOST else ""
        yield warning(
            f"{len(paused)} batches are paused: {names}{more}",
            "see why with `receiver queue show`",
        )


def _check_held(held: Sequence[TaskView]) -> Iterator[Finding]:
    if held:
        verb, them = ("waits", "it") if len(held) == 1 else ("wait", "them")
        text = f"{_count_text(len(held), 'task')} {verb} for you: the provider did not take {them}, again and again"
        yield warning(text, _see(held[0].ref))


def _check_unsure(unsure: Sequence[TaskView]) -> Iterator[Finding]:
    if unsure:
        them = "it" if len(unsure) == 1 else "them"
        text = f"{_count_text(len(unsure), 'task')} unsure: the provider may or may not have taken {them}"
        yield warning(text, _see(unsure[0].ref))


def _check_doubted(doubted: Sequence[TaskView]) -> Iterator[Finding]:
    if doubted and (hint := doubted[0].hint):
        text = f"{_count_text(len(doubted), 'task')} may have ended, but what says so does not count: {hint.text}"
        yield warning(text, _see(doubted[0].ref))


def _check_asked(newest: Sequence[NoticeView], others: Collection[str], now: datetime) -> Iterator[Finding]:
    """Other open tasks about which a ping called for a person."""
    asked = [it for it in newest if it.event == NoticeEvent.ATTENTION and it.ref in others]
    recent = [it for it in asked if now - datetime.fromisoformat(it.created_at) < _OF_INTEREST]
    if recent:
        text = (
            f"{_count_text(len({it.ref for it in recent}), 'open task')} that a ping called you for: {recent[0].text}"
        )
        yield warning(text, _see(str(recent[0].ref)))


def _waits_for(task: TaskView) -> str | None:
    return reason_for(task.waits_for, task.held_by)


def _is_unsure(task: TaskView, now: datetime) -> bool:
    """Whether a person was or will be asked about it; an adopted one cannot be sent again from here."""
    return task.unsure and task.origin == TaskOrigin.SUBMITTED and _is_stuck(task, _age(task, now))


def _is_doubted(task: TaskView, now: datetime) -> bool:
    """Whether it has probably ended, though what says so cannot be believed or read."""
    doubted = task.hint is not None and (task.hint.doubt is not None or task.hint.ending is None)
    return doubted and (task.state != TaskState.LOST or _age(task, now) < _OF_INTEREST)


def _see(ref: str) -> str:
    return f"see what you can do with `receiver tasks show {ref}`"


def _clock_time(moment: str | None) -> str | None:
    """The time of day on this machine, with its zone; with the date if it is a day or more off."""
    if moment is None:
        return None
    at = datetime.fromisoformat(moment)
    near = abs(at - datetime.now(UTC)) < timedelta(days=1)
    return format_local(at, "%H:%M:%S" if near else "%Y-%m-%d %H:%M")


def _age(task: TaskView, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(task.submitted_at or task.created_at)


def _is_stuck(task: TaskView, since: timedelta) -> bool:
    return since < _OF_INTEREST if task.state == TaskState.LOST else since > _SETTLING


def _by_target(notices: Sequence[NoticeView]) -> str:
    return ", ".join(f"{count} to {target}" for target, count in Counter(it.target for it in notices).most_common())


def _count_text(number: int, what: str, *, exact: bool = False) -> str:
    more = " or more" if number >= LOOKED_MOST and not exact else ""
    return f"{number:,}{more} {what}{'' if number == 1 else 's'}"
