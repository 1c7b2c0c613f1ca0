"""What a batch will cost."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from receiver.cli.batch.estimate import CostEstimate, estimate_cost
from receiver.client.cost_schemas import CostDimension, CostLine, CostsView


def line(name: str, each: str | None, completed: int = 3) -> CostLine:
    return CostLine(name, completed, completed, 0, 0, 0, 0, "1", each, "0", "0")


def costs(*lines: CostLine) -> CostsView:
    return CostsView(CostDimension.MODEL, "2026-09-01", "UTC", [*lines], more=False, total=line("", None), budgets=[])


def test_an_estimate_is_the_sum_over_the_models() -> None:
    known = costs(line("midjourney_outpaint", "0.05"), line("other", "1.255", 1), line("not asked", "9"))
    found = estimate_cost(known, {"midjourney_outpaint": 1_000, "other": 2})
    why = "outpaint $0.05 × 1,000, from 3 earlier tasks; other $1.255 × 2, from 1 earlier task"
    assert found == CostEstimate(Decimal("52.510"), why)


def test_the_settings_price_what_was_never_paid_for() -> None:
    known = replace(
        costs(line("midjourney_outpaint", "0.05"), line("other", None)), prices={"other": "2", "third": "1"}
    )
    found = estimate_cost(known, {"midjourney_outpaint": 1, "other": 2, "third": 3})
    assert found is not None
    assert found.amount == Decimal("7.05")
    assert found.why.endswith("other $2.00 × 2, from [prices]; third $1.00 × 3, from [prices]")


@pytest.mark.parametrize("each", [None, "", "much", "NaN", "Infinity"])
def test_a_model_whose_cost_is_unknown_leaves_the_whole_unknown(each: str | None) -> None:
    known = costs(line("midjourney_outpaint", "0.05"), line("other", each))
    assert estimate_cost(known, {"midjourney_outpaint": 1, "other": 1}) is None
    assert estimate_cost(known, {"midjourney_outpaint": 1, "third": 1}) is None
    assert estimate_cost(known, {}) is None
