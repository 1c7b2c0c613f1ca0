"""`Download all`: the pictures of a task, or of a whole batch, as one ZIP."""

from collections.abc import AsyncGenerator, Mapping, Sequence

from starlette.responses import Response
from starlette.routing import Route

from receiver.core.types import ArchiveState, Image, ImageCopy, Task, TaskState
from receiver.notify.messages.media_words import media_noun
from receiver.providers.models import short_model_name
from receiver.tokens import is_ref
from receiver.web.pages.page import PageError, PageFrame, PageRequest
from receiver.web.pages.sharing.zip_answer import (
    DOWNLOADS_MOST,
    DownloadSlots,
    ZipAnswer,
    ZipItem,
    measure_zip,
    safe_stem,
)

PAGE_OF_TASKS = 50
NO_TASK = "It may have been removed by retention."
NO_BATCH = "It may have been removed by retention."
_LINE_DIGITS = 4
_BUSY = PageError(
    503, "Too many downloads at once", "Several downloads are running already. Try again in half a minute.", None
)


class DownloadPages:
    """The downloads of whoever is logged in; the share pages hand out the same archives."""

    def __init__(self, frame: PageFrame) -> None:
        self._frame = frame
        self._parts = frame.parts
        self._slots = DownloadSlots()

    def routes(self) -> list[Route]:
        """The routes of both."""
        return [
            self._frame.get("/tasks/{ref}/pictures.zip", self.send_task),
            self._frame.get("/batches/{name}/pictures.zip", self.send_batch),
        ]

    async def send_task(self, asked: PageRequest) -> Response:
        """All pictures of a task."""
        ref = asked.path("ref")
        task = (await self._parts.store.tasks.get([ref])).get(ref) if is_ref(ref) else None
        if task is None:
            raise PageError(404, "There is no such task", NO_TASK)
        return await self.zip_task(asked, task, name_stem(task))

    async def zip_task(self, asked: PageRequest, task: Task, stem: str, most: int = DOWNLOADS_MOST) -> Response:
        """The archive of a task's pictures, whose names begin with `stem`. Raises PageError."""
        store = self._parts.store
        images = (await store.tasks.images_by_ref([task.ref])).get(task.ref, ())
        copies = (await store.copies.by_refs([task.ref])).get(task.ref, ())
        items, length = await measure_zip(self._parts.files, list_items(task, images, copies, stem))
        if not any(it.file for it in items):
            raise PageError(404, "There is nothing here", "None of these pictures is kept here.")
        return self._answer(asked, _iterate(items), stem, length, most)

    async def send_batch(self, asked: PageRequest) -> Response:
        """All pictures of a batch that are here by now."""
        name = asked.path("name")
        lane = await self._parts.store.lanes.find_batch(name)
        if lane is None:
            raise PageError(404, "There is no such batch", NO_BATCH)
        if not await self._parts.store.batch_rows.in_states(lane.id, (TaskState.COMPLETED,), limit=1):
            raise PageError(404, "There is nothing here", "None of its tasks has completed yet.")
        return self._answer(asked, self._batch_items(lane.id), safe_stem(name) or "batch")

    def _answer(
        self,
        asked: PageRequest,
        items: AsyncGenerator[ZipItem, None],
        stem: str,
        length: int | None = None,
        most: int = DOWNLOADS_MOST,
    ) -> Response:
        async def refuse() -> Response:
            return await self._frame.show_error(asked, _BUSY)

        return ZipAnswer(
            self._parts.files, items, f"{stem}.zip", length=length, slots=self._slots, most=most, refuse=refuse
        )

    async def _batch_items(self, lane: int) -> AsyncGenerator[ZipItem, None]:
        """The pictures of a batch by line, read from the store some tasks at a time."""
        store, after, nth = self._parts.store, (0, ""), 1
        while tasks := await store.batch_rows.in_states(lane, (TaskState.COMPLETED,), after, limit=PAGE_OF_TASKS):
            refs = [it.ref for it in tasks]
            images, copies = await store.tasks.images_by_ref(refs), await store.copies.by_refs(refs)
            for task in tasks:
                nth = nth + 1 if task.turn == after[0] else 1
                after = (task.turn, task.ref)
                stem = batch_stem(task, nth)
                for item in list_items(task, images.get(task.ref, ()), copies.get(task.ref, ()), stem):
                    yield item


def list_items(task: Task, images: Sequence[Image], copies: Sequence[ImageCopy], stem: str) -> list[ZipItem]:
    """What an archive of a task's pictures holds, by their numbers."""
    known: Mapping[int, ImageCopy] = {it.image_no: it for it in copies}
    at = task.settled_at or task.created_at
    why = "is not here yet" if task.archive is ArchiveState.DUE else "was not kept"
    found = []
    for number in sorted({it.image_no for it in images}):
        copy = known.get(number)
        if copy is None or copy.file is None:
            found.append(ZipItem(f"{stem}-{number}", task.ref, None, at, why))
        else:
            found.append(ZipItem(f"{stem}-{copy.file}", task.ref, copy.file, at))
    return found


def name_stem(task: Task, *, with_prompt: bool = True) -> str:
    """How the names of a task's files begin: its label, else the beginning of its prompt, else what they are."""
    prompt = task.prompt if with_prompt else None
    return safe_stem(task.label or "") or safe_stem(prompt or "") or media_noun(("image",))


def batch_stem(task: Task, nth: int) -> str:
    """How the names of a row's files begin: with its line, and for the second task of a line and on, which it is."""
    line = f"{task.turn:0{_LINE_DIGITS}}" + (f"-{nth}" if nth > 1 else "")
    return f"{line}-{safe_stem(task.label or '') or safe_stem(short_model_name(task.model or '')) or 'picture'}"


async def _iterate(items: Sequence[ZipItem]) -> AsyncGenerator[ZipItem, None]:
    for it in items:
        yield it
