"""Moving 100,000 finished tasks from SQLite to PostgreSQL and back, each row read back and compared twice."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from bench.history import make_history
from bench.postgres.cluster import missing, open_cluster
from bench.samples import TableRow
from receiver.store.moving.between import DatabaseAt, move_between
from receiver.store.moving.move import MoveResult

TASKS = 100_000
PROMPTS = 20_000
LEAST = 1_000  # tasks a second


class _Unheard:
    """A `MoveReport` that nobody reads."""

    def begin(self, part: str, rows: int) -> None: ...

    def advance(self, rows: int) -> None: ...


def rows(count: int = TASKS) -> list[TableRow]:
    """The lines of the table; none if there is no PostgreSQL here."""
    if why := missing():
        print(f"move: skipped, {why}", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory(dir=".") as name, open_cluster() as cluster:
        folder = Path(name).resolve()
        make_history(folder / "receiver.db", count, prompts=PROMPTS)
        here = DatabaseAt(folder / "receiver.db", "here")
        there = DatabaseAt(cluster.url(cluster.make_database()), "there")
        went, went_s = _measure(here, there)
        back, back_s = _measure(there, DatabaseAt(folder / "back.db", "back"))
    if went.tables != back.tables:
        raise SystemExit("what came back is not what went")
    return [
        (
            f"moving {count:,} tasks {direction}, compared row by row",
            f"{count / took_s:,.0f} tasks / s",
            f"at least {LEAST:,}; {went.rows:,} rows in {took_s:.0f} s",
        )
        for direction, took_s in (("from SQLite to PostgreSQL", went_s), ("and back", back_s))
    ]


def _measure(source: DatabaseAt, target: DatabaseAt) -> tuple[MoveResult, float]:
    began = time.perf_counter()
    moved = asyncio.run(move_between(source, target, _Unheard()))
    return moved, time.perf_counter() - began
