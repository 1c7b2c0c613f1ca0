"""The callbacks as they arrived: raw bytes, some headers, a verdict; never changed afterwards.

Equal bodies of one task are stored once: a later row has no body of its own, and reading it returns the earlier one.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from receiver.core.types import Callback, Verdict
from receiver.store.tables.connection import Row, TableConnection, enum_text

# The body of a repeated callback is the one of the first row with its digest.
_BODY = """coalesce(body, (SELECT first.body FROM callbacks first
    WHERE first.ref = callbacks.ref AND first.digest = callbacks.digest AND first.body IS NOT NULL LIMIT 1))"""


class StoredCallback(Struct, frozen=True):
    """A callback from the store; `body` is None in listings."""

    id: int
    ref: str
    received_at: int
    verdict: Verdict
    size: int
    replay_of: int | None
    headers: bytes
    body: bytes | None = None


class CallbackTable:
    """The table of callbacks, on one connection."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def insert(self, callbacks: Iterable[tuple[Callback, bool]]) -> None:
        """Record pairs of (callback, whether to store its body)."""
        self._db.defer(
            "INSERT INTO callbacks (ref, received_at, verdict, size, digest, replay_of, headers, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *(it.ref, it.received_at, enum_text(it.verdict), len(it.body), it.digest, it.replay_of),
                    *(it.headers, it.body if with_body else None),
                )
                for it, with_body in callbacks
            ],
        )

    async def count_only(self, callbacks: Iterable[Callback]) -> None:
        """Count callbacks beyond the limit per task, and keep the digest of the last one."""
        self._db.defer(
            "INSERT INTO overflow (ref, count, digest, last_at) VALUES (?, 1, ?, ?) ON CONFLICT (ref) DO UPDATE"
            " SET count = overflow.count + 1, digest = excluded.digest, last_at = excluded.last_at",
            [(it.ref, it.digest, it.received_at) for it in callbacks],
        )

    async def overflow_count(self, ref: str) -> int:
        """How many callbacks of the task were only counted, not stored."""
        rows = await self._db.fetch_rows("SELECT count FROM overflow WHERE ref = ?", (ref,))
        return int(rows[0][0]) if rows else 0

    async def body_digests(self, refs: Sequence[str]) -> set[tuple[str, bytes]]:
        """The (ref, digest) of every stored body of these tasks."""
        which = self._db.dialect.among("ref", refs)
        rows = await self._db.fetch_rows(f"SELECT ref, digest FROM callbacks WHERE {which.sql}", which.params)
        return {(ref, digest) for ref, digest in rows}

    async def ids_by_digest(self, refs: Sequence[str]) -> dict[tuple[str, bytes], int]:
        """The ids of the first callbacks of these tasks with each body: (ref, digest) -> id."""
        which = self._db.dialect.among("ref", refs)
        rows = await self._db.fetch_rows(f"SELECT ref, digest, id FROM callbacks WHERE {which.sql}", which.params)
        found: dict[tuple[str, bytes], int] = {}
        for ref, digest, callback_id in rows:
            found[ref, digest] = min(callback_id, found.get((ref, digest), callback_id))
        return found

    async def digests(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The SHA-256 of the bodies of these callbacks, by id."""
        which = self._db.dialect.among("id", ids)
        rows = await self._db.fetch_rows(f"SELECT id, digest FROM callbacks WHERE {which.sql}", which.params)
        return dict(rows)

    async def hints_of(self, ref: str, limit: int = 200) -> list[StoredCallback]:
        """Up to `limit` hints of the task with their bodies, oldest first, each body once."""
        rows = await self._db.fetch_rows(
            "SELECT id, ref, received_at, verdict, size, replay_of, headers, body FROM callbacks"
            " WHERE ref = ? AND +verdict = 'hint' AND body IS NOT NULL ORDER BY id LIMIT ?",
            (ref, limit),
        )
        return [_stored_callback(row) for row in rows]

    async def get(self, ids: Sequence[int]) -> list[StoredCallback]:
        """The callbacks of `ids` that exist, with their bodies."""
        which = self._db.dialect.among("id", ids)
        rows = await self._db.fetch_rows(
            f"SELECT id, ref, received_at, verdict, size, replay_of, headers, {_BODY}"
            f" FROM callbacks WHERE {which.sql} ORDER BY id",
            which.params,
        )
        return [_stored_callback(row) for row in rows]

    async def page(
        self, *, ref: str | None = None, verdict: str | None = None, before: int | None = None, limit: int = 50
    ) -> list[StoredCallback]:
        """Up to `limit` callbacks without their bodies, newest first, before the id `before`."""
        where, params = self._db.dialect.page_where(
            "callbacks", [("ref", ref), ("verdict", verdict)], before=("id", before)
        )
        rows = await self._db.fetch_rows(
            "SELECT id, ref, received_at, verdict, size, replay_of, headers FROM callbacks"
            f" {where} ORDER BY id DESC LIMIT ?",
            (*params, limit),
        )
        return [_stored_callback(row) for row in rows]

    async def count_verdicts(self, verdicts: Sequence[str], limit: int) -> dict[str, int]:
        """How many callbacks have each of these verdicts, counted up to `limit`."""
        each = (
            f"SELECT '{verdict}', (SELECT count(*) FROM (SELECT 1 FROM callbacks WHERE verdict = '{verdict}'"
            f" LIMIT {int(limit)}) AS few)"
            for verdict in map(Verdict, verdicts)  # in the text, so that an index of some verdicts fits
        )
        return dict(await self._db.fetch_rows(" UNION ALL ".join(each)))

    async def to_replay(
        self, verdict: str, *, ref: str | None = None, before: int | None = None, limit: int = 200
    ) -> list[int]:
        """The ids of up to `limit` callbacks with this verdict whose bytes are there and that no replay changed yet,
        newest first, before the id `before`; of equal bodies the first only, and no replays."""
        where, params = self._db.dialect.page_where(
            "callbacks", [("ref", ref), ("verdict", verdict)], before=("id", before)
        )
        rows = await self._db.fetch_rows(
            f"SELECT id FROM callbacks {where} AND replay_of IS NULL AND body IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM callbacks AS later WHERE later.ref = callbacks.ref"
            " AND later.replay_of = callbacks.id AND later.verdict <> callbacks.verdict) ORDER BY id DESC LIMIT ?",
            (*params, limit),
        )
        return [callback_id for (callback_id,) in rows]

    async def newest_replay(self, callback_id: int, ref: str) -> int | None:
        """The id of the last replay of a callback of this task; None if it was not replayed, or that is not stored."""
        rows = await self._db.fetch_rows(
            "SELECT max(id) FROM callbacks WHERE ref = ? AND replay_of = ?", (ref, callback_id)
        )
        found: int | None = rows[0][0]
        return found


def _stored_callback(row: Row) -> StoredCallback:
    callback_id, ref, received_at, verdict, *rest = row
    return StoredCallback(callback_id, ref, received_at, Verdict(verdict), *rest)
