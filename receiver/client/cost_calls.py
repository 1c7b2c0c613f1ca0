"""The client's calls about money."""

from receiver.client.connection import ApiConnection
from receiver.client.cost_schemas import BudgetRaise, CostsView


class CostCalls(ApiConnection):
    """The calls of `Client` about costs and budgets."""

    def show_costs(self, *, by: str | None = None, since: str | None = None) -> CostsView:
        """What was spent since a day (`7d`, `2026-11-01`), by day, month, model, label or batch."""
        return self._call_api("GET", "costs", CostsView, query={"by": by, "since": since})

    def raise_budget(self, asked: BudgetRaise) -> CostsView:
        """Raise the budget of the present day or month, or of a batch."""
        return self._call_api("PUT", "budget", CostsView, body=asked)
