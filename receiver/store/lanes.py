"""Whose turn it is at the one writing connection, and who waits for which loop to be woken.

Ingest goes first; after each of its turns one of the others has its turn, if any waits. So no callback waits longer
than two ingest commits and one turn of the other lane, and the others are not starved by a flood.
"""

import asyncio
from collections import deque
from enum import Enum

from receiver.store.connection import Topic


class Lane(Enum):
    """Who wants to write."""

    INGEST = "ingest"
    OTHER = "other"


class Turns:
    """A lock with two lanes. `take` may be cancelled; `give` must follow every `take` that returned."""

    def __init__(self) -> None:
        self._waiting: dict[Lane, deque[asyncio.Future[None]]] = {lane: deque() for lane in Lane}
        self._holder: Lane | None = None

    async def take(self, lane: Lane) -> None:
        """Wait for a turn."""
        if self._holder is None:
            self._holder = lane
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[lane].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()  # the turn was handed to us just as we were cancelled
            raise

    def give(self) -> None:
        """End the turn and hand it on."""
        after = (Lane.OTHER, Lane.INGEST) if self._holder is Lane.INGEST else (Lane.INGEST, Lane.OTHER)
        for lane in after:
            queue = self._waiting[lane]
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    self._holder = lane
                    turn.set_result(None)
                    return
        self._holder = None


class Wakes:
    """Who waits for which topic. A wake between `seen` and `wait` is not missed: the count has moved on."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(Topic, 0)
        self._waiting: dict[Topic, set[asyncio.Future[None]]] = {topic: set() for topic in Topic}

    def wake(self, topic: Topic) -> None:
        """There may be work."""
        self._counts[topic] += 1
        for waiter in self._waiting[topic]:
            if not waiter.done():
                waiter.set_result(None)

    def seen(self, topic: Topic) -> int:
        """The count to hand to `wait`; take it before looking for work."""
        return self._counts[topic]

    async def wait(self, topic: Topic, seen: int, timeout_s: float) -> None:
        """Return once the topic was woken after `seen`, or after `timeout_s`."""
        if self._counts[topic] != seen:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[topic].add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=timeout_s)
        finally:
            self._waiting[topic].discard(waiter)


class Listeners:
    """Who follows the changes of tasks: each has a bounded set of refs still to be looked at."""

    MOST = 1000

    def __init__(self) -> None:
        self._all: set[Listener] = set()

    def tell(self, refs: set[str]) -> None:
        """These tasks changed."""
        for listener in self._all:
            listener.tell(refs)

    def open(self) -> "Listener":
        """A new listener; `close` it."""
        listener = Listener(self._all)
        self._all.add(listener)
        return listener


class Listener:
    """The refs that changed since they were last taken, each once; the oldest give way beyond `Listeners.MOST`."""

    def __init__(self, peers: set["Listener"]) -> None:
        self._refs: dict[str, None] = {}
        self._any = asyncio.Event()
        self._peers = peers

    def tell(self, refs: set[str]) -> None:
        """Remember these refs."""
        self._refs.update(dict.fromkeys(refs))
        while len(self._refs) > Listeners.MOST:
            del self._refs[next(iter(self._refs))]
        self._any.set()

    async def take(self, timeout_s: float) -> list[str]:
        """The refs that changed, as soon as there are any; empty after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._any.wait()
        except TimeoutError:
            return []
        refs = list(self._refs)
        self._refs.clear()
        self._any.clear()
        return refs

    def close(self) -> None:
        """Follow no longer."""
        self._peers.discard(self)
