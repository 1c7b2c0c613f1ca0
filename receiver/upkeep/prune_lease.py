"""Who removes what is old: over a database that several processes share, one of them at a time.

It is a row that says who, until when, and when the next pass begins. If the process that has it dies, another one takes
over when that time is over; if it was only frozen, it notices before it removes anything.
"""

import contextlib
import secrets

import msgspec
from msgspec import Struct

from receiver.core.errors import StoreError
from receiver.core.schedule import is_paused
from receiver.core.types import Clock
from receiver.store import Store, Tx

LEASE_MS = 120_000  # far longer than one turn, or the removal of some folders
PACE = "prune"


class _PruneState(Struct):
    """The row. An owner without a lease has ended its pass."""

    owner: str = ""
    lease_until: int = 0
    next_at: int = 0


_state = msgspec.json.Decoder(_PruneState)


class PruneLeaseLost(StoreError):
    """Another process removes what is old now."""

    def __init__(self) -> None:
        super().__init__("another process is removing what is old", remedy="wait until it has ended")


class PruneLease:
    """The right of this process to remove what is old. A database of its own has nobody to share it with."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._owner = secrets.token_hex(8)
        self._until = 0

    async def take(self, every_ms: int, *, asked: bool) -> int | None:
        """Begin a pass: None, or when to try again because another process is at it, or was, within `every_ms`; a
        person who `asked` for a pass need not wait for that. Raises StoreError."""
        if not self._store.shared:
            return None
        async with self._store.write() as tx:
            state = _state.decode(await tx.paces.lock(PACE, "{}"))
            now = self._clock()
            if state.owner != self._owner and is_paused(state.lease_until, now, LEASE_MS):
                return state.lease_until
            if not asked and is_paused(state.next_at, now, every_ms):
                return state.next_at
            await self._put(tx, self._owner, now + LEASE_MS, state.next_at)
        self._until = now + LEASE_MS
        return None

    async def renew(self, tx: Tx) -> None:
        """Make sure of it, first of all in a transaction that removes something. Raises PruneLeaseLost, StoreError."""
        if not self._store.shared:
            return
        state = await self._lock(tx)
        self._until = self._clock() + LEASE_MS
        await self._put(tx, self._owner, self._until, state.next_at)

    async def keep(self) -> None:
        """Make sure of it before files are removed. Raises PruneLeaseLost, StoreError."""
        if self._store.shared and not self._clock() < self._until - LEASE_MS // 2:
            async with self._store.write() as tx:
                await self.renew(tx)

    async def end(self, next_at: int | None) -> None:
        """The pass is over, and the next one begins at `next_at`; None: it failed, and may be tried again. If the store
        fails, the lease ends by itself."""
        if not self._store.shared:
            return
        with contextlib.suppress(StoreError):
            async with self._store.write() as tx:
                state = await self._lock(tx)
                await self._put(tx, self._owner, 0, state.next_at if next_at is None else next_at)

    async def _lock(self, tx: Tx) -> _PruneState:
        """The row, if it is still ours. Raises PruneLeaseLost."""
        state = _state.decode(await tx.paces.lock(PACE, "{}"))
        if state.owner != self._owner:
            raise PruneLeaseLost
        return state

    @staticmethod
    async def _put(tx: Tx, owner: str, lease_until: int, next_at: int) -> None:
        await tx.paces.put(PACE, msgspec.json.encode(_PruneState(owner, lease_until, next_at)).decode())
