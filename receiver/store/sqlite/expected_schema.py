"""The schema that a database has by its own migrations, to compare a backup with.

A backup may come from anywhere. A trigger or a view in it would run inside our own statements, and a table of somebody
else's would be served, backed up and kept with ours.
"""

import sqlite3
from contextlib import closing

from receiver.core.errors import StoreError
from receiver.store.migrations.steps import CREATE_MIGRATIONS, load_migrations

# What may be there besides: a backup's own content, SQLite's statistics, and what Litestream adds.
_ALLOWED = frozenset({"backup", "_litestream_seq", "_litestream_lock"})
_OF_SQLITE = "sqlite_"  # names that SQLite reserves for itself
_NAME_MOST = 60  # characters of a name in an error

_Columns = frozenset[tuple[str, str, int]]  # name, type, and whether it is hidden or computed
_Made = _Columns | str | None  # the columns of a table; of what runs inside our statements, the whole definition


def refuse_foreign_schema(raw: sqlite3.Connection) -> None:
    """Raise StoreError if the database holds anything that its migrations did not make, or lacks what they made."""
    numbers = {number for (number,) in raw.execute("SELECT number FROM migrations")}
    found, expected = _list_objects(raw), _expected_objects(numbers)
    for kind, name in sorted(found.keys() - expected.keys()):
        if kind == "table" and name in _ALLOWED and isinstance(found[kind, name], frozenset):
            continue
        raise StoreError(
            f"it has the {kind} {name[:_NAME_MOST]!r}, which this program did not make",
            remedy="use another backup, or find out who changed this one",
        )
    for kind, name in sorted(expected):
        if found.get((kind, name)) != expected[kind, name]:
            raise StoreError(f"its {kind} {name!r} is missing or was changed", remedy="use another backup")


def _expected_objects(numbers: set[int]) -> dict[tuple[str, str], _Made]:
    with closing(sqlite3.connect(":memory:")) as raw:
        raw.execute(CREATE_MIGRATIONS)
        for step in load_migrations("sqlite"):
            if step.number in numbers:
                raw.executescript(step.sql)
        return _list_objects(raw)


def _list_objects(raw: sqlite3.Connection) -> dict[tuple[str, str], _Made]:
    """Tables with their columns; virtual ones, triggers and views with their definitions; and indexes."""
    found: dict[tuple[str, str], _Made] = {}
    for kind, name, sql in raw.execute("SELECT type, name, sql FROM sqlite_schema").fetchall():
        if name.startswith(_OF_SQLITE) and kind in ("table", "index"):
            continue
        made: _Made = None
        if kind in ("trigger", "view") or str(sql).upper().startswith("CREATE VIRTUAL"):
            made = " ".join(str(sql).split())
        elif kind == "table":
            rows = raw.execute("SELECT name, type, hidden FROM pragma_table_xinfo(?)", (name,))
            made = frozenset((str(column), str(type_), int(hidden)) for column, type_, hidden in rows)
        found[kind, name] = made
    return found
