"""The lanes of the queue, batches among them, on one connection."""

from collections.abc import Sequence

import msgspec

from receiver.core.types import LanePriority, PauseCause, QueueLane
from receiver.store.tables.connection import Row, TableConnection, Topic, enum_text, placeholders

_NAMES = QueueLane.__struct_fields__
COLUMNS = ", ".join(_NAMES)


class LaneTable:
    """The table of lanes."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def by_name(self, names: Sequence[str]) -> dict[str, QueueLane]:
        """The lanes with these names that exist, by name."""
        which = self._db.dialect.among("name", names)
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM lanes WHERE {which.sql}{self._db.dialect.lock_by('id')}", which.params
        )
        return {lane.name: lane for lane in map(lane_from_row, rows)}

    async def find_batch(self, name: str) -> QueueLane | None:
        """The batch of this name, if there is one."""
        lane = (await self.by_name([name])).get(name)
        return lane if lane is not None and lane.batch else None

    async def get(self, ids: Sequence[int]) -> dict[int, QueueLane]:
        """The lanes with these ids that exist, by id."""
        which = self._db.dialect.among("id", ids)
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM lanes WHERE {which.sql}{self._db.dialect.lock_by('id')}", which.params
        )
        return {lane.id: lane for lane in map(lane_from_row, rows)}

    async def look(self, ids: Sequence[int]) -> dict[int, QueueLane]:
        """The same, for a transaction that changes none of them, or not yet: lanes are locked after tasks and books."""
        which = self._db.dialect.among("id", ids)
        rows = await self._db.fetch_rows(f"SELECT {COLUMNS} FROM lanes WHERE {which.sql}", which.params)
        return {lane.id: lane for lane in map(lane_from_row, rows)}

    async def paused(self) -> list[QueueLane]:
        """The unfinished lanes that are paused."""
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM lanes WHERE finished_at IS NULL AND paused_at IS NOT NULL"
        )
        return [lane_from_row(row) for row in rows]

    async def queued(self) -> list[tuple[QueueLane, int]]:
        """The unfinished lanes that have tasks to submit, and how many; in the order in which they are served."""
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS}, (SELECT count(*) FROM tasks WHERE lane = lanes.id AND due_at IS NOT NULL) AS count"
            " FROM lanes WHERE finished_at IS NULL ORDER BY priority DESC, id"
        )
        return [(lane_from_row(row[:-1]), row[-1]) for row in rows if row[-1]]

    async def page(self, before: int | None, limit: int) -> list[QueueLane]:
        """Up to `limit` batches, newest first, before the id `before`."""
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM lanes WHERE batch = 1 AND id < ? ORDER BY id DESC LIMIT ?",
            (2**62 if before is None else before, limit),
        )
        return [lane_from_row(row) for row in rows]

    async def batches_named(self, beginning: str, limit: int) -> list[QueueLane]:
        """Up to `limit` batches whose names begin so, by name."""
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM lanes WHERE name >= ? AND name < ? AND +batch = 1 ORDER BY name LIMIT ?",
            (beginning, f"{beginning}\U0010ffff", limit),
        )
        return [lane_from_row(row) for row in rows]

    async def count_unfinished(self) -> int:
        """How many batches are not finished."""
        [(count,)] = await self._db.fetch_rows("SELECT count(*) FROM lanes WHERE finished_at IS NULL AND batch = 1")
        return int(count)

    async def closed_unfinished(self) -> list[QueueLane]:
        """The batches that are closed and not finished."""
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM lanes WHERE finished_at IS NULL AND batch = 1 AND closed_at IS NOT NULL"
            f"{self._db.dialect.lock_by('id')}"
        )
        return [lane_from_row(row) for row in rows]

    async def last_restore(self) -> tuple[int, int | None] | None:
        """When the database was restored last, and when the backup was made, if that is known: batches that were opened
        in between are missing."""
        rows = await self._db.fetch_rows("SELECT at, made_at FROM restores ORDER BY at DESC LIMIT 1")
        return rows[0] if rows else None

    async def insert(self, lane: QueueLane) -> None:
        """Add a lane; its `id` is not used, a new one is given."""
        names = _NAMES[1:]
        self._db.defer(
            f"INSERT INTO lanes ({', '.join(names)}) VALUES ({placeholders(len(names))})", [_to_row(lane)[1:]]
        )

    async def update(self, lane: QueueLane) -> None:
        """Write back a changed lane, and wake the loop that submits."""
        settings = ", ".join(f"{name} = ?" for name in _NAMES[1:])
        self._db.defer(f"UPDATE lanes SET {settings} WHERE id = ?", [(*_to_row(lane)[1:], lane.id)], expect=1)
        self._db.woken.add(Topic.SUBMIT)


def lane_from_row(row: Row) -> QueueLane:
    """A lane from a row of `COLUMNS`."""
    values = dict(zip(_NAMES, row, strict=True))
    values.update(
        batch=bool(values["batch"]),
        each=bool(values["each"]),
        priority=LanePriority(values["priority"]),
        paused_by=None if values["paused_by"] is None else PauseCause(values["paused_by"]),
        targets=None if values["targets"] is None else tuple(msgspec.json.decode(values["targets"])),
    )
    return QueueLane(**values)


def _to_row(lane: QueueLane) -> Row:
    targets = None if lane.targets is None else msgspec.json.encode(lane.targets).decode()
    values = {
        "batch": int(lane.batch),
        "each": int(lane.each),
        "priority": int(lane.priority),
        "targets": targets,
        "paused_by": None if lane.paused_by is None else enum_text(lane.paused_by),
    }
    return tuple(values[name] if name in values else getattr(lane, name) for name in _NAMES)
