"""Sends queued tasks to the provider, one claim per request, and records what its answer means.

A task is claimed immediately before its request. If the answer leaves open whether the provider took the task, the task
is unsure: only a person can have it sent again. The id that the answer gives is stored in whatever state the task is.
"""

import logging
import random
from collections.abc import Callable

from msgspec.structs import replace

from receiver.core.decide import FOREVER, heard_doubted_end, mark_unsure, requeue_task
from receiver.core.errors import StoreError
from receiver.core.hints import (
    add_candidate_id,
    allow_id,
    believable_hints,
    drop_candidate,
    forget_confirmed_hint,
)
from receiver.core.proven_limit import ProvenLimit
from receiver.core.provider_pace import ProviderPace, Signal
from receiver.core.schedule import PROBES, ClockRewind, busy_again_gap, busy_gap
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
    Outcome,
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
from receiver.telemetry import logs
from receiver.telemetry.metrics import Metrics

LEASE_MS = 60_000  # the request may take 30 s; after this no answer is expected
UNPROVEN_MOST = 3  # requests under way before one has been taken: a refused key is not tried ten times
DOWN_LEAST = 10  # requests in a row that could not be sent, or were answered "busy", before a person is told
_SIGNALS = {
    SubmitResult.TAKEN: Signal.FINE,
    SubmitResult.REFUSED: Signal.FINE,
    SubmitResult.BUSY: Signal.BUSY,
    SubmitResult.NOT_SENT: Signal.NOT_SENT,
}

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
        self.queue = QueueStatus(store, policy, clock, budget=budget, read_pace=lambda: (self._pace, self._limit))
        self._pace = ProviderPace(retry_after_most_ms=LEASE_MS)
        self._limit = ProvenLimit(concurrency)
        self._taken_at = 0  # when the newest task was sent that the provider took
        self._under_way = 0
        self._started = False
        self._clock_rewind = ClockRewind()

    async def claim(self) -> Task | None:
        """The next task, now `submitting` under a lease; None if none is due, no place is free, or there is a pause."""
        now = self._clock()
        set_back = self._clock_rewind(now)
        if self._started and not set_back and not await self._has_work(now):
            return None
        async with self._store.write() as tx:
            released = not self._started and await tx.tasks.release_paused(now)
            if set_back:
                await tx.tasks.pull_in(now, due_ms=PROBES[-1], lease_ms=LEASE_MS)
            for overdue in await tx.tasks.overdue_answers(now):
                now_unsure = mark_unsure(without_refusal(overdue), now, self._policy.sweep_first_ms)
                await tx.tasks.update([(overdue, now_unsure)])
                await tx.steps.add([Step(overdue.ref, now, StepKind.UNSURE, UNANSWERED)])
                log.warning(UNANSWERED, extra={"action": "submit.unsure", "ref": overdue.ref})
            claimed = await self._claim_next(tx, now)
        self._started = True
        self._clock_rewind.mark_handled(now)
        if released:
            self._pace = replace(self._pace, unauthorized=True)
        if claimed is None:
            return None
        self._under_way += 1
        if self._pace.unauthorized:  # this one probes
            self._pace = self._pace.probing(now, LEASE_MS)
        if self._pace.failures:
            self._pace = self._pace.probing_again(now, LEASE_MS)
        return claimed

    async def carry_out(self, task: Task) -> None:
        """Send the request and record the answer; if the disk refuses, try for a while."""
        try:
            await self._submit(task)
        finally:
            self._under_way -= 1

    async def _submit(self, task: Task) -> None:
        logs.bind_ref(task.ref)
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
        now = self._clock()
        short = self._budget.wait_at(now)
        times = (
            await self._store.tasks.next_due(now),
            await self._store.tasks.next_lease(now),
            await self._store.tasks.next_place(now),
            self._pace.paused_until(now),
            self._limit.next_probe(now),
            None if short is None else short.until,
        )
        return min((at for at in times if at is not None), default=None)

    async def _has_work(self, now: int) -> bool:
        """Whether there may be something to claim, as far as reading shows."""
        if await self._store.tasks.overdue_answers(now, limit=1):
            return True
        return not self._pace.paused_until(now) and await self._store.tasks.next_queued(now) is not None

    async def _claim_next(self, tx: Tx, now: int) -> Task | None:
        if not self._policy.can_poll or self._pace.paused_until(now):  # without a key, tasks wait
            return None
        unproven = self._under_way >= UNPROVEN_MOST and not self._taken_at
        if unproven or await tx.gates.paused(DEFAULT_PROVIDER) is not None:
            return None
        if await tx.tasks.places_taken(now) >= self._limit.places(now):
            return None
        found = await self._budget.reserve_next(tx, now)
        if found is None:
            return None
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
        return claimed

    async def _record_answer(self, claimed: Task, answer: SubmitAnswer) -> None:
        now = self._clock()
        sent_at = claimed.submitted_at or now
        action: NextAction | None = None
        async with self._store.write() as tx:
            expected_ms = await expected_time(tx, claimed, self._policy)
            explains = answer.result in (SubmitResult.TAKEN, SubmitResult.UNAUTHORIZED)
            refused = await tx.tasks.refused() if explains else []
            in_hand = await tx.tasks.in_hand(now)
            batch = await TaskBatch.read_tasks(tx, [claimed.ref, *(it.ref for it in refused)], self._policy, now)
            task = batch.tasks[claimed.ref]
            if answer.result is SubmitResult.TAKEN and answer.outcome is not None:
                task = await self._learn_task_id(tx, task, claimed, answer.outcome)
                early = await read_kept_hints(tx.callbacks, self._parse, task) if task.hint is not None else []
                batch.set_task(mark_taken(forget_confirmed_hint(task), now, expected_ms))
                if answer.outcome.says_end:
                    await batch.look_up_owners([(task.ref, answer.outcome)])
                    batch.apply_outcome(task.ref, answer.outcome, OutcomeSource.ANSWER)
                for hint in believable_hints(batch.tasks[task.ref], early):
                    batch.apply_outcome(task.ref, hint.outcome, OutcomeSource.CALLBACK)
                judge_refused(batch, refused, sent_at, now)
            elif task.state is TaskState.SUBMITTING and task.claim == claimed.claim:
                alone = not self._pace.busy_in_a_row
                scene = RefusalScene(sent_at, self._taken_at, now, self._pace.unauthorized, alone, refused)
                action = choose_action(task, answer, scene)
                if action is NextAction.FAIL:
                    batch.apply_outcome(task.ref, refusal_outcome(answer.error, answer.text), OutcomeSource.ANSWER)
                else:
                    batch.set_task(self._put_back(task, answer, action, scene, expected_ms))
                await tx.steps.add(describe_try(task.ref, answer, action, now))
                if action is NextAction.ASK:
                    await self._ask_a_person(tx, batch.tasks[task.ref], answer, now)
            if action is NextAction.PAUSE:
                pause_suspects(batch, refused, self._pace.refusals, now)
                await raise_attention(tx, "provider-key", describe_pause(answer), self._policy, now)
            if answer.result is SubmitResult.NOT_SENT and self._pace.failures >= DOWN_LEAST - 1:
                text = DOWN.format(words=answer.text, count=self._pace.failures + 1)
                await raise_attention(tx, "provider-down", text, self._policy, now)
            if answer.result is SubmitResult.BUSY and self._pace.busy_in_a_row >= DOWN_LEAST - 1:
                text = BUSY.format(words=answer.text, count=self._pace.busy_in_a_row + 1)
                await raise_attention(tx, "provider-busy", text, self._policy, now)
            await batch.write_back()
            await batch.raise_doubts()
        self._metrics.count_settled(batch.ended_tasks)
        if answer.result is SubmitResult.TAKEN:
            self._taken_at = sent_at if self._taken_at > now else max(self._taken_at, sent_at)
            self._limit = self._limit.taken(in_hand + 1, now)
        if answer.result is SubmitResult.BUSY and answer.too_many:
            self._limit = self._limit.refused(in_hand, sent_at=sent_at, now=now)
        signal = Signal.UNAUTHORIZED if action is NextAction.PAUSE else _SIGNALS.get(answer.result, Signal.NOTHING)
        self._pace = self._pace.after(
            signal, sent_at=sent_at, now=now, retry_after_ms=self._rest_after(answer), jitter=self._jitter()
        )
        self._store.wake(Topic.SUBMIT)

    def _rest_after(self, answer: SubmitAnswer) -> int:
        """How long nothing is submitted after this answer, in milliseconds."""
        if answer.result is not SubmitResult.BUSY:
            return 0
        rest_ms = busy_gap(self._pace.busy_in_a_row + 1, answer.retry_after_ms, too_many=answer.too_many)
        return min(rest_ms, LEASE_MS)

    async def _ask_a_person(self, tx: Tx, held: Task, answer: SubmitAnswer, now: int) -> None:
        await raise_attention(tx, f"held:{held.ref}", describe_hold(held, answer), self._policy, now, held)

    async def _learn_task_id(self, tx: Tx, task: Task, claimed: Task, outcome: Outcome) -> Task:
        """The task with the answer's id and time, in any state. An id that contradicts another raises an attention.

        The answer to our own request is the word: an id that a callback gave before becomes a candidate.
        """
        task_id = outcome.task_id or ""
        owner = (await tx.tasks.by_task_id(task.provider, [task_id])).get(task_id, task.ref)
        if owner != task.ref or task.task_id not in (None, task_id):
            if owner != task.ref:
                but = f"{owner} has that id. The wrong pictures may arrive."
            elif task.state.is_final:
                but = (
                    f"a callback with the id {task.task_id} had settled it before. The wrong pictures may have arrived."
                )
            else:
                but = f"a callback gave it the id {task.task_id} before. The answer counts."
            await raise_attention(
                tx,
                f"task-id:{task.ref}",
                f"The provider answered {task.ref} with the id {task_id}, but {but} "
                "Compare both ids with the provider's task list.",
                self._policy,
                self._clock(),
                task,
            )
        known = task.task_id
        if owner == task.ref and task_id:
            task = allow_id(drop_candidate(replace(task, task_id=task_id), task_id), task_id)
            if known not in (None, task_id) and not task.state.is_final:
                task = add_candidate_id(task, known)
        return replace(
            task,
            provider_created_at=outcome.created_at,
            submitted_at=claimed.submitted_at,
        )

    def _put_back(
        self, task: Task, answer: SubmitAnswer, action: NextAction, scene: RefusalScene, expected_ms: int
    ) -> Task:
        now = scene.now
        match action:
            case NextAction.SUSPECT | NextAction.ASIDE:
                return step_aside(task, answer, scene, suspect=action is NextAction.SUSPECT)
            case NextAction.PAUSE:
                return pause_refused(task, answer, own_probe_at(self._pace.refusals, now), now)
            case NextAction.ASK:
                return hold_for_person(task, answer, scene)
            case NextAction.REQUEUE if answer.result is SubmitResult.NOT_SENT:  # all of them wait, in their turn
                return requeue_task(task, now, answer.text)
            case NextAction.REQUEUE:  # after the rest that all take, so that another is tried first
                own = min(answer.retry_after_ms or 0, LEASE_MS)
                tries = count_busy(task, scene)
                gap = max(own, self._rest_after(answer)) + busy_again_gap(tries, jitter=self._jitter())
                return replace(requeue_task(task, now + gap, answer.text), tries=tries)
        return _mark_unclear(task, answer, now, expected_ms)


def _mark_unclear(task: Task, answer: SubmitAnswer, now: int, expected_ms: int) -> Task:
    """The task when the provider may have taken it; if the answer has an id in an odd place, it is polled by that."""
    unsure = mark_unsure(without_refusal(task), now, expected_ms)
    task_id = answer.outcome and answer.outcome.task_id
    if not task_id:
        return unsure
    return replace(add_candidate_id(unsure, task_id), poll_at=now, hint_step=0)


def mark_taken(task: Task, now: int, expected_ms: int) -> Task:
    """The task once the provider has certainly taken it: waiting, to be polled if no callback comes; or as it ended."""
    if task.state in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.LOST):
        return task
    hinted = task.hint is not None or task.hint_step is not None
    return replace(
        without_refusal(task),
        state=TaskState.WAITING,
        held_by=None,
        unsure=False,
        due_at=None,
        lease_until=None,
        place_until=None if heard_doubted_end(task) else FOREVER,
        poll_at=now if hinted else now + expected_ms,
        hint_step=0 if hinted else None,
    )
