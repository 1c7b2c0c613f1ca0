"""The lock of the one writing connection: ingest has priority, and no loop starves.

Ingest goes first. After each of its turns one of the others gets a turn, if any is waiting. So a callback waits for two
ingest commits and one turn of another loop at most, and a flood of callbacks does not starve the other loops.
"""

import asyncio
from collections import deque
from enum import Enum


class Lane(Enum):
    """Who wants to write."""

    INGEST = "ingest"
    OTHER = "other"


class WriterLock:
    """A lock with two lanes. `acquire` may be cancelled; `release` must follow every `acquire` that returned."""

    def __init__(self) -> None:
        self._waiting: dict[Lane, deque[asyncio.Future[None]]] = {lane: deque() for lane in Lane}
        self._holder: Lane | None = None

    async def acquire(self, lane: Lane) -> None:
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
                self.release()  # we got the turn just as we were cancelled
            raise

    def release(self) -> None:
        """End the turn and pass it on."""
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
