"""What 256 chains cost that all fail at once, with 63 tasks waiting below each: while they are cancelled, callbacks
come in, and no turn of the loop that cancels may hold them up.

What decides is counted by the store: the rows of each transaction. The times are reported.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.samples import TableRow, completed_body, fill_store, waiting_tasks
from receiver.core.types import HoldReason, Policy, Target, Task, TaskState
from receiver.providers.registry import DEFAULT_PROVIDER, default_adapter
from receiver.store import Store, Tx, open_store
from receiver.store.writer_turns import Lane
from receiver.tasks.follow import FollowLoop
from receiver.tasks.ingest import CallbackIngest
from receiver.telemetry.metrics import Metrics
from receiver.tokens import new_ref

ROOTS, BELOW = 256, 63
ROWS_MOST = 200
NOW = time.time_ns() // 1_000_000
_MODEL = "midjourney_outpaint"


def failed_body(task_id: str) -> bytes:
    """What the provider says of a task that failed."""
    error = {"code": "004007098", "message": "generation failed"}
    return json.dumps({"id": task_id, "status": "failed", "model": _MODEL, "error": error}).encode()


def make_chain(number: int) -> list[Task]:
    """A waiting task, and the 63 that wait below it: sixteen go on from it, and three from each of most of these."""
    root_ref = new_ref(NOW)
    root = Task(
        ref=root_ref,
        created_at=NOW,
        provider=DEFAULT_PROVIDER,
        model=_MODEL,
        task_id=f"job {number}",
        state=TaskState.WAITING,
        submitted_at=NOW,
        root=root_ref,
        poll_at=NOW + 10**9,
    )
    tasks = [root]
    while len(tasks) <= BELOW:
        parent = root if len(tasks) <= 16 else tasks[1 + (len(tasks) - 17) // 3]
        child = Task(
            ref=new_ref(NOW),
            created_at=NOW,
            provider=DEFAULT_PROVIDER,
            model=_MODEL,
            root=root_ref,
            parent=parent.ref,
            depth=parent.depth + 1,
            parent_image=0,
            held_by=HoldReason.PARENT,
            params=b'{"scale":1.5}',
        )
        tasks.append(child)
    return tasks


class TurnMeter:
    """Notes of each transaction of the loop how many rows it wrote and how long it held the writer, in ms."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.times_ms: list[float] = []

    def wrap(self, store: Store) -> None:
        """Measure what is written with `store.write()`; ingest has a lane of its own, which is not measured."""
        write, meter = store.write, self

        @asynccontextmanager
        async def measured(lane: Lane = Lane.OTHER) -> AsyncIterator[Tx]:
            async with write(lane) as tx:
                began, raw = time.perf_counter(), tx.connection._raw  # type: ignore[attr-defined]
                before = raw.changed
                yield tx
            if lane is Lane.OTHER:
                meter.times_ms.append((time.perf_counter() - began) * 1000)
                meter.rows.append(raw.changed - before)

        store.write = measured  # type: ignore[method-assign]  # the benchmark's own wrapping


async def _measure_callbacks(ingest: CallbackIngest, tasks: list[Task], stop: asyncio.Event) -> list[float]:
    """How long callbacks take that come one after the other, 100 a second, until `stop`; in ms."""
    took = []
    for task in tasks:
        if stop.is_set():
            break
        began = time.perf_counter()
        await ingest.receive_callback(task.ref, completed_body(task.task_id or ""), b"{}")
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.01)
    return took


async def measure() -> list[TableRow]:
    """The rows of the table."""
    policy = Policy(targets=(Target(name="bench", url="json://127.0.0.1:9/"),), started_at=NOW)
    single = waiting_tasks(4_000)
    chains = [make_chain(number) for number in range(ROOTS)]
    with tempfile.TemporaryDirectory() as folder:
        await fill_store(Path(folder, "r.db"), [*single, *(task for chain in chains for task in chain)])
        store = await open_store(Path(folder, "r.db"))
        ingest = CallbackIngest(store, default_adapter().parse, policy, lambda: NOW, Metrics())
        follow = FollowLoop(store, policy, lambda: NOW, image_url=lambda folder, file: None, metrics=Metrics())
        quiet, busy, stop = single[:500], single[500:], asyncio.Event()
        alone = await _measure_callbacks(ingest, quiet, stop)
        bodies = [(chain[0].ref, failed_body(chain[0].task_id or "")) for chain in chains]
        await asyncio.gather(*(ingest.receive_callback(ref, body, b"{}") for ref, body in bodies))
        meter = TurnMeter()
        meter.wrap(store)
        beside = asyncio.create_task(_measure_callbacks(ingest, busy, stop))
        began = time.perf_counter()
        while await follow.claim() == "follow":
            pass
        took = time.perf_counter() - began
        stop.set()
        during = await beside
        states = dict(await store.tasks.count_by_state())
        assert "queued" not in states, states
        await ingest.close()
        await store.close()
    assert max(meter.rows) <= ROWS_MOST, f"a turn wrote {max(meter.rows)} rows"
    return [
        (
            f"{ROOTS} chains fail at once, {BELOW} tasks below each: all are cancelled after",
            f"{took:.1f} s, {len(meter.rows)} turns",
            "",
        ),
        (
            "the rows of the largest turn, at most 200",
            str(max(meter.rows)),
            f"median {statistics.median(meter.rows):.0f}",
        ),
        (
            "how long a turn holds the writer, p50 and p99",
            f"{quantile(meter.times_ms, 0.5):.1f} and {quantile(meter.times_ms, 0.99):.1f} ms",
            f"the longest: {max(meter.times_ms):.1f} ms",
        ),
        (
            "a callback meanwhile, p50 and p99",
            f"{quantile(during, 0.5):.1f} and {quantile(during, 0.99):.1f} ms",
            f"without: {quantile(alone, 0.5):.1f} and {quantile(alone, 0.99):.1f} ms",
        ),
    ]


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of them lies."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def rows() -> list[TableRow]:
    """What `make bench` prints."""
    return asyncio.run(measure())


if __name__ == "__main__":
    print(*map(" | ".join, rows()), sep="\n")
