"""The tasks and their images: reading, writing, claiming.

A task's changed columns are written back, guarded by the state in which it was read: an update that finds fewer rows
than expected ends the transaction with StaleUpdate, and the caller decides again.
"""

from collections.abc import Iterable, Sequence

from receiver.core.chains import count_held, is_over
from receiver.core.spend import SpendDeltas, add_change
from receiver.core.types import Image, Task, TaskState
from receiver.store.tables import task_rows
from receiver.store.tables.chains import defer_followups, defer_held_counts, forget_followups
from receiver.store.tables.connection import Row, TableConnection, Topic, enum_text
from receiver.store.tables.hours import HourCounts, HourKind, add_settled, defer_hours
from receiver.store.tables.search_index import defer_words
from receiver.store.tables.spend import defer_spend
from receiver.store.tables.task_rows import COLUMNS, COLUMNS_OF_TASKS

KEY_MS = 30 * 86_400_000  # how long an Idempotency-Key is remembered


class TaskTable:
    """The tables of tasks, images, polls and idempotency keys, on one connection."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def get(self, refs: Sequence[str]) -> dict[str, Task]:
        """The tasks of `refs` that exist, by ref."""
        which = self._db.dialect.among("ref", refs)
        tasks = await self._tasks_where(f"{which.sql}{self._db.dialect.lock_by('ref')}", which.params)
        return {task.ref: task for task in tasks}

    async def states(self, refs: Sequence[str]) -> dict[str, tuple[str, int]]:
        """The states and lanes of the tasks of `refs` that exist, by ref."""
        which = self._db.dialect.among("ref", refs)
        rows = await self._db.fetch_rows(f"SELECT ref, state, lane FROM tasks WHERE {which.sql}", which.params)
        return {ref: (state, lane) for ref, state, lane in rows}

    async def insert(self, tasks: Iterable[Task]) -> None:
        """Add new tasks; those that are held count at their parents, which are there or among them."""
        tasks = list(tasks)
        self._db.defer(task_rows.INSERT_SQL, [task_rows.row_from_task(task) for task in tasks])
        defer_words(self._db, tasks)
        spend: SpendDeltas = {}
        settled: HourCounts = {}
        for task in tasks:
            self._note_change(task)
            add_change(spend, None, task)
            add_settled(settled, None, task)
        defer_held_counts(self._db, count_held((None, task) for task in tasks))
        defer_spend(self._db, spend)
        defer_hours(self._db, HourKind.SETTLED, settled)

    async def update(self, changes: Sequence[tuple[Task, Task]], guard: tuple[str, ...] = ()) -> None:
        """Write pairs of (as read, as changed). The commit raises StaleUpdate if a task's state changed meanwhile, or
        one of the columns `guard`, which were not NULL.

        What follows from a change in the chain is written with it: the parent's counts of what it holds, and that the
        children are to be told once a task is over.
        """
        alike: dict[
            tuple[str, ...], list[Row]
        ] = {}  # by the columns that change: only these and their indexes are written
        spend: SpendDeltas = {}
        settled: HourCounts = {}
        for old, new in changes:
            if new.state is not old.state or new.usage is not old.usage or new.model is not old.model:
                add_change(spend, old, new)
            if new.settled_at is not old.settled_at or new.settled_by is not old.settled_by:
                add_settled(settled, old, new)
            if new.children and (over := is_over(new)) is not is_over(old):
                (defer_followups if over else forget_followups)(self._db, [new.ref])
            names, values = task_rows.changed_columns(old, new)
            if names:
                kept = task_rows.guard_values(old, guard) if guard else ()
                alike.setdefault(names, []).append((old.ref, enum_text(old.state), *kept, *values))
                self._note_change(new, old)
        for names, rows in alike.items():
            sql = self._db.dialect.update_each("tasks", ("ref", "state", *guard), names)
            self._db.defer(sql, rows, expect=len(rows))
        reworded = [new for old, new in changes if new.label != old.label or new.prompt != old.prompt]
        defer_words(self._db, reworded, changed=True)
        defer_held_counts(self._db, count_held(changes))
        defer_spend(self._db, spend)
        defer_hours(self._db, HourKind.SETTLED, settled)

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
        """The refs of the tasks with these provider ids: task_id -> ref."""
        which = self._db.dialect.among("task_id", task_ids)
        rows = await self._db.fetch_rows(
            f"SELECT task_id, ref FROM tasks WHERE provider = ? AND {which.sql}", (provider, *which.params)
        )
        return dict(rows)

    async def page(
        self,
        *,
        state: str | None = None,
        label: str | None = None,
        model: str | None = None,
        lane: int | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Task]:
        """Up to `limit` tasks, newest first, before the ref `before`; refs sort by time. `lane` is a batch's."""
        by: list[tuple[str, object]] = [("label", label), ("model", model)]
        by.insert(len(by) if state == TaskState.COMPLETED else 0, ("state", state))  # only this state keeps growing
        by.insert(0, ("lane > 3 AND lane", lane))  # so that the index of batches has it
        where, params = self._db.dialect.page_where("tasks", by, before=("ref", before))
        sql = f"SELECT {COLUMNS} FROM tasks {where} ORDER BY ref DESC LIMIT ?"
        return [task_rows.task_from_row(row) for row in await self._db.fetch_rows(sql, (*params, limit))]

    async def find_refs(
        self, label: str, part: str | None, step: tuple[str, str] | None = None, *, limit: int, looked: int
    ) -> list[str]:
        """Up to `limit` refs each of the tasks with this label, of those that begin with `part` and of those among the
        newest `looked` that end with it, and of those among as many with the label of `step` that are the step of that
        name; the newest first."""
        found = await self._db.fetch_rows(
            "SELECT ref FROM tasks WHERE label = ? ORDER BY ref DESC LIMIT ?", (label, limit)
        )
        if part is not None:
            found += await self._db.fetch_rows(
                "SELECT ref FROM tasks WHERE ref >= ? AND ref < ? ORDER BY ref DESC LIMIT ?",
                (part, f"{part}g", limit),  # g comes after every character of a ref
            )
            found += await self._db.fetch_rows(
                "SELECT ref FROM (SELECT ref FROM tasks ORDER BY ref DESC LIMIT ?) AS newest"
                " WHERE substr(ref, ?) = ? LIMIT ?",
                (looked, 37 - len(part), part, limit),
            )
        if step is not None:
            found += await self._db.fetch_rows(
                "SELECT ref FROM (SELECT ref, step FROM tasks WHERE label = ? ORDER BY ref DESC LIMIT ?) AS newest"
                " WHERE step = ? LIMIT ?",
                (step[0], looked, step[1], limit),
            )
        return sorted({ref for (ref,) in found}, reverse=True)

    async def newest_labels(self, before: str | None, limit: int) -> list[tuple[str, str | None]]:
        """The refs and labels of up to `limit` tasks, newest first, before the ref `before`."""
        where, params = self._db.dialect.page_where("tasks", (), before=("ref", before))
        return await self._db.fetch_rows(
            f"SELECT ref, label FROM tasks {where} ORDER BY ref DESC LIMIT ?", (*params, limit)
        )

    # -- images --

    async def images_by_ref(self, refs: Sequence[str]) -> dict[str, tuple[Image, ...]]:
        """The images of those `refs` that have any, in order of `image_no`."""
        which = self._db.dialect.among("ref", refs)
        rows = await self._db.fetch_rows(
            f"SELECT ref, image_no, url, type, job_id FROM images WHERE {which.sql} ORDER BY ref, image_no",
            which.params,
        )
        found: dict[str, tuple[Image, ...]] = {}
        for ref, *rest in rows:
            found[ref] = (*found.get(ref, ()), Image(*rest))
        return found

    async def add_images(self, images: Iterable[tuple[str, Image]]) -> None:
        """Record pairs of (ref, image); an `image_no` that exists stays as it is."""
        self._db.defer(
            "INSERT INTO images (ref, image_no, url, type, job_id) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(ref, image.image_no, image.url, image.type, image.job_id) for ref, image in images],
        )

    async def remove_images(self, ref: str) -> None:
        """Forget the images of a task, which were those of an end that turned out wrong."""
        self._db.defer("DELETE FROM images WHERE ref = ?", [(ref,)])

    # -- what the loops look for --

    async def next_queued(self, now: int) -> Task | None:
        """The queued task to submit next, if one is due."""
        return next(iter(await self.queue_heads(now, limit=1)), None)

    async def queue_heads(self, now: int, *, limit: int) -> list[Task]:
        """The next task of each lane that has one due, in the order in which they are to be submitted: by the priority
        of the lane, single tasks before batches, then by age."""
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS_OF_TASKS} FROM lanes JOIN tasks ON tasks.ref = (SELECT ref FROM tasks AS t"
            " WHERE t.lane = lanes.id AND t.due_at <= ? ORDER BY t.turn LIMIT 1)"
            " WHERE lanes.finished_at IS NULL AND lanes.paused_at IS NULL"
            " ORDER BY lanes.priority DESC, lanes.batch, tasks.created_at, lanes.id LIMIT ?",
            (now, limit),
        )
        return [task_rows.task_from_row(row) for row in rows]

    async def lock_due(self, task: Task, now: int) -> Task | None:
        """One of the `queue_heads`, to be changed in this transaction. If another one changes it, or just has, the next
        of its lane that is free; None if there is none."""
        if not self._db.dialect.lock:
            return task
        due = await self._tasks_where(f"ref = ? AND due_at <= ?{self._db.dialect.skip}", (task.ref, now))
        if not due:
            where = f"lane = ? AND due_at <= ? ORDER BY turn LIMIT 1{self._db.dialect.skip}"
            due = await self._tasks_where(where, (task.lane, now))
        return due[0] if due else None

    async def next_due(self, after: int) -> int | None:
        """The first time after `after` when a queued task may be submitted."""
        return await self._next_time("due_at", after)

    async def release_paused(self, now: int) -> bool:
        """Make the tasks due now that a refused provider key had paused; whether there were any."""
        released = await self._db.run_statement(
            "UPDATE tasks SET due_at = ? WHERE due_at > ? AND held_by = 'pause'", (now, now)
        )
        if released:
            self._db.woken.add(Topic.SUBMIT)
        return bool(released)

    async def refused(self, limit: int = 200) -> list[Task]:
        """Queued tasks whose refusal is not explained yet, oldest first."""
        where = f"refused_at IS NOT NULL ORDER BY refused_at LIMIT ?{self._db.dialect.skip}"
        tasks = await self._tasks_where(where, (limit,))
        return [task for task in tasks if task.state is TaskState.QUEUED]  # here, so that the index is followed

    async def places_taken(self, now: int) -> int:
        """How many places of the provider's concurrency limit are taken."""
        [(count,)] = await self._db.fetch_rows(
            "SELECT count(*) FROM tasks WHERE place_until IS NOT NULL AND place_until > ?", (now,)
        )
        return int(count)

    async def in_hand(self, now: int) -> int:
        """How many tasks the provider has, or may have, that count towards its concurrency limit."""
        [(count,)] = await self._db.fetch_rows(
            "SELECT count(*) FROM tasks WHERE place_until IS NOT NULL AND place_until > ? AND state = 'waiting'", (now,)
        )
        return int(count)

    async def next_place(self, after: int) -> int | None:
        """The first time after `after` when the place of an unsure task becomes free by itself."""
        return await self._next_time("place_until", after)

    async def overdue_answers(self, now: int, limit: int = 200) -> list[Task]:
        """Tasks in `submitting` whose lease has expired: their answer will not come any more."""
        where = f"lease_until <= ? AND state = 'submitting' LIMIT ?{self._db.dialect.skip}"
        return await self._tasks_where(where, (now, limit))

    async def next_lease(self, after: int) -> int | None:
        """The first time after `after` when the lease of a submission or a poll expires."""
        return await self._next_time("lease_until", after)

    async def void_leases(self) -> None:
        """End all leases when the process starts: it is the only one, so no submission, poll or fetch is under way.

        A fetch that was tried before keeps its time, which may be that of its next retry.
        """
        self._db.defer("UPDATE tasks SET lease_until = 0 WHERE lease_until IS NOT NULL", [()])
        self._db.defer("UPDATE tasks SET archive_at = 0 WHERE archive_at > 0 AND archive_tries = 0", [()])

    async def next_overdue(self, now: int) -> Task | None:
        """The task to poll next, if one is due and not leased."""
        free = " AND (lease_until IS NULL OR lease_until <= ?) AND state <> 'submitting'"
        return await self._first_due("poll_at", now, free, (now,))

    async def pull_in(
        self,
        now: int,
        *,
        lease_ms: int | None = None,
        due_ms: int | None = None,
        poll_ms: int | None = None,
        deadline_ms: int | None = None,
        archive_ms: int | None = None,
    ) -> None:
        """After the clock was set back: times further ahead than these maxima become due now.

        `poll_ms` is for tasks with a provider id or a hint; the others wait for their deadline, up to `deadline_ms`.
        """
        for column, most, where in (
            ("due_at", due_ms, ""),
            ("poll_at", poll_ms, " AND (task_id IS NOT NULL OR hint_until IS NOT NULL)"),
            ("poll_at", deadline_ms, ""),
            ("lease_until", lease_ms, ""),
            ("archive_at", archive_ms, ""),
        ):
            if most is not None:
                self._db.defer(f"UPDATE tasks SET {column} = ? WHERE {column} > ?{where}", [(now, now + most)])

    async def next_poll(self, after: int) -> int | None:
        """The first time after `after` when a waiting task is to be polled."""
        return await self._next_time("poll_at", after)

    async def due_for_archive(
        self, now: int, *, first_only: bool = False, single_only: bool = False, limit: int = 1
    ) -> list[Task]:
        """Up to `limit` tasks whose pictures are to be fetched now; `first_only`: only those never tried;
        `single_only`: no rows of batches."""
        first = " AND archive_tries = 0" if first_only else ""
        first += " AND lane <= 3" if single_only else ""
        where = f"archive_at <= ?{first} ORDER BY archive_at LIMIT ?{self._db.dialect.skip}"
        return await self._tasks_where(where, (now, limit))

    async def next_archive(self, after: int) -> int | None:
        """The first time after `after` when pictures are to be fetched."""
        return await self._next_time("archive_at", after)

    async def recent_durations(self, model: str, limit: int) -> list[int]:
        """The milliseconds that the model's last tasks took, of those settled by accepted callbacks."""
        rows = await self._db.fetch_rows(
            "SELECT settled_at - submitted_at FROM tasks WHERE settled_by = 'callback' AND confirmed = 1 AND model = ? "
            "ORDER BY settled_at DESC LIMIT ?",
            (model, limit),
        )
        return [took for (took,) in rows if took is not None]

    async def count_by_state(self) -> list[tuple[str, int]]:
        """The number of tasks in each unsettled state."""
        states = ("queued", "submitting", "waiting")  # one at a time: three times as fast as grouping
        each = (f"SELECT '{it}', count(*) FROM tasks WHERE state = '{it}'" for it in states)
        rows = await self._db.fetch_rows(" UNION ALL ".join(each))
        return [(state, count) for state, count in rows if count]

    async def count_to_archive(self) -> int:
        """The number of tasks whose pictures are still to be fetched."""
        [(count,)] = await self._db.fetch_rows("SELECT count(*) FROM tasks WHERE archive_at IS NOT NULL")
        return count  # type: ignore[no-any-return]  # it is a count

    async def open_keys(self) -> list[str]:
        """The ids of the secret keys with callback URLs that may still be called."""
        return [
            key
            for (key,) in await self._db.fetch_rows(
                "SELECT DISTINCT key_id FROM tasks WHERE key_id IS NOT NULL AND settled_at IS NULL"
            )
        ]

    async def _first_due(self, column: str, now: int, more: str = "", params: Row = ()) -> Task | None:
        """The task with the earliest due time in `column`, if one is due."""
        where = f"{column} <= ?{more} ORDER BY {column} LIMIT 1{self._db.dialect.skip}"
        return next(iter(await self._tasks_where(where, (now, *params))), None)

    async def _tasks_where(self, where: str, params: Row) -> list[Task]:
        rows = await self._db.fetch_rows(f"SELECT {COLUMNS} FROM tasks WHERE {where}", params)
        return [task_rows.task_from_row(row) for row in rows]

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
        """Record one poll; with its `body` only if it changed anything."""
        self._db.defer(
            "INSERT INTO polls (ref, at, heard, text, body) VALUES (?, ?, ?, ?, ?)", [(ref, at, heard, text, body)]
        )

    async def find_keys(self, keys: Sequence[str]) -> dict[str, tuple[bytes, str]]:
        """The digest and the ref of the first request with each of these Idempotency-Keys that were used."""
        which = self._db.dialect.among("key", keys)
        rows = await self._db.fetch_rows(f"SELECT key, digest, ref FROM idempotency WHERE {which.sql}", which.params)
        return {key: (digest, ref) for key, digest, ref in rows}

    async def remember_keys(self, used: Sequence[tuple[str, bytes, str]], now: int) -> None:
        """Store Idempotency-Keys, each with the digest and the ref of its request."""
        self._db.defer(
            "INSERT INTO idempotency (key, digest, ref, created_at) VALUES (?, ?, ?, ?)",
            [(*it, now) for it in sorted(used)],
        )

    async def by_row_key(self, lane: int, keys: Sequence[bytes]) -> dict[bytes, Task]:
        """The tasks of these rows of a batch, by the rows' keys."""
        which = self._db.dialect.among("row_key", keys)
        where = f"lane = ? AND {which.sql}{self._db.dialect.lock_by('ref')}"
        tasks = await self._tasks_where(where, (lane, *which.params))
        return {task.row_key or b"": task for task in tasks}

    async def forget_keys(self, now: int, limit: int = 200) -> int:
        """Delete up to `limit` Idempotency-Keys older than `KEY_MS`; how many."""
        return await self._db.run_statement(
            "DELETE FROM idempotency WHERE key IN"
            " (SELECT key FROM idempotency WHERE created_at < ? ORDER BY created_at LIMIT ?)",
            (now - KEY_MS, limit),
        )
