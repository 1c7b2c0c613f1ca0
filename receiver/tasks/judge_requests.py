"""What becomes of each request of a call: a new task, one that is there already, or a refusal.

All that has to be known is read first, in the transaction that stores the new tasks; then each request is judged in
turn, as if those before it were stored already.
"""

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from receiver.client.schemas import NewTask, WaitFor
from receiver.core.chains import CHAIN_MOST
from receiver.core.errors import RequestRefused
from receiver.core.types import QueueLane, Task, TaskState
from receiver.store import Store, Tx
from receiver.tasks.chain_groups import (
    awaited_name,
    group_items,
    order_group,
    refuse_circle,
    refuse_with_group,
    waits_for_itself,
)
from receiver.tasks.chain_requests import (
    ChainLedger,
    Origin,
    Planned,
    hash_row_key,
    may_multiply,
    parent_ref,
    plan_children,
    sibling_key,
    trace_origins,
    unknown_parent,
    wait_of,
)


class CreatedTask(Struct, frozen=True):
    """A task that was asked for; `replayed`: an earlier request made it. Of a dry run, None if it would be made.

    `siblings` were made with it, one for each further picture; `warnings` say what was accepted and is probably wrong.
    """

    task: Task | None
    replayed: bool = False
    siblings: tuple[Task, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks that were made of the request."""
        return () if self.task is None else (self.task, *self.siblings)


CreationResult = CreatedTask | RequestRefused


class Draft(Struct):
    """One request while it is judged: the task that it would become, or why not."""

    asked: NewTask | None
    built: Task | RequestRefused
    place: int = 0  # in the call
    digest: bytes = b""  # of the whole request: the same key must come with the same request
    refs: Mapping[str, str] = {}  # parameters that look like our refs: value -> name
    hints: tuple[str, ...] = ()  # what is accepted and is probably wrong
    keys: Sequence[str] = ()  # its Idempotency-Key, and those of the tasks that may be made with it
    row_keys: Sequence[bytes] = ()  # the same of its row's key, as they are stored

    @property
    def key(self) -> str | None:
        """Its Idempotency-Key."""
        return self.asked.idempotency_key if self.asked else None


class _ParentRefused(RequestRefused):
    """The item that this one goes on from was refused; it is refused with its group, in the words of that one."""

    def __init__(self) -> None:
        super().__init__(422, "chain_refused", "the item that it goes on from was refused")


class RequestJudge:
    """Judges the requests of one call."""

    def __init__(
        self,
        drafts: Sequence[Draft],
        lane: QueueLane | None,
        used: Mapping[str, tuple[bytes, str]],
        there: Mapping[str, Task],
        rows: Mapping[bytes, Task],
        too_dear: Mapping[str, RequestRefused],
        ledger: ChainLedger,
    ) -> None:
        self._drafts = drafts
        self._items = [draft.asked for draft in drafts]
        self._lane = lane
        self._used = dict(used)  # keys: the digest and the ref of the request that has each
        self._rows = dict(rows)
        self._there = dict(there) | {task.ref: task for task in rows.values()}
        self._too_dear = too_dear
        self._named: dict[str, tuple[Origin, ...] | None] = {}  # None: refused
        self.ledger = ledger

    def judge_all(self) -> list[CreationResult]:
        """What becomes of each, in their order."""
        results: dict[int, CreationResult] = {}
        for group in group_items(self._items):
            if len(group) == 1 and not waits_for_itself(self._items[group[0]]):
                results[group[0]] = self._judge(group[0])
            else:
                results |= self._judge_group(group)
        return [self._with_children(results[place]) for place in range(len(self._drafts))]

    def _with_children(self, result: CreationResult) -> CreationResult:
        if isinstance(result, RequestRefused) or result.task is None:
            return result
        task, *others = [self.ledger.as_changed(it) for it in result.tasks]
        return replace(result, task=task, siblings=tuple(others))

    def _judge_group(self, group: Sequence[int]) -> dict[int, CreationResult]:
        """Items that hang together: if one is refused, so are the others, except for those that are there already."""
        kept = dict(self._used), dict(self._there), dict(self._rows), self.ledger.copy()
        ordered, circle = order_group(group, self._items)
        results = {place: self._judge(place) for place in ordered}
        if circle:
            results |= dict.fromkeys(circle, refuse_circle(circle, self._items))
        faults = {it: found for it in group if isinstance(found := results[it], RequestRefused)}
        own = {place: fault for place, fault in faults.items() if not isinstance(fault, _ParentRefused)}
        if not own:
            return results
        self._used, self._there, self._rows, self.ledger = kept
        first = min(own)
        refused = refuse_with_group(self._drafts[first].place, self._items[first], own[first])
        return {place: own.get(place, self._unless_there(result, refused)) for place, result in results.items()}

    def _unless_there(self, result: CreationResult, refused: RequestRefused) -> CreationResult:
        is_there = isinstance(result, CreatedTask) and result.task is not None and result.task.ref in self._there
        return result if is_there else refused

    def _judge(self, place: int) -> CreationResult:
        draft = self._drafts[place]
        try:
            result = self._find_earlier(draft)
            if result is not None:
                before = self._named.get(awaited_name(draft.asked) or "")
                origins = trace_origins(result.tasks, before or ())
            else:
                planned = self._plan(draft)
                result, origins = self._record(draft, planned), planned.tasks
        except RequestRefused as refused:
            if draft.asked is not None and draft.asked.name is not None:
                self._named.setdefault(draft.asked.name, None)
            return refused
        if draft.asked is not None and draft.asked.name is not None:
            self._named.setdefault(draft.asked.name, origins)
        return result

    def _find_earlier(self, draft: Draft) -> CreatedTask | None:
        """What an earlier request with its key made. Raises RequestRefused if that cannot be said."""
        if draft.key is not None and draft.key in self._used:
            digest, ref = self._used[draft.key]
            if digest != draft.digest:
                raise _key_reused("this key was already used with a different body")
            if ref not in self._there:  # a second task would be paid for again
                raise _key_reused(f"this key was used for {ref}, which RETENTION has deleted since")
            refs = [self._used[key][1] for key in draft.keys[1:] if key in self._used]
            siblings = tuple(self._there[it] for it in refs if it in self._there)
            return CreatedTask(self._there[ref], replayed=True, siblings=siblings)
        row_keys = draft.row_keys
        if row_keys and row_keys[0] in self._rows:
            siblings = tuple(self._rows[key] for key in row_keys[1:] if key in self._rows)
            return CreatedTask(self._rows[row_keys[0]], replayed=True, siblings=siblings)
        return None

    def _plan(self, draft: Draft) -> Planned:
        """The tasks that are made of a request which nobody made before. Raises RequestRefused."""
        if isinstance(draft.built, RequestRefused):  # only now: a repeated one gets its task whatever the settings are
            raise draft.built
        asked, task = draft.asked, draft.built
        if asked is None:
            return Planned((Origin(task),))
        for ref, name in draft.refs.items():
            if ref in self._there:
                raise _not_an_id(name, ref)
        if self._lane is not None and self._lane.closed_at is not None:
            raise batch_closed(self._lane)
        if (too_dear := self._too_dear.get(task.model or "")) is not None:
            raise too_dear
        if asked.name is not None and self._named.get(asked.name) is not None:
            raise RequestRefused(422, "invalid_parameter", f"two items of this call are named {asked.name!r}", "name")
        if self._lane is not None:
            task = _as_row(task, asked, self._lane)
        wait = wait_of(asked)
        if wait is None:
            return Planned((Origin(task),))
        return plan_children(task, asked, wait, self._find_origins(wait), self.ledger)

    def _find_origins(self, wait: WaitFor) -> tuple[Origin, ...]:
        """The tasks that a request goes on from. Raises RequestRefused."""
        if wait.name is None:
            parent = self.ledger.find(wait.ref or "")
            if parent is None:
                raise unknown_parent(wait.ref or "")
            return (Origin(parent),)
        if wait.name not in self._named:
            raise unknown_parent(wait.name, self._named)
        origins = self._named[wait.name]
        if origins is None:
            raise _ParentRefused
        return origins

    def _record(self, draft: Draft, planned: Planned) -> CreatedTask:
        """Remember what was made of a request: the next one may repeat it. Raises RequestRefused."""
        tasks = [origin.task for origin in planned.tasks]
        keys, row_keys = draft.keys[: len(tasks)], draft.row_keys[: len(tasks)]
        if any(key in self._used for key in keys) or any(key in self._rows for key in row_keys):
            raise _key_reused("this key was already used")  # what is left of that is a sibling's
        self._used |= {key: (draft.digest, task.ref) for key, task in zip(keys, tasks, strict=False)}
        self._rows |= dict(zip(row_keys, tasks, strict=False))
        self._there |= {task.ref: task for task in tasks}
        return CreatedTask(tasks[0], siblings=tuple(tasks[1:]), warnings=(*draft.hints, *planned.warnings))


async def read_judge(
    tables: Tx | Store, drafts: Sequence[Draft], lane: QueueLane | None, too_dear: Mapping[str, RequestRefused]
) -> RequestJudge:
    """All that has to be known to judge these requests; `too_dear` are the models of which no task may be made.

    In a transaction nothing of it changes until the end; what is not there yet may be there by then, and is unique.
    """
    keys = {key for draft in drafts for key in draft.keys}
    used = await tables.tasks.find_keys(sorted(keys)) if keys else {}
    refs = {ref for _, ref in used.values()}.union(*(draft.refs for draft in drafts))
    there = await tables.tasks.get(sorted(refs)) if refs else {}
    row_keys = {key for draft in drafts for key in draft.row_keys} if lane is not None else set()
    rows = await tables.tasks.by_row_key(lane.id, sorted(row_keys)) if lane is not None and row_keys else {}
    parents = {ref for draft in drafts if draft.asked is not None and (ref := parent_ref(draft.asked)) is not None}
    if any(draft.asked is not None and draft.asked.name is not None for draft in drafts):
        parents |= {ref for _, ref in used.values()} | {task.ref for task in rows.values()}  # may be gone on from
    ledger = await _read_ledger(tables, parents)
    if lane is not None:  # it may have been closed since
        lane = (await tables.lanes.get([lane.id])).get(lane.id, lane)
    return RequestJudge(drafts, lane, used, there, rows, too_dear, ledger)


async def _read_ledger(tables: Tx | Store, refs: Collection[str]) -> ChainLedger:
    """What is known of the tasks of these refs, and of their chains."""
    tasks = await tables.tasks.get(sorted(refs)) if refs else {}
    completed = [ref for ref, task in tasks.items() if task.state is TaskState.COMPLETED]
    images = await tables.tasks.images_by_ref(completed) if completed else {}
    roots = sorted({task.root for task in tasks.values() if task.root is not None})
    if tables.dialect.lock and roots:  # nobody else adds to these chains now, or they might become too large
        await tables.tasks.get(roots)
    return ChainLedger(tasks, images, await tables.chains.count(roots) if roots else {})


def batch_closed(lane: QueueLane) -> RequestRefused:
    """The batch takes no more tasks."""
    why = f" ({lane.closed_why})" if lane.closed_why else ""
    remedy = "reopen it if what you add is not paid for yet, or use another name"
    return RequestRefused(409, "batch_closed", f"the batch {lane.name!r} is closed{why}", "batch", remedy=remedy)


def _as_row(task: Task, asked: NewTask, lane: QueueLane) -> Task:
    return replace(
        task,
        lane=lane.id,
        turn=asked.line or 0,
        row_key=hash_row_key(asked.row_key or ""),
        quiet=not lane.each,
        label=task.label or lane.label,
        targets=task.targets or lane.targets,
    )


def with_siblings(asked: NewTask, key: str | None) -> list[str]:
    """A key of a request, and those of the tasks that may be made with it."""
    if key is None:
        return []
    return [key, *(sibling_key(key, number) for number in range(1, CHAIN_MOST if may_multiply(asked) else 1))]


def _not_an_id(name: str, ref: str) -> RequestRefused:
    """Our ref of a task where the provider's own id of something is meant."""
    return RequestRefused(
        422,
        "invalid_parameter",
        f"{name} is {ref}, which is a task here and not an id of the provider's",
        name,
        remedy=f"to go on from its result, use --from {ref}; `receiver tasks show` prints that result's jobId",
    )


def _key_reused(problem: str) -> RequestRefused:
    remedy = "use another key for another task"
    return RequestRefused(409, "idempotency_key_reused", problem, "Idempotency-Key", remedy=remedy)
