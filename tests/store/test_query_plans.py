"""Every statement that the tables run is explained: none may read a large table from end to end, or sort what it pages.

All methods of the tables are called as in `kit/table_tour.py`, over connections that note what they run.
What SQLite plans does not depend on how much is stored, for we never ANALYZE.
"""

import contextlib
import inspect
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from kit.fakes import MODEL, NOW
from kit.table_tour import TOUR
from receiver.store import Store, open_store
from receiver.store.tables.batch_rows import BatchRowTable
from receiver.store.tables.callbacks import CallbackTable
from receiver.store.tables.chains import ChainTable
from receiver.store.tables.gallery import GalleryTable
from receiver.store.tables.hours import HourTable
from receiver.store.tables.lanes import LaneTable
from receiver.store.tables.notices import NoticeTable
from receiver.store.tables.picture_copies import PictureCopyTable
from receiver.store.tables.retention import RetentionQueries
from receiver.store.tables.sends import SendTable
from receiver.store.tables.spend import SpendTable
from receiver.store.tables.standing import StandingQueries
from receiver.store.tables.steps import StepTable
from receiver.store.tables.tasks import TaskTable

pytestmark = pytest.mark.anyio

LARGE = (
    "tasks",
    "images",
    "copies",
    "callbacks",
    "overflow",
    "polls",
    "sends",
    "notices",
    "attempts",
    "redriven",
    "idempotency",
    "spend",
    "spend_totals",
    "hours",
    "attention",
    "steps",
    "searched",
)
SCAN = re.compile(rf"\bSCAN ({'|'.join(LARGE)}|first)\b")

# over SQLite, where one transaction writes at a time, and others have nobody to be called
RUN_NOTHING = {"tasks.lock_due", "sends.lock_targets", "sends.call_senders"}
ALLOWED = {
    "tasks.page": r"SCAN tasks USING INDEX sqlite_autoindex_tasks_1$",  # without a filter: the newest, up to LIMIT
    # an end, among the newest
    "tasks.find_refs": r"SCAN (tasks USING COVERING INDEX sqlite_autoindex_tasks_1|newest)$",
    "tasks.newest_labels": r"SCAN tasks USING INDEX sqlite_autoindex_tasks_1$",  # up to LIMIT
    "callbacks.page": r"SCAN callbacks$",  # likewise: by rowid, backwards, up to LIMIT
    "notices.page": r"SCAN notices$",  # likewise
    "sends.void_leases": r"SCAN sends USING (COVERING )?INDEX sends_sending$",  # once a start; only what is under way
    "start": r"SCAN sends USING (COVERING )?INDEX sends_sending$",  # the same, as it opens
    "tasks.next_queued": r"USE TEMP B-TREE FOR RIGHT PART OF ORDER BY$",  # sorts the lanes, by the heads of each
    "tasks.queue_heads": r"USE TEMP B-TREE FOR RIGHT PART OF ORDER BY$",  # the same
    "lanes.last_restore": r"USE TEMP B-TREE FOR ORDER BY$",  # a row for each restore
    "lanes.queued": r"USE TEMP B-TREE FOR RIGHT PART OF ORDER BY$",  # likewise, the lanes
    "batch_rows.in_states": r"USE TEMP B-TREE FOR (RIGHT PART OF )?ORDER BY$",  # a page of each state; those of a line
    "sends.next_send": r"USE TEMP B-TREE FOR ORDER BY$",  # one send due, and those under way
    "chains.open_picks": r"SCAN tasks USING INDEX tasks_pick$",  # only what waits for a pick, up to LIMIT
    "chains.count_picks": r"SCAN tasks USING INDEX tasks_pick$",  # likewise
    "batch_rows.count_picks": r"SCAN tasks USING INDEX tasks_pick$",  # likewise; a batch may have 100,000 queued ones
    "chains.count_held": r"SCAN tasks USING (COVERING )?INDEX tasks_(pick|held_child)$",  # likewise
    "notices.by_refs": r"USE TEMP B-TREE FOR ORDER BY$",  # sorts the notices of the tasks on one page
    "notices.count_without_target": r"USE TEMP B-TREE FOR GROUP BY$",  # once a start; what is open, by target
    "pruning.drop_tasks": r"USE TEMP B-TREE FOR DISTINCT$",  # the lanes of the tasks of one turn
    "standing.unsure": r"SCAN tasks USING INDEX tasks_unsure$",  # only these, up to LIMIT
    "standing.held_for_person": r"SCAN tasks USING INDEX tasks_person$",  # likewise
    "standing.common_models": r"USE TEMP B-TREE FOR ORDER BY$",  # sorts the models
    # only these, each up to LIMIT
    "gallery.counts": r"SCAN tasks USING INDEX tasks_(underway|person|pick|unsure)$",
    **dict.fromkeys(  # the tasks of one line
        ("gallery.tasks_of_batch", "gallery.batch_news", "gallery.batch_cards"),
        r"USE TEMP B-TREE FOR RIGHT PART OF ORDER BY$",
    ),
    "steps.add": r"USE TEMP B-TREE FOR ORDER BY$",  # sorts the steps of a task
    "spend.sum_by": r"USE TEMP B-TREE FOR (GROUP|ORDER) BY$",  # a report of the days that are asked for
    "notices.send_attempts": r"USE TEMP B-TREE FOR ORDER BY$",  # sorts the tries at the sends that are asked for
}
"""Lines of plans that would fail, and why they may stand.

A plan does not show how much an index holds. Some searches go through all that is open, or dead: `count_by_state`, by
an index alone, some 30 ms for half a million; `count_without_target`, `count_owed` and `bury_targets`, once a start;
`redrive` of several targets.
"""


class Ran(Struct, frozen=True):
    """A statement, with as many parameters as it takes, and the method of a table that ran it."""

    method: str
    sql: str
    params: tuple[object, ...]


class Noting:
    """What was run since the test began, and for which method."""

    def __init__(self) -> None:
        self.method = "start"
        self.ran: dict[tuple[str, str], Ran] = {}

    def note(self, sql: str, params: Any) -> None:
        if sql.lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "PRAGMA")):
            self.ran.setdefault((self.method, sql), Ran(self.method, sql, tuple(params)))

    def connect(self, *args: Any, **how: Any) -> sqlite3.Connection:
        """`sqlite3.connect`, to a connection that notes whatever runs on it, by whichever call."""
        noting = self

        class Cursor(sqlite3.Cursor):
            def execute(self, sql: str, params: Any = (), /) -> "Cursor":
                noting.note(sql, params)
                super().execute(sql, params)
                return self

            def executemany(self, sql: str, rows: Any, /) -> "Cursor":
                rows = list(rows)
                for row in rows[:1]:
                    noting.note(sql, row)
                super().executemany(sql, rows)
                return self

        class Connection(sqlite3.Connection):  # whose own ways to execute do not pass through cursor()
            def cursor(self, factory: Any = Cursor) -> Any:
                return super().cursor(factory)

            def execute(self, sql: str, params: Any = (), /) -> Cursor:
                return Cursor(self).execute(sql, params)

            def executemany(self, sql: str, rows: Any, /) -> Cursor:
                return Cursor(self).executemany(sql, rows)

        opened: sqlite3.Connection = _connect(*args, **{**how, "factory": Connection})
        return opened


_connect = sqlite3.connect


@pytest.fixture
def noting(monkeypatch: pytest.MonkeyPatch) -> Noting:
    noting = Noting()
    monkeypatch.setattr(sqlite3, "connect", noting.connect)
    return noting


@pytest.fixture
async def store(noting: Noting, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "r.db")
    yield opened
    await opened.close()


async def toured(store: Store, noting: Noting) -> list[Ran]:
    """Make the tour; what it ran."""
    for call in TOUR:
        more = call.more
        if call.method == "redrive":
            more = {"now": NOW, "targets": None, "ids": None, "to": None, **more}
        async with store.write() as tx:
            noting.method = f"{call.table}.{call.method}"
            method: Callable[..., Awaitable[object]] = getattr(getattr(tx, call.table), call.method)
            await method(*call.args, **more)
    return list(noting.ran.values())


def explained(ran: Ran, path: Path) -> list[str]:
    """The lines of a statement's plan."""
    with contextlib.closing(_connect(path)) as to_explain:
        return [line for *_, line in to_explain.execute(f"EXPLAIN QUERY PLAN {ran.sql}", ran.params)]


async def test_the_tour_calls_every_method_of_the_tables(store: Store, noting: Noting) -> None:
    kinds = {
        "tasks": TaskTable,
        "copies": PictureCopyTable,
        "callbacks": CallbackTable,
        "notices": NoticeTable,
        "sends": SendTable,
        "pruning": RetentionQueries,
        "spend": SpendTable,
        "batch_rows": BatchRowTable,
        "lanes": LaneTable,
        "chains": ChainTable,
        "hours": HourTable,
        "gallery": GalleryTable,
        "steps": StepTable,
        "standing": StandingQueries,
    }
    every = {
        f"{table}.{name}"
        for table, kind in kinds.items()
        for name, _ in inspect.getmembers(kind, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }
    assert {f"{call.table}.{call.method}" for call in TOUR} == every
    ran = await toured(store, noting)
    assert every - {it.method for it in ran} == RUN_NOTHING, "what the others ran was not noted"


async def test_no_statement_reads_a_large_table_from_end_to_end(store: Store, noting: Noting, tmp_path: Path) -> None:
    wrong, used = [], set()
    for ran in await toured(store, noting):
        for line in explained(ran, tmp_path / "r.db"):
            if SCAN.search(line) or "TEMP B-TREE" in line:
                newest = not ran.method.endswith(".page") or "WHERE" not in ran.sql
                if newest and re.search(ALLOWED.get(ran.method, "$^"), line):
                    used.add(ran.method)
                else:
                    wrong.append(f"{ran.method}: {line}\n    {ran.sql}")
    assert not wrong, "\n".join(wrong)
    assert used == set(ALLOWED), f"no longer needed: {set(ALLOWED) - used}"


INDEXES = {
    ("tasks", "ref"): {"lane": "tasks_batch", "state": "tasks_state", "label": "tasks_label", "model": "tasks_model"},
    ("callbacks", "id"): {"ref": "callbacks_ref", "verdict": "callbacks_verdict"},
    ("notices", "id"): {"ref": "notices_ref", "state": "notices_state", "target": "notices_target"},
}


@pytest.mark.parametrize(
    ("table", "led_by", "filters"),
    [
        ("tasks", "state", {"state": "failed", "label": "hero", "model": MODEL}),
        ("tasks", "label", {"state": "completed", "label": "hero", "model": MODEL}),
        ("tasks", "model", {"state": "completed", "model": MODEL}),
        ("tasks", "lane", {"lane": 4, "state": "failed", "label": "hero", "model": MODEL}),
        ("callbacks", "ref", {"ref": "r", "verdict": "accepted"}),
        ("notices", "ref", {"ref": "r", "state": "dead", "target": "slack"}),
        ("notices", "state", {"state": "dead", "target": "slack"}),
        ("notices", "target", {"state": "sent", "target": "slack"}),
    ],
)
@pytest.mark.parametrize("before", [None, 9])
async def test_a_page_with_several_filters_follows_the_narrowest(
    store: Store, noting: Noting, tmp_path: Path, table: str, led_by: str, filters: dict[str, Any], before: int | None
) -> None:
    noting.ran.clear()
    await getattr(store, table).page(before=before and str(before), **filters)
    [ran] = noting.ran.values()
    [(order, indexes)] = [(order, indexes) for (name, order), indexes in INDEXES.items() if name == table]
    bounds = f"{led_by}=?" + (f" AND {order}<?" if before else "")
    led, *asked = [line for line in explained(ran, tmp_path / "r.db") if "SUBQUERY" not in line]
    assert led == f"SEARCH {table} USING INDEX {indexes[led_by]} ({bounds})"
    asked_for = {
        f"SEARCH also USING COVERING INDEX {indexes[it]} ({it}=? AND {order}>? AND {order}<?)" for it in filters
    }
    assert len(asked) == len(filters) - 1
    assert set(asked) < asked_for


async def test_the_dead_of_one_target_are_found_without_those_of_the_others(
    store: Store, noting: Noting, tmp_path: Path
) -> None:
    noting.ran.clear()
    async with store.write() as tx:
        await tx.notices.redrive(NOW, targets=["slack"], ids=None, to=None)
    [ran] = [it for it in noting.ran.values() if it.sql.startswith("SELECT")]
    assert "SEARCH notices USING INDEX notices_dead (target=?)" in explained(ran, tmp_path / "r.db")
