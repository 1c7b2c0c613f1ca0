"""The notify loop over targets that have ways of their own, and what tests of it ask for again and again."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from msgspec.structs import replace

from kit.fakes import HOUR, MINUTE, NOW, POLICY, SECOND, FakeSender, a_notice, a_ref, notices, steady
from receiver.core.types import AttemptResult, Notice, NoticeEvent, Send, Target
from receiver.notify.dispatch import NoticeDispatcher
from receiver.notify.messages.message import Message, NoLinks
from receiver.store import Store
from receiver.telemetry.metrics import Metrics

SCHEDULE = [5 * SECOND, 30 * SECOND, 2 * MINUTE, HOUR]
DOWN = AttemptResult(error="error=500", duration_ms=3)
GONE = AttemptResult(error="Apprise cannot use this URL", permanent=True)
REFUSED = AttemptResult(error="error=404", looks_final=True)
PICKY = AttemptResult(error="error=422: a forbidden word", of_message=True)
BUSY = AttemptResult(error="error=429", retry_after_ms=40 * SECOND)


def a_notify(
    store: Store, sender: FakeSender, clock: Callable[[], int], *targets: Target, **more: Any
) -> NoticeDispatcher:
    """The loop for these targets, without jitter."""
    return NoticeDispatcher(
        store,
        sender,
        replace(POLICY, targets=targets),
        clock,
        schedule_ms=SCHEDULE,
        timeout_ms=30 * SECOND,
        metrics=Metrics(),
        jitter=lambda: 0.0,
        **{"watch": steady(clock), "links": NoLinks(), **more},
    )


async def all_that_may_go(notify: NoticeDispatcher) -> list[int]:
    """Carry whatever may be told now, one after the other; how many notices each send had."""
    sizes = []
    while (send := await next_send(notify)) is not None:
        await notify.carry_out(send)
        sizes.append(len(send.notices))
    return sizes


async def next_send(notify: NoticeDispatcher) -> Send | None:
    """What the worker would carry next: it asks again at once while it is told to."""
    for _ in range(20):
        if (send := await notify.claim()) is not None:
            return send
        due = await notify.next_due()
        if due is None or due > notify._clock():
            return None
    raise AssertionError("it is never done")


async def begin(notify: NoticeDispatcher, sender: FakeSender, send: Send) -> Callable[[], Awaitable[None]]:
    """Carry this until the sender has it; what then ends it, with the sender's next result."""
    sender.gate = gate = asyncio.Event()
    sender.begun.clear()
    carried = asyncio.create_task(notify.carry_out(send))
    async with asyncio.timeout(60):
        await sender.begun.wait()
    sender.gate = None

    async def end() -> None:
        gate.set()
        await carried

    return end


async def states(store: Store) -> dict[str, int]:
    """How many notices are in which state."""
    found = [it.state.value for it in await notices(store)]
    return {state: found.count(state) for state in sorted(set(found))}


def some(
    count: int, event: NoticeEvent = NoticeEvent.COMPLETED, at: int = NOW, target: str = "slack"
) -> Iterable[Notice]:
    """Notices of tasks of their own that are due."""
    for _ in range(count):
        ref = a_ref()
        one = a_notice(target, ref=ref, event=event, created_at=at, due_at=at)
        yield replace(one, report=replace(one.report, event=event, ref=ref))


class WatchfulSender:
    """Takes a moment for each message, and notes how many to one target were under way at once."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.most = 0
        self._under_way: Counter[str] = Counter()

    async def send(self, target: Target, message: Message) -> AttemptResult:
        self._under_way[target.name] += 1
        self.most = max(self.most, *self._under_way.values())
        await asyncio.sleep(0.002)
        self.counts[target.name] += 1
        self._under_way[target.name] -= 1
        return AttemptResult(duration_ms=2)


async def send_all(store: Store, notify: NoticeDispatcher, count: int) -> None:
    """Be the worker of one process until that many notices are sent."""
    carried: set[asyncio.Task[None]] = set()
    while (await states(store)).get("sent", 0) < count:
        send = await notify.claim() if len(carried) < notify.width else None
        if send is not None:
            carried.add(asyncio.create_task(notify.carry_out(send)))
        else:
            await asyncio.sleep(0.005)
        for it in [it for it in carried if it.done()]:
            carried.remove(it)
            it.result()
    await asyncio.gather(*carried)
