"""What people ask of us: new tasks, callback URLs, and of a task to cancel, poll, resubmit it or learn its id.

Everything is checked before anything is stored, and stored before it is answered. What cannot be accepted raises
`Refused` with a status, a code and the field at fault.
"""

import hashlib
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from receiver.client.schemas import NewTask
from receiver.core.errors import RequestRefused
from receiver.core.types import Clock, OutcomeSource, Policy, Task, TaskOrigin, TaskState
from receiver.providers import models
from receiver.store import Store, Topic, Tx
from receiver.telemetry.metrics import Metrics
from receiver.tokens import Ring, new_ref

KEY_MOST = 200  # characters
LABEL_MOST = 200
_NOT_YET = ("wait_for",)


class TaskIntake:
    """Takes requests. `unreachable` says why the provider could not call us back, if so."""

    def __init__(
        self,
        store: Store,
        policy: Policy,
        ring: Ring,
        clock: Clock,
        metrics: Metrics,
        *,
        public_url: str,
        unreachable: str | None,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._policy = policy
        self._ring = ring
        self._clock = clock
        self._public_url = public_url
        self._unreachable = unreachable

    def callback_url(self, ref: str) -> str:
        """The URL that the provider calls when the task `ref` is done. A secret."""
        return f"{self._public_url}/callbacks/{self._ring.token(ref)}"

    async def create_task(self, asked: NewTask, key: str | None) -> tuple[Task, bool]:
        """Queue a task; (task, whether the Idempotency-Key had made it before). Raises Refused."""
        if key is None:
            task = self._build_task(asked)
            async with self._store.write() as tx:
                await tx.tasks.insert([task])
            return task, False
        if not 0 < len(key) <= KEY_MOST:
            raise RequestRefused(422, "invalid_parameter", f"a key has 1 to {KEY_MOST} characters", "Idempotency-Key")
        digest = hashlib.sha256(msgspec.json.encode(replace(asked, idempotency_key=None), order="sorted")).digest()
        async with self._store.write() as tx:
            before = await tx.tasks.find_idempotency(key)
            if before is not None:
                known, ref = before
                if known != digest:
                    raise RequestRefused(
                        409, "idempotency_key_reused", "this key was used with another body", "Idempotency-Key"
                    )
                found = await tx.tasks.get([ref])
                if ref not in found:  # to make another would be to pay again
                    text = f"this key made {ref}, which RETENTION has removed since; use another key for another task"
                    raise RequestRefused(409, "idempotency_key_reused", text, "Idempotency-Key")
                return found[ref], True
            task = self._build_task(asked)  # only now: what was accepted once is, whatever the settings say today
            await tx.tasks.insert([task])
            await tx.tasks.remember_key(key, digest, task.ref, self._clock())
        return task, False

    async def mint_task(self, label: str | None, model: str | None, task_id: str | None) -> Task:
        """Make a task for a submission that somebody else makes; its `callback_url` is for them. Raises Refused."""
        now = self._clock()
        _check_label(label)
        _check_text("model", model)
        _check_text("task_id", task_id)
        task = Task(
            ref=new_ref(now),
            created_at=now,
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

    async def set_task_id(self, ref: str, task_id: str) -> Task:
        """Learn the provider's id of a task afterwards; it can then be polled. Raises Refused."""
        _check_text("task_id", task_id)
        async with self._store.write() as tx:
            task = await _get_task(tx, ref)
            if task.settled_at is not None or task.state.is_final:
                raise RequestRefused(409, "settled", f"the task is {task.state} already")
            if task.task_id == task_id:
                return task
            if task.state is TaskState.SUBMITTING:
                raise RequestRefused(
                    409, "submitting", "its submission is being answered just now; the answer will say the id"
                )
            if task.task_id is not None and not _is_id_from_person(task):
                raise RequestRefused(409, "task_id_known", f"its id is {task.task_id}, from the provider", "task_id")
            told = await self._assign_task_id(tx, task, task_id)
            await tx.tasks.update([(task, told)])
        return told

    async def cancel_task(self, ref: str) -> Task:
        """Withdraw a queued task. Raises Refused once it was sent: the provider takes nothing back."""
        async with self._store.write() as tx:
            task = await _get_task(tx, ref)
            if task.state is not TaskState.QUEUED:
                raise RequestRefused(409, "not_queued", f"the task is {task.state}; only a queued one can be withdrawn")
            gone = replace(
                task,
                state=TaskState.CANCELLED,
                held_by=None,
                due_at=None,
                settled_at=self._clock(),
                settled_by=OutcomeSource.PERSON,
            )
            await tx.tasks.update([(task, gone)])
        self._metrics.count_settled([gone])
        return gone

    async def request_poll(self, ref: str) -> Task:
        """Ask the provider about the task as soon as the rate allows. Raises Refused."""
        if not self._policy.can_poll:
            raise RequestRefused(409, "no_key", "there is no provider key to ask with; set PROVIDER_KEY")
        async with self._store.write() as tx:
            task = await _get_task(tx, ref)
            if task.state.is_final:
                raise RequestRefused(409, "settled", f"the task is {task.state} already")
            if task.task_id is None and (task.hint is None or task.hint.task_id is None):
                raise RequestRefused(
                    409, "no_task_id", "the provider's id of this task is not known, so it cannot be asked for"
                )
            asked = replace(task, poll_at=self._clock())
            await tx.tasks.update([(task, asked)])
        self._store.wake(Topic.SWEEP)
        return asked

    async def resubmit_task(self, ref: str) -> Task:
        """Send an unsure task again, accepting that it may be paid for twice. Raises Refused."""
        async with self._store.write() as tx:
            task = await _get_task(tx, ref)
            if (
                task.origin is not TaskOrigin.SUBMITTED
                or not task.unsure
                or task.state not in (TaskState.WAITING, TaskState.LOST)
            ):
                raise RequestRefused(
                    409, "not_unsure", f"the task is {task.state} and not unsure: nothing is to be sent again"
                )
            again = replace(
                task,
                state=TaskState.QUEUED,
                unsure=False,
                called_at=None,
                submitted_at=None,
                place_until=None,
                poll_at=None,
                hint=None,
                hint_step=None,
                hint_until=None,
                due_at=self._clock(),
            )
            await tx.tasks.update([(task, again)])
        return again

    def _build_task(self, asked: NewTask) -> Task:
        for name in _NOT_YET:
            if getattr(asked, name) is not None:
                raise RequestRefused(422, "not_yet", f"{name} is not available in this version", name)
        params = models.check_params(asked.model, asked.params, allow_permutations=asked.allow_permutations)
        _check_label(asked.label)
        if not self._policy.can_poll:
            raise RequestRefused(422, "no_key", "there is no provider key to submit with; set PROVIDER_KEY")
        if self._unreachable is not None and not asked.poll_only:
            raise RequestRefused(422, "unreachable", f'{self._unreachable}; or say "poll_only": true', "poll_only")
        known = [target.name for target in self._policy.targets]
        for name in asked.targets or ():
            if name not in known:
                listed = ", ".join(known) or "none at all"
                raise RequestRefused(
                    422, "unknown_target", f"there is no target {name[:80]!r}; there is {listed}", "targets"
                )
        now = self._clock()
        return Task(
            ref=new_ref(now),
            created_at=now,
            model=asked.model,
            params=params,
            prompt=models.prompt_of(asked.model, asked.params),
            label=asked.label,
            targets=asked.targets,
            poll_only=asked.poll_only,
            due_at=now,
        )

    async def _assign_task_id(self, tx: Tx, task: Task, task_id: str) -> Task:
        owner = (await tx.tasks.by_task_id(task.provider, [task_id])).get(task_id, task.ref)
        if owner != task.ref:
            raise RequestRefused(409, "task_id_taken", f"that is the id of {owner}", "task_id")
        now = self._clock()
        look_at = now if task.hint is not None or task.hint_step is not None else now + self._policy.sweep_first_ms
        return replace(
            task,
            state=TaskState.WAITING if task.state is TaskState.QUEUED else task.state,  # it was sent: by someone else
            held_by=None,
            due_at=None,
            task_id=task_id,
            unsure=False,
            submitted_at=task.submitted_at or now,
            poll_at=look_at if self._policy.can_poll else task.poll_at,
        )


def _is_id_from_person(task: Task) -> bool:
    """Whether the task's id is a person's word that nothing of the provider's has confirmed yet: it may be mistaken."""
    return task.origin is not TaskOrigin.SUBMITTED and task.provider_created_at is None and task.progress is None


async def _get_task(tx: Tx, ref: str) -> Task:
    found: Mapping[str, Task] = await tx.tasks.get([ref])
    if ref not in found:
        raise RequestRefused(404, "not_found", f"there is no task {ref[:80]}")
    return found[ref]


def _check_label(label: str | None) -> None:
    if label is not None and (not 0 < len(label) <= LABEL_MOST or not _is_storable(label)):
        raise RequestRefused(
            422, "invalid_parameter", f"a label has 1 to {LABEL_MOST} characters of plain text", "label"
        )


def _check_text(field: str, text: str | None) -> None:
    if text is not None and (not 0 < len(text) <= LABEL_MOST or not _is_storable(text)):
        raise RequestRefused(422, "invalid_parameter", f"{field} has 1 to {LABEL_MOST} characters", field)


def _is_storable(text: str) -> bool:
    """Whether every backend can store it: no NUL, no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= it <= "\udfff" for it in text)
