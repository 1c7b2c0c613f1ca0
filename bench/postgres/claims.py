"""Whether a claim costs more when a million tasks are stored: the blocks that its statements touch, not their time.

The product's own loops claim, over a database of 1,000 finished tasks and over one of 1,000,000. PostgreSQL's
`auto_explain` writes what each statement touched into the server's log, as it was planned for the product.
"""

import asyncio
import json
import statistics
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.growth import OPERATIONS, MeasuredStore
from bench.history import APART_MS, BORN, time_after
from bench.postgres.cluster import PostgresCluster, database_place, open_cluster
from bench.samples import TableRow
from receiver.core.budgets import BudgetRules
from receiver.core.clock_check import ClockWatch
from receiver.core.types import (
    Ending,
    Outcome,
    OutcomeShape,
    Policy,
    PollReply,
    PollResult,
    SubmitAnswer,
    SubmitResult,
    Task,
    TaskState,
)
from receiver.providers.registry import DEFAULT_PROVIDER, default_adapter
from receiver.store import Store, open_store
from receiver.tasks.budget_check import BudgetCheck
from receiver.tasks.submit import SubmitLoop
from receiver.telemetry.metrics import Metrics
from receiver.tokens import new_ref

SMALL, LARGE = 1_000, 1_000_000
TIMES = 9
MINUTE = 60_000
FILL_MOST_S = 600
LOG_MOST_S = 10.0
MOST = 1.5
EXPLAIN = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_nested_statements": "on",
    "max_wal_size": "4GB",
    "maintenance_work_mem": "256MB",
}

# As `bench.history` writes it for SQLite, without the callbacks' bodies: no claim looks at them.
_HISTORY = """
CREATE TEMP TABLE past AS SELECT n AS i, {born}::bigint + n::bigint * {apart} AS at,
    lpad(to_hex(({born}::bigint + n::bigint * {apart}) >> 16), 8, '0') || '-'
    || lpad(to_hex(({born}::bigint + n::bigint * {apart}) & 65535), 4, '0') || '-7000-8000-'
    || lpad(to_hex(n), 12, '0') AS ref
    FROM generate_series(0, {count} - 1) AS n;
INSERT INTO tasks (
    ref, created_at, provider, origin, label, poll_only, params, state, task_id, model, unsure, confirmed, settled_by,
    submitted_at, settled_at, called_at, pictures, tries, claim, polls, poll_step, kept, kept_bytes
) SELECT ref, at, 'vtrix', 'submitted', 'label-' || (i % 100), 0, '{{}}'::bytea,
    CASE WHEN i % 20 = 0 THEN 'failed' ELSE 'completed' END, md5(i::text), 'midjourney_outpaint', 0, 1, 'callback',
    at, at + 60000, at + 60000, md5('p' || i), 0, 1, 0, 0, 1, 1024 FROM past ORDER BY i;
INSERT INTO images (ref, image_no, type, url)
    SELECT ref, 0, 'image', 'https://cdn.example.com/pictures/' || i || '.png' FROM past ORDER BY i;
INSERT INTO callbacks (ref, received_at, verdict, size, digest, headers)
    SELECT ref, at + 60000, 'accepted', 1024, decode(md5(i::text), 'hex'), '{{}}'::bytea FROM past ORDER BY i;
INSERT INTO sends (target, state, created_at, due_at, tries, claims, claim)
    SELECT 'bench', 'sent', at + 60000, at + 60000, 0, 0, 1 FROM past ORDER BY i;
INSERT INTO notices (ref, target, event, created_at, due_at, state, send_id, attempts, sent_at, report)
    SELECT ref, 'bench', 'completed', at + 60000, at + 60000, 'sent', i + 1, 1, at + 61000,
    '{{"event":"completed","images":[{{"image_no":0,"url":"https://cdn.example.com/pictures/0.png"}}]}}'
    FROM past ORDER BY i;
INSERT INTO attempts (send_id, at, duration_ms) SELECT i + 1, at + 61000, 300 FROM past ORDER BY i;
"""


_DECODER = json.JSONDecoder(strict=False)  # tabs are as they are


class BlockLog:
    """The server's log, read on from where it was read before."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = log.stat().st_size

    async def read_blocks(self) -> int:
        """The blocks that the statements since the last call have touched, from memory or from disk."""
        end = time.monotonic() + LOG_MOST_S
        while True:
            written = self._log.read_bytes()
            parts = written[self._at :].decode(errors="replace").split(" plan:\n")[1:]
            try:
                plans = [_DECODER.raw_decode(part.lstrip())[0]["Plan"] for part in parts]
            except json.JSONDecodeError:  # it is being written
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.05)
                continue
            self._at = len(written)
            return sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans)


class _TakingProvider:
    """Takes every task at once."""

    async def submit(self, model: str, params: bytes, callback: str | None) -> SubmitAnswer:
        running = Outcome(Ending.RUNNING, OutcomeShape.TASK, "in_progress", task_id=uuid.uuid4().hex[:20])
        return SubmitAnswer(SubmitResult.TAKEN, "taken", running)

    async def poll(self, task_id: str) -> PollReply:
        return PollReply(PollResult.NOTHING, "not asked here")


class ClaimingStore(MeasuredStore):
    """A measured database whose queue is submitted from, too."""

    def __init__(self, store: Store, now: int) -> None:
        super().__init__(Path(), store, now)
        policy, metrics = Policy(started_at=now), Metrics()
        self.submit = SubmitLoop(
            *(store, _TakingProvider(), policy, self.clock),
            parse=default_adapter().parse,
            callback_url=str,
            key_id="bench",
            concurrency=10_000,
            metrics=metrics,
            budget=BudgetCheck(BudgetRules(), policy, ClockWatch(self.clock, self.clock)),
        )

    async def queue_task(self) -> None:
        """One task that is due."""
        self.now += 10
        task = Task(
            ref=new_ref(self.now),
            created_at=self.now,
            provider=DEFAULT_PROVIDER,
            state=TaskState.QUEUED,
            model="midjourney_outpaint",
            lane=2,
            due_at=self.now,
        )
        async with self.store.write() as tx:
            await tx.tasks.insert([task])


Operation = tuple[Callable[[ClaimingStore], Awaitable[Any]], Callable[[ClaimingStore, Any], Awaitable[object]]]


async def _submit(subject: ClaimingStore, _: None) -> None:
    task = await subject.submit.claim()
    assert task is not None
    await subject.submit.carry_out(task)


CLAIMS: dict[str, Operation] = {
    "submission claimed and recorded": (ClaimingStore.queue_task, _submit),
    "poll claimed": OPERATIONS["sweep claim"],
    "message claimed and recorded": OPERATIONS["notice claimed and recorded"],
    "ingest of 64 callbacks": OPERATIONS["ingest of 64 callbacks"],
}


async def count_blocks(cluster: PostgresCluster, database: str, count: int) -> dict[str, int]:
    """The blocks that each claim touches in a database with so many finished tasks: medians."""
    store = await open_store(database_place(cluster.url(database)))
    try:
        subject, log = ClaimingStore(store, time_after(count) + MINUTE), BlockLog(cluster.log)
        found: dict[str, list[int]] = {name: [] for name in CLAIMS}
        for name, (prepare, run) in CLAIMS.items():
            for _ in range(TIMES):
                prepared = await prepare(subject)
                await log.read_blocks()
                await run(subject, prepared)
                found[name].append(await log.read_blocks())
        return {name: round(statistics.median(each)) for name, each in found.items()}
    finally:
        await store.close()


def make_history(cluster: PostgresCluster, count: int) -> str:
    """A database with so many finished tasks; its name."""
    name = cluster.make_database()
    asyncio.run(_migrate(cluster.url(name)))
    quiet = "SET auto_explain.log_min_duration = -1; SET synchronous_commit = off;"
    sql = _HISTORY.format(born=BORN, apart=APART_MS, count=count)
    for statement in (sql, "VACUUM ANALYZE;"):  # the second one alone: it must not be in a transaction
        subprocess.run(
            cluster.psql(name), input=quiet + statement, text=True, check=True, timeout=FILL_MOST_S, capture_output=True
        )
    return name


async def _migrate(url: str) -> None:
    await (await open_store(database_place(url))).close()


def claim_rows() -> list[TableRow]:
    """The lines of the table, from a cluster of their own."""
    with open_cluster(EXPLAIN, durable=False) as cluster:
        small, large = (
            asyncio.run(count_blocks(cluster, make_history(cluster, count), count)) for count in (SMALL, LARGE)
        )
    return [
        (
            f"{name}: blocks at {LARGE:,} tasks, of those at {SMALL:,}",
            f"{large[name] / small[name]:.2f}",
            f"at most {MOST}; {large[name]}, then {small[name]}",
        )
        for name in CLAIMS
    ]
