"""A start over a database on a server, which may come up later than we do.

Until it is there, health checks are answered; what connects otherwise hears 503. A stop ends the wait at once.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from receiver.core.errors import StaleUpdate, StoreUnavailable
from receiver.service.wiring import ServiceParts
from receiver.web.waiting import serve_waiting

TRIED_MOST_S = 60.0
AGAIN_S = 1.0
ANSWERED_AFTER_S = 1.0  # a start that takes no longer answers nothing before it is done

log = logging.getLogger(__name__)

OpenParts = Callable[[], AbstractAsyncContextManager[ServiceParts]]


@contextlib.asynccontextmanager
async def open_patiently(
    open_parts: OpenParts, listener: socket.socket, stop: asyncio.Event, *, named: str, body_timeout_s: float
) -> AsyncIterator[ServiceParts | None]:
    """The parts, once the database is there, which errors call `named`; None if `stop` came first.

    While it cannot be reached, it is tried again for `TRIED_MOST_S`. Raises StoreUnavailable then, and any other error
    at once: time would not mend it.
    """
    async with AsyncExitStack() as stack:
        start = _Start(open_parts, stack, named)
        answered = asyncio.Event()
        answering = asyncio.create_task(_answer_meanwhile(start, listener, answered, body_timeout_s))
        opening = asyncio.create_task(start.open(), name="open")
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            opening.cancel()  # does nothing to one that is done
            await asyncio.wait({opening})
            answered.set()
            await answering
        yield None if opening.cancelled() else opening.result()


class _Start:
    """The attempts to open the parts into `stack`."""

    def __init__(self, open_parts: OpenParts, stack: AsyncExitStack, named: str) -> None:
        self._open_parts = open_parts
        self._stack = stack
        self._named = named
        self.why = "the database is being opened"

    async def open(self) -> ServiceParts:
        loop = asyncio.get_running_loop()
        until = loop.time() + TRIED_MOST_S
        said = False
        while True:
            try:
                return await self._stack.enter_async_context(self._open_parts())
            except (StoreUnavailable, StaleUpdate) as error:
                if loop.time() + AGAIN_S >= until:
                    raise StoreUnavailable(
                        f"{self._named} could not be used within {TRIED_MOST_S:g} seconds: {error.problem}",
                        remedy=error.remedy or "check that the server is up, and DATABASE_URL",
                    ) from error
                self.why = str(error)
                if not said:
                    text = "%s: %s; trying again for up to %d seconds"
                    log.warning(text, self._named, error, TRIED_MOST_S, extra={"action": "serve.wait"})
                    said = True
            await asyncio.sleep(AGAIN_S)


async def _answer_meanwhile(
    start: _Start, listener: socket.socket, answered: asyncio.Event, body_timeout_s: float
) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(answered.wait(), ANSWERED_AFTER_S)
        return
    await serve_waiting(listener, answered, lambda: start.why, body_timeout_s)
