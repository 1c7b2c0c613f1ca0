"""Applies decisions inside a transaction.

`Book` holds the tasks of one transaction: each read once, changed any number of times, and written back once together
with their pictures and the notices that are due. Ingest, sweep and submit meet here and know nothing of each other.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from receiver.core.decide import decide
from receiver.core.schedule import HISTORY_MOST, expected_duration
from receiver.core.types import Decision, Image, Notice, Outcome, OutcomeSource, Policy, Task, TaskOrigin, TaskState
from receiver.store import Tx
from receiver.tokens import ref_time

_ENDED_STATES = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.LOST})


class TaskBatch:
    """The tasks of one transaction: read once, changed in order, written back once.

    Made by `Book.read`; `write` must be called before the transaction ends.
    """

    def __init__(self, tx: Tx, tasks: dict[str, Task], policy: Policy, now: int) -> None:
        self._tx = tx
        self._before = tasks
        self._new: set[str] = set()
        self._policy = policy
        self._now = now
        self._owners: dict[str, str] = {}
        self._images: list[tuple[str, Image]] = []
        self._notices: list[Notice] = []
        self.tasks = dict(tasks)

    @classmethod
    async def read_tasks(cls, tx: Tx, refs: Iterable[str], policy: Policy, now: int) -> "TaskBatch":
        """The tasks of `refs` that exist."""
        return cls(tx, await tx.tasks.get(list(dict.fromkeys(refs))), policy, now)

    def adopt_task(self, ref: str) -> None:
        """Make the task of a good token whose ref we do not have: a restored backup, a URL minted offline."""
        made_at = min(ref_time(ref), self._now)
        self.tasks[ref] = Task(
            ref=ref,
            created_at=made_at,
            origin=TaskOrigin.ADOPTED,
            state=TaskState.WAITING,
            unsure=True,
            poll_at=self._now + self._policy.deadline_ms,
        )
        self._new.add(ref)

    async def look_up_owners(self, outcomes: Iterable[tuple[str, Outcome]]) -> None:
        """Learn who owns the provider's ids that these (ref, outcome) could teach us: an id belongs to one task."""
        strange = {
            outcome.task_id: ref
            for ref, outcome in outcomes
            if outcome.task_id is not None and self.tasks[ref].task_id != outcome.task_id
        }
        if strange:
            self._owners.update(await self._tx.tasks.by_task_id("vtrix", list(strange)))

    def without_foreign_id(self, ref: str, outcome: Outcome | None) -> Outcome | None:
        """The outcome without its id if that is, as far as was looked up, another task's."""
        if outcome is None or outcome.task_id is None or self._owners.get(outcome.task_id, ref) == ref:
            return outcome
        return replace(outcome, task_id=None)

    def apply_outcome(self, ref: str, outcome: Outcome | None, source: OutcomeSource) -> Decision:
        """Decide, and remember what is to be written. An id that is another task's is not taken from a body."""
        outcome = self.without_foreign_id(ref, outcome)
        decision = decide(self.tasks[ref], outcome, source, self._policy, self._now)
        self.apply_decision(ref, decision)
        return decision

    def apply_decision(self, ref: str, decision: Decision) -> None:
        """Remember a decision made elsewhere."""
        if decision.task is not None:
            self.tasks[ref] = decision.task
            if decision.task.task_id is not None:
                self._owners[decision.task.task_id] = ref
        self._images.extend((ref, image) for image in decision.images)
        self._notices.extend(decision.notices)

    def set_task(self, task: Task) -> None:
        """Remember a task that is to be written as it is."""
        self.tasks[task.ref] = task

    @property
    def ended_tasks(self) -> list[Task]:
        """The tasks that came to an end in this transaction, lost ones too."""
        before = {ref: task.state for ref, task in self._before.items()}
        return [
            task
            for ref, task in self.tasks.items()
            if task.state in _ENDED_STATES and before.get(ref) is not task.state
        ]

    async def write_back(self) -> None:
        """Write back what changed: one guarded update a task, then pictures and notices. Raises Stale."""
        if self._new:
            await self._tx.tasks.insert([self.tasks[ref] for ref in sorted(self._new)])
        changed = [(old, self.tasks[ref]) for ref, old in self._before.items() if self.tasks[ref] is not old]
        await self._tx.tasks.update(changed)
        if self._images:
            await self._tx.tasks.add_images(self._images)
        await self._tx.notices.insert(self._notices)


async def expected_time(tx: Tx, task: Task, policy: Policy) -> int:
    """How long, in milliseconds, a task of this model takes, as far as its past tells."""
    durations = await tx.tasks.recent_durations(task.model or "", HISTORY_MOST)
    return expected_duration(durations, first=policy.sweep_first_ms, most=policy.sweep_max_ms)
