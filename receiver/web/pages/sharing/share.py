"""Shares: `POST /tasks/{ref}/share` makes a link, `/s/{token}` is what whoever has it sees until it ends.

A false link, one that has ended and one to a task that is gone get the same answer. The link of a share stands on no
page but the one that answers its making, and in no address but its own.
"""

from msgspec import Struct
from starlette.responses import Response
from starlette.routing import Route

from receiver.core.types import Image, ImageCopy, Step, StepKind, Task
from receiver.notify.messages.media_words import count_media
from receiver.pictures.share_links import SHARE_PREFIX, Share, open_share, share_token
from receiver.tokens import is_ref
from receiver.web.pages.page import PageError, PageFrame, PageRequest
from receiver.web.pages.sharing.downloads import NO_TASK, DownloadPages, name_stem
from receiver.web.pages.sharing.shared_pictures import show_shared
from receiver.web.pages.sharing.zip_answer import STRANGERS_MOST
from receiver.web.pages.times import format_day

DAYS = {"1": 1, "7": 7, "30": 30}
"""For how long a link can be made."""

_DAY_MS = 86_400_000
_PRIVATE = {"Cache-Control": "private", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}
_ENDED = PageError(404, "There is nothing here, or the link has ended", "Ask whoever sent it for a new one.", None)


class _Found(Struct, frozen=True):
    """A task with its pictures."""

    task: Task
    images: tuple[Image, ...]
    copies: tuple[ImageCopy, ...]


class SharePages:
    """The page of a share, its download, and the form that makes one."""

    def __init__(self, frame: PageFrame, downloads: DownloadPages) -> None:
        self._frame = frame
        self._parts = frame.parts
        self._downloads = downloads

    def routes(self) -> list[Route]:
        """The routes of all three."""
        return [
            self._frame.post("/tasks/{ref}/share", self.make),
            self._frame.public(f"{SHARE_PREFIX}{{token}}", self.show),
            self._frame.public(f"{SHARE_PREFIX}{{token}}/pictures.zip", self.download),
        ]

    async def make(self, asked: PageRequest) -> Response:
        """Make a link, and show it this once."""
        ref, days = asked.path("ref"), DAYS.get(asked.form.one("days"))
        back = (f"/tasks/{ref}", "Back to the task")
        found = await self._find(ref)
        if found is None:
            raise PageError(404, "There is no such task", NO_TASK)
        if days is None:
            raise PageError(422, "No link was made", "A link lasts 1, 7 or 30 days. Choose one of these.", back)
        kept = [it.image_no for it in found.copies if it.file is not None]
        if not kept:
            raise PageError(409, "There is nothing to share", "None of its pictures is kept here.", back)
        until = (self._parts.clock() // 1000 + days * _DAY_MS // 1000) * 1000
        share = Share(ref, until, with_prompt=bool(asked.form.one("prompt") and found.task.prompt))
        async with self._parts.store.write() as tx:
            await tx.steps.add([Step(ref, self._parts.clock(), StepKind.SHARED, format_day(until))])
        types = [it.type for it in found.images if it.image_no in kept]
        return await self._frame.render(
            asked,
            "share_link.html",
            title="A link to share",
            link=f"{self._parts.public_url}{SHARE_PREFIX}{share_token(self._parts.ring, share)}",
            back=back,
            share=share,
            what=f"the {count_media(types)}" if len(types) > 1 else f"the {count_media(types)[2:]}",
            reachable=self._parts.links.is_reachable,
        )

    async def show(self, asked: PageRequest) -> Response:
        """The pictures, for whoever has the link."""
        stranger = PageRequest(asked.http, None)
        opened = await self._open(asked)
        if opened is None:
            shown = await self._frame.show_error(stranger, _ENDED)
        else:
            share, found = opened
            shared = show_shared(found.task, found.images, found.copies, share, self._parts.links.image_path)
            zip_path = f"{asked.http.url.path}/pictures.zip"
            shown = await self._frame.render(
                stranger, "share.html", title=shared.title, shared=shared, zip_path=zip_path
            )
        shown.headers.update(_PRIVATE)
        return shown

    async def download(self, asked: PageRequest) -> Response:
        """All pictures in one ZIP."""
        stranger = PageRequest(asked.http, None)
        opened = await self._open(asked)
        if opened is None:
            shown = await self._frame.show_error(stranger, _ENDED)
            shown.headers.update(_PRIVATE)
            return shown
        share, found = opened
        stem = name_stem(found.task, with_prompt=share.with_prompt)
        return await self._downloads.zip_task(stranger, found.task, stem, STRANGERS_MOST)

    async def _open(self, asked: PageRequest) -> tuple[Share, _Found] | None:
        share = open_share(self._parts.ring, asked.path("token"), self._parts.clock())
        found = await self._find(share.ref) if share is not None else None
        return None if share is None or found is None else (share, found)

    async def _find(self, ref: str) -> _Found | None:
        store = self._parts.store
        task = (await store.tasks.get([ref])).get(ref) if is_ref(ref) else None
        if task is None:
            return None
        images = (await store.tasks.images_by_ref([ref])).get(ref, ())
        return _Found(task, images, (await store.copies.by_refs([ref])).get(ref, ()))
