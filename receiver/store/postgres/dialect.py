"""The SQL of PostgreSQL where databases differ, and the way from our statements to its own."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from receiver.store.tables.dialect import Row, SqlPart, WordSearch
from receiver.store.tables.search_words import fold

_HINT = re.compile(r"\+(?=[A-Za-z_])|CROSS (?=JOIN \w+ ON\b)")  # for SQLite's planner
_SOME = re.compile(r"\bIN (\(SELECT (?:[^()]|\(\?\))* LIMIT \?\d*\))")
_IN_TEXT = ("state", "verdict")  # columns of partial indexes
_PARAM = re.compile(r"\?(\d*)")


class ColumnwiseSql(str):
    """A statement for many rows that takes one array for each column."""

    __slots__ = ()


class PostgresDialect:
    """A `Dialect`; `locks` inside transactions. `types` are those of the columns, by (table, column)."""

    name = "postgres"
    row_id = "ctid"
    words = WordSearch("searched", "searched", "searched.id", "searched.words @@ ?::tsquery")
    indexes_words = False

    def __init__(self, types: Mapping[tuple[str, str], str], *, locks: bool) -> None:
        self._types = types
        self._locks = locks
        self.lock = " FOR UPDATE" if locks else ""
        self.skip = " FOR UPDATE SKIP LOCKED" if locks else ""
        self._updates: dict[tuple[str, tuple[str, ...], tuple[str, ...]], ColumnwiseSql] = {}

    def among(self, column: str, values: Sequence[Any]) -> SqlPart:
        return SqlPart(f"{column} = ANY(?)", (list(values),))

    def outside(self, column: str, values: Sequence[Any]) -> SqlPart:
        return SqlPart(f"{column} <> ALL(?)", (list(values),))

    def listing(self, name: str, columns: Sequence[tuple[str, str]], rows: Sequence[Row]) -> SqlPart:
        arrays = ", ".join(f"?::{kind}[]" for _, kind in columns)
        names = ", ".join(column for column, _ in columns)
        return SqlPart(f"unnest({arrays}) AS {name} ({names})", tuple(map(list, zip(*rows, strict=True))))

    def lock_by(self, key: str) -> str:
        return f" ORDER BY {key} FOR UPDATE" if self._locks else ""

    def lock_of(self, table: str) -> str:
        return f" FOR UPDATE OF {table}" if self._locks else ""

    def update_each(self, table: str, keys: tuple[str, ...], names: tuple[str, ...]) -> str:
        found = self._updates.get((table, keys, names))
        if found is None:  # bounded by the sets of columns that the program changes together
            found = self._updates[table, keys, names] = self._make_update(table, keys, names)
        return found

    def _make_update(self, table: str, keys: tuple[str, ...], names: tuple[str, ...]) -> ColumnwiseSql:
        every = (*keys, *names)
        arrays = ", ".join(f"?::{self._types[table, column]}[]" for column in every)
        places = ", ".join(f"c{place}" for place, _ in enumerate(every))
        settings = ", ".join(f"{name} = v.c{place}" for place, name in enumerate(names, len(keys)))
        same = " AND ".join(f"{table}.{key} = v.c{place}" for place, key in enumerate(keys))
        return ColumnwiseSql(f"UPDATE {table} SET {settings} FROM unnest({arrays}) AS v ({places}) WHERE {same}")

    def json_text(self, column: str, key: str) -> str:
        return f"{column}::json ->> '{key}'"

    def page_where(
        self, table: str, by: Sequence[tuple[str, object]], before: tuple[str, object]
    ) -> tuple[str, list[object]]:
        """Statistics tell PostgreSQL which index to walk; but it has to see that a partial one fits."""
        order, bound = before
        clauses, params = list[str](), list[object]()
        for column, value in by:
            if value is None:
                continue
            if column in _IN_TEXT and isinstance(value, str) and value.isalpha():
                clauses.append(f"{column} = '{value}'")
            else:
                clauses.append(f"{column} = ?")
                params.append(value)
        if bound is not None:
            clauses.append(f"{order} < ?")
            params.append(bound)
        return f"WHERE {' AND '.join(clauses)}" if clauses else "", params

    def words_expression(self, beginnings: Sequence[str]) -> str:
        """Each is quoted, so nothing in it is syntax; what begins a word has no quotes of its own."""
        return " & ".join(f"'{fold(it)}':*" for it in beginnings)


@lru_cache(maxsize=2048)
def translate(sql: str) -> str:
    """One of our statements as PostgreSQL takes it: parameters with numbers, without hints for SQLite's planner.

    A part of a table that is chosen with a limit is given as an array: a plan for any limit expects a tenth of the
    table, and would rather read all of it.
    """
    count = 0

    def number(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"${found[1] or count}"

    return _PARAM.sub(number, _SOME.sub(r"= ANY(ARRAY\1)", _HINT.sub("", sql)))
