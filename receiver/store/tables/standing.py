"""How things stand: what needs a person, and the figures of the status page. Each read follows an index and has a
limit, since every page asks for some of them; a count that reaches its limit means that many or more.
"""

from collections.abc import Sequence

from msgspec import Struct

from receiver.core.types import Task
from receiver.store.tables import task_rows
from receiver.store.tables.connection import TableConnection
from receiver.store.tables.task_rows import COLUMNS

COUNTED_MOST = 10_000
_NAMES_MOST = 200  # targets, keys


class GivenUp(Struct, frozen=True):
    """How many notices to a target were given up, and the error of the last one."""

    target: str
    count: int
    error: str | None


class TargetStanding(Struct, frozen=True):
    """How many notices to a target wait, and how many were given up."""

    name: str
    waiting: int
    given_up: int


class Raised(Struct, frozen=True):
    """When attention was last raised for a cause, and what was said."""

    cause: str
    at: int
    text: str


class StandingQueries:
    """The queries of how things stand, on one connection."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    # -- notices --

    async def given_up(self) -> list[GivenUp]:
        """The targets with notices that were given up, by name."""
        rows = await self._db.fetch_rows(
            "WITH RECURSIVE names (name) AS (SELECT min(target) FROM notices UNION ALL"
            " SELECT (SELECT min(target) FROM notices WHERE target > names.name) FROM names"
            " WHERE names.name IS NOT NULL)"
            " SELECT name, (SELECT count(*) FROM (SELECT 1 FROM notices WHERE state = 'dead' AND target = name LIMIT ?)"
            " AS few), (SELECT error FROM notices WHERE state = 'dead' AND target = name ORDER BY id DESC LIMIT 1)"
            " FROM names WHERE name IS NOT NULL LIMIT ?",
            (COUNTED_MOST, _NAMES_MOST),
        )
        return [GivenUp(*row) for row in rows if row[1]]

    async def of_targets(self, targets: Sequence[str]) -> list[TargetStanding]:
        """How many notices to each of these targets wait, and how many were given up; in this order."""
        unsent = (
            f"SELECT 1 FROM notices WHERE state = '{{}}' AND send_id IS NULL AND target = t.name LIMIT {COUNTED_MOST}"
        )
        begun = (
            "SELECT 1 FROM sends JOIN notices ON notices.send_id = sends.id"
            f" WHERE sends.state = '{{}}' AND sends.target = t.name LIMIT {COUNTED_MOST}"
        )
        dead = f"SELECT 1 FROM notices WHERE state = 'dead' AND target = t.name LIMIT {COUNTED_MOST}"
        waiting = (unsent.format("due"), unsent.format("held"), begun.format("due"), begun.format("sending"))
        counts = ", ".join(f"(SELECT count(*) FROM ({rows}) AS few)" for rows in (*waiting, dead))
        t = self._db.dialect.listing("t", [("name", "text")], [(it,) for it in targets])
        found = await self._db.fetch_rows(f"SELECT t.name, {counts} FROM {t.sql}", t.params)
        by_name = {name: TargetStanding(name, sum(open_), given_up) for name, *open_, given_up in found}
        return [by_name[name] for name in targets]

    async def send_durations(self, target: str, limit: int) -> list[int]:
        """The milliseconds that the last deliveries to a target took, of its last `limit` notices."""
        rows = await self._db.fetch_rows(
            "SELECT (SELECT duration_ms FROM attempts WHERE send_id = last.send_id AND error IS NULL ORDER BY id DESC"
            " LIMIT 1) FROM (SELECT send_id FROM notices WHERE target = ? ORDER BY id DESC LIMIT ?) AS last"
            " WHERE send_id IS NOT NULL",
            (target, limit),
        )
        return [took for (took,) in rows if took is not None]

    async def raised_since(self, at: int, limit: int) -> list[Raised]:
        """Up to `limit` causes for which attention was raised after `at`, the last one first."""
        rows = await self._db.fetch_rows(
            "SELECT cause, at, text FROM attention WHERE at > ? ORDER BY at DESC LIMIT ?", (at, limit)
        )
        return [Raised(*row) for row in rows]

    async def raised_at(self, cause: str) -> int | None:
        """When attention was last raised for a cause."""
        rows = await self._db.fetch_rows("SELECT at FROM attention WHERE cause = ?", (cause,))
        return rows[0][0] if rows else None

    # -- tasks --

    async def unsure(self, limit: int) -> list[Task]:
        """Up to `limit` tasks that the provider may or may not have taken, newest first."""
        return await self._tasks("unsure = 1", limit)

    async def held_for_person(self, limit: int) -> list[Task]:
        """Up to `limit` queued tasks that a person has to decide about, newest first."""
        return await self._tasks("held_by = 'person'", limit)

    async def oldest_queued(self) -> int | None:
        """When the oldest of the queued tasks was handed in."""
        rows = await self._db.fetch_rows("SELECT created_at FROM tasks WHERE state = 'queued' ORDER BY ref LIMIT 1")
        return rows[0][0] if rows else None

    async def waiting_by_key(self) -> dict[str, int]:
        """How many open tasks have callback URLs signed with each secret key, by the key's id."""
        open_ = "FROM tasks WHERE key_id IS NOT NULL AND settled_at IS NULL"
        rows = await self._db.fetch_rows(
            f"WITH RECURSIVE ids (id) AS (SELECT min(key_id) {open_} UNION ALL"
            f" SELECT (SELECT min(key_id) {open_} AND key_id > ids.id) FROM ids WHERE ids.id IS NOT NULL)"
            f" SELECT id, (SELECT count(*) FROM (SELECT 1 {open_} AND key_id = id LIMIT ?) AS few)"
            " FROM ids WHERE id IS NOT NULL LIMIT ?",
            (COUNTED_MOST, _NAMES_MOST),
        )
        return dict(rows)

    async def unparsed_open(self, since: int, limit: int) -> list[str]:
        """The tasks without a certain end of the last `limit` callbacks that nobody could read and that came after
        `since`, the newest first."""
        rows = await self._db.fetch_rows(
            "SELECT last.ref FROM (SELECT ref, received_at FROM callbacks WHERE verdict = 'unparsed'"
            " ORDER BY id DESC LIMIT ?) AS last JOIN tasks ON tasks.ref = last.ref WHERE received_at > ?"
            " AND NOT (confirmed = 1 AND state IN ('completed', 'failed', 'cancelled'))",
            (limit, since),
        )
        return [ref for (ref,) in rows]

    # -- figures --

    async def common_models(self, limit: int) -> list[str]:
        """The models with the most completed tasks."""
        rows = await self._db.fetch_rows(
            "SELECT model FROM spend_models WHERE model <> '' AND completed > 0 ORDER BY completed DESC, model LIMIT ?",
            (limit,),
        )
        return [model for (model,) in rows]

    async def daily_costs(self, days: Sequence[str]) -> dict[str, int]:
        """What was spent on these days, in nano-USD, as the budgets count it; only those on which anything was."""
        which = self._db.dialect.among("scope", days)
        rows = await self._db.fetch_rows(f"SELECT scope, spent FROM spend_totals WHERE {which.sql}", which.params)
        return dict(rows)

    async def _tasks(self, where: str, limit: int) -> list[Task]:
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM tasks WHERE {where} ORDER BY ref DESC LIMIT ?", (limit,)
        )
        return [task_rows.task_from_row(row) for row in rows]
