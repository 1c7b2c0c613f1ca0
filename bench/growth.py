"""What a million tasks cost: each operation on a small and on a large database, in pages read and in time.

The pages decide whether it passes: they are counted, not timed. Each operation runs on a freshly opened store, so that
it reads every page it needs from the file, and the kernel counts these reads. A B-tree with a hundred times the rows
may be one level deeper, so each tree may add one page; nothing else may depend on the amount of data. The times are
only reported: interleaved pairs on two stores that stay open.
"""

import asyncio
import contextlib
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.history import MODEL, make_history, time_after
from bench.samples import TableRow, completed_body
from receiver.core.clock_check import ClockWatch
from receiver.core.types import AttemptResult, Notice, NoticeEvent, Policy, Report, Target, Task, TaskState, Verdict
from receiver.notify.dispatch import NoticeDispatcher
from receiver.notify.messages.message import Message, NoLinks
from receiver.providers.registry import DEFAULT_PROVIDER, default_adapter
from receiver.store import Store, open_store
from receiver.tasks.ingest import CallbackIngest
from receiver.tasks.sweep import SweepLoop
from receiver.telemetry.metrics import Metrics
from receiver.tokens import new_ref
from receiver.web.api.present import task_views

SMALL, LARGE = 1_000, 1_000_000
PAIRS = 15
BATCH = 64
PAGE_BYTES = 4096
_MINUTE = 60_000


class MeasuredStore:
    """A measured database: the service's parts around it, and a clock that the benchmark moves."""

    def __init__(self, path: Path, store: Store, now: int) -> None:
        self.path = path
        self.store = store
        self.now = now
        policy = Policy(targets=(Target(name="bench", url="json://127.0.0.1:9/"),), started_at=now)
        metrics = Metrics()
        never: Any = None  # never called: the benchmark only claims
        parse = default_adapter().parse
        self.ingest = CallbackIngest(store, parse, policy, self.clock, metrics)
        watch = ClockWatch(self.clock, self.clock)
        self.sweep = SweepLoop(store, never, policy, self.clock, parse=parse, watch=watch, metrics=metrics)
        self.notify = NoticeDispatcher(
            *(store, _InstantSender(), policy, self.clock),
            schedule_ms=[_MINUTE],
            timeout_ms=_MINUTE,
            links=NoLinks(),
            metrics=metrics,
            watch=watch,
        )

    def clock(self) -> int:
        """Milliseconds UTC."""
        return self.now

    async def add_waiting(self, count: int, *, poll_in_ms: int) -> list[Task]:
        """Add submitted tasks that wait for their callback."""
        tasks = []
        for _ in range(count):
            self.now += 10
            tasks.append(
                Task(
                    ref=new_ref(self.now),
                    created_at=self.now,
                    provider=DEFAULT_PROVIDER,
                    state=TaskState.WAITING,
                    task_id=new_ref(self.now),
                    model=MODEL,
                    submitted_at=self.now,
                    poll_at=self.now + poll_in_ms,
                )
            )
        async with self.store.write() as tx:
            await tx.tasks.insert(tasks)
        return tasks


class _InstantSender:
    """A sender whose sends succeed at once."""

    async def send(self, target: Target, message: Message) -> AttemptResult:
        return AttemptResult()


@contextlib.asynccontextmanager
async def open_measured(path: Path, now: int) -> AsyncIterator[MeasuredStore]:
    """Open the database at `path` as the service would at `now`."""
    store = await open_store(path)
    try:
        yield MeasuredStore(path, store, now)
    finally:
        await store.close()


async def _prepare_nothing(subject: MeasuredStore) -> None:
    return None


async def _prepare_callbacks(subject: MeasuredStore) -> list[tuple[str, bytes]]:
    tasks = await subject.add_waiting(BATCH, poll_in_ms=60 * _MINUTE)
    return [(task.ref, completed_body(task.task_id or "")) for task in tasks]


async def _run_ingest(subject: MeasuredStore, called: list[tuple[str, bytes]]) -> None:
    verdicts = await asyncio.gather(*(subject.ingest.receive_callback(ref, said, b"{}") for ref, said in called))
    assert set(verdicts) == {Verdict.ACCEPTED}


async def _prepare_overdue(subject: MeasuredStore) -> None:
    await subject.add_waiting(1, poll_in_ms=0)
    subject.now += _MINUTE


async def _run_sweep(subject: MeasuredStore, _: None) -> None:
    assert await subject.sweep.claim() is not None


async def _prepare_notice(subject: MeasuredStore) -> None:
    report = Report(event=NoticeEvent.ATTENTION, text="to be claimed")
    notice = Notice(
        target="bench", event=report.event, report=report, created_at=subject.now, due_at=subject.now - 60 * _MINUTE
    )
    async with subject.store.write() as tx:
        await tx.notices.insert([notice])


async def _run_notify(subject: MeasuredStore, _: None) -> None:
    send = await subject.notify.claim()
    assert send is not None
    await subject.notify.carry_out(send)


async def _list_page(subject: MeasuredStore, _: None) -> None:
    assert len(await task_views(subject.store, await subject.store.tasks.page(limit=50))) == 50


async def _list_completed(subject: MeasuredStore, _: None) -> None:
    tasks = await subject.store.tasks.page(state="completed", label="label-7", limit=10)
    assert len(await task_views(subject.store, tasks)) == 10


_Prepare = Callable[[MeasuredStore], Awaitable[Any]]
_Run = Callable[[MeasuredStore, Any], Awaitable[object]]
OPERATIONS: dict[str, tuple[_Prepare, _Run]] = {
    "ingest of 64 callbacks": (_prepare_callbacks, _run_ingest),
    "sweep claim": (_prepare_overdue, _run_sweep),
    "notice claimed and recorded": (_prepare_notice, _run_notify),
    "list of 50 tasks": (_prepare_nothing, _list_page),
    "list by state and label": (_prepare_nothing, _list_completed),
}
START = "start-up"


async def count_pages(path: Path, count: int) -> dict[str, int]:
    """How many pages of the database at `path` each operation reads with a cold cache."""
    found = {}
    now = time_after(count) + _MINUTE
    for name, (prepare, run) in OPERATIONS.items():
        for _ in range(2):  # the first run also imports modules
            async with open_measured(path, now) as subject:
                prepared = await prepare(subject)
                now = subject.now
            async with open_measured(path, now) as subject:
                before = _bytes_read()
                await run(subject, prepared)
                found[name] = (_bytes_read() - before) // PAGE_BYTES
    before = _bytes_read()
    async with open_measured(path, now):
        found[START] = (_bytes_read() - before) // PAGE_BYTES
    return found


def deeper_reads(before: dict[str, int], now: dict[str, int], deeper: int) -> dict[str, tuple[int, int]]:
    """The operations that read over `deeper` pages more than before; `deeper` allows a level for each B-tree."""
    return {name: (before[name], now[name]) for name in before if now[name] > before[name] + deeper}


def count_trees(path: Path) -> int:
    """The number of B-trees in the database: its tables and indexes."""
    with contextlib.closing(sqlite3.connect(path)) as raw:
        [(count,)] = raw.execute("SELECT count(*) FROM sqlite_master WHERE rootpage > 0")
    return int(count)


def _bytes_read() -> int:
    """Bytes that this process has read through system calls, from the page cache or the disk."""
    return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])


async def measure_times(
    small: Path, large: Path, counts: tuple[int, int], pairs: int = PAIRS
) -> dict[str, tuple[float, float]]:
    """The milliseconds of each operation on both databases: medians of interleaved pairs, on warm stores."""
    took: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in (*OPERATIONS, START)}
    paths = (small, large)
    nows = [time_after(count) + 60 * _MINUTE for count in counts]
    async with open_measured(small, nows[0]) as first, open_measured(large, nows[1]) as second:
        subjects = (first, second)
        for pair in range(-2, PAIRS):  # two to warm up
            for name, (prepare, run) in OPERATIONS.items():
                for which in (0, 1) if pair % 2 else (1, 0):
                    prepared = await prepare(subjects[which])
                    began = time.perf_counter()
                    await run(subjects[which], prepared)
                    if pair >= 0:
                        took[name][which].append((time.perf_counter() - began) * 1000)
        nows = [it.now for it in subjects]
    for pair in range(PAIRS):
        for which in (0, 1) if pair % 2 else (1, 0):
            began = time.perf_counter()
            async with open_measured(paths[which], nows[which]):
                took[START][which].append((time.perf_counter() - began) * 1000)
    return {name: (statistics.median(small), statistics.median(large)) for name, (small, large) in took.items()}


def rows() -> list[TableRow]:
    """Each operation at 1,000,000 tasks: its time, the ratio to 1,000 (1 or more: not slower), its pages."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        small, large = (Path(name).resolve() / f"{count}.db" for count in (SMALL, LARGE))
        make_history(small, SMALL)
        make_history(large, LARGE)
        read = [asyncio.run(count_pages(path, count)) for path, count in ((small, SMALL), (large, LARGE))]
        if more := deeper_reads(read[0], read[1], count_trees(small)):
            raise SystemExit(f"these read more pages at {LARGE:,} tasks than at {SMALL:,}: {more}")
        took = asyncio.run(measure_times(small, large, (SMALL, LARGE)))
    return [
        (
            f"{name}, at 1,000,000 tasks",
            f"{after_ms:.1f} ms",
            f"{before_ms / after_ms:.2f} of the rate at 1,000; pages read: {read[1][name]}, then {read[0][name]}",
        )
        for name, (before_ms, after_ms) in took.items()
    ]
