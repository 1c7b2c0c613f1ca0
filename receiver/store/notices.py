"""The outbox: notices owed, the sends they go out in, every attempt, and what attention was told.

A send is claimed with owner, lease and claim number in one transaction, and its membership never changes afterwards.
A failure or a release counts only if its claim number is still the send's; a success always counts and is final.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from receiver.model import Event, Notice, NoticeState, Report, Send
from receiver.store.connection import Connection, Row, Topic, marks, narrowed

_COLUMNS = "id, ref, target, event, created_at, due_at, state, attempts, error, sent_at, report"
_report = msgspec.json.Decoder(Report)


class Attempt(Struct, frozen=True):
    """One try at a send."""

    send_id: int
    at: int
    duration_ms: int
    error: str | None


class Notices:
    """The tables of notices, sends and attempts, over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._on = connection

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
            self._on.later(
                "INSERT INTO notices (ref, target, event, created_at, due_at, state, attempts, error, report)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            self._on.woken.add(Topic.NOTIFY)

    async def of(self, refs: Sequence[str]) -> dict[str, list[Notice]]:
        """The notices of these tasks, oldest first, by ref."""
        rows = await self._on.rows(
            f"SELECT {_COLUMNS} FROM notices WHERE ref IN ({marks(len(refs))}) ORDER BY id",
            refs,
        )
        found: dict[str, list[Notice]] = {}
        for notice in map(_notice, rows):
            found.setdefault(notice.ref or "", []).append(notice)
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
        where, params = narrowed("notices", by, before=("id", before))
        rows = await self._on.rows(
            f"SELECT {_COLUMNS} FROM notices {where} ORDER BY id DESC LIMIT ?",
            (*params, limit),
        )
        return [_notice(row) for row in rows]

    # -- claiming --

    async def idle(self, targets: Sequence[str], now: int, horizon: int) -> list[str]:
        """Those of `targets` with no send under way. A lease beyond `horizon` (a clock that jumped) has ended."""
        busy = await self._on.rows(
            f"SELECT DISTINCT target FROM sends WHERE state = 'sending' AND target IN ({marks(len(targets))})"
            " AND lease_until > ? AND lease_until <= ?",
            (*targets, now, horizon),
        )
        taken = {target for (target,) in busy}
        return [target for target in targets if target not in taken]

    async def any_due(self, targets: Sequence[str], now: int, lease_horizon: int, due_horizon: int) -> bool:
        """Whether any of `targets` has a notice or a send that could be claimed, were it idle."""
        due = "(SELECT 1 FROM {} WHERE state = 'due' AND target = t.name AND {} ? LIMIT 1)"
        seeks = [
            *(f"EXISTS {due.format('notices', f'send_id IS NULL AND due_at {limit}')}" for limit in ("<=", ">")),
            *(f"EXISTS {due.format('sends', f'due_at {limit}')}" for limit in ("<=", ">")),
            "EXISTS (SELECT 1 FROM sends WHERE state = 'sending' AND target = t.name"
            " AND (lease_until <= ? OR lease_until > ?))",
        ]
        rows = await self._on.rows(
            f"WITH t (name) AS (VALUES {', '.join(['(?)'] * len(targets))}) SELECT 1 FROM t"
            f" WHERE {' OR '.join(seeks)} LIMIT 1",
            (*targets, *(now, due_horizon) * 2, now, lease_horizon),
        )
        return bool(rows)

    async def next_send(self, target: str, now: int, lease_horizon: int, due_horizon: int) -> int | None:
        """The target's earliest send that is due, or whose lease has run out."""
        rows = await self._on.rows(
            "SELECT id FROM ("
            "SELECT id, due_at FROM sends WHERE state = 'sending' AND target = ?1"
            "   AND (lease_until <= ?2 OR lease_until > ?3)"
            " UNION ALL SELECT * FROM (SELECT id, due_at FROM sends WHERE state = 'due' AND target = ?1"
            "   AND due_at <= ?2 ORDER BY due_at LIMIT 1) AS come"
            " UNION ALL SELECT * FROM (SELECT id, due_at FROM sends WHERE state = 'due' AND target = ?1"
            "   AND due_at > ?4 ORDER BY due_at LIMIT 1) AS jumped"
            ") AS open ORDER BY due_at LIMIT 1",
            (target, now, lease_horizon, due_horizon),
        )
        return rows[0][0] if rows else None

    async def next_notices(self, target: str, now: int, due_horizon: int, limit: int) -> list[int]:
        """The target's earliest due notices that are in no send yet; else some that a clock that jumped put far off."""
        for bound, at in (("<=", now), (">", due_horizon)):
            rows = await self._on.rows(
                "SELECT id FROM notices WHERE state = 'due' AND send_id IS NULL AND target = ?"
                f" AND due_at {bound} ? ORDER BY due_at, id LIMIT ?",
                (target, at, limit),
            )
            if rows:
                return [notice for (notice,) in rows]
        return []

    async def open_send(self, target: str, notices: Sequence[int], now: int) -> int:
        """Put notices into a new send: its membership for good. Returns the send's id."""
        [(send_id,)] = await self._on.rows(
            "INSERT INTO sends (target, state, created_at, due_at, tries, claims, claim)"
            " VALUES (?, 'due', ?, ?, 0, 0, 0) RETURNING id",
            (target, now, now),
        )
        self._on.later(
            f"UPDATE notices SET send_id = ? WHERE id IN ({marks(len(notices))}) AND send_id IS NULL",
            [(send_id, *notices)],
        )
        return int(send_id)

    async def hasten(self, ref: str, now: int) -> None:
        """The pictures of the task are here, or will not be: its notices wait for them no longer."""
        self._on.later(
            "UPDATE notices SET due_at = ? WHERE ref = ? AND state = 'due' AND send_id IS NULL AND due_at > ?",
            [(now, ref, now)],
        )
        self._on.woken.add(Topic.NOTIFY)

    async def claim(self, send_id: int, owner: str, lease_until: int) -> Send:
        """Take a send under a lease; the new claim number fences off every earlier claim."""
        [(target, claim, claims, tries)] = await self._on.rows(
            "UPDATE sends SET state = 'sending', claim = claim + 1, claims = claims + 1, owner = ?, lease_until = ?"
            " WHERE id = ? RETURNING target, claim, claims, tries",
            (owner, lease_until, send_id),
        )
        self._on.later("UPDATE notices SET state = 'sending' WHERE send_id = ?", [(send_id,)])
        rows = await self._on.rows(f"SELECT {_COLUMNS} FROM notices WHERE send_id = ? ORDER BY id", (send_id,))
        notices = tuple(map(_notice, rows))
        self._touch(notices)
        return Send(id=send_id, target=target, claim=claim, claims=claims, tries=tries, notices=notices)

    async def next_due(self, targets: Sequence[str], after: int) -> int | None:
        """When, after `after`, the next notice or send of these targets is due, or a lease runs out."""
        [(least,)] = await self._on.rows(
            f"WITH t (name) AS (VALUES {', '.join(['(?)'] * len(targets))}) SELECT min(at) FROM ("
            "SELECT (SELECT min(due_at) FROM notices WHERE state = 'due' AND send_id IS NULL"
            "         AND target = t.name AND due_at > ?) AS at FROM t"
            " UNION ALL SELECT (SELECT min(due_at) FROM sends WHERE state = 'due' AND target = t.name"
            "         AND due_at > ?) FROM t"
            " UNION ALL SELECT (SELECT min(lease_until) FROM sends WHERE state = 'sending' AND target = t.name"
            "         AND lease_until > ?) FROM t) AS times",
            (*targets, after, after, after),
        )
        return least  # type: ignore[no-any-return]  # INTEGER or NULL by the schema

    async def void_leases(self) -> None:
        """At the start of a process that is alone: nothing is being sent any more."""
        self._on.later("UPDATE sends SET lease_until = 0 WHERE state = 'sending'", [()])

    # -- results --

    async def add_attempt(self, attempt: Attempt) -> None:
        """Record one try at a send."""
        self._on.later(
            "INSERT INTO attempts (send_id, at, duration_ms, error) VALUES (?, ?, ?, ?)",
            [(attempt.send_id, attempt.at, attempt.duration_ms, attempt.error)],
        )

    async def sent(self, send: Send, now: int) -> None:
        """It was delivered: final, whoever holds the claim now."""
        self._on.later(
            "UPDATE sends SET state = 'sent', lease_until = NULL, owner = NULL, claims = 0 WHERE id = ?", [(send.id,)]
        )
        self._close(send, NoticeState.SENT, error=None, sent_at=now)

    async def retry(self, send: Send, due_at: int, error: str) -> bool:
        """It failed and is tried again at `due_at`; False if the claim was no longer ours."""
        if not await self._still_ours(send, "state = 'due', tries = tries + 1, claims = 0, due_at = ?", due_at):
            return False
        self._close(send, NoticeState.DUE, error=error, due_at=due_at)
        return True

    async def release(self, send: Send) -> bool:
        """It was claimed and not begun: due again as before; False if the claim was no longer ours."""
        if not await self._still_ours(send, "state = 'due', claims = claims - 1"):
            return False
        self._on.later("UPDATE notices SET state = 'due' WHERE send_id = ?", [(send.id,)])
        self._touch(send.notices)
        return True

    async def bury(self, send: Send, error: str, *, tried: bool) -> bool:
        """It is given up; False if the claim was no longer ours."""
        if not await self._still_ours(send, "state = 'dead', claims = 0"):
            return False
        self._close(send, NoticeState.DEAD, error=error, tried=tried)
        return True

    async def bury_strangers(self, targets: Sequence[str], limit: int = 200) -> int:
        """Notices whose target is gone are dead with that reason; how many of at most `limit`."""
        rows = await self._on.rows(
            "SELECT id FROM notices WHERE state IN ('due', 'sending')"
            f" AND target NOT IN ({marks(len(targets))}) LIMIT ?",
            (*targets, limit),
        )
        ids = [notice for (notice,) in rows]
        if ids:
            await self._on.run(
                "UPDATE sends SET state = 'dead', lease_until = NULL WHERE id IN"
                f" (SELECT send_id FROM notices WHERE id IN ({marks(len(ids))}))",
                ids,
            )
            await self._on.run(
                "UPDATE notices SET state = 'dead', error = 'no target of this name is configured any more'"
                f" WHERE id IN ({marks(len(ids))})",
                ids,
            )
        return len(ids)

    async def redrive(
        self, now: int, *, targets: Sequence[str] | None, ids: Sequence[int] | None, to: str | None, limit: int = 200
    ) -> int:
        """Put dead notices back to due, each in a send of its own to come, optionally to another target; how many."""
        wanted: list[str] = ["state = 'dead'"]
        params: list[Any] = []
        if targets is not None:
            wanted.append(f"target IN ({marks(len(targets))})")
            params.extend(targets)
        if ids is not None:
            wanted.append(f"id IN ({marks(len(ids))})")
            params.extend(ids)
        changed = await self._on.rows(
            "UPDATE notices SET state = 'due', send_id = NULL, due_at = ?, error = NULL, target = coalesce(?, target)"
            f" WHERE id IN (SELECT id FROM notices WHERE {' AND '.join(wanted)} LIMIT ?) RETURNING ref",
            (now, to, *params, limit),
        )
        self._on.touched.update(ref for (ref,) in changed if ref)
        if changed:
            self._on.woken.add(Topic.NOTIFY)
        return len(changed)

    async def _still_ours(self, send: Send, change: str, *params: object) -> bool:
        return bool(
            await self._on.run(
                f"UPDATE sends SET {change}, lease_until = NULL, owner = NULL"
                " WHERE id = ? AND state = 'sending' AND claim = ?",
                (*params, send.id, send.claim),
            )
        )

    def _close(
        self,
        send: Send,
        state: NoticeState,
        *,
        error: str | None,
        due_at: int | None = None,
        sent_at: int | None = None,
        tried: bool = True,
    ) -> None:
        self._on.later(
            "UPDATE notices SET state = ?, error = ?, due_at = coalesce(?, due_at), sent_at = ?,"
            " attempts = attempts + ? WHERE send_id = ?",
            [(state.value, error, due_at, sent_at, int(tried), send.id)],
        )
        self._touch(send.notices)

    def _touch(self, notices: Iterable[Notice]) -> None:
        self._on.touched.update(it.ref for it in notices if it.ref is not None)

    # -- attention and counts --

    async def raise_attention(self, cause: str, text: str, now: int, quiet_ms: int) -> bool:
        """Whether this cause may be told now: it was not within the last `quiet_ms`."""
        return bool(
            await self._on.run(
                "INSERT INTO attention (cause, at, text) VALUES (?, ?, ?) ON CONFLICT (cause) DO UPDATE"
                " SET at = excluded.at, text = excluded.text"
                " WHERE attention.at <= excluded.at - ? OR attention.at > excluded.at",
                (cause, now, text, quiet_ms),
            )
        )

    async def counts(self) -> list[tuple[str, int]]:
        """How many notices are in each open state, and how many are dead."""
        return await self._on.rows(
            "SELECT state, count(*) FROM notices WHERE state IN ('due', 'sending', 'held', 'dead') GROUP BY state"
        )

    async def attempts(self, send_ids: Sequence[int]) -> list[Attempt]:
        """Every recorded try at these sends, oldest first."""
        rows = await self._on.rows(
            "SELECT send_id, at, duration_ms, error FROM attempts"
            f" WHERE send_id IN ({marks(len(send_ids))}) ORDER BY id",
            send_ids,
        )
        return [Attempt(*row) for row in rows]


def _notice(row: Row) -> Notice:
    notice_id, ref, target, event, created_at, due_at, state, attempts, error, sent_at, report = row
    return Notice(
        id=notice_id,
        ref=ref,
        target=target,
        event=Event(event),
        created_at=created_at,
        due_at=due_at,
        state=NoticeState(state),
        attempts=attempts,
        error=error,
        sent_at=sent_at,
        report=_report.decode(report),
    )
