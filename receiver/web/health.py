"""How the service is: /healthz for the process, /readyz for its store and its loops, /metrics for Prometheus.

A loop that died has stopped the process (`worker`), so what answers here has its loops until they are told to stop; it
says so from then on.
"""

import asyncio

import prometheus_client
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from receiver.model import NoticeState, State
from receiver.store import Store
from receiver.web.answers import answer
from receiver.web.auth import Guard
from receiver.wiring import Parts

PROBE_EVERY_MS = 10_000
PROBE_MOST_S = 2.0
_WAITING = (State.QUEUED, State.SUBMITTING, State.WAITING)
_OWED = (NoticeState.DUE, NoticeState.SENDING, NoticeState.HELD, NoticeState.DEAD)


class Health(Struct, frozen=True, omit_defaults=True):
    """How it is, and why it is not better."""

    status: str
    why: str | None = None


class Probe:
    """Asks the store for a commit at most every 10 s, whoever wants to know, and waits 2 s for it at most.

    What it found is the store's own `fault`, which any later commit that goes well takes back.
    """

    def __init__(self, parts: Parts) -> None:
        self._store: Store = parts.store
        self._clock = parts.clock
        self._asked_at = 0
        self._running: asyncio.Task[str | None] | None = None

    async def fault(self) -> str | None:
        """None if the last commit went well; else why not. A reason already known is told though the probe waits."""
        now = self._clock()
        idle = self._running is None or self._running.done()
        if self._running is None or (idle and abs(now - self._asked_at) >= PROBE_EVERY_MS):
            self._asked_at = now
            self._running = asyncio.create_task(self._store.probe(), name="probe")
        done, _ = await asyncio.wait({self._running}, timeout=PROBE_MOST_S)
        if not done:
            return self._store.fault or "the database does not answer"
        self._running.result()  # what nobody foresaw is raised: it is no reason to call this ready
        return self._store.fault


def routes(parts: Parts, stops: tuple[asyncio.Event, ...]) -> list[BaseRoute]:
    """The four paths outside the API. Once one of `stops` is set, the service is not ready any more."""
    probe = Probe(parts)

    async def root(request: Request) -> Response:
        return answer({"service": "receiver", "api": "/api/v1", "openapi": "/api/v1/openapi.json"})

    async def healthz(request: Request) -> Response:
        return answer(Health("ok"))

    async def readyz(request: Request) -> Response:
        why = "the service is stopping" if any(it.is_set() for it in stops) else await probe.fault()
        return answer(Health("ready")) if why is None else answer(Health("unready", why), 503)

    async def metrics(request: Request) -> Response:
        return Response(parts.metrics.text(await _depths(parts)), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    guarded = Route("/metrics", metrics)
    guarded.app = Guard(guarded.app, parts.api_tokens)
    return [Route("/", root), Route("/healthz", healthz), Route("/readyz", readyz), guarded]


async def _depths(parts: Parts) -> list[tuple[str, int]]:
    tasks = dict(await parts.store.tasks.counts())
    notices = dict(await parts.store.notices.counts())
    return [
        ("ingest", parts.ingest.depth),
        *((state.value, tasks.get(state.value, 0)) for state in _WAITING),
        *((f"notices_{state.value}", notices.get(state.value, 0)) for state in _OWED),
    ]
