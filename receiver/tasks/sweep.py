"""Polls the provider about tasks whose callback is overdue or needs confirming, and gives up on tasks without an end.

At most two polls a second, one in flight per task, in growing gaps. A task becomes lost only after a poll past its
deadline found no end, or if it cannot be polled. A failed poll never makes a task lost.
"""

import logging
import random
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.clock_check import ClockWatch
from receiver.core.decide import FOREVER, mark_lost, matches_task, settle_task, task_deadline
from receiver.core.provider_pace import ProviderPace, Signal
from receiver.core.schedule import RETRY_AFTER_MOST, UNSURE_MOST, ClockRewind, hint_gap, is_paused, poll_gap
from receiver.core.types import (
    Clock,
    ConfirmMode,
    Decision,
    Ending,
    OutcomeSource,
    Policy,
    PollReply,
    PollResult,
    Task,
    TaskOrigin,
    TaskState,
    Verdict,
)
from receiver.notify.attention import raise_attention
from receiver.providers.registry import Provider
from receiver.store import Store, Topic, Tx
from receiver.tasks.settle import TaskBatch, expected_time
from receiver.telemetry import logs
from receiver.telemetry.metrics import Metrics

LEASE_MS = 60_000  # one poll in flight per task
SPACING_MS = 500  # at most two polls a second
START_GRACE_MS = 600_000  # after a start, before a task that cannot be polled is given up
_SIGNALS = {
    PollResult.OUTCOME: Signal.FINE,
    PollResult.UNKNOWN: Signal.FINE,
    PollResult.BUSY: Signal.BUSY,
    PollResult.UNAUTHORIZED: Signal.UNAUTHORIZED,
}
STREAK = 5  # tasks that only polling settled, without a callback in between: callbacks no longer arrive

_MISFIT = "the reply is for another model or another time, so it is ignored"
_QUESTIONS = {
    "unconfirmed": "A callback says that {name} has ended, but no poll could confirm it. Check the provider's task "
    "list. If the callback is right, run `receiver callbacks replay --accept ID`; `receiver tasks show {ref}` prints "
    "the ID. Or wait.",
    "unsure": "It is unclear whether the provider took {name}, so it is not sent again. Check the provider's task "
    "list. If the task is there, run `receiver tasks tell-id {ref} ID`. If not, run `receiver tasks resubmit {ref}`; "
    "if the provider took it after all, you pay twice. Or wait for its callback.",
}

log = logging.getLogger(__name__)


class PollNews(Struct, frozen=True):
    """What a poll brought: when it went out, its result (None: no poll was possible), whether the task still runs."""

    asked_at: int
    result: PollResult | None
    is_running: bool


class NextStep(Struct, frozen=True):
    """What happens to a task that a poll did not settle: the decision, and the question for a person, if any."""

    decision: Decision
    ask: str | None = None


def decide_next_step(
    task: Task, news: PollNews, policy: Policy, now: int, *, first_ms: int, jitter: float, trusted: bool = True
) -> NextStep:
    """What happens to an unsettled `task` after a poll; `first_ms` is the model's expected time.

    If `now` cannot be `trusted`, because the clock leapt, the deadline does not end the task yet, and a hint only once
    all its polls were made.

    1. A terminal hint that no poll could confirm or refute in time settles the task, or a person is asked. A poll
       that says "not finished" refutes the hint for now.
    2. Past its deadline the task is lost if a poll since then says that it is not finished or unknown, or if it
       cannot be polled and this process has been receiving for ten minutes.
    3. If an unsure task's place has run out, a person is asked, once.
    4. Otherwise the task is polled again: soon after a hint, then in growing gaps.
    """
    ask: str | None = None
    hint, until = task.hint, task.hint_until
    if hint is not None and until is not None:
        if news.is_running:
            again = None if task.state is TaskState.LOST else now + policy.confirm_within_ms
            task = replace(task, hint_until=again)
        # more than `confirm_within_ms` ahead: the clock was set back
        elif not now < until <= now + policy.confirm_within_ms and (trusted or task.hint_step is None):
            if policy.confirm is ConfirmMode.MISMATCH:
                return NextStep(settle_task(task, hint, OutcomeSource.CALLBACK, policy, now, confirmed=False))
            ask, task = "unconfirmed", replace(task, hint_until=None)
    pollable = policy.can_poll and (task.task_id is not None or _hinted_id(task) is not None)
    pending = task.hint_until is not None and not news.is_running
    if task.state is not TaskState.LOST and not pending and now >= task_deadline(task, policy):
        unfinished = news.result in (PollResult.OUTCOME, PollResult.UNKNOWN)
        no_end = unfinished and news.asked_at >= task_deadline(task, policy)
        if trusted and (no_end or (not pollable and now >= policy.started_at + START_GRACE_MS)):
            return NextStep(mark_lost(task, policy, now), ask)
    place = task.place_until
    # more than UNSURE_MOST ahead: the clock was set back
    run_out = place is not None and (place <= now or now + UNSURE_MOST < place < FOREVER)
    if run_out and task.unsure and task.origin is TaskOrigin.SUBMITTED:
        ask, task = "unsure", replace(task, place_until=None)
    return NextStep(
        Decision(Verdict.HINT, _schedule_next_poll(task, policy, now, first_ms, jitter, pollable=pollable)), ask
    )


def _schedule_next_poll(task: Task, policy: Policy, now: int, first_ms: int, jitter: float, *, pollable: bool) -> Task:
    ends = [task_deadline(task, policy), task.hint_until, task.place_until]
    if not pollable:
        ends.append(policy.started_at + START_GRACE_MS)
    task = replace(task, lease_until=None)
    step = task.hint_step
    gap = hint_gap(step + 1) if step is not None else None
    if step is not None and gap is not None:
        task = replace(task, hint_step=step + 1)
    else:
        task = replace(task, hint_step=None)
        if task.state is TaskState.LOST and task.hint_until is None:
            return replace(task, poll_at=None)
        if pollable:
            gap = poll_gap(task.poll_step, first=first_ms, most=policy.sweep_max_ms, jitter=jitter)
            task = replace(task, poll_step=task.poll_step + 1)
    times = [at for at in ends if at is not None and at > now]
    if gap is not None or not times:
        times.append(now + (gap if gap is not None else policy.sweep_max_ms))
    return replace(task, poll_at=min(times))


def _hinted_id(task: Task) -> str | None:
    return task.hint.task_id if task.hint is not None else None


class PollJob(Struct, frozen=True):
    """A task to look at, and the id to poll by; None if no poll is possible now."""

    task: Task
    task_id: str | None


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
        watch: ClockWatch,
        jitter: Callable[[], float] = random.random,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._provider = provider
        self._policy = policy
        self._clock = clock
        self._watch = watch
        self._jitter = jitter
        self._metrics = metrics
        self._clock_rewind = ClockRewind()
        self._next_slot = 0
        self._pace = ProviderPace(spacing_least_ms=SPACING_MS)
        self._found: list[int] = []  # when polls settled tasks, since the last callback

    async def claim(self) -> PollJob | None:
        """The next task to look at, under a lease; None if none is due or the provider needs a rest."""
        now = self._clock()
        set_back = self._clock_rewind(now)
        if is_paused(self._next_slot, now, RETRY_AFTER_MOST) or self._pace.is_busy(now):
            return None
        if not set_back and await self._store.tasks.next_overdue(now) is None:
            return None
        async with self._store.write() as tx:
            if set_back:
                await tx.tasks.pull_in(
                    now,
                    lease_ms=LEASE_MS,
                    poll_ms=self._policy.sweep_max_ms * 2,
                    deadline_ms=self._policy.deadline_ms,
                )
            task = await tx.tasks.next_overdue(now)
            task_id = None
            if task is not None:
                task_id = await self._id_to_poll(tx, task, now)
                await tx.tasks.update([(task, replace(task, lease_until=now + LEASE_MS))])
        self._clock_rewind.mark_handled(now)
        if task is None:
            return None
        if task_id is not None:
            self._next_slot = now + self._pace.spacing
        return PollJob(task, task_id)

    async def carry_out(self, job: PollJob) -> None:
        """Poll, and apply the reply."""
        logs.bind_ref(job.task.ref)
        asked_at = self._clock()
        reply = await self._provider.poll(job.task_id) if job.task_id is not None else None
        if reply is not None:
            self._metrics.count_poll(reply.result)
            log.info(reply.text, extra={"action": f"sweep.{reply.result}", "ref": job.task.ref})
            self._pace = self._pace.after(
                _SIGNALS.get(reply.result, Signal.NOTHING),
                sent_at=asked_at,
                now=self._clock(),
                retry_after_ms=reply.retry_after_ms,
            )
        await self._record_reply(job.task, asked_at, reply)

    async def next_due(self) -> int | None:
        """When the next task is due."""
        now = self._clock()
        slot = max(self._next_slot, self._pace.busy_until)
        if now < slot:
            return slot
        times = (await self._store.tasks.next_poll(now), await self._store.tasks.next_lease(now))
        return min((at for at in times if at is not None), default=None)

    async def _id_to_poll(self, tx: Tx, task: Task, now: int) -> str | None:
        """The id to poll by: the task's own, else its hint's if no other task has it. None if no poll is possible."""
        if not self._policy.can_poll or self._pace.is_unauthorized(now):
            return None
        if task.task_id is not None:
            return task.task_id
        hinted = _hinted_id(task)
        if hinted is None or (await tx.tasks.by_task_id(task.provider, [hinted])).get(hinted, task.ref) != task.ref:
            return None
        return hinted

    async def _record_reply(self, polled: Task, asked_at: int, reply: PollReply | None) -> None:
        now = self._clock()
        async with self._store.write() as tx:
            batch = await TaskBatch.read_tasks(tx, [polled.ref], self._policy, now)
            task = batch.tasks[polled.ref]
            running = False
            changed = False
            if reply is not None:
                batch.set_task(replace(task, polls=task.polls + 1))
                if reply.outcome is not None:
                    await batch.look_up_owners([(task.ref, reply.outcome)])
                    verdict = batch.apply_outcome(task.ref, reply.outcome, OutcomeSource.POLL).verdict
                    changed = verdict is Verdict.ACCEPTED
                    fitting = matches_task(task, reply.outcome)
                    running = reply.outcome.ending is Ending.RUNNING and fitting
                    if not fitting:
                        log.info(_MISFIT, extra={"action": "sweep.misfit", "ref": task.ref})
            task = batch.tasks[polled.ref]
            if task.settled_at is None and not task.state.is_final:
                first = await expected_time(tx, task, self._policy)
                news = PollNews(asked_at, reply.result if reply else None, running)
                if task.hint is not None and task.hint.task_id is not None:  # another task may have it by now
                    await batch.look_up_owners([(task.ref, task.hint)])
                    task = replace(task, hint=batch.without_foreign_id(task.ref, task.hint))
                next_step = decide_next_step(
                    task,
                    news,
                    self._policy,
                    now,
                    first_ms=first,
                    jitter=self._jitter(),
                    trusted=self._watch.trusts(now),
                )
                batch.apply_decision(task.ref, next_step.decision)
                if next_step.ask is not None:
                    await self._ask_a_person(tx, task, next_step.ask)
            elif changed:
                await self._warn_if_callbacks_stopped(tx, task, now)
            if reply is not None:
                body = reply.body if changed else None
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
        self._metrics.count_settled(batch.ended_tasks)

    async def _ask_a_person(self, tx: Tx, task: Task, cause: str) -> None:
        name = f"“{task.label}”" if task.label else task.ref
        await raise_attention(
            tx,
            f"{cause}:{task.ref}",
            _QUESTIONS[cause].format(name=name, ref=task.ref),
            self._policy,
            self._clock(),
            task,
        )

    async def _warn_if_callbacks_stopped(self, tx: Tx, task: Task, now: int) -> None:
        """If only polling settled the last tasks, callbacks no longer arrive: say so."""
        if task.called_at is not None:  # its callback did arrive, though it was not believed at once
            self._found.clear()
        if task.poll_only or task.called_at is not None:
            return
        last = await tx.tasks.last_callback(task.model or "")
        self._found = [at for at in self._found if last is None or at > last][-STREAK:]
        self._found.append(now)
        if len(self._found) >= STREAK:
            await raise_attention(
                tx,
                "callbacks-stopped",
                f"Callbacks no longer arrive: the last {len(self._found)} tasks were settled by polling. "
                "Run `receiver doctor`, and check from outside that PUBLIC_URL/healthz answers 200.",
                self._policy,
                now,
            )
