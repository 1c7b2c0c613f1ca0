"""How submitting stands: what each queued task waits for, and what the lanes hold. It only reads; `submit` acts."""

from collections.abc import Sequence

from receiver.core.loop_states import SubmitState
from receiver.core.queue_waits import QueueScene, QueueState, QueueWait, explain_wait
from receiver.core.types import Clock, Policy, Task, TaskState
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import Store
from receiver.tasks.budget_check import BudgetCheck
from receiver.tasks.shared_state import SUBMITTING


class QueueStatus:
    """The queue as it stands, also for a process that submits nothing itself. `first` is the state of the submissions
    before any."""

    def __init__(self, store: Store, policy: Policy, clock: Clock, *, budget: BudgetCheck, first: SubmitState) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._budget = budget
        self._first = first

    async def read_state(self) -> SubmitState:
        """What the submissions have taught so far, under our settings."""
        stored = await SUBMITTING.read(self._store.paces)
        return self._first if stored is None else stored.with_settings_of(self._first)

    async def find_waits(self, tasks: Sequence[Task]) -> list[QueueWait | None]:
        """What each of these tasks waits for; None if it is not queued."""
        if not any(it.state is TaskState.QUEUED for it in tasks):
            return [None] * len(tasks)
        scene = await self._read_scene(await self.read_state(), self._clock())
        return [explain_wait(it, scene) for it in tasks]

    async def describe(self) -> QueueState:
        """How submitting stands, and what each lane with queued tasks has."""
        state, now = await self.read_state(), self._clock()
        scene = await self._read_scene(state, now)
        head = Task(ref="", created_at=now, provider=DEFAULT_PROVIDER)  # waits for nothing of its own
        lanes = await self._store.lanes.queued()
        return QueueState(scene, state.limit, explain_wait(head, scene), lanes)

    async def _read_scene(self, state: SubmitState, now: int) -> QueueScene:
        paused_at, why = await self._store.gates.paused(DEFAULT_PROVIDER) or (None, "")
        return QueueScene(
            state.pace,
            await self._store.tasks.places_taken(now),
            state.limit.places(now),
            self._policy.can_poll,
            now,
            paused_at=paused_at,
            paused_why=why,
            paused_lanes={lane.id: lane for lane in await self._store.lanes.paused()},
            budget=self._budget.wait_at(state.waits, now),
            lane_budgets=state.waits.lanes,
        )
