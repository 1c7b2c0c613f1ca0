"""What people request: new tasks, callback URLs, and to cancel, poll or resubmit a task or set its provider id.

Everything is checked before anything is stored, and stored before it is answered. A request that cannot be accepted
raises `RequestRefused` with a status, a code and the field at fault.
"""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from receiver.client.schemas import LABEL_MOST, AgainRequest, NewTask
from receiver.core.chains import CHAIN_MOST, is_held
from receiver.core.decide import withdraw_task
from receiver.core.errors import ReceiverError, RequestRefused
from receiver.core.hints import allow_id, drop_candidate, next_id
from receiver.core.submissions import without_refusal
from receiver.core.types import (
    HIGH_LANE,
    Clock,
    HoldReason,
    OutcomeSource,
    Policy,
    Step,
    StepKind,
    Task,
    TaskOrigin,
    TaskState,
)
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import Store, Topic, Tx
from receiver.store.insist import decide_again
from receiver.tasks.again import RepeatedTask, repeat_chain, repeat_request
from receiver.tasks.batch_ends import is_row, open_batch_again, own_place, record_ends
from receiver.tasks.budget_check import BudgetCheck
from receiver.tasks.chain_returns import hold_again
from receiver.tasks.find_task import require_task, require_with_parent, unknown_task
from receiver.tasks.judge_requests import CreatedTask, CreationResult
from receiver.tasks.new_tasks import TaskCreator, check_label, is_storable
from receiver.telemetry.metrics import Metrics
from receiver.tokens import Ring, new_ref

_REFUSED_WITH_OTHERS = "chain_refused"


class TaskIntake:
    """Accepts requests. `unreachable` says why the provider cannot call back; None if it can."""

    def __init__(
        self,
        store: Store,
        policy: Policy,
        ring: Ring,
        clock: Clock,
        metrics: Metrics,
        *,
        public_url: str,
        unreachable: ReceiverError | None,
        budget: BudgetCheck | None = None,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._policy = policy
        self._ring = ring
        self._clock = clock
        self._public_url = public_url
        self.unreachable = unreachable
        self._creator = TaskCreator(store, policy, clock, unreachable, budget)

    def callback_url(self, ref: str) -> str:
        """The URL that the provider calls when the task `ref` is done. A secret."""
        return f"{self._public_url}/callbacks/{self._ring.token(ref)}"

    async def create_task(self, asked: NewTask, key: str | None) -> tuple[Task, bool]:
        """Queue a task. Returns it, and whether its Idempotency-Key had made it before. Raises RequestRefused."""
        return _require_task(await self.create_one(asked, key))

    async def create_one(self, asked: NewTask, key: str | None) -> CreatedTask:
        """The same, with what was made beside it and what is to be said about it."""
        [made] = await self.create_many([replace(asked, idempotency_key=key)])
        if isinstance(made, RequestRefused):
            raise made
        return made

    async def create_many(
        self, asked: Sequence[NewTask | RequestRefused], *, batch: str | None = None, dry_run: bool = False
    ) -> list[CreationResult]:
        """Queue tasks in one transaction, each accepted or refused by itself; see `TaskCreator.create`."""
        return await self._creator.create(asked, batch=batch, dry_run=dry_run)

    @decide_again
    async def mint_task(self, label: str | None, model: str | None, task_id: str | None) -> Task:
        """Make a task that is submitted elsewhere, with this task's `callback_url`. Raises RequestRefused."""
        now = self._clock()
        check_label(label)
        _check_text("model", model)
        _check_task_id(task_id)
        task = Task(
            ref=new_ref(now),
            created_at=now,
            provider=DEFAULT_PROVIDER,
            origin=TaskOrigin.MINTED,
            state=TaskState.WAITING,
            label=label,
            model=model,
            key_id=self._ring.ids[0],
            poll_at=now + self._policy.deadline_ms,
        )
        async with self._store.write() as tx:
            if task_id is not None:
                task = await self._assign_task_id(tx, task, task_id)
            await tx.tasks.insert([task])
        return task

    @decide_again
    async def set_task_id(self, ref: str, task_id: str) -> Task:
        """Store the provider's id of a task, which can then be polled. Raises RequestRefused."""
        _check_task_id(task_id)
        async with self._store.write() as tx:
            task = await require_task(tx, ref)
            if task.state.is_final and task.confirmed:
                raise RequestRefused(409, "settled", f"the task is already {task.state}")
            if task.task_id == task_id:
                return task
            if task.state is TaskState.SUBMITTING:
                raise RequestRefused(
                    409, "submitting", "the task is being submitted now; the provider's answer will give its id"
                )
            if task.task_id is not None and not _is_id_from_person(task):
                problem = f"the provider already gave this task the id {task.task_id}"
                raise RequestRefused(409, "task_id_known", problem, "task_id")
            known = await self._assign_task_id(tx, task, task_id)
            await tx.tasks.update([(task, known)])
            await self._note(tx, StepKind.ID_GIVEN, known, text=task_id)
        return known

    @decide_again
    async def cancel_task(self, ref: str) -> Task:
        """Withdraw a queued task. Raises RequestRefused once it was sent: the provider cannot cancel it."""
        async with self._store.write() as tx:
            task, _ = await require_with_parent(tx, ref)
            if task.state is not TaskState.QUEUED:
                problem = f"the task is {task.state}, and only a queued task can be cancelled"
                remedy = f"`receiver tasks cancel {ref} --children` withdraws what waits for it"
                raise RequestRefused(409, "not_queued", problem, remedy=remedy if task.children else None)
            cancelled = withdraw_task(task, self._clock())
            await tx.tasks.update([(task, cancelled)])
            await self._note(tx, StepKind.CANCELLED, cancelled)
            if is_row(cancelled):
                await record_ends(tx, [cancelled], self._policy, self._clock())
        self._metrics.count_settled([cancelled])
        return cancelled

    @decide_again
    async def cancel_children(self, ref: str) -> Task:
        """Withdraw all that waits for the task, whatever that is doing. Returns the task. Raises RequestRefused."""
        async with self._store.write() as tx:
            await require_task(tx, ref)
            held = [it for it in await tx.chains.children(ref, CHAIN_MOST) if is_held(it)]
            if not held:
                raise RequestRefused(409, "nothing_waits", "nothing waits for the task")
            now = self._clock()
            cancelled = [withdraw_task(it, now) for it in held]
            await tx.tasks.update(list(zip(held, cancelled, strict=True)))  # what waits for these follows by itself
            await self._note(tx, StepKind.CANCELLED, *cancelled)
            if rows := [it for it in cancelled if is_row(it)]:
                await record_ends(tx, rows, self._policy, now)
        self._metrics.count_settled(cancelled)
        return (await self._store.tasks.get([ref]))[ref]

    @decide_again
    async def put_first(self, ref: str) -> Task:
        """Put a queued task in front of all others. Raises RequestRefused."""
        async with self._store.write() as tx:
            task = await require_task(tx, ref)
            if task.state is not TaskState.QUEUED:
                raise RequestRefused(409, "not_queued", f"the task is {task.state}, so it no longer waits for its turn")
            if task.row_key is not None:
                remedy = "only single tasks can be put first; other batches can be paused with `receiver batch pause`"
                raise RequestRefused(409, "batch_row", "a row of a batch keeps its turn", remedy=remedy)
            first = replace(task, lane=HIGH_LANE, turn=-self._clock())
            await tx.tasks.update([(task, first)])
            await self._note(tx, StepKind.PUT_FIRST, first)
        self._store.wake(Topic.SUBMIT)
        return first

    @decide_again
    async def request_poll(self, ref: str) -> Task:
        """Poll the task as soon as the rate limit allows. Raises RequestRefused."""
        if not self._policy.can_poll:
            raise RequestRefused(
                409, "no_key", "polling needs a provider key", remedy="set PROVIDER_KEY where the service runs"
            )
        async with self._store.write() as tx:
            task = await require_task(tx, ref)
            if task.state.is_final and task.confirmed:
                raise RequestRefused(409, "settled", f"the task is already {task.state}")
            if next_id(task) is None:
                raise RequestRefused(
                    409,
                    "no_task_id",
                    "the task cannot be polled, because the provider's id of it is unknown",
                    remedy=f"if the provider's task list has it, run `receiver tasks tell-id {ref} ID`",
                )
            due = replace(task, poll_at=self._clock())
            await tx.tasks.update([(task, due)])
        self._store.wake(Topic.SWEEP)
        return due

    @decide_again
    async def resubmit_task(self, ref: str) -> Task:
        """Send an unsure task again, which may cost twice, or one that is held for a person. Raises RequestRefused."""
        async with self._store.write() as tx:
            task, _ = await require_with_parent(tx, ref)
            held = task.state is TaskState.QUEUED and task.held_by in (HoldReason.PERSON, HoldReason.SUSPECT)
            unsure = task.unsure and task.state in (TaskState.WAITING, TaskState.LOST)
            if task.origin is not TaskOrigin.SUBMITTED or not (unsure or held):
                raise RequestRefused(
                    409, "not_unsure", f"the task is {task.state} and not unsure, so it cannot be resubmitted"
                )
            queued = replace(
                without_refusal(task),
                state=TaskState.QUEUED,
                held_by=None,
                tries=0,
                unsure=False,
                called_at=None,
                reserved=None,
                spend_day=None,
                submitted_at=None,
                place_until=None,
                poll_at=None,
                hint=None,
                hint_step=None,
                hint_until=None,
                hint_note=None,
                doubted_at=None,
                refuted_at=None,
                candidates=(),
                denied=(),
                due_at=self._clock(),
            )
            queued = own_place(await hold_again(tx, queued), self._clock())
            await tx.tasks.update([(task, queued)])
            await open_batch_again(tx, queued, self._clock())
            await self._note(tx, StepKind.RESUBMITTED, queued)
        return queued

    async def submit_again(
        self, ref: str, asked: AgainRequest, key: str | None, *, edit: Callable[[NewTask], NewTask] | None = None
    ) -> tuple[Task, bool]:
        """Queue another task like this one, with what is `asked` changed, as `create_task`; perhaps with all that goes
        on from it. `edit` changes what is asked for beyond that, unless others go on from it. Raises RequestRefused."""
        found = await self._store.tasks.get([ref])
        if ref not in found:
            raise unknown_task(ref)
        task = found[ref]
        targets = [target.name for target in self._policy.targets]
        if asked.with_children:
            chain = await self._store.chains.tasks_of(task.root, CHAIN_MOST) if task.root is not None else []
            new = repeat_chain(task, chain, asked, targets, key)
        else:
            again = repeat_request(task, asked, targets)
            again = again if edit is None else edit(again)
            new = [RepeatedTask(replace(again, idempotency_key=key), ref)]
        made = await self._creator.create([it.asked for it in new], again_of=[it.again_of for it in new])
        refused = [it for it in made if isinstance(it, RequestRefused)]
        if refused:  # of those that hang together, one is at fault
            raise next((it for it in refused if it.code != _REFUSED_WITH_OTHERS), refused[0])
        return _require_task(made[0])

    @decide_again
    async def discard_url(self, ref: str) -> Task:
        """Give up a minted callback URL that was not used. Raises RequestRefused if it may have been."""
        async with self._store.write() as tx:
            task = await require_task(tx, ref)
            if task.origin is not TaskOrigin.MINTED:
                remedy = f"`receiver tasks cancel {ref}` withdraws a queued one"
                raise RequestRefused(409, "not_minted", "the task was submitted from here", remedy=remedy)
            if task.state is TaskState.CANCELLED and task.settled_by is OutcomeSource.PERSON:
                return task
            if task.state is not TaskState.WAITING:
                raise RequestRefused(409, "settled", f"the task is already {task.state}")
            if task.called_at is not None or task.task_id is not None:
                known = "was called" if task.called_at is not None else f"belongs to the provider's task {task.task_id}"
                problem = f"the URL {known}, so it is in use, and what it stands for may be paid for"
                raise RequestRefused(409, "in_use", problem, remedy=f"see `receiver tasks show {ref}`")
            discarded = replace(
                task,
                state=TaskState.CANCELLED,
                poll_at=None,
                settled_at=self._clock(),
                settled_by=OutcomeSource.PERSON,
            )
            await tx.tasks.update([(task, discarded)])
            await self._note(tx, StepKind.CANCELLED, discarded)
        self._metrics.count_settled([discarded])
        return discarded

    async def _note(self, tx: Tx, kind: StepKind, *tasks: Task, text: str = "") -> None:
        """Note what a person did with these tasks."""
        now = self._clock()
        await tx.steps.add([Step(it.ref, now, kind, text) for it in tasks])

    async def _assign_task_id(self, tx: Tx, task: Task, task_id: str) -> Task:
        owner = (await tx.tasks.by_task_id(task.provider, [task_id])).get(task_id, task.ref)
        if owner != task.ref:
            raise RequestRefused(409, "task_id_taken", f"the task {owner} already has this id", "task_id")
        now = self._clock()
        hinted = task.hint is not None or task.hint_step is not None or task.state.is_final
        look_at = now if hinted else now + self._policy.sweep_first_ms
        return replace(
            allow_id(drop_candidate(task, task_id), task_id),
            state=TaskState.WAITING if task.state is TaskState.QUEUED else task.state,  # it was submitted elsewhere
            held_by=None,
            due_at=None,
            task_id=task_id,
            unsure=False,
            submitted_at=task.submitted_at or now,
            poll_at=look_at if self._policy.can_poll else task.poll_at,
        )


def _is_id_from_person(task: Task) -> bool:
    """Whether a person gave the task its id, and nothing from the provider has confirmed it yet."""
    return task.origin is not TaskOrigin.SUBMITTED and task.provider_created_at is None and task.progress is None


def _require_task(made: CreationResult) -> tuple[Task, bool]:
    if isinstance(made, RequestRefused):
        raise made
    if made.task is None:
        raise TypeError("only a dry run makes no task")
    return made.task, made.replayed


def _check_text(field: str, text: str | None) -> None:
    if text is not None and (not 0 < len(text) <= LABEL_MOST or not is_storable(text)):
        raise RequestRefused(422, "invalid_parameter", f"{field} must have 1 to {LABEL_MOST} characters", field)


def _check_task_id(task_id: str | None) -> None:
    _check_text("task_id", task_id)
    if task_id is not None and task_id.split() != [task_id]:
        problem = f"{task_id!r} is not an id of the provider's: an id has no blanks"
        remedy = "copy it from the provider's task list"
        raise RequestRefused(422, "invalid_parameter", problem, "task_id", remedy=remedy)
