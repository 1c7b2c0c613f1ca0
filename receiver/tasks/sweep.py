"""Asks the provider about tasks whose callback is overdue or needs confirming, and gives up what has no end.

The sweeper behind the callbacks: at most two polls a second, in growing gaps, one in flight per task. A task becomes
lost only after a poll made past its deadline said so, or where none is possible; errors never lose anything.
"""

import logging
import random
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

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

LEASE_MS = 60_000  # one poll in flight per task: nobody else looks at it meanwhile
SPACING_MS = 500  # at most two polls a second
START_GRACE_MS = 600_000  # receiving after a start, before a task that cannot be polled is given up
_SIGNALS = {
    PollResult.OUTCOME: Signal.FINE,
    PollResult.UNKNOWN: Signal.FINE,
    PollResult.BUSY: Signal.BUSY,
    PollResult.UNAUTHORIZED: Signal.UNAUTHORIZED,
}
STREAK = 5  # tasks found by the sweep, with no callback since the first: callbacks no longer arrive

_MISFIT = "the reply is about another model, or was made at another time: it changes nothing"
_QUESTIONS = {
    "unconfirmed": "A callback for {name} says it ended, and no poll could confirm it. Look at the provider's list. "
    "To believe it, `receiver callbacks replay --accept ID`; `receiver tasks show {ref}` names the ID. Or wait.",
    "unsure": "Nobody knows whether the provider took {name}, so it is not sent again. Look at the provider's list. "
    "If it is there, `receiver tasks tell-id {ref} ID`; if it is not, `receiver tasks resubmit {ref}` (should it be "
    "there after all, it is paid for twice). Or wait for its callback.",
}

log = logging.getLogger(__name__)


class PollNews(Struct, frozen=True):
    """What one look brought: when, what was heard (None: nobody could be asked), whether this task still runs."""

    asked_at: int
    result: PollResult | None
    is_running: bool


class NextStep(Struct, frozen=True):
    """What becomes of a task that a look did not settle: the decision, and what a person is to be asked."""

    decision: Decision
    ask: str | None = None


def decide_next_step(task: Task, told: PollNews, policy: Policy, now: int, *, first_ms: int, jitter: float) -> NextStep:
    """What becomes of an unsettled `task` after a look; `first_ms` is the model's expected time.

    1. A terminal hint that nobody could confirm or refute in time settles it, or calls for a person. A poll that
       says "not finished" refutes it for now.
    2. Past its deadline it is lost, if a poll made since then says it is not finished or unknown, or if it
       cannot be polled and we have been receiving for ten minutes.
    3. An unsure one, whose place has run out, calls for a person, once.
    4. Otherwise it is looked at again: on the hint's ladder, then in growing gaps.
    """
    ask: str | None = None
    hint, until = task.hint, task.hint_until
    if hint is not None and until is not None:
        if told.is_running:
            again = None if task.state is TaskState.LOST else now + policy.confirm_within_ms
            task = replace(task, hint_until=again)
        elif now >= until:
            if policy.confirm is ConfirmMode.MISMATCH:
                return NextStep(settle_task(task, hint, OutcomeSource.CALLBACK, policy, now, confirmed=False))
            ask, task = "unconfirmed", replace(task, hint_until=None)
    pollable = policy.can_poll and (task.task_id is not None or _hinted_id(task) is not None)
    pending = task.hint_until is not None and not told.is_running
    if task.state is not TaskState.LOST and not pending and now >= task_deadline(task, policy):
        said = told.result in (PollResult.OUTCOME, PollResult.UNKNOWN) and told.asked_at >= task_deadline(task, policy)
        if said or (not pollable and now >= policy.started_at + START_GRACE_MS):
            return NextStep(mark_lost(task, policy, now), ask)
    place = task.place_until
    run_out = place is not None and (place <= now or now + UNSURE_MOST < place < FOREVER)  # the latter: a clock jumped
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
    """A task to be looked at: the id to ask by, or None where nobody can be asked now."""

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
        jitter: Callable[[], float] = random.random,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._provider = provider
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._metrics = metrics
        self._clock_rewind = ClockRewind()
        self._next_slot = 0
        self._pace = ProviderPace(spacing_least_ms=SPACING_MS)
        self._found: list[int] = []  # when the sweep settled tasks, since a callback last did

    async def claim(self) -> PollJob | None:
        """The task to look at first, under a lease; None while none is due or the provider needs a rest."""
        now = self._clock()
        set_back = self._clock_rewind(now)
        if is_paused(self._next_slot, now, RETRY_AFTER_MOST) or self._pace.is_busy(now):
            return None
        if not set_back and await self._store.tasks.next_overdue(now) is None:
            return None
        async with self._store.write() as tx:
            if set_back:
                await tx.tasks.pull_in(now, lease_ms=LEASE_MS, poll_ms=self._policy.sweep_max_ms * 2)
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

    async def carry_out(self, look: PollJob) -> None:
        """Ask, and apply what was heard."""
        logs.bind_ref(look.task.ref)
        asked_at = self._clock()
        reply = await self._provider.poll(look.task_id) if look.task_id is not None else None
        if reply is not None:
            self._metrics.count_poll(reply.result)
            log.info(reply.text, extra={"action": f"sweep.{reply.result}", "ref": look.task.ref})
            self._pace = self._pace.after(
                _SIGNALS.get(reply.result, Signal.NOTHING),
                sent_at=asked_at,
                now=self._clock(),
                retry_after_ms=reply.retry_after_ms,
            )
        await self._record_reply(look.task, asked_at, reply)

    async def next_due(self) -> int | None:
        """When the next task is to be looked at."""
        now = self._clock()
        slot = max(self._next_slot, self._pace.busy_until)
        if now < slot:
            return slot
        times = (await self._store.tasks.next_poll(now), await self._store.tasks.next_lease(now))
        return min((at for at in times if at is not None), default=None)

    async def _id_to_poll(self, tx: Tx, task: Task, now: int) -> str | None:
        """The task's own id; failing that, one from a body in task-object shape, unless another task has it."""
        if not self._policy.can_poll or self._pace.is_unauthorized(now):
            return None
        if task.task_id is not None:
            return task.task_id
        hinted = _hinted_id(task)
        if hinted is None or (await tx.tasks.by_task_id(task.provider, [hinted])).get(hinted, task.ref) != task.ref:
            return None
        return hinted

    async def _record_reply(self, looked_at: Task, asked_at: int, reply: PollReply | None) -> None:
        now = self._clock()
        async with self._store.write() as tx:
            book = await TaskBatch.read_tasks(tx, [looked_at.ref], self._policy, now)
            task = book.tasks[looked_at.ref]
            running = False
            changed = False
            if reply is not None:
                book.set_task(replace(task, polls=task.polls + 1))
                if reply.outcome is not None:
                    await book.look_up_owners([(task.ref, reply.outcome)])
                    verdict = book.apply_outcome(task.ref, reply.outcome, OutcomeSource.POLL).verdict
                    changed = verdict is Verdict.ACCEPTED
                    fitting = matches_task(task, reply.outcome)
                    running = reply.outcome.ending is Ending.RUNNING and fitting
                    if not fitting:
                        log.info(_MISFIT, extra={"action": "sweep.misfit", "ref": task.ref})
            task = book.tasks[looked_at.ref]
            if task.settled_at is None and not task.state.is_final:
                first = await expected_time(tx, task, self._policy)
                told = PollNews(asked_at, reply.result if reply else None, running)
                if task.hint is not None and task.hint.task_id is not None:  # it may have become another's since
                    await book.look_up_owners([(task.ref, task.hint)])
                    task = replace(task, hint=book.without_foreign_id(task.ref, task.hint))
                next_step = decide_next_step(task, told, self._policy, now, first_ms=first, jitter=self._jitter())
                book.apply_decision(task.ref, next_step.decision)
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
                        f"The provider refuses our key ({reply.text}). Polls are paused; callbacks are still taken. "
                        "Check PROVIDER_KEY.",
                        self._policy,
                        now,
                    )
            await book.write_back()
        self._metrics.count_settled(book.ended_tasks)

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
        """Many tasks that only the sweep found mean that callbacks no longer arrive."""
        if task.called_at is not None:  # its callback did come, if not in a form to be believed at once
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
                f"The last {len(self._found)} tasks were found by polling: callbacks no longer arrive. "
                "Check from outside that PUBLIC_URL reaches this service: its /healthz answers 200.",
                self._policy,
                now,
            )
