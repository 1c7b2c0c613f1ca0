"""Finds what needs a person now: the list on the status page, and the numbers at the top of every page.

A read for each kind, by an index and with a limit. What was found is good for a few seconds, so that many open pages
cost no more than one.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from msgspec import Struct

from receiver.core.budgets import load_zone, local_day
from receiver.core.pacing import RETRY_AFTER_MOST
from receiver.core.queue_waits import QueueReason, QueueState, count_waits
from receiver.core.schedule import UNSURE_MOST, is_paused
from receiver.core.types import Clock, OutcomeSource, Policy, Task, TaskOrigin, TaskState
from receiver.store import Store
from receiver.store.tables.hours import HourKind
from receiver.store.tables.standing import GivenUp, Raised
from receiver.tasks.queue_status import QueueStatus
from receiver.upkeep import need_words
from receiver.upkeep.day_counts import day_start, sum_by_day
from receiver.upkeep.doctor.machine import check_disk
from receiver.upkeep.need_words import LOOKED_MOST, NAMED_MOST, Need

KEPT_MS = 5_000
MODELS_MOST = 6
_OF_INTEREST_MS = 7 * 86_400_000  # how long we keep reporting a lost task, a callback that nobody could read
_STOPPING = (QueueReason.NO_KEY, QueueReason.KEY, QueueReason.DOWN, QueueReason.BUDGET, QueueReason.PRICE)
_ABOUT_TASK = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOLD_ELSEWHERE = frozenset(
    {"unparsed", "pick-open", "held", "unsure"}
)  # kinds of attention that have items of their own


class Needs(Struct, frozen=True):
    """What needs a person, the most urgent first; and what was read to find that."""

    items: Sequence[Need]
    dead: Sequence[GivenUp]
    queue: QueueState

    @property
    def given_up(self) -> int:
        """How many notices were given up."""
        return sum(it.count for it in self.dead)


class NeedsFinder:
    """Finds what needs a person. `keys` are the ids of the secret keys, `folder` is on the disk that fills up, `zone`
    says when a day begins."""

    def __init__(
        self,
        store: Store,
        queue: QueueStatus,
        policy: Policy,
        clock: Clock,
        *,
        keys: Collection[str],
        folder: Path,
        zone: str,
    ) -> None:
        self._store = store
        self._queue = queue
        self._policy = policy
        self._clock = clock
        self._keys = frozenset(keys)
        self._folder = folder
        self._zone = zone
        self._looking = asyncio.Lock()
        self._found: tuple[int, Needs] | None = None

    async def find(self, *, fresh: bool = False) -> Needs:
        """What needs a person; what was found some seconds ago, unless it is to be `fresh`."""
        async with self._looking:
            now = self._clock()
            if self._found is None or fresh or not 0 <= now - self._found[0] < KEPT_MS:
                self._found = now, await self._look(now)
            return self._found[1]

    async def _look(self, now: int) -> Needs:
        given_up = await self._store.standing.given_up()
        rests, dead = await self._find_rests(now), {it.target for it in given_up}
        queue = await self._queue.describe()
        items = [
            *await self._find_stopped(queue),
            *self._find_full_disk(),
            *await self._find_stopped_callbacks(now),
            *await self._find_lost_keys(),
            *(need_words.need_given_up(it, self._target_names, rests.get(it.target, (None,))[0]) for it in given_up),
            *(need for name, (_, need) in rests.items() if need is not None and name not in dead),
            *need_words.needs_of_batches(list(queue.scene.paused_lanes.values())),
            *await self._find_tasks(now),
        ]
        return Needs(items, given_up, queue)

    @property
    def _target_names(self) -> list[str]:
        return [it.name for it in self._policy.targets]

    async def _find_stopped(self, queue: QueueState) -> list[Need]:
        """What stops all submissions, or those of some lanes; what only a person has paused even with nothing to
        submit."""
        scene = queue.scene
        waiting = count_waits(queue, 0)
        if scene.paused_at is not None:
            detail = scene.paused_why
            return [need_words.need_stopped(QueueReason.PAUSED, _sum_lanes(queue), None, detail)]
        until = queue.wait.until if queue.wait is not None else None
        found = []
        for why in _STOPPING:
            if waiting[why]:
                general = queue.wait is not None and queue.wait.why is why
                detail = queue.wait.detail or "" if general and queue.wait is not None else ""
                found.append(need_words.need_stopped(why, waiting[why], until if general else None, detail))
        return found

    def _find_full_disk(self) -> list[Need]:
        try:
            found = list(check_disk(self._folder))
        except OSError:
            return []  # the store reports it
        return [need for it in found if (need := need_words.need_disk(it)) is not None]

    async def _find_stopped_callbacks(self, now: int) -> list[Need]:
        raised = await self._store.standing.raised_at("callbacks-stopped")
        if raised is None or raised <= now - _OF_INTEREST_MS:
            return []
        for model in await self._store.standing.common_models(MODELS_MOST):
            last = await self._store.tasks.last_callback(model)
            if last is not None and last > raised:
                return []
        zone = load_zone(self._zone)
        today = local_day(now, zone)
        counts = await self._store.hours.counts_since(HourKind.SETTLED, day_start(today, zone))
        settled = sum_by_day(counts, zone).get(today, Counter[str]())
        return [need_words.need_callbacks(settled[OutcomeSource.CALLBACK], settled[OutcomeSource.POLL])]

    async def _find_lost_keys(self) -> list[Need]:
        waiting = await self._store.standing.waiting_by_key()
        return [need_words.need_key(key, count) for key, count in waiting.items() if key not in self._keys]

    async def _find_rests(self, now: int) -> dict[str, tuple[int, Need | None]]:
        """The targets that rest: until when, and the item of one for which something waits."""
        names = self._target_names
        queues = await self._store.sends.target_queues(names) if names else []
        until = {
            it.name: it.rest_until
            for it in queues
            if it.rest_until is not None and is_paused(it.rest_until, now, RETRY_AFTER_MOST)
        }
        if not until:
            return {}
        failures = {it.name: it.failures for it in queues}
        waiting = {it.name: it.waiting for it in await self._store.standing.of_targets(list(until))}
        return {
            name: (at, need_words.need_rest(name, failures[name], at, waiting[name]) if waiting[name] else None)
            for name, at in until.items()
        }

    async def _find_tasks(self, now: int) -> list[Need]:
        """The tasks that need a person, each once."""
        held = [it for it in await self._store.standing.held_for_person(LOOKED_MOST) if it.state is TaskState.QUEUED]
        unsure = [it for it in await self._store.standing.unsure(LOOKED_MOST) if _is_stuck(it, now)]
        unparsed = await self._store.standing.unparsed_open(now - _OF_INTEREST_MS, LOOKED_MOST)
        parents = await self._find_pick_parents()
        told = {it.ref for it in (*held, *unsure, *parents)} | set(unparsed)
        return [
            *need_words.needs_of_held(held),
            *need_words.needs_of_unsure(unsure),
            *([need_words.need_unparsed(unparsed)] if unparsed else ()),
            *await self._find_asked(told, now),
            *need_words.needs_of_picks(parents),
        ]

    async def _find_pick_parents(self) -> list[Task]:
        """The tasks whose pictures are to be picked from, newest first."""
        waiting = await self._store.chains.open_picks(LOOKED_MOST)
        refs = list(dict.fromkeys(it.parent for it in waiting if it.parent is not None))
        found = await self._store.tasks.get(refs) if refs else {}
        return [found[ref] for ref in refs if ref in found]

    async def _find_asked(self, told: Collection[str], now: int) -> list[Need]:
        """Open tasks about which a ping called for a person, for another reason than those that are `told` of."""
        about: dict[str, Raised] = {}
        for raised in await self._store.standing.raised_since(now - _OF_INTEREST_MS, LOOKED_MOST):
            ref = _ABOUT_TASK.search(raised.cause)
            if ref is not None and raised.cause.partition(":")[0] not in _TOLD_ELSEWHERE and ref[0] not in told:
                about.setdefault(ref[0], raised)
        tasks = await self._store.tasks.get(list(about)) if about else {}
        open_ = [ref for ref in about if ref in tasks and not (tasks[ref].state.is_final and tasks[ref].confirmed)]
        return [need_words.need_asked(tasks[ref], about[ref]) for ref in open_[: 2 * NAMED_MOST]]


def _is_stuck(task: Task, now: int) -> bool:
    """Whether a person has to find out about an unsure task: a callback would have settled it by now."""
    age = now - (task.submitted_at or task.created_at)
    if task.origin is not TaskOrigin.SUBMITTED:  # it cannot be sent again from here
        return False
    return (
        age > UNSURE_MOST if task.state is TaskState.WAITING else task.state is TaskState.LOST and age < _OF_INTEREST_MS
    )


def _sum_lanes(queue: QueueState) -> int:
    return sum(count for _, count in queue.lanes)
