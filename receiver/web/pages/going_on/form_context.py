"""What a form says beside its fields: what a task of its model may cost and how long it may take, and whether it will
have to wait for a budget."""

from datetime import UTC, datetime

from receiver.core.budgets import PeriodKind, is_used_up, limit_text
from receiver.core.money import format_estimate, to_decimal
from receiver.core.sanitize import format_duration
from receiver.service.wiring import ServiceParts
from receiver.tasks.budget_check import BudgetState
from receiver.web.pages.going_on.go_on import FormContext
from receiver.web.pages.usual import usual_duration


async def read_context(parts: ServiceParts, model: str | None) -> FormContext:
    """What is known of a model now."""
    targets = tuple(it.name for it in parts.policy.targets)
    if model is None:
        return FormContext(targets)
    estimate = await parts.budget.estimate(parts.store.spend, model)
    usual = await parts.budget.usual_cost(parts.store.spend, model)
    span = await usual_duration(parts.store, model)
    words = []
    if usual is not None:
        words.append(f"about {format_estimate(to_decimal(usual))}")
    if span is not None:
        words.append(f"some {format_duration(span)}")
    states = await parts.budget.states(parts.store.spend, parts.clock()) if parts.budget.rules.limits else []
    zone = parts.budget.rules.zone
    used_up = [describe_budget(it, zone) for it in states if is_used_up(it.committed, estimate, it.limit)]
    return FormContext(targets, ", ".join(words), tuple(used_up))


def describe_budget(state: BudgetState, zone: str) -> str:
    """Why a new task waits whose budget is used up, and until when."""
    until = f"midnight ({zone})"
    if state.kind is PeriodKind.MONTH:
        first = datetime.fromtimestamp(state.until / 1000 + 43_200, UTC)  # noon of the day, whatever the zone
        until = f"{first.day} {first:%B} ({zone})"
    return f"The budget of ${limit_text(state.limit)} a {state.kind} is used up: it will wait until {until}."
