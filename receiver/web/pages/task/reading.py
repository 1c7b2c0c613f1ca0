"""Reads all that the page of a task shows: a bounded number of rows, and of callbacks a bounded number of bytes."""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from receiver.core.decide import task_deadline
from receiver.core.types import (
    Image,
    ImageCopy,
    Notice,
    NoticeEvent,
    NoticeState,
    QueueLane,
    Task,
    TaskState,
)
from receiver.pictures.files import SHEET
from receiver.providers.registry import default_adapter
from receiver.service.wiring import ServiceParts
from receiver.store.tables.callbacks import StoredCallback
from receiver.web.pages.callbacks.bodies import show_body
from receiver.web.pages.task.states import TaskScene
from receiver.web.pages.task.timeline import TaskStory, Timeline, build_timeline
from receiver.web.pages.task.timeline_notices import NoticeStory
from receiver.web.pages.task.timeline_rows import ArrivedCallback, AskedPoll, KeptPictures, TimelineRow
from receiver.web.pages.task.timeline_steps import kept_at
from receiver.web.pages.usual import usual_duration

CALLBACKS_MOST = 500
POLLS_MOST = 500
NOTICES_MOST = 100
READ_MOST = 2 * 1024 * 1024  # bytes of bodies that are read to say what they say
BODY_MOST = 256 * 1024  # of one of them
INLINE_MOST = 20  # bodies on the page itself
INLINE_EACH = 64 * 1024  # bytes
INLINE_BYTES = 192 * 1024  # of all of them
_ENDS = (NoticeEvent.COMPLETED, NoticeEvent.FAILED, NoticeEvent.LOST)


class ReadTask(Struct, frozen=True, kw_only=True):
    """A task with what its page shows. `bodies` are those of callbacks that stand on the page itself, by their ids."""

    scene: TaskScene
    timeline: Timeline
    bodies: dict[int, str]
    batch: str = ""
    newer: str | None = None
    older: str | None = None

    @property
    def task(self) -> Task:
        """The task."""
        return self.scene.task


class TaskReader:
    """Reads tasks for their pages."""

    def __init__(self, parts: ServiceParts) -> None:
        self._parts = parts
        self._parse = parts.echoes.wrap_parser(default_adapter().parse)

    async def read(self, ref: str) -> ReadTask | None:
        """A task with all that its page shows; None if there is none."""
        store, now = self._parts.store, self._parts.clock()
        task = (await store.tasks.get([ref])).get(ref)
        if task is None:
            return None
        images = (await store.tasks.images_by_ref([ref])).get(ref, ())
        copies = (await store.copies.by_refs([ref])).get(ref, ())
        notices = (await store.notices.by_refs([ref])).get(ref, [])[-NOTICES_MOST:]
        related = await store.tasks.get([it for it in (task.parent, task.again_of) if it is not None])
        parent = related.get(task.parent or "")
        lane = (await store.lanes.get([task.lane])).get(task.lane)
        batch = lane.name if lane is not None and lane.batch else ""
        scene = await self._make_scene(task, images, copies, notices, parent, now)
        callbacks, bodies = await self._read_callbacks(ref)
        steps = await store.steps.of(ref)
        pictures_at = kept_at(steps)
        story = TaskStory(
            task=task,
            parent=parent,
            again_of=related.get(task.again_of or ""),
            batch=batch,
            batch_tells=lane is not None and not notices and self._tells_once(lane),
            callbacks=callbacks,
            only_counted=await store.callbacks.overflow_count(ref),
            polls=await self._read_polls(ref),
            notices=await self._tell_notices(notices, pictures_at),
            pictures=await self._tell_pictures(task, images, copies, pictures_at),
            steps=steps,
            lost_at=scene.lost_at,
            can_poll=self._parts.policy.can_poll,
        )
        timeline = build_timeline(story)
        beside = await store.gallery.neighbours(ref)
        return ReadTask(
            scene=scene,
            timeline=timeline,
            bodies=self._choose_bodies(timeline, bodies),
            batch=batch,
            newer=beside.newer,
            older=beside.older,
        )

    def _tells_once(self, lane: QueueLane) -> bool:
        """Whether a batch sends one ping at its end, and none for each of its tasks."""
        targets = lane.targets if lane.targets is not None else self._parts.policy.targets
        return lane.batch and not lane.each and bool(targets)

    async def _make_scene(
        self,
        task: Task,
        images: Sequence[Image],
        copies: Sequence[ImageCopy],
        notices: Sequence[Notice],
        parent: Task | None,
        now: int,
    ) -> TaskScene:
        [wait] = await self._parts.submit.queue.find_waits([task])
        usual_ms = None
        if task.model and not task.state.is_final:
            usual_ms = await usual_duration(self._parts.store, task.model)
        ends = [it for it in notices if it.event in _ENDS]
        lost_at = None
        if task.state is TaskState.LOST:
            said = [it.created_at for it in ends if it.event is NoticeEvent.LOST]
            lost_at = max(said, default=min(now, task_deadline(task, self._parts.policy)))
        why = next((it.report.unconfirmed for it in reversed(ends) if it.report.unconfirmed), None)
        return TaskScene(
            task=task,
            now=now,
            images=images,
            copies=copies,
            wait=wait,
            usual_ms=usual_ms,
            parent=parent,
            told=[it.target for it in ends if it.state is NoticeState.SENT],
            lost_at=lost_at,
            can_poll=self._parts.policy.can_poll,
            has_targets=bool(self._parts.policy.targets),
            why_unconfirmed=why or "",
            repeated=(await self._parts.store.chains.repeated_by([task.ref])).get(task.ref),
        )

    async def _read_callbacks(self, ref: str) -> tuple[list[ArrivedCallback], dict[int, bytes]]:
        """The callbacks of a task, oldest first, and the bodies that were read."""
        store = self._parts.store
        kept = await store.callbacks.page(ref=ref, limit=CALLBACKS_MOST)
        wanted, left = [], READ_MOST
        for it in kept:  # the newest first: they say how it ended
            if it.size <= min(left, BODY_MOST):
                wanted.append(it.id)
                left -= it.size
        bodies: dict[int, bytes] = {}
        for start in range(0, len(wanted), 200):
            found = await store.callbacks.get(wanted[start : start + 200])
            bodies |= {it.id: it.body for it in found if it.body is not None}
        return await asyncio.to_thread(self._say_callbacks, kept, bodies), bodies

    def _say_callbacks(self, kept: Sequence[StoredCallback], bodies: dict[int, bytes]) -> list[ArrivedCallback]:
        return [
            ArrivedCallback(
                it.id,
                it.received_at,
                it.verdict,
                it.size,
                self._parse(bodies[it.id]) if it.id in bodies else None,
                it.replay_of,
                unread=it.id not in bodies,
            )
            for it in reversed(kept)
        ]

    async def _read_polls(self, ref: str) -> list[AskedPoll]:
        found = await self._parts.store.gallery.polls(ref, POLLS_MOST)
        return [AskedPoll(it.at, it.heard, it.text) for it in reversed(found)]

    async def _tell_notices(self, notices: list[Notice], sheet_at: int | None) -> list[NoticeStory]:
        if not notices:
            return []
        ids = [it.id for it in notices if it.id is not None]
        history = await self._parts.store.notices.attempt_history(ids)
        waits = await self._parts.notify.find_waits(notices)
        shows = {it.name for it in self._parts.policy.targets if it.shows_pictures}
        return [
            NoticeStory(it, history.get(it.id or 0, ()), wait, sheet_at if it.target in shows else None)
            for it, wait in zip(notices, waits, strict=True)
        ]

    async def _tell_pictures(
        self, task: Task, images: Sequence[Image], copies: Sequence[ImageCopy], kept_at: int | None
    ) -> KeptPictures:
        if not images:
            return KeptPictures()
        sheet = await asyncio.to_thread(self._parts.files.find_file, task.ref, SHEET)
        return KeptPictures(tuple(it.type for it in images), tuple(copies), kept_at, sheet is not None)

    def _choose_bodies(self, timeline: Timeline, bodies: dict[int, bytes]) -> dict[int, str]:
        """The bodies that stand on the page itself: those of ends first, of progress last."""
        rows = [it for it in (*timeline.first, *timeline.middle, *timeline.last) if it.callback is not None]
        rows.sort(key=_rank_body)
        chosen: dict[int, str] = {}
        left = INLINE_BYTES
        for row in rows:
            body = bodies.get(row.callback or 0)
            if body is None or len(body) > INLINE_EACH or len(chosen) >= INLINE_MOST:
                continue
            shown = show_body(self._parts.echoes.redact_shown(body))
            text = shown.pretty or shown.raw
            if text and len(text) <= left and shown.whole and shown.pretty_whole:
                chosen[row.callback or 0] = text
                left -= len(text)
        return chosen


def _rank_body(row: TimelineRow) -> tuple[bool, bool]:
    return not (row.is_end or row.is_fail), row.fold == "progress"
