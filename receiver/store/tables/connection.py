"""What the tables need of a database: three ways to run SQL, and a note of what the transaction touched.

The SQL of the tables is written once, in the part of the language that SQLite and PostgreSQL share, with `?` for
parameters; a backend translates where it must.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

Row = Sequence[Any]


class Topic(StrEnum):
    """Which loop has something to look at."""

    SUBMIT = "submit"
    SWEEP = "sweep"
    NOTIFY = "notify"
    ARCHIVE = "archive"
    PRUNE = "prune"


class TableConnection(Protocol):
    """One connection of a backend; on a writing one, inside a transaction."""

    touched: set[str]
    """Refs of the tasks that this transaction changed: told to the stream after the commit."""
    woken: set[Topic]
    """Loops that have work once this transaction is committed."""

    async def fetch_rows(self, sql: str, params: Row = ()) -> list[Any]:
        """All rows of a query, as tuples; what was put off is done before it."""

    async def run_statement(self, sql: str, params: Row = ()) -> int:
        """Run one statement, after what was put off; the number of rows it changed."""

    def defer(self, sql: str, rows: Sequence[Row], *, expect: int | None = None) -> None:
        """Put a statement off, to be run for each of `rows` with the next read or the commit. That raises Stale if it
        changes another number of rows in all than `expect`."""


def placeholders(count: int) -> str:
    """`?, ?, ?` for `count` parameters."""
    return ", ".join("?" * count)


def where_clause(table: str, by: Sequence[tuple[str, object]], before: tuple[str, object]) -> tuple[str, list[object]]:
    """The WHERE of a page of `table`, and its parameters, from (column, wanted value or None) and where it goes on.

    Say the narrowest column first: its index, which holds the order of the page too, is followed, and the indexes of
    the others are asked about each row. So no row is read that is not on the page. Left to itself SQLite, which keeps
    no statistics here, follows any of them, and seeks a task's own five callbacks among all that were accepted.
    """
    order, bound = before
    same = f"BETWEEN {table}.{order} AND {table}.{order}"  # an equals sign would go by the key, and read the row
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
