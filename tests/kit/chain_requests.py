"""Requests for tasks that go on from others, and what they come to."""

from typing import Any

from kit.fakes import NOW, POLICY, Clock
from receiver.client.schemas import NewTask
from receiver.core.errors import RequestRefused
from receiver.core.types import Image, LanePriority, QueueLane, Task
from receiver.store import Store
from receiver.tasks.intake import TaskIntake
from receiver.tasks.judge_requests import CreatedTask, CreationResult
from receiver.telemetry.metrics import Metrics
from receiver.tokens import Ring


def an_intake(store: Store) -> TaskIntake:
    ring, metrics = Ring(["k" * 32]), Metrics()
    return TaskIntake(store, POLICY, ring, Clock(), metrics, public_url="https://me.example", unreachable=None)


def make(prompt: str = "a lighthouse --v 7", **more: Any) -> NewTask:
    return NewTask("midjourney_diffusion", {"text": prompt}, **more)


def wide(**more: Any) -> NewTask:
    return NewTask("midjourney_outpaint", {"scale": 1.5}, **more)


def big(**more: Any) -> NewTask:
    return NewTask("midjourney_upscale", {"type": "standard"}, **more)


def created(result: CreationResult) -> CreatedTask:
    assert isinstance(result, CreatedTask), result
    return result


def task_of(result: CreationResult) -> Task:
    task = created(result).task
    assert task is not None
    return task


def refused(result: CreationResult) -> RequestRefused:
    assert isinstance(result, RequestRefused), result
    return result


async def ask(store: Store, *asked: NewTask, **more: Any) -> list[CreationResult]:
    return await an_intake(store).create_many(list(asked), **more)


async def count(store: Store) -> int:
    return len(await store.tasks.page(limit=200))


async def add_pictures(store: Store, task: Task, *jobs: str) -> None:
    images = [
        (task.ref, Image(number, "https://pics.example/x.png", job_id=job)) for number, job in enumerate(jobs or ("j",))
    ]
    async with store.write() as tx:
        await tx.tasks.add_images(images)


async def a_lane(store: Store, name: str = "rows") -> None:
    """Open a batch."""
    async with store.write() as tx:
        await tx.lanes.insert(QueueLane(id=0, name=name, batch=True, priority=LanePriority.LOW, created_at=NOW))
