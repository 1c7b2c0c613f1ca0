"""New tasks: each is checked by itself, and all of one call are stored in one transaction.

A task that was asked for before is answered with the one that is there: by its Idempotency-Key, or in a batch by the
key of its row. So a request can be repeated, also by two at once, and nothing is paid for twice.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from receiver.client.schemas import KEY_MOST, LABEL_MOST, STEP_MOST, NewTask, is_step_name
from receiver.core.batches import check_name
from receiver.core.errors import ReceiverError, RequestRefused, StaleUpdate, StoreUnavailable, outage_refusal
from receiver.core.types import FIXED_LANES, TURNS_PER_MS, Clock, Policy, QueueLane, Step, StepKind, Task
from receiver.providers import models
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import Store, Tx
from receiver.store.insist import decide_again
from receiver.tasks.batch_names import require_batch
from receiver.tasks.budget_check import BudgetCheck
from receiver.tasks.chain_groups import links_of, split_call
from receiver.tasks.chain_requests import ChainLedger, hash_row_key, wait_of
from receiver.tasks.judge_requests import CreatedTask, CreationResult, Draft, read_judge, with_siblings
from receiver.tokens import is_ref, new_ref

TURN = 200  # tasks in one transaction, about; a chain is never split
READ_BACK_GAPS_S = (0.0, 1.0, 3.0, 6.0)  # a connection is there again, or another server takes over
ASKED_FIELDS = (
    *("provider", "model", "params", "prompt", "label", "targets", "poll_only"),
    *("lane", "turn", "row_key", "quiet", "step", "ping"),
)
"""Of a task, what is asked for. All else is what becomes of it."""


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
        again_of: Sequence[str] = (),
    ) -> list[CreationResult]:
        """Queue tasks, each accepted or refused by itself; an item that is a refusal already stays one. Those of which
        one goes on from another by name are accepted or refused together.

        With `batch`, they are rows of the batch with this name; with `dry_run`, all is checked and nothing stored;
        `again_of` are the tasks that they repeat, if they do. Raises RequestRefused if there is no such batch.
        """
        repeated: Sequence[str | None] = again_of or [None] * len(asked)
        drafts = [self._draft(it, place, batch, again_of=repeated[place]) for place, it in enumerate(asked)]
        if batch is None and all(it.key is None and isinstance(it.built, RequestRefused) for it in drafts):
            return [it.built for it in drafts if isinstance(it.built, RequestRefused)]
        if dry_run:
            lane = await _find_batch(self._store, batch, dry_run=True)
            judge = await read_judge(self._store, drafts, lane, await self._find_too_dear(self._store, drafts))
            return [_without_task(it) for it in judge.judge_all()]
        results: dict[int, CreationResult] = {}
        for part in split_call([it.asked for it in drafts], TURN):
            try:
                made = await self._create_part([drafts[place] for place in part], batch)
            except (StoreUnavailable, StaleUpdate) as error:
                if not results:
                    raise
                made = [outage_refusal(error)] * len(part)
            results |= zip(part, made, strict=True)
        return [results[place] for place in range(len(drafts))]

    async def _create_part(self, drafts: list[Draft], batch: str | None) -> list[CreationResult]:
        results: list[CreationResult] = []
        try:
            await self._write_part(drafts, batch, results)
        except StoreUnavailable:
            if not await self._were_stored(results):
                raise
        return results

    @decide_again
    async def _write_part(self, drafts: list[Draft], batch: str | None, results: list[CreationResult]) -> None:
        """Fill `results`, also if it is not known afterwards whether they were stored."""
        results.clear()
        lane = await _find_batch(self._store, batch)  # not locked yet: the tasks come before it
        async with self._store.write() as tx:
            judge = await read_judge(tx, drafts, lane, await self._find_too_dear(tx, drafts))
            results += judge.judge_all()
            await self._store_new(tx, judge.ledger, list(zip(drafts, results, strict=True)))

    async def _were_stored(self, results: Sequence[CreationResult]) -> bool:
        """Whether the new ones of these tasks are there, though the commit did not say so: whoever hears that nothing
        was stored asks for them again, and they are paid for twice. The store's next answer decides."""
        refs = [it.ref for made in _new_ones(results) for it in made.tasks]
        for gap_s in READ_BACK_GAPS_S if self._store.shared and refs else ():
            await asyncio.sleep(gap_s)
            try:
                return len(await self._store.tasks.states(refs)) == len(refs)
            except StoreUnavailable:
                continue
        return False

    async def _store_new(self, tx: Tx, ledger: ChainLedger, judged: Sequence[tuple[Draft, CreationResult]]) -> None:
        new = [(draft, it.tasks) for draft, made in judged for it in _new_ones([made])]
        if not new:
            return
        # the store counts by itself what each of them holds
        await tx.tasks.insert([replace(task, children=0, picks=0) for _, tasks in new for task in tasks])
        if ledger.changed:
            await tx.tasks.update(ledger.changed)
        if ledger.over:
            await tx.chains.add_followups(ledger.over)
        keyed = [
            (key, draft.digest, task.ref) for draft, tasks in new for key, task in zip(draft.keys, tasks, strict=False)
        ]
        if keyed:
            await tx.tasks.remember_keys(keyed, self._clock())
        await tx.steps.add(
            Step(task.again_of, task.created_at, StepKind.REPEATED, task.ref)
            for _, tasks in new
            for task in tasks
            if task.again_of is not None
        )

    def _draft(self, asked: NewTask | RequestRefused, place: int, batch: str | None, *, again_of: str | None) -> Draft:
        if isinstance(asked, RequestRefused):
            return Draft(links_of(asked), asked, place)
        try:
            _check_keys(asked, batch)
        except RequestRefused as refused:
            return Draft(links_of(asked), refused, place)
        draft = Draft(asked, self._build_or_refuse(asked, place, again_of), place)
        draft.keys = with_siblings(asked, asked.idempotency_key)  # hashed here, before anything is locked
        draft.row_keys = [hash_row_key(it) for it in with_siblings(asked, asked.row_key)]
        if asked.idempotency_key is not None:
            whole = msgspec.json.encode(replace(asked, idempotency_key=None), order="sorted")
            draft.digest = hashlib.sha256(whole).digest()
        draft.hints = models.param_hints(asked.model, asked.params)
        texts = asked.params.items()
        draft.refs = {value: name for name, value in texts if isinstance(value, str) and is_ref(value)}
        return draft

    async def _find_too_dear(self, tables: Tx | Store, drafts: Sequence[Draft]) -> dict[str, RequestRefused]:
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
        fed = wait_of(asked) is not None
        params = models.check_params(
            asked.model, asked.params, allow_permutations=asked.allow_permutations, anyway=asked.anyway, fed=fed
        )
        check_label(asked.label)
        _check_step(asked.name)
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
            step=asked.name,
            ping=asked.ping,
        )


def repeat_task(task: Task, now: int) -> Task:
    """Another task that is asked for the same, in the same place of the queue."""
    return _queue_task(now, again_of=task.ref, **{name: getattr(task, name) for name in ASKED_FIELDS})


def _queue_task(now: int, *, again_of: str | None, **asked: Any) -> Task:
    return Task(ref=new_ref(now), created_at=now, due_at=now, again_of=again_of, **asked)


def _check_keys(asked: NewTask, batch: str | None) -> None:
    key = asked.idempotency_key
    if key is not None and (not 0 < len(key) <= KEY_MOST or not is_storable(key)):
        problem = f"a key must have 1 to {KEY_MOST} characters, without NUL"
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


def _without_task(result: CreationResult) -> CreationResult:
    """What a dry run says of it: a task that would be made is not there."""
    if isinstance(result, RequestRefused) or result.replayed:
        return result
    return CreatedTask(None, warnings=result.warnings)


def _new_ones(results: Iterable[CreationResult]) -> list[CreatedTask]:
    return [it for it in results if isinstance(it, CreatedTask) and not it.replayed]


async def _find_batch(store: Store, name: str | None, *, dry_run: bool = False) -> QueueLane | None:
    if name is None:
        return None
    if dry_run and await store.lanes.find_batch(name) is None:  # it may be opened once all is known to be right
        check_name(name, field="batch")
        return None
    return await require_batch(store, name)


def _check_step(name: str | None) -> None:
    if name is not None and not is_step_name(name):
        problem = f"a name must have 1 to {STEP_MOST} letters, digits and . _ -, and begin with a letter or a digit"
        raise RequestRefused(422, "invalid_parameter", problem, "name")


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
