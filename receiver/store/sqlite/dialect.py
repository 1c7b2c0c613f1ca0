"""The SQL of SQLite where databases differ."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from receiver.store.tables.dialect import Row, SqlPart, WordSearch, placeholders


class SqliteDialect:
    """A `Dialect`. One transaction writes at a time, so nothing has to be locked."""

    name = "sqlite"
    lock = ""
    skip = ""
    row_id = "rowid"
    words = WordSearch(
        "search", "search CROSS JOIN searched ON searched.id = search.rowid", "search.rowid", "search MATCH ?"
    )
    indexes_words = True

    def among(self, column: str, values: Sequence[Any]) -> SqlPart:
        return SqlPart(f"{column} IN ({placeholders(len(values))})", tuple(values))

    def outside(self, column: str, values: Sequence[Any]) -> SqlPart:
        return SqlPart(f"{column} NOT IN ({placeholders(len(values))})", tuple(values))

    def listing(self, name: str, columns: Sequence[tuple[str, str]], rows: Sequence[Row]) -> SqlPart:
        names = ", ".join(f"column{place} AS {column}" for place, (column, _) in enumerate(columns, 1))
        values = ", ".join([f"({placeholders(len(columns))})"] * len(rows))
        return SqlPart(f"(SELECT {names} FROM (VALUES {values})) AS {name}", tuple(chain.from_iterable(rows)))

    def lock_by(self, key: str) -> str:
        return ""

    def lock_of(self, table: str) -> str:
        return ""

    def update_each(self, table: str, keys: tuple[str, ...], names: tuple[str, ...]) -> str:
        return _update_each(table, keys, names)

    def json_text(self, column: str, key: str) -> str:
        return f"{column} ->> '$.{key}'"

    def page_where(
        self, table: str, by: Sequence[tuple[str, object]], before: tuple[str, object]
    ) -> tuple[str, list[object]]:
        """The index of the first column also holds the order of the page, so SQLite walks it and looks up each row in
        the other columns' indexes; no row outside the page is read. Left alone, SQLite has no statistics here and may
        walk any index, for example all accepted callbacks to find the five of one task.
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

    def words_expression(self, beginnings: Sequence[str]) -> str:
        """Each is quoted, so nothing in it is syntax."""
        return " AND ".join(f'"{it}"*' for it in beginnings)


@lru_cache(maxsize=128)
def _update_each(table: str, keys: tuple[str, ...], names: tuple[str, ...]) -> str:
    settings = ", ".join(f"{name} = v.column{place}" for place, name in enumerate(names, len(keys) + 1))
    same = " AND ".join(f"{table}.{key} = v.column{place}" for place, key in enumerate(keys, 1))
    return f"UPDATE {table} SET {settings} FROM (VALUES ({placeholders(len(keys) + len(names))})) AS v WHERE {same}"
