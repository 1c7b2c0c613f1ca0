"""Results of sends whose commit was done though nobody heard so: they are recorded again, and count once."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import SLACK, Clock, FakeSender, attention, claimed, notices, owe
from kit.notify_loop import DOWN, GONE, a_notify, some
from receiver.core.errors import StoreUnavailable
from receiver.core.types import AttemptResult
from receiver.store import Lane, Store
from receiver.store.tables.hours import HourKind

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("lost", [1, 2])
@pytest.mark.parametrize(
    ("result", "state", "sent"),
    [(AttemptResult(duration_ms=7), "sent", 1), (DOWN, "due", 0), (replace(GONE, duration_ms=9), "dead", 0)],
    ids=["sent", "failed", "given-up"],
)
async def test_a_result_counts_once(
    store: Store,
    sender: FakeSender,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    result: AttemptResult,
    state: str,
    sent: int,
    lost: int,
) -> None:
    monkeypatch.setattr("receiver.store.insist.RECORD_GAPS_S", (0.0, 0.0))
    await owe(store, *some(1))
    notify = a_notify(store, sender, clock, SLACK)
    send = await claimed(notify.claim)
    sender.results.append(result)
    write, left = store.write, [lost]

    @contextlib.asynccontextmanager
    async def lossy(lane: Lane = Lane.OTHER) -> AsyncIterator[Any]:
        async with write(lane) as tx:
            yield tx
        left[0] -= 1
        if left[0] >= 0:
            raise StoreUnavailable("the database did not say whether it committed")

    with monkeypatch.context() as patched:
        patched.setattr(store, "write", lossy)
        await notify.carry_out(send)
    assert left[0] < 0, "each answer was lost that should be"
    assert [(it.state, it.attempts) for it in await notices(store)] == [(state, 1)]
    assert len(await store.notices.send_attempts([send.id])) == 1
    assert [it.count for it in await store.hours.counts_since(HourKind.SENT, 0)] == [1] * sent
    assert await attention(store) == []


async def test_a_turn_that_was_not_committed_is_recorded_by_the_next(
    store: Store, sender: FakeSender, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.store.insist.RECORD_GAPS_S", (0.0,))
    await owe(store, *some(1))
    notify = a_notify(store, sender, clock, SLACK)
    send = await claimed(notify.claim)
    write, left = store.write, [1]

    @contextlib.asynccontextmanager
    async def failing(lane: Lane = Lane.OTHER) -> AsyncIterator[Any]:
        async with write(lane) as tx:
            yield tx
            left[0] -= 1
            if left[0] >= 0:
                raise StoreUnavailable("the connection to the database is gone")

    with monkeypatch.context() as patched:
        patched.setattr(store, "write", failing)
        await notify.carry_out(send)
    assert [(it.state, it.attempts) for it in await notices(store)] == [("sent", 1)]
    assert len(await store.notices.send_attempts([send.id])) == 1
