"""Notices out: claim a send under a lease, render it, send it, record what became of it.

At least once: a send whose process died is claimed again when its lease runs out. Only a recorded failure advances the
retry schedule; a success counts whoever holds the claim. One send at a time per target, so a slow one delays no other.
"""

import asyncio
import logging
import os
import random
from collections.abc import Callable, Sequence

from receiver.messages import render
from receiver.metrics import Metrics
from receiver.model import Clock, Policy, Send, Sent
from receiver.schedule import notify_gap
from receiver.senders import Sender, format_for
from receiver.settle import insist, raise_attention
from receiver.store import Attempt, Store, Topic

CLAIMS_MOST = 10  # without a recorded result: something about this send kills us
JUMP_MS = 86_400_000  # a due time further ahead than the schedule and this comes from a clock that jumped

log = logging.getLogger(__name__)


class Notify:
    """The loop that sends. `link` makes the address of a task's page."""

    topic = Topic.NOTIFY
    grace_s = 5.0

    def __init__(
        self,
        store: Store,
        sender: Sender,
        policy: Policy,
        clock: Clock,
        *,
        schedule_ms: Sequence[int],
        timeout_ms: int,
        link: Callable[[str], str | None],
        metrics: Metrics,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._sender = sender
        self._policy = policy
        self._clock = clock
        self._schedule = schedule_ms
        self._lease_ms = timeout_ms + 30_000
        self._due_most_ms = int(max(schedule_ms) * 1.2) + JUMP_MS
        self._link = link
        self._luck = luck
        self._metrics = metrics
        self._targets = {target.name: target for target in policy.targets}
        self._owner = f"{os.getpid()}"
        self._next_first = 0  # which target is asked first: each gets its turn
        self._swept = False
        self.width = min(max(1, len(self._targets)), 32)  # even without targets: there may be strangers to bury

    async def claim(self) -> Send | None:
        """The next send, claimed; None while every target is busy or owes nothing that is due."""
        now = self._clock()
        if not self._swept:
            await self._bury_strangers()
        names = list(self._targets)
        if not names or not await self._store.notices.any_due(names, now, *self._horizons(now)):
            return None
        self._next_first = (self._next_first + 1) % len(names)
        async with self._store.write() as tx:
            lease_horizon, due_horizon = self._horizons(now)
            turn = names[self._next_first :] + names[: self._next_first]
            for name in await tx.notices.idle(turn, now, lease_horizon):
                send_id = await tx.notices.next_send(name, now, lease_horizon, due_horizon)
                if send_id is None:
                    due = await tx.notices.next_notices(name, now, due_horizon, limit=1)
                    send_id = await tx.notices.open_send(name, due, now) if due else None
                if send_id is not None:
                    return await tx.notices.claim(send_id, self._owner, now + self._lease_ms)
        return None

    async def carry(self, send: Send) -> None:
        """Render, send, record."""
        if send.claims > CLAIMS_MOST:
            await self._give_up(send, Sent(error=f"claimed {CLAIMS_MOST} times, and each time the process ended"))
            return
        target = self._targets[send.target]
        reports = tuple(notice.report for notice in send.notices)
        started = self._clock()
        try:
            sent = await self._sender.send(target, render(reports, link=self._link, format=format_for(target)))
        except asyncio.CancelledError:  # stopping: it may or may not have arrived, and is sent again
            await self.release(send)
            raise
        attempt = Attempt(send.id, started, sent.duration_ms, sent.error)
        extra = {"action": "notice.failed" if sent.error else "notice.sent", "ref": send.notices[0].ref}
        log.log(
            logging.WARNING if sent.error else logging.INFO, "%s: %s", send.target, sent.error or "sent", extra=extra
        )
        gap = notify_gap(self._schedule, send.tries + 1, luck=self._luck()) if sent.error else None
        if sent.error is not None and (sent.permanent or gap is None):
            await self._give_up(send, sent, attempt)
            return
        await insist(lambda: self._record(send, sent, attempt, max(gap or 0, sent.retry_after_ms or 0)))
        self._metrics.noticed(send, "failed" if sent.error else "sent", self._clock())

    async def _record(self, send: Send, sent: Sent, attempt: Attempt, gap_ms: int) -> None:
        async with self._store.write() as tx:
            await tx.notices.add_attempt(attempt)
            if sent.error is None:
                await tx.notices.sent(send, self._clock())
            else:
                await tx.notices.retry(send, self._clock() + gap_ms, sent.error)

    async def release(self, send: Send) -> None:
        """Give back a send whose end we cannot wait for."""
        async with self._store.write() as tx:
            await tx.notices.release(send)

    async def next_due(self) -> int | None:
        """When the next notice or send is due."""
        if not self._targets:
            return None
        return await self._store.notices.next_due(list(self._targets), self._clock())

    def _horizons(self, now: int) -> tuple[int, int]:
        return now + self._lease_ms, now + self._due_most_ms

    async def _give_up(self, send: Send, sent: Sent, attempt: Attempt | None = None) -> None:
        error = sent.error or ""
        log.error("%s: given up: %s", send.target, error, extra={"action": "notice.dead", "ref": send.notices[0].ref})
        await insist(lambda: self._bury(send, error, attempt))
        self._metrics.noticed(send, "dead", self._clock())

    async def _bury(self, send: Send, error: str, attempt: Attempt | None) -> None:
        async with self._store.write() as tx:
            if attempt is not None:
                await tx.notices.add_attempt(attempt)
            if await tx.notices.bury(send, error, tried=attempt is not None):
                await raise_attention(
                    tx,
                    f"target:{send.target}",
                    f"A notice to {send.target} was given up: {error.rstrip('.')}. Mend the target, then "
                    f"`receiver notices redrive --target {send.target}`.",
                    self._policy,
                    self._clock(),
                    but=send.target,
                )

    async def _bury_strangers(self) -> None:
        """Notices to targets that are no longer configured are dead, with that reason."""
        buried = 1
        while buried:
            async with self._store.write() as tx:
                buried = await tx.notices.bury_strangers(list(self._targets))
        self._swept = True
