"""Applies decisions inside a transaction.

A `TaskBatch` holds the tasks of one transaction: each is read once, changed any number of times, and written back once,
together with its pictures and its notices. Ingest, sweep and submit all use it and know nothing of each other.
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from receiver.core.decide import decide
from receiver.core.hints import KeptHint, describe_hint, make_note
from receiver.core.schedule import HISTORY_MOST, expected_duration
from receiver.core.types import (
    Decision,
    Ending,
    HintNote,
    Image,
    Notice,
    Outcome,
    OutcomeSource,
    Policy,
    Task,
    TaskOrigin,
    TaskState,
)
from receiver.notify.attention import raise_task_attention
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import Tx
from receiver.tasks.batch_ends import record_ends, rows_that_ended
from receiver.tasks.pick_purposes import name_waiting
from receiver.tokens import ref_time

_DOUBTED = "{0} So {1} is not settled by it, and is polled further until its deadline. {2}"
_DOUBTED_MANY = (
    "{count} tasks were said within an hour to have ended, but what says so cannot be believed, and only the first "
    "{singly} are reported one by one. The provider may have changed its format. They are polled further until their "
    "deadline. To list what callbacks said, run `receiver callbacks list --verdict hint --limit 200`."
)
_ACCEPT = (
    "`receiver tasks show {0}` shows what is known; if you have checked it and believe it, run "
    "`receiver callbacks replay --accept {1}`."
)
_UNKNOWN_STATUS = (
    "The provider gives {1} the status “{0}”, which receiver does not know. The task counts as running and is polled "
    "until its deadline; after 15 minutes it no longer holds up other submissions. If the word means that the task has "
    "ended, please report it; `receiver tasks show {2}` shows what is known."
)
_UNKNOWN_MANY = (
    "The provider gave {count} tasks a status that receiver does not know within an hour, and only the first {singly} "
    "are reported one by one. They count as running. `receiver tasks list --state waiting --limit 200` lists them."
)
_UNCONFIRMED = (
    "{name} has ended, as it seems ({state}), but no poll could confirm it. So what goes on from it waits ({count} "
    "tasks): whoever made up that end would spend your money. Check the provider's task list. If it is right, run "
    "`receiver tasks release {ref}`; to give up what waits, `receiver tasks cancel {ref} --children`."
)
_UNCONFIRMED_MANY = (
    "{count} tasks from which others go on ended within an hour without a poll that confirms it, and only the first "
    "{singly} are reported one by one. What goes on from them waits."
)
_LOOK = "`receiver tasks show {0}` shows what is known. Check the provider's task list."
_ENDED_STATES = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.LOST})


class TaskBatch:
    """The tasks of one transaction: read once, changed in order, written back once.

    Made by `read_tasks`; `write_back` must be called before the transaction ends.
    """

    def __init__(self, tx: Tx, tasks: dict[str, Task], policy: Policy, now: int) -> None:
        self._tx = tx
        self._before = tasks
        self._new: set[str] = set()
        self._policy = policy
        self._now = now
        self._owners: dict[str, str] = {}
        self._images: list[tuple[str, Image]] = []
        self._corrected: set[str] = set()  # tasks whose pictures are replaced
        self._notices: list[Notice] = []
        self._doubts: dict[str, HintNote] = {}
        self._unknown_status: dict[str, str] = {}
        self.tasks = dict(tasks)

    @classmethod
    async def read_tasks(cls, tx: Tx, refs: Iterable[str], policy: Policy, now: int) -> "TaskBatch":
        """The tasks of `refs` that exist."""
        return cls(tx, await tx.tasks.get(list(dict.fromkeys(refs))), policy, now)

    def adopt_task(self, ref: str) -> None:
        """Create the task of a valid token with an unknown ref: from a URL minted offline, or newer than the backup."""
        made_at = min(ref_time(ref), self._now)
        self.tasks[ref] = Task(
            ref=ref,
            created_at=made_at,
            provider=DEFAULT_PROVIDER,
            origin=TaskOrigin.ADOPTED,
            state=TaskState.WAITING,
            unsure=True,
            poll_at=self._now + self._policy.deadline_ms,
        )
        self._new.add(ref)

    async def look_up_owners(self, outcomes: Iterable[tuple[str, Outcome]]) -> None:
        """Find the owners of the provider's ids in these (ref, outcome) pairs: an id belongs to one task only."""
        unknown = {
            outcome.task_id: ref
            for ref, outcome in outcomes
            if outcome.task_id is not None and self.tasks[ref].task_id != outcome.task_id
        }
        if unknown:
            self._owners.update(await self._tx.tasks.by_task_id(DEFAULT_PROVIDER, list(unknown)))

    def without_foreign_id(self, ref: str, outcome: Outcome | None) -> Outcome | None:
        """The outcome, without its id if that belongs to another task (as far as `look_up_owners` found out)."""
        if outcome is None or outcome.task_id is None or self._owners.get(outcome.task_id, ref) == ref:
            return outcome
        return replace(outcome, task_id=None)

    async def without_foreign_ids(self, ref: str, kept: Sequence[KeptHint]) -> list[KeptHint]:
        """The stored hints of a task, without ids that belong to another task."""
        await self.look_up_owners((ref, it.outcome) for it in kept)
        return [replace(it, outcome=self.without_foreign_id(ref, it.outcome) or it.outcome) for it in kept]

    def apply_outcome(
        self, ref: str, outcome: Outcome | None, source: OutcomeSource, *, digest: bytes | None = None
    ) -> Decision:
        """Decide what the outcome does, and remember it for `write_back`. An id of another task is ignored.

        `digest` is that of the callback's body.
        """
        outcome = self.without_foreign_id(ref, outcome)
        before = self.tasks[ref]
        decision = decide(before, outcome, source, self._policy, self._now, digest=digest)
        if decision.task is not None and decision.task.doubted_at is not None and before.doubted_at is None:
            self._doubts[ref] = make_note(outcome, source, digest)
        note = decision.task and decision.task.hint_note
        if note and note is not before.hint_note and note.ending is Ending.RUNNING and note.doubt:
            self._unknown_status[ref] = note.status
        self.apply_decision(ref, decision)
        return decision

    def apply_decision(self, ref: str, decision: Decision) -> None:
        """Remember a decision that was made elsewhere."""
        if decision.task is not None:
            self.tasks[ref] = decision.task
            if decision.task.task_id is not None:
                self._owners[decision.task.task_id] = ref
        if decision.corrects:
            self._corrected.add(ref)
        self._images.extend((ref, image) for image in decision.images)
        self._notices.extend(decision.notices)

    def set_task(self, task: Task) -> None:
        """Remember a changed task."""
        self.tasks[task.ref] = task

    @property
    def ended_tasks(self) -> list[Task]:
        """The tasks that ended in this transaction, including lost ones."""
        before = {ref: task.state for ref, task in self._before.items()}
        return [
            task
            for ref, task in self.tasks.items()
            if task.state in _ENDED_STATES and before.get(ref) is not task.state
        ]

    async def write_back(self) -> None:
        """Write back what changed: one guarded update per task, then pictures and notices. Raises StaleUpdate."""
        if self._new:
            await self._tx.tasks.insert([self.tasks[ref] for ref in sorted(self._new)])
        changed = [(old, self.tasks[ref]) for ref, old in self._before.items() if self.tasks[ref] is not old]
        await self._tx.tasks.update(changed)
        if rows := rows_that_ended(changed, _ENDED_STATES):
            await record_ends(self._tx, rows, self._policy, self._now)
        await self._ask_about_unconfirmed(changed)
        for ref in self._corrected:
            await self._tx.tasks.remove_images(ref)
            await self._tx.copies.remove(ref)
        if self._images:
            await self._tx.tasks.add_images(self._images)
        await self._tx.notices.insert(await name_waiting(self._tx, self._notices))

    async def _ask_about_unconfirmed(self, changed: Sequence[tuple[Task, Task]]) -> None:
        """Say of each task that has ended now without certainty that others wait for it."""
        texts = {
            new.ref: (
                new,
                _UNCONFIRMED.format(name=new.shown_name, state=new.state, count=new.children, ref=new.ref),
            )
            for old, new in changed
            if new.children and not new.confirmed and new.state.is_final and not old.state.is_final
        }
        await raise_task_attention(self._tx, "chain-unconfirmed", texts, _UNCONFIRMED_MANY, self._policy, self._now)

    async def raise_doubts(self) -> None:
        """Raise attention for each task of which an end was heard now that cannot be believed, unless it ended since,
        and for a status that we do not know.

        Once per task, at once: nobody would be told otherwise. The callbacks of the transaction must be inserted.
        """
        open_ = {ref: status for ref, status in self._unknown_status.items() if not self.tasks[ref].state.is_final}
        texts = {
            ref: (self.tasks[ref], _UNKNOWN_STATUS.format(status, self.tasks[ref].shown_name, ref))
            for ref, status in open_.items()
        }
        await raise_task_attention(self._tx, "unknown-status", texts, _UNKNOWN_MANY, self._policy, self._now)
        texts = {}
        for ref, note in self._doubts.items():
            task = self.tasks[ref]
            if task.state.is_final:
                continue
            ids = await self._tx.callbacks.ids_by_digest([ref]) if note.digest else {}
            found = ids.get((ref, note.digest or b""))
            advice = _LOOK.format(ref) if found is None else _ACCEPT.format(ref, found)
            texts[ref] = task, _DOUBTED.format(describe_hint(note), task.shown_name, advice)
        await raise_task_attention(self._tx, "doubted", texts, _DOUBTED_MANY, self._policy, self._now)


async def expected_time(tx: Tx, task: Task, policy: Policy) -> int:
    """How many milliseconds a task of this model may take, by its recent tasks."""
    durations = await tx.tasks.recent_durations(task.model or "", HISTORY_MOST)
    return expected_duration(durations, first=policy.sweep_first_ms, most=policy.sweep_max_ms)
