"""The queries of retention: find old rows, and remove them with everything that belongs to them.

Finding walks a table in the order of its key, which is the order of time, so it needs no index of its own. Age alone is
not enough: the transaction that removes a row checks again whether it may go.

Where other processes write at the same time, a removal first locks what the rows hang on: the batches, the tasks, the
sends, then the notices, as everything else does. Only then it looks whether they may go: whoever would hang a row on a
task, or send a notice after all, locks the same rows, and finds them gone.
"""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct

from receiver.store.tables.connection import TableConnection
from receiver.store.tables.dialect import SqlPart

# Settled tasks with nothing under way, for which none waits. A callback for a removed lost one creates it again.
_OVER = "'completed', 'failed', 'cancelled', 'lost'"
_CLOSED = (
    f"tasks.state IN ({_OVER}) AND tasks.children = 0 AND tasks.archive_at IS NULL"
    " AND coalesce(tasks.lease_until, 0) <= ? AND NOT EXISTS"
    " (SELECT 1 FROM notices WHERE notices.ref = tasks.ref AND +notices.state IN ('due', 'held', 'sending'))"
)


Key = TypeVar("Key", str, int)


class AgedRow(Struct, Generic[Key], frozen=True):
    """A row's key, and in milliseconds when it was created and when it ended (None: it has not)."""

    key: Key
    made_at: int
    ended_at: int | None


class RemovalResult(Struct, frozen=True):
    """What one transaction did: rows removed, tasks that are finished with, sends that became empty, batches whose rows
    are not known any more."""

    rows: int = 0
    refs: tuple[str, ...] = ()
    sends: tuple[int, ...] = ()
    lanes: tuple[int, ...] = ()


class RetentionQueries:
    """The queries of retention, on one connection."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    # -- finding, each from the oldest row after `after` --

    async def aged_tasks(self, after: str, limit: int) -> list[AgedRow[str]]:
        """Tasks, by ref. A lost task has no end; its age counts from its submission."""
        return await self._aged_rows(
            "SELECT ref, created_at, CASE state WHEN 'lost' THEN coalesce(submitted_at, created_at) ELSE settled_at END"
            " FROM tasks WHERE ref > ? ORDER BY ref LIMIT ?",
            after,
            limit,
        )

    async def tasks_with_copies(self, after: str, limit: int) -> list[AgedRow[str]]:
        """Tasks with copies of pictures, by ref."""
        found = await self._aged_rows(
            "SELECT had.ref, tasks.created_at, tasks.settled_at FROM (SELECT DISTINCT ref FROM copies"
            " WHERE file IS NOT NULL AND ref > ? ORDER BY ref LIMIT ?) AS had CROSS JOIN tasks ON tasks.ref = had.ref",
            after,
            limit,
        )
        return sorted(found, key=lambda it: it.key)  # a join has no order of its own

    async def aged_callbacks(self, after: int, limit: int) -> list[AgedRow[int]]:
        """Callbacks, by id."""
        return await self._aged_rows(
            "SELECT id, received_at, received_at FROM callbacks WHERE id > ? ORDER BY id LIMIT ?", after, limit
        )

    async def aged_notices(self, after: int, limit: int) -> list[AgedRow[int]]:
        """Notices, by id."""
        return await self._aged_rows(
            "SELECT id, created_at, created_at FROM notices WHERE id > ? ORDER BY id LIMIT ?", after, limit
        )

    async def aged_overflow(self, after: str, limit: int) -> list[AgedRow[str]]:
        """Counts of callbacks that were not stored, by ref."""
        return await self._aged_rows(
            "SELECT ref, last_at, last_at FROM overflow WHERE ref > ? ORDER BY ref LIMIT ?", after, limit
        )

    async def closed_tasks(self, refs: Sequence[str], now: int) -> list[str]:
        """Those of `refs` that are settled, with no notice owed and no picture to fetch."""
        which = self._db.dialect.among("ref", refs)
        rows = await self._db.fetch_rows(
            f"SELECT ref FROM tasks WHERE {which.sql} AND {_CLOSED}{self._db.dialect.skip}",
            (*which.params, now),
        )
        return [ref for (ref,) in rows]

    async def files_by_task(self, refs: Sequence[str]) -> dict[str, tuple[str, ...] | None]:
        """The files of those of these tasks that exist; None if it is not settled or still has pictures to fetch."""
        which = self._db.dialect.among("tasks.ref", refs)
        rows = await self._db.fetch_rows(
            f"SELECT tasks.ref, tasks.state IN ({_OVER}) AND tasks.archive_at IS NULL, copies.file, copies.small,"
            " copies.tiny"
            " FROM tasks LEFT JOIN copies ON copies.ref = tasks.ref AND copies.file IS NOT NULL"
            f" WHERE {which.sql}",
            which.params,
        )
        found: dict[str, tuple[str, ...] | None] = {}
        for ref, over, *files in rows:
            found[ref] = (*(found.get(ref) or ()), *filter(None, files)) if over else None
        return found

    async def existing_sends(self, ids: Sequence[int]) -> list[int]:
        """Those of these sends that exist."""
        which = self._db.dialect.among("id", ids)
        rows = await self._db.fetch_rows(f"SELECT id FROM sends WHERE {which.sql} ORDER BY id", which.params)
        return [send for (send,) in rows]

    # -- removals --

    async def drop_tasks(self, refs: Sequence[str], now: int, limit: int) -> RemovalResult:
        """Remove those of `refs` that are closed, with everything that belongs to them; about `limit` rows at most.

        The dependent rows go first. If there are too many, the tasks stay and have to be passed again.
        """
        closed = await self._lock_closed(refs, now)
        if not closed:
            return RemovalResult(refs=tuple(refs))
        rows, sends = 0, tuple[int, ...]()
        theirs = self._db.dialect.among("ref", closed)
        for table in ("callbacks", "polls"):
            if rows < limit:
                rows += await self._db.run_statement(
                    f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {theirs.sql} LIMIT ?)",
                    (*theirs.params, limit - rows),
                )
        if rows < limit:
            ids = await self._db.fetch_rows(
                f"SELECT id FROM notices WHERE {theirs.sql} LIMIT ?", (*theirs.params, limit - rows)
            )
            dropped = await self._drop_notices([notice for (notice,) in ids])
            rows, sends = rows + dropped.rows, dropped.sends
        if rows >= limit:
            return RemovalResult(rows=rows, sends=sends)
        lanes = await self._db.fetch_rows(
            f"SELECT DISTINCT lane FROM tasks WHERE {theirs.sql} AND row_key IS NOT NULL", theirs.params
        )
        for table in ("images", "copies", "overflow", "steps", "tasks"):
            rows += await self._db.run_statement(f"DELETE FROM {table} WHERE {theirs.sql}", theirs.params)
        self._db.touched.update(closed)
        return RemovalResult(rows, tuple(refs), sends, tuple(lane for (lane,) in lanes))

    async def drop_callbacks(self, ids: Sequence[int]) -> RemovalResult:
        """Remove those of `ids` whose task is settled. A body that a later callback shares moves to that callback."""
        asked = await self._lock_callbacks(ids)
        rows = await self._db.fetch_rows(
            "SELECT id FROM callbacks LEFT JOIN tasks ON tasks.ref = callbacks.ref"
            f" WHERE {asked.sql} AND (tasks.ref IS NULL OR tasks.state IN ({_OVER}))",
            asked.params,
        )
        old = [callback for (callback,) in rows]
        if not old:
            return RemovalResult()
        going, staying = self._db.dialect.among("gone.id", old), self._db.dialect.outside("same.id", old)
        heirs = await self._db.fetch_rows(
            "SELECT gone.id, (SELECT min(same.id) FROM callbacks AS same WHERE same.ref = gone.ref"
            f" AND same.id > gone.id AND same.body IS NULL AND same.digest = gone.digest AND {staying.sql})"
            f" FROM callbacks AS gone WHERE {going.sql} AND gone.body IS NOT NULL",
            (*staying.params, *going.params),
        )
        self._db.defer(
            "UPDATE callbacks SET body = (SELECT gone.body FROM callbacks AS gone WHERE gone.id = ?) WHERE id = ?",
            [(callback, heir) for callback, heir in heirs if heir is not None],
        )
        which = self._db.dialect.among("id", old)
        return RemovalResult(await self._db.run_statement(f"DELETE FROM callbacks WHERE {which.sql}", which.params))

    async def drop_polls(self, before: int, limit: int) -> RemovalResult:
        """Remove up to `limit` polls from before this time."""
        return RemovalResult(
            await self._db.run_statement(
                "DELETE FROM polls WHERE id IN (SELECT id FROM polls WHERE at < ? ORDER BY at LIMIT ?)", (before, limit)
            )
        )

    async def drop_notices(self, ids: Sequence[int]) -> RemovalResult:
        """Remove those of `ids` that are sent, dead or discarded, and sends that become empty, with their attempts."""
        await self._lock_notices("id", ids)
        which = self._db.dialect.among("id", ids)
        rows = await self._db.fetch_rows(
            f"SELECT id FROM notices WHERE {which.sql} AND state IN ('sent', 'dead', 'discarded')", which.params
        )
        return await self._drop_notices([notice for (notice,) in rows])

    async def drop_overflow(self, refs: Sequence[str]) -> RemovalResult:
        """Remove the callback counts of these tasks."""
        which = self._db.dialect.among("ref", refs)
        return RemovalResult(await self._db.run_statement(f"DELETE FROM overflow WHERE {which.sql}", which.params))

    async def drop_attention(self, before: int, limit: int) -> RemovalResult:
        """Forget up to `limit` causes of attention that were reported before this time."""
        return RemovalResult(
            await self._db.run_statement(
                "DELETE FROM attention WHERE at < ?1 AND cause IN"
                " (SELECT cause FROM attention WHERE at < ?1 ORDER BY at LIMIT ?2)",
                (before, limit),
            )
        )

    async def drop_copies(self, refs: Sequence[str], why: str) -> RemovalResult:
        """Record that the picture copies of these tasks are no longer stored, and why. Those that another process
        has in hand, or fetches again by now, are left out."""
        refs = await self._lock_tasks(refs, " AND archive_at IS NULL")
        self._db.touched.update(refs)
        which = self._db.dialect.among("ref", refs)
        return RemovalResult(
            await self._db.run_statement(
                "UPDATE copies SET file = NULL, small = NULL, tiny = NULL, error = ?"
                f" WHERE {which.sql} AND file IS NOT NULL",
                (why, *which.params),
            )
        )

    async def _lock_closed(self, refs: Sequence[str], now: int) -> list[str]:
        """Those of `refs` that are closed, locked with all that could open them."""
        dialect = self._db.dialect
        if dialect.lock:
            which = dialect.among("ref", refs)
            await self._db.fetch_rows(
                f"SELECT id FROM lanes WHERE id IN (SELECT lane FROM tasks WHERE {which.sql} AND row_key IS NOT NULL)"
                f"{dialect.lock_by('id')}",
                which.params,
            )
            refs = await self._lock_tasks(refs)
            await self._lock_notices("ref", refs)
        return await self.closed_tasks(refs, now)

    async def _lock_tasks(self, refs: Sequence[str], also: str = "") -> Sequence[str]:
        """Those of these tasks that no other transaction has in hand, and for which the condition `also` holds: locked
        where there is anything to lock."""
        dialect = self._db.dialect
        if not dialect.lock:
            return refs
        which = dialect.among("ref", refs)
        rows = await self._db.fetch_rows(
            f"SELECT ref FROM tasks WHERE {which.sql}{also} ORDER BY ref{dialect.skip}", which.params
        )
        return [ref for (ref,) in rows]

    async def _lock_callbacks(self, ids: Sequence[int]) -> SqlPart:
        """Which callbacks are meant: those of `ids` whose task could be locked, or is gone."""
        dialect = self._db.dialect
        if dialect.lock:
            which = dialect.among("callbacks.id", ids)
            theirs = await self._db.fetch_rows(
                "SELECT callbacks.id, tasks.ref FROM callbacks LEFT JOIN tasks ON tasks.ref = callbacks.ref"
                f" WHERE {which.sql}",
                which.params,
            )
            locked = set(await self._lock_tasks(sorted({ref for _, ref in theirs if ref is not None})))
            ids = [callback for callback, ref in theirs if ref is None or ref in locked]
        return dialect.among("id", ids)

    async def _lock_notices(self, column: str, values: Sequence[Any]) -> None:
        """Lock the notices with these values, and before them their sends."""
        dialect = self._db.dialect
        if dialect.lock:
            which = dialect.among(column, values)
            for sql in (
                f"SELECT id FROM sends WHERE id IN (SELECT send_id FROM notices WHERE {which.sql})",
                f"SELECT id FROM notices WHERE {which.sql}",
            ):
                await self._db.fetch_rows(f"{sql}{dialect.lock_by('id')}", which.params)

    async def _drop_notices(self, ids: Sequence[int]) -> RemovalResult:
        if not ids:
            return RemovalResult()
        these, earlier = self._db.dialect.among("id", ids), self._db.dialect.among("notice_id", ids)
        rows = await self._db.fetch_rows(
            f"SELECT send_id FROM notices WHERE {these.sql} AND send_id IS NOT NULL"
            f" UNION ALL SELECT send_id FROM redriven WHERE {earlier.sql}",
            (*these.params, *earlier.params),
        )
        sends = self._db.dialect.among("id", sorted({send for (send,) in rows}))
        removed = await self._db.run_statement(f"DELETE FROM redriven WHERE {earlier.sql}", earlier.params)
        removed += await self._db.run_statement(f"DELETE FROM notices WHERE {these.sql}", these.params)
        rows = await self._db.fetch_rows(
            f"SELECT id FROM sends WHERE {sends.sql}"
            " AND NOT EXISTS (SELECT 1 FROM notices WHERE notices.send_id = sends.id)"
            " AND NOT EXISTS (SELECT 1 FROM redriven WHERE redriven.send_id = sends.id)",
            sends.params,
        )
        empty = [send for (send,) in rows]
        if not empty:
            return RemovalResult(removed)
        tried, sent = self._db.dialect.among("send_id", empty), self._db.dialect.among("id", empty)
        removed += await self._db.run_statement(f"DELETE FROM attempts WHERE {tried.sql}", tried.params)
        removed += await self._db.run_statement(f"DELETE FROM sends WHERE {sent.sql}", sent.params)
        return RemovalResult(removed, sends=tuple(empty))

    async def _aged_rows(self, sql: str, after: str | int, limit: int) -> list[AgedRow[Any]]:
        return [AgedRow(*row) for row in await self._db.fetch_rows(sql, (after, limit))]

    # -- the file --

    async def page_counts(self) -> tuple[int, int]:
        """The number of free pages in the file, and of all its pages; 0 for both if the database reuses them itself."""
        if self._db.dialect.name != "sqlite":
            return 0, 0
        [(free,)] = await self._db.fetch_rows("PRAGMA freelist_count")
        [(total,)] = await self._db.fetch_rows("PRAGMA page_count")
        return int(free), int(total)

    async def vacuum_pages(self, pages: int) -> None:
        """Return up to `pages` free pages to the file system, if there is a file."""
        if self._db.dialect.name != "sqlite":
            return
        await self._db.fetch_rows(f"PRAGMA incremental_vacuum({int(pages)})")
