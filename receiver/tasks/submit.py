"""Sends queued tasks to the provider, one claim per request, and records what its answer means.

A task is claimed immediately before its request. If the answer leaves open whether the provider took the task, the task
is unsure: only a person can have it sent again. The id that the answer gives is stored in whatever state the task is.

What the answers teach about the provider is one state that all processes over the database share: every claim and every
record locks it first, so they take turns, and the limits hold for all processes together.
"""

import logging
import random
from collections.abc import Callable

from msgspec.structs import replace

from receiver.core.decide import FOREVER, mark_unsure, requeue_task
from receiver.core.errors import StoreError, StoreUnavailable
from receiver.core.hints import believable_hints, forget_confirmed_hint
from receiver.core.loop_states import SubmitState
from receiver.core.proven_limit import ProvenLimit
from receiver.core.provider_pace import ProviderPace
from receiver.core.schedule import PROBES, ClockRewind, busy_again_gap
from receiver.core.submissions import (
    NextAction,
    RefusalScene,
    choose_action,
    count_busy,
    describe_try,
    hold_for_person,
    own_probe_at,
    pause_refused,
    step_aside,
    without_refusal,
)
from receiver.core.types import (
    Clock,
    OutcomeSource,
    Policy,
    Step,
    StepKind,
    SubmitAnswer,
    SubmitResult,
    Task,
    TaskState,
)
from receiver.notify.attention import raise_attention
from receiver.providers.registry import DEFAULT_PROVIDER, Provider
from receiver.store import Store, Topic, Tx
from receiver.store.insist import record_with_retries
from receiver.tasks.answers import learn_task_id, mark_taken, mark_unclear
from receiver.tasks.budget_check import BudgetCheck
from receiver.tasks.kept_hints import BodyParser, read_kept_hints
from receiver.tasks.queue_status import QueueStatus
from receiver.tasks.refusals import (
    BUSY,
    DOWN,
    describe_hold,
    describe_pause,
    judge_refused,
    pause_suspects,
    refusal_outcome,
)
from receiver.tasks.settle import TaskBatch, expected_time
from receiver.tasks.shared_state import SUBMITTING, working_since
from receiver.telemetry import logs
from receiver.telemetry.metrics import Metrics

REQUEST_MS = 30_000  # so long a request may take
LEASE_MS = 2 * REQUEST_MS  # after this no answer is expected
UNPROVEN_MOST = 3  # requests under way before one has been taken: a refused key is not tried ten times
DOWN_LEAST = 10  # requests in a row that could not be sent, or were answered "busy", before a person is told
UNANSWERED = "the provider did not answer the submission in time"

log = logging.getLogger(__name__)


class SubmitLoop:
    """The loop that submits. `callback_url` makes a task's URL; `key_id` names the key that signs it.

    A callback that overtook the answer to its submission is a hint until the answer names the task's id; then it is
    applied.
    """

    topic = Topic.SUBMIT
    grace_s = 35.0  # the request may take 30 s

    def __init__(
        self,
        store: Store,
        provider: Provider,
        policy: Policy,
        clock: Clock,
        *,
        parse: BodyParser,
        callback_url: Callable[[str], str],
        key_id: str,
        concurrency: int,
        metrics: Metrics,
        budget: BudgetCheck,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._provider = provider
        self._policy = policy
        self._clock = clock
        self._callback_url = callback_url
        self._key_id = key_id
        self._metrics = metrics
        self._parse = parse
        self._budget = budget
        self._jitter = jitter
        self.width = concurrency
        self._first = SubmitState(ProviderPace(retry_after_most_ms=LEASE_MS), ProvenLimit(concurrency))
        self.queue = QueueStatus(store, policy, clock, budget=budget, first=self._first)
        self._started = False
        self._doubtful: Task | None = None  # claimed, but nobody knows whether that was stored
        self._clock_rewind = ClockRewind()

    async def claim(self) -> Task | None:
        """The next task, now `submitting` under a lease; None if none is due, no place is free, or there is a pause."""
        if self._doubtful is not None and (task := await self._take_up(self._doubtful)) is not None:
            return task
        now = self._clock()
        set_back = self._clock_rewind(now)
        if self._started and not set_back and not await self._has_work(now):
            return None
        since = 0 if self._started else await working_since(self._store, now)
        claimed: Task | None = None
        try:
            async with self._store.write() as tx:
                before = await SUBMITTING.lock(tx.paces)
                at = self._clock()
                state = await self._begin_with(tx, before, since, at)
                if set_back:
                    await tx.tasks.pull_in(at, due_ms=PROBES[-1], lease_ms=LEASE_MS)
                for overdue in await tx.tasks.overdue_answers(at):
                    now_unsure = mark_unsure(without_refusal(overdue), at, self._policy.sweep_first_ms)
                    await tx.tasks.update([(overdue, now_unsure)])
                    await tx.steps.add([Step(overdue.ref, at, StepKind.UNSURE, UNANSWERED)])
                    log.warning(UNANSWERED, extra={"action": "submit.unsure", "ref": overdue.ref})
                claimed, state = await self._claim_next(tx, state, at)
                await SUBMITTING.put(tx.paces, before, state, at)
        except StoreUnavailable:
            self._doubtful = claimed
            raise
        self._started = True
        self._clock_rewind.mark_handled(now)
        return claimed

    async def _begin_with(self, tx: Tx, stored: SubmitState | None, since: int, now: int) -> SubmitState:
        """The state to go on from. At the start of the first process that submits, whatever paused tasks may have been
        put right: they are released, and the first one probes. A pause that others heed is theirs."""
        if stored is not None and stored.at >= since:
            return stored.with_settings_of(self._first)
        if self._started or not await tx.tasks.release_paused(now):
            return self._first
        return replace(self._first, pace=replace(self._first.pace, unauthorized=True))

    async def _take_up(self, claimed: Task) -> Task | None:
        """The task of a claim whose commit failed, if it was stored all the same: nobody else would send it."""
        async with self._store.write() as tx:
            await SUBMITTING.lock(tx.paces)  # the commit may still be under way: then this waits for it
            task = (await tx.tasks.get([claimed.ref])).get(claimed.ref)
        self._doubtful = None
        return task if task is not None and _is_held(task, claimed) else None

    async def carry_out(self, task: Task) -> None:
        """Send the request and record the answer; if the disk refuses, try for a while.

        If we stood still since the claim, others may count it as unanswered before its answer can come: then it goes
        back unsent.
        """
        logs.bind_ref(task.ref)
        if self._clock() > (task.lease_until or 0) - REQUEST_MS:
            await record_with_retries(lambda: self._give_back(task))
        else:
            await self._submit(task)

    async def _give_back(self, claimed: Task) -> None:
        async with self._store.write() as tx:
            task = (await tx.tasks.get([claimed.ref])).get(claimed.ref)
            ours = task is not None and _is_held(task, claimed) and task.called_at is None
            if task is not None and ours:
                await tx.tasks.update([(task, requeue_task(task, self._clock()))])
        text = (
            "this process stood still, so the task goes back unsent" if ours else "it was not sent, for it is not ours"
        )
        log.warning(text, extra={"action": "submit.stood_still", "ref": claimed.ref})

    async def _submit(self, task: Task) -> None:
        url = None if task.poll_only else self._callback_url(task.ref)
        answer = await self._provider.submit(task.model or "", task.params, url)
        self._metrics.count_submission(answer.result)
        level = logging.WARNING if answer.result in (SubmitResult.UNCLEAR, SubmitResult.UNAUTHORIZED) else logging.INFO
        log.log(level, answer.text, extra={"action": f"submit.{answer.result}", "ref": task.ref})
        try:
            await record_with_retries(lambda: self._record_answer(task, answer))
        except StoreError as error:
            task_id = answer.outcome and answer.outcome.task_id
            log.error(
                "the provider's answer (task id %s) could not be stored: %s",
                task_id,
                error,
                extra={"action": "submit.record", "ref": task.ref},
            )
            raise

    async def next_due(self) -> int | None:
        """When the next task may be ready, if nothing wakes the loop before."""
        state, now = await self.queue.read_state(), self._clock()
        short = self._budget.wait_at(state.waits, now)
        times = (
            await self._store.tasks.next_due(now),
            await self._store.tasks.next_lease(now),
            await self._store.tasks.next_place(now),
            state.pace.paused_until(now),
            state.limit.next_probe(now),
            None if short is None else short.until,
        )
        return min((at for at in times if at is not None), default=None)

    async def _has_work(self, now: int) -> bool:
        """Whether there may be something to claim, as far as reading shows."""
        if await self._store.tasks.overdue_answers(now, limit=1):
            return True
        if await self._store.tasks.next_queued(now) is None:
            return False
        return not (await self.queue.read_state()).pace.paused_until(now)

    async def _claim_next(self, tx: Tx, state: SubmitState, now: int) -> tuple[Task | None, SubmitState]:
        if not self._policy.can_poll or state.pace.paused_until(now):  # without a key, tasks wait
            return None, state
        if await tx.gates.paused(DEFAULT_PROVIDER) is not None:
            return None, state
        taken = await tx.tasks.places_taken(now)
        if taken >= state.limit.places(now):
            return None, state
        if not state.taken_at and taken - await tx.tasks.in_hand(now) >= UNPROVEN_MOST:
            return None, state
        found, waits, used_up = await self._budget.reserve_next(tx, state.waits, now)
        state = replace(state, waits=waits)
        if found is None:
            await self._budget.pause_used_up(tx, used_up, now)
            return None, state
        queued, reserved = found
        claimed = replace(
            reserved,
            state=TaskState.SUBMITTING,
            held_by=None,
            due_at=None,
            why=None,
            key_id=None if queued.poll_only else self._key_id,
            claim=queued.claim + 1,
            submitted_at=now,
            lease_until=now + LEASE_MS,
            place_until=FOREVER,
        )
        await tx.tasks.update([(queued, claimed)])
        await self._budget.pause_used_up(tx, used_up, now)
        return claimed, state.probing(now, LEASE_MS)

    async def _record_answer(self, claimed: Task, answer: SubmitAnswer) -> None:
        action: NextAction | None = None
        async with self._store.write() as tx:
            stored = await SUBMITTING.lock(tx.paces)
            now = self._clock()
            state = self._first if stored is None else stored.with_settings_of(self._first)
            pace, sent_at = state.pace, claimed.submitted_at or now
            expected_ms = await expected_time(tx, claimed, self._policy)
            explains = answer.result in (SubmitResult.TAKEN, SubmitResult.UNAUTHORIZED)
            refused = await tx.tasks.refused() if explains else []
            in_hand = await tx.tasks.in_hand(now)
            batch = await TaskBatch.read_tasks(tx, [claimed.ref, *(it.ref for it in refused)], self._policy, now)
            task = batch.tasks[claimed.ref]
            if answer.result is SubmitResult.TAKEN and answer.outcome is not None:
                task = await learn_task_id(tx, task, claimed, answer.outcome, self._policy, now)
                early = await read_kept_hints(tx.callbacks, self._parse, task) if task.hint is not None else []
                batch.set_task(mark_taken(forget_confirmed_hint(task), now, expected_ms))
                if answer.outcome.says_end:
                    await batch.look_up_owners([(task.ref, answer.outcome)])
                    batch.apply_outcome(task.ref, answer.outcome, OutcomeSource.ANSWER)
                for hint in believable_hints(batch.tasks[task.ref], early):
                    batch.apply_outcome(task.ref, hint.outcome, OutcomeSource.CALLBACK)
                judge_refused(batch, refused, sent_at, now)
            elif task.state is TaskState.SUBMITTING and task.claim == claimed.claim:
                alone = not pace.busy_in_a_row
                scene = RefusalScene(sent_at, state.taken_at, now, pace.unauthorized, alone, refused)
                action = choose_action(task, answer, scene)
                if action is NextAction.FAIL:
                    batch.apply_outcome(task.ref, refusal_outcome(answer.error, answer.text), OutcomeSource.ANSWER)
                else:
                    batch.set_task(self._put_back(task, answer, action, scene, state, expected_ms))
                await tx.steps.add(describe_try(task.ref, answer, action, now))
                if action is NextAction.ASK:
                    await self._ask_a_person(tx, batch.tasks[task.ref], answer, now)
            if action is NextAction.PAUSE:
                pause_suspects(batch, refused, pace.refusals, now)
                await raise_attention(tx, "provider-key", describe_pause(answer), self._policy, now)
            if answer.result is SubmitResult.NOT_SENT and pace.failures >= DOWN_LEAST - 1:
                text = DOWN.format(words=answer.text, count=pace.failures + 1)
                await raise_attention(tx, "provider-down", text, self._policy, now)
            if answer.result is SubmitResult.BUSY and pace.busy_in_a_row >= DOWN_LEAST - 1:
                text = BUSY.format(words=answer.text, count=pace.busy_in_a_row + 1)
                await raise_attention(tx, "provider-busy", text, self._policy, now)
            await batch.write_back()
            await batch.raise_doubts()
            after = state.after(
                answer,
                all_refused=action is NextAction.PAUSE,
                in_hand=in_hand,
                sent_at=sent_at,
                now=now,
                jitter=self._jitter(),
            )
            await SUBMITTING.put(tx.paces, stored, after, now)
        self._metrics.count_settled(batch.ended_tasks)
        self._store.wake(Topic.SUBMIT)

    async def _ask_a_person(self, tx: Tx, held: Task, answer: SubmitAnswer, now: int) -> None:
        await raise_attention(tx, f"held:{held.ref}", describe_hold(held, answer), self._policy, now, held)

    def _put_back(
        self,
        task: Task,
        answer: SubmitAnswer,
        action: NextAction,
        scene: RefusalScene,
        state: SubmitState,
        expected_ms: int,
    ) -> Task:
        now = scene.now
        match action:
            case NextAction.SUSPECT | NextAction.ASIDE:
                return step_aside(task, answer, scene, suspect=action is NextAction.SUSPECT)
            case NextAction.PAUSE:
                return pause_refused(task, answer, own_probe_at(state.pace.refusals, now), now)
            case NextAction.ASK:
                return hold_for_person(task, answer, scene)
            case NextAction.REQUEUE if answer.result is SubmitResult.NOT_SENT:  # all of them wait, in their turn
                return requeue_task(task, now, answer.text)
            case NextAction.REQUEUE:  # after the rest that all take, so that another is tried first
                own = min(answer.retry_after_ms or 0, LEASE_MS)
                tries = count_busy(task, scene)
                gap = max(own, state.rest_after(answer)) + busy_again_gap(tries, jitter=self._jitter())
                return replace(requeue_task(task, now + gap, answer.text), tries=tries)
        return mark_unclear(task, answer, now, expected_ms)


def _is_held(task: Task, claimed: Task) -> bool:
    """Whether the task is still under the lease of this claim."""
    return task.state is TaskState.SUBMITTING and (task.claim, task.lease_until) == (claimed.claim, claimed.lease_until)
