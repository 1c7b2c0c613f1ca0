"""The changes of tasks, for every page that is open: read and encoded once, whoever many listen.

One listener of the store collects what changed. What changes within `FOLD_S` is read with one query and written as one
block. A reader that takes too little is sent the newest of each task once it reads on; if even that is too much, it is
told that it missed something, and asks for what it shows.
"""

import asyncio
import logging
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from receiver.core.errors import StoreError
from receiver.store import Store
from receiver.store.signals import ChangeListener, ChangeListeners

READERS_MOST = 100
WAITING_MOST = 200  # events that a reader has not taken yet
FOLD_S = 0.25
_QUIET_S = 60.0  # how long is waited for a change before it is waited again
_NAMES_MOST = 1000
MISSED = b"event: missed\ndata: {}\n\n"

log = logging.getLogger(__name__)


class LiveEvent(Struct, frozen=True, omit_defaults=True):
    """A task that changed: its state now, and the batch that it belongs to."""

    ref: str
    state: str
    batch: str | None = None


class LiveReader:
    """What one open page has not been sent yet."""

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}
        self._missed = False
        self._any = asyncio.Event()
        self.ended = False

    def add(self, events: dict[str, bytes]) -> None:
        """Add encoded events by ref; one that waits for the same ref is replaced."""
        self._waiting |= events
        if len(self._waiting) > WAITING_MOST:
            self._waiting.clear()
            self._missed = True
        self._any.set()

    def miss(self) -> None:
        """Say that something happened which no event tells."""
        self._missed = True
        self._any.set()

    def end(self) -> None:
        """Let the stream end."""
        self.ended = True
        self._any.set()

    async def take(self, timeout_s: float) -> bytes:
        """Wait until there is something to send, and return it; empty after `timeout_s` seconds, or at the end."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._any.wait()
        except TimeoutError:
            return b""
        taken = b"".join((MISSED if self._missed else b"", *self._waiting.values()))
        self._waiting.clear()
        self._missed = False
        if not self.ended:
            self._any.clear()
        return taken


class LiveFeed:
    """All readers. There is a listener only while there are any; once `stop` is set, they end."""

    def __init__(self, store: Store, stop: asyncio.Event) -> None:
        self._store = store
        self._stop = stop
        self._readers: set[LiveReader] = set()
        self._running: asyncio.Task[None] | None = None
        self._names: dict[int, str | None] = {}  # of lanes; None: it is no batch

    def join(self) -> LiveReader | None:
        """A new reader, which has to leave afterwards; None beyond `READERS_MOST`."""
        if len(self._readers) >= READERS_MOST:
            return None
        reader = LiveReader()
        self._readers.add(reader)
        if self._stop.is_set():
            reader.end()
        elif self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(self._store.open_listener()))
        return reader

    def leave(self, reader: LiveReader) -> None:
        """Forget a reader."""
        self._readers.discard(reader)
        if not self._readers and self._running is not None:
            self._running.cancel()
            self._running = None

    async def _run(self, listener: ChangeListener) -> None:
        stopping = asyncio.create_task(self._stop.wait())
        try:
            while not stopping.done():
                await self._pass_on(await _take_folded(listener, stopping))
        except StoreError as error:
            log.warning("the pages are not live any more: %s", error, extra={"action": "live"})
        except Exception as error:
            log.error("the pages are not live any more", exc_info=error, extra={"action": "live"})
        finally:
            stopping.cancel()
            listener.close()
        for reader in self._readers:  # their pages connect again, and ask for what they show
            reader.end()

    async def _pass_on(self, refs: Sequence[str]) -> None:
        if not refs:
            return
        events = await self._encode(refs)
        for reader in self._readers:
            if len(refs) >= ChangeListeners.REFS_MOST:  # there were more
                reader.miss()
            reader.add(events)

    async def _encode(self, refs: Sequence[str]) -> dict[str, bytes]:
        states = await self._store.tasks.states(refs)
        names = await self._find_names({lane for _, lane in states.values()})
        return {
            ref: b"event: task\ndata: " + msgspec.json.encode(LiveEvent(ref, state, names.get(lane))) + b"\n\n"
            for ref, (state, lane) in states.items()
        }

    async def _find_names(self, lanes: set[int]) -> dict[int, str | None]:
        if unknown := sorted(lanes - self._names.keys()):
            if len(self._names) > _NAMES_MOST:
                self._names.clear()
            found = await self._store.lanes.get(unknown)
            self._names |= {lane: it.name if (it := found.get(lane)) and it.batch else None for lane in unknown}
        return {lane: self._names.get(lane) for lane in lanes}


async def _take_folded(listener: ChangeListener, stopping: "asyncio.Task[bool]") -> list[str]:
    """The refs of what changed, with what else changes within `FOLD_S`; none once the service stops."""
    first = asyncio.create_task(listener.take_refs(_QUIET_S))
    try:
        await asyncio.wait({first, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done() or not (refs := first.result()):
            return []
        await _wait_for_more(stopping)
    finally:
        first.cancel()
    return [] if stopping.done() else list(dict.fromkeys([*refs, *await listener.take_refs(0)]))


async def _wait_for_more(stopping: "asyncio.Task[bool]") -> None:
    await asyncio.wait({stopping}, timeout=FOLD_S)
