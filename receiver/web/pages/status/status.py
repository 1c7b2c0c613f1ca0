"""`/status`: what needs a person, how things stand now, and how the last days went.

Nothing here is looked for among the tasks: the counts of days come from those of hours, costs from the books, and the
rest from a few reads by index.
"""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct
from starlette.responses import Response
from starlette.routing import Route

from receiver.core.budgets import PeriodKind, load_zone
from receiver.core.money import NANO, dollars
from receiver.core.queue_waits import QueueState
from receiver.core.sanitize import format_duration
from receiver.core.schedule import HISTORY_LEAST
from receiver.core.types import OutcomeSource, TaskState
from receiver.providers.models import short_model_name
from receiver.service.wiring import ServiceParts
from receiver.store.tables.hours import HourKind
from receiver.upkeep.day_counts import day_start, last_days, sum_by_day
from receiver.upkeep.need_words import percent
from receiver.upkeep.needs import NeedsFinder
from receiver.web.pages.page import PageFrame, PageRequest
from receiver.web.pages.sentences import format_span
from receiver.web.pages.status.plots import (
    DAYS_MOST,
    MODELS_MOST,
    SettledDay,
    percentile,
    plot_costs,
    plot_durations,
    plot_settled,
    short_number,
)
from receiver.web.pages.times import format_age

_WEEK_MS = 7 * 86_400_000
_LARGE = 10_000 * NANO
_USUAL_LEAST = 3  # results of a model before its usual wait is shown
_NONE = "–"


class Figure(Struct, frozen=True):
    """A number, what it counts, and a line about it."""

    value: str
    what: str
    note: str


class TargetRow(Struct, frozen=True):
    """A target: what was sent to it within the last week, what waits and what was given up, and how long a delivery
    usually takes."""

    name: str
    sent: int
    waiting: int
    given_up: int
    usual: str
    gone: bool = False


class StatusPage:
    """The status page."""

    def __init__(self, frame: PageFrame, needs: NeedsFinder) -> None:
        self._frame = frame
        self._needs = needs

    def routes(self) -> list[Route]:
        """The route to it."""
        return [self._frame.get("/status", self.show)]

    async def show(self, asked: PageRequest) -> Response:
        """The page as things stand."""
        parts = self._frame.parts
        now = parts.clock()
        needs = await self._needs.find(fresh=True)
        today = await parts.budget.today(parts.store.spend, now)
        days = last_days(today, DAYS_MOST)
        settled = await _read_settled(parts, days)
        costs = await parts.store.standing.daily_costs(days)
        durations = await _read_durations(parts)
        figures = [
            *_describe_queue(
                needs.queue,
                dict(await parts.store.tasks.count_by_state()).get(TaskState.QUEUED, 0),
                await parts.store.standing.oldest_queued(),
                now,
            ),
            describe_settled(settled[-1]),
            describe_cost(costs.get(today, 0), await _read_day_budget(parts, now)),
            describe_wait(durations),
        ]
        return await self._frame.render(
            asked,
            "status.html",
            title="Status",
            page="status",
            needs=needs.items,
            figures=figures,
            costs=plot_costs([(day, costs.get(day, 0)) for day in days], dollars, scale_money),
            settled=plot_settled(settled),
            durations=plot_durations(durations, HISTORY_LEAST),
            results=max((len(took) for _, took in durations), default=0),
            results_least=HISTORY_LEAST,
            targets=await _read_targets(parts, [it.target for it in needs.dead], now),
            started_at=parts.policy.started_at,
            zone=parts.budget.rules.zone,
        )


def make_needs_finder(parts: ServiceParts) -> NeedsFinder:
    """Finds what needs a person in this service: one for all pages, since the top of each shows how many."""
    return NeedsFinder(
        parts.store,
        parts.submit.queue,
        parts.policy,
        parts.clock,
        keys=parts.ring.ids,
        folder=parts.files.root,
        zone=parts.budget.rules.zone,
    )


def describe_settled(today: SettledDay) -> Figure:
    """How many of today's tasks were settled by their callbacks."""
    if not today.both:
        return Figure(_NONE, "settled by callback", "nothing was settled today")
    by_sweep = (
        f"{today.by_sweep:,} of {today.both:,} today by sweep" if today.by_sweep else f"all {today.both:,} of today"
    )
    return Figure(percent(today.by_callback, today.both), "settled by callback", by_sweep)


def describe_cost(amount: int, budget: int | None) -> Figure:
    """What today cost so far, in nano-USD, and the budget of a day."""
    note = "no daily budget is set" if budget is None else f"budget {scale_money(budget)} a day"
    return Figure(dollars(amount), "cost today", note)


def describe_wait(durations: Sequence[tuple[str, Sequence[int]]]) -> Figure:
    """How long one usually waits for a result: of the first model of which enough is known."""
    for name, took in durations:
        if len(took) >= _USUAL_LEAST:
            half = format_duration(round(percentile(sorted(took), 0.5)))
            return Figure(half, "usual wait", f"{name}, half of the last {len(took)} were quicker")
    most = max((len(took) for _, took in durations), default=0)
    return Figure(_NONE, "usual wait", f"not enough yet: {most} of {_USUAL_LEAST} results")


def scale_money(amount: int) -> str:
    """An amount in nano-USD as short as it can be: `$24`, `$0.50`, `$12k`."""
    return f"${short_number(amount / NANO)}" if amount >= _LARGE else dollars(amount).removesuffix(".00")


def _describe_queue(queue: QueueState, queued: int, oldest: int | None, now: int) -> list[Figure]:
    taken, places, set_to = queue.scene.taken, queue.scene.places, queue.limit.concurrency
    waits = (
        "nothing waits"
        if oldest is None or not queued
        else f"the oldest for {format_age(oldest, now).removesuffix(' ago')}"
    )
    free = places - taken
    if places < set_to:
        note = f"the provider takes no more; {set_to} are set"
    elif free > 0:
        note = "1 place is free" if free == 1 else f"{free:,} places are free"
    else:
        note = "all places are taken"
    return [Figure(f"{queued:,}", "queued", waits), Figure(f"{taken:,} of {places:,}", "in hand", note)]


async def _read_settled(parts: ServiceParts, days: Sequence[str]) -> list[SettledDay]:
    zone = load_zone(parts.budget.rules.zone)
    counts = sum_by_day(await parts.store.hours.counts_since(HourKind.SETTLED, day_start(days[0], zone)), zone)
    found = []
    for day in days:
        count = counts.get(day, Counter[str]())
        by_callback, by_sweep = count[OutcomeSource.CALLBACK], count[OutcomeSource.POLL]
        found.append(SettledDay(day, by_callback, by_sweep, sum(count.values()) - by_callback - by_sweep))
    return found


async def _read_durations(parts: ServiceParts) -> list[tuple[str, Sequence[int]]]:
    """How long the last tasks of the most used models took."""
    return [
        (
            short_model_name(model),
            [it for it in await parts.store.tasks.recent_durations(model, HISTORY_LEAST) if it >= 0],
        )
        for model in await parts.store.standing.common_models(MODELS_MOST)
    ]


async def _read_day_budget(parts: ServiceParts, now: int) -> int | None:
    states = await parts.budget.states(parts.store.spend, now)
    return next((it.limit for it in states if it.kind is PeriodKind.DAY), None)


async def _read_targets(parts: ServiceParts, with_dead: Sequence[str], now: int) -> list[TargetRow]:
    """The targets of the settings, then those that are gone and have notices left."""
    store, named = parts.store, [it.name for it in parts.policy.targets]
    gone = [name for name in with_dead if name not in named]
    names = [*named, *gone]
    if not names:
        return []
    sent: Counter[str] = Counter()
    for it in await store.hours.counts_since(HourKind.SENT, now - _WEEK_MS):
        sent[it.name] += it.count
    rows = []
    for found in await store.standing.of_targets(names):
        took = await store.standing.send_durations(found.name, HISTORY_LEAST)
        usual = format_span(round(percentile(sorted(took), 0.5))) if took else ""
        gone_now = found.name in gone
        rows.append(TargetRow(found.name, sent[found.name], found.waiting, found.given_up, usual, gone_now))
    return rows
