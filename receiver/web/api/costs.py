"""The calls about money: what was spent, and to raise a budget."""

from datetime import date, timedelta

from receiver.client.cost_schemas import BudgetRaise, BudgetView, CostDimension, CostLine, CostsView
from receiver.client.views import rfc3339
from receiver.core.budgets import PeriodKind
from receiver.core.errors import RequestRefused
from receiver.core.money import NANO, amount_text, parse_usd
from receiver.core.spend import SpendCounts
from receiver.service.wiring import ServiceParts
from receiver.store.insist import decide_again
from receiver.tasks.budget_check import BudgetState
from receiver.web.api.requests import CostFilter

LINES_MOST = 500
SINCE_DAYS, SINCE_DAYS_BY_MONTH = 30, 366
_PERIODS = {PeriodKind.DAY.value: CostDimension.DAY, PeriodKind.MONTH.value: CostDimension.MONTH}
_ALWAYS = "9999-12-31"  # days to come are there once the clock was ahead


async def show_costs(parts: ServiceParts, asked: CostFilter) -> CostsView:
    """What was spent, summed."""
    spend, now = parts.store.spend, parts.clock()
    today = date.fromisoformat(await parts.budget.today(spend, now))
    since = first_day(asked.since, today, by_month=asked.by is CostDimension.MONTH)
    found = await spend.sum_by(asked.by.value, since, _ALWAYS, LINES_MOST + 1)
    return CostsView(
        by=asked.by,
        since=since,
        zone=parts.budget.rules.zone,
        lines=[cost_line(line.name or None, line.counts) for line in found[:LINES_MOST]],
        more=len(found) > LINES_MOST,
        total=cost_line(None, await spend.sum_all(since, _ALWAYS)),
        budgets=[budget_view(state) for state in await parts.budget.states(spend, now)],
        prices={model: amount_text(price) for model, price in parts.budget.rules.prices.items()},
    )


async def raise_budget(parts: ServiceParts, asked: BudgetRaise) -> CostsView:
    """Let more be spent in the present period, or for a batch. Raises RequestRefused."""
    limit = parse_usd(asked.limit)
    if limit is None:
        problem = f"{asked.limit[:80]!r} is not an amount in USD"
        raise RequestRefused(422, "invalid_parameter", problem, "limit", remedy="write it like 30 or 12.50")
    await _raise_limit(parts, asked.period, limit)
    return await show_costs(parts, CostFilter(by=_PERIODS.get(asked.period, CostDimension.BATCH)))


@decide_again
async def _raise_limit(parts: ServiceParts, period: str, limit: int) -> None:
    async with parts.store.write() as tx:
        if period in _PERIODS:
            await parts.budget.raise_limit(tx, PeriodKind(period), limit, parts.clock())
        else:
            await parts.budget.raise_lane(tx, period, limit)


def first_day(since: str | None, today: date, *, by_month: bool) -> str:
    """The first day that counts, from a date or a number of days."""
    if since is not None and not since.endswith("d"):
        return since  # also 31 February: it is only compared
    days = int(since.removesuffix("d")) if since is not None else SINCE_DAYS_BY_MONTH if by_month else SINCE_DAYS
    try:
        return (today - timedelta(days=max(days, 1) - 1)).isoformat()
    except OverflowError:
        return date.min.isoformat()


def cost_line(name: str | None, counts: SpendCounts) -> CostLine:
    """A sum of the books as the API says it. No count is below zero, whatever a restored database holds."""
    counts = SpendCounts(*(max(0, it) for it in counts))
    return CostLine(
        name=name,
        tasks=counts.completed + counts.failed + counts.lost + counts.in_hand,
        completed=counts.completed,
        failed=counts.failed,
        lost=counts.lost,
        unknown=counts.unknown,
        in_hand=counts.in_hand,
        cost=amount_text(counts.cost),
        each=amount_text(_round_to(counts.cost // counts.priced, NANO // 10_000)) if counts.priced else None,
        presumed=amount_text(counts.presumed),
        reserved=amount_text(counts.reserved),
    )


def budget_view(state: BudgetState) -> BudgetView:
    """A budget as the API says it."""
    return BudgetView(
        period=state.kind.value,
        name=state.period,
        limit=amount_text(state.limit),
        raised=state.raised,
        spent=amount_text(max(0, state.committed.spent)),
        reserved=amount_text(max(0, state.committed.reserved)),
        ends_at=rfc3339(state.until),
    )


def _round_to(amount: int, step: int) -> int:
    return (amount + step // 2) // step * step
