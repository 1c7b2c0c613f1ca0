"""Which task each row of a file became, with what stays at home: its line, its key, the user's own columns."""

import tempfile
import uuid
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec import Struct

from receiver.cli.batch.rows import Row
from receiver.client.schemas import TaskView


class SentRow(Struct, frozen=True):
    """What a row's results need of the file."""

    line: int
    key: str | None = None
    extras: dict[str, Any] = {}


class SentRows:
    """Rows by the refs of their tasks. Keeps some 100 bytes for each; the rest is in a file without a name.

    Its length is how many rows there are; `tasks` counts a row for each picture that it goes on from.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._places: dict[bytes, int] = {}
        self._end = self._rows = 0
        self.extra_names: dict[str, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._rows

    @property
    def tasks(self) -> int:
        """How many tasks the rows became."""
        return len(self._places)

    def __contains__(self, ref: str) -> bool:
        return _pack(ref) in self._places

    def add(self, task: TaskView, row: Row) -> None:
        """Note that `row` is this task, and those that were made with it."""
        refs = [packed for ref in (task.ref, *task.siblings) if (packed := _pack(ref)) not in self._places]
        if not refs:
            return
        self._rows += _pack(task.ref) in refs
        line = msgspec.json.encode(SentRow(row.line, row.key, row.extras)) + b"\n"
        self._file.seek(self._end)
        self._file.write(line)
        self._places |= dict.fromkeys(refs, self._end)
        self._end += len(line)
        self.extra_names.update(dict.fromkeys(row.extras))

    def find(self, ref: str | None) -> SentRow | None:
        """The row whose task this is, if it is in the file."""
        place = None if ref is None else self._places.get(_pack(ref))
        if place is None:
            return None
        self._file.seek(place)
        return msgspec.json.decode(self._file.readline(), type=SentRow)


def _pack(ref: str) -> bytes:
    try:
        return uuid.UUID(ref).bytes
    except ValueError:  # it comes from a server
        return ref.encode("utf-8", "replace")
