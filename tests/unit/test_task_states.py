"""How a task stands, and what a person can do about it from its page."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import HOUR, MINUTE, NOW, PICTURES, SECOND, a_ref, a_task
from receiver.core.queue_waits import QueueReason, QueueWait
from receiver.core.types import (
    ArchiveState,
    HoldReason,
    ImageCopy,
    OutcomeSource,
    Task,
    TaskOrigin,
    TaskState,
    Usage,
)
from receiver.web.pages.sentences import plain_text
from receiver.web.pages.task.states import TaskAct, TaskScene, describe_state, offered_acts

PARENT = a_task(TaskState.COMPLETED, label="shore", ref=a_ref())
DONE = a_task(
    TaskState.COMPLETED,
    settled_at=NOW + 58 * SECOND,
    settled_by=OutcomeSource.CALLBACK,
    usage=Usage(Decimal("0.05")),
    archive=ArchiveState.DONE,
)
KEPT = (ImageCopy(0, file="0.png"), ImageCopy(1, file="1.png"))


def scene(task: Task, **more: Any) -> TaskScene:
    return TaskScene(**{"task": task, "now": NOW + 3 * MINUTE, "images": PICTURES, "copies": KEPT, **more})


def line(task: Task, **more: Any) -> tuple[str, str, list[str]]:
    state = describe_state(scene(task, **more))
    return state.kind, state.word, [plain_text(it) for it in state.facts]


@pytest.mark.parametrize(
    ("task", "more", "expected"),
    [
        (DONE, {"told": ["slack", "me"]},
         ("good", "completed", ["09:20:58", "took 58 s", "$0.05", "told slack and me"])),
        (replace(DONE, usage=None), {}, ("good", "completed", ["09:20:58", "took 58 s"])),
        (replace(DONE, origin=TaskOrigin.MINTED), {}, ("good", "completed", ["09:20:58", "$0.05"])),
        (replace(DONE, confirmed=False), {"told": ["a"]},
         ("warn", "unconfirmed", ["09:20:58", "took 58 s", "$0.05", "told a"])),
        (replace(DONE, state=TaskState.FAILED, usage=None), {"told": ["a", "b", "c"]},
         ("bad", "failed", ["09:20:58", "after 58 s", "cost not reported", "told a, b and c"])),
        (replace(DONE, state=TaskState.FAILED, usage=None, settled_by=OutcomeSource.ANSWER), {},
         ("bad", "failed", ["09:20:58", "after 58 s", "nothing charged"])),
        (replace(DONE, state=TaskState.FAILED, usage=None), {"repeated": PARENT},
         ("bad", "failed", ["09:20:58", "after 58 s", "cost not reported", "submitted again as shore"])),
        (replace(DONE, state=TaskState.FAILED), {"told": ["a"] * 9 + list("bcde")},
         ("bad", "failed", ["09:20:58", "after 58 s", "$0.05", "told 5 targets"])),
        (replace(DONE, state=TaskState.FAILED, usage=None, confirmed=False), {},
         ("bad", "failed, unconfirmed", ["09:20:58", "after 58 s"])),
        (replace(DONE, state=TaskState.CANCELLED, usage=None), {},
         ("off", "cancelled", ["09:20:58", "cost not reported"])),
        (replace(DONE, state=TaskState.CANCELLED, usage=None, settled_by=OutcomeSource.PERSON, submitted_at=None), {},
         ("off", "cancelled", ["09:20:58", "nothing charged"])),
        (a_task(TaskState.LOST), {"lost_at": NOW + MINUTE, "told": ["a"]},
         ("warn", "lost", ["given up 09:21:00", "told a"])),
        (a_task(TaskState.LOST), {}, ("warn", "lost", [])),
        (a_task(TaskState.SUBMITTING), {}, ("busy", "being submitted", [])),
        (a_task(progress=0.62), {"usual_ms": 58_000}, ("busy", "waiting, 62 %", ["for 3 min, usually 58 s"])),
        (a_task(), {}, ("busy", "waiting", ["for 3 min"])),
        (a_task(unsure=True), {}, ("warn", "unsure", ["waits for its callback"])),
        (a_task(unsure=True), {"now": NOW + HOUR}, ("warn", "unsure", ["needs you"])),
        (a_task(TaskState.QUEUED), {"wait": QueueWait(QueueReason.PARENT), "parent": PARENT},
         ("hold", "held", ["waits for shore"])),
        (a_task(TaskState.QUEUED), {"wait": QueueWait(QueueReason.PICK), "parent": PARENT},
         ("hold", "held", ["waits until a picture of shore is picked"])),
        (a_task(TaskState.QUEUED), {"wait": QueueWait(QueueReason.KEY)},
         ("hold", "paused", ["the provider refuses our key or balance"])),
        (a_task(TaskState.QUEUED, held_by=HoldReason.PERSON), {"wait": QueueWait(QueueReason.PERSON)},
         ("warn", "queued", ["needs you"])),
        (a_task(TaskState.QUEUED), {"wait": QueueWait(QueueReason.TURN)}, ("hold", "queued", [])),
    ],
)  # fmt: skip
def test_the_line_below_the_title(task: Task, more: dict[str, Any], expected: tuple[str, str, list[str]]) -> None:
    assert line(task, **more) == expected


def test_how_far_it_is_stays_within_bounds() -> None:
    for progress, percent in ((-0.5, 0), (0.005, 0), (0.62, 62), (7.0, 100)):
        assert describe_state(scene(a_task(progress=progress))).percent == percent


@pytest.mark.parametrize("state", list(TaskState))
def test_every_state_has_a_word_and_a_mark(state: TaskState) -> None:
    for task in (a_task(state), a_task(state, confirmed=False), a_task(state, unsure=True)):
        kind, word, _ = line(task, wait=QueueWait(QueueReason.TURN))
        assert kind in ("good", "bad", "warn", "hold", "busy", "off")
        assert word


@pytest.mark.parametrize(
    ("task", "more", "acts"),
    [
        (DONE, {}, "download share notify-again"),
        (DONE, {"has_targets": False}, "download share"),
        (DONE, {"copies": (KEPT[0], ImageCopy(1, error="gone"))}, "download share fetch-again notify-again"),
        (DONE, {"copies": (ImageCopy(0, error="gone"),)}, "fetch-again notify-again"),
        (replace(DONE, archive=ArchiveState.DUE), {"copies": (ImageCopy(0, error="late"),)}, "notify-again"),
        (replace(DONE, confirmed=False), {}, "download share poll notify-again"),
        (a_task(TaskState.FAILED), {}, "notify-again"),
        (a_task(TaskState.FAILED, confirmed=False), {}, "poll notify-again"),
        (a_task(TaskState.FAILED, confirmed=False), {"can_poll": False}, "notify-again"),
        (a_task(TaskState.LOST), {}, "poll notify-again"),
        (a_task(TaskState.LOST, task_id=None, unsure=True), {}, "resubmit task-id notify-again"),
        (a_task(TaskState.CANCELLED, settled_by=OutcomeSource.PERSON), {}, ""),
        (a_task(TaskState.CANCELLED, settled_by=OutcomeSource.PARENT), {}, ""),
        (a_task(TaskState.CANCELLED, settled_by=OutcomeSource.CALLBACK), {}, "notify-again"),
        (a_task(), {}, "poll"),
        (a_task(task_id=None), {}, "task-id"),
        (a_task(task_id=None, candidates=("x",)), {}, "poll task-id"),
        (a_task(task_id=None, unsure=True), {}, "resubmit task-id"),
        (a_task(task_id=None, unsure=True, origin=TaskOrigin.MINTED), {}, "task-id"),
        (a_task(TaskState.SUBMITTING), {}, ""),
        (a_task(TaskState.QUEUED), {}, "cancel"),
        (a_task(TaskState.QUEUED, held_by=HoldReason.PERSON), {}, "cancel resubmit"),
        (a_task(TaskState.QUEUED, held_by=HoldReason.SUSPECT), {}, "cancel resubmit"),
        (a_task(TaskState.QUEUED, held_by=HoldReason.PAUSE), {}, "cancel"),
    ],
)
def test_what_can_be_done(task: Task, more: dict[str, Any], acts: str) -> None:
    assert offered_acts(scene(task, **more)) == tuple(map(TaskAct, acts.split()))
