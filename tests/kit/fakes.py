"""Stand-ins at the three seams that tests may replace: the clock, the provider's HTTP, the sender; and sample rows.

A body in these tests is an `Outcome` as JSON, so that what a callback says is written down in the project's own terms;
how real bodies are read is `test_bodies`' business.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from receiver.core.clock_check import ClockWatch
from receiver.core.types import (
    AttemptResult,
    Ending,
    Image,
    Notice,
    NoticeEvent,
    Outcome,
    OutcomeShape,
    Policy,
    PollReply,
    PollResult,
    Report,
    SubmitAnswer,
    SubmitResult,
    Target,
    Task,
    TaskError,
    TaskState,
)
from receiver.notify.messages.message import Message
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import Store
from receiver.store.sqlite.engine import SqliteStore
from receiver.tokens import new_ref

NOW = 1_767_000_000_000
SECOND = 1_000
MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000
MODEL = "midjourney_outpaint"
PICTURES = (Image(0, "https://pics.example/0.png?sig=a"), Image(1, "https://pics.example/1.png?sig=a"))
SLACK = Target(name="slack", url="json://slack.invalid/")
MAIL = Target(name="mail", url="json://mail.invalid/")
POLICY = Policy(targets=(SLACK,), started_at=NOW)


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def forward(self, ms: int) -> None:
        self.now += ms


def steady(clock: Callable[[], int]) -> ClockWatch:
    """A watch over a clock that never leaps, however far it goes."""
    return ClockWatch(clock, clock)


async def elapse(span_s: float) -> None:
    """Let so much time pass at once for all timers of the running loop, and what they end have its end.

    So a test can have a deadline that no machine meets by being slow, and still see it pass.
    """
    loop = asyncio.get_running_loop()
    time = loop.time
    loop.time = lambda: time() + span_s  # type: ignore[method-assign]  # the clock is one of the three seams
    for _ in range(5):  # the timers; what they cancel; sockets that they close
        await asyncio.sleep(0)


class FakeProvider:
    """Answers what it was told to, in that order, then `answer()` and `reply`; remembers what it was asked.

    `before_reply` runs while the question is under way: what happens meanwhile.
    """

    def __init__(self) -> None:
        self.answers: deque[SubmitAnswer] = deque()
        self.replies: deque[PollReply] = deque()
        self.answer: Callable[[], SubmitAnswer] = lambda: SubmitAnswer(SubmitResult.UNCLEAR, "nobody told me")
        self.reply = PollReply(PollResult.NOTHING, "nobody told me")
        self.submitted: list[tuple[str, bytes, str | None]] = []
        self.polled: list[str] = []
        self.before_reply: Callable[[], Any] | None = None

    async def submit(self, model: str, params: bytes, callback: str | None) -> SubmitAnswer:
        self.submitted.append((model, params, callback))
        if self.before_reply is not None:
            await self.before_reply()
        return self.answers.popleft() if self.answers else self.answer()

    async def poll(self, task_id: str) -> PollReply:
        self.polled.append(task_id)
        if self.before_reply is not None:
            await self.before_reply()
        return self.replies.popleft() if self.replies else self.reply


class FakeSender:
    """Sends nowhere: answers `results` in order, then success; `gate` holds every send until it is set."""

    def __init__(self) -> None:
        self.results: deque[AttemptResult] = deque()
        self.sent: list[tuple[str, Message]] = []
        self.gate: asyncio.Event | None = None
        self.begun = asyncio.Event()

    async def send(self, target: Target, message: Message) -> AttemptResult:
        self.sent.append((target.name, message))
        self.begun.set()
        if self.gate is not None:
            await self.gate.wait()
        return self.results.popleft() if self.results else AttemptResult(duration_ms=7)


def says(ending: Ending, task_id: str | None = "job-1", **more: Any) -> Outcome:
    """An outcome in the provider's own words; a completed one has PICTURES unless told otherwise."""
    if ending is Ending.COMPLETED:
        more.setdefault("images", PICTURES)
    if ending is Ending.FAILED:
        more.setdefault("error", TaskError("004007098", "moderated", b'{"code": 4007098}'))
    return Outcome(**{"ending": ending, "shape": OutcomeShape.TASK, "status": ending.value, "task_id": task_id, **more})


def foreign(ending: Ending, shape: OutcomeShape = OutcomeShape.JOB, **more: Any) -> Outcome:
    """An outcome in somebody else's words: no id of the provider's to compare."""
    return says(ending, None, shape=shape, **more)


def body(outcome: Outcome) -> bytes:
    """The bytes from which `parse` reads `outcome`."""
    return msgspec.json.encode(outcome)


def parse(raw: bytes) -> Outcome | None:
    """The outcome that `body` wrote; None for anything else."""
    try:
        return msgspec.json.decode(raw, type=Outcome)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


_made = iter(range(1, 1 << 60))


def a_ref(now: int = NOW) -> str:
    """A fresh ref; refs sort in the order in which they were made."""
    return new_ref(now, next(_made).to_bytes(10, "big"))


def a_task(state: TaskState = TaskState.WAITING, **more: Any) -> Task:
    """A task as the rooms would have left it in `state`, submitted at NOW under the id `job-1`."""
    task = Task(ref=a_ref(), created_at=NOW, provider=DEFAULT_PROVIDER, model=MODEL, state=state)
    if state is TaskState.QUEUED:
        task = replace(task, due_at=NOW)
    elif state is TaskState.SUBMITTING:
        task = replace(task, submitted_at=NOW, lease_until=NOW + MINUTE, place_until=1 << 62, claim=1)
    elif state is TaskState.CANCELLED:
        task = replace(task, settled_at=NOW)
    else:
        task = replace(task, submitted_at=NOW, task_id="job-1")
    if state is TaskState.WAITING:
        task = replace(task, poll_at=NOW + 2 * MINUTE, place_until=1 << 62)
    elif state is TaskState.COMPLETED:
        task = replace(task, settled_at=NOW)
    elif state is TaskState.FAILED:
        task = replace(task, settled_at=NOW, error=TaskError(None, "moderated"))
    return replace(task, **more)


def a_notice(target: str = "slack", **more: Any) -> Notice:
    """One notice due at NOW."""
    report = Report(event=NoticeEvent.COMPLETED, ref="r", images=PICTURES)
    row = {"target": target, "event": NoticeEvent.COMPLETED, "report": report, "created_at": NOW, "due_at": NOW}
    return Notice(**{**row, **more})


async def put(store: Store, *tasks: Task) -> None:
    """Put tasks into the store as they are."""
    async with store.write() as tx:
        await tx.tasks.insert(tasks)


async def owe(store: Store, *notices: Notice) -> None:
    """Put notices into the outbox."""
    async with store.write() as tx:
        await tx.notices.insert(notices)


async def got(store: Store, ref: str) -> Task:
    """The task as it is stored."""
    return (await store.tasks.get([ref]))[ref]


async def notices(store: Store, ref: str | None = None, event: NoticeEvent | None = None) -> list[Notice]:
    """The notices of a task (or all), oldest first."""
    page = await store.notices.page(ref=ref, limit=1000)
    return [it for it in reversed(page) if event is None or it.event is event]


async def attention(store: Store) -> list[str]:
    """The causes of all attention that was owed, each once per target, oldest first."""
    return [it.report.cause or "" for it in await notices(store, event=NoticeEvent.ATTENTION)]


async def claimed(claim: Callable[[], Any]) -> Any:
    """What a loop's `claim` gives; there must be something."""
    work = await claim()
    assert work is not None
    return work


async def impatient(store: Store) -> None:
    """Let the store give up at once, not after a second, when another process holds the database."""
    assert isinstance(store, SqliteStore)
    async with store.write() as tx:
        await tx.connection.run_statement("PRAGMA busy_timeout = 1")


@contextmanager
def busy(path: Path) -> Iterator[None]:
    """Another process writes to the database for as long as this lasts."""
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
    finally:
        other.close()
