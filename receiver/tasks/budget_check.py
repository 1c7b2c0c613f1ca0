"""Reserves what a task may cost, in the transaction that claims it; or says why it has to wait.

SQLite has one writer, so no two claims can use the same money, and a reservation is a column of the task: whatever dies
in between, what is in hand counts. Over the budget goes only what tasks in hand cost more than was reserved for them.
"""

from msgspec import Struct
from msgspec.structs import replace

from receiver.core import budgets
from receiver.core.batches import OPEN_MOST, pause_lane, resume_lane
from receiver.core.budgets import BudgetRules, BudgetWait, Committed, PeriodKind
from receiver.core.clock_check import ClockWatch
from receiver.core.errors import RequestRefused
from receiver.core.money import NANO, amount_text, dollars, parse_usd
from receiver.core.spend import lane_scope
from receiver.core.types import LOW_LANE, PauseCause, Policy, QueueLane, Task, TaskState
from receiver.notify.attention import raise_attention
from receiver.store import Tx
from receiver.store.tables.spend import BudgetPeriod, SpendTable

_LANE_USED_UP = (
    "The batch {name} has used up its budget: {spent} of {limit} spent. It is paused; {waiting} of its tasks wait. "
    "To let them go, run `receiver costs raise {name} {more}`."
)


class BudgetState(Struct, frozen=True):
    """A period's budget as it stands: the limit that holds, and what is kept of the period."""

    kind: PeriodKind
    period: str
    limit: int
    until: int
    committed: Committed
    raised: bool
    kept: BudgetPeriod


class BudgetCheck:
    """The budgets of the service."""

    def __init__(self, rules: BudgetRules, policy: Policy, watch: ClockWatch) -> None:
        self.rules = rules
        self.lane_waits: dict[int, BudgetWait] = {}  # of batches whose own budget has no room for now
        self._wait: BudgetWait | None = None
        self._policy = policy
        self._watch = watch

    def wait_at(self, now: int) -> BudgetWait | None:
        """Why the last claim had to wait; None if it had not, or if that is over by now."""
        wait = self._wait
        return None if wait is None or (wait.until is not None and wait.until <= now) else wait

    async def reserve(self, tx: Tx, task: Task, now: int) -> Task | BudgetWait:
        """The task with what its submission may cost and the day to which that counts; or why it has to wait: with all
        others, or with its batch, whose own budget has no room. Once that is used up, the batch is paused.

        With no budget set, nothing is checked: what is in hand is only known.
        """
        day = await self.today(tx.spend, now)
        estimate = await self.estimate(tx.spend, task.model or "")
        wait = await self._check_periods(tx, task, estimate, day, now)
        if wait is not None:
            self._wait = replace(wait, since=min(wait.since, self._wait.since if self._wait is not None else now))
            return self._wait
        self._wait = None
        before = self.lane_waits.pop(task.lane, None)
        own = await self._check_lane(tx, task, estimate, now)
        if own is not None:
            if len(self.lane_waits) >= OPEN_MOST:  # of batches that have ended since
                self.lane_waits.clear()
            self.lane_waits[task.lane] = replace(own, since=before.since if before is not None else now)
            return own
        return replace(task, reserved=estimate, spend_day=day)

    async def today(self, spend: SpendTable, now: int) -> str:
        """The day to which what is submitted now counts."""
        hold_ms = self._watch.hold_left_ms()
        last = await spend.last_day() if hold_ms else None
        return budgets.choose_day(now, budgets.load_zone(self.rules.zone), last, hold_ms)

    async def estimate(self, spend: SpendTable, model: str) -> int | None:
        """What a task of this model may cost; None if nobody knows."""
        costs = await spend.recent_costs(model, budgets.HISTORY_MOST)
        return budgets.estimate_cost(costs, self.rules.prices.get(model))

    async def refuse_oversized(self, spend: SpendTable, model: str) -> None:
        """Refuse a task that is dearer than a whole budget: it would wait for ever. Raises RequestRefused."""
        limits = self.rules.limits
        estimate = await self.estimate(spend, model) if limits else None
        for kind, limit in budgets.oversized(estimate, limits):
            problem = budgets.too_large_text(model, estimate or 0, kind, limit)
            raise RequestRefused(422, "over_budget", problem, "model", remedy=f"set BUDGET_{kind.upper()} higher")

    async def states(self, spend: SpendTable, now: int) -> list[BudgetState]:
        """Every budget as it stands."""
        day = await self.today(spend, now)
        return [await self._state(spend, kind, limit, day) for kind, limit in self.rules.limits.items()]

    async def raise_limit(self, tx: Tx, kind: PeriodKind, limit: int, now: int) -> None:
        """Let more be spent in the present period, and only in that. Raises RequestRefused."""
        setting = f"BUDGET_{kind.upper()}"
        if kind not in self.rules.limits:
            raise RequestRefused(
                409, "no_budget", f"there is no budget for a {kind}", "period", remedy=f"set {setting}"
            )
        state = await self._state(tx.spend, kind, self.rules.limits[kind], await self.today(tx.spend, now))
        if limit < state.limit:
            problem = f"the budget of this {kind} is {dollars(state.limit)}, and it can only be raised"
            raise RequestRefused(422, "invalid_parameter", problem, "limit", remedy=f"to lower it, set {setting}")
        await tx.spend.put_period(replace(state.kept, raised_to=limit, warned_at=None, reached_at=None))
        tx.spend.wake_submissions()
        self._wait = None

    async def raise_lane(self, tx: Tx, name: str, limit: int) -> None:
        """Give a batch a higher budget; one that is paused because it had used up its own goes on.

        Raises RequestRefused.
        """
        lane = await tx.lanes.find_batch(name)
        if lane is None:
            raise RequestRefused(
                404, "not_found", f"there is no batch {name[:80]!r}; a period is day or month", "period"
            )
        if lane.budget is None:
            raise RequestRefused(409, "no_budget", f"the batch {name} has no budget", "period")
        if limit < (before := parse_usd(lane.budget) or 0):
            problem = f"the budget of {name} is {dollars(before)}, and it can only be raised"
            raise RequestRefused(422, "invalid_parameter", problem, "limit")
        raised = replace(lane, budget=amount_text(limit))
        if lane.paused_by is PauseCause.BUDGET:
            raised = resume_lane(raised)
        await tx.lanes.update(raised)
        self._wait = None

    async def _state(self, spend: SpendTable, kind: PeriodKind, limit: int, day: str) -> BudgetState:
        period = budgets.period_of(kind, day)
        kept = await spend.get_period(kind, period)
        until = budgets.period_end(kind, day, budgets.load_zone(self.rules.zone))
        committed = await spend.committed(kind, period)
        raised_to = kept.raised_to or 0
        return BudgetState(kind, period, max(limit, raised_to), until, committed, raised_to > limit, kept)

    async def _check_periods(self, tx: Tx, task: Task, estimate: int | None, day: str, now: int) -> BudgetWait | None:
        """Why the task does not fit the budgets. A person is told once a period: when one is nearly, and when it is
        wholly used up."""
        for kind, limit in self.rules.limits.items():
            state = await self._state(tx.spend, kind, limit, day)
            if not budgets.may_submit(state.committed, estimate, state.limit):
                return await self._wait_for_period(tx, task, estimate, state, now)
            used = state.committed.amount + (estimate or 0)
            if state.kept.warned_at is None and budgets.is_near(used, state.limit):
                await tx.spend.put_period(replace(state.kept, warned_at=now))
                text = budgets.near_text(kind, used, state.limit, self._until_text(state))
                await self._tell(tx, "budget-near", state, text, now)
        return None

    async def _wait_for_period(
        self, tx: Tx, task: Task, estimate: int | None, state: BudgetState, now: int
    ) -> BudgetWait:
        """Why a task waits that does not fit the budget of a period, which a person is told once it is used up."""
        kind, limit, kept = state.kind, state.limit, state.kept
        if not budgets.is_used_up(state.committed, estimate, limit):
            return BudgetWait(_waits_for_hand(task, estimate), now)
        oversized = None
        if estimate is not None and estimate > limit:
            oversized = budgets.oversized_text(task.model or "", estimate, kind, limit)
        if kept.reached_at is None:
            await tx.spend.put_period(replace(kept, reached_at=now, warned_at=kept.warned_at or now))
            waiting = dict(await tx.tasks.count_by_state()).get(TaskState.QUEUED.value, 0)
            text = budgets.reached_text(kind, state.committed.amount, limit, waiting, self._until_text(state))
            if oversized is not None:
                text = f"{oversized[0].upper()}{oversized[1:]}. Until then nothing is submitted."
            await self._tell(tx, "budget-reached", state, text, now)
        return BudgetWait(oversized or budgets.used_up_text(kind, limit), kept.reached_at or now, state.until)

    def _until_text(self, state: BudgetState) -> str:
        return budgets.until_text(state.kind, state.until, self.rules.zone)

    async def _check_lane(self, tx: Tx, task: Task, estimate: int | None, now: int) -> BudgetWait | None:
        """Why the task does not fit its batch's own budget; once that is used up, the batch is paused."""
        lane = (await tx.lanes.get([task.lane])).get(task.lane) if task.lane > LOW_LANE else None
        if lane is None or lane.budget is None:
            return None
        limit, committed = parse_usd(lane.budget) or 0, await tx.spend.committed_by(lane_scope(lane.id))
        if budgets.may_submit(committed, estimate, limit):
            return None
        if budgets.is_used_up(committed, estimate, limit):
            await self._pause_lane(tx, lane, committed, limit, now)
            return BudgetWait("the batch's budget is used up", now, of_batch=True)
        return BudgetWait(_waits_for_hand(task, estimate), now, of_batch=True)

    async def _pause_lane(self, tx: Tx, lane: QueueLane, committed: Committed, limit: int, now: int) -> None:
        why = f"its budget of {dollars(limit)} is used up"
        await tx.lanes.update(pause_lane(lane, PauseCause.BUDGET, now, why))
        text = _LANE_USED_UP.format(
            name=lane.name,
            spent=dollars(committed.spent),
            limit=dollars(limit),
            waiting=f"{(await tx.batch_rows.count_states(lane.id)).get(TaskState.QUEUED, 0):,}",
            more=budgets.suggest_limit(limit) // NANO,
        )
        await raise_attention(tx, f"batch-budget:{lane.id}:{limit}", text, self._policy, now)

    async def _tell(self, tx: Tx, cause: str, state: BudgetState, text: str, now: int) -> None:
        await raise_attention(tx, f"{cause}:{state.kind} {state.period} {state.limit}", text, self._policy, now)


def _waits_for_hand(task: Task, estimate: int | None) -> str:
    """Why a task waits for others that are in hand."""
    if estimate is None:
        return budgets.unpriced_text(task.model or "an unknown model")
    return "what is left of the budget is reserved for the tasks in hand"
