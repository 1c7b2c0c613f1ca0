"""What the gallery shows: pages of tasks and batches, newest first, each read by index, however much is stored.

Several filters at once are served by walking the index of one and looking at each row for the others. If that would
be long, a page looks at `LOOKED` rows only and may be short; `GalleryPage.before` then says where to go on.
"""

from collections.abc import Sequence

from msgspec import Struct

from receiver.core.types import QueueLane, Task, TaskState
from receiver.store.tables import task_rows
from receiver.store.tables.batch_rows import BatchRowTable
from receiver.store.tables.connection import TableConnection, enum_text
from receiver.store.tables.gallery_filters import UNDER_WAY, Filter, Walk, filters_for, is_shown
from receiver.store.tables.lanes import COLUMNS as LANE_COLUMNS
from receiver.store.tables.lanes import lane_from_row
from receiver.store.tables.search_words import beginnings_of, has_words
from receiver.store.tables.task_rows import COLUMNS, COLUMNS_OF_TASKS

COUNTED_MOST = 1_000
FEW = 500  # rows of a filter whose texts are read
LOOKED = 3_000  # rows of one filter's index that a page looks at for the others
BATCHES_MOST = 20
LANES_MOST = 1_000  # batches that are under way, or ended within a day, among which the newest are looked for
STRIP = 8  # pictures on a batch's card
DAY_MS = 86_400_000  # a batch stays on top for that long after its end

_LAST_KEY = "~"  # after every ref


class GalleryPage(Struct, frozen=True):
    """A page: tasks and batches, newest first. `before` goes to the next call; None if there is nothing older."""

    cards: Sequence[Task | QueueLane] = ()
    before: str | None = None

    @property
    def tasks(self) -> list[Task]:
        """The tasks among them."""
        return [it for it in self.cards if isinstance(it, Task)]

    @property
    def batches(self) -> list[QueueLane]:
        """The batches among them."""
        return [it for it in self.cards if isinstance(it, QueueLane)]


class BatchNews(Struct, frozen=True):
    """A batch that is under way or ended within a day: its rows by state, and its newest completed tasks."""

    lane: QueueLane
    states: dict[TaskState, int]
    newest: Sequence[Task]


class GalleryCounts(Struct, frozen=True):
    """How many tasks and batches are under way, and how many tasks need a person; `COUNTED_MOST` is that or more."""

    underway: int
    needs: int


class Neighbours(Struct, frozen=True):
    """The refs of the tasks before and after one in the gallery."""

    newer: str | None
    older: str | None


class PollRow(Struct, frozen=True):
    """One poll: when, its result (a `PollResult`), and what was heard, in a line."""

    at: int
    heard: str
    text: str


class GalleryTable:
    """The queries of the pages, on one connection."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    # -- pages --

    async def page(
        self,
        show: str = "all",
        words: str = "",
        model: str | None = None,
        label: str | None = None,
        before: str | None = None,
        limit: int = 60,
        *,
        now: int,
    ) -> GalleryPage:
        """Up to `limit` cards, newest first, before the ref `before`.

        `show` is all, underway, needs, failed (and lost) or completed; nothing is found for another word. Alone, `all`
        and `underway` leave out the tasks of batches: `all` has one card for each batch that ended a day ago or
        earlier, and `batch_cards` has the others. With `words`, `model` or `label` these tasks are cards of their own.
        """
        if not is_shown(show):
            return GalleryPage()
        beginnings = beginnings_of(words)
        filters = filters_for(show, model, label, now, alone=not beginnings)
        if beginnings:
            expression = self._db.dialect.words_expression(beginnings)
            bound = 2**62 if before is None else await self._search_bound(before)
            for it in filters:
                if await self._look_back(it.walks, _LAST_KEY, FEW) == "":
                    return await self._page_of_few(words, it, filters, bound, limit)
            return await self._page_of_words(expression, filters, bound, limit)
        tasks, more_from = await self._walk(filters, before or _LAST_KEY, limit)
        keyed: list[tuple[str, Task | QueueLane]] = [(it.ref, it) for it in tasks]
        if show == "all" and model is None and label is None:
            since = tasks[-1].ref if len(tasks) > limit else ""
            keyed += [(batch_key(it), it) for it in await self._ended_batches(since, before or _LAST_KEY, limit, now)]
            keyed.sort(key=lambda it: it[0], reverse=True)
        if len(keyed) > limit:
            more_from = keyed[limit - 1][0]
        return GalleryPage([it for _, it in keyed[:limit]], more_from)

    async def _walk(self, filters: Sequence[Filter], before: str, limit: int) -> tuple[list[Task], str | None]:
        """One task more than `limit`, if there are so many; and where to go on, if only a part was looked at."""
        first, since = filters[0], ""
        if len(filters) > 1 or not first.is_exact:
            floors = [await self._look_back(it.walks, before, LOOKED) for it in filters]
            since = min(floors)  # as far back as a page can look; empty, if all rows of a filter can be looked at
            first = filters[floors.index(since)]
        checks = [it.check for it in filters if it is not first or not it.is_exact]
        each = " AND ".join(["ref < ?", *(["ref >= ?"] if since else []), *(it.sql for it in checks)])
        sql = " UNION ALL ".join(f"SELECT {COLUMNS} FROM tasks WHERE {walk.sql} AND {each}" for walk in first.walks)
        shared = [before, *([since] if since else []), *(param for it in checks for param in it.params)]
        params = [param for walk in first.walks for param in (*walk.params, *shared)]
        rows = await self._db.fetch_rows(f"{sql} ORDER BY ref DESC LIMIT ?", (*params, limit + 1))
        return [task_rows.task_from_row(row) for row in rows], since or None

    async def _look_back(self, walks: Sequence[Walk], before: str, most: int) -> str:
        """The last ref of the `most` that a page may look at; empty if there are fewer."""
        sql = " UNION ALL ".join(f"SELECT ref FROM tasks WHERE {it.sql} AND ref < ?" for it in walks)
        params = [it for walk in walks for it in (*walk.params, before)]
        rows = await self._db.fetch_rows(f"{sql} ORDER BY ref DESC LIMIT 1 OFFSET ?", (*params, most - 1))
        return rows[0][0] if rows else ""

    async def _ended_batches(self, since: str, before: str, limit: int, now: int) -> list[QueueLane]:
        """The batches that ended a day ago or earlier, with keys between these; without those whose tasks are gone."""
        rows = await self._db.fetch_rows(
            f"SELECT {LANE_COLUMNS} FROM lanes WHERE batch = 1 AND created_at >= ? AND created_at <= ?"
            " AND +finished_at <= ? AND EXISTS (SELECT 1 FROM tasks WHERE tasks.lane = lanes.id AND tasks.lane > 3)"
            " ORDER BY created_at DESC LIMIT ?",
            (_key_time(since, 0), _key_time(before, 2**62), now - DAY_MS, limit + 1),
        )
        lanes = [lane_from_row(row) for row in rows]
        return [it for it in lanes if since < batch_key(it) < before]

    # -- search --

    async def _page_of_few(
        self, words: str, few: Filter, filters: Sequence[Filter], bound: int, limit: int
    ) -> GalleryPage:
        """The same where one of the filters has so few rows that their texts are read instead of the index."""
        walks = " UNION ALL ".join(f"SELECT ref FROM tasks WHERE {it.sql} AND ref < ?" for it in few.walks)
        checks = " AND ".join(it.check.sql for it in filters)
        rows = await self._db.fetch_rows(
            f"SELECT searched.id, tasks.ref, tasks.label, tasks.prompt FROM ({walks}) AS few"
            " CROSS JOIN searched ON searched.ref = few.ref CROSS JOIN tasks ON tasks.ref = few.ref"
            f" WHERE searched.id < ? AND {checks}",
            (
                *(param for it in few.walks for param in (*it.params, _LAST_KEY)),
                bound,
                *(param for it in filters for param in it.check.params),
            ),
        )
        having = sorted(((number, ref) for number, ref, *texts in rows if has_words(words, *texts)), reverse=True)
        refs = [ref for _, ref in having[: limit + 1]]
        if not refs:
            return GalleryPage()
        which = self._db.dialect.among("ref", refs)
        found = await self._db.fetch_rows(f"SELECT {COLUMNS} FROM tasks WHERE {which.sql}", which.params)
        tasks = {row[0]: task_rows.task_from_row(row) for row in found}
        page = [tasks[it] for it in refs if it in tasks]
        return GalleryPage(page[:limit], page[limit - 1].ref if len(page) > limit else None)

    async def _page_of_words(self, expression: str, filters: Sequence[Filter], bound: int, limit: int) -> GalleryPage:
        """A page of the tasks with these words, those that came last first."""
        floor = await self._look_back_in_words(expression, bound) if filters else 0
        checks = [it.check for it in filters]
        more = "".join(f" AND {it.sql}" for it in checks)
        index = self._db.dialect.words
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS_OF_TASKS} FROM {index.with_refs} CROSS JOIN tasks ON tasks.ref = searched.ref"
            f" WHERE {index.match} AND {index.key} < ? AND {index.key} >= ?{more}"
            f" ORDER BY {index.key} DESC LIMIT ?",
            (expression, bound, floor, *(param for it in checks for param in it.params), limit + 1),
        )
        tasks = [task_rows.task_from_row(row) for row in rows]
        if len(tasks) > limit:
            return GalleryPage(tasks[:limit], tasks[limit - 1].ref)
        return GalleryPage(tasks, await self._searched_ref(floor) if floor else None)

    async def _search_bound(self, before: str) -> int:
        """The number that those of older tasks are less than; of a task that is gone, as near as can be known."""
        rows = await self._db.fetch_rows(
            "SELECT id, ref FROM searched WHERE ref <= ? ORDER BY ref DESC LIMIT 1", (before,)
        )
        return 0 if not rows else rows[0][0] + (rows[0][1] != before)

    async def _look_back_in_words(self, expression: str, bound: int) -> int:
        """The last number that a page may look at; 0 if that is all."""
        index = self._db.dialect.words
        rows = await self._db.fetch_rows(
            f"SELECT {index.key} FROM {index.source} WHERE {index.match} AND {index.key} < ?"
            f" ORDER BY {index.key} DESC LIMIT 1 OFFSET ?",
            (expression, bound, LOOKED - 1),
        )
        return rows[0][0] if rows else 0

    async def _searched_ref(self, number: int) -> str | None:
        rows = await self._db.fetch_rows("SELECT ref FROM searched WHERE id = ?", (number,))
        return rows[0][0] if rows else None

    # -- batches --

    async def batch_cards(self, now: int, limit: int = BATCHES_MOST) -> list[BatchNews]:
        """The newest batches that are under way, or ended within a day, with what their cards show."""
        some = f"SELECT {LANE_COLUMNS} FROM lanes WHERE +batch = 1 AND"
        rows = await self._db.fetch_rows(f"{some} finished_at IS NULL LIMIT ?", (LANES_MOST,))
        rows += await self._db.fetch_rows(
            f"{some} finished_at > ? ORDER BY finished_at DESC LIMIT ?", (now - DAY_MS, LANES_MOST)
        )
        lanes = sorted(map(lane_from_row, rows), key=batch_key, reverse=True)
        return await self.batch_news(lanes[:limit])

    async def batch_news(self, lanes: Sequence[QueueLane]) -> list[BatchNews]:
        """What the cards of these batches show, in their order."""
        if not lanes:
            return []
        states = await BatchRowTable(self._db).states_by_lane([it.id for it in lanes])
        return [
            BatchNews(it, states[it.id], await self.tasks_of_batch(it.id, [TaskState.COMPLETED], None, STRIP))
            for it in lanes
        ]

    async def tasks_of_batch(
        self, lane: int, states: Sequence[TaskState], before: str | None, limit: int
    ) -> list[Task]:
        """Up to `limit` rows' tasks in these states, the last line first, before the one of the ref `before`."""
        line: int | None = 2**62
        if before is not None:
            found = await self._db.fetch_rows("SELECT turn FROM tasks WHERE ref = ? AND lane = ?", (before, lane))
            line = found[0][0] if found else None
        if line is None:
            return []
        each = (
            f"SELECT {COLUMNS} FROM tasks WHERE lane = ? AND lane > 3 AND state = ? AND turn > 0 AND turn <= ?"
            " AND (turn < ? OR ref < ?)"
        )
        params = [it for state in states for it in (lane, enum_text(state), line, line, before or _LAST_KEY)]
        rows = await self._db.fetch_rows(
            f"{' UNION ALL '.join([each] * len(states))} ORDER BY turn DESC, ref DESC LIMIT ?", (*params, limit)
        )
        return [task_rows.task_from_row(row) for row in rows]

    # -- a task --

    async def neighbours(self, ref: str) -> Neighbours:
        """The next newer and older task of this one: of a batch's, within its batch; of a single one, of the single
        ones. None for both if there is no such task."""
        lanes = await self._db.fetch_rows("SELECT lane FROM tasks WHERE ref = ?", (ref,))
        if not lanes:
            return Neighbours(None, None)
        [(lane,)] = lanes
        where, params = ("lane = ? AND lane > 3", (lane,)) if lane > 3 else ("lane <= 3", ())
        [(newer, older)] = await self._db.fetch_rows(
            f"SELECT (SELECT ref FROM tasks WHERE {where} AND ref > ? ORDER BY ref LIMIT 1),"
            f" (SELECT ref FROM tasks WHERE {where} AND ref < ? ORDER BY ref DESC LIMIT 1)",
            (*params, ref, *params, ref),
        )
        return Neighbours(newer, older)

    async def polls(self, ref: str, limit: int) -> list[PollRow]:
        """The last `limit` polls of a task, newest first."""
        rows = await self._db.fetch_rows(
            "SELECT at, heard, text FROM polls WHERE ref = ? ORDER BY id DESC LIMIT ?", (ref, limit)
        )
        return [PollRow(*row) for row in rows]

    # -- counts --

    async def counts(self, now: int) -> GalleryCounts:
        """The numbers of the chips, each up to `COUNTED_MOST`."""
        [needs] = filters_for("needs", None, None, now, alone=True)
        newest = " UNION ALL ".join(
            f"SELECT * FROM (SELECT ref FROM tasks WHERE {it.sql} ORDER BY ref DESC LIMIT ?) AS few"
            for it in needs.walks
        )
        [(underway, batches, waiting)] = await self._db.fetch_rows(
            f"SELECT (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE {UNDER_WAY} LIMIT ?) AS few),"
            " (SELECT count(*) FROM lanes WHERE finished_at IS NULL AND +batch = 1),"
            f" (SELECT count(*) FROM ({newest}) AS each_one CROSS JOIN tasks ON tasks.ref = each_one.ref"
            f" WHERE {needs.check.sql})",
            (
                COUNTED_MOST,
                *(param for it in needs.walks for param in (*it.params, COUNTED_MOST)),
                *needs.check.params,
            ),
        )
        return GalleryCounts(min(underway + batches, COUNTED_MOST), min(waiting, COUNTED_MOST))


def batch_key(lane: QueueLane) -> str:
    """Where a batch belongs among the refs of tasks: at the time when it was opened. In the form of a ref."""
    at = f"{lane.created_at:012x}"
    return f"{at[:8]}-{at[8:]}-7000-8000-{lane.id:012x}"


def _key_time(key: str, otherwise: int) -> int:
    return int(key[:8] + key[9:13], 16) if key[8:9] == "-" else otherwise
