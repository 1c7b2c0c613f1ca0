"""The books of a restored database: what the previous one has spent since counts against the budgets too.

Of the tasks that are not in the copy no end will be known, so the books call them lost, and presume what they cost.
"""

import sqlite3
from collections.abc import Iterator

from receiver.core.types import FIXED_LANES, LOW_LANE, NORMAL_LANE

_LINE = "day, provider, model, lane, label"
_TASKS = "completed + failed + lost + in_hand"
_AMOUNT = "cost + presumed + reserved"


def carry_spend(copy: sqlite3.Connection, previous: sqlite3.Connection) -> int:
    """Add to the books of `copy` what those of `previous` have more, line by line; how much, in nano-USD.

    A batch that the copy does not know has no budget there, and its number may be given to another one: what it cost
    counts with the single tasks. Raises sqlite3.Error, with nothing changed, if one of them has no books.
    """
    more = list(_find_more(copy, previous))
    models = list(_find_models(copy, previous))
    copy.execute("BEGIN IMMEDIATE")
    try:
        for day, provider, model, lane, label, tasks, amount in more:
            copy.execute(
                f"INSERT INTO spend ({_LINE}, lost, unknown, presumed, completed, failed, in_hand, unpriced, cost,"
                " reserved) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, 0) ON CONFLICT DO UPDATE SET"
                " lost = lost + excluded.lost, unknown = unknown + excluded.unknown,"
                " presumed = presumed + excluded.presumed",
                (day, provider, model, lane, label, tasks, tasks, amount),
            )
            for scope in (day, f"lane {lane}") if lane > LOW_LANE else (day,):
                copy.execute(
                    "INSERT INTO spend_totals (scope, spent, reserved, unpriced) VALUES (?, ?, 0, 0)"
                    " ON CONFLICT DO UPDATE SET spent = spent + excluded.spent",
                    (scope, amount),
                )
        copy.executemany(
            "INSERT OR REPLACE INTO spend_models (model, completed, ended, unknown, cost) VALUES (?, ?, ?, ?, ?)",
            models,
        )
        copy.execute("COMMIT")
    except BaseException:
        copy.execute("ROLLBACK")
        raise
    return sum(amount for *_, amount in more)


def _find_more(
    copy: sqlite3.Connection, previous: sqlite3.Connection
) -> Iterator[tuple[str, str, str, int, str, int, int]]:
    """The lines of which `previous` has more, each with how many tasks more and how much."""
    here = dict(copy.execute("SELECT name, id FROM lanes"))
    lanes = {lane: here.get(name) for lane, name in previous.execute("SELECT id, name FROM lanes")}
    for day, provider, model, lane, label, tasks, amount in previous.execute(
        f"SELECT {_LINE}, {_TASKS}, {_AMOUNT} FROM spend"
    ):
        same = lane if lane in FIXED_LANES.values() else lanes.get(lane)
        known = copy.execute(
            f"SELECT {_TASKS}, {_AMOUNT} FROM spend WHERE ({_LINE}) = (?, ?, ?, ?, ?)",
            (day, provider, model, same, label),
        ).fetchone() or (0, 0)
        more = max(0, tasks - known[0]), max(0, amount - known[1])
        if any(more):
            yield day, provider, model, NORMAL_LANE if same is None else same, label, *more


def _find_models(copy: sqlite3.Connection, previous: sqlite3.Connection) -> Iterator[tuple[str, int, int, int, int]]:
    """The books of the models of which `previous` knows more ends; none if the copy is older than these books."""
    if not copy.execute("SELECT 1 FROM sqlite_schema WHERE name = 'spend_models'").fetchone():
        return
    here = dict(copy.execute("SELECT model, ended FROM spend_models"))
    for row in previous.execute("SELECT model, completed, ended, unknown, cost FROM spend_models"):
        if row[2] > here.get(row[0], 0):
            yield row
