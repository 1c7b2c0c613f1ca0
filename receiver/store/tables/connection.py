"""What the tables need from a database: its dialect, three ways to run SQL, and notes of what a transaction touched."""

from collections.abc import Sequence
from enum import StrEnum
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from receiver.store.tables.dialect import Dialect, Row, placeholders

__all__ = ["DeferredChange", "Row", "TableConnection", "Topic", "enum_text", "placeholders"]

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


class DeferredChange(NamedTuple):
    """One statement, run for each of `rows`; `expect` is how many rows it must change in total, if that matters.

    A statement with `VALUES (?, …)` may be run for several rows at once.
    """

    sql: str
    rows: Sequence[Row]
    expect: int | None = None


class TableConnection(Protocol):
    """One connection of a backend; a writing one is inside a transaction."""

    dialect: Dialect
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
