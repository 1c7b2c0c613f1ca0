"""Runs the loops (submit, sweep, notify, archive, retention) side by side until `stop` is set.

A loop claims one piece of work at a time and carries out up to `width` of them at once. If there is nothing to claim,
it waits for the first of: a wake, something due, the interval, stop. A claim that fails for a reason other than the
store stops the process; a loop that died unnoticed would be worse. Interrupted work comes back when its lease ends.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any, Protocol

from receiver.core.errors import StoreError
from receiver.core.types import Clock
from receiver.store import Store, Topic

INTERVAL_S = 30.0  # the safety net: a missed wake costs no more than this
SHARED_INTERVAL_S = 45.0  # where each look costs all processes; one that does not hear the others looks more often
SPREAD = 0.2  # so that processes which started together do not look for work together
FAULT_WAIT_S = 1.0

log = logging.getLogger(__name__)


class WorkLoop(Protocol):
    """A loop to run: it claims one piece of work, carries it out, and says when the next is due."""

    topic: Topic
    width: int
    grace_s: float

    async def claim(self) -> Any:
        """One piece of work under a lease, or None. May raise StoreError; it is then called again soon."""

    async def carry_out(self, work: Any, /) -> None:
        """Do the work and record the result."""

    async def next_due(self) -> int | None:
        """When, in milliseconds, `claim` may have work again without a wake."""


async def run_loops(loops: Sequence[WorkLoop], store: Store, clock: Clock, stop: asyncio.Event) -> None:
    """Run the loops until `stop` is set. Work under way then has its loop's `grace_s` to end before it is cancelled."""
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(_run_loop(loop, store, clock, stop), name=loop.topic.value)


def choose_interval_s(store: Store, jitter: float) -> float:
    """After how long a loop looks for work though nothing woke it; `jitter` is from 0 to 1."""
    return SHARED_INTERVAL_S * (1 + SPREAD * (2 * jitter - 1)) if store.shared else INTERVAL_S


async def _run_loop(loop: WorkLoop, store: Store, clock: Clock, stop: asyncio.Event) -> None:
    carried: set[asyncio.Task[None]] = set()
    stopped = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            seen = store.wake_count(loop.topic)
            wait_s = interval_s = choose_interval_s(store, random.random())  # noqa: S311 - only spreads the load
            try:
                free = len(carried) < loop.width
                work = await loop.claim() if free else None
                if work is None:
                    due = await loop.next_due()
                    # again: `next_due` leaves out what came due since the first claim
                    work = await loop.claim() if free else None
                    wait_s = interval_s if due is None else min(interval_s, max(0.001, (due - clock()) / 1000))
            except StoreError as error:
                log.warning("%s", error, extra={"action": f"{loop.topic}.claim"})
                work, wait_s = None, FAULT_WAIT_S
            if work is not None:
                task = asyncio.create_task(_carry_out(loop, work, store))
                carried.add(task)
                task.add_done_callback(carried.discard)
                continue
            woken = asyncio.create_task(store.wait_for_wake(loop.topic, seen, wait_s))
            try:
                await asyncio.wait({woken, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                woken.cancel()
        if carried:
            await asyncio.wait(carried, timeout=loop.grace_s)
    finally:
        stopped.cancel()
        for task in carried:
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)


async def _carry_out(loop: WorkLoop, work: Any, store: Store) -> None:
    """Carry out one piece of work. If it fails, it comes back when its lease ends."""
    try:
        await loop.carry_out(work)
    except StoreError as error:
        log.warning("%s; retried when the lease ends", error, extra={"action": f"{loop.topic}.carry"})
    except Exception:
        log.exception("unexpected error; retried when the lease ends", extra={"action": f"{loop.topic}.carry"})
    finally:
        store.wake(loop.topic)
