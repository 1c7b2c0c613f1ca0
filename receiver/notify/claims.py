"""Turns: one transaction that records what came back, and claims what goes next, for all targets that wait for either.

What a target is told when is `pacing`'s to say; here it is done. A claim ahead of the worker's asking saves a commit a
send; what nobody carries in the end is given back.
"""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Collection, Sequence

from msgspec import Struct

from receiver.core import pacing
from receiver.core.errors import StoreError
from receiver.core.pacing import NoticeWait, RateLimit, SendPlan, SendStep, TargetQueue
from receiver.core.schedule import ClockRewind
from receiver.core.types import AttemptResult, Clock, Notice, NoticeEvent, NoticeState, Policy, Send, Target
from receiver.notify.attention import raise_attention
from receiver.store import Attempt, NewSend, Store, Tx

_GAVE_UP = "A notice to {name} was given up: {error}. Mend the target, then `receiver notices redrive --target {name}`."
_CIRCUIT_OPEN = (
    "{name} failed several times in a row and rests between tries: {error}. Nothing is lost meanwhile; what it was not "
    "told by the end of its tries waits for `receiver notices redrive --target {name}`."
)


class SendResult(Struct, eq=False):
    """What became of a send that was carried: recorded once."""

    send: Send
    sent: AttemptResult
    attempt: Attempt | None = None  # None: it was not tried
    due_at: int | None = None  # of the next try; None: there is none
    recorded: bool = False


class SendClaims:
    """Claims and records, for at most `width` sends at once, each under a lease of `lease_ms`."""

    def __init__(
        self, store: Store, policy: Policy, clock: Clock, *, schedule_ms: Sequence[int], lease_ms: int, width: int
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._schedule = schedule_ms
        self._lease_ms = lease_ms
        self._clock_rewind = ClockRewind()
        self._width = width
        self._targets = {target.name: target for target in policy.targets}
        self._owner = f"{os.getpid()}"
        self._rate_limits: dict[str, RateLimit] = {}
        self._paused_until: dict[str, int] = {}  # until when we leave a target alone, for a reason of ours
        self._next_first = 0  # which target is asked first: each gets its turn
        self._turn_lock = asyncio.Lock()
        self._unrecorded: list[SendResult] = []  # to be recorded
        self._ready: deque[tuple[Send, int]] = deque()  # claimed, not yet handed out, until when they are ours
        self._claimed_until: dict[
            int, int
        ] = {}  # the sends that are claimed by us and not yet recorded, until when they are ours
        self._look_again_at: int | None = None  # when the last claim that found nothing said to look again
        self._found_nothing = False

    async def claim(self) -> Send | None:
        """The next send, claimed; None while every target is busy, rests, or owes nothing that may be told now."""
        if (send := self._pop_ready()) is not None:
            return send
        self._found_nothing = False
        if not self._targets:
            return None
        if not self._unrecorded and not self._clock_rewind(self._clock()):  # else there is a turn to be had in any case
            plans = await self._current_plans()
            if all(plan.step is SendStep.WAIT for plan in plans.values()):
                self._found_nothing, self._look_again_at = True, _earliest_time(plans)
                return None
        async with self._turn_lock:
            if not self._ready:
                await self._commit_with_fallback(())
        return self._pop_ready()

    async def next_due(self) -> int | None:
        """When `claim` may find something, though nothing that is carried ends before."""
        looked, self._found_nothing = self._found_nothing, False
        if looked:
            return self._look_again_at
        return _earliest_time(await self._current_plans()) if self._targets else None

    async def find_waits(self, notices: Sequence[Notice]) -> list[NoticeWait | None]:
        """What each of these waits for."""
        open_ = [it for it in notices if it.state in (NoticeState.DUE, NoticeState.HELD) and it.target in self._targets]
        names = list({it.target for it in open_})
        standings = {it.name: it for it in await self._store.sends.target_queues(names)} if names else {}
        now = self._clock()
        found = {
            it.id: pacing.notice_wait(
                it, self._targets[it.target], standings[it.target], now, self._free_at(it.target, now)
            )
            for it in open_
        }
        return [found.get(it.id) for it in notices]

    def pause_target(self, target: str, until: int) -> None:
        """Leave a target alone, for a reason of ours."""
        self._paused_until[target] = until

    def forget_send(self, send: Send) -> None:
        """Nobody carries it any more."""
        self._claimed_until.pop(send.id, None)

    async def release_ready(self) -> None:
        """Give back what was claimed and will not be carried."""
        while self._ready:
            send, _ = self._ready.popleft()
            self._claimed_until.pop(send.id, None)
            with contextlib.suppress(StoreError):  # then the next start finds that its lease is void
                async with self._store.write() as tx:
                    await tx.sends.release(send)

    async def record_result(self, result: SendResult) -> None:
        """Record it, together with what else waits to be, or find that another's turn did."""
        self._unrecorded.append(result)
        try:
            async with self._turn_lock:
                if not result.recorded:
                    await self._commit_with_fallback([result])
        finally:
            if not result.recorded:
                self._unrecorded.remove(result)

    async def _commit_with_fallback(self, own: Sequence[SendResult]) -> None:
        """A turn for all that waits to be recorded; for our `own` alone, if one of the others breaks its row."""
        try:
            await self._commit_turn(self._unrecorded)
        except StoreError:
            raise
        except Exception:
            if len(self._unrecorded) == len(own):
                raise
            await self._commit_turn(own)

    async def _commit_turn(self, results: Sequence[SendResult]) -> None:
        """Record what came back, and claim what goes next, for as many targets as there is room for."""
        results = list(results)
        now = self._clock()
        set_back = self._clock_rewind(now)
        async with self._store.write() as tx:
            if set_back:
                wait = self._policy.picture_wait_ms
                ahead = [pacing.latest_times(target, now, self._schedule, wait) for target in self._targets.values()]
                await tx.sends.pull_in(now + self._lease_ms, ahead)
            for result in results:
                await self._write_result(tx, result)
            busy = sum(now < until for until in self._claimed_until.values()) - len(results)
            claimed, again = await self._claim_sends(tx, now, self._width - busy)
        if set_back:
            self._clock_rewind.mark_handled(now)
        for result in results:
            result.recorded = True
            self._unrecorded.remove(result)
        for send in claimed:
            self._claimed_until[send.id] = now + self._lease_ms
            self._ready.append((send, now + self._lease_ms))
            if (gate := self._rate_limit(send.target, now)) is not None:
                gate.count_message(now)
        if again:
            self._found_nothing, self._look_again_at = True, now

    async def _write_result(self, tx: Tx, result: SendResult) -> None:
        """Into the transaction: what became of a send, and of its target."""
        send, sent, now = result.send, result.sent, self._clock()
        if sent.put_off:
            await tx.sends.release(send, result.due_at)
            return
        if result.attempt is not None:
            await tx.sends.add_attempt(result.attempt)
        if sent.error is None:
            await tx.sends.record_sent(send, now)
            return
        if result.due_at is not None:
            ours = await tx.sends.record_retry(send, result.due_at, sent.error)
        else:
            ours = await tx.sends.bury_send(send, sent.error, tried=result.attempt is not None)
        if not ours:
            return
        if result.attempt is None:  # no fault of the target's
            await self._raise_target_attention(tx, send.target, _GAVE_UP, sent.error, now)
            return
        failures, next_try = await tx.sends.count_failure(send.target, now)
        until = pacing.rest_until(failures, next_try, now, self._schedule[0])
        if sent.retry_after_ms and result.due_at is not None:  # it was told to the target, not to this message
            until = max(until or 0, now + min(sent.retry_after_ms, pacing.RETRY_AFTER_MOST))
        if until is not None:
            await tx.sends.rest_target(send.target, until)
        if result.due_at is None:
            await self._raise_target_attention(tx, send.target, _GAVE_UP, sent.error, now)
        elif failures == pacing.FAILURES_MOST:
            await self._raise_target_attention(tx, send.target, _CIRCUIT_OPEN, sent.error, now)

    async def _raise_target_attention(self, tx: Tx, name: str, text: str, error: str, now: int) -> None:
        """A target fails: the others are told."""
        told = text.format(name=name, error=error.rstrip("."))
        await raise_attention(tx, f"target:{name}", told, self._policy, now, but=name)

    async def _claim_sends(self, tx: Tx, now: int, room: int) -> tuple[list[Send], bool]:
        """Up to `room` sends, claimed; and whether there is more to be done at once."""
        if room <= 0 or not self._targets:
            return [], False
        names = list(self._targets)
        self._next_first = (self._next_first + 1) % len(names)
        turn = names[self._next_first :] + names[: self._next_first]
        plans = self._make_plans(await tx.sends.target_queues(turn), now)
        again = await self._apply_quiet_hours(tx, plans, now)
        for name, plan in plans.items():
            if plan.step is SendStep.HOLD and plan.at is not None:
                again |= await tx.sends.hold_notices(name, plan.at, now) >= pacing.HELD_AT_ONCE
        chosen = [(name, it) for name, it in plans.items() if it.step not in (SendStep.WAIT, SendStep.HOLD)][:room]
        lease_until = now + self._lease_ms
        retries = [await tx.sends.next_send(name, now) for name, plan in chosen if plan.step is SendStep.RETRY]
        openings = [
            NewSend(name, now, digest=plan.step is SendStep.DIGEST)
            for name, plan in chosen
            if plan.step is not SendStep.RETRY
        ]
        claimed: list[Send] = []
        if ids := [send_id for send_id in retries if send_id is not None]:
            claimed += await tx.sends.claim(ids, self._owner, lease_until)
        if openings:
            opened = await tx.sends.open_sends(openings, self._owner, now, lease_until)
            for send in opened:
                if span := self._targets[send.target].digest_ms:
                    await tx.sends.open_window(send.target, now + span)
            claimed += opened
        return claimed, again

    async def _apply_quiet_hours(self, tx: Tx, plans: dict[str, SendPlan], now: int) -> bool:
        """Put off what may not be told in quiet hours, and plan anew what may; whether there is more to be put off."""
        again = False
        late: list[str] = []
        for name, plan in plans.items():
            target = self._targets[name]
            if plan.step is SendStep.WAIT or target.quiet is None:
                continue
            until = pacing.quiet_until(target.quiet, now)
            if until is None:
                continue
            if await self._postpone_notices(tx, target, until, now):
                plans[name] = SendPlan(SendStep.WAIT)
                again = True
            else:
                late.append(name)
        if late:
            plans.update(self._make_plans(await tx.sends.target_queues(late), now))
        return again

    async def _postpone_notices(self, tx: Tx, target: Target, until: int, now: int) -> bool:
        """Whether there may be more than was put off in one go."""
        but: Collection[NoticeEvent] = sorted(target.quiet_except)
        moved = (
            await tx.sends.postpone_sends(target.name, until, now, but=but),
            await tx.sends.hold_notices(target.name, until, now, but=but, again=True),
            await tx.sends.hold_notices(target.name, until, now, but=but),
        )
        return max(moved) >= pacing.HELD_AT_ONCE

    # -- what is known without the store --

    def _make_plans(self, standings: Sequence[TargetQueue], now: int) -> dict[str, SendPlan]:
        return {
            it.name: pacing.plan_send(it, self._targets[it.name], now, self._free_at(it.name, now)) for it in standings
        }

    def _free_at(self, name: str, now: int) -> int:
        paused = self._paused_until.get(name, 0)
        if paused > now + pacing.PUT_OFF_MS:  # by a clock that was put back
            paused = 0
        gate = self._rate_limit(name, now)
        return paused if gate is None else max(paused, gate.free_at(now))

    def _rate_limit(self, name: str, now: int) -> RateLimit | None:
        rate = self._targets[name].rate
        if rate is None:
            return None
        if name not in self._rate_limits:
            self._rate_limits[name] = RateLimit(rate)
        return self._rate_limits[name]

    def _pop_ready(self) -> Send | None:
        while self._ready:
            send, until = self._ready.popleft()
            if self._clock() < until:
                return send
            self._claimed_until.pop(send.id, None)  # another claims it
        return None

    async def _current_plans(self) -> dict[str, SendPlan]:
        return self._make_plans(await self._store.sends.target_queues(list(self._targets)), self._clock())


def _earliest_time(plans: dict[str, SendPlan]) -> int | None:
    """When the first of those that wait may go. What could go now waits for one that is carried, whose end wakes us."""
    return min((it.at for it in plans.values() if it.step is SendStep.WAIT and it.at is not None), default=None)
