"""The sandbox's tasks: what was submitted, how far it is, and its form on the wire.

All is in memory and bounded; the oldest task is forgotten first. Requests are counted, so that a test can assert that
the provider saw no poll. Nothing here speaks HTTP or waits.
"""

import base64
import re
import secrets
import uuid
from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from receiver.providers.declarations import JobFeed, Model, UrlFeed
from receiver.providers.vtrix.follow_rules import Traits
from receiver.providers.vtrix.prompt_flags import read_flags
from receiver.sandbox.drawing.picture import Picture
from receiver.sandbox.fates import CallbackBody, Fate

PICTURE_COST, VIDEO_COST = Decimal("0.05"), Decimal("0.25")  # dollars a task; made up
_DEARER = {"hd": Decimal("1.5"), "turbo": Decimal(2)}
_MOST_SUBMISSIONS = 1_000


class SandboxTask(Struct, frozen=True, kw_only=True):
    """One generation. Times are seconds since 1970; `base` is the URL of its pictures, without a trailing slash."""

    id: str
    job_id: str  # the upstream's id, the same for all its pictures
    model: Model
    params: Mapping[str, Any]
    callback: str | None
    base: str
    pictures: tuple[Picture, ...] = ()  # what it makes
    traits: Traits = Traits()
    names_job: bool = True  # whether its results name `job_id`
    fate: Fate
    body: CallbackBody
    created_at: float
    due_at: float
    ended_at: float | None = None

    @property
    def has_failed(self) -> bool:
        return Fate.FAILS in self.fate

    @property
    def picture_urls(self) -> list[str]:
        """The URLs of its pictures, or videos."""
        numbered = enumerate(self.pictures)
        return [f"{self.base}/pictures/{self.id}/{number}.{picture.suffix}" for number, picture in numbered]

    @property
    def media(self) -> str:
        """What it makes, as the provider calls it: `image` or `video`."""
        return "video" if any(picture.seconds for picture in self.pictures) else self.model.media

    @property
    def cost(self) -> Decimal:
        """What it costs, in dollars."""
        flags = read_flags(self.model.prompt_of(self.params))
        factors = [factor for flag, factor in _DEARER.items() if flag in flags]
        cost = VIDEO_COST if self.model.media == "video" else PICTURE_COST
        for factor in factors:
            cost *= factor
        return cost.normalize()

    def progress_at(self, now: float) -> float:
        """From 0 to 0.99, by how much of its duration has passed."""
        span = self.due_at - self.created_at
        return round(min(max((now - self.created_at) / span, 0.0), 0.99), 2) if span > 0 else 0.99


class Submission(Struct, frozen=True):
    """One request to submit, as it came, and the status of its answer."""

    authorization: str
    body: bytes
    status: int

    def __repr__(self) -> str:
        return f"Submission({len(self.body)} bytes, {self.status})"


FoundSource = tuple[SandboxTask | None, Picture | None]
"""The task that a submission goes on from, and which of its pictures."""


class TaskBook:
    """All tasks by id, and counts of the requests. It remembers `most` tasks at most."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._tasks: dict[str, SandboxTask] = {}
        self._polls: dict[str, int] = {}
        self._by_job: dict[str, str] = {}
        self.submissions: deque[Submission] = deque(maxlen=_MOST_SUBMISSIONS)
        self.asked = 0  # requests to submit
        self.submitted = 0  # submissions with a key and a valid body, accepted or not
        self.polled = 0  # polls of tasks, known or not

    def add(self, task: SandboxTask) -> None:
        """Add a task; beyond `most` the oldest is forgotten."""
        self._tasks[task.id] = task
        self._by_job[task.job_id] = task.id
        while len(self._tasks) > self._most:
            oldest = next(iter(self._tasks))
            self._by_job.pop(self._tasks.pop(oldest).job_id, None)
            self._polls.pop(oldest, None)

    def get(self, task_id: str) -> SandboxTask | None:
        """The task, or None if it is unknown or forgotten."""
        return self._tasks.get(task_id)

    def find_source(self, model: Model, params: Mapping[str, Any]) -> FoundSource:
        """The task that a submission goes on from, by its job's id or by a picture's address, and which of its
        pictures; None if it was not made here, or was forgotten."""
        feed = model.feed
        if isinstance(feed, JobFeed):
            task = self.get(self._by_job.get(str(params.get(feed.job)), ""))
            place = params.get(feed.place, 0) if feed.place else 0
        else:
            url = str(params.get(feed.url, "")) if isinstance(feed, UrlFeed) else ""
            found = re.search(r"/pictures/([0-9a-z]{20})/([0-9]{1,3})\.png$", url)
            task, place = (self.get(found[1]), int(found[2])) if found else (None, 0)
        pictures = task.pictures if task is not None else ()
        return task, pictures[place] if place < len(pictures) else None

    def end_task(self, task: SandboxTask, now: float) -> SandboxTask:
        """End the task and return it as it is then."""
        ended = msgspec.structs.replace(task, ended_at=now)
        if task.id in self._tasks:
            self._tasks[task.id] = ended
        return ended

    def record_poll(self, task_id: str) -> SandboxTask | None:
        """`get`, but counted as a poll."""
        self.polled += 1
        if task_id in self._tasks:
            self._polls[task_id] = self._polls.get(task_id, 0) + 1
        return self.get(task_id)

    def poll_count(self, task_id: str) -> int:
        """How often this task was polled."""
        return self._polls.get(task_id, 0)

    @property
    def tasks(self) -> list[SandboxTask]:
        """All tasks that are not forgotten, in order of submission."""
        return list(self._tasks.values())


def new_task_id(now: float) -> str:
    """20 lower-case letters and digits, like the provider's ids. Sorts by time, and is unique across restarts."""
    raw = int(now).to_bytes(4, "big") + secrets.token_bytes(8)
    return base64.b32hexencode(raw).decode().rstrip("=").lower()


def new_job_id() -> str:
    """A UUID, like the upstream's job ids."""
    return str(uuid.uuid4())


def task_object(task: SandboxTask, now: float) -> dict[str, object]:
    """The provider's task object: the answer to a submission and to a poll, and a callback's body."""
    shown: dict[str, object] = {"id": task.id, "model": task.model.name, "created_at": int(task.created_at)}
    if task.ended_at is None:
        return shown | {"status": "in_progress", "progress": task.progress_at(now)}
    if task.has_failed:
        return shown | {"status": "failed", "error": error_object(task.model.failed_code, "generation failed")}
    content: list[dict[str, object]] = []
    for number, url in enumerate(task.picture_urls):
        item: dict[str, object] = {"type": task.media, "url": url}
        if task.names_job:
            item |= {"jobId": task.job_id, "id": f"{task.job_id}_{number}"}
        if task.pictures[number].seconds:
            item["duration"] = str(task.pictures[number].seconds)  # text, as the provider's client reads it
        content.append(item)
    usage = {"cost": str(task.cost), "discount": 1}
    return shown | {"status": "completed", "output": [{"content": content}], "usage": usage}


def error_object(code: str, message: str) -> dict[str, object]:
    """The provider's `error` object. The documented code 004007098 is sent as the integer 4007098."""
    return {"code": int(code), "error_message": message}
