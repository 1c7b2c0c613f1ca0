"""What differs between the databases. The SQL of the tables is written once; a `Dialect` gives the rest.

Parameters are `?`, or `?1` where one is used twice. Two hints for SQLite's planner may stand in any statement, and
other databases leave them out: `+column`, without a blank, keeps it from following that column's index; `CROSS JOIN x
ON` keeps the tables in the order in which they are written. An upsert names its conflict and qualifies its columns.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

Row = Sequence[Any]


class SqlPart(NamedTuple):
    """A part of a statement, and the parameters in it."""

    sql: str
    params: tuple[Any, ...]


class WordSearch(NamedTuple):
    """How a database finds words: what to select from, alone and with the refs; the key of a row there, which goes up
    with the order in which tasks came; and the condition, whose parameter is made by `Dialect.words_expression`."""

    source: str
    with_refs: str
    key: str
    match: str


class Dialect(Protocol):
    """How one kind of connection says it. Those that only read lock nothing."""

    name: str
    """`sqlite` or `postgres`."""
    lock: str
    """Ends a SELECT whose rows this transaction goes on to change: nobody else changes them before it ends."""
    skip: str
    """The same, without the rows that another transaction has locked."""
    row_id: str
    """The place of a row, which an index has even if it lacks the key."""
    words: WordSearch
    indexes_words: bool
    """Whether the index of words follows the tasks by itself."""

    def among(self, column: str, values: Sequence[Any]) -> SqlPart:
        """Whether the column has one of these values; there may be none."""

    def outside(self, column: str, values: Sequence[Any]) -> SqlPart:
        """Whether the column has none of these values."""

    def listing(self, name: str, columns: Sequence[tuple[str, str]], rows: Sequence[Row]) -> SqlPart:
        """These rows, one or more, to select from as `name`; `columns` are their names and types (text, bigint,
        bytea)."""

    def lock_by(self, key: str) -> str:
        """`lock` for rows in the order of their key: two transactions that lock some of the same rows wait for each
        other in turn, not each for the other."""

    def lock_of(self, table: str) -> str:
        """`lock` for the rows of one table of a join."""

    def update_each(self, table: str, keys: tuple[str, ...], names: tuple[str, ...]) -> str:
        """An UPDATE of the columns `names` from many rows of (keys…, values…), each where all keys match."""

    def json_text(self, column: str, key: str) -> str:
        """The text under a key of the JSON object in a column."""

    def page_where(
        self, table: str, by: Sequence[tuple[str, object]], before: tuple[str, object]
    ) -> tuple[str, list[object]]:
        """The WHERE of one page of `table` and its parameters, from (column, wanted value or None), the narrowest
        first, and the column of its order with where to go on or None."""

    def words_expression(self, beginnings: Sequence[str]) -> str:
        """For texts that have, for each of these, a word that begins so."""


def placeholders(count: int) -> str:
    """`?, ?, ?` for `count` parameters."""
    return ", ".join("?" * count)
