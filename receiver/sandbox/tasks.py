"""The sandbox's tasks: what was submitted, how far it is, and its form on the wire.

All is in memory and bounded; the oldest task is forgotten first. Requests are counted, so that a test can assert that
the provider saw no poll. Nothing here speaks HTTP or waits.
"""

import base64
import secrets
import uuid
from collections import deque
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from receiver.providers.declarations import Model
from receiver.sandbox.fates import CallbackBody, Fate

IMAGES_PER_TASK = 4  # Midjourney makes four
_MOST_SUBMISSIONS = 1_000


class SandboxTask(Struct, frozen=True, kw_only=True):
    """One generation. Times are seconds since 1970; `base` is the URL of its pictures, without a trailing slash."""

    id: str
    job_id: str  # the upstream's id, the same for all four pictures
    model: Model
    params: Mapping[str, object]
    callback: str | None
    base: str
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
        """The URLs of its pictures."""
        return [f"{self.base}/pictures/{self.id}/{number}.png" for number in range(IMAGES_PER_TASK)]

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


class TaskBook:
    """All tasks by id, and counts of the requests. It remembers `most` tasks at most."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._tasks: dict[str, SandboxTask] = {}
        self._polls: dict[str, int] = {}
        self.submissions: deque[Submission] = deque(maxlen=_MOST_SUBMISSIONS)
        self.asked = 0  # requests to submit
        self.submitted = 0  # submissions with a key and a valid body, accepted or not
        self.polled = 0  # polls of tasks, known or not

    def add(self, task: SandboxTask) -> None:
        """Add a task; beyond `most` the oldest is forgotten."""
        self._tasks[task.id] = task
        while len(self._tasks) > self._most:
            oldest = next(iter(self._tasks))
            del self._tasks[oldest]
            self._polls.pop(oldest, None)

    def get(self, task_id: str) -> SandboxTask | None:
        """The task, or None if it is unknown or forgotten."""
        return self._tasks.get(task_id)

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
    content = [
        {"type": "image", "url": url, "jobId": task.job_id, "id": f"{task.job_id}_{number}"}
        for number, url in enumerate(task.picture_urls)
    ]
    usage = {"cost": "0.05", "discount": 1}
    return shown | {"status": "completed", "output": [{"content": content}], "usage": usage}


def error_object(code: str, message: str) -> dict[str, object]:
    """The provider's `error` object. The documented code 004007098 is sent as the integer 4007098."""
    return {"code": int(code), "error_message": message}
