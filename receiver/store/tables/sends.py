"""Sends: the groups in which notices go out, claimed under a lease; and the state of their targets.

A send is claimed with owner, lease and claim number in one transaction, and its membership is final. A failure or a
release only counts if its claim number is still the send's; a success always counts and is final.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from receiver.core.pacing import (
    DIGEST_LENGTH,
    DIGEST_MOST,
    HELD_AT_ONCE,
    SUSPECT_AFTER,
    LatestTimes,
    TargetQueue,
)
from receiver.core.types import Notice, NoticeEvent, NoticeState, Send
from receiver.store.tables.connection import TableConnection, Topic, placeholders
from receiver.store.tables.hours import HOUR_MS, HourKind, defer_hours
from receiver.store.tables.notices import COLUMNS, Attempt, notice_from_row
from receiver.store.tables.target_locks import lock_targets

_times = msgspec.json.Decoder(tuple[int, ...])


class NewSend(Struct, frozen=True):
    """A send to be created: for the first due notice, or (`digest`) for all notices whose holding time is over.

    Only notices whose time is `until` or earlier are taken.
    """

    target: str
    until: int
    digest: bool = False


class SendTable:
    """The tables of sends, attempts and targets, on one connection."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    # -- claiming --

    async def add_targets(self, names: Iterable[str]) -> None:
        """Make a row for each of these targets that has none, so that it can be locked."""
        self._db.defer(
            "INSERT INTO targets (name) VALUES (?) ON CONFLICT (name) DO NOTHING", [(it,) for it in sorted(names)]
        )

    async def lock_targets(self, names: Iterable[str], *, wait: bool = False) -> list[str]:
        """Lock these targets until the transaction ends; read their queues only then, and the clock last."""
        return await lock_targets(self._db, names, wait=wait)

    async def call_senders(self) -> None:
        """Wake the sending loops of all processes once this transaction is committed."""
        self._db.woken.add(Topic.NOTIFY)

    async def target_queues(self, targets: Sequence[str]) -> list[TargetQueue]:
        """What is open for each of these targets, in this order: the earliest times, found by index seeks alone."""
        edges = ", ".join(
            f"(SELECT {time} FROM {table} WHERE {state} AND target = t.name)"
            for table, time, state in (
                ("sends", "max(lease_until)", "state = 'sending'"),
                ("sends", "min(due_at)", "state = 'due'"),
                ("notices", "min(due_at)", "state = 'held' AND send_id IS NULL"),
                ("notices", "min(due_at)", "state = 'due' AND send_id IS NULL"),
            )
        )
        t = self._db.dialect.listing("t", [("name", "text")], [(it,) for it in targets])
        rows = await self._db.fetch_rows(
            f"SELECT t.name, {edges}, targets.window_at, coalesce(targets.failures, 0), targets.rest_until,"
            f" targets.recent FROM {t.sql} LEFT JOIN targets ON targets.name = t.name",
            t.params,
        )
        found = {row[0]: TargetQueue(*(*row, _times.decode(recent) if recent else ())) for *row, recent in rows}
        return [found[name] for name in targets]

    async def next_send(self, target: str, now: int) -> int | None:
        """The target's earliest send that is due or whose lease has expired."""
        rows = await self._db.fetch_rows(
            "SELECT id FROM (SELECT id, due_at FROM sends WHERE state = 'sending' AND target = ?1 AND lease_until <= ?2"
            " UNION ALL SELECT * FROM (SELECT id, due_at FROM sends WHERE state = 'due' AND target = ?1"
            "   AND due_at <= ?2 ORDER BY due_at LIMIT 1) AS come"
            ") AS open ORDER BY due_at LIMIT 1",
            (target, now),
        )
        return rows[0][0] if rows else None

    async def claim(self, ids: Sequence[int], owner: str, now: int, lease_until: int) -> list[Send]:
        """Claim sends under a lease, those that are still free; the new claim number invalidates every earlier claim.

        Of a suspect, only `count_begun` goes on counting the claims.
        """
        claims = f"CASE WHEN claims <= {SUSPECT_AFTER} THEN claims + 1 ELSE claims END"
        which = self._db.dialect.among("id", ids)
        rows = await self._db.fetch_rows(
            f"UPDATE sends SET state = 'sending', claim = claim + 1, claims = {claims}, owner = ?, lease_until = ?"
            f" WHERE {which.sql} AND (state = 'due' OR lease_until <= ?)"
            " RETURNING id, target, claim, claims, tries, delivered",
            (owner, lease_until, *which.params, now),
        )
        self._db.defer("UPDATE notices SET state = 'sending' WHERE send_id = ?", [row[:1] for row in rows])
        return await self._with_notices(
            [
                Send(
                    id=send_id,
                    target=target,
                    claim=claim,
                    claims=claims,
                    tries=tries,
                    notices=(),
                    delivered=tuple((delivered or "").split()),
                )
                for send_id, target, claim, claims, tries, delivered in rows
            ]
        )

    async def find_suspect(self, ids: Sequence[int]) -> int | None:
        """The first of these sends that was claimed `SUSPECT_AFTER` times without a result; None if there is none."""
        which = self._db.dialect.among("id", ids)
        rows = await self._db.fetch_rows(
            f"SELECT min(id) FROM sends WHERE {which.sql} AND claims >= {SUSPECT_AFTER}", which.params
        )
        found: int | None = rows[0][0]
        return found

    async def count_begun(self, send: Send, due_at: int) -> bool:
        """Record that a suspect's sending begins, and when it is due again if the process ends meanwhile. False if the
        claim is no longer ours."""
        return bool(
            await self._db.run_statement(
                "UPDATE sends SET claims = claims + 1, due_at = ? WHERE id = ? AND state = 'sending' AND claim = ?",
                (due_at, send.id, send.claim),
            )
        )

    async def open_sends(self, openings: Sequence[NewSend], owner: str, now: int, lease_until: int) -> list[Send]:
        """Create and claim one send for each opening that finds a notice; their membership is final.

        The openings must have different targets. A digest takes held notices first, then due ones, up to `DIGEST_MOST`
        notices and `DIGEST_LENGTH` of their reports.
        """
        begun = "(?, 'sending', ?, ?, 0, 1, 1, ?, ?)"
        made = await self._db.fetch_rows(
            "INSERT INTO sends (target, state, created_at, due_at, tries, claims, claim, owner, lease_until)"
            f" VALUES {', '.join([begun] * len(openings))} RETURNING target, id",
            [value for it in openings for value in (it.target, now, now, owner, lease_until)],
        )
        ids = dict(made)
        for it in openings:
            members = [(ids[it.target], notice_id) for notice_id in await self._member_ids(it)]
            self._db.defer(
                "UPDATE notices SET send_id = ?, state = 'sending' WHERE id = ? AND send_id IS NULL",
                members,
                expect=len(members),
            )
        return await self._with_notices(
            [Send(id=send_id, target=target, claim=1, claims=1, tries=0, notices=()) for target, send_id in made]
        )

    async def _member_ids(self, opening: NewSend) -> list[int]:
        """The ids of the notices for a new send."""
        found, left = list[int](), DIGEST_LENGTH
        for state in ("held", "due") if opening.digest else ("due",):
            most = DIGEST_MOST - len(found) if opening.digest else 1
            for notice_id, length in await self._db.fetch_rows(
                f"SELECT id, length(report) FROM notices WHERE state = '{state}' AND send_id IS NULL AND target = ?"
                f" AND due_at <= ? ORDER BY due_at, id LIMIT ?{self._db.dialect.skip}",
                (opening.target, opening.until, most),
            ):
                if left <= 0:
                    return found
                left -= length
                found.append(notice_id)
        return found

    async def _with_notices(self, sends: Sequence[Send]) -> list[Send]:
        """These sends with their notices; a send without notices is deleted."""
        if not sends:
            return []
        by_send: dict[int, list[Notice]] = {send.id: [] for send in sends}
        which = self._db.dialect.among("send_id", [it.id for it in sends])
        for send_id, *row in await self._db.fetch_rows(
            f"SELECT send_id, {COLUMNS} FROM notices WHERE {which.sql}", which.params
        ):
            by_send[send_id].append(notice_from_row(row))
        for notices in by_send.values():
            notices.sort(key=lambda it: it.id or 0)
            self._touch_tasks(notices)
        if empty := [(send_id,) for send_id, notices in by_send.items() if not notices]:
            self._db.defer("DELETE FROM sends WHERE id = ?", empty)
        return [replace(it, notices=tuple(by_send[it.id])) for it in sends if by_send[it.id]]

    # -- holding --

    async def hold_notices(
        self, target: str, until: int, now: int, *, but: Collection[NoticeEvent] = (), again: bool = False
    ) -> int:
        """Hold up to `HELD_AT_ONCE` due notices (`again`: held ones) until `until`; how many.

        Events in `but` are not held.
        """
        state = "held" if again else "due"
        rows = await self._db.fetch_rows(
            "UPDATE notices SET state = 'held', due_at = ? WHERE id IN"
            f" (SELECT id FROM notices WHERE state = '{state}' AND send_id IS NULL AND target = ?"
            f" AND due_at <= ?{_event_filter('AND event NOT IN', but)} LIMIT {HELD_AT_ONCE}{self._db.dialect.skip})"
            " RETURNING ref",
            (until, target, now, *but),
        )
        self._db.touched.update(ref for (ref,) in rows if ref)
        return len(rows)

    async def postpone_sends(self, target: str, until: int, now: int, *, but: Collection[NoticeEvent] = ()) -> int:
        """Make up to `HELD_AT_ONCE` sends wait until `until` if they are due or their process died; how many.

        A send that reports an event in `but` does not wait.
        """
        but_these = (
            f" AND NOT EXISTS (SELECT 1 FROM notices WHERE send_id = sends.id{_event_filter('AND event IN', but)})"
            if but
            else ""
        )
        rows = await self._db.fetch_rows(
            "UPDATE sends SET state = 'due', due_at = ?, owner = NULL, lease_until = NULL WHERE id IN ("
            "SELECT id FROM sends WHERE ((state = 'due' AND target = ? AND due_at <= ?)"
            f" OR (state = 'sending' AND target = ? AND lease_until <= ?)){but_these}"
            f" LIMIT {HELD_AT_ONCE}{self._db.dialect.skip}) RETURNING id",
            (until, target, now, target, now, *but),
        )
        self._db.defer(
            "UPDATE notices SET state = 'due', due_at = ? WHERE send_id = ?", [(until, send_id) for (send_id,) in rows]
        )
        return len(rows)

    async def open_window(self, target: str, until: int) -> None:
        """Open a digest window: notices that come before `until` are held until then."""
        self._db.defer(
            "INSERT INTO targets (name, window_at) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET window_at = excluded.window_at",
            [(target, until)],
        )

    async def record_times(self, times: Mapping[str, Sequence[int]]) -> None:
        """Store when the last messages to targets with a rate limit were begun."""
        self._db.defer(
            "INSERT INTO targets (name, recent) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET recent = excluded.recent",
            [(name, msgspec.json.encode(it).decode()) for name, it in times.items()],
        )

    # -- results --

    async def void_leases(self) -> None:
        """End all leases when the process starts: it is the only one, so nothing is being sent.

        A suspect whose sending had begun waits for its time.
        """
        self._db.defer("UPDATE sends SET lease_until = 0 WHERE state = 'sending'", [()])
        begun = await self._db.fetch_rows(
            "UPDATE sends SET state = 'due' WHERE state = 'sending'"
            f" AND claims > {SUSPECT_AFTER + 1} RETURNING id, due_at"
        )
        self._db.defer(
            "UPDATE notices SET state = 'due', due_at = ? WHERE send_id = ?", [(at, send_id) for send_id, at in begun]
        )

    async def pull_in(self, lease_until: int, targets: Sequence[LatestTimes]) -> None:
        """After the clock was set back: limit every time of these targets to the latest that it can have."""
        self._db.defer(
            "UPDATE sends SET lease_until = ?1 WHERE state = 'sending' AND target = ?2 AND lease_until > ?1",
            [(lease_until, it.target) for it in targets],
        )
        retries = [
            (at, it.target, tries, tries if tries + 1 < len(it.retries) else 1 << 31)
            for it in targets
            for tries, at in enumerate(it.retries)
        ]
        suspects = [(it.suspects, it.target) for it in targets]
        late = "state = 'due' AND target = ?2 AND due_at > ?1 AND claims"
        for which, rows in (
            (f"{late} <= {SUSPECT_AFTER + 1} AND tries BETWEEN ?3 AND ?4", retries),
            (f"{late} > {SUSPECT_AFTER + 1}", suspects),
        ):
            self._db.defer(
                f"UPDATE notices SET due_at = ?1 WHERE send_id IN (SELECT id FROM sends WHERE {which})", rows
            )
            self._db.defer(f"UPDATE sends SET due_at = ?1 WHERE {which}", rows)
        for state, rows in (
            ("due", [(it.due, it.target) for it in targets]),
            ("held", [(it.held, it.target) for it in targets]),
        ):
            self._db.defer(
                f"UPDATE notices SET due_at = ?1 WHERE state = '{state}' AND send_id IS NULL AND target = ?2"
                " AND due_at > ?1",
                rows,
            )

    async def add_attempt(self, attempt: Attempt) -> None:
        """Record one attempt."""
        self._db.defer(
            "INSERT INTO attempts (send_id, at, duration_ms, error) VALUES (?, ?, ?, ?)",
            [(attempt.send_id, attempt.at, attempt.duration_ms, attempt.error)],
        )

    async def record_sent(self, send: Send, now: int) -> None:
        """Record a delivery: final, even if the claim was lost meanwhile. It ends the target's failures."""
        self._db.defer(
            "UPDATE sends SET state = 'sent', lease_until = NULL, owner = NULL, claims = 0 WHERE id = ?", [(send.id,)]
        )
        self._update_notices(send, NoticeState.SENT, error=None, sent_at=now)
        defer_hours(self._db, HourKind.SENT, {(now // HOUR_MS, send.target): len(send.notices)})
        self._db.defer(
            "UPDATE targets SET failures = 0, rest_until = NULL WHERE name = ? AND failures > 0", [(send.target,)]
        )

    async def record_retry(self, send: Send, due_at: int, error: str, delivered: Iterable[str] = ()) -> bool:
        """Record a failure, to be retried at `due_at` without what was `delivered` of it; False if the claim was no
        longer ours."""
        change = "state = 'due', tries = tries + 1, claims = 0, due_at = ?, delivered = ?"
        if not await self._update_if_ours(send, change, due_at, " ".join(delivered) or None):
            return False
        self._update_notices(send, NoticeState.DUE, error=error, due_at=due_at)
        return True

    async def release(self, send: Send, due_at: int | None = None) -> bool:
        """Give back a claim that was not used: due as before, or at `due_at`. False if the claim was no longer ours."""
        before = send.claims if send.claims > SUSPECT_AFTER + 1 else send.claims - 1  # a suspect's claim did not count
        if not await self._update_if_ours(
            send, "state = 'due', claims = ?, due_at = coalesce(?, due_at)", before, due_at
        ):
            return False
        self._db.defer(
            "UPDATE notices SET state = 'due', due_at = coalesce(?, due_at) WHERE send_id = ?", [(due_at, send.id)]
        )
        self._touch_tasks(send.notices)
        self._db.woken.add(Topic.NOTIFY)
        return True

    async def bury_send(self, send: Send, error: str, delivered: Iterable[str] = (), *, tried: bool) -> bool:
        """Mark a send as dead, with what was `delivered` of it; False if the claim was no longer ours."""
        change = "state = 'dead', claims = 0, delivered = ?"
        if not await self._update_if_ours(send, change, " ".join(delivered) or None):
            return False
        self._update_notices(send, NoticeState.DEAD, error=error, tried=tried)
        return True

    async def count_failure(self, target: str, now: int) -> tuple[int, int | None]:
        """Count a failure of the target: how many in a row by now, and when its next send is due."""
        [(failures,)] = await self._db.fetch_rows(
            "INSERT INTO targets (name, failures) VALUES (?, 1)"
            " ON CONFLICT (name) DO UPDATE SET failures = targets.failures + 1 RETURNING failures",
            (target,),
        )
        [(next_try,)] = await self._db.fetch_rows(
            "SELECT min(due_at) FROM sends WHERE state = 'due' AND target = ? AND due_at > ?", (target, now)
        )
        return failures, next_try

    async def rest_target(self, target: str, until: int) -> None:
        """Let the target rest after failures: it is not tried before `until`."""
        self._db.defer("UPDATE targets SET rest_until = ? WHERE name = ?", [(until, target)])

    async def _update_if_ours(self, send: Send, change: str, *params: object) -> bool:
        return bool(
            await self._db.run_statement(
                f"UPDATE sends SET {change}, lease_until = NULL, owner = NULL"
                " WHERE id = ? AND state = 'sending' AND claim = ?",
                (*params, send.id, send.claim),
            )
        )

    def _update_notices(
        self,
        send: Send,
        state: NoticeState,
        *,
        error: str | None,
        due_at: int | None = None,
        sent_at: int | None = None,
        tried: bool = True,
    ) -> None:
        self._db.defer(
            "UPDATE notices SET state = ?, error = ?, due_at = coalesce(?, due_at), sent_at = ?,"
            " attempts = attempts + ? WHERE send_id = ?",
            [(state.value, error, due_at, sent_at, int(tried), send.id)],
        )
        self._touch_tasks(send.notices)

    def _touch_tasks(self, notices: Iterable[Notice]) -> None:
        self._db.touched.update(it.ref for it in notices if it.ref is not None)


def _event_filter(clause: str, events: Collection[NoticeEvent]) -> str:
    return f" {clause} ({placeholders(len(events))})" if events else ""
