"""Lets the children of a task go once it has ended: filled and queued, put up for a pick, or cancelled with it.

That a task's children are to be told is written with its end, and taken back with the last of them; so a process that
dies in between loses nothing. The children of many tasks share a transaction, and those of one may need several: what
follows from 256 failed chains must not hold up a callback. It also reminds people of picks that nobody makes.
"""

import logging
import time
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.chain_notices import cancelled_notices
from receiver.core.chains import DEPTH_MOST, NOT_PICKED, Followed, follow
from receiver.core.errors import StaleUpdate, StoreError
from receiver.core.schedule import is_paused
from receiver.core.types import (
    LOW_LANE,
    Clock,
    Decision,
    HoldReason,
    Image,
    ImageCopy,
    OutcomeSource,
    Policy,
    Task,
    TaskState,
    Verdict,
)
from receiver.notify.attention import raise_task_attention
from receiver.store import Store, Topic, Tx
from receiver.tasks.batch_ends import check_lanes, is_row, place_again
from receiver.tasks.fill_params import ImageUrl, choose_usable, make_filler
from receiver.tasks.pick_choice import describe_remedy
from receiver.tasks.settle import TaskBatch
from receiver.telemetry.metrics import Metrics

ROWS_MOST = 180  # that one transaction writes, as far as that can be said before
PARENTS_MOST = 24  # in one transaction
CHILDREN_LEAST, CHILDREN_MOST = 4, 64  # likewise
TURN_S = 0.010  # that a transaction should take; the longest take twice that
AGAIN_MS = 10_000  # after an error that nobody thought of
BUSY_MS = 100  # while others are at all that there is
REMIND_AFTER_MS = 2 * 86_400_000  # that a pick is open
REMIND_EVERY_MS = 3_600_000
REMIND_TURN = 50

_MISSING = (
    "{name} has completed, but {what}, so {count} of the tasks that go on from it cannot. It came with {came}. "
    "{remedy} To give up what waits, run `receiver tasks cancel {child}`."
)
_MISSING_MANY = (
    "{count} tasks completed within an hour without what others go on from, and only the first {singly} are reported "
    "one by one. `receiver tasks list --waits pick` lists what waits."
)
_OPEN = (
    "Nobody has picked a picture of {name} for two days, and {count} of the tasks that go on from it cannot. The "
    "provider may forget its jobs after a few days. Run `receiver tasks pick {ref} N`; to give up what waits, run "
    "`receiver tasks cancel {child}`."
)
_OPEN_MANY = (
    "For {count} tasks nobody has picked a picture for two days, and only the first {singly} are reported one by one. "
    "`receiver tasks list --waits pick` lists what waits."
)

log = logging.getLogger(__name__)


class _Scene(Struct, frozen=True):
    """What a turn knows of the tasks that have ended: these, those above them, and their pictures."""

    known: Mapping[str, Task]
    images: Mapping[str, Sequence[Image]]
    copies: Mapping[str, Sequence[ImageCopy]]
    now: int


class FollowLoop:
    """The loop that lets children go. `image_url` gives the public address of a file of the archive."""

    topic = Topic.FOLLOW
    width = 1
    grace_s = 5.0

    def __init__(self, store: Store, policy: Policy, clock: Clock, *, image_url: ImageUrl, metrics: Metrics) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._image_url = image_url
        self._metrics = metrics
        self._singly = False  # since an error: one parent a turn, so that one cannot hold up the others
        self._after = ""  # then: the last one
        self._again_at = 0
        self._remind_at = 0
        self._children = CHILDREN_MOST // 2  # in one transaction

    async def claim(self) -> str | None:
        """Take one turn, if there is something to `follow`; or say that it is time to `remind`. The turn is not left to
        `carry_out`, because it is all one transaction: if the store refuses that, the loop waits as after any claim."""
        now = self._clock()
        if is_paused(self._again_at, now, AGAIN_MS):
            return None
        if await self._store.chains.next_followups(1):
            await self._follow_or_pause()
            return "follow"
        if is_paused(self._remind_at, now, REMIND_EVERY_MS):
            return None
        self._remind_at = now + REMIND_EVERY_MS
        return "remind"

    async def carry_out(self, work: str) -> None:
        """Remind, if it is time; all else is done."""
        if work == "remind":
            await self._remind()

    async def next_due(self) -> int | None:
        """When the next reminder is due, or the next try."""
        return self._again_at if is_paused(self._again_at, self._clock(), AGAIN_MS) else self._remind_at

    async def _follow_or_pause(self) -> None:
        try:
            await self._follow()
        except StaleUpdate:  # a task changed meanwhile: the next turn decides again
            return
        except StoreError:
            raise
        except Exception:
            self._again_at = self._clock() + AGAIN_MS
            self._singly, self._after = True, self._after if self._singly else ""
            log.exception("the children of a task could not be told; trying again", extra={"action": "follow.fault"})

    async def _follow(self) -> None:
        """Tell some children, in one transaction."""
        async with self._store.write() as tx:
            began = time.monotonic()
            parents, after = (1, self._after) if self._singly else (PARENTS_MOST, "")
            refs = await tx.chains.claim_followups(parents, after)
            self._after = refs[-1] if refs else ""
            batch = await self._take_turn(tx, refs)
            await batch.write_back()
            picks = {it.lane for it in batch.tasks.values() if it.lane > LOW_LANE and it.held_by is HoldReason.PICK}
            if picks:
                await check_lanes(tx, picks, self._policy, self._clock())
        self._singly = self._singly and bool(refs)
        took_s = time.monotonic() - began
        slower = max(CHILDREN_LEAST, self._children // 2)
        self._children = slower if took_s > TURN_S else min(CHILDREN_MOST, self._children + 4)
        self._metrics.count_settled(batch.ended_tasks)
        if batch.tasks:
            counts = f"{len(batch.tasks)} tasks that waited for {len(refs)} others were told"
            log.info(counts, extra={"action": "follow.turn"})

    async def _take_turn(self, tx: Tx, refs: Sequence[str]) -> TaskBatch:
        """Decide about as many children of these tasks as fit the turn, and note which tasks are done with."""
        parents, busy = await tx.chains.lock_ended(refs) if refs else ({}, set())
        if len(busy) == len(refs) and not self._singly:
            self._again_at = self._clock() + BUSY_MS
        over = {ref: task for ref, task in parents.items() if task.state.is_final}
        held = await tx.chains.held_children(sorted(over), self._children) if over else []
        now = self._clock()
        batch = TaskBatch(tx, {child.ref: child for child in held}, self._policy, now)
        scene = await self._read_scene(tx, over, now)
        ids = {child.lane for child in held if child.lane > LOW_LANE}
        lanes = await tx.lanes.get(sorted(ids)) if ids else {}
        rows, missing, left = 2 * len(refs), dict[str, list[Followed]](), busy
        for child in held:
            parent = over[child.parent or ""]
            followed, decision = self._decide(child, parent, scene)
            cost = 2 + len(decision.notices)
            if followed.missing is not None and parent.ref not in missing:
                cost += len(self._policy.targets)
            if rows + cost > ROWS_MOST and rows > 2 * len(refs):
                left.add(parent.ref)
                continue
            rows += cost
            lane = lanes.get(child.lane)
            if followed.task.due_at is not None and lane is not None and (lane.finished_at or not is_row(child)):
                decision = replace(decision, task=await place_again(tx, followed.task, now))
            batch.apply_decision(child.ref, decision)
            if followed.missing is not None:
                missing.setdefault(parent.ref, []).append(followed)
        if len(held) == self._children:  # there may be more of the last one's, and of those after it
            left.update(ref for ref in over if ref >= (held[-1].parent or ""))
        await tx.chains.remove_followups([ref for ref in refs if ref not in left])
        texts = {ref: (over[ref], _describe_missing(over[ref], some, scene)) for ref, some in missing.items()}
        await raise_task_attention(tx, "chain-picture", texts, _MISSING_MANY, self._policy, now)
        return batch

    async def _read_scene(self, tx: Tx, over: Mapping[str, Task], now: int) -> _Scene:
        completed = [ref for ref, task in over.items() if task.state is TaskState.COMPLETED]
        images = await tx.tasks.images_by_ref(completed) if completed else {}
        copies = await tx.copies.by_refs(completed) if completed else {}
        known = dict(over)
        for _ in range(DEPTH_MOST):
            above = {task.parent for task in known.values() if task.settled_by is OutcomeSource.PARENT}
            found = await tx.tasks.get(sorted(ref for ref in above if ref and ref not in known)) if above else {}
            if not found:
                break
            known.update(found)
        return _Scene(known, images, copies, now)

    def _decide(self, child: Task, parent: Task, scene: _Scene) -> tuple[Followed, Decision]:
        images = scene.images.get(parent.ref, ())
        fill = make_filler(parent, scene.copies.get(parent.ref, ()), self._image_url, scene.now)
        followed = follow(choose_usable(child, images), parent, images, fill, scene.now)
        ended = followed.task.state is TaskState.CANCELLED
        notices = cancelled_notices(followed.task, scene.known, self._policy, scene.now) if ended else ()
        return followed, Decision(Verdict.ACCEPTED, followed.task, (), notices)

    async def _remind(self) -> None:
        """Say of each pick that has been open for two days that it is, once."""
        now, after = self._clock(), ""
        while some := await self._store.chains.unreported_picks(after, REMIND_TURN):
            after = some[-1].ref
            parents = await self._store.tasks.get(sorted({task.parent for task in some if task.parent}))
            due = [task for task in some if _open_since(task, parents) <= now - REMIND_AFTER_MS]
            if due:
                async with self._store.write() as tx:
                    await self._report_open(tx, [task.ref for task in due], parents, now)
            if some[-1].created_at > now - REMIND_AFTER_MS:
                break

    async def _report_open(self, tx: Tx, refs: Sequence[str], parents: Mapping[str, Task], now: int) -> None:
        still = [it for it in (await tx.tasks.get(refs)).values() if it.held_by is HoldReason.PICK and it.why is None]
        await tx.tasks.update([(task, replace(task, why=NOT_PICKED)) for task in still])
        texts: dict[str, tuple[Task, str]] = {}
        for task in still:
            parent = parents.get(task.parent or "")
            if parent is not None:
                text = _OPEN.format(name=parent.shown_name, count=parent.picks, ref=parent.ref, child=task.ref)
                texts[parent.ref] = parent, text
        await raise_task_attention(tx, "pick-open", texts, _OPEN_MANY, self._policy, now)


def _describe_missing(parent: Task, missing: Sequence[Followed], scene: _Scene) -> str:
    images = scene.images.get(parent.ref, ())
    came = [str(it.image_no) for it in images]
    pictures = f"the pictures {', '.join(came)}" if len(came) > 1 else f"picture {came[0]}" if came else "no picture"
    return _MISSING.format(
        name=parent.shown_name,
        what=missing[0].missing,
        count=len(missing),
        came=pictures,
        remedy=describe_remedy(parent, [it.task for it in missing], images),
        child=missing[0].task.ref,
    )


def _open_since(task: Task, parents: Mapping[str, Task]) -> int:
    """Since when a person could pick."""
    parent = parents.get(task.parent or "")
    return max(task.created_at, (parent.settled_at if parent is not None else None) or 0)
