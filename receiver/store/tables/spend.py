"""The books of what was spent, and the periods of the budgets, on one connection."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from receiver.core.budgets import Committed, ModelCosts, PeriodKind
from receiver.core.money import to_nano
from receiver.core.spend import SpendCounts, SpendDeltas, model_changes, total_changes
from receiver.core.types import LOW_LANE, Usage
from receiver.store.tables.connection import TableConnection, Topic, placeholders

LOOKED_MOST = 500  # settled tasks among which the last costs of a model are looked for

_COUNTS = SpendCounts._fields
_ADD_SQL = (
    f"INSERT INTO spend (day, provider, model, lane, label, {', '.join(_COUNTS)})"
    f" VALUES ({placeholders(5 + len(_COUNTS))}) ON CONFLICT (day, provider, model, lane, label)"
    f" DO UPDATE SET {', '.join(f'{name} = spend.{name} + excluded.{name}' for name in _COUNTS)}"
)
_TOTAL_SQL = (
    "INSERT INTO spend_totals (scope, spent, reserved, unpriced) VALUES (?, ?, ?, ?) ON CONFLICT (scope) DO UPDATE SET"
    " spent = spend_totals.spent + excluded.spent, reserved = spend_totals.reserved + excluded.reserved,"
    " unpriced = spend_totals.unpriced + excluded.unpriced"
)
_MODEL_SQL = (
    "INSERT INTO spend_models (model, completed, ended, unknown, cost) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (model) DO UPDATE SET completed = spend_models.completed + excluded.completed,"
    " ended = spend_models.ended + excluded.ended, unknown = spend_models.unknown + excluded.unknown,"
    " cost = spend_models.cost + excluded.cost"
)
_SUMS = ", ".join(f"sum({name})" for name in _COUNTS)
_DIMENSIONS = {"day": "day", "month": "substr(day, 1, 7)", "model": "model", "label": "label", "batch": "lane"}


class BudgetPeriod(Struct, frozen=True):
    """What is kept of one period of a budget. Amounts are nano-USD."""

    kind: PeriodKind
    period: str
    raised_to: int | None = None
    warned_at: int | None = None
    reached_at: int | None = None


class SpendLine(Struct, frozen=True):
    """A sum of the books, and what it is of: a day, a month, a model, a label, or a batch (None: of single tasks)."""

    name: str | None
    counts: SpendCounts


def defer_spend(db: TableConnection, deltas: SpendDeltas) -> None:
    """Write changes of the books with the transaction that brings them about."""
    if deltas:
        db.defer(_ADD_SQL, [(*key, *values) for key, values in sorted(deltas.items())])
    if totals := total_changes(deltas, LOW_LANE):
        db.defer(_TOTAL_SQL, sorted(totals))
    if models := model_changes(deltas):
        db.defer(_MODEL_SQL, sorted(models))


class SpendTable:
    """The tables of the books. What is added to them, `TaskTable` adds with the tasks' own changes."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def recent_costs(self, model: str, limit: int) -> list[int]:
        """The last costs of a model's tasks, newest first; those of ends that nobody could confirm do not count."""
        rows = await self._db.fetch_rows(
            "SELECT settled_at, usage FROM (SELECT settled_at, usage FROM tasks WHERE settled_by = 'callback' AND"
            " confirmed = 1 AND model = ? ORDER BY settled_at DESC LIMIT ?) AS recent WHERE usage IS NOT NULL LIMIT ?",
            (model, LOOKED_MOST, limit),
        )
        rows += await self._db.fetch_rows(
            "SELECT settled_at, usage FROM tasks WHERE settled_by <> 'callback' AND usage IS NOT NULL AND model = ?"
            " AND confirmed = 1 ORDER BY settled_at DESC LIMIT ?",
            (model, limit),
        )
        rows.sort(key=lambda row: row[0] or 0, reverse=True)
        costs = (to_nano(msgspec.json.decode(usage, type=Usage).cost) for _, usage in rows)
        return [cost for cost in costs if cost is not None][:limit]

    async def committed(self, kind: PeriodKind, period: str) -> Committed:
        """What counts against the budget of a day or a month. `unpriced` counts the tasks in hand of any day."""
        last = period if kind is PeriodKind.DAY else f"{period}-99"
        [(spent, reserved)] = await self._db.fetch_rows(
            "SELECT coalesce(sum(spent), 0), coalesce(sum(reserved), 0) FROM spend_totals WHERE scope BETWEEN ? AND ?",
            (period, last),
        )
        [(unpriced,)] = await self._db.fetch_rows(
            "SELECT coalesce(sum(unpriced), 0) FROM spend_totals WHERE scope < 'a'"
        )
        return Committed(spent, reserved, unpriced)

    async def committed_by(self, scopes: Sequence[str]) -> dict[str, Committed]:
        """What counts against the budgets of these batches, by their `lane_scope`; nothing if one is not there."""
        which = self._db.dialect.among("scope", scopes)
        rows = await self._db.fetch_rows(
            f"SELECT scope, spent, reserved, unpriced FROM spend_totals WHERE {which.sql}", which.params
        )
        return {scope: Committed(*amounts) for scope, *amounts in rows}

    async def model_costs(self, model: str) -> ModelCosts:
        """What the books have of a model, of all days."""
        rows = await self._db.fetch_rows(
            "SELECT completed, ended, unknown, cost FROM spend_models WHERE model = ?", (model,)
        )
        return ModelCosts(*rows[0]) if rows else ModelCosts()

    async def last_day(self) -> str | None:
        """The last day on which anything was spent."""
        [(day,)] = await self._db.fetch_rows("SELECT max(scope) FROM spend_totals WHERE scope < 'a'")
        return day  # type: ignore[no-any-return]  # TEXT or NULL by the schema

    async def reserved(self) -> int:
        """What is reserved for all tasks in hand."""
        [(amount,)] = await self._db.fetch_rows("SELECT coalesce(sum(reserved), 0) FROM spend_totals WHERE scope < 'a'")
        return amount  # type: ignore[no-any-return]  # INTEGER by the schema

    async def sum_by(self, dimension: str, since: str, until: str, limit: int) -> list[SpendLine]:
        """The books from the day `since` up to and with `until`, by a dimension: the latest days and months, or what
        cost most."""
        what = _DIMENSIONS[dimension]
        order = "1 DESC" if dimension in ("day", "month") else "sum(cost) DESC, sum(completed + failed) DESC, 1"
        rows = await self._db.fetch_rows(
            f"SELECT {what}, {_SUMS} FROM spend WHERE day BETWEEN ? AND ? GROUP BY 1 ORDER BY {order} LIMIT ?",
            (since, until, limit),
        )
        names: dict[object, str | None] = {}
        if dimension == "batch":
            lanes = [lane for lane, *_ in rows]
            which = self._db.dialect.among("id", lanes)
            found = await self._db.fetch_rows(
                f"SELECT id, name FROM lanes WHERE batch = 1 AND {which.sql}", which.params
            )
            names = dict.fromkeys(lanes) | dict(found)
        lines = [SpendLine(names.get(key, str(key)), SpendCounts(*sums)) for key, *sums in rows]
        singles = [line for line in lines if line.name is None]
        if len(singles) > 1:  # the three lanes of single tasks are one line
            merged = SpendCounts(*map(sum, zip(*(line.counts for line in singles), strict=True)))
            lines = [*(line for line in lines if line.name is not None), SpendLine(None, merged)]
        return lines

    async def sum_all(self, since: str, until: str) -> SpendCounts:
        """All of the books between two days."""
        [sums] = await self._db.fetch_rows(f"SELECT {_SUMS} FROM spend WHERE day BETWEEN ? AND ?", (since, until))
        return SpendCounts(*(it or 0 for it in sums))

    async def get_period(self, kind: PeriodKind, period: str) -> BudgetPeriod:
        """What is kept of a period; nobody else changes that until the end of a transaction that read it."""
        lock = self._db.dialect.lock
        sql = f"SELECT raised_to, warned_at, reached_at FROM budget_periods WHERE kind = ? AND period = ?{lock}"
        rows = await self._db.fetch_rows(sql, (kind.value, period))
        if lock and not rows:  # what is not there cannot be locked
            await self._db.run_statement(
                "INSERT INTO budget_periods (kind, period) VALUES (?, ?) ON CONFLICT (kind, period) DO NOTHING",
                (kind.value, period),
            )
            rows = await self._db.fetch_rows(sql, (kind.value, period))
        return BudgetPeriod(kind, period, *(rows[0] if rows else ()))

    async def put_period(self, period: BudgetPeriod) -> None:
        """Keep what is known of a period, and wake the loop that submits."""
        self._db.defer(
            "INSERT INTO budget_periods (kind, period, raised_to, warned_at, reached_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (kind, period) DO UPDATE SET raised_to = excluded.raised_to, warned_at = excluded.warned_at,"
            " reached_at = excluded.reached_at",
            [(period.kind.value, period.period, period.raised_to, period.warned_at, period.reached_at)],
        )

    def wake_submissions(self) -> None:
        """Let the loop that submits look again once this is committed: there is more to spend."""
        self._db.woken.add(Topic.SUBMIT)


def spend_dimensions() -> Sequence[str]:
    """What the books can be summed by."""
    return tuple(_DIMENSIONS)
