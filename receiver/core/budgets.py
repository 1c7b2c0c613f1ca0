"""Budgets: what may be spent in a day and in a month, whether one more task fits, and what a task may cost. Pure.

Amounts are nano-USD. A task counts in the day on which it is submitted, in the budget's time zone; that day is kept as
a date, so a later change of the zone moves nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum

from msgspec import Struct

from receiver.core.clock_check import HOLD_MS
from receiver.core.money import NANO, amount_text, dollars

HISTORY_MOST = 20  # costs of a model that its estimate follows
WARN_SHARE = 80  # percent of a budget at which a person is told
SETTLING_MS = 60_000  # how long a machine must run before a new period begins
COSTLESS_MOST = 3  # failures of a model without a known cost, while no other cost of it is known


class PeriodKind(StrEnum):
    """The kinds of period that have a budget."""

    DAY = "day"
    MONTH = "month"


class Budget(Struct, frozen=True):
    """The most to spend in a day or a month, by the clocks of `zone` (an IANA name)."""

    limit: int
    zone: str | None = None

    def __str__(self) -> str:
        return f"{amount_text(self.limit)}{f' {self.zone}' if self.zone else ''}"


class BudgetRules(Struct, frozen=True):
    """The budgets of the settings, and the prices to assume of models that were never paid for."""

    day: Budget | None = None
    month: Budget | None = None
    prices: Mapping[str, int] = {}

    @property
    def zone(self) -> str:
        """The time zone of all periods. Settings refuse two that differ."""
        named = (it.zone for it in (self.day, self.month) if it is not None and it.zone)
        return next(named, "UTC")

    @property
    def limits(self) -> dict[PeriodKind, int]:
        """The limit of each kind of period that has one."""
        given = {PeriodKind.DAY: self.day, PeriodKind.MONTH: self.month}
        return {kind: it.limit for kind, it in given.items() if it is not None}


class BudgetWait(Struct, frozen=True):
    """Why no task is submitted, or the next one `of_lane` is not, which holds up that lane only: since when, and until
    when at least (None: until something else changes). `needs_price`: nothing but a price in the settings helps."""

    text: str
    since: int
    until: int | None = None
    of_lane: bool = False
    needs_price: bool = False


class BudgetWaits(Struct, frozen=True):
    """What the last claims had to wait for: `every` task, and the next ones of some lanes alone. `told_unpriced`: when
    a person was told of a model that it has no price."""

    every: BudgetWait | None = None
    lanes: Mapping[int, BudgetWait] = {}
    told_unpriced: Mapping[str, int] = {}


class Committed(Struct, frozen=True):
    """What is spent and what is reserved in a period, and how many tasks in hand have no reservation."""

    spent: int = 0
    reserved: int = 0
    unpriced: int = 0

    @property
    def amount(self) -> int:
        """What counts against a budget."""
        return self.spent + self.reserved


class ModelCosts(Struct, frozen=True):
    """What the books have of a model: how many of its tasks `ended` (or are lost), how many of these completed, how
    many did not say what they cost, and what the others cost together."""

    completed: int = 0
    ended: int = 0
    unknown: int = 0
    cost: int = 0


NOTHING_KNOWN = ModelCosts()


class BudgetDay(Struct, frozen=True):
    """The `day` to which a task counts that is submitted now. While the clock is not trusted yet, it is the last day on
    which anything was spent, until `held_until` at most."""

    day: str
    held_until: int | None = None


def load_zone(name: str) -> tzinfo:
    """The zone of an IANA name."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # only where one is named

    return ZoneInfo(name)


def local_day(now: int, zone: tzinfo) -> str:
    """The date that calendars in `zone` show at `now`."""
    return datetime.fromtimestamp(now / 1000, zone).date().isoformat()


def choose_day(now: int, zone: tzinfo, last_day: str | None, hold_left_ms: int, *, leapt: bool = False) -> BudgetDay:
    """The day to which a task counts that is submitted at `now`.

    While it is not known whether the clock is right, it is the last day on which anything was spent: a wrong clock must
    not bring a new budget. `hold_left_ms` is that of the clock's check. It is waited for in full if the clock `leapt`;
    a machine that was only started waits for a minute.
    """
    left_ms = hold_left_ms - (0 if leapt else HOLD_MS - SETTLING_MS)
    if last_day is not None and left_ms > 0:
        return BudgetDay(last_day, now + left_ms)
    return BudgetDay(local_day(now, zone))


def period_of(kind: PeriodKind, day: str) -> str:
    """The period of that kind to which a day belongs: `2026-11-30`, or `2026-11`."""
    return day if kind is PeriodKind.DAY else day[:7]


def period_end(kind: PeriodKind, day: str, zone: tzinfo) -> int:
    """When the period of that kind, to which `day` belongs, ends: the next midnight in `zone`, or that of a month."""
    current = date.fromisoformat(day)
    if kind is PeriodKind.DAY:
        after = current + timedelta(days=1)
    else:
        after = (current.replace(day=1) + timedelta(days=32)).replace(day=1)
    return round(datetime(after.year, after.month, after.day, tzinfo=zone).timestamp() * 1000)


def counts_until(kind: PeriodKind, today: BudgetDay, now: int, zone: tzinfo) -> int:
    """When tasks no longer count to the period that `today` is in."""
    if today.held_until is not None and period_of(kind, today.day) != period_of(kind, local_day(now, zone)):
        return today.held_until
    return period_end(kind, today.day, zone)


def estimate_cost(costs: Sequence[int], price: int | None, books: ModelCosts = NOTHING_KNOWN) -> int | None:
    """What a task may cost: the highest of its model's last costs, else the `price` of the settings, else what the
    books say of it on average, else unknown."""
    if price is None and not costs and books.cost > 0:
        return -(-books.cost // max(1, min(books.completed, books.ended - books.unknown)))
    return max(costs[:HISTORY_MOST], default=price)


def needs_price(costs: ModelCosts) -> bool:
    """Whether so many tasks of a model ended without a known cost that no budget can hold: one that completed, or some
    that failed. It is asked only of a model of which no cost is known."""
    return costs.unknown > costs.ended - costs.completed or costs.unknown >= COSTLESS_MOST


def may_submit(committed: Committed, estimate: int | None, limit: int) -> bool:
    """Whether one more task fits a budget. One whose cost nobody can estimate fits only if there is no other such task
    in hand: its own cost is what the next one is judged by."""
    if estimate is None:
        return committed.amount < limit and not committed.unpriced
    return committed.amount + estimate <= limit


def is_used_up(committed: Committed, estimate: int | None, limit: int) -> bool:
    """Whether the next task would not fit even if all that is in hand cost nothing: waiting for that cannot help."""
    return committed.spent + (estimate or 0) > limit or committed.spent >= limit


def is_near(amount: int, limit: int) -> bool:
    """Whether so much of a budget is used that a person should know."""
    return amount * 100 >= limit * WARN_SHARE


def suggest_limit(limit: int) -> int:
    """A higher limit to name in a text: half as much again, in whole dollars."""
    return -(-limit * 3 // (2 * NANO)) * NANO


def enough_for(committed: Committed, waiting: int, estimate: int | None, limit: int) -> int:
    """The budget with which so many `waiting` tasks can go, too; in whole cents."""
    if estimate is None:
        return suggest_limit(limit)
    cent = NANO // 100
    return -(-(committed.amount + max(1, waiting) * estimate) // cent) * cent


def limit_text(limit: int) -> str:
    """An amount as a command takes it: `2`, `0.20`; never less than it is."""
    cents = -(-limit * 100 // NANO)
    return f"{cents // 100}" if cents % 100 == 0 else f"{cents / 100:.2f}"


def lane_used_up_text(committed: Committed, estimate: int | None, limit: int) -> str:
    """Why a batch is paused that has used up its own budget."""
    if estimate is not None and estimate > limit:
        return f"its budget is {dollars(limit)}, and a task costs about {dollars(estimate)}"
    return f"its budget of {dollars(limit)} is used up: {dollars(committed.spent)} is spent"


def until_text(kind: PeriodKind, until: int, zone: str) -> str:
    """When a period ends, for people: `00:00 Europe/Berlin`, `1 Dec, 00:00 Europe/Berlin`."""
    at = datetime.fromtimestamp(until / 1000, load_zone(zone))
    return f"{f'{at.day} {at:%b}, ' if kind is PeriodKind.MONTH else ''}{at:%H:%M} {zone}"


def count_covered(left: int, costs: Sequence[int]) -> int:
    """How many tasks of these estimated costs what is left of a budget covers, in their order."""
    covered = 0
    for cost in costs:
        left -= cost
        if left < 0:
            break
        covered += 1
    return covered


def shortfall_text(kind: PeriodKind, committed: Committed, costs: Sequence[int], limit: int, until: str) -> str | None:
    """What whoever submits tasks of these estimated costs should know at once: which of them the budget does not cover
    as it stands. None if it covers all."""
    left = max(0, limit - committed.amount)
    covered, count = count_covered(left, costs), len(costs)
    if covered == count:
        return None
    some = f"about {covered:,} of {count:,} tasks go" if covered else f"none of {count:,} tasks goes"
    goes = some if count > 1 else "the task does not go"
    enough = -(-(committed.amount + sum(costs)) // NANO)
    return (
        f"the budget of this {kind} has {dollars(left)} left: {goes} before {until}; `receiver costs raise {kind} "
        f"{enough}` lets {'all' if count > 1 else 'it'} go"
    )


def reached_text(kind: PeriodKind, amount: int, limit: int, waiting: int, until: str) -> str:
    """What a person is told when a budget is used up."""
    wait = f"{waiting:,} tasks wait" if waiting != 1 else "1 task waits"
    return (
        f"The budget of this {kind} is used up: {dollars(amount)} of {dollars(limit)} spent or reserved; {wait} until "
        f"{until}. To spend more, run `receiver costs raise {kind} {suggest_limit(limit) // NANO}`."
    )


def used_up_text(kind: PeriodKind, limit: int) -> str:
    """Why a task waits when a budget is used up."""
    more = f"`receiver costs raise {kind} {suggest_limit(limit) // NANO}`"
    return f"the {dollars(limit)} of this {kind} are used up: {more} lets it go on"


def oversized_text(model: str, estimate: int, kind: PeriodKind, limit: int) -> str:
    """Why a task waits that may be dearer than the whole budget; a new period does not help it."""
    return (
        f"{too_large_text(model, estimate, kind, limit)}: set BUDGET_{kind.upper()} higher, or run `receiver costs "
        f"raise {kind} {-(-estimate // NANO)}` for this {kind}"
    )


def near_text(kind: PeriodKind, amount: int, limit: int, until: str) -> str:
    """What a person is told when most of a budget is used."""
    return (
        f"{dollars(amount)} of this {kind}'s budget of {dollars(limit)} is spent or reserved. At the limit, tasks wait "
        f"until {until}. To raise it, run `receiver costs raise {kind} {suggest_limit(limit) // NANO}`."
    )


def unpriced_text(model: str) -> str:
    """Why a task waits whose cost cannot be estimated."""
    return f"no cost of {model} is known yet, so one is submitted at a time, unless [prices] in receiver.toml has it"


def no_price_text(model: str) -> str:
    """Why a task waits whose model has no cost that anybody knows."""
    return (
        f"the provider does not say what {model} costs: set its price under [prices] in receiver.toml, and restart the "
        "service"
    )


def too_large_text(model: str, estimate: int, kind: PeriodKind, limit: int) -> str:
    """Why a task cannot be accepted that is dearer than a whole budget."""
    whole = f"the whole budget of a {kind} ({dollars(limit)})"
    return f"a task of {model} costs about {dollars(estimate)}, which is more than {whole}"


def oversized(estimate: int | None, limits: Mapping[PeriodKind, int]) -> Iterable[tuple[PeriodKind, int]]:
    """The budgets that a single task would exceed alone."""
    return [(kind, limit) for kind, limit in limits.items() if estimate is not None and estimate > limit]
