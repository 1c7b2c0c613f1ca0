"""Runs the loops: submit, sweep and notify, side by side until they are told to stop.

A loop claims one piece of work at a time and carries up to `width` of them at once; with nothing to claim it waits for
the first of {woken, something due, interval, stop}. A claim that fails for a reason other than the store stops the
process: a loop that silently died would be worse. Work that is interrupted is resumed by its lease.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from receiver.core.errors import StoreError
from receiver.core.types import Clock
from receiver.store import Store, Topic

INTERVAL_S = 30.0  # the safety net: a wake that was missed costs no more than this
FAULT_WAIT_S = 1.0

log = logging.getLogger(__name__)


class WorkLoop(Protocol):
    """What a room offers to be run: claim one piece of work, carry it, and say when the next is due."""

    topic: Topic
    width: int
    grace_s: float

    async def claim(self) -> Any:
        """One piece of work under a lease, or None. May raise StoreError: it is asked again soon."""

    async def carry_out(self, work: Any, /) -> None:
        """Do it and record it."""

    async def next_due(self) -> int | None:
        """When, in milliseconds, `claim` may have something though nobody wakes it."""


async def run_loops(loops: Sequence[WorkLoop], store: Store, clock: Clock, stop: asyncio.Event) -> None:
    """Run the loops until `stop`; work under way then gets its loop's `grace_s` to end before it is cancelled."""
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(_run_loop(loop, store, clock, stop), name=loop.topic.value)


async def _run_loop(loop: WorkLoop, store: Store, clock: Clock, stop: asyncio.Event) -> None:
    carried: set[asyncio.Task[None]] = set()
    stopped = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            seen = store.wake_count(loop.topic)
            wait_s = INTERVAL_S
            try:
                free = len(carried) < loop.width
                work = await loop.claim() if free else None
                if work is None:
                    due = await loop.next_due()
                    # again, for what came due after the first look is not ahead of the second
                    work = await loop.claim() if free else None
                    wait_s = INTERVAL_S if due is None else min(INTERVAL_S, max(0.001, (due - clock()) / 1000))
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
    """One piece of work; if it breaks, its lease brings it back."""
    try:
        await loop.carry_out(work)
    except StoreError as error:
        log.warning("%s; tried again when its lease ends", error, extra={"action": f"{loop.topic}.carry"})
    except Exception:
        log.exception("this broke; tried again when its lease ends", extra={"action": f"{loop.topic}.carry"})
    finally:
        store.wake(loop.topic)
