"""What the tables need from a database: three ways to run SQL, and notes of what the transaction touched.

The SQL of the tables is written once, in the subset that SQLite and PostgreSQL share, with `?` for parameters; a
backend translates where it must.
"""

from collections.abc import Sequence
from enum import StrEnum
from operator import attrgetter
from typing import Any, Protocol

Row = Sequence[Any]

enum_text = attrgetter("_value_")
"""The text of a member of a `StrEnum`, as the tables store it; `.value` takes ten times as long."""


class Topic(StrEnum):
    """The loops that can be woken."""

    SUBMIT = "submit"
    FOLLOW = "follow"
    SWEEP = "sweep"
    NOTIFY = "notify"
    ARCHIVE = "archive"
    PRUNE = "prune"


class TableConnection(Protocol):
    """One connection of a backend; a writing one is inside a transaction."""

    touched: set[str]
    """Refs of the tasks that this transaction changed; listeners get them after the commit."""
    woken: set[Topic]
    """Loops to wake once this transaction is committed."""

    async def fetch_rows(self, sql: str, params: Row = ()) -> list[Any]:
        """All rows of a query, as tuples; deferred statements run first."""

    async def run_statement(self, sql: str, params: Row = ()) -> int:
        """Run one statement, after the deferred ones; returns the number of rows it changed."""

    def defer(self, sql: str, rows: Sequence[Row], *, expect: int | None = None) -> None:
        """Defer a statement: it runs for each of `rows` together with the next read or the commit.

        That read or commit raises StaleUpdate if the total of changed rows is not `expect`.
        """


def placeholders(count: int) -> str:
    """`?, ?, ?` for `count` parameters."""
    return ", ".join("?" * count)


def where_clause(table: str, by: Sequence[tuple[str, object]], before: tuple[str, object]) -> tuple[str, list[object]]:
    """The WHERE of one page of `table` and its parameters, from (column, wanted value or None) and where to go on.

    Give the narrowest column first. Its index also holds the order of the page, so SQLite walks it and looks up each
    row in the other columns' indexes; no row outside the page is read. Left alone, SQLite has no statistics here and
    may walk any index, for example all accepted callbacks to find the five of one task.
    """
    order, bound = before
    same = f"BETWEEN {table}.{order} AND {table}.{order}"  # with `=` SQLite would use the key and read the row
    given = [(column, value) for column, value in by if value is not None]
    clauses = [
        f"EXISTS (SELECT 1 FROM {table} AS also WHERE also.{column} = ? AND also.{order} {same})"
        if place
        else f"{column} = ?"
        for place, (column, _) in enumerate(given)
    ]
    params = [value for _, value in given]
    if bound is not None:
        clauses.append(f"{order} < ?")
        params.append(bound)
    return f"WHERE {' AND '.join(clauses)}" if clauses else "", params
