"""Moves a database in small chunks, here or in a process that dies on the way: `python tests/kit/moves.py POINT NTH`.

It kills itself with SIGKILL when it comes to the point for the NTH time: `inserted` (rows are written, not committed)
or `committed`. From where and to where is in its environment.
"""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from receiver.store.moving import move
from receiver.store.moving.between import DatabaseAt, move_between
from receiver.store.moving.move import MoveResult
from receiver.store.moving.tables import MovedTable, Row
from receiver.store.postgres.moving import PostgresEnd
from receiver.store.sqlite.moving import SqliteEnd

POINTS = ("inserted", "committed")
_FROM, _TO = "MOVE_FROM", "MOVE_TO"


class Report:
    """Hears how far a move is, and keeps it."""

    def __init__(self) -> None:
        self.parts: dict[str, tuple[int, int]] = {}

    def begin(self, part: str, rows: int) -> None:
        self.part = part
        self.parts[part] = (rows, 0)

    def advance(self, rows: int) -> None:
        total, done = self.parts[self.part]
        self.parts[self.part] = (total, done + rows)


def database(where: Path | str) -> DatabaseAt:
    return DatabaseAt(where, str(where) if isinstance(where, Path) else "there")


async def moving(source: Path | str, target: Path | str, report: Report | None = None) -> MoveResult:
    return await move_between(database(source), database(target), report or Report())


def die_moving(source: Path | str, target: Path | str, point: str, nth: int) -> int:
    """Move in a process that dies; gives its status: -9, or 0 if it came to its end."""
    env = {**os.environ, _FROM: str(source), _TO: str(target), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, __file__, point, str(nth)], env=env, check=False).returncode


class _Fuse(Report):
    def __init__(self, point: str, nth: int) -> None:
        super().__init__()
        self._point = point
        self._left = nth

    def at(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def advance(self, rows: int) -> None:
        self.at("committed")


def main() -> None:
    fuse = _Fuse(sys.argv[1], int(sys.argv[2]))
    move.CHUNK_ROWS = move._LARGE_ROWS = 4
    for kind in (SqliteEnd, PostgresEnd):
        insert = kind.insert

        async def dying(
            self: Any, table: MovedTable, columns: tuple[str, ...], rows: list[Row], insert: Any = insert
        ) -> None:
            await insert(self, table, columns, rows)
            fuse.at("inserted")

        kind.insert = dying  # type: ignore[method-assign]
    ends = [os.environ[it] for it in (_FROM, _TO)]
    source, target = [it if "://" in it else Path(it) for it in ends]
    asyncio.run(moving(source, target, fuse))


if __name__ == "__main__":
    main()
