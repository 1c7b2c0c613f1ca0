"""Values that the start does not need: each is made once, in a thread, when it is first used.

This is the only way to postpone an import. Settings are checked at the start all the same.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LazyValue(Generic[Value]):
    """The result of `make`, which the first `get` runs in a thread. If it fails, the next `get` runs it again."""

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make = make
        self._making: asyncio.Task[Value] | None = None

    @property
    def value_if_made(self) -> Value | None:
        """The value if it has been made, else None."""
        task = self._making
        good = task is not None and task.done() and not task.cancelled() and task.exception() is None
        return task.result() if good and task is not None else None

    async def get(self) -> Value:
        """The value, made now if needed. A caller may be cancelled while it waits. Raises what `make` raises."""
        if self._making is None or (self._making.done() and self.value_if_made is None):
            self._making = asyncio.create_task(asyncio.to_thread(self._make), name="make later")
        return await asyncio.shield(self._making)
