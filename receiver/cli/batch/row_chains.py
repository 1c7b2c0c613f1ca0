"""Rows that go on from others, and the key of each. Pure.

The rows of a chain follow one another: it begins with a row that goes on from no other one, and each later row goes on
from one above it. So a chain is sent in one call, and only one is held here.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from receiver.cli.batch.keys import RowKeys
from receiver.cli.batch.read_file import Fault
from receiver.cli.batch.rows import Row
from receiver.cli.submit.chain_checks import KnownStep, check_step, check_total
from receiver.client.schemas import NewTask


class KeyedRow(Struct, frozen=True):
    """A row with its key, how many tasks it becomes, and what may be a mistake in what it goes on from."""

    row: Row
    key: str
    copies: int = 1
    hints: tuple[str, ...] = ()

    def to_task(self) -> NewTask:
        """The task as the API takes it, with what makes it the same row later."""
        return replace(self.row.task, row_key=self.key)


class _Place(Struct, frozen=True):
    """A row that others may go on from; without a key, it is wrong."""

    line: int
    key: str | None = None
    step: KnownStep | None = None


class RowChains:
    """Places each row of a file, from the first to the last."""

    def __init__(self, keys: RowKeys) -> None:
        self._keys = keys
        self._named: dict[str, _Place] = {}  # of the chain that is being read
        self._tasks = 0

    def place(self, row: Row) -> KeyedRow | list[Fault]:
        """The row with its key; or what is wrong with it because of what it goes on from."""
        task, wait = row.task, row.task.wait_for
        after = row.after
        if after is None:
            self._named, self._tasks = {}, 0
        faults = list(self._find_faults(task, after))
        parent = self._named.get(after or "")
        hints = list[str]()
        step = None
        if not faults and (task.name is not None or wait is not None):
            step = check_step(task, parent.step if parent else None, faults.append, hints.append, readable=False)
            self._tasks += step.count
            faults += filter(None, [check_total(self._tasks)])
        key = None if faults else self._keys.next_key(row, parent.key if parent else None)
        if isinstance(key, Fault):
            faults.append(key.text)
        if task.name is not None:
            self._named.setdefault(task.name, _Place(row.line, key if isinstance(key, str) else None, step))
        if not isinstance(key, str):
            return [Fault(row.line, text) for text in faults]
        if step is None:
            return KeyedRow(row, key)
        return KeyedRow(row, key, step.count, tuple(hints))

    def place_wrong(self, line: int, values: Mapping[str, Any]) -> None:
        """Note a row that cannot be read: what goes on from it is wrong, too."""
        if values.get("after") is None:
            self._named, self._tasks = {}, 0
        if isinstance(name := values.get("name"), str):
            self._named.setdefault(name, _Place(line))

    def _find_faults(self, task: NewTask, after: str | None) -> Iterator[str]:
        if task.name is not None and task.name in self._named:
            first = self._named[task.name].line
            yield f"name: {task.name!a} is the name of line {first} already, and that is of the same chain"
        if after is None:
            return
        if after not in self._named:
            near = get_close_matches(after[:64], self._named, n=1)
            how = "the rows of a chain follow one another, and it begins with one without after"
            more = f" (did you mean {near[0]}?)" if near else f": {how}"
            yield f"after: no row above it in its chain is named {after[:64]!a}{more}"
        elif self._named[after].key is None:
            yield f"after: line {self._named[after].line}, which it goes on from, is wrong"
