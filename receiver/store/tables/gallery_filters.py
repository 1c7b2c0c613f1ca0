"""The gallery's filters: for each the indexes that have its rows by ref, and the condition for a row that was found
otherwise. A `+` keeps SQLite from following a column's index."""

from collections.abc import Sequence

from msgspec import Struct

# of single tasks, as the partial index says it
UNDER_WAY = "lane <= 3 AND state NOT IN ('completed', 'failed', 'lost', 'cancelled')"
SHOWN = ("all", "underway", "needs", "failed", "completed")

_STATES = {
    "underway": ("queued", "submitting", "waiting"),
    "failed": ("failed", "lost"),
    "completed": ("completed",),
}
_UNSURE = "+tasks.unsure = 1 AND +tasks.state = 'waiting' AND +tasks.origin = 'submitted'"


class Walk(Struct, frozen=True):
    """A condition whose rows one index has, in the order of refs; or that is checked row by row."""

    sql: str
    params: Sequence[object] = ()


class Filter(Struct, frozen=True):
    """Its rows are those of the `walks` together; if it is not exact, of these only those that pass its `check`."""

    walks: Sequence[Walk]
    check: Walk
    is_exact: bool = True


def is_shown(show: str) -> bool:
    """Whether there is a filter of this name."""
    return show in SHOWN


def filters_for(show: str, model: str | None, label: str | None, now: int, *, alone: bool) -> list[Filter]:
    """The filters that are asked for. `alone`: there are no words, so that there has to be one."""
    alone = alone and model is None and label is None
    by_show = [] if show == "all" and not alone else [_filter_for(show, now, alone=alone)]
    found = list(by_show)
    if label is not None:
        found.append(Filter([Walk("label = ?", (label,))], Walk("+tasks.label = ?", (label,))))
    if model is not None:
        found.append(Filter([Walk("model = ?", (model,))], Walk("+tasks.model = ?", (model,))))
    return found


def _filter_for(show: str, now: int, *, alone: bool) -> Filter:
    if show == "needs":
        return _needs_person(now)
    if alone and show in ("all", "underway"):
        sql = UNDER_WAY if show == "underway" else "lane <= 3"
        return Filter([Walk(sql)], Walk(sql))
    states = _STATES[show]
    among = ", ".join(f"'{it}'" for it in states)
    return Filter([Walk(f"state = '{it}'") for it in states], Walk(f"+tasks.state IN ({among})"))


def _needs_person(now: int) -> Filter:
    """Tasks that wait for a person: held until one says what becomes of them or picks a picture; or unsure for so long
    that the provider is not at them any more. An adopted one cannot be sent again from here."""
    over = "(tasks.place_until IS NULL OR +tasks.place_until <= ?)"
    return Filter(
        [Walk("held_by = 'person'"), Walk("held_by = 'pick'"), Walk("unsure = 1")],
        Walk(f"(+tasks.held_by IN ('person', 'pick') OR ({_UNSURE} AND {over}))", (now,)),
        is_exact=False,
    )
