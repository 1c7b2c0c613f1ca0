"""The types of our HTTP API that are about money: USD as text. Days are dates in the budgets' time zone."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from receiver.client.batch_schemas import Cost
from receiver.client.schemas import Count, ShortText, Time
from receiver.core.budgets import PeriodKind


class CostDimension(StrEnum):
    """What costs can be summed by."""

    DAY = "day"
    MONTH = "month"
    MODEL = "model"
    LABEL = "label"
    BATCH = "batch"


class CostLine(Struct, frozen=True):
    """A sum: of the day, month, model, label or batch `name`; null is what has none, and the total.

    `tasks` were submitted; of those that ended, or are lost, `unknown` many did not say what they cost, and `presumed`
    is what they are taken to have cost. `each` is the cost of a completed task on average. `reserved` is what the tasks
    in hand are expected to cost.
    """

    name: str | None
    tasks: Count
    completed: Count
    failed: Count
    lost: Count
    unknown: Count
    in_hand: Count
    cost: Cost
    each: Cost | None
    presumed: Cost
    reserved: Cost


class BudgetView(Struct, frozen=True):
    """A budget: that of the `period` of that name, until `ends_at`. `raised` says that a person raised its limit for
    this period. `spent` includes what is presumed; with `reserved` it is what counts."""

    period: Annotated[str, Meta(extra_json_schema={"enum": list(PeriodKind)})]
    name: str
    limit: Cost
    raised: bool
    spent: Cost
    reserved: Cost
    ends_at: Time


class CostsView(Struct, frozen=True):
    """What was spent from the day `since` on, in days of `zone`: the latest days or months first, else what cost most.
    `more` says that there are further lines; `total` includes them. `prices` are those of the settings, by model: what
    a task is taken to cost as long as none of its model has told."""

    by: CostDimension
    since: str
    zone: str
    lines: list[CostLine]
    more: bool
    total: CostLine
    budgets: list[BudgetView]
    prices: dict[str, Cost] = {}


class BudgetRaise(Struct, frozen=True, forbid_unknown_fields=True):
    """The limit to use for the rest of the present `day` or `month`, or for the batch of that name."""

    period: ShortText
    limit: Annotated[str, Meta(extra_json_schema={"pattern": r"^(?=.*[1-9])[0-9]{1,6}(\.[0-9]{1,9})?$"})]
