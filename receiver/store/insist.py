"""Retries for what has to be recorded even if the disk refuses it at first."""

import asyncio
from collections.abc import Awaitable, Callable

from receiver.core.errors import StaleUpdate, StoreUnavailable

RECORD_GAPS_S = (0.2, 1.0, 3.0, 10.0)


async def record_with_retries(record: Callable[[], Awaitable[None]]) -> None:
    """Record something that cannot be asked for again, such as a provider's answer; retry while the store fails.

    Raises StoreUnavailable or StaleUpdate if the last try raised it, and any other error at once.
    """
    for gap_s in RECORD_GAPS_S:
        try:
            return await record()
        except (StoreUnavailable, StaleUpdate):
            await asyncio.sleep(gap_s)
    return await record()
