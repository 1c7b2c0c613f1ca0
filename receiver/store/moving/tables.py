"""The tables that move from one database to another, and the order in which their rows are read. Pure."""

from typing import Any

from msgspec import Struct

from receiver.core.errors import StoreError

Row = tuple[Any, ...]
Key = tuple[Any, ...]


class MovedTable(Struct, frozen=True):
    """A table, and the columns of its key. `large`: a row may hold a megabyte, so that few are read at once.

    `numbered`: the key is an id that the database gives, from `first` on.
    """

    name: str
    key: tuple[str, ...]
    large: bool = False
    numbered: bool = False
    first: int = 1

    def key_of(self, columns: tuple[str, ...], row: Row) -> Key:
        """Where a row stands in the order of the key."""
        return tuple(row[columns.index(it)] for it in self.key)


LANES = MovedTable("lanes", ("id",), numbered=True, first=4)
TASKS = MovedTable("tasks", ("ref",), large=True)
MOVED = (
    LANES,
    TASKS,
    MovedTable("images", ("ref", "image_no")),
    MovedTable("copies", ("ref", "image_no")),
    MovedTable("callbacks", ("id",), large=True, numbered=True),
    MovedTable("overflow", ("ref",)),
    MovedTable("polls", ("id",), large=True, numbered=True),
    MovedTable("steps", ("id",), numbered=True),
    MovedTable("sends", ("id",), numbered=True),
    MovedTable("notices", ("id",), large=True, numbered=True),
    MovedTable("attempts", ("id",), numbered=True),
    MovedTable("redriven", ("notice_id", "send_id")),
    MovedTable("attention", ("cause",)),
    MovedTable("idempotency", ("key",)),
    MovedTable("followups", ("ref",)),
    MovedTable("targets", ("name",)),
    MovedTable("gates", ("provider", "cause")),
    MovedTable("spend", ("day", "provider", "model", "lane", "label")),
    MovedTable("spend_totals", ("scope",)),
    MovedTable("spend_models", ("model",)),
    MovedTable("budget_periods", ("kind", "period")),
    MovedTable("hours", ("kind", "hour", "name")),
    MovedTable("clock", ("id",)),
    MovedTable("sessions", ("id",)),
    MovedTable("restores", ("at",)),
)
"""All that has to arrive."""

LEFT = frozenset(
    {
        *("migrations", "moving", "processes"),  # of the database itself
        *("paces", "served", "probes"),  # of whoever serves it
        *("searched", "search", "search_data", "search_idx", "search_config"),  # made anew from the tasks
    }
)
"""All that stays where it is."""

WORK = ("tasks", "callbacks", "polls", "notices")
"""A database without rows in these, and without a batch, has nothing to lose."""


def half_moved() -> StoreError:
    """The error of whoever opens a database into which another one is being moved."""
    return StoreError(
        "another database is being moved into this one, and that is not done",
        remedy="run the same `receiver migrate --to` again; it goes on where it was",
    )


def select_sql(table: MovedTable, columns: tuple[str, ...], parameters: tuple[str, ...], limit: int) -> str:
    """The next rows in the order of the key, after the one whose key is in `parameters`; from the first, if there are
    none."""
    key = ", ".join(_quoted(table.key))
    after = f" WHERE ({key}) > ({', '.join(parameters)})" if parameters else ""
    return f"SELECT {', '.join(_quoted(columns))} FROM {table.name}{after} ORDER BY {key} LIMIT {limit}"


def delete_sql(table: MovedTable, parameters: tuple[str, ...]) -> str:
    """Removes these rows, all of them."""
    after = f" WHERE ({', '.join(_quoted(table.key))}) > ({', '.join(parameters)})" if parameters else ""
    return f"DELETE FROM {table.name}{after}"


def insert_sql(table: MovedTable, columns: tuple[str, ...]) -> str:
    """Adds a row, with `?` for each value."""
    return f"INSERT INTO {table.name} ({', '.join(_quoted(columns))}) VALUES ({', '.join('?' * len(columns))})"


def work_sql() -> str:
    """Whether the database has anything to lose, as one row of one value."""
    looks = [f"EXISTS (SELECT 1 FROM {it})" for it in WORK]
    return f"SELECT {' OR '.join([*looks, 'EXISTS (SELECT 1 FROM lanes WHERE batch = 1)'])}"


def _quoted(columns: tuple[str, ...]) -> list[str]:
    return [f'"{it}"' for it in columns]
