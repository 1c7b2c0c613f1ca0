"""Checks the newest tasks and notices for what needs a person: the service may be well, and yet notify nobody.

Pure: `receiver doctor` asks the API for them. What continues by itself is not a finding.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from receiver.client.schemas import NoticeView, TaskView
from receiver.core.pacing import WaitReason
from receiver.core.schedule import UNSURE_MOST
from receiver.core.types import HoldReason, TaskOrigin, TaskState
from receiver.upkeep.doctor.findings import Finding, ok, warning

LOOKED_MOST = 100  # of each kind, the newest
_SETTLING = timedelta(milliseconds=UNSURE_MOST)  # within this time a callback probably settles it
_OF_INTEREST = timedelta(days=7)  # how long we keep reporting a lost task


class WorkSnapshot(Struct, frozen=True):
    """What the API listed: up to `LOOKED_MOST` each."""

    dead: Sequence[NoticeView]
    due: Sequence[NoticeView]
    queued: Sequence[TaskView]
    waiting: Sequence[TaskView]
    lost: Sequence[TaskView]


def check_work(seen: WorkSnapshot, now: datetime) -> Iterator[Finding]:
    """A warning for each kind of thing that needs a person, with the command that shows more or fixes it."""
    found = [
        *_check_dead(seen.dead),
        *_check_resting(seen.due),
        *_check_held(seen.queued),
        *_check_unsure([*seen.waiting, *seen.lost], now),
        *_check_doubted([*seen.waiting, *seen.lost], now),
    ]
    yield from found or [ok("no ping was given up, and no task needs a person")]


def _check_dead(dead: Sequence[NoticeView]) -> Iterator[Finding]:
    if dead:
        text = f"{_count_text(len(dead), 'ping')} given up: {_by_target(dead)}"
        remedy = "see why with `receiver notices list --state dead`, then send them with `receiver notices redrive`"
        yield warning(text, remedy)


def _check_resting(due: Sequence[NoticeView]) -> Iterator[Finding]:
    if resting := [it for it in due if it.waits_for == WaitReason.REST]:
        names = sorted({it.target for it in resting})
        verb = "is" if len(names) == 1 else "are"
        text = f"{', '.join(names)} {verb} paused after failures; pings waiting: {_by_target(resting)}"
        yield warning(text, f"see why with `receiver notices list --target {names[0]} --history`; it resumes by itself")


def _check_held(queued: Sequence[TaskView]) -> Iterator[Finding]:
    if any(it.held_by == HoldReason.PAUSE for it in queued):
        text = f"{_count_text(len(queued), 'task')} queued, because the provider refuses the key or the balance"
        yield warning(text, "fix that, and submissions resume by themselves; see `receiver tasks list --state queued`")
    if held := [it for it in queued if it.held_by == HoldReason.PERSON]:
        verb, them = ("waits", "it") if len(held) == 1 else ("wait", "them")
        text = f"{_count_text(len(held), 'task')} {verb} for you: the provider did not take {them}, again and again"
        yield warning(text, f"see what you can do with `receiver tasks show {held[0].ref}`")


def _check_unsure(tasks: Sequence[TaskView], now: datetime) -> Iterator[Finding]:
    """Unsure tasks that a person was or will be asked about; adopted ones cannot be sent again from here."""
    ours = [it for it in tasks if it.unsure and it.origin == TaskOrigin.SUBMITTED]
    if found := [it for it in ours if _is_stuck(it, _age(it, now))]:
        them = "it" if len(found) == 1 else "them"
        text = f"{_count_text(len(found), 'task')} unsure: the provider may or may not have taken {them}"
        yield warning(text, f"see what you can do with `receiver tasks show {found[0].ref}`")


def _check_doubted(tasks: Sequence[TaskView], now: datetime) -> Iterator[Finding]:
    """Tasks that have probably ended, though what says so cannot be believed or read."""
    found = [it for it in tasks if it.hint and (it.hint.doubt or it.hint.ending is None)]
    found = [it for it in found if it.state != TaskState.LOST or _age(it, now) < _OF_INTEREST]
    if found and (hint := found[0].hint):
        text = f"{_count_text(len(found), 'task')} may have ended, but what says so does not count: {hint.text}"
        yield warning(text, f"see what you can do with `receiver tasks show {found[0].ref}`")


def _age(task: TaskView, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(task.submitted_at or task.created_at)


def _is_stuck(task: TaskView, since: timedelta) -> bool:
    return since < _OF_INTEREST if task.state == TaskState.LOST else since > _SETTLING


def _by_target(notices: Sequence[NoticeView]) -> str:
    return ", ".join(f"{count} to {target}" for target, count in Counter(it.target for it in notices).most_common())


def _count_text(number: int, what: str) -> str:
    more = " or more" if number >= LOOKED_MOST else ""
    return f"{number}{more} {what}{'' if number == 1 else 's'}"
