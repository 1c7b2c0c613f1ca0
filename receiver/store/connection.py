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


class Connection(Protocol):
    """One connection of a backend; on a writing one, inside a transaction."""

    touched: set[str]
    """Refs of the tasks that this transaction changed: told to the stream after the commit."""
    woken: set[Topic]
    """Loops that have work once this transaction is committed."""

    async def rows(self, sql: str, params: Row = ()) -> list[Any]:
        """All rows of a query, as tuples; what was put off is done before it."""

    async def run(self, sql: str, params: Row = ()) -> int:
        """Run one statement, after what was put off; the number of rows it changed."""

    def later(self, sql: str, rows: Sequence[Row], *, expect: int | None = None) -> None:
        """Put a statement off, to be run for each of `rows` with the next read or the commit. That raises Stale if it
        changes another number of rows in all than `expect`."""


def marks(count: int) -> str:
    """`?, ?, ?` for `count` parameters."""
    return ", ".join("?" * count)
