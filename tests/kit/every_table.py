"""Rows in every table of an SQLite database: what a column may hold by its type, with extremes and odd ones."""

import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

from receiver.store.moving.tables import MOVED

TEXTS = ("", "a", "Ä – 🏔", "tab\tand\nline", '{"a": "\\u0000"}', "x" * 1_000, "'; DROP TABLE tasks; --", "\\N")
NUMBERS = (0, 1, -1, 2**63 - 1, -(2**63), 1_796_000_000_000)
REALS = (0.0, 0.25, 1e300, -1e-300, 0.1 + 0.2)
BYTES = (b"", b"\x00\xff", b"{}", bytes(range(256)) * 8)
_SINGLE = ("clock", "sessions")


def fill_every_table(path: Path, rows: int) -> None:
    """Put this many rows into each table that moves, or the one that it may have; ends are in no order of insertion."""
    with closing(sqlite3.connect(path)) as raw, raw:
        for table in MOVED:
            columns = raw.execute(
                'SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (table.name,)
            ).fetchall()
            odd = count()
            for number in range(1 if table.name in _SINGLE else rows):
                values = [
                    _key_value(kind, number, table.name) if pk else _value(name, kind, number, next(odd), bool(needed))
                    for name, kind, needed, pk in columns
                ]
                if table.name == "restores":
                    values[0] = number
                raw.execute(f"INSERT INTO {table.name} VALUES ({', '.join('?' * len(values))})", values)


def dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the tables that move, in the order of their keys; which tasks are searched, and found by a word; and
    the schema."""
    with closing(sqlite3.connect(path)) as raw:
        return {
            **{
                it.name: raw.execute(f"SELECT * FROM {it.name} ORDER BY {', '.join(it.key)}").fetchall() for it in MOVED
            },
            "searched": raw.execute("SELECT ref FROM searched ORDER BY id").fetchall(),
            "found": raw.execute("SELECT rowid FROM search WHERE search MATCH 'a' ORDER BY rowid").fetchall(),
            "schema": raw.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2").fetchall(),
        }


def _key_value(kind: str, number: int, table: str) -> object:
    """Different in each row, also in the first column of a key; ids begin at 10, after those of a new database."""
    if kind == "TEXT":
        return f"{number:05d}-{'aZé🏔'[number % 4]}"
    return 1 if table in _SINGLE else 10 + 3 * number


def _value(name: str, kind: str, number: int, odd: int, needed: bool) -> object:
    if not needed and odd % 3 == 0:
        return None
    if name in ("name", "task_id"):  # unique ones
        return f"{name}-{number}"
    if name == "row_key":
        return f"{number}".encode()
    values = {"TEXT": TEXTS, "INTEGER": NUMBERS, "REAL": REALS, "BLOB": BYTES}[kind]
    return values[odd % len(values)]
