"""json:// targets that answer late, and notice when two messages to one target are under way at once.

A URL's path holds the target, the process that sends, and its life; a message holds the labels of its tasks. A sender
that was killed is gone: its message is no longer under way.
"""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator

from msgspec import Struct


class CountedPing(Struct, frozen=True):
    """A message that came whole: to which target, from which process in which life, about which tasks, when."""

    target: str
    process: str
    life: int
    labels: tuple[str, ...]
    at: float


class CountingSinks:
    """The targets. `label` matches a task's label in a message."""

    def __init__(self, delay_s: float, label: str) -> None:
        self.port = 0
        self.pings: list[CountedPing] = []
        self.overlaps: list[str] = []
        self._delay_s = delay_s
        self._label = re.compile(label)
        self._under_way: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one message and answer it after the delay, unless its sender goes meanwhile."""
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            _, target, process, life = head.split(" ", 2)[1].split("/")
            length = int(head.lower().split("content-length:")[1].split("\r\n")[0])
            body = (await reader.readexactly(length)).decode()
            labels = tuple(dict.fromkeys(self._label.findall(body)))
            if self._under_way[target]:
                self.overlaps.append(f"{target}: {process} in life {life}, beside {self._under_way[target]} more")
            self._under_way[target] += 1
            try:
                self.pings.append(CountedPing(target, process, int(life), labels, time.monotonic()))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._delay_s):
                        await reader.read()  # to the end: the sender is gone
                        return
            finally:
                self._under_way[target] -= 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()


@contextlib.asynccontextmanager
async def open_counting_sinks(delay_s: float, label: str) -> AsyncIterator[CountingSinks]:
    """The targets, listening on one port."""
    sinks = CountingSinks(delay_s, label)
    server = await asyncio.start_server(sinks.serve, "127.0.0.1", 0, backlog=1024)
    sinks.port = server.sockets[0].getsockname()[1]
    try:
        yield sinks
    finally:
        server.close()
