"""Which task each row of a file became, with what stays at home: its line, its key, the user's own columns."""

import tempfile
import uuid
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec import Struct

from receiver.cli.batch.rows import Row


class SentRow(Struct, frozen=True):
    """What a row's results need of the file."""

    line: int
    key: str | None = None
    extras: dict[str, Any] = {}


class SentRows:
    """Rows by the ref of their task. Keeps some 100 bytes for each; the rest is in a file without a name."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._places: dict[bytes, int] = {}
        self._end = 0
        self.extra_names: dict[str, None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, ref: str) -> bool:
        return _pack(ref) in self._places

    def add(self, ref: str, row: Row) -> None:
        """Note that `row` is the task `ref`."""
        packed = _pack(ref)
        if packed in self._places:
            return
        line = msgspec.json.encode(SentRow(row.line, row.key, row.extras)) + b"\n"
        self._file.seek(self._end)
        self._file.write(line)
        self._places[packed] = self._end
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
