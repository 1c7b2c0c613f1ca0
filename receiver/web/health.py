"""Health checks: /healthz for the process, /readyz for its store and its loops; and the gauges of /metrics.

A loop that dies stops the process (`service.worker`). So as long as this answers, the loops run; once they are asked to
stop, /readyz says so.
"""

import asyncio
import contextlib

from msgspec import Struct
from starlette.types import Receive, Scope, Send

from receiver.core.errors import StoreError, Unwritable
from receiver.core.money import NANO
from receiver.core.queue_waits import QueueReason, count_waits
from receiver.core.types import NoticeState, TaskState
from receiver.service.wiring import ServiceParts
from receiver.store import Store
from receiver.telemetry.metrics import GaugeValues
from receiver.web.json_replies import INTERNAL, problem_view, send_json

LIVE_PATH = "/healthz"
READY_PATH = "/readyz"
PROBE_EVERY_MS = 10_000
PROBE_MOST_S = 2.0
COUNTED_MS = 5_000


class HealthReport(Struct, frozen=True, omit_defaults=True):
    """The status, and why it is not ready. `listening`: whether wake-ups of other processes are heard, if there may be
    any; without them work is found a little later, and all is done."""

    status: str
    why: str | None = None
    listening: bool | None = None


class StoreProbe:
    """Asks the store for a commit, at most every 10 s however many ask, and waits at most 2 s for it.

    What it finds is the store's own `fault`, which the next good commit clears.
    """

    def __init__(self, parts: ServiceParts) -> None:
        self._store: Store = parts.store
        self._clock = parts.clock
        self._asked_at = 0
        self._running: asyncio.Task[str | None] | None = None

    async def find_fault(self) -> str | None:
        """None if the last commit succeeded, else why not. A known reason is returned even while the probe waits."""
        now = self._clock()
        idle = self._running is None or self._running.done()
        if self._running is None or (idle and abs(now - self._asked_at) >= PROBE_EVERY_MS):
            self._asked_at = now
            self._running = asyncio.create_task(self._store.probe(), name="probe")
        done, _ = await asyncio.wait({self._running}, timeout=PROBE_MOST_S)
        if not done:
            return self._store.fault or "the database does not answer"
        self._running.result()  # an unforeseen error is raised: then this is not ready either
        return self._store.fault


class HealthEndpoints:
    """The ASGI application behind /healthz and /readyz. Once one of `stops` is set, the service is not ready."""

    def __init__(self, parts: ServiceParts, stops: tuple[asyncio.Event, ...]) -> None:
        self._store = parts.store
        self._probe = StoreProbe(parts)
        self._stops = stops

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"] == LIVE_PATH:
            await send_json(send, HealthReport("ok"))
            return
        try:
            why = await self.why_unready()
            report = HealthReport("ready" if why is None else "unready", why, self._store.listening)
        except Exception:
            await send_json(send, problem_view(INTERNAL), INTERNAL.status)
            raise
        await send_json(send, report, 200 if why is None else 503)

    async def why_unready(self) -> str | None:
        """None if it is ready, else why it is not."""
        return "the service is stopping" if any(it.is_set() for it in self._stops) else await self._probe.find_fault()


_WAITING = (TaskState.QUEUED, TaskState.SUBMITTING, TaskState.WAITING)
_OWED = (NoticeState.DUE, NoticeState.SENDING, NoticeState.HELD, NoticeState.DEAD)


class RowCounts(Struct, frozen=True):
    """What the gauges say of the database's rows; without an answer of the database it is empty, and not `read`."""

    depths: tuple[tuple[str, int], ...] = ()
    waits: tuple[tuple[str, int], ...] = ()
    reserved_usd: float | None = None
    read: bool = False


class GaugeReader:
    """Reads the gauges for /metrics. Without an answer from the database only its counts are missing.

    Over a shared database, each process would have the same rows counted: there the counts are up to 5 s old.
    """

    def __init__(self, parts: ServiceParts, checks: HealthEndpoints) -> None:
        self._parts = parts
        self._checks = checks
        self._counts = RowCounts()
        self._counted_at = 0
        self._one_at_a_time = asyncio.Lock()

    async def read(self) -> GaugeValues:
        """The gauges now."""
        parts = self._parts
        ready = await self._checks.why_unready() is None
        counts = await self._read_counts()
        database, log = await asyncio.to_thread(parts.store.file_sizes)
        free: int | None = None
        size: int | None = None
        with contextlib.suppress(Unwritable):
            free, size = await asyncio.to_thread(parts.files.disk_space)
        return GaugeValues(
            depths=[("ingest", parts.ingest.queue_depth), *counts.depths],
            waits=counts.waits,
            ready=ready and counts.read,
            database=database,
            database_log=log,
            disk_free=free,
            disk_size=size,
            reserved_usd=counts.reserved_usd,
        )

    async def _read_counts(self) -> RowCounts:
        if not self._parts.store.shared:
            return await count_rows(self._parts)
        async with self._one_at_a_time:
            now = self._parts.clock()
            if not self._counts.read or abs(now - self._counted_at) >= COUNTED_MS:
                self._counts, self._counted_at = await count_rows(self._parts), now
            return self._counts


async def count_rows(parts: ServiceParts) -> RowCounts:
    """Count the rows of which the gauges speak."""
    try:
        tasks = dict(await parts.store.tasks.count_by_state())
        notices = dict(await parts.store.notices.count_by_state())
        depths = [(state.value, tasks.get(state.value, 0)) for state in _WAITING]
        depths += [(f"notices_{state.value}", notices.get(state.value, 0)) for state in _OWED]
        depths += [("archive", await parts.store.tasks.count_to_archive())]
        held = await parts.store.chains.count_held()
        in_turn = tasks.get(TaskState.QUEUED.value, 0) - sum(held.values())
        queued = count_waits(await parts.submit.queue.describe(), in_turn)
        queued |= {QueueReason.PARENT: held["parent"], QueueReason.PICK: held["pick"]}
        waits = [(why.value, count) for why, count in queued.items()]
        reserved_usd = await parts.store.spend.reserved() / NANO
    except StoreError:
        return RowCounts()
    return RowCounts(tuple(depths), tuple(waits), reserved_usd, read=True)
