"""asyncpg forgets a future when its connection is lost in the midst of a COPY or of a wait, and asyncio complains: to
the log of the service, and to the runner of our tests, for which that is a failure."""

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import asyncpg


@contextlib.contextmanager
def lost_copies_forgiven() -> Iterator[None]:
    """Pass over these complaints, and over no others, in the event loop that runs."""
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler() or (lambda loop, context: loop.default_exception_handler(context))

    def pass_over(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        forgotten = context.get("message") == "Future exception was never retrieved"
        lost = (asyncpg.ConnectionDoesNotExistError, ConnectionError)
        if not (forgotten and isinstance(context.get("exception"), lost)):
            handler(loop, context)

    loop.set_exception_handler(pass_over)
    try:
        yield
    finally:
        gc.collect()  # so that it complains now
        loop.set_exception_handler(handler)
