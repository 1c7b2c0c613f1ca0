"""Signals inside one process: loops are woken by topic, listeners collect the refs of changed tasks."""

import asyncio

from receiver.store.tables.connection import Topic


class TopicWakeups:
    """Wakes loops by topic. A wake between `wake_count` and `wait_for_wake` is not missed: the count has changed."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(Topic, 0)
        self._waiting: dict[Topic, set[asyncio.Future[None]]] = {topic: set() for topic in Topic}

    def wake(self, topic: Topic) -> None:
        """Wake the loop that waits for `topic`: there may be work."""
        self._counts[topic] += 1
        for waiter in self._waiting[topic]:
            if not waiter.done():
                waiter.set_result(None)

    def wake_count(self, topic: Topic) -> int:
        """The count to pass to `wait_for_wake`; read it before looking for work."""
        return self._counts[topic]

    async def wait_for_wake(self, topic: Topic, seen: int, timeout_s: float) -> None:
        """Return once `topic` was woken after `seen` was read, or after `timeout_s` seconds."""
        if self._counts[topic] != seen:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[topic].add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=timeout_s)
        finally:
            self._waiting[topic].discard(waiter)


class ChangeListeners:
    """The open listeners. Each holds a bounded set of refs that it has not taken yet."""

    REFS_MOST = 1000

    def __init__(self) -> None:
        self._all: set[ChangeListener] = set()

    def publish_refs(self, refs: set[str]) -> None:
        """Pass the refs of changed tasks to every listener."""
        for listener in self._all:
            listener.add_refs(refs)

    def open_listener(self) -> "ChangeListener":
        """A new listener; close it afterwards."""
        listener = ChangeListener(self._all)
        self._all.add(listener)
        return listener


class ChangeListener:
    """Collects the refs of changed tasks, each once; beyond `ChangeListeners.REFS_MOST` the oldest are dropped."""

    def __init__(self, peers: set["ChangeListener"]) -> None:
        self._refs: dict[str, None] = {}
        self._any = asyncio.Event()
        self._peers = peers

    def add_refs(self, refs: set[str]) -> None:
        """Add refs of changed tasks."""
        self._refs.update(dict.fromkeys(refs))
        while len(self._refs) > ChangeListeners.REFS_MOST:
            del self._refs[next(iter(self._refs))]
        self._any.set()

    async def take_refs(self, timeout_s: float) -> list[str]:
        """Wait for changes and return their refs; an empty list after `timeout_s` seconds without any."""
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
        """Stop collecting."""
        self._peers.discard(self)
