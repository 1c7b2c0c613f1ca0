"""The rows of batches: of each row its newest task, found by the batch's lane, on one connection."""

from collections.abc import Sequence
from datetime import UTC

import msgspec

from receiver.core.budgets import local_day
from receiver.core.errors import StaleUpdate
from receiver.core.types import Task, TaskError, TaskState
from receiver.store.tables import task_rows
from receiver.store.tables.connection import TableConnection, enum_text

_ROWS = "lane = ? AND lane > 3 AND turn > 0"  # so that the index alone has all that is counted
_WAITING = "'parent', 'pick'"  # for which a task of a chain is held
_EACH_STATE = ", ".join(f"('{state.value}')" for state in TaskState)
_DAY_MS = 86_400_000
_PAGE_TRIES = 3


class BatchRowTable:
    """Queries of the tasks in batches' lanes."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def any_open(self, lane: int) -> bool:
        """Whether a row's task has not ended, and does not wait for a person either: to pick a picture, or to say what
        becomes of what waits for a lost task."""
        moving = await self._db.fetch_rows(
            f"SELECT 1 FROM tasks WHERE {_ROWS} AND state IN ('submitting', 'waiting')"
            " UNION ALL SELECT 1 FROM tasks WHERE lane = ? AND turn > 0 AND due_at IS NOT NULL LIMIT 1",
            (lane, lane),
        )
        if moving:
            return True
        rows = await self._db.fetch_rows(
            f"SELECT 1 FROM (SELECT held_by, parent FROM tasks WHERE {_ROWS} AND state = 'queued') AS row"
            " LEFT JOIN tasks AS parent ON parent.ref = row.parent WHERE row.held_by IS NULL"
            f" OR row.held_by NOT IN ({_WAITING}) OR (row.held_by = 'parent' AND (parent.lane <> ?"
            f" OR (parent.state = 'queued' AND coalesce(parent.held_by, '') NOT IN ({_WAITING}))"
            " OR EXISTS (SELECT 1 FROM followups WHERE followups.ref = parent.ref))) LIMIT 1",
            (lane, lane),
        )
        return bool(rows)

    async def any_pick(self, lane: int) -> bool:
        """Whether a row waits until a person picks a picture, now or later."""
        rows = await self._db.fetch_rows(
            f"SELECT 1 FROM (SELECT held_by, parent_image FROM tasks WHERE {_ROWS} AND state = 'queued') AS row"
            " WHERE held_by = 'pick' OR (held_by = 'parent' AND parent_image IS NULL) LIMIT 1",
            (lane,),
        )
        return bool(rows)

    async def count_picks(self, lane: int) -> int:
        """How many rows wait until a person picks one of the pictures that are there."""
        [(count,)] = await self._db.fetch_rows(
            "SELECT count(*) FROM tasks WHERE held_by = 'pick' AND +lane = ? AND turn > 0 AND +state = 'queued'",
            (lane,),
        )
        return int(count)

    async def awaits_pictures(self, lane: int) -> bool:
        """Whether the pictures of a row are still to be fetched for the first time."""
        rows = await self._db.fetch_rows(
            "SELECT 1 FROM tasks WHERE lane = ? AND lane > 3 AND archive_at IS NOT NULL AND archive_tries = 0 LIMIT 1",
            (lane,),
        )
        return bool(rows)

    async def completed_rows(self, lane: int, most: int) -> list[tuple[int, str]]:
        """The lines and refs of the rows that completed, by line; of more than `most`, so many at even distances."""
        which, row_id = f"FROM tasks WHERE {_ROWS} AND state = 'completed'", self._db.dialect.row_id
        [(count,)] = await self._db.fetch_rows(f"SELECT count(*) {which}", (lane,))
        count = max(count, most)
        rows = await self._db.fetch_rows(
            "SELECT tasks.turn, tasks.ref FROM"
            f" (SELECT {row_id} AS id, row_number() OVER (ORDER BY turn) AS place {which}) AS each_row"
            f" JOIN tasks ON tasks.{row_id} = each_row.id WHERE place * ? / ? > (place - 1) * ? / ?",
            (lane, most, count, most, count),
        )
        return sorted(rows)

    async def count_states(self, lane: int) -> dict[TaskState, int]:
        """How many rows are in each state."""
        return (await self.states_by_lane([lane]))[lane]

    async def states_by_lane(self, lanes: Sequence[int]) -> dict[int, dict[TaskState, int]]:
        """How many rows of each of these batches are in each state. Counting one state at a time along the index is
        three times as fast as grouping."""
        some = self._db.dialect.listing("l", [("id", "bigint")], [(lane,) for lane in lanes])
        rows = await self._db.fetch_rows(
            "SELECT l.id, s.column1, (SELECT count(*) FROM tasks WHERE lane = l.id AND lane > 3"
            " AND state = s.column1 AND turn > 0)"
            f" FROM {some.sql} CROSS JOIN (VALUES {_EACH_STATE}) AS s",
            some.params,
        )
        found: dict[int, dict[TaskState, int]] = {lane: {} for lane in lanes}
        for lane, state, count in rows:
            if count:
                found[lane][TaskState(state)] = count
        return found

    async def count_repeatable(self, lane: int) -> dict[TaskState, int]:
        """How many rows failed or were cancelled, by their state; without unconfirmed failures, which may have
        succeeded, and without tasks that another one repeats."""
        rows = await self._db.fetch_rows(
            f"SELECT state, count(*) FROM tasks WHERE {_ROWS} AND state IN ('failed', 'cancelled') AND confirmed = 1"
            " AND NOT EXISTS (SELECT 1 FROM tasks AS newer WHERE newer.again_of = tasks.ref) GROUP BY state",
            (lane,),
        )
        return {TaskState(state): count for state, count in rows}

    async def count_unsure(self, lane: int) -> int:
        """How many rows' tasks are unsure."""
        [(count,)] = await self._db.fetch_rows(
            f"SELECT count(*) FROM tasks WHERE {_ROWS} AND state IN ('waiting', 'lost') AND unsure = 1", (lane,)
        )
        return int(count)

    async def failures(self, lane: int, limit: int) -> list[tuple[int, TaskError | None]]:
        """The lines and errors of up to `limit` rows that failed, by line."""
        rows = await self._db.fetch_rows(
            f"SELECT turn, error FROM tasks WHERE {_ROWS} AND state = 'failed' ORDER BY turn LIMIT ?", (lane, limit)
        )
        return [(turn, msgspec.json.decode(error, type=TaskError) if error else None) for turn, error in rows]

    async def spent(self, lane: int, since: int) -> tuple[int, int, int]:
        """What the books say of a batch that began at `since`: its cost in nano-USD, and how many of its tasks ended
        with a known cost and without, lost ones among these."""
        first = local_day(since - _DAY_MS, UTC)  # whatever the zone
        [(cost, ended, unknown)] = await self._db.fetch_rows(
            "SELECT coalesce(sum(cost), 0), coalesce(sum(completed + failed + lost), 0), coalesce(sum(unknown), 0)"
            " FROM spend WHERE day >= ? AND lane = ?",
            (first, lane),
        )
        return cost, max(0, ended - unknown), unknown

    async def in_states(
        self, lane: int, states: Sequence[TaskState], after: tuple[int, str] = (0, ""), *, limit: int
    ) -> list[Task]:
        """Up to `limit` rows' tasks in these states, by line and ref, after this one.

        In a transaction they stay in these states until it ends. Raises StaleUpdate.
        """
        each = (
            "SELECT * FROM (SELECT turn, ref FROM tasks WHERE lane = ? AND lane > 3 AND state = ? AND turn >= ?"
            " AND (turn > ? OR ref > ?) ORDER BY turn, ref LIMIT ?) AS few"
        )
        turn, ref = max(1, after[0]), after[1]
        params = [it for state in states for it in (lane, enum_text(state), turn, turn, ref, limit)]
        sql = (
            f"SELECT {task_rows.COLUMNS_OF_TASKS}"
            f" FROM ({' UNION ALL '.join([each] * len(states))} ORDER BY 1, 2 LIMIT ?) AS page"
            " JOIN tasks ON tasks.ref = page.ref ORDER BY page.turn, page.ref"
            f"{self._db.dialect.lock_of('tasks')}"
        )
        for _ in range(_PAGE_TRIES):
            tasks = [task_rows.task_from_row(row) for row in await self._db.fetch_rows(sql, (*params, limit))]
            if all(it.state in states and it.lane == lane and it.turn > 0 for it in tasks):
                return tasks  # else some were changed while we waited for their locks: others come in their place
        raise StaleUpdate("the batch's rows kept changing")

    async def refs_repeated(self, refs: Sequence[str]) -> set[str]:
        """Those of these tasks that another one repeats."""
        which = self._db.dialect.among("again_of", refs)
        rows = await self._db.fetch_rows(f"SELECT again_of FROM tasks WHERE {which.sql}", which.params)
        return {ref for (ref,) in rows}

    async def find_elsewhere(self, lane: int, rows: Sequence[tuple[bytes, str, bytes]]) -> list[int | None]:
        """For each row, given by its key, model and parameters: the newest batch other than `lane` that has it.

        Of a task that went on from another, the key alone decides: its parameters were filled later.
        """
        columns = [("key", "bytea"), ("its_model", "text"), ("its_params", "bytea"), ("place", "bigint")]
        wanted = self._db.dialect.listing("wanted", columns, [(*row, place) for place, row in enumerate(rows)])
        found = await self._db.fetch_rows(
            "SELECT wanted.place, (SELECT lane FROM tasks WHERE row_key = wanted.key AND lane > 3 AND lane <> ?"
            " AND (parent IS NOT NULL OR (model = wanted.its_model AND params = wanted.its_params))"
            f" ORDER BY lane DESC LIMIT 1) FROM {wanted.sql}",
            (lane, *wanted.params),
        )
        return [other for _, other in sorted(found)]
