"""Claims of sends. Each turn is one transaction: it records the results that came back and claims the next sends.

`core.pacing` decides what each target gets next and when; this file does it. Sends are claimed before the worker asks
for them, which saves a commit for each; those that are not carried in the end are released.

A send that was claimed several times without a result is a suspect: it may be what ends the process, or it was merely
there when the process ended. So it goes out alone, with nothing else under way, and `dispatch` records when it begins.
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
from receiver.notify.senders.remedies import find_advice
from receiver.store import Attempt, NewSend, Store, Tx

_GAVE_UP = (
    "A notice to {name} could not be delivered: {error}. {advice}. "
    "Then send it again with `receiver notices redrive --target {name}`."
)
_CIRCUIT_OPEN = (
    "{name} failed several times in a row and is now tried less often: {error}. {advice}. Nothing is lost: notices "
    "that run out of tries are kept, and `receiver notices redrive --target {name}` sends them once it works again."
)
_LOOKS_FINAL = (
    "{name} refuses our messages: {error}. {advice}. Nothing is lost: they are tried again meanwhile, in growing gaps. "
    "Those that run out of tries are kept, and `receiver notices redrive --target {name}` sends them once it works."
)
_REFUSES_ONE = (
    "{name} refuses a message again and again: {error}. {advice}. Its other messages go on. This one is tried again, "
    "in growing gaps; if it runs out of tries it is kept, and `receiver notices redrive --target {name}` sends it."
)


class SendResult(Struct, eq=False):
    """What became of a send that was carried. It is recorded once."""

    send: Send
    sent: AttemptResult
    attempt: Attempt | None = None  # None: it was not tried
    due_at: int | None = None  # when it is tried again; None: never
    recorded: bool = False


class SendClaims:
    """Claims sends and records their results: at most `width` claimed at once, each under a lease of `lease_ms`."""

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
        self._paused_until: dict[str, int] = {}  # targets that we leave alone, for a reason of ours
        self._new_first: set[str] = set()  # targets whose next send is a new one; a restart may forget it
        self._next_first = 0  # the target that is looked at first: each gets its turn
        self._turn_lock = asyncio.Lock()
        self._unrecorded: list[SendResult] = []
        self._ready: deque[tuple[Send, int]] = deque()  # claimed and not yet handed out, with the end of the lease
        self._claimed_until: dict[int, int] = {}  # claimed and not yet recorded: when the lease ends, by send id
        self._alone: int | None = None  # the id of a suspect; nothing else is claimed while it is under way
        self._look_again_at: int | None = None  # for after a claim that found nothing
        self._found_nothing = False

    async def claim(self) -> Send | None:
        """The next send, claimed; None while every target is busy, rests, or has nothing that may be sent now."""
        if (send := self._pop_ready()) is not None:
            return send
        self._found_nothing = False
        if not self._targets:
            return None
        if not self._unrecorded and not self._clock_rewind(self._clock()):  # else a turn is needed anyway
            plans = await self._current_plans()
            if all(plan.step is SendStep.WAIT for plan in plans.values()):
                self._found_nothing, self._look_again_at = True, _earliest_time(plans)
                return None
        async with self._turn_lock:
            if not self._ready:
                await self._commit_with_fallback(())
        return self._pop_ready()

    async def next_due(self) -> int | None:
        """When `claim` may find something, even if no send under way ends before."""
        looked, self._found_nothing = self._found_nothing, False
        if looked:
            return self._look_again_at
        return _earliest_time(await self._current_plans()) if self._targets else None

    async def find_waits(self, notices: Sequence[Notice]) -> list[NoticeWait | None]:
        """What each of these notices waits for."""
        open_ = [it for it in notices if it.state in (NoticeState.DUE, NoticeState.HELD) and it.target in self._targets]
        names = list({it.target for it in open_})
        queues = {it.name: it for it in await self._store.sends.target_queues(names)} if names else {}
        now = self._clock()
        free_at = {name: self._free_at(name, now) for name in names}
        found = {
            it.id: pacing.notice_wait(it, self._targets[it.target], queues[it.target], now, free_at[it.target])
            for it in open_
        }
        return [found.get(it.id) for it in notices]

    def pause_target(self, target: str, until: int) -> None:
        """Leave a target alone, for a reason of ours."""
        self._paused_until[target] = until

    def forget_send(self, send: Send) -> None:
        """It is no longer under way."""
        self._claimed_until.pop(send.id, None)

    async def release_ready(self) -> None:
        """Release the sends that were claimed and will not be carried."""
        while self._ready:
            send, _ = self._ready.popleft()
            self._claimed_until.pop(send.id, None)
            with contextlib.suppress(StoreError):  # then the next start voids its lease
                async with self._store.write() as tx:
                    await tx.sends.release(send)

    async def record_result(self, result: SendResult) -> None:
        """Record a result, with all others that wait; another caller's turn may have done it already."""
        self._unrecorded.append(result)
        try:
            async with self._turn_lock:
                if not result.recorded:
                    await self._commit_with_fallback([result])
        finally:
            if not result.recorded:
                self._unrecorded.remove(result)

    async def _commit_with_fallback(self, own: Sequence[SendResult]) -> None:
        """A turn for all unrecorded results; if that fails, which another's may cause, a turn for our `own` alone."""
        try:
            await self._commit_turn(self._unrecorded)
        except StoreError:
            raise
        except Exception:
            if len(self._unrecorded) == len(own):
                raise
            await self._commit_turn(own)

    async def _commit_turn(self, results: Sequence[SendResult]) -> None:
        """Record these results, and claim the next sends, as many as there is room for."""
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
            ended = {result.send.id for result in results}
            busy = [it for it, until in self._claimed_until.items() if now < until and it not in ended]
            claimed, again = await self._claim_sends(tx, now, busy)
        if set_back:
            self._clock_rewind.mark_handled(now)
            latest = now + self._lease_ms
            self._claimed_until = {it: min(until, latest) for it, until in self._claimed_until.items()}
            self._ready = deque((send, min(until, latest)) for send, until in self._ready)
        for result in results:
            result.recorded = True
            self._unrecorded.remove(result)
        for send in claimed:
            self._claimed_until[send.id] = now + self._lease_ms
            self._ready.append((send, now + self._lease_ms))
            if (limit := self._rate_limit(send.target)) is not None:
                limit.count_message(now)
        if again:
            self._found_nothing, self._look_again_at = True, now

    async def _write_result(self, tx: Tx, result: SendResult) -> None:
        """Write what became of a send, and what that means for its target."""
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
            ours = await tx.sends.record_retry(send, result.due_at, sent.error, sent.delivered)
        else:
            ours = await tx.sends.bury_send(
                send, sent.error, sent.delivered or send.delivered, tried=result.attempt is not None
            )
        if not ours:
            return
        if result.attempt is None:  # not the target's fault
            await self._raise_target_attention(tx, send.target, _GAVE_UP, sent.error, now)
            return
        effect = pacing.failure_effect(sent, send.tries)
        if effect.new_first:
            self._new_first.add(send.target)
        failures, until = 0, None
        if effect.counts:
            failures, next_try = await tx.sends.count_failure(send.target, now)
            until = pacing.rest_until(failures, next_try, now, self._schedule[0])
        if sent.retry_after_ms and result.due_at is not None:  # the service asks it of us, not of this message
            until = max(until or 0, now + min(sent.retry_after_ms, pacing.RETRY_AFTER_MOST))
        if until is not None:
            await tx.sends.rest_target(send.target, until)
        if result.due_at is None:
            await self._raise_target_attention(tx, send.target, _GAVE_UP, sent.error, now)
        elif sent.looks_final and failures <= pacing.FAILURES_MOST:
            await self._raise_target_attention(tx, send.target, _LOOKS_FINAL, sent.error, now)
        elif failures == pacing.FAILURES_MOST:
            await self._raise_target_attention(tx, send.target, _CIRCUIT_OPEN, sent.error, now)
        elif sent.of_message and send.tries == pacing.FAILURES_MOST - 1:
            await self._raise_target_attention(tx, send.target, _REFUSES_ONE, sent.error, now, kind="message-refused")

    async def _raise_target_attention(
        self, tx: Tx, name: str, text: str, error: str, now: int, kind: str = "target"
    ) -> None:
        """Notify the other targets that this one fails."""
        words = text.format(name=name, error=error.rstrip("."), advice=find_advice(error))
        await raise_attention(tx, f"{kind}:{name}", words, self._policy, now, but=name)

    async def _claim_sends(self, tx: Tx, now: int, busy: Collection[int]) -> tuple[list[Send], bool]:
        """As many sends as there is room for beside the `busy` ones, claimed; and whether more could be done at once.

        A suspect waits until nothing is under way, and nothing new begins meanwhile.
        """
        room = self._width - len(busy)
        if room <= 0 or not self._targets or self._alone in busy:
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
            if (suspect := await tx.sends.find_suspect(ids)) is not None:
                if busy:
                    return [], False
                self._alone = suspect
                return await tx.sends.claim([suspect], self._owner, lease_until), False
            claimed += await tx.sends.claim(ids, self._owner, lease_until)
        if openings:
            opened = await tx.sends.open_sends(openings, self._owner, now, lease_until)
            for send in opened:
                self._new_first.discard(send.target)
                if span := self._targets[send.target].digest_ms:
                    await tx.sends.open_window(send.target, now + span)
            claimed += opened
        return claimed, again

    async def _apply_quiet_hours(self, tx: Tx, plans: dict[str, SendPlan], now: int) -> bool:
        """Postpone what may not be sent in quiet hours, and plan the rest; whether there is more to postpone."""
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
        """Postpone a target's notices until the end of its quiet hours; whether there may be more of them."""
        but: Collection[NoticeEvent] = sorted(target.quiet_except)
        moved = (
            await tx.sends.postpone_sends(target.name, until, now, but=but),
            await tx.sends.hold_notices(target.name, until, now, but=but, again=True),
            await tx.sends.hold_notices(target.name, until, now, but=but),
        )
        return max(moved) >= pacing.HELD_AT_ONCE

    def _make_plans(self, queues: Sequence[TargetQueue], now: int) -> dict[str, SendPlan]:
        plans = {}
        for it in queues:
            free_at, new_first = self._free_at(it.name, now), it.name in self._new_first
            plans[it.name] = pacing.plan_send(it, self._targets[it.name], now, free_at, new_first=new_first)
        return plans

    def _free_at(self, name: str, now: int) -> int:
        paused = self._paused_until.get(name, 0)
        if paused > now + pacing.PUT_OFF_MS:  # the clock was put back
            paused = 0
        limit = self._rate_limit(name)
        return paused if limit is None else max(paused, limit.free_at(now))

    def _rate_limit(self, name: str) -> RateLimit | None:
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
            self._claimed_until.pop(send.id, None)  # its lease is over: it is claimed again
        return None

    async def _current_plans(self) -> dict[str, SendPlan]:
        return self._make_plans(await self._store.sends.target_queues(list(self._targets)), self._clock())


def _earliest_time(plans: dict[str, SendPlan]) -> int | None:
    """When the first target that waits may be sent to. One that could be now waits for room; a send's end wakes us."""
    return min((it.at for it in plans.values() if it.step is SendStep.WAIT and it.at is not None), default=None)
