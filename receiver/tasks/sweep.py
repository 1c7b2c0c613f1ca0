"""Polls the provider about tasks whose callback is overdue or needs confirming, and gives up on tasks without an end.

At most two polls a second, one in flight per task, in growing gaps; the processes over one database share the times of
the polls and what the replies teach, as `shared_state` says. A task becomes lost only after a poll past its deadline
found no end, or if it cannot be polled. A failed poll never makes a task lost. What follows from a reply is decided in
`core.decide`, `core.hints` and `core.next_step`.
"""

import logging
import random
import shlex
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.clock_check import ClockWatch
from receiver.core.decide import matches_task, task_deadline
from receiver.core.hints import (
    CANDIDATES_MOST,
    KeptHint,
    add_candidate,
    add_unreadable_reply,
    drop_candidate,
    next_id,
    polls_candidates,
    take_reply,
)
from receiver.core.loop_states import SweepState
from receiver.core.next_step import NextStep, PollNews, decide_next_step, plan_recheck
from receiver.core.provider_pace import ProviderPace, Signal
from receiver.core.schedule import RETRY_AFTER_MOST, ClockRewind, is_paused
from receiver.core.types import (
    Clock,
    Ending,
    OutcomeSource,
    Policy,
    PollReply,
    PollResult,
    Task,
    Verdict,
)
from receiver.notify.attention import raise_attention, raise_task_attention
from receiver.providers.registry import Provider
from receiver.store import Store, Topic, Tx
from receiver.tasks.batch_ends import is_row
from receiver.tasks.kept_hints import BodyParser, read_kept_hints
from receiver.tasks.settle import TaskBatch, expected_time
from receiver.tasks.shared_state import SWEEPING, working_since
from receiver.telemetry import logs
from receiver.telemetry.metrics import Metrics

LEASE_MS = 60_000  # one poll in flight per task
SPACING_MS = 500  # at most two polls a second
_SIGNALS = {
    PollResult.OUTCOME: Signal.FINE,
    PollResult.UNKNOWN: Signal.FINE,
    PollResult.UNREADABLE: Signal.FINE,
    PollResult.BUSY: Signal.BUSY,
    PollResult.UNAUTHORIZED: Signal.UNAUTHORIZED,
}
STREAK = 5  # tasks that only polling settled, without a callback in between: callbacks no longer arrive

_MISFIT = "the reply is for another model or another time, so it is ignored"
_ACCEPT = (
    "If the callback is right, run `receiver callbacks replay --accept ID`; `receiver tasks show {ref}` prints the ID."
)
_QUESTIONS = {
    "unconfirmed": "A callback says that {name} has ended, but no poll could confirm it. Check the provider's task "
    f"list. {_ACCEPT} Or wait.",
    "disputed": "Callbacks say that {name} has ended, but not all say the same, and no poll could confirm one of them. "
    f"Check the provider's task list. {_ACCEPT} Or wait.",
    "unread": "A callback for {name} could not be read, and no poll says how the task stands. Check the provider's "
    "task list; `receiver tasks show {ref}` names the callback.",
    "unsure": "It is unclear whether the provider took {name}, so it is not sent again. Check the provider's task "
    "list. If the task is there, run `receiver tasks tell-id {ref} ID`. If not, run `receiver tasks resubmit {ref}`; "
    "if the provider took it after all, you pay twice. Or wait for its callback.",
}

_MANY = (
    "{count} tasks have asked for you within an hour for the same reason, and only the first {singly} are reported one "
    "by one. `receiver tasks list --state waiting --limit 200` lists what is open."
)
_ROWS = (
    " It is a row of the batch {name}, of which {count} are unsure now. Other rows with the same question are not "
    "reported within the hour: `receiver batch results {quoted}` lists all."
)

log = logging.getLogger(__name__)


class PollJob(Struct, frozen=True):
    """A task to look at, and the id to poll by; None if no poll is possible now."""

    task: Task
    task_id: str | None
    barred: bool = False  # no poll, because the provider refuses our key


class SweepLoop:
    """The loop that polls."""

    topic = Topic.SWEEP
    width = 4
    grace_s = 10.0

    def __init__(
        self,
        store: Store,
        provider: Provider,
        policy: Policy,
        clock: Clock,
        *,
        parse: BodyParser,
        watch: ClockWatch,
        jitter: Callable[[], float] = random.random,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._provider = provider
        self._policy = policy
        self._clock = clock
        self._watch = watch
        self._parse = parse
        self._jitter = jitter
        self._metrics = metrics
        self._clock_rewind = ClockRewind()
        self._first = SweepState(ProviderPace(spacing_least_ms=SPACING_MS))
        self._started = False

    async def claim(self) -> PollJob | None:
        """The next task to look at, under a lease; None if none is due or the provider needs a rest."""
        now = self._clock()
        set_back = self._clock_rewind(now)
        if not set_back and await self._store.tasks.next_overdue(now) is None:
            return None
        if self._started and _rests(await self._read_state(), now):
            return None
        since = 0 if self._started else await working_since(self._store, now)
        async with self._store.write() as tx:
            before = await SWEEPING.lock(tx.paces)
            at = self._clock()
            state = self._state_from(before if before is not None and before.at >= since else None)
            if _rests(state, at):  # another process was first
                return None
            if set_back:
                await tx.tasks.pull_in(
                    at,
                    lease_ms=LEASE_MS,
                    poll_ms=self._policy.sweep_max_ms * 2,
                    deadline_ms=self._policy.deadline_ms,
                )
            job = await self._claim_next(tx, state, at)
            if job is not None and job.task_id is not None:
                state = replace(state, next_slot=at + state.pace.spacing)
            await SWEEPING.put(tx.paces, before, state, at)
        self._started = True
        self._clock_rewind.mark_handled(now)
        return job

    async def _claim_next(self, tx: Tx, state: SweepState, now: int) -> PollJob | None:
        task = await tx.tasks.next_overdue(now)
        if task is None:
            return None
        leased = await self._without_foreign_candidates(tx, task)
        barred = state.pace.is_unauthorized(now)
        task_id = next_id(leased) if self._policy.can_poll and not barred else None
        leased = replace(leased, lease_until=now + LEASE_MS)
        await tx.tasks.update([(task, leased)])
        return PollJob(leased, task_id, barred=self._policy.can_poll and barred)

    async def carry_out(self, job: PollJob) -> None:
        """Poll, and apply the reply."""
        logs.bind_ref(job.task.ref)
        asked_at = self._clock()
        reply = await self._provider.poll(job.task_id) if job.task_id is not None else None
        if reply is not None:
            self._metrics.count_poll(reply.result)
            log.info(reply.text, extra={"action": f"sweep.{reply.result}", "ref": job.task.ref})
        await self._record_reply(job, asked_at, reply)

    async def next_due(self) -> int | None:
        """When the next task is due."""
        state, now = await self._read_state(), self._clock()
        slot = max(state.next_slot, state.pace.busy_until)
        if now < slot:
            return slot
        times = (await self._store.tasks.next_poll(now), await self._store.tasks.next_lease(now))
        return min((at for at in times if at is not None), default=None)

    async def _read_state(self) -> SweepState:
        return self._state_from(await SWEEPING.read(self._store.paces))

    def _state_from(self, stored: SweepState | None) -> SweepState:
        return self._first if stored is None else stored.with_settings_of(self._first)

    async def _without_foreign_candidates(self, tx: Tx, task: Task) -> Task:
        """The task without candidates that are the id of another task by now."""
        if not polls_candidates(task):
            return task
        owners = await tx.tasks.by_task_id(task.provider, task.candidates)
        for task_id in task.candidates:
            if owners.get(task_id, task.ref) != task.ref:
                task = drop_candidate(task, task_id)
        return task

    async def _record_reply(self, job: PollJob, asked_at: int, reply: PollReply | None) -> None:
        kept = await self._read_kept_hints(job.task, reply)
        async with self._store.write() as tx:
            stored = await SWEEPING.lock(tx.paces)
            now = self._clock()
            state = self._state_from(stored)
            if reply is not None:
                signal, rest_ms = _SIGNALS.get(reply.result, Signal.NOTHING), reply.retry_after_ms
                state = replace(state, pace=state.pace.after(signal, sent_at=asked_at, now=now, retry_after_ms=rest_ms))
            batch = await TaskBatch.read_tasks(tx, [job.task.ref], self._policy, now)
            if _is_late(batch.tasks[job.task.ref], job):
                log.info("another poll was sent meanwhile, which counts", extra={"action": "sweep.late"})
            else:
                state = await self._apply_job(tx, batch, job, asked_at, reply, kept, state, now)
            await SWEEPING.put(tx.paces, stored, state, now)
        self._metrics.count_settled(batch.ended_tasks)

    async def _apply_job(
        self,
        tx: Tx,
        batch: TaskBatch,
        job: PollJob,
        asked_at: int,
        reply: PollReply | None,
        kept: list[KeptHint],
        state: SweepState,
        now: int,
    ) -> SweepState:
        """Write what follows for the task from a look at it; what it teaches about callbacks goes into the state."""
        before = batch.tasks[job.task.ref]
        kept = await batch.without_foreign_ids(before.ref, kept)
        news, changed = PollNews(asked_at, None, False, barred=job.barred), False
        if reply is not None and job.task_id is not None:
            batch.set_task(replace(before, polls=before.polls + 1))
            in_turn = job.task_id in before.candidates and polls_candidates(before)
            if job.task_id == before.task_id or in_turn:  # else it is known by another id meanwhile
                news, changed = await self._apply_reply(batch, before.ref, job.task_id, asked_at, reply, kept)
        task = batch.tasks[before.ref]
        if task.state.is_final and not task.confirmed:
            batch.set_task(plan_recheck(task, news, self._policy, now, jitter=self._jitter()))
        elif task.settled_at is None and not task.state.is_final:
            next_step = await self._take_next_step(tx, batch, task, news, kept)
            if next_step.ask is not None:
                await self._ask_a_person(tx, task, next_step.ask)
        elif changed:
            found = await self._warn_if_callbacks_stopped(tx, task, state.found, now)
            state = replace(state, found=found)
        await batch.raise_doubts()
        if reply is not None:
            heard = task.hint_note is not before.hint_note or task.doubted_at != before.doubted_at
            body = reply.body if changed or heard else None
            await tx.tasks.add_poll(task.ref, asked_at, reply.result.value, reply.text, body)
            if reply.result is PollResult.UNAUTHORIZED:
                await raise_attention(
                    tx,
                    "provider-key",
                    f"The provider refuses our key ({reply.text}). Polls are paused; callbacks are still received. "
                    "Check PROVIDER_KEY.",
                    self._policy,
                    now,
                )
        await batch.write_back()
        return state

    async def _apply_reply(
        self, batch: TaskBatch, ref: str, task_id: str, asked_at: int, reply: PollReply, kept: list[KeptHint]
    ) -> tuple[PollNews, bool]:
        """Apply a reply to the poll by `task_id`; whether it changed what is known, besides the news."""
        task, outcome, now = batch.tasks[ref], reply.outcome, self._clock()
        if task.state.is_final and task.confirmed:
            return PollNews(asked_at, reply.result, False), False
        fits = outcome is not None and matches_task(task, outcome)
        past = asked_at >= task_deadline(task, self._policy)
        told = take_reply(task, task_id, reply.result, fits=fits, past_deadline=past)
        dropped = told.denied is not task.denied
        for it in kept if len(told.candidates) < len(task.candidates) else ():  # there is room again
            told = add_candidate(told, it.outcome, self._policy, now)
        if reply.result is PollResult.UNREADABLE:
            told = add_unreadable_reply(told, now)
        if fits and outcome is not None and told.task_id not in (None, task_id):
            told = drop_candidate(replace(told, task_id=task_id), task_id)  # the known id was denied
        batch.set_task(told)
        running = changed = False
        if outcome is not None:
            await batch.look_up_owners([(ref, outcome)])
            verdict = batch.apply_outcome(ref, outcome, OutcomeSource.POLL).verdict
            changed = verdict is Verdict.ACCEPTED
            running = fits and outcome.ending is Ending.RUNNING and not outcome.unknown_status
            if not fits:
                log.info(_MISFIT, extra={"action": "sweep.misfit", "ref": ref})
        return PollNews(asked_at, reply.result, running, fits=fits or outcome is None, dropped=dropped), changed

    async def _take_next_step(
        self, tx: Tx, batch: TaskBatch, task: Task, news: PollNews, kept: list[KeptHint]
    ) -> NextStep:
        now = self._clock()
        if task.hint is not None and task.hint.task_id is not None:  # another task may have it by now
            await batch.look_up_owners([(task.ref, task.hint)])
            task = replace(task, hint=batch.without_foreign_id(task.ref, task.hint))
        next_step = decide_next_step(
            task,
            news,
            self._policy,
            now,
            first_ms=await expected_time(tx, task, self._policy),
            jitter=self._jitter(),
            kept=kept,
            trusted=self._watch.trusts(now),
        )
        batch.apply_decision(task.ref, next_step.decision)
        return next_step

    async def _read_kept_hints(self, task: Task, reply: PollReply | None) -> list[KeptHint]:
        """The task's stored hints, parsed again, if a candidate may give up its place or a hint may settle the task."""
        full = len(task.candidates) >= CANDIDATES_MOST and reply is not None
        if not full and (task.hint_until is None or self._clock() < task.hint_until):
            return []
        return await read_kept_hints(self._store.callbacks, self._parse, task)

    async def _ask_a_person(self, tx: Tx, task: Task, cause: str) -> None:
        """Ask about one task; about the rows of a batch, only once an hour, and about many others all at once."""
        text, now = _QUESTIONS[cause].format(name=task.shown_name, ref=task.ref), self._clock()
        lane = (await tx.lanes.look([task.lane])).get(task.lane) if is_row(task) else None
        if lane is None:
            await raise_task_attention(tx, cause, {task.ref: (task, text)}, _MANY, self._policy, now)
            return
        count = await tx.batch_rows.count_unsure(lane.id)
        text += _ROWS.format(name=lane.name, count=f"{count:,}", quoted=shlex.quote(lane.name))
        await raise_attention(tx, f"{cause}:batch {lane.id}", text, self._policy, now, task)

    async def _warn_if_callbacks_stopped(self, tx: Tx, task: Task, found: tuple[int, ...], now: int) -> tuple[int, ...]:
        """If only polling settled the last tasks, callbacks no longer arrive: say so. `found` is when polls did it,
        since the last callback; it comes back with this one."""
        if task.called_at is not None:  # its callback did arrive, though it was not believed at once
            return ()
        if task.poll_only:
            return found
        last = await tx.tasks.last_callback(task.model or "")
        found = (*[at for at in found if last is None or at > last][-STREAK:], now)
        if len(found) >= STREAK:
            await raise_attention(
                tx,
                "callbacks-stopped",
                f"Callbacks no longer arrive: the last {len(found)} tasks were settled by polling. "
                "Run `receiver doctor`, and check from outside that PUBLIC_URL/healthz answers 200.",
                self._policy,
                now,
            )
        return found


def _rests(state: SweepState, now: int) -> bool:
    """Whether no poll may be sent at `now`."""
    return is_paused(state.next_slot, now, RETRY_AFTER_MOST) or state.pace.is_busy(now)


def _is_late(task: Task, job: PollJob) -> bool:
    """Whether the lease of this job had ended, and the task was looked at again since, or is now."""
    return task.polls > job.task.polls or (task.lease_until or 0) > (job.task.lease_until or 0)
