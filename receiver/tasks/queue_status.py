"""How submitting stands: what each queued task waits for, and what the lanes hold. It only reads; `submit` acts."""

from collections.abc import Callable, Sequence

from receiver.core.proven_limit import ProvenLimit
from receiver.core.provider_pace import ProviderPace
from receiver.core.queue_waits import QueueScene, QueueState, QueueWait, explain_wait
from receiver.core.types import Clock, Policy, Task, TaskState
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import Store
from receiver.tasks.budget_check import BudgetCheck

ReadPace = Callable[[], tuple[ProviderPace, ProvenLimit]]


class QueueStatus:
    """The queue as it stands. `read_pace` gives the pace and the limit of the loop that submits, as they are now."""

    def __init__(self, store: Store, policy: Policy, clock: Clock, *, budget: BudgetCheck, read_pace: ReadPace) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._budget = budget
        self._read_pace = read_pace

    async def find_waits(self, tasks: Sequence[Task]) -> list[QueueWait | None]:
        """What each of these tasks waits for; None if it is not queued."""
        if not any(it.state is TaskState.QUEUED for it in tasks):
            return [None] * len(tasks)
        scene = await self._read_scene(self._clock())
        return [explain_wait(it, scene) for it in tasks]

    async def describe(self) -> QueueState:
        """How submitting stands, and what each lane with queued tasks has."""
        now = self._clock()
        scene = await self._read_scene(now)
        head = Task(ref="", created_at=now, provider=DEFAULT_PROVIDER)  # waits for nothing of its own
        lanes = await self._store.lanes.queued()
        _, limit = self._read_pace()
        return QueueState(scene, limit, explain_wait(head, scene), lanes)

    async def _read_scene(self, now: int) -> QueueScene:
        pace, limit = self._read_pace()
        paused_at, why = await self._store.gates.paused(DEFAULT_PROVIDER) or (None, "")
        return QueueScene(
            pace,
            await self._store.tasks.places_taken(now),
            limit.places(now),
            self._policy.can_poll,
            now,
            paused_at=paused_at,
            paused_why=why,
            paused_lanes={lane.id: lane for lane in await self._store.lanes.paused()},
            budget=self._budget.wait_at(now),
            lane_budgets=self._budget.lane_waits,
        )
