"""The outbox: notices owed, what became of them, every attempt, and when attention was last raised.

`tables.sends` gathers notices into sends, claims those and records their results.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from receiver.core.types import Notice, NoticeEvent, NoticeState, Report
from receiver.store.tables.connection import Row, TableConnection, Topic, enum_text
from receiver.store.tables.dialect import SqlPart
from receiver.store.tables.target_locks import lock_targets

COLUMNS = "id, ref, target, event, created_at, due_at, state, attempts, error, sent_at, report"
_report = msgspec.json.Decoder(Report)


class Attempt(Struct, frozen=True):
    """One attempt to deliver a send."""

    send_id: int
    at: int
    duration_ms: int
    error: str | None


class NoticeTable:
    """The table of notices, on one connection."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def insert(self, notices: Iterable[Notice]) -> None:
        """Add notices that are owed, and wake the sending loop."""
        rows = [
            (
                *(
                    it.ref,
                    it.target,
                    enum_text(it.event),
                    it.created_at,
                    it.due_at,
                    enum_text(it.state),
                    it.attempts,
                    it.error,
                ),
                msgspec.json.encode(it.report).decode(),
            )
            for it in notices
        ]
        if rows:
            self._db.defer(
                "INSERT INTO notices (ref, target, event, created_at, due_at, state, attempts, error, report)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            self._db.woken.add(Topic.NOTIFY)

    async def by_refs(self, refs: Sequence[str]) -> dict[str, list[Notice]]:
        """The notices of these tasks by ref, oldest first."""
        which = self._db.dialect.among("ref", refs)
        rows = await self._db.fetch_rows(f"SELECT {COLUMNS} FROM notices WHERE {which.sql} ORDER BY id", which.params)
        found: dict[str, list[Notice]] = {}
        for it in map(notice_from_row, rows):
            found.setdefault(it.ref or "", []).append(it)
        return found

    async def page(
        self,
        *,
        state: str | None = None,
        target: str | None = None,
        ref: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Notice]:
        """Up to `limit` notices, newest first, before the id `before`."""
        by = [("ref", ref), ("target", target)]
        by.insert(len(by) if state == NoticeState.SENT else 1, ("state", state))  # of all states, one keeps growing
        where, params = self._db.dialect.page_where("notices", by, before=("id", before))
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM notices {where} ORDER BY id DESC LIMIT ?",
            (*params, limit),
        )
        return [notice_from_row(row) for row in rows]

    async def open_page(
        self, *, target: str | None = None, ref: str | None = None, before: int | None = None, limit: int = 50
    ) -> list[Notice]:
        """Up to `limit` notices that are still owed (due, being sent, held), newest first, before the id `before`."""
        found: list[Notice] = []
        for state in (NoticeState.DUE, NoticeState.SENDING, NoticeState.HELD):
            found += await self.page(state=state, target=target, ref=ref, before=before, limit=limit)
        return sorted(found, key=lambda it: it.id or 0, reverse=True)[:limit]

    async def dead_span(self, target: str) -> tuple[int, int] | None:
        """When the first and the last notice to this target that was given up were made."""
        edge = "SELECT created_at FROM notices WHERE state = 'dead' AND target = ? ORDER BY id {} LIMIT 1"
        rows = await self._db.fetch_rows(f"SELECT ({edge.format('')}), ({edge.format('DESC')})", (target, target))
        first, last = rows[0]
        return None if first is None else (min(first, last), max(first, last))

    async def last_sent(self, target: str) -> Notice | None:
        """The newest notice that was delivered to this target, if it is among the last few hundred."""
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM notices WHERE id = (SELECT max(id) FROM"
            " (SELECT id, state FROM notices WHERE target = ? ORDER BY id DESC LIMIT 300) AS last"
            " WHERE state = 'sent')",
            (target,),
        )
        return notice_from_row(rows[0]) if rows else None

    async def last_failure(self, target: str) -> str | None:
        """The error of the newest notice to this target that is tried again or was given up, if it is among the last
        few hundred."""
        rows = await self._db.fetch_rows(
            "SELECT error FROM notices WHERE id = (SELECT max(id) FROM (SELECT id, error FROM notices WHERE target = ?"
            " ORDER BY id DESC LIMIT 300) AS last WHERE error IS NOT NULL)",
            (target,),
        )
        return rows[0][0] if rows else None

    async def target_names(self, limit: int) -> list[str]:
        """The targets to which there are notices, whether or not they are in the settings; up to `limit`."""
        rows = await self._db.fetch_rows(
            "WITH RECURSIVE names (name) AS (SELECT min(target) FROM notices UNION ALL"
            " SELECT (SELECT min(target) FROM notices WHERE target > names.name) FROM names"
            " WHERE names.name IS NOT NULL) SELECT name FROM names WHERE name IS NOT NULL LIMIT ?",
            (limit,),
        )
        return [name for (name,) in rows]

    async def make_due_now(self, ref: str, now: int) -> None:
        """Make the task's notices due now: its pictures have arrived, or never will."""
        self._db.defer(
            "UPDATE notices SET due_at = ?1 WHERE id IN (SELECT id FROM notices"
            f" WHERE ref = ?2 AND state = 'due' AND send_id IS NULL AND due_at > ?1{self._db.dialect.skip})",
            [(now, ref)],
        )
        self._db.woken.add(Topic.NOTIFY)

    async def make_batch_due_now(self, lane: int, now: int) -> None:
        """Make the notices due now that this batch has ended: the pictures that it may show have arrived."""
        self._db.defer(
            "UPDATE notices SET due_at = ?1 WHERE id IN (SELECT id FROM notices"
            " WHERE event = 'batch' AND state = 'due' AND due_at > ?1 AND send_id IS NULL"
            f" AND {self._db.dialect.json_text('report', 'batch')} = (SELECT name FROM lanes WHERE id = ?2)"
            f"{self._db.dialect.skip})",
            [(now, lane)],
        )
        self._db.woken.add(Topic.NOTIFY)

    async def count_without_target(self, targets: Sequence[str]) -> dict[str, int]:
        """How many open notices there are to each target that is not among `targets`."""
        return await self._count_open(self._db.dialect.outside("target", targets))

    async def count_owed(self, targets: Sequence[str]) -> dict[str, int]:
        """How many open notices there are to each of these targets that has any."""
        return await self._count_open(self._db.dialect.among("target", targets))

    async def _count_open(self, which: SqlPart) -> dict[str, int]:
        rows = await self._db.fetch_rows(
            "SELECT target, count(*) FROM notices WHERE state IN ('due', 'held', 'sending')"
            f" AND {which.sql} GROUP BY target",
            which.params,
        )
        return dict(rows)

    async def bury_targets(self, targets: Sequence[str], limit: int = 200) -> int:
        """Mark up to `limit` open notices to these targets as dead, which are no longer configured; how many."""
        dialect = self._db.dialect
        await lock_targets(self._db, targets, wait=True)
        gone = dialect.among("target", targets)
        rows = await self._db.fetch_rows(
            f"SELECT id, send_id FROM notices WHERE state IN ('due', 'held', 'sending') AND {gone.sql} LIMIT ?",
            (*gone.params, limit),
        )
        if rows:
            sends = dialect.among("id", sorted({send for _, send in rows if send}))
            which = dialect.among("id", sorted(notice for notice, _ in rows))
            await self._db.run_statement(
                f"UPDATE sends SET state = 'dead', lease_until = NULL WHERE {sends.sql}", sends.params
            )
            await self._db.run_statement(
                "UPDATE notices SET state = 'dead', error = 'this target is no longer configured'"
                f" WHERE {which.sql} AND state IN ('due', 'held', 'sending')",
                which.params,
            )
        return len(rows)

    async def redrive(
        self, now: int, *, targets: Sequence[str] | None, ids: Sequence[int] | None, to: str | None, limit: int = 200
    ) -> int:
        """Put up to `limit` dead notices back to due, optionally to another target `to`; how many.

        Each will go out in a new send; those of one that was delivered in part, in the same. The rest of their targets
        after failures ends; without `ids` it ends for all of `targets`, even those without a dead notice.
        """
        dead = await self._lock_dead(targets, ids, limit, to)
        rested = {*((ids is None and targets) or ()), *([to] if to is not None else [name for *_, name in dead])}
        self._db.defer("UPDATE targets SET rest_until = NULL WHERE name = ?", [(name,) for name in sorted(rested)])
        revived = await self._revive_sends(now, dead) if to is None else set()
        anew = [row for row in dead if row[1] not in revived]
        self._db.defer("INSERT INTO redriven (notice_id, send_id) VALUES (?, ?)", [row[:2] for row in anew if row[1]])
        self._db.defer(
            "UPDATE notices SET state = 'due', send_id = NULL, due_at = ?, error = NULL, target = coalesce(?, target)"
            " WHERE id = ?",
            [(now, to, notice_id) for notice_id, *_ in anew],
        )
        self._db.touched.update(ref for _, _, ref, _ in dead if ref)
        self._db.woken.add(Topic.NOTIFY)
        return len(dead)

    async def discard(self, *, target: str | None = None, ids: Sequence[int] | None = None, limit: int = 200) -> int:
        """Discard up to `limit` dead notices, which then stay as they are; how many."""
        dead = await self._find_dead(None if target is None else [target], ids, limit, self._db.dialect.lock)
        self._db.defer("UPDATE notices SET state = 'discarded' WHERE id = ?", [row[:1] for row in dead])
        self._db.touched.update(ref for _, _, ref, _ in dead if ref)
        return len(dead)

    async def _lock_dead(
        self, targets: Sequence[str] | None, ids: Sequence[int] | None, limit: int, to: str | None
    ) -> list[Any]:
        """As `_find_dead`, with the rows locked, and before them their targets: sending takes both in this order."""
        if self._db.dialect.lock:
            near = {name for *_, name in await self._find_dead(targets, ids, limit)}
            await lock_targets(self._db, {*near, *(targets or ()), *((to,) if to else ())}, wait=True)
            targets = sorted(near)
        return await self._find_dead(targets, ids, limit, self._db.dialect.lock)

    async def _find_dead(
        self, targets: Sequence[str] | None, ids: Sequence[int] | None, limit: int, lock: str = ""
    ) -> list[Any]:
        """Up to `limit` dead notices, to these targets and with these ids where they are given: id, send_id, ref and
        target of each."""
        wanted, params = ["state = 'dead'"], list[Any]()
        for column, values in (("target", targets), ("id", ids)):
            if values is not None:
                which = self._db.dialect.among(column, values)
                wanted.append(which.sql)
                params.extend(which.params)
        return await self._db.fetch_rows(
            f"SELECT id, send_id, ref, target FROM notices WHERE {' AND '.join(wanted)} ORDER BY id LIMIT ?{lock}",
            (*params, limit),
        )

    async def _revive_sends(self, now: int, dead: Sequence[Any]) -> set[int]:
        """Put those sends of `dead` notices back to due that were delivered in part, if all their notices are among
        these: what was delivered is not delivered again. Their ids."""
        sizes = Counter(send_id for _, send_id, *_ in dead if send_id)
        if not sizes:
            return set()
        which = self._db.dialect.among("id", list(sizes))
        rows = await self._db.fetch_rows(
            "SELECT id, (SELECT count(*) FROM notices WHERE send_id = sends.id) FROM sends"
            f" WHERE {which.sql} AND state = 'dead' AND delivered IS NOT NULL",
            which.params,
        )
        whole = {send_id for send_id, count in rows if count == sizes[send_id]}
        each = [(now, send_id) for send_id in sorted(whole)]
        self._db.defer("UPDATE sends SET state = 'due', due_at = ?, tries = 0 WHERE id = ?", each)
        self._db.defer("UPDATE notices SET state = 'due', due_at = ?, error = NULL WHERE send_id = ?", each)
        return whole

    # -- attention and counts --

    async def raise_attention(self, cause: str, text: str, now: int, quiet_ms: int) -> bool:
        """Whether this cause may be reported now: not if it was reported within the last `quiet_ms`.

        A report from further ahead than that was made before the clock was set back, and does not count.
        """
        return bool(
            await self._db.run_statement(
                "INSERT INTO attention (cause, at, text) VALUES (?, ?, ?) ON CONFLICT (cause) DO UPDATE"
                " SET at = excluded.at, text = excluded.text"
                " WHERE attention.at <= excluded.at - ? OR attention.at > excluded.at + ?",
                (cause, now, text, quiet_ms, quiet_ms),
            )
        )

    async def count_causes(self, kind: str, since: int, until: int) -> int:
        """How many causes `KIND:…` were reported after `since`, up to `until`. One transaction at a time can ask for a
        kind, and see what those before it reported."""
        if self._db.dialect.lock:  # a row that is no cause, since nothing follows the colon
            await self._db.run_statement(
                "INSERT INTO attention (cause, at, text) VALUES (?, 0, '') ON CONFLICT (cause) DO UPDATE SET at = 0",
                (f"{kind}:",),
            )
        [(count,)] = await self._db.fetch_rows(
            "SELECT count(*) FROM attention WHERE cause > ? AND cause < ? AND at > ? AND at <= ?",
            (f"{kind}:", f"{kind};", since, until),  # `;` follows `:`
        )
        return int(count)

    async def count_by_state(self) -> list[tuple[str, int]]:
        """The number of notices in each open state, and of dead ones."""
        return await self._db.fetch_rows(
            "SELECT state, count(*) FROM notices WHERE state IN ('due', 'sending', 'held', 'dead') GROUP BY state"
        )

    async def send_attempts(self, send_ids: Sequence[int]) -> list[Attempt]:
        """Every attempt at these sends, oldest first."""
        which = self._db.dialect.among("send_id", send_ids)
        rows = await self._db.fetch_rows(
            f"SELECT send_id, at, duration_ms, error FROM attempts WHERE {which.sql} ORDER BY id", which.params
        )
        return [Attempt(*row) for row in rows]

    async def attempt_history(self, ids: Sequence[int]) -> dict[int, list[Attempt]]:
        """Every attempt at these notices by notice id, oldest first, including those before a redrive."""
        found: dict[int, list[Attempt]] = {notice_id: [] for notice_id in ids}
        theirs, earlier = (self._db.dialect.among(column, ids) for column in ("n.id", "r.notice_id"))
        rows = await self._db.fetch_rows(
            "SELECT n.id, a.id, a.send_id, a.at, a.duration_ms, a.error FROM notices AS n"
            f" JOIN attempts AS a ON a.send_id = n.send_id WHERE {theirs.sql}"
            " UNION ALL SELECT r.notice_id, a.id, a.send_id, a.at, a.duration_ms, a.error FROM redriven AS r"
            f" JOIN attempts AS a ON a.send_id = r.send_id WHERE {earlier.sql}",
            (*theirs.params, *earlier.params),
        )
        for notice_id, _, *row in sorted(rows, key=lambda it: it[1]):
            found[notice_id].append(Attempt(*row))
        return found


def notice_from_row(row: Row) -> Notice:
    """A notice from a row of `COLUMNS`."""
    notice_id, ref, target, event, created_at, due_at, state, attempts, error, sent_at, report = row
    return Notice(
        id=notice_id,
        ref=ref,
        target=target,
        event=NoticeEvent(event),
        created_at=created_at,
        due_at=due_at,
        state=NoticeState(state),
        attempts=attempts,
        error=error,
        sent_at=sent_at,
        report=_report.decode(report),
    )
