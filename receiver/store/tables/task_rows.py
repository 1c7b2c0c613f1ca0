"""Tasks as rows: each column has the name of its field, and most values are stored unchanged.

A new field of `Task` needs a column in a migration and, if SQL has no such type, a line in `_WRITE` and in `_READ`.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from itertools import compress
from operator import is_not
from typing import Any

import msgspec
from msgspec.structs import astuple

from receiver.core.types import (
    ArchiveState,
    HintNote,
    HoldReason,
    Outcome,
    OutcomeSource,
    Task,
    TaskError,
    TaskOrigin,
    TaskState,
    Usage,
)
from receiver.store.tables.connection import Row, enum_text, placeholders

COLUMN_NAMES: tuple[str, ...] = Task.__struct_fields__
COLUMNS = ", ".join(COLUMN_NAMES)
COLUMNS_OF_TASKS = ", ".join(f"tasks.{name}" for name in COLUMN_NAMES)  # where other tables are joined
INSERT_SQL = f"INSERT INTO tasks ({COLUMNS}) VALUES ({placeholders(len(COLUMN_NAMES))})"


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _to_json_or_null(value: object) -> str | None:
    return _to_json(value) if value else None


def _enum_lookup(kind: type[StrEnum]) -> Callable[[str], StrEnum]:
    return {member.value: member for member in kind}.__getitem__  # calling the enum takes ten times as long


_WRITE: dict[str, Callable[[Any], object]] = {
    **dict.fromkeys(("origin", "state", "held_by", "settled_by", "archive"), enum_text),
    **dict.fromkeys(("poll_only", "unsure", "confirmed", "quiet", "of_all", "ping"), int),
    **dict.fromkeys(("targets", "error", "usage", "hint", "hint_note"), _to_json),
    **dict.fromkeys(("candidates", "denied"), _to_json_or_null),
}
_READ: dict[str, Callable[[Any], object]] = {
    "origin": _enum_lookup(TaskOrigin),
    "state": _enum_lookup(TaskState),
    "held_by": _enum_lookup(HoldReason),
    "settled_by": _enum_lookup(OutcomeSource),
    "archive": _enum_lookup(ArchiveState),
    **dict.fromkeys(("poll_only", "unsure", "confirmed", "quiet", "of_all", "ping"), bool),
    "targets": msgspec.json.Decoder(tuple[str, ...]).decode,
    "error": msgspec.json.Decoder(TaskError).decode,
    "usage": msgspec.json.Decoder(Usage).decode,
    "hint": msgspec.json.Decoder(Outcome).decode,
    "hint_note": msgspec.json.Decoder(HintNote).decode,
    **dict.fromkeys(("candidates", "denied"), msgspec.json.Decoder(tuple[str, ...]).decode),
}
_READS = tuple((COLUMN_NAMES.index(name), read) for name, read in _READ.items())
_TUPLES = tuple(COLUMN_NAMES.index(name) for name in ("candidates", "denied"))  # NULL stands for an empty one
_WRITES = tuple(_WRITE.get(name) for name in COLUMN_NAMES)


def task_from_row(row: Row) -> Task:
    """A task from a row of `COLUMNS`."""
    values = list(row)
    for place, read in _READS:
        if (value := values[place]) is not None:
            values[place] = read(value)
    for place in _TUPLES:
        if values[place] is None:
            values[place] = ()
    return Task(*values)


def row_from_task(task: Task) -> Row:
    """All values of a task, in the order of `COLUMNS`."""
    return _encode_columns(astuple(task), range(len(COLUMN_NAMES)))


def changed_columns(old: Task, new: Task) -> tuple[tuple[str, ...], Row]:
    """The columns that differ, and their new values. Unchanged fields are the same objects, so `is not` suffices."""
    before, after = astuple(old), astuple(new)
    places = list(compress(range(len(COLUMN_NAMES)), map(is_not, before, after)))
    return tuple([COLUMN_NAMES[place] for place in places]), _encode_columns(after, places)


def _encode_columns(values: Row, places: Iterable[int]) -> Row:
    return tuple(
        [
            value if (value := values[place]) is None or (write := _WRITES[place]) is None else write(value)
            for place in places
        ]
    )


def guard_values(task: Task, names: tuple[str, ...]) -> Row:
    """The values of these columns, by which a change makes sure that they are still as they were read."""
    return tuple(_encode_columns(astuple(task), [COLUMN_NAMES.index(name) for name in names]))
