"""Reserves what a task may cost, in the transaction that claims it; or says why it has to wait.

Claims take turns, over all processes, by the lock of the submissions' state: so no two of them can use the same money.
A reservation is a column of the task: whatever dies in between, what is in hand counts. Over the budget goes only what
tasks in hand cost more than was reserved for them.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from receiver.core import budgets
from receiver.core.batches import OPEN_MOST, pause_lane, resume_lane
from receiver.core.budgets import BudgetDay, BudgetRules, BudgetWait, BudgetWaits, Committed, PeriodKind
from receiver.core.clock_check import ClockWatch
from receiver.core.errors import RequestRefused, StaleUpdate
from receiver.core.money import amount_text, dollars, parse_usd
from receiver.core.spend import lane_scope
from receiver.core.types import FIXED_LANES, LOW_LANE, PauseCause, Policy, QueueLane, Task, TaskState
from receiver.notify.attention import raise_attention
from receiver.store import Tx
from receiver.store.tables.spend import BudgetPeriod, SpendTable
from receiver.tasks.batch_names import require_batch
from receiver.tasks.shared_state import SUBMITTING

UsedUp = Mapping[int, int | None]
"""Batches that have used up their own budgets, and what a task of each may cost."""

_NO_PRICE = "Without it a budget cannot hold, so until then no more of its tasks are submitted."
DAY_MS = 86_400_000
_HEADS_MOST = OPEN_MOST + len(FIXED_LANES)
_LANE_USED_UP = (
    "The batch {name} is paused, because {why}. {waiting} of its tasks wait. To let them go, run `{command}`."
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


class _ModelMoney(Struct, frozen=True):
    """What a task of a model may cost, and why none of it fits the budgets of the periods."""

    estimate: int | None
    wait: BudgetWait | None


class _Turn:
    """What one claim has seen so far, and what tasks wait for by that."""

    def __init__(self, waits: BudgetWaits, today: BudgetDay, now: int) -> None:
        self.wait = waits.every
        self.lanes = dict(waits.lanes)
        self.told_unpriced = {model: at for model, at in waits.told_unpriced.items() if abs(now - at) < DAY_MS}
        self.models: dict[str, _ModelMoney] = {}
        self.used_up: dict[int, int | None] = {}
        self.passed: set[int] = set()  # lanes of which others hold what is due
        self.today = today
        self.now = now

    @property
    def waits(self) -> BudgetWaits:
        return BudgetWaits(self.wait, self.lanes, self.told_unpriced)


class BudgetCheck:
    """The budgets of the service."""

    def __init__(self, rules: BudgetRules, policy: Policy, watch: ClockWatch) -> None:
        self.rules = rules
        self._policy = policy
        self._watch = watch

    def wait_at(self, waits: BudgetWaits, now: int) -> BudgetWait | None:
        """Why the last claim had to wait; None if it had not, or if that is over by now. What is over only because the
        clock leapt is not: the next claim says until when."""
        wait = waits.every
        if wait is None or wait.until is None or wait.until > now:
            return wait
        return replace(wait, until=None) if self._watch.hold_left_ms() else None

    async def reserve_next(
        self, tx: Tx, waits: BudgetWaits, now: int
    ) -> tuple[tuple[Task, Task] | None, BudgetWaits, UsedUp]:
        """The next task for which there is money: as it is, and with what its submission may cost and the day to which
        that counts. None if there is no such task. What tasks wait for then; and which batches `pause_used_up` is to
        pause, once the task is written. The submissions' state is locked.

        What one lane waits for holds up no other one: in one turn, the next tasks of all lanes are looked at. Nor does
        a task that somebody else holds. With no budget set, nothing is checked: what is in hand is only known. Raises
        StaleUpdate if others hold all tasks that could go.
        """
        first = await tx.tasks.queue_heads(now, limit=1)
        if not first:
            return None, waits, {}
        turn = _Turn(waits, await self._today(tx.spend, now), now)
        found = await self._lock_first(tx, first, turn)
        if found is None and (turn.wait is None or turn.wait is waits.every):  # no budget of a period holds up all
            found = await self._lock_first(tx, await tx.tasks.queue_heads(now, limit=_HEADS_MOST), turn)
        if found is not None:
            task, money = found
            return (task, replace(task, reserved=money.estimate, spend_day=turn.today.day)), turn.waits, turn.used_up
        if turn.wait is None and turn.passed and not turn.used_up:  # what is to be paused is to be stored
            raise StaleUpdate("the next task is being changed by somebody else")
        return None, turn.waits, turn.used_up

    async def _lock_first(self, tx: Tx, heads: Sequence[Task], turn: _Turn) -> tuple[Task, _ModelMoney] | None:
        """The same, locked. If somebody else holds a task, the next one of its lane is tried, then the other lanes."""
        heads = [it for it in heads if it.lane not in turn.passed]
        while heads and (found := await self._reserve_first(tx, heads, turn)) is not None:
            queued, money = found
            locked = await tx.tasks.lock_due(queued, turn.now)
            if locked is not None and locked.model == queued.model:
                return locked, money
            other = await self._reserve_first(tx, [locked], turn) if locked is not None else None
            if locked is not None and other is not None:
                return locked, other[1]
            if turn.wait is not None:
                return None
            turn.passed.add(queued.lane)
            heads = [it for it in heads if it.lane != queued.lane]
        return None

    async def _reserve_first(self, tx: Tx, heads: Sequence[Task], turn: _Turn) -> tuple[Task, _ModelMoney] | None:
        """The first of these tasks for which there is money, and what it may cost.

        The batches are looked at, not locked: whoever ends tasks locks them after tasks and books, and so would wait
        for us in a circle. The look is a statement after the submissions' state was locked: what was committed before
        it counts, also a pause; one that is committed later holds from the next claim on. A budget changes only under
        that lock.
        """
        lanes = await tx.lanes.look([it.lane for it in heads if it.lane > LOW_LANE])
        scopes = [lane_scope(lane.id) for lane in lanes.values() if lane.budget is not None]
        spent = await tx.spend.committed_by(scopes) if scopes else {}
        waits: dict[int, BudgetWait] = {}
        for task in heads:
            lane = lanes.get(task.lane)
            if lane is not None and _is_stopped(lane):  # just now
                continue
            model = task.model or ""
            if (money := turn.models.get(model)) is None:
                money = turn.models[model] = await self._check_periods(tx, model, turn)
            wait = money.wait
            if wait is not None and not wait.of_lane:
                turn.wait = replace(wait, since=min(wait.since, turn.now if turn.wait is None else turn.wait.since))
                return None
            turn.wait = None
            if wait is None and lane is not None and lane.budget is not None:
                committed = spent.get(lane_scope(lane.id), Committed())
                wait = await self._check_lane(tx, lane, model, money.estimate, committed, turn)
            if wait is None:
                turn.lanes.pop(task.lane, None)
                return task, money
            before = turn.lanes.get(task.lane)
            waits[task.lane] = replace(wait, since=before.since if before is not None else turn.now)
        if len(heads) != 1:  # all that wait are among them
            turn.lanes.clear()
        turn.lanes.update(waits)
        return None

    async def today(self, spend: SpendTable, now: int) -> str:
        """The day to which what is submitted now counts."""
        return (await self._today(spend, now)).day

    async def _today(self, spend: SpendTable, now: int) -> BudgetDay:
        hold_ms = self._watch.hold_left_ms()
        last = await spend.last_day() if hold_ms else None
        leapt = self._watch.check.leap_ms != 0
        return budgets.choose_day(now, budgets.load_zone(self.rules.zone), last, hold_ms, leapt=leapt)

    async def estimate(self, spend: SpendTable, model: str) -> int | None:
        """What a task of this model may cost; None if nobody knows."""
        costs = await spend.recent_costs(model, budgets.HISTORY_MOST)
        price = self.rules.prices.get(model)
        books = await spend.model_costs(model) if price is None and not costs else budgets.NOTHING_KNOWN
        return budgets.estimate_cost(costs, price, books)

    async def usual_cost(self, spend: SpendTable, model: str) -> int | None:
        """What a task of this model costs as a rule: the median of the last ones, else its estimate. For people to
        read: budgets set aside the estimate, which is the highest."""
        costs = sorted(await spend.recent_costs(model, budgets.HISTORY_MOST))
        return costs[len(costs) // 2] if costs else await self.estimate(spend, model)

    async def refuse_oversized(self, spend: SpendTable, model: str) -> None:
        """Refuse a task that is dearer than a whole budget: it would wait for ever. Raises RequestRefused."""
        limits = self.rules.limits
        estimate = await self.estimate(spend, model) if limits else None
        for kind, limit in budgets.oversized(estimate, limits):
            problem = budgets.too_large_text(model, estimate or 0, kind, limit)
            raise RequestRefused(422, "over_budget", problem, "model", remedy=f"set BUDGET_{kind.upper()} higher")

    async def states(self, spend: SpendTable, now: int) -> list[BudgetState]:
        """Every budget as it stands."""
        today = await self._today(spend, now)
        return [await self._state(spend, kind, limit, today, now) for kind, limit in self.rules.limits.items()]

    async def find_shortfalls(self, spend: SpendTable, models: Mapping[str, int], now: int) -> tuple[str, ...]:
        """Which budgets do not cover so many new tasks of each model, in words. It is a warning: the tasks wait."""
        if not self.rules.limits:
            return ()
        costs: list[int] = []
        for model, count in models.items():
            costs += [await self.estimate(spend, model) or 0] * count
        texts = (
            budgets.shortfall_text(it.kind, it.committed, costs, it.limit, self._until_text(it))
            for it in await self.states(spend, now)
        )
        return tuple(text for text in texts if text is not None)

    async def raise_limit(self, tx: Tx, kind: PeriodKind, limit: int, now: int) -> None:
        """Let more be spent in the present period, and only in that; what was raised can be lowered again as far as it
        is not spent. Raises RequestRefused."""
        setting = f"BUDGET_{kind.upper()}"
        if kind not in self.rules.limits:
            raise RequestRefused(
                409, "no_budget", f"there is no budget for a {kind}", "period", remedy=f"set {setting}"
            )
        await self._forget_waits(tx, lambda waits: replace(waits, every=None))
        state = await self._state(tx.spend, kind, self.rules.limits[kind], await self._today(tx.spend, now), now)
        if limit < state.limit:
            _check_lowered(f"this {kind}", limit, state.committed)
            if limit < self.rules.limits[kind]:
                problem = f"the settings give each {kind} {dollars(self.rules.limits[kind])}"
                raise RequestRefused(422, "invalid_parameter", problem, "limit", remedy=f"to lower that, set {setting}")
        warned = now if budgets.is_near(state.committed.amount, limit) else None  # whoever raises it knows
        await tx.spend.put_period(replace(state.kept, raised_to=limit, warned_at=warned, reached_at=None))
        tx.spend.wake_submissions()

    async def raise_lane(self, tx: Tx, name: str, limit: int) -> None:
        """Give a batch this budget; one that is paused because it had used up its own goes on. It can be lowered as far
        as it is not spent.

        Raises RequestRefused.
        """
        await SUBMITTING.lock(tx.paces)  # before the lane's own
        lane = await require_batch(tx, name, field="period", hint="; a period is day or month")
        if lane.budget is None or limit < (parse_usd(lane.budget) or 0):
            scope = lane_scope(lane.id)
            committed = (await tx.spend.committed_by([scope])).get(scope, Committed())
            _check_lowered(f"the batch {name}", limit, committed)
        raised = replace(lane, budget=amount_text(limit))
        if lane.paused_by is PauseCause.BUDGET:
            raised = resume_lane(raised)
        await tx.lanes.update(raised)
        await self._forget_waits(tx, lambda waits: replace(waits, lanes=_without(waits.lanes, lane.id)))

    async def _forget_waits(self, tx: Tx, change: Callable[[BudgetWaits], BudgetWaits]) -> None:
        """Say no more of some tasks that they wait for money; also let nobody claim until this is committed."""
        state = await SUBMITTING.lock(tx.paces)
        if state is not None and (waits := change(state.waits)) != state.waits:
            await SUBMITTING.put_as_it_is(tx.paces, replace(state, waits=waits))

    async def _state(self, spend: SpendTable, kind: PeriodKind, limit: int, today: BudgetDay, now: int) -> BudgetState:
        period = budgets.period_of(kind, today.day)
        kept = await spend.get_period(kind, period)
        until = budgets.counts_until(kind, today, now, budgets.load_zone(self.rules.zone))
        committed = await spend.committed(kind, period)
        raised_to = kept.raised_to or 0
        return BudgetState(kind, period, max(limit, raised_to), until, committed, raised_to > limit, kept)

    async def _check_periods(self, tx: Tx, model: str, turn: _Turn) -> _ModelMoney:
        """What a task of this model may cost, and why it does not fit the budgets. A person is told once a period: when
        one is nearly, and when it is wholly used up."""
        estimate, now = await self.estimate(tx.spend, model), turn.now
        for kind, limit in self.rules.limits.items():
            state = await self._state(tx.spend, kind, limit, turn.today, now)
            if not budgets.may_submit(state.committed, estimate, state.limit):
                return _ModelMoney(estimate, await self._wait_for_period(tx, model, estimate, state, now))
            used = state.committed.amount + (estimate or 0)
            if state.kept.warned_at is None and budgets.is_near(used, state.limit):
                await tx.spend.put_period(replace(state.kept, warned_at=now))
                text = budgets.near_text(kind, used, state.limit, self._until_text(state))
                await self._tell(tx, "budget-near", state, text, now)
        if estimate is None and self.rules.limits:
            return _ModelMoney(None, await self._wait_for_price(tx, model, turn))
        return _ModelMoney(estimate, None)

    async def _wait_for_price(self, tx: Tx, model: str, turn: _Turn) -> BudgetWait | None:
        """Why no more tasks of a model are submitted whose costs the provider does not tell. A person is told
        once a day."""
        if not budgets.needs_price(await tx.spend.model_costs(model)):
            return None
        text, now = budgets.no_price_text(model), turn.now
        if model not in turn.told_unpriced:
            await raise_attention(
                tx, f"no-price:{model}", f"{text[0].upper()}{text[1:]}. {_NO_PRICE}", self._policy, now
            )
            turn.told_unpriced[model] = now
        return BudgetWait(text, now, of_lane=True, needs_price=True)

    async def _wait_for_period(
        self, tx: Tx, model: str, estimate: int | None, state: BudgetState, now: int
    ) -> BudgetWait:
        """Why a task waits that does not fit the budget of a period, which a person is told once it is used up."""
        kind, limit, kept = state.kind, state.limit, state.kept
        if not budgets.is_used_up(state.committed, estimate, limit):
            return _wait_for_hand(model, estimate, state.committed, limit, now)
        oversized = None
        if estimate is not None and estimate > limit:
            oversized = budgets.oversized_text(model, estimate, kind, limit)
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

    async def _check_lane(
        self, tx: Tx, lane: QueueLane, model: str, estimate: int | None, committed: Committed, turn: _Turn
    ) -> BudgetWait | None:
        """Why a task does not fit its batch's own budget; once that is used up, the batch is to be paused."""
        limit = parse_usd(lane.budget or "") or 0
        if budgets.may_submit(committed, estimate, limit):
            return await self._wait_for_price(tx, model, turn) if estimate is None else None
        if not budgets.is_used_up(committed, estimate, limit):
            return replace(_wait_for_hand(model, estimate, committed, limit, turn.now), of_lane=True)
        turn.used_up[lane.id] = estimate
        return BudgetWait("the batch's budget is used up", turn.now, of_lane=True)

    async def pause_used_up(self, tx: Tx, used_up: UsedUp, now: int) -> None:
        """Pause the batches that have used up their own budgets, after all that this transaction writes of tasks and
        books. What ended since they were looked at may have left some money, or paused or finished them: so they are
        locked, read and judged again; those that have money are looked at again."""
        if not used_up:
            return
        lanes = await tx.lanes.get(sorted(used_up))
        spent = await tx.spend.committed_by([lane_scope(it) for it in lanes])
        for lane in lanes.values():
            if lane.budget is None or _is_stopped(lane):
                continue
            committed, estimate = spent.get(lane_scope(lane.id), Committed()), used_up[lane.id]
            if budgets.is_used_up(committed, estimate, parse_usd(lane.budget) or 0):
                await self._pause_lane(tx, lane, estimate, committed, now)
            else:
                tx.spend.wake_submissions()

    async def _pause_lane(self, tx: Tx, lane: QueueLane, estimate: int | None, committed: Committed, now: int) -> None:
        limit = parse_usd(lane.budget or "") or 0
        waiting = (await tx.batch_rows.count_states(lane.id)).get(TaskState.QUEUED, 0)
        enough = budgets.enough_for(committed, waiting, estimate, limit)
        why = budgets.lane_used_up_text(committed, estimate, limit)
        await tx.lanes.update(pause_lane(lane, PauseCause.BUDGET, now, f"{why}; {dollars(enough)} is enough"))
        text = _LANE_USED_UP.format(
            name=lane.name,
            why=why,
            waiting=f"{waiting:,}",
            command=f"receiver costs raise {shlex.quote(lane.name)} {budgets.limit_text(enough)}",
        )
        await raise_attention(tx, f"batch-budget:{lane.id}:{limit}", text, self._policy, now)

    async def _tell(self, tx: Tx, cause: str, state: BudgetState, text: str, now: int) -> None:
        await raise_attention(tx, f"{cause}:{state.kind} {state.period} {state.limit}", text, self._policy, now)


def _without(lanes: Mapping[int, BudgetWait], lane: int) -> dict[int, BudgetWait]:
    return {it: wait for it, wait in lanes.items() if it != lane}


def _is_stopped(lane: QueueLane) -> bool:
    return lane.paused_at is not None or lane.finished_at is not None


def _check_lowered(whose: str, limit: int, committed: Committed) -> None:
    """Raises RequestRefused if more than `limit` is gone already."""
    if limit < committed.amount:
        problem = f"{dollars(committed.amount)} of the budget of {whose} is spent or reserved already"
        remedy = f"{budgets.limit_text(committed.amount)} or more is possible"
        raise RequestRefused(422, "invalid_parameter", problem, "limit", remedy=remedy)


def _wait_for_hand(model: str, estimate: int | None, committed: Committed, limit: int, now: int) -> BudgetWait:
    """Why a task waits for others that are in hand: alone with its lane if it waits for what one of them costs."""
    if estimate is None and committed.amount < limit:
        return BudgetWait(budgets.unpriced_text(model or "an unknown model"), now, of_lane=True)
    return BudgetWait("what is left of the budget is reserved for the tasks in hand", now)
