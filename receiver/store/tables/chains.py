"""The chains: which tasks go on from which, which ended ones are still to be followed, and the picks that are open, on
one connection."""

from collections.abc import Mapping, Sequence

from receiver.core.types import Task
from receiver.store.tables import task_rows
from receiver.store.tables.connection import TableConnection, Topic
from receiver.store.tables.task_rows import COLUMNS


class ChainTable:
    """Tasks by their parent and by their chain, and the table of followups."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def next_followups(self, limit: int, after: str = "") -> list[str]:
        """Up to `limit` tasks that have ended and whose children are still to be told, oldest first, after this ref."""
        rows = await self._db.fetch_rows("SELECT ref FROM followups WHERE ref > ? ORDER BY ref LIMIT ?", (after, limit))
        return [ref for (ref,) in rows]

    async def claim_followups(self, limit: int, after: str = "") -> list[str]:
        """The same, without those whose children another process is telling; no other will until we are done."""
        rows = await self._db.fetch_rows(
            f"SELECT ref FROM followups WHERE ref > ? ORDER BY ref LIMIT ?{self._db.dialect.skip}", (after, limit)
        )
        return [ref for (ref,) in rows]

    async def lock_ended(self, refs: Sequence[str]) -> tuple[dict[str, Task], set[str]]:
        """Those of these tasks that exist, by ref; and the refs of others, which some other transaction is changing.

        It does not wait for these: that transaction may wait for what was claimed with `claim_followups`.
        """
        dialect, which = self._db.dialect, self._db.dialect.among("ref", refs)
        rows = await self._db.fetch_rows(f"SELECT {COLUMNS} FROM tasks WHERE {which.sql}{dialect.skip}", which.params)
        found = {row[0]: task_rows.task_from_row(row) for row in rows}
        if not dialect.skip or len(found) == len(refs):
            return found, set()
        which = dialect.among("ref", [ref for ref in refs if ref not in found])
        rows = await self._db.fetch_rows(f"SELECT ref FROM tasks WHERE {which.sql}", which.params)
        return found, {ref for (ref,) in rows}

    async def is_followed(self, ref: str) -> bool:
        """Whether the children of this task are still to be told."""
        return bool(await self._db.fetch_rows("SELECT 1 FROM followups WHERE ref = ?", (ref,)))

    async def add_followups(self, refs: Sequence[str]) -> None:
        """The children of these tasks are to be told."""
        defer_followups(self._db, refs)

    async def remove_followups(self, refs: Sequence[str]) -> None:
        """All children of these tasks were told."""
        self._db.defer("DELETE FROM followups WHERE ref = ?", [(ref,) for ref in refs])

    async def held_children(self, parents: Sequence[str], limit: int) -> list[Task]:
        """Up to `limit` tasks that wait for the ends of `parents`, by the refs of these."""
        which = self._db.dialect.among("parent", parents)
        return await self._tasks(
            f"WHERE {which.sql} AND held_by = 'parent' ORDER BY parent LIMIT ?", (*which.params, limit)
        )

    async def children(self, parent: str, limit: int) -> list[Task]:
        """Up to `limit` tasks that go on from `parent`, oldest first."""
        return await self._tasks("WHERE parent = ? ORDER BY ref LIMIT ?", (parent, limit))

    async def with_parent(self, ref: str) -> dict[str, Task]:
        """This task and the one that it goes on from, as far as they exist, by ref."""
        found = await self._tasks(
            "WHERE ref = ? OR ref = (SELECT parent FROM tasks WHERE ref = ?) ORDER BY ref", (ref, ref)
        )
        return {task.ref: task for task in found}

    async def repeated_by(self, refs: Sequence[str]) -> dict[str, Task]:
        """The newest task that repeats each of these, if one does."""
        which = self._db.dialect.among("again_of", refs)
        found = await self._tasks(f"WHERE {which.sql}", which.params)
        return {task.again_of or "": task for task in sorted(found, key=lambda it: it.ref)}

    async def tasks_of(self, root: str, limit: int) -> list[Task]:
        """Up to `limit` tasks of the chain that begins with `root`, which is one of them, oldest first."""
        return await self._tasks("WHERE root = ? ORDER BY ref LIMIT ?", (root, limit))

    async def count(self, roots: Sequence[str]) -> dict[str, int]:
        """How many tasks each of these chains has."""
        which = self._db.dialect.among("root", roots)
        rows = await self._db.fetch_rows(
            f"SELECT root, count(*) FROM tasks WHERE {which.sql} GROUP BY root", which.params
        )
        return dict(rows)

    async def open_picks(self, limit: int, before: str | None = None) -> list[Task]:
        """Up to `limit` tasks for which a person has to pick a picture, newest first, before the ref `before`."""
        older = "" if before is None else " AND ref < ?"
        params = () if before is None else (before,)
        return await self._tasks(f"WHERE held_by = 'pick'{older} ORDER BY ref DESC LIMIT ?", (*params, limit))

    async def unreported_picks(self, after: str, limit: int) -> list[Task]:
        """Up to `limit` tasks for which a person has to pick a picture and has not been reminded, oldest first, after
        this ref."""
        return await self._tasks(
            "WHERE held_by = 'pick' AND why IS NULL AND ref > ? ORDER BY ref LIMIT ?", (after, limit)
        )

    async def count_picks(self) -> int:
        """For how many tasks a person has to pick a picture."""
        [(count,)] = await self._db.fetch_rows("SELECT count(*) FROM tasks WHERE held_by = 'pick'")
        return int(count)

    async def count_held(self) -> dict[str, int]:
        """How many tasks wait for their parents (`parent`), and for picks (`pick`)."""
        [(parent,)] = await self._db.fetch_rows("SELECT count(*) FROM tasks WHERE held_by = 'parent'")
        return {"parent": int(parent), "pick": await self.count_picks()}

    async def _tasks(self, where: str, params: Sequence[object]) -> list[Task]:
        rows = await self._db.fetch_rows(f"SELECT {COLUMNS} FROM tasks {where}{self._db.dialect.lock}", params)
        return [task_rows.task_from_row(row) for row in rows]


def defer_followups(db: TableConnection, refs: Sequence[str]) -> None:
    """Remember, in the transaction that ends these tasks, that their children are to be told."""
    db.defer("INSERT INTO followups (ref) VALUES (?) ON CONFLICT DO NOTHING", [(ref,) for ref in sorted(refs)])
    db.woken.add(Topic.FOLLOW)


def forget_followups(db: TableConnection, refs: Sequence[str]) -> None:
    """Forget, in the transaction that opens these tasks again, that their children are to be told."""
    db.defer("DELETE FROM followups WHERE ref = ?", [(ref,) for ref in refs])


def defer_held_counts(db: TableConnection, counts: Mapping[str, tuple[int, int]]) -> None:
    """Count, with the transaction that brings it about, how many more children these parents hold, and for how many of
    them a person has to pick."""
    rows = [(held, picks, parent) for parent, (held, picks) in sorted(counts.items()) if held or picks]
    if rows:
        db.defer("UPDATE tasks SET children = children + ?, picks = picks + ? WHERE ref = ?", rows)
        db.touched.update(counts)
