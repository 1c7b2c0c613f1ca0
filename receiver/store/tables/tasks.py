"""The tasks and their images: reading, writing, claiming.

A task's changed columns are written back, guarded by the state it was read in: an update that finds
fewer rows than it was given ends the transaction with `Stale`, and it is decided again.
"""

from collections.abc import Iterable, Sequence

from receiver.core.types import Image, Task, TaskState
from receiver.store.tables import task_rows
from receiver.store.tables.connection import Row, TableConnection, Topic, placeholders, where_clause
from receiver.store.tables.task_rows import COLUMNS

KEY_MS = 30 * 86_400_000  # as long as an Idempotency-Key is known


class TaskTable:
    """The table of tasks, over one connection."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def get(self, refs: Sequence[str]) -> dict[str, Task]:
        """The tasks of `refs` that exist, by ref, in one query."""
        rows = await self._db.fetch_rows(f"SELECT {COLUMNS} FROM tasks WHERE ref IN ({placeholders(len(refs))})", refs)
        return {row[0]: task_rows.task_from_row(row) for row in rows}

    async def insert(self, tasks: Iterable[Task]) -> None:
        """Add new tasks."""
        tasks = list(tasks)
        self._db.defer(task_rows.INSERT_SQL, [task_rows.row_from_task(task) for task in tasks])
        for task in tasks:
            self._note_change(task)

    async def update(self, changes: Sequence[tuple[Task, Task]]) -> None:
        """Write back pairs of (as read, as it shall be). The commit raises Stale if one is in another state by then."""
        alike: dict[
            tuple[str, ...], list[Row]
        ] = {}  # by which columns change: those alone are written, and their indexes
        for old, new in changes:
            names, values = task_rows.changed_columns(old, new)
            if names:
                alike.setdefault(names, []).append((old.ref, old.state.value, *values))
                self._note_change(new, old)
        for names, rows in alike.items():
            self._db.defer(task_rows.update_sql(names), rows, expect=len(rows))

    def _note_change(self, new: Task, old: Task | None = None) -> None:
        self._db.touched.add(new.ref)
        freed = old is not None and old.place_until is not None and new.place_until is None
        if new.due_at is not None or freed:
            self._db.woken.add(Topic.SUBMIT)
        if new.poll_at is not None and (old is None or new.poll_at != old.poll_at):
            self._db.woken.add(Topic.SWEEP)
        if new.archive_at is not None:
            self._db.woken.add(Topic.ARCHIVE)

    async def by_task_id(self, provider: str, task_ids: Sequence[str]) -> dict[str, str]:
        """Which task has which of the provider's ids: task_id -> ref."""
        rows = await self._db.fetch_rows(
            f"SELECT task_id, ref FROM tasks WHERE provider = ? AND task_id IN ({placeholders(len(task_ids))})",
            (provider, *task_ids),
        )
        return dict(rows)

    async def page(
        self,
        *,
        state: str | None = None,
        label: str | None = None,
        model: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Task]:
        """Up to `limit` tasks, newest first, before the ref `before`; refs sort by time."""
        by = [("label", label), ("model", model)]
        by.insert(len(by) if state == TaskState.COMPLETED else 0, ("state", state))  # of all states, one keeps growing
        where, params = where_clause("tasks", by, before=("ref", before))
        sql = f"SELECT {COLUMNS} FROM tasks {where} ORDER BY ref DESC LIMIT ?"
        return [task_rows.task_from_row(row) for row in await self._db.fetch_rows(sql, (*params, limit))]

    # -- images --

    async def images_by_ref(self, refs: Sequence[str]) -> dict[str, tuple[Image, ...]]:
        """The images of each of `refs` that has any, in order of `image_no`."""
        rows = await self._db.fetch_rows(
            f"SELECT ref, image_no, url, type, job_id FROM images WHERE ref IN ({placeholders(len(refs))})"
            " ORDER BY ref, image_no",
            refs,
        )
        found: dict[str, tuple[Image, ...]] = {}
        for ref, *rest in rows:
            found[ref] = (*found.get(ref, ()), Image(*rest))
        return found

    async def add_images(self, images: Iterable[tuple[str, Image]]) -> None:
        """Record pairs of (ref, image); a place that is already taken stays as it is."""
        self._db.defer(
            "INSERT INTO images (ref, image_no, url, type, job_id) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(ref, image.image_no, image.url, image.type, image.job_id) for ref, image in images],
        )

    # -- what the loops look for --

    async def next_queued(self, now: int) -> Task | None:
        """The queued task whose turn it is, if there is one."""
        return await self._first_due("due_at", now)

    async def any_due(self, now: int) -> bool:
        """Whether a queued task's turn has come, or a submission's lease has run out."""
        return bool(await self.next_queued(now) or await self.overdue_answers(now, limit=1))

    async def next_due(self, after: int) -> int | None:
        """When, after `after`, the next queued task may be submitted."""
        return await self._next_time("due_at", after)

    async def release_paused(self, now: int) -> bool:
        """Let the tasks that were held by a refused key be tried now; whether there were any."""
        released = await self._db.run_statement(
            "UPDATE tasks SET due_at = ? WHERE due_at > ? AND held_by = 'pause'", (now, now)
        )
        if released:
            self._db.woken.add(Topic.SUBMIT)
        return bool(released)

    async def places_taken(self, now: int) -> int:
        """How many places of the provider's concurrency are taken."""
        [(count,)] = await self._db.fetch_rows(
            "SELECT count(*) FROM tasks WHERE place_until IS NOT NULL AND place_until > ?", (now,)
        )
        return int(count)

    async def next_place(self, after: int) -> int | None:
        """When, after `after`, the next place of an unsure task falls free by itself."""
        return await self._next_time("place_until", after)

    async def overdue_answers(self, now: int, limit: int = 200) -> list[Task]:
        """Tasks in `submitting` whose answer will not come any more: their lease has run out."""
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM tasks WHERE lease_until <= ? AND state = 'submitting' LIMIT ?", (now, limit)
        )
        return [task_rows.task_from_row(row) for row in rows]

    async def next_lease(self, after: int) -> int | None:
        """When, after `after`, the next lease of a submission or a poll runs out."""
        return await self._next_time("lease_until", after)

    async def void_leases(self) -> None:
        """At the start of a process that is alone: no submission, poll or first fetch is under way any more.

        A later fetch keeps its time, which may as well be that of its next try.
        """
        self._db.defer("UPDATE tasks SET lease_until = 0 WHERE lease_until IS NOT NULL", [()])
        self._db.defer("UPDATE tasks SET archive_at = 0 WHERE archive_at > 0 AND archive_tries = 0", [()])

    async def next_overdue(self, now: int) -> Task | None:
        """The task that is to be looked at first, if its time has come and nobody holds it."""
        free = " AND (lease_until IS NULL OR lease_until <= ?) AND state <> 'submitting'"
        return await self._first_due("poll_at", now, free, (now,))

    async def pull_in(
        self,
        now: int,
        *,
        lease_ms: int | None = None,
        due_ms: int | None = None,
        poll_ms: int | None = None,
        archive_ms: int | None = None,
    ) -> None:
        """Times further ahead than their own maximum were set by a clock that has been put back: they have come.

        A task without the provider's id may well wait for its deadline; the others are polled sooner.
        """
        for column, most, where in (
            ("due_at", due_ms, ""),
            ("poll_at", poll_ms, " AND task_id IS NOT NULL"),
            ("lease_until", lease_ms, ""),
            ("archive_at", archive_ms, ""),
        ):
            if most is not None:
                self._db.defer(f"UPDATE tasks SET {column} = ? WHERE {column} > ?{where}", [(now, now + most)])

    async def next_poll(self, after: int) -> int | None:
        """When, after `after`, the next waiting task is to be looked at."""
        return await self._next_time("poll_at", after)

    async def due_for_archive(self, now: int, *, first_only: bool = False, limit: int = 1) -> list[Task]:
        """Up to `limit` tasks whose pictures are to be fetched now; `first_only`: those never tried before."""
        first = " AND archive_tries = 0" if first_only else ""
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM tasks WHERE archive_at <= ?{first} ORDER BY archive_at LIMIT ?", (now, limit)
        )
        return [task_rows.task_from_row(row) for row in rows]

    async def next_archive(self, after: int) -> int | None:
        """When, after `after`, the pictures of the next task are to be fetched."""
        return await self._next_time("archive_at", after)

    async def recent_durations(self, model: str, limit: int) -> list[int]:
        """How long, in milliseconds, the model's last tasks took that were settled by accepted callbacks."""
        rows = await self._db.fetch_rows(
            "SELECT settled_at - submitted_at FROM tasks WHERE settled_by = 'callback' AND confirmed = 1 AND model = ? "
            "ORDER BY settled_at DESC LIMIT ?",
            (model, limit),
        )
        return [took for (took,) in rows if took is not None]

    async def count_by_state(self) -> list[tuple[str, int]]:
        """How many tasks are in each unsettled state."""
        return await self._db.fetch_rows(
            "SELECT state, count(*) FROM tasks WHERE state IN ('queued', 'submitting', 'waiting') GROUP BY state"
        )

    async def count_to_archive(self) -> int:
        """Of how many tasks pictures are still to be fetched."""
        [(count,)] = await self._db.fetch_rows("SELECT count(*) FROM tasks WHERE archive_at IS NOT NULL")
        return count  # type: ignore[no-any-return]  # it is a count

    async def open_keys(self) -> list[str]:
        """The ids of the keys whose callback URLs are still awaited."""
        return [
            key
            for (key,) in await self._db.fetch_rows(
                "SELECT DISTINCT key_id FROM tasks WHERE key_id IS NOT NULL AND settled_at IS NULL"
            )
        ]

    async def _first_due(self, column: str, now: int, more: str = "", params: Row = ()) -> Task | None:
        """The task whose time in `column` has come first."""
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM tasks WHERE {column} <= ?{more} ORDER BY {column} LIMIT 1", (now, *params)
        )
        return task_rows.task_from_row(rows[0]) if rows else None

    async def last_callback(self, model: str) -> int | None:
        """When a callback last settled a task of this model."""
        [(last,)] = await self._db.fetch_rows(
            "SELECT max(settled_at) FROM tasks WHERE settled_by = 'callback' AND confirmed = 1 AND model = ?", (model,)
        )
        return last  # type: ignore[no-any-return]  # INTEGER or NULL by the schema

    async def _next_time(self, column: str, after: int) -> int | None:
        [(least,)] = await self._db.fetch_rows(f"SELECT min({column}) FROM tasks WHERE {column} > ?", (after,))
        return least  # type: ignore[no-any-return]  # INTEGER or NULL by the schema

    # -- polls, idempotency --

    async def add_poll(self, ref: str, at: int, heard: str, text: str, body: bytes | None) -> None:
        """Record one question to the provider; `body` only where it changed anything."""
        self._db.defer(
            "INSERT INTO polls (ref, at, heard, text, body) VALUES (?, ?, ?, ?, ?)", [(ref, at, heard, text, body)]
        )

    async def find_idempotency(self, key: str) -> tuple[bytes, str] | None:
        """The digest and ref that an Idempotency-Key was first used with."""
        rows = await self._db.fetch_rows("SELECT digest, ref FROM idempotency WHERE key = ?", (key,))
        return (rows[0][0], rows[0][1]) if rows else None

    async def remember_key(self, key: str, digest: bytes, ref: str, now: int) -> None:
        """Keep an Idempotency-Key."""
        self._db.defer(
            "INSERT INTO idempotency (key, digest, ref, created_at) VALUES (?, ?, ?, ?)", [(key, digest, ref, now)]
        )

    async def forget_keys(self, now: int, limit: int = 200) -> int:
        """Drop Idempotency-Keys older than `KEY_MS`; how many of at most `limit`."""
        return await self._db.run_statement(
            "DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency WHERE created_at < ? LIMIT ?)",
            (now - KEY_MS, limit),
        )
