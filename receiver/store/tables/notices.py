"""The outbox: notices owed, what became of them, every attempt, and what attention was told.

How they are gathered into sends, claimed and recorded is the part of `store.sends`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from receiver.core.types import Notice, NoticeEvent, NoticeState, Report
from receiver.store.tables.connection import Row, TableConnection, Topic, placeholders, where_clause

COLUMNS = "id, ref, target, event, created_at, due_at, state, attempts, error, sent_at, report"
_report = msgspec.json.Decoder(Report)


class Attempt(Struct, frozen=True):
    """One try at a send."""

    send_id: int
    at: int
    duration_ms: int
    error: str | None


class NoticeTable:
    """The table of notices, over one connection."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def insert(self, notices: Iterable[Notice]) -> None:
        """Owe these notices."""
        rows = [
            (
                *(it.ref, it.target, it.event.value, it.created_at, it.due_at, it.state.value, it.attempts, it.error),
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
        """The notices of these tasks, oldest first, by ref."""
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM notices WHERE ref IN ({placeholders(len(refs))}) ORDER BY id",
            refs,
        )
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
        where, params = where_clause("notices", by, before=("id", before))
        rows = await self._db.fetch_rows(
            f"SELECT {COLUMNS} FROM notices {where} ORDER BY id DESC LIMIT ?",
            (*params, limit),
        )
        return [notice_from_row(row) for row in rows]

    async def make_due_now(self, ref: str, now: int) -> None:
        """The pictures of the task are here, or will not be: its notices wait for them no longer."""
        self._db.defer(
            "UPDATE notices SET due_at = ? WHERE ref = ? AND state = 'due' AND send_id IS NULL AND due_at > ?",
            [(now, ref, now)],
        )
        self._db.woken.add(Topic.NOTIFY)

    async def bury_without_target(self, targets: Sequence[str], limit: int = 200) -> int:
        """Notices whose target is gone are dead with that reason; how many of at most `limit`."""
        rows = await self._db.fetch_rows(
            "SELECT id FROM notices WHERE state IN ('due', 'held', 'sending')"
            f" AND target NOT IN ({placeholders(len(targets))}) LIMIT ?",
            (*targets, limit),
        )
        ids = [notice for (notice,) in rows]
        if ids:
            await self._db.run_statement(
                "UPDATE sends SET state = 'dead', lease_until = NULL WHERE id IN"
                f" (SELECT send_id FROM notices WHERE id IN ({placeholders(len(ids))}))",
                ids,
            )
            await self._db.run_statement(
                "UPDATE notices SET state = 'dead', error = 'no target of this name is configured any more'"
                f" WHERE id IN ({placeholders(len(ids))})",
                ids,
            )
        return len(ids)

    async def redrive(
        self, now: int, *, targets: Sequence[str] | None, ids: Sequence[int] | None, to: str | None, limit: int = 200
    ) -> int:
        """Put dead notices back to due, each in a send of its own to come, optionally to another target; how many.

        Their targets rest no longer; without `ids`, none of `targets` does, whether or not it has a dead notice.
        """
        wanted: list[str] = ["state = 'dead'"]
        params: list[Any] = []
        if targets is not None:
            wanted.append(f"target IN ({placeholders(len(targets))})")
            params.extend(targets)
        if ids is not None:
            wanted.append(f"id IN ({placeholders(len(ids))})")
            params.extend(ids)
        dead = await self._db.fetch_rows(
            f"SELECT id, send_id, ref, target FROM notices WHERE {' AND '.join(wanted)} LIMIT ?", (*params, limit)
        )
        rested = {*((ids is None and targets) or ()), *([to] if to is not None else [name for *_, name in dead])}
        self._db.defer("UPDATE targets SET rest_until = NULL WHERE name = ?", [(name,) for name in sorted(rested)])
        self._db.defer("INSERT INTO redriven (notice_id, send_id) VALUES (?, ?)", [row[:2] for row in dead if row[1]])
        self._db.defer(
            "UPDATE notices SET state = 'due', send_id = NULL, due_at = ?, error = NULL, target = coalesce(?, target)"
            " WHERE id = ?",
            [(now, to, notice_id) for notice_id, *_ in dead],
        )
        self._db.touched.update(ref for _, _, ref, _ in dead if ref)
        self._db.woken.add(Topic.NOTIFY)
        return len(dead)

    # -- attention and counts --

    async def raise_attention(self, cause: str, text: str, now: int, quiet_ms: int) -> bool:
        """Whether this cause may be told now: it was not within the last `quiet_ms`."""
        return bool(
            await self._db.run_statement(
                "INSERT INTO attention (cause, at, text) VALUES (?, ?, ?) ON CONFLICT (cause) DO UPDATE"
                " SET at = excluded.at, text = excluded.text"
                " WHERE attention.at <= excluded.at - ? OR attention.at > excluded.at",
                (cause, now, text, quiet_ms),
            )
        )

    async def count_by_state(self) -> list[tuple[str, int]]:
        """How many notices are in each open state, and how many are dead."""
        return await self._db.fetch_rows(
            "SELECT state, count(*) FROM notices WHERE state IN ('due', 'sending', 'held', 'dead') GROUP BY state"
        )

    async def send_attempts(self, send_ids: Sequence[int]) -> list[Attempt]:
        """Every recorded try at these sends, oldest first."""
        rows = await self._db.fetch_rows(
            "SELECT send_id, at, duration_ms, error FROM attempts"
            f" WHERE send_id IN ({placeholders(len(send_ids))}) ORDER BY id",
            send_ids,
        )
        return [Attempt(*row) for row in rows]

    async def attempt_history(self, ids: Sequence[int]) -> dict[int, list[Attempt]]:
        """Every recorded try at these notices, oldest first, by the notice's id; those before a redrive too."""
        found: dict[int, list[Attempt]] = {notice_id: [] for notice_id in ids}
        rows = await self._db.fetch_rows(
            "SELECT n.id, a.id, a.send_id, a.at, a.duration_ms, a.error FROM notices AS n"
            f" JOIN attempts AS a ON a.send_id = n.send_id WHERE n.id IN ({placeholders(len(ids))})"
            " UNION ALL SELECT r.notice_id, a.id, a.send_id, a.at, a.duration_ms, a.error FROM redriven AS r"
            f" JOIN attempts AS a ON a.send_id = r.send_id WHERE r.notice_id IN ({placeholders(len(ids))})",
            (*ids, *ids),
        )
        for notice_id, _, *row in sorted(rows, key=lambda it: it[1]):
            found[notice_id].append(Attempt(*row))
        return found


def notice_from_row(row: Row) -> Notice:
    """The notice of a row of `COLUMNS`."""
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
