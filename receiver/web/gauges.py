"""How things stand, found out when /metrics is asked: each in a moment, and what cannot be is left out."""

import asyncio

from receiver.errors import StoreError, Unwritable
from receiver.metrics import Gauges
from receiver.model import NoticeState, State
from receiver.web.health import Checks
from receiver.wiring import Parts

_WAITING = (State.QUEUED, State.SUBMITTING, State.WAITING)
_OWED = (NoticeState.DUE, NoticeState.SENDING, NoticeState.HELD, NoticeState.DEAD)


async def gauges(parts: Parts, checks: Checks) -> Gauges:
    """Ready as /readyz says it; the counters are told though the database does not answer."""
    ready = await checks.why_not() is None
    depths = [("ingest", parts.ingest.depth)]
    try:
        tasks, notices = dict(await parts.store.tasks.counts()), dict(await parts.store.notices.counts())
        depths += [(state.value, tasks.get(state.value, 0)) for state in _WAITING]
        depths += [(f"notices_{state.value}", notices.get(state.value, 0)) for state in _OWED]
        depths += [("archive", await parts.store.tasks.count_to_archive())]
    except StoreError:
        ready = False
    database, log = await asyncio.to_thread(parts.store.sizes)
    try:
        free, size = await asyncio.to_thread(parts.files.space)
    except Unwritable:
        return Gauges(depths=depths, ready=ready, database=database, database_log=log)
    return Gauges(depths=depths, ready=ready, database=database, database_log=log, disk_free=free, disk_size=size)
