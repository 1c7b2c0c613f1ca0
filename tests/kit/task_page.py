"""The page of a task in a browser that is logged in, over a service without a socket."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from kit.fakes import Clock, a_ref, a_task
from kit.pages import logged_in, post_form
from kit.web import Served, near
from receiver.core.types import ArchiveState, Image, ImageCopy, OutcomeSource, Task, TaskState


class TaskPlace(Struct, eq=False):
    """A service and a browser that is logged in."""

    web: Served
    browser: httpx.AsyncClient
    clock: Clock

    async def page(self, ref: str, query: str = "") -> str:
        """What the page of a task says."""
        answer = await self.browser.get(f"/tasks/{ref}{query}")
        assert answer.status_code == 200, answer.text
        return answer.text

    async def act(self, ref: str, act: str, **fields: str) -> httpx.Response:
        """The answer to a form of that page."""
        return await post_form(self.browser, f"/tasks/{ref}/{act}", page=f"/tasks/{ref}", **fields)

    async def task(self, ref: str) -> Task:
        """The task as it stands."""
        return (await self.web.parts.store.tasks.get([ref]))[ref]

    async def put(self, *tasks: Task, images: Sequence[Image] = (), copies: Sequence[ImageCopy] = ()) -> None:
        """Store tasks as they are, and the pictures of the first."""
        async with self.web.parts.store.write() as tx:
            await tx.tasks.insert(tasks)
            await tx.tasks.add_images([(tasks[0].ref, it) for it in images])
            await tx.copies.upsert([(tasks[0].ref, it) for it in copies])


@contextlib.asynccontextmanager
async def task_place(directory: Path, **settings: Any) -> AsyncIterator[TaskPlace]:
    """Such a place."""
    clock = Clock()
    async with near(directory, clock=clock, **settings) as web, logged_in(web) as browser:
        yield TaskPlace(web, browser, clock)


def stored_task(state: TaskState = TaskState.WAITING, **more: Any) -> Task:
    """A task with ids of its own."""
    ref = more.pop("ref", None) or a_ref()
    return a_task(state, **{"ref": ref, "task_id": f"prov-{ref[-6:]}", **more})


def done_task(**more: Any) -> Task:
    """One that completed."""
    done = {"label": "hero", "archive": ArchiveState.DONE, "settled_by": OutcomeSource.POLL}
    return stored_task(TaskState.COMPLETED, **{**done, **more})


def kept_pictures(count: int) -> tuple[list[Image], list[ImageCopy]]:
    """So many pictures, and our copies of them."""
    images = [Image(number, f"https://pics.example/{number}.png", job_id="job-0") for number in range(count)]
    copies = [
        ImageCopy(number, file=f"{number}.png", small=f"{number}.small.jpg", width=1536, height=1024, size=1000)
        for number in range(count)
    ]
    return images, copies
