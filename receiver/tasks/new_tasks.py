"""New tasks: each is checked by itself, and all of one call are stored in one transaction.

A task that was asked for before is answered with the one that is there: by its Idempotency-Key, or in a batch by the
key of its row. So a request can be repeated, also by two at once, and nothing is paid for twice.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from receiver.client.schemas import KEY_MOST, LABEL_MOST, NewTask
from receiver.core.errors import ReceiverError, RequestRefused
from receiver.core.types import FIXED_LANES, TURNS_PER_MS, Clock, Policy, QueueLane, Task
from receiver.providers import models
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import Store, Tx
from receiver.tasks.budget_check import BudgetCheck
from receiver.tokens import is_ref, new_ref

ASKED_FIELDS = (
    *("provider", "model", "params", "prompt", "label", "targets", "poll_only"),
    *("lane", "turn", "row_key", "quiet"),
)
"""Of a task, what is asked for. All else is what becomes of it."""

_NOT_YET = ("wait_for",)


class CreatedTask(Struct, frozen=True):
    """A task that was asked for; `replayed`: an earlier request made it. Of a dry run, None if it would be made."""

    task: Task | None
    replayed: bool = False


CreationResult = CreatedTask | RequestRefused


class _Draft(Struct):
    """One item while it is judged: the task that it would become, or why not."""

    asked: NewTask | None
    built: Task | RequestRefused
    digest: bytes = b""  # of the whole request: the same key must come with the same request
    row_key: bytes = b""
    refs: Mapping[str, str] = {}  # parameters that look like our refs: value -> name

    @property
    def key(self) -> str | None:
        """Its Idempotency-Key."""
        return self.asked.idempotency_key if self.asked else None


class TaskCreator:
    """Makes tasks. `unreachable` says why the provider cannot call back; None if it can."""

    def __init__(
        self,
        store: Store,
        policy: Policy,
        clock: Clock,
        unreachable: ReceiverError | None,
        budget: BudgetCheck | None = None,
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._unreachable = unreachable
        self._budget = budget

    async def create(
        self,
        asked: Sequence[NewTask | RequestRefused],
        *,
        batch: str | None = None,
        dry_run: bool = False,
        again_of: str | None = None,
    ) -> list[CreationResult]:
        """Queue tasks, each accepted or refused by itself; an item that is a refusal already stays one.

        With `batch`, they are rows of the batch with this name; with `dry_run`, all is checked and nothing stored.
        Raises RequestRefused if there is no such batch.
        """
        drafts = [self._draft(it, place, batch, again_of) for place, it in enumerate(asked)]
        if batch is None and all(it.key is None and isinstance(it.built, RequestRefused) for it in drafts):
            return [it.built for it in drafts if isinstance(it.built, RequestRefused)]
        if dry_run:
            return await self._judge_all(self._store, drafts, batch, dry_run=True)
        async with self._store.write() as tx:
            results = await self._judge_all(tx, drafts, batch)
            new = [
                (draft, it.task)
                for draft, it in zip(drafts, results, strict=True)
                if isinstance(it, CreatedTask) and it.task is not None and not it.replayed
            ]
            if new:
                await tx.tasks.insert([task for _, task in new])
            if keyed := [(draft.key, draft.digest, task.ref) for draft, task in new if draft.key is not None]:
                await tx.tasks.remember_keys(keyed, self._clock())
        return results

    def _draft(self, asked: NewTask | RequestRefused, place: int, batch: str | None, again_of: str | None) -> _Draft:
        if isinstance(asked, RequestRefused):
            return _Draft(None, asked)
        try:
            _check_keys(asked, batch)
        except RequestRefused as refused:
            return _Draft(None, refused)
        draft = _Draft(asked, self._build_or_refuse(asked, place, again_of))
        if asked.row_key is not None:
            draft.row_key = hashlib.sha256(asked.row_key.encode()).digest()
        if asked.idempotency_key is not None:
            whole = msgspec.json.encode(replace(asked, idempotency_key=None), order="sorted")
            draft.digest = hashlib.sha256(whole).digest()
        texts = asked.params.items()
        draft.refs = {value: name for name, value in texts if isinstance(value, str) and is_ref(value)}
        return draft

    async def _judge_all(
        self, tables: Tx | Store, drafts: list[_Draft], batch: str | None, *, dry_run: bool = False
    ) -> list[CreationResult]:
        lane = await _find_batch(tables, batch, dry_run=dry_run)
        keys = {it.key for it in drafts if it.key is not None}
        used = await tables.tasks.find_keys(sorted(keys)) if keys else {}
        refs = {ref for _, ref in used.values()}.union(*(it.refs for it in drafts))
        there = await tables.tasks.get(sorted(refs)) if refs else {}
        row_keys = {it.row_key for it in drafts if it.row_key}
        rows = await tables.tasks.by_row_key(lane.id, sorted(row_keys)) if lane and row_keys else {}
        too_dear = await self._find_too_dear(tables, drafts)
        used, results = dict(used), list[CreationResult]()
        for draft in drafts:
            result = _judge(draft, lane, used, there, rows)
            if _is_new(result) and draft.asked is not None:
                result = too_dear.get(draft.asked.model, result)
            results.append(CreatedTask(None) if dry_run and _is_new(result) else result)
            if _is_new(result) and isinstance(result, CreatedTask) and result.task:  # the next item may repeat it
                there[result.task.ref] = result.task
                if draft.key is not None:
                    used[draft.key] = draft.digest, result.task.ref
                if draft.row_key:
                    rows[draft.row_key] = result.task
        return results

    async def _find_too_dear(self, tables: Tx | Store, drafts: Sequence[_Draft]) -> dict[str, RequestRefused]:
        """The models among these of which one task is dearer than a whole budget, and how that is refused."""
        found: dict[str, RequestRefused] = {}
        if self._budget is None:
            return found
        for model in sorted({it.built.model for it in drafts if isinstance(it.built, Task) and it.built.model}):
            try:
                await self._budget.refuse_oversized(tables.spend, model)
            except RequestRefused as refused:
                found[model] = refused
        return found

    def _build_or_refuse(self, asked: NewTask, place: int, again_of: str | None) -> Task | RequestRefused:
        try:
            return self._build_task(asked, place, again_of)
        except RequestRefused as refused:
            return refused

    def _build_task(self, asked: NewTask, place: int, again_of: str | None) -> Task:
        for name in _NOT_YET:
            if getattr(asked, name) is not None:
                raise RequestRefused(422, "not_yet", f"{name} is not available in this version", name)
        params = models.check_params(asked.model, asked.params, allow_permutations=asked.allow_permutations)
        check_label(asked.label)
        if not self._policy.can_poll:
            raise RequestRefused(
                422, "no_key", "submitting needs a provider key", remedy="set PROVIDER_KEY where the service runs"
            )
        if self._unreachable is not None and not asked.poll_only:
            refused = self._unreachable
            raise RequestRefused(422, "unreachable", refused.problem, "poll_only", remedy=refused.remedy)
        check_targets(asked.targets, self._policy)
        priority = asked.priority or "normal"
        if priority not in FIXED_LANES:
            problem = f"unknown priority {priority[:80]!r}: it must be one of {', '.join(FIXED_LANES)}"
            raise RequestRefused(422, "invalid_parameter", problem, "priority")
        now = self._clock()
        return _queue_task(
            now,
            provider=DEFAULT_PROVIDER,
            model=asked.model,
            params=params,
            prompt=models.prompt_of(asked.model, asked.params),
            label=asked.label,
            targets=asked.targets,
            poll_only=asked.poll_only,
            lane=FIXED_LANES[priority],
            turn=now * TURNS_PER_MS + place,
            again_of=again_of,
        )


def repeat_task(task: Task, now: int) -> Task:
    """Another task that is asked for the same, in the same place of the queue."""
    return _queue_task(now, again_of=task.ref, **{name: getattr(task, name) for name in ASKED_FIELDS})


def _queue_task(now: int, *, again_of: str | None, **asked: Any) -> Task:
    return Task(ref=new_ref(now), created_at=now, due_at=now, again_of=again_of, **asked)


def _check_keys(asked: NewTask, batch: str | None) -> None:
    key = asked.idempotency_key
    if key is not None and not 0 < len(key) <= KEY_MOST:
        problem = f"a key must have 1 to {KEY_MOST} characters"
        raise RequestRefused(422, "invalid_parameter", problem, "Idempotency-Key")
    for name in ("line", "row_key"):
        given = getattr(asked, name) is not None
        if given and batch is None:
            raise RequestRefused(
                422, "invalid_parameter", f"{name} is for rows of a batch", name, remedy="name `batch`"
            )
        if batch is not None and not given:
            raise RequestRefused(422, "invalid_parameter", f"a row of a batch needs {name}", name)
    for name, instead in (("idempotency_key", "its key is row_key"), ("priority", "the batch has one for all")):
        if batch is not None and getattr(asked, name) is not None:
            raise RequestRefused(422, "invalid_parameter", f"a row of a batch has no {name}: {instead}", name)


def _judge(
    draft: _Draft,
    lane: QueueLane | None,
    used: Mapping[str, tuple[bytes, str]],
    there: Mapping[str, Task],
    rows: Mapping[bytes, Task],
) -> CreationResult:
    if draft.asked is None:
        return draft.built if isinstance(draft.built, RequestRefused) else CreatedTask(draft.built)
    if draft.key is not None and draft.key in used:
        digest, ref = used[draft.key]
        if digest != draft.digest:
            return _key_reused("this key was already used with a different body")
        if ref not in there:  # a second task would be paid for again
            return _key_reused(f"this key was used for {ref}, which RETENTION has deleted since")
        return CreatedTask(there[ref], replayed=True)
    if draft.row_key in rows:
        return CreatedTask(rows[draft.row_key], replayed=True)
    if isinstance(draft.built, RequestRefused):  # only now: a repeated one gets its task whatever the settings are
        return draft.built
    for ref, name in draft.refs.items():
        if ref in there:
            return _not_an_id(name, ref)
    if lane is None:
        return CreatedTask(draft.built)
    if lane.closed_at is not None:
        return batch_closed(lane)
    return CreatedTask(_as_row(draft.built, draft.asked, draft.row_key, lane))


def _as_row(task: Task, asked: NewTask, row_key: bytes, lane: QueueLane) -> Task:
    return replace(
        task,
        lane=lane.id,
        turn=asked.line or 0,
        row_key=row_key,
        quiet=not lane.each,
        label=task.label or lane.label,
        targets=task.targets or lane.targets,
    )


def _is_new(result: CreationResult) -> bool:
    return isinstance(result, CreatedTask) and not result.replayed


async def _find_batch(tables: Tx | Store, name: str | None, *, dry_run: bool) -> QueueLane | None:
    if name is None:
        return None
    lane = await tables.lanes.find_batch(name)
    if lane is not None:
        return lane
    if dry_run and name not in FIXED_LANES:  # it may be opened once all is known to be right
        return None
    raise unknown_batch(name)


def unknown_batch(name: str) -> RequestRefused:
    """There is no batch of this name."""
    return RequestRefused(404, "not_found", f"there is no batch {name[:80]!r}", "batch")


def batch_closed(lane: QueueLane) -> RequestRefused:
    """The batch takes no more tasks."""
    why = f" ({lane.closed_why})" if lane.closed_why else ""
    remedy = "reopen it if what you add is not paid for yet, or use another name"
    return RequestRefused(409, "batch_closed", f"the batch {lane.name!r} is closed{why}", "batch", remedy=remedy)


def check_label(label: str | None) -> None:
    """Raises RequestRefused if it is not a label."""
    if label is not None and (not 0 < len(label) <= LABEL_MOST or not is_storable(label)):
        raise RequestRefused(
            422, "invalid_parameter", f"a label must have 1 to {LABEL_MOST} characters of plain text", "label"
        )


def check_targets(targets: Sequence[str] | None, policy: Policy) -> None:
    """Raises RequestRefused if nobody would be notified, or if one is unknown."""
    if targets is not None and not targets:
        raise RequestRefused(
            422,
            "invalid_parameter",
            "targets is an empty list, so nobody would be notified",
            "targets",
            remedy="leave it out to notify all targets that want this task, or name at least one",
        )
    known = [target.name for target in policy.targets]
    for name in targets or ():
        if name not in known:
            raise RequestRefused(422, "unknown_target", unknown_target(name, known), "targets")


def is_storable(text: str) -> bool:
    """Whether every backend can store it: no NUL, no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= it <= "\udfff" for it in text)


def unknown_target(name: str, known: Iterable[str]) -> str:
    """Says that `name` is not a target, with the one that may be meant, or else all targets."""
    import difflib  # only for a wrong name

    near = difflib.get_close_matches(name[:80], known := sorted(known), n=1)
    more = f" (did you mean {near[0]}?)" if near else f"; the targets are: {', '.join(known) or 'none'}"
    return f"unknown target {name[:80]!r}{more}"


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
