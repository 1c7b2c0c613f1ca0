"""Who waits for which loop to be woken, and who follows the changes of tasks."""

import asyncio

from receiver.store.tables.connection import Topic


class TopicWakeups:
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

    def wake_count(self, topic: Topic) -> int:
        """The count to hand to `wait`; take it before looking for work."""
        return self._counts[topic]

    async def wait_for_wake(self, topic: Topic, seen: int, timeout_s: float) -> None:
        """Return once the topic was woken after `seen`, or after `timeout_s`."""
        if self._counts[topic] != seen:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[topic].add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=timeout_s)
        finally:
            self._waiting[topic].discard(waiter)


class ChangeListeners:
    """Who follows the changes of tasks: each has a bounded set of refs still to be looked at."""

    REFS_MOST = 1000

    def __init__(self) -> None:
        self._all: set[ChangeListener] = set()

    def publish_refs(self, refs: set[str]) -> None:
        """These tasks changed."""
        for listener in self._all:
            listener.add_refs(refs)

    def open_listener(self) -> "ChangeListener":
        """A new listener; `close` it."""
        listener = ChangeListener(self._all)
        self._all.add(listener)
        return listener


class ChangeListener:
    """The refs that changed since they were last taken, each once; the oldest give way beyond `Listeners.MOST`."""

    def __init__(self, peers: set["ChangeListener"]) -> None:
        self._refs: dict[str, None] = {}
        self._any = asyncio.Event()
        self._peers = peers

    def add_refs(self, refs: set[str]) -> None:
        """Remember these refs."""
        self._refs.update(dict.fromkeys(refs))
        while len(self._refs) > ChangeListeners.REFS_MOST:
            del self._refs[next(iter(self._refs))]
        self._any.set()

    async def take_refs(self, timeout_s: float) -> list[str]:
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
