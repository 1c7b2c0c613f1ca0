"""What tasks will cost, by what tasks of their models cost before; and the question whether that is wanted."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from msgspec import Struct

from receiver.cli.batch.patience import Patience
from receiver.cli.batch.question import ask_person
from receiver.cli.output import pluralize
from receiver.cli.streams import note
from receiver.client.client import Client
from receiver.client.cost_schemas import CostDimension, CostsView
from receiver.core.errors import ApiError
from receiver.core.money import format_estimate, format_usd, is_plausible_cost
from receiver.providers.models import short_model_name

_SINCE = "90d"  # older costs may be of other prices


class CostEstimate(Struct, frozen=True):
    """About how much, and in words how that is known."""

    amount: Decimal
    why: str


class CostQuestion(Struct, frozen=True):
    """What the options say of the costs: above the `limit` a person is asked, unless that is answered already (`yes`);
    `budget` is that of a new batch. `reads_input`: standard input is the file, so nobody can answer."""

    limit: Decimal
    yes: bool = False
    dry_run: bool = False
    budget: Decimal | None = None
    reads_input: bool = False


def estimate_cost(costs: CostsView, counts: Mapping[str, int]) -> CostEstimate | None:
    """What so many tasks of each model will cost; None if that is not known of one of them. Pure."""
    amount, parts = Decimal(0), []
    for model, count in sorted(counts.items()):
        found = _find_price(costs, model)
        if found is None:
            return None
        each, why = found
        amount += each * count
        parts.append(f"{short_model_name(model)} {format_usd(each)} × {count:,}, {why}")
    return CostEstimate(amount, "; ".join(parts)) if parts and is_plausible_cost(amount) else None


def _find_price(costs: CostsView, model: str) -> tuple[Decimal, str] | None:
    """What a task costs, and how that is known: from tasks of the model, or else from the settings of the service."""
    line = next((it for it in costs.lines if it.name == model), None)
    if line is not None and (each := _parse_cost(line.each)) is not None:
        return each, f"from {pluralize(line.completed, 'earlier task')}"
    each = _parse_cost(costs.prices.get(model))
    return None if each is None else (each, "from [prices]")


def _parse_cost(text: str | None) -> Decimal | None:
    try:
        each = None if text is None else Decimal(text)
    except InvalidOperation:  # it comes from a server
        return None
    return each if each is not None and is_plausible_cost(each) else None


def read_costs(client: Client) -> CostsView | None:
    """What tasks of each model cost before, if the service can tell."""
    try:
        return Patience(met=True).ask(lambda: client.show_costs(by=CostDimension.MODEL.value, since=_SINCE))
    except ApiError as error:
        if error.status == 404:  # of an older service
            return None
        raise


def ask_about_cost(client: Client, counts: Mapping[str, int], question: CostQuestion) -> str | None:
    """Say what so many new tasks of each model will cost, and ask if that is much. Why they may not be sent, if so."""
    costs = read_costs(client) if counts else None
    estimate = None if costs is None else estimate_cost(costs, counts)
    if estimate is None:
        if costs is not None or question.dry_run:
            _say_unknown(costs, counts)
        return None
    tasks = sum(counts.values())
    note(f"receiver: {pluralize(tasks, 'task')}, about {format_estimate(estimate.amount)} ({estimate.why})")
    if question.budget is not None and question.budget < estimate.amount:
        enough = int(question.budget * tasks / estimate.amount)
        how = f"is enough for about {enough:,} of them" if enough else "is less than the first of them may cost"
        note(f"receiver: a budget of {format_usd(question.budget)} {how}; then the batch pauses")
    return None if question.yes or question.dry_run else _why_not_confirmed(estimate, question)


def _say_unknown(costs: CostsView | None, counts: Mapping[str, int]) -> None:
    unknown = [short_model_name(it) for it in sorted(counts) if costs is None or _find_price(costs, it) is None]
    if unknown:
        named = f"{', '.join(unknown[:-1])} and {unknown[-1]}" if len(unknown) > 1 else unknown[0]
        note(f"receiver: what it will cost is not known: no task of {named} has told yet, and [prices] has no price")


def _why_not_confirmed(estimate: CostEstimate, question: CostQuestion) -> str | None:
    if estimate.amount <= question.limit:
        return None
    if (answer := ask_person("Submit them?", reads_input=question.reads_input)) is not None:
        return None if answer else "nothing was sent"
    more = f"that is more than {format_usd(question.limit)}"
    return f"{more}: say --yes if you want it, or --confirm-over with a higher amount; nothing was sent"
