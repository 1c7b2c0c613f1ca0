"""Work that a cancellation must not leave half done."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def to_the_end(work: Coroutine[Any, Any, Any]) -> None:
    """Run `work` to its end even if the caller is cancelled meanwhile; then raise the cancellation."""
    running = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:  # noqa: S110 - raised by result() below
            pass
    running.result()
    if cancelled is not None:
        raise cancelled
