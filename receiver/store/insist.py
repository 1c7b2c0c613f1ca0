"""Recording what was learned from outside, though the disk does not take it at once."""

import asyncio
from collections.abc import Awaitable, Callable

from receiver.core.errors import StaleUpdate, StoreUnavailable

RECORD_GAPS_S = (0.2, 1.0, 3.0, 10.0)


async def record_with_retries(record: Callable[[], Awaitable[None]]) -> None:
    """Record what was learned from outside, waiting for the disk if need be: it cannot be asked for again.

    Raises what the last try raised, Unavailable or Stale, or at once what a repeat would not mend.
    """
    for gap_s in RECORD_GAPS_S:
        try:
            return await record()
        except (StoreUnavailable, StaleUpdate):
            await asyncio.sleep(gap_s)
    return await record()
