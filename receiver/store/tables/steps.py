"""The steps of tasks: what happened to them and is written nowhere else, on one connection."""

from collections.abc import Iterable

from receiver.core.types import Step, StepKind
from receiver.store.tables.connection import TableConnection, enum_text

STEPS_MOST = 50
"""How many are kept of a task. Of more, its oldest tries to submit go first, so that they never displace what people
did."""

_TRIES = f"'{StepKind.PUT_BACK}', '{StepKind.REFUSED}'"


class StepTable:
    """The table of steps."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def add(self, steps: Iterable[Step]) -> None:
        """Record steps, in the order in which they happened."""
        steps = list(steps)
        if not steps:
            return
        self._db.defer(
            "INSERT INTO steps (ref, at, kind, text) VALUES (?, ?, ?, ?)",
            [(it.ref, it.at, enum_text(it.kind), it.text) for it in steps],
        )
        refs = dict.fromkeys(it.ref for it in steps)
        self._db.defer(
            f"DELETE FROM steps WHERE id IN (SELECT id FROM steps WHERE ref = ?"
            f" ORDER BY kind IN ({_TRIES}), id DESC LIMIT 1000 OFFSET {STEPS_MOST})",
            [(ref,) for ref in refs],
        )
        self._db.touched.update(refs)

    async def of(self, ref: str) -> list[Step]:
        """The steps of a task, in the order in which they happened."""
        rows = await self._db.fetch_rows("SELECT ref, at, kind, text FROM steps WHERE ref = ? ORDER BY id", (ref,))
        return [Step(ref, at, StepKind(kind), text) for ref, at, kind, text in rows]
