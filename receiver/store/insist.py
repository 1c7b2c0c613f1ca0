"""Trying again: to record what must not be lost though the disk refuses it, and to decide after others were faster."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from receiver.core.errors import StaleUpdate, StoreUnavailable

# Some six minutes: a database that is restarted, or whose replica takes over, is away for longer than a disk is full.
RECORD_GAPS_S = (0.2, 1.0, 3.0, 10.0, *[15.0] * 24)
DECIDE_TRIES = 3

Given = ParamSpec("Given")
Result = TypeVar("Result")


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


def decide_again(work: Callable[Given, Awaitable[Result]]) -> Callable[Given, Coroutine[Any, Any, Result]]:
    """Do `work` again if another process changed what it went by: an equal key, the same task at the same moment.

    Somebody waits for the answer, and the next look has it. `work` is one transaction, and reads all that it goes by in
    it. After `DECIDE_TRIES` it raises StoreUnavailable.
    """

    @wraps(work)
    async def decide(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        for _ in range(DECIDE_TRIES):
            try:
                return await work(*args, **kwargs)
            except StaleUpdate:
                continue
        raise StoreUnavailable("others kept changing the same at the same time", retry_after_s=1)

    return decide
