"""The state of a loop as all processes over one database share it: one row, read and written back under a lock.

Whoever locks it does so before anything else in the transaction, looks only then, and takes the time only then: what is
decided then rests on all that any process has decided before. Lock order: this row, then tasks and books, then lanes.
"""

import logging
from typing import Generic, Protocol, Self, TypeVar

import msgspec
from msgspec.structs import replace

from receiver.core.loop_states import SubmitState, SweepState
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import Store
from receiver.store.tables.paces import PaceTable

ALIVE_MS = 15 * 60_000  # a process says every ten seconds that it works; one that ends, that it is gone
_IDLE_ROLES = {"web"}

log = logging.getLogger(__name__)


class LoopState(Protocol):
    """A frozen Struct. `at`: when something of it changed last."""

    @property
    def at(self) -> int: ...

    def with_settings_of(self, own: Self) -> Self: ...


State = TypeVar("State", bound=LoopState)


class SharedState(Generic[State]):
    """A state under a name. Nothing that is stored, or nothing that can be read, counts as no state."""

    def __init__(self, name: str, kind: type[State]) -> None:
        self._name = name
        self._decoder = msgspec.json.Decoder(kind)

    async def read(self, paces: PaceTable) -> State | None:
        """The state as it is, to look at."""
        return self._decode(await paces.get(self._name))

    async def lock(self, paces: PaceTable) -> State | None:
        """The state, which until the end of the transaction nobody else changes."""
        return self._decode(await paces.lock(self._name, ""))

    async def put(self, paces: PaceTable, before: State | None, after: State, now: int) -> None:
        """Store the state, which was locked and then `before`, if it changed."""
        if before is None or after != before:
            await self.put_as_it_is(paces, replace(after, at=now))  # type: ignore[type-var]  # it is a Struct

    async def put_as_it_is(self, paces: PaceTable, state: State) -> None:
        """Store a state that was locked, as old as it is."""
        await paces.put(self._name, msgspec.json.encode(state).decode())

    def _decode(self, text: str | None) -> State | None:
        if not text:
            return None
        try:
            return self._decoder.decode(text)
        except msgspec.MsgspecError:
            log.warning("what is stored of %s cannot be read, so it begins anew", self._name)
            return None


SUBMITTING = SharedState(f"submit:{DEFAULT_PROVIDER}", SubmitState)
SWEEPING = SharedState(f"sweep:{DEFAULT_PROVIDER}", SweepState)


async def working_since(store: Store, now: int) -> int:
    """When the first of the processes began that work over this database now. A state that is older is of processes
    that are gone: whoever starts begins anew, as over a database that only one process serves. 0 over such a one, which
    is emptied of states whenever it is opened.

    A process that works may fail to say so for a while: until nobody doubts that it is gone, what it was taught holds.
    """
    if not store.shared:
        return 0
    alive = (it for it in await store.processes() if it.role not in _IDLE_ROLES and it.seen_at > now - ALIVE_MS)
    return min((it.started_at for it in alive), default=now)
