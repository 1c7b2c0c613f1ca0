"""A service with a task in every state that a page can show, and the addresses of its pages.

The rows are written as the loops would have left them. The pictures are the sandbox's, in several shapes.
"""

import functools
import io
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from PIL import Image as Drawing

from kit.fakes import a_ref
from receiver.core.types import (
    ArchiveState,
    Callback,
    HoldReason,
    Image,
    ImageCopy,
    LanePriority,
    Notice,
    NoticeEvent,
    NoticeState,
    OutcomeSource,
    QueueLane,
    Report,
    Task,
    TaskError,
    TaskState,
    Usage,
    Verdict,
)
from receiver.pictures.share_links import Share, share_token
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.sandbox.drawing.paint import draw_png
from receiver.sandbox.drawing.plan import plan_pictures
from receiver.service.wiring import ServiceParts

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
OUTPAINT, DIFFUSION, UPSCALE = "midjourney_outpaint", "midjourney_diffusion", "midjourney_upscale"
BATCH = "posters.csv"
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;{{7*7}} \u202eevil\u202c \u05e9\u05dc\u05d5\u05dd "
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 javascript:alert(3) \x07\x1b[31m"
)
"""What must stay text wherever it is shown."""

_SHAPES = {"1:1": "a lighthouse at dusk", "3:2": "a boat in the morning", "2:3": "a castle at night", "16:9": "hills"}


class PageStates(Struct):
    """The refs of the tasks by a short name, and the ids of the callbacks by their verdict."""

    refs: dict[str, str]
    callbacks: dict[str, int]


class _File(Struct, frozen=True):
    content: bytes
    small: bytes
    tiny: bytes
    size: tuple[int, int]


@functools.cache
def _files(shape: str) -> tuple[_File, ...]:
    pictures = plan_pictures("diffusion", {"text": f"{_SHAPES[shape]} --ar {shape}"}, None, shape, 2)
    return tuple(_as_file(draw_png(picture, number)) for number, picture in enumerate(pictures))


def _as_file(content: bytes) -> _File:
    with Drawing.open(io.BytesIO(content)) as drawing:
        return _File(content, _shrink(drawing, 512), _shrink(drawing, 256), drawing.size)


def _shrink(drawing: Drawing.Image, side: int) -> bytes:
    small, out = drawing.convert("RGB"), io.BytesIO()
    small.thumbnail((side, side))
    small.save(out, "JPEG", quality=80)
    return out.getvalue()


class _Seeder:
    def __init__(self, parts: ServiceParts) -> None:
        self.parts = parts
        self.now = parts.clock()
        self.refs: dict[str, str] = {}

    async def add(self, name: str, state: TaskState, age_ms: int, **more: Any) -> Task:
        """A task that was handed in `age_ms` ago; a completed one took a minute."""
        at = self.now - age_ms
        task = Task(ref=a_ref(at), created_at=at, provider=DEFAULT_PROVIDER, model=OUTPAINT, label=name, state=state)
        if state in (TaskState.COMPLETED, TaskState.FAILED, TaskState.LOST, TaskState.WAITING):
            task = replace(task, submitted_at=at + SECOND, task_id=f"prov-{len(self.refs)}")
        if state in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.LOST):
            task = replace(task, settled_at=at + min(MINUTE, age_ms), settled_by=OutcomeSource.CALLBACK)
        if state is TaskState.WAITING:
            task = replace(task, poll_at=self.now + HOUR, place_until=self.now + HOUR)
        if state is TaskState.QUEUED:
            task = replace(task, due_at=self.now)
        params = {"jobId": "5a5a5a5a-1b1b-4c2c-8d3d-5e5e5e5e5e5e", "imageNo": 0, "scale": 1.5}
        task = replace(
            task, params=json.dumps(params).encode(), prompt=f"{name}, warm evening light, flat illustration"
        )
        task = replace(task, **more)
        async with self.parts.store.write() as tx:
            await tx.tasks.insert([task])
        self.refs[name] = task.ref
        return task

    async def add_pictures(self, name: str, count: int, shape: str = "1:1", *, kept: int | None = None) -> None:
        """Pictures of a task, and our copies of the first `kept`; the others could not be fetched."""
        ref, copies = self.refs[name], []
        for number in range(count):
            file = _files(shape)[number % 2]
            if number >= (count if kept is None else kept):
                copies.append(ImageCopy(number, error="the link had ended (403)"))
                continue
            for suffix, content in ((".png", file.content), (".small.jpg", file.small), (".tiny.jpg", file.tiny)):
                await self.parts.files.save_file(ref, f"{number}{suffix}", content)
            copies.append(
                ImageCopy(
                    number,
                    file=f"{number}.png",
                    sha256=bytes(32),
                    size=len(file.content),
                    media_type="image/png",
                    width=file.size[0],
                    height=file.size[1],
                    small=f"{number}.small.jpg",
                    tiny=f"{number}.tiny.jpg",
                )
            )
        images = [Image(it, f"https://pics.example/{ref}/{it}.png?sig=a", job_id=f"job-{name}") for it in range(count)]
        async with self.parts.store.write() as tx:
            await tx.tasks.add_images([(ref, it) for it in images])
            await tx.copies.upsert([(ref, it) for it in copies])

    async def complete(self, name: str, age_ms: int, count: int, shape: str = "1:1", **more: Any) -> None:
        kept = more.pop("kept", None)
        archive = ArchiveState.FAILED if kept == 0 else ArchiveState.DONE
        cost = Usage(Decimal("0.05") * max(1, count // 4))
        await self.add(name, TaskState.COMPLETED, age_ms, **{"archive": archive, "usage": cost, **more})
        await self.add_pictures(name, count, shape, kept=kept)

    async def call(self, name: str, verdict: Verdict, body: bytes, age_ms: int) -> None:
        callback = Callback(
            ref=self.refs[name],
            received_at=self.now - age_ms,
            body=body,
            headers=b'{"content-type":"application/json","user-agent":"provider/1.0"}',
            digest=body[:32].ljust(32, b"\0"),
            verdict=verdict,
        )
        async with self.parts.store.write() as tx:
            await tx.callbacks.insert([(callback, True)])

    async def notify(self, name: str, target: str, state: NoticeState, **more: Any) -> None:
        report = Report(event=NoticeEvent.COMPLETED, ref=self.refs[name], label=name, model=OUTPAINT)
        notice = Notice(
            target=target,
            event=NoticeEvent.COMPLETED,
            report=report,
            created_at=self.now - 9 * MINUTE,
            due_at=self.now + HOUR,
            sent_at=self.now - 8 * MINUTE if state is NoticeState.SENT else None,
            ref=self.refs[name],
            state=state,
            **more,
        )
        async with self.parts.store.write() as tx:
            await tx.notices.insert([notice])


async def seed(parts: ServiceParts) -> PageStates:
    """Fill the store and the archive; the clock must stand still."""
    seeder = _Seeder(parts)
    await _add_ended(seeder)
    await _add_under_way(seeder)
    await _add_batch(seeder)
    await _add_callbacks(seeder)
    for name, target, state, more in (
        ("hero", "slack", NoticeState.SENT, {}),
        ("dusk over the ridge", "mail", NoticeState.SENT, {}),
        ("book cover", "slack", NoticeState.DEAD, {"attempts": 8, "error": "invalid_auth"}),
        ("banner", "mail", NoticeState.DUE, {"attempts": 1, "error": "the mail server says “451 try again later”"}),
        ("hostile", "slack", NoticeState.DEAD, {"attempts": 8, "error": HOSTILE}),
    ):
        await seeder.notify(name, target, state, **more)
    newest, *older = await parts.store.callbacks.page(limit=50)
    callbacks = {"hostile": newest.id} | {str(it.verdict): it.id for it in older}
    return PageStates(seeder.refs, callbacks)


async def _add_ended(seeder: _Seeder) -> None:
    usual = await seeder.add("old harbour", TaskState.COMPLETED, DAY + 3 * HOUR, archive=ArchiveState.FAILED)
    assert usual.ref
    await seeder.add_pictures("old harbour", 4, kept=0)
    await seeder.add("night 2", TaskState.LOST, DAY + HOUR)
    await seeder.complete("dusk, first try", DAY, 4, "3:2", confirmed=False)
    await seeder.complete("kites, all forty", 2 * HOUR, 40)
    await seeder.complete("three of it", HOUR + 20 * MINUTE, 3, "3:2")
    await seeder.complete("ridge, being fetched", 58 * MINUTE, 4, kept=2, archive=ArchiveState.DUE)
    await seeder.complete("a pair", 50 * MINUTE, 2, "2:3")
    await seeder.complete("banner", 40 * MINUTE, 1, "16:9", model=UPSCALE)
    await seeder.complete("book cover", 30 * MINUTE, 4, "2:3")
    await seeder.add("withdrawn", TaskState.CANCELLED, 28 * MINUTE, settled_by=OutcomeSource.PERSON)
    error = TaskError("004007098", "The prompt was stopped by the filter: blood-red water", b'{"code":"004007098"}')
    await seeder.add("lantern", TaskState.FAILED, 25 * MINUTE, error=error)
    await seeder.add(
        "hostile",
        TaskState.FAILED,
        24 * MINUTE,
        label=HOSTILE,
        prompt=(HOSTILE * 100)[:8192],
        error=TaskError("1", HOSTILE * 3, json.dumps(HOSTILE).encode()),
    )
    prompt = (HOSTILE * 100)[:8192]
    await seeder.complete("hostile pictures", 22 * MINUTE, 4, label=HOSTILE, prompt=prompt)
    await seeder.complete("dusk over the ridge", 20 * MINUTE, 4, "3:2", label=None)
    shore = a_ref(seeder.now - 15 * MINUTE)
    await seeder.complete("shore", 15 * MINUTE, 4, ref=shore, root=shore)
    parent: dict[str, Any] = {
        "root": shore,
        "parent": shore,
        "parent_image": 0,
        "depth": 1,
    }
    await seeder.complete("hero", 10 * MINUTE, 4, **parent, targets=("slack", "mail"))


async def _add_under_way(seeder: _Seeder) -> None:
    chain = {"root": seeder.refs["shore"], "parent": seeder.refs["hero"], "parent_image": 1, "depth": 2}
    await seeder.add("kite", TaskState.WAITING, 30 * MINUTE, unsure=True, task_id=None, place_until=None)
    await seeder.add("plain waiting", TaskState.WAITING, MINUTE, model=DIFFUSION)
    await seeder.add("hero, wider", TaskState.WAITING, 36 * SECOND, progress=0.62, **chain)
    await seeder.add("ridge, wider", TaskState.QUEUED, 30 * SECOND)
    held = {"held_by": HoldReason.PICK, "due_at": None, "parent_image": None, "parent": seeder.refs["hero"], "depth": 2}
    await seeder.add("to be picked", TaskState.QUEUED, 20 * SECOND, root=seeder.refs["shore"], **held)
    await seeder.add("over budget", TaskState.QUEUED, 15 * SECOND, held_by=HoldReason.BUDGET, due_at=seeder.now + DAY)


async def _add_batch(seeder: _Seeder) -> None:
    store = seeder.parts.store
    for name, finished in ((BATCH, None), ("done.csv", seeder.now - 2 * HOUR)):
        lane = QueueLane(
            id=0,
            name=name,
            priority=LanePriority.NORMAL,
            batch=True,
            created_at=seeder.now - 3 * HOUR,
            closed_at=seeder.now - 3 * HOUR,
            finished_at=finished,
        )
        async with store.write() as tx:
            await tx.lanes.insert(lane)
    lanes = await store.lanes.by_name([BATCH, "done.csv"])
    for name, at in lanes.items():
        for line in range(1, 7):
            await seeder.complete(f"{name} {line}", 2 * HOUR + line * MINUTE, 1, "2:3", lane=at.id, turn=line)
        stopped = TaskError("004007098", "The filter stopped the prompt")
        for line in (7, 8):
            more = {"lane": at.id, "turn": line, "error": stopped}
            await seeder.add(f"{name} {line}", TaskState.FAILED, 2 * HOUR, **more)
    under_way = {"lane": lanes[BATCH].id}
    await seeder.add("poster 9", TaskState.WAITING, MINUTE, turn=9, **under_way)
    for line in range(10, 20):
        await seeder.add(f"poster {line}", TaskState.QUEUED, MINUTE, turn=line, **under_way)


async def _add_callbacks(seeder: _Seeder) -> None:
    done = {"id": "prov-1", "status": "completed", "output": [{"content": [{"type": "image", "url": "https://a/b"}]}]}
    bodies: Sequence[tuple[str, Verdict, bytes]] = (
        ("hero", Verdict.ACCEPTED, json.dumps(done).encode()),
        ("hero", Verdict.DUPLICATE, json.dumps(done | {"again": 1}).encode()),
        ("hero", Verdict.LATE, b'{"id":"prov-1","status":"processing","progress":90}'),
        ("hero", Verdict.CONFLICT, b'{"id":"prov-1","status":"failed","error":{"message":"no"}}'),
        ("plain waiting", Verdict.HINT, b'{"id":"another","status":"completed"}'),
        ("lantern", Verdict.UNPARSED, b"<html><body>\xff\xfe not JSON</body></html>"),
        ("hostile", Verdict.UNPARSED, json.dumps({"id": HOSTILE, "status": HOSTILE, "error": HOSTILE}).encode()),
    )
    for at, (name, verdict, body) in enumerate(bodies):
        await seeder.call(name, verdict, body, 9 * MINUTE - at * 20 * SECOND)


PAGES: Mapping[str, str] = {
    "gallery": "/",
    "gallery-failed": "/?show=failed",
    "gallery-under-way": "/?show=underway",
    "gallery-needs": "/?show=needs",
    "gallery-search": "/?q=hero",
    "gallery-nothing": "/?q=blood-red+nothing",
    "gallery-nonsense": "/?show=%00%ff&model=x&label=%3Cb%3E",
    "gallery-gone": "/?before=nonsense",
    "task-completed": "/tasks/{refs[hero]}",
    "task-one-picture": "/tasks/{refs[banner]}",
    "task-two-pictures": "/tasks/{refs[a pair]}",
    "task-forty-pictures": "/tasks/{refs[kites, all forty]}",
    "task-not-kept": "/tasks/{refs[old harbour]}",
    "task-being-fetched": "/tasks/{refs[ridge, being fetched]}",
    "task-unconfirmed": "/tasks/{refs[dusk, first try]}",
    "task-lost": "/tasks/{refs[night 2]}",
    "task-failed": "/tasks/{refs[lantern]}",
    "task-cancelled": "/tasks/{refs[withdrawn]}",
    "task-hostile": "/tasks/{refs[hostile]}",
    "task-hostile-pictures": "/tasks/{refs[hostile pictures]}",
    "task-unsure": "/tasks/{refs[kite]}",
    "task-waiting": "/tasks/{refs[plain waiting]}",
    "task-waiting-child": "/tasks/{refs[hero, wider]}",
    "task-queued": "/tasks/{refs[ridge, wider]}",
    "task-to-be-picked": "/tasks/{refs[to be picked]}",
    "task-over-budget": "/tasks/{refs[over budget]}",
    "do-extend": "/tasks/{refs[hero]}?image=1&do=extend",
    "do-pan": "/tasks/{refs[hero]}?image=1&do=pan",
    "do-vary": "/tasks/{refs[hero]}?image=1&do=vary",
    "do-upscale": "/tasks/{refs[hero]}?image=1&do=upscale",
    "do-remix": "/tasks/{refs[hero]}?image=1&do=remix",
    "do-again": "/tasks/{refs[lantern]}?do=again",
    "do-again-hostile": "/tasks/{refs[hostile]}?do=again",
    "do-extend-hostile": "/tasks/{refs[hostile pictures]}?do=extend",
    "new": "/new",
    "new-diffusion": "/new?model=midjourney_diffusion",
    "new-outpaint": "/new?model=midjourney_outpaint",
    "batches": "/batches",
    "batch": "/batches/posters.csv",
    "batch-done": "/batches/done.csv",
    "callbacks": "/callbacks",
    "callbacks-filtered": "/callbacks?verdict=unparsed",
    "callbacks-nonsense": "/callbacks?verdict=nonsense&before=x",
    "callback-accepted": "/callbacks/{callbacks[accepted]}",
    "callback-duplicate": "/callbacks/{callbacks[duplicate]}",
    "callback-late": "/callbacks/{callbacks[late]}",
    "callback-conflict": "/callbacks/{callbacks[conflict]}",
    "callback-hint": "/callbacks/{callbacks[hint]}",
    "callback-unparsed": "/callbacks/{callbacks[unparsed]}",
    "callback-hostile": "/callbacks/{callbacks[hostile]}",
    "notices": "/notices",
    "notices-given-up": "/notices?state=dead",
    "status": "/status",
    "logout": "/logout",
    "no-such-task": "/tasks/nonsense",
    "no-such-page": "/nothing/here",
    "pick": "{pick}",
    "share": "{share}",
    "pick-hostile": "{pick_hostile}",
    "share-hostile": "{share_hostile}",
    "share-ended": "/s/nothing",
}
"""Each page in each of its states, by a short name: its path, in which `find_path` puts the refs."""


def find_path(page: str, parts: ServiceParts, states: PageStates) -> str:
    """The path of one of `PAGES`."""
    links: dict[str, str] = {}
    for name, ref in (("", states.refs["hero"]), ("_hostile", states.refs["hostile pictures"])):
        share = Share(ref, parts.clock() + DAY, with_prompt=True)
        links |= {f"pick{name}": parts.links.pick_path(ref, 1), f"share{name}": f"/s/{share_token(parts.ring, share)}"}
    return PAGES[page].format(refs=states.refs, callbacks=states.callbacks, **links)
