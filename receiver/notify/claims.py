"""Claims of sends. Each turn is one transaction: it records the results that came back and claims the next sends.

`core.pacing` decides what each target gets next and when; this file does it. Sends are claimed before the worker asks
for them, which saves a commit for each; those that are not carried in the end are released.

Other processes may claim from the same database. A turn takes the rows of the targets that it deals with first, then
reads their queues, then the clock: so a target has one send at a time, and its rate is kept, over all processes.

A send that was claimed several times without a result is a suspect: it may be what ends the process, or it was merely
there when the process ended. So it goes out alone, with nothing else under way, and `dispatch` records when it begins.
"""

import asyncio
import contextlib
import os
import secrets
from collections import deque
from collections.abc import Collection, Sequence

from msgspec import Struct

from receiver.core import pacing
from receiver.core.errors import StoreError
from receiver.core.pacing import NoticeWait, RateLimit, SendPlan, SendStep, TargetQueue
from receiver.core.schedule import ClockRewind, is_paused
from receiver.core.types import AttemptResult, Clock, Notice, NoticeEvent, NoticeState, Policy, Send, Target
from receiver.notify.target_attention import CIRCUIT_OPEN, GAVE_UP, LOOKS_FINAL, REFUSES_ONE, raise_target_attention
from receiver.store import Attempt, NewSend, Store, Tx

PASSED_MS = 50  # until a target is looked at again that another process had in its turn
LOOK_AHEAD = 8  # targets that a turn looks at beyond its room, before it looks at all
CALL_MS = 1_000  # at most so often we wake the other processes for what we have no room for
AHEAD_MOST_MS = 1_000  # of another process's clock; one that is further ahead was set back


class SendResult(Struct, eq=False):
    """What became of a send that was carried. It is recorded once."""

    send: Send
    sent: AttemptResult
    attempt: Attempt | None = None  # None: it was not tried
    due_at: int | None = None  # when it is tried again; None: never
    recorded: bool = False
    repeated: bool = False  # a turn with it has failed, perhaps only after its commit


class _NextSends(Struct, eq=False):
    """What a turn claimed at `now`, and when to look again if it is nothing (None: as the targets' queues say)."""

    now: int
    sends: list[Send] = []
    look_again_at: int | None = None


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
        self._paused_until: dict[str, int] = {}  # targets that we leave alone, for a reason of ours
        self._new_first: set[str] = set()  # targets whose next send is a new one; a restart may forget it
        # the target that is looked at first: each gets its turn, and several processes begin with different ones
        self._next_first = secrets.randbelow(len(self._targets) or 1) if store.shared else 0
        self._has_rows = not store.shared  # whether each target has a row to be locked
        self._called_others_at = 0
        self._turn_lock = asyncio.Lock()
        self._unrecorded: list[SendResult] = []
        self._ready: deque[tuple[Send, int]] = deque()  # claimed and not yet handed out, with the end of the lease
        self._claimed_until: dict[tuple[int, int], int] = {}  # end of the lease, by id and claim, until it is recorded
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
        if not self._has_rows:
            async with self._store.write() as tx:
                await tx.sends.add_targets(self._targets)
            self._has_rows = True
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
        free_at = {name: self._free_at(queues[name], now) for name in names}
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
        self._claimed_until.pop((send.id, send.claim), None)

    def may_begin(self, send: Send, most_ms: int) -> bool:
        """Whether what takes `most_ms` at most ends within the lease: after that, another process sends it."""
        return self._clock() + most_ms <= self._claimed_until.get((send.id, send.claim), 0)

    async def release_ready(self) -> None:
        """Release the sends that were claimed and will not be carried."""
        while self._ready:
            send, _ = self._ready.popleft()
            self.forget_send(send)
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
        set_back = self._clock_rewind(self._clock())
        async with self._store.write() as tx:
            changed = self._targets if set_back else {result.send.target for result in results}
            held = await tx.sends.lock_targets(changed, wait=True) if changed else []
            if set_back:
                now, wait = self._clock(), self._policy.picture_wait_ms
                ahead = [pacing.latest_times(target, now, self._schedule, wait) for target in self._targets.values()]
                await tx.sends.pull_in(now + self._lease_ms, ahead)
            for result in results:
                await self._write_result(tx, result)
            ended = {(result.send.id, result.send.claim) for result in results}
            found = await self._claim_sends(tx, ended, held)
        now = found.now
        if set_back:
            self._clock_rewind.mark_handled(now)
            latest = now + self._lease_ms
            self._claimed_until = {it: min(until, latest) for it, until in self._claimed_until.items()}
            self._ready = deque((send, min(until, latest)) for send, until in self._ready)
        for result in results:
            result.recorded = True
            self._unrecorded.remove(result)
        for send in found.sends:
            self._claimed_until[send.id, send.claim] = now + self._lease_ms
            self._ready.append((send, now + self._lease_ms))
        if found.look_again_at is not None:
            self._found_nothing, self._look_again_at = True, found.look_again_at

    async def _write_result(self, tx: Tx, result: SendResult) -> None:
        """Write what became of a send, and what that means for its target."""
        send, sent, now = result.send, result.sent, self._clock()
        if sent.put_off:
            await tx.sends.release(send, result.due_at)
            return
        repeated, result.repeated = result.repeated, True
        if result.attempt is not None:
            if repeated and result.attempt in await tx.notices.send_attempts([send.id]):
                return  # that turn was committed
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
            await raise_target_attention(tx, self._policy, send.target, GAVE_UP, sent.error, now)
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
            await raise_target_attention(tx, self._policy, send.target, GAVE_UP, sent.error, now)
        elif sent.looks_final and failures <= pacing.FAILURES_MOST:
            await raise_target_attention(tx, self._policy, send.target, LOOKS_FINAL, sent.error, now)
        elif failures == pacing.FAILURES_MOST:
            await raise_target_attention(tx, self._policy, send.target, CIRCUIT_OPEN, sent.error, now)
        elif sent.of_message and send.tries == pacing.FAILURES_MOST - 1:
            await raise_target_attention(
                tx, self._policy, send.target, REFUSES_ONE, sent.error, now, kind="message-refused"
            )

    async def _claim_sends(self, tx: Tx, ended: Collection[tuple[int, int]], held: Collection[str]) -> _NextSends:
        """As many sends as there is room for beside those under way, claimed. Results of the `ended` ones were written;
        the `held` targets are locked.

        A suspect waits until nothing is under way, and nothing new begins meanwhile.
        """
        now = self._clock()
        busy = [it[0] for it, until in self._claimed_until.items() if now < until and it not in ended]
        room = self._width - len(busy)
        if room <= 0 or not self._targets or self._alone in busy:
            return _NextSends(now)
        names = list(self._targets)
        self._next_first = (self._next_first + 1) % len(names)
        turn = names[self._next_first :] + names[: self._next_first]
        look_again_at = None
        if self._store.shared:
            turn, passed = await self._lock_ready(tx, turn, held, room)
            look_again_at = now + PASSED_MS if passed else None
            if not turn:
                return _NextSends(now, look_again_at=look_again_at)
        queues = await tx.sends.target_queues(turn)
        now = self._clock()  # not earlier: while we waited for a lock, another process may have sent to that target
        found = await self._claim_planned(tx, queues, now, busy, room)
        found.look_again_at = look_again_at if found.look_again_at is None else found.look_again_at
        times = {it.name: it.recent for it in queues}
        if went := {
            it.target: pacing.recent_times(rate, times[it.target], self._no_earlier(now, times[it.target]))
            for it in found.sends
            if (rate := self._targets[it.target].rate) is not None
        }:
            await tx.sends.record_times(went)
        return found

    async def _lock_ready(
        self, tx: Tx, turn: Sequence[str], held: Collection[str], room: int
    ) -> tuple[list[str], bool]:
        """Lock the first of these targets that have something for us, as many as there is room for; and whether others
        were passed over because another process has them in its own turn, which is short."""
        locked: list[str] = []
        count = passed = 0
        first = room + LOOK_AHEAD  # if there is much to send, these are enough
        for names in (turn[:first], turn[first:]):
            if not names or len(locked) >= room:
                break
            plans = self._make_plans(await tx.sends.target_queues(names), self._clock())
            ready = [name for name, plan in plans.items() if plan.step is not SendStep.WAIT]
            count += len(ready)
            while ready and len(locked) < room:
                some, ready = ready[: room - len(locked)], ready[room - len(locked) :]
                got = {*await tx.sends.lock_targets(it for it in some if it not in held), *held}
                locked += [it for it in some if it in got]
                passed += sum(it not in got for it in some)
        if count > room and not is_paused(self._called_others_at + CALL_MS, self._clock(), CALL_MS):
            self._called_others_at = self._clock()
            await tx.sends.call_senders()
        return locked, passed > 0

    async def _claim_planned(
        self, tx: Tx, queues: Sequence[TargetQueue], now: int, busy: Collection[int], room: int
    ) -> _NextSends:
        """Claim what these queues have for us now."""
        plans = self._make_plans(queues, now)
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
                    return _NextSends(now)
                self._alone = suspect
                return _NextSends(now, await tx.sends.claim([suspect], self._owner, now, lease_until))
            claimed += await tx.sends.claim(ids, self._owner, now, lease_until)
        if openings:
            opened = await tx.sends.open_sends(openings, self._owner, now, lease_until)
            for send in opened:
                self._new_first.discard(send.target)
                if span := self._targets[send.target].digest_ms:
                    await tx.sends.open_window(send.target, now + span)
            claimed += opened
        return _NextSends(now, claimed, now if again else None)

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
            free_at, new_first = self._free_at(it, now), it.name in self._new_first
            plans[it.name] = pacing.plan_send(it, self._targets[it.name], now, free_at, new_first=new_first)
        return plans

    def _free_at(self, queue: TargetQueue, now: int) -> int:
        paused = self._paused_until.get(queue.name, 0)
        paused = 0 if paused > now + pacing.PUT_OFF_MS else paused  # the clock was put back
        rate = self._targets[queue.name].rate
        if rate is None:
            return paused
        return max(paused, RateLimit(rate, queue.recent).free_at(self._no_earlier(now, queue.recent)))

    def _no_earlier(self, now: int, times: Sequence[int]) -> int:
        """`now`, or when the last message went if another process's clock is a moment ahead of ours."""
        ahead = self._store.shared and times and now < times[-1] <= now + AHEAD_MOST_MS
        return times[-1] if ahead else now

    def _pop_ready(self) -> Send | None:
        while self._ready:
            send, until = self._ready.popleft()
            if self._clock() < until:
                return send
            self.forget_send(send)  # its lease is over: it is claimed again
        return None

    async def _current_plans(self) -> dict[str, SendPlan]:
        return self._make_plans(await self._store.sends.target_queues(list(self._targets)), self._clock())


def _earliest_time(plans: dict[str, SendPlan]) -> int | None:
    """When the first target that waits may be sent to. One that could be now waits for room; a send's end wakes us."""
    return min((it.at for it in plans.values() if it.step is SendStep.WAIT and it.at is not None), default=None)
