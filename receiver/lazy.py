"""What a start can do without: made when it is first asked for, once, in a thread, while the event loop goes on.

Here is the one way to put an import off. What may be wrong with the settings is checked before, at the start.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Made = TypeVar("Made")


class LazyValue(Generic[Made]):
    """The result of `make`, which runs in a thread when `get` is called first; if it fails, the next `get` runs it."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._making: asyncio.Task[Made] | None = None

    @property
    def value_if_made(self) -> Made | None:
        """What was made, if it was."""
        task = self._making
        good = task is not None and task.done() and not task.cancelled() and task.exception() is None
        return task.result() if good and task is not None else None

    async def get(self) -> Made:
        """What was made; made now if it was not. Whoever waits may go. Raises what `make` raises."""
        if self._making is None or (self._making.done() and self.value_if_made is None):
            self._making = asyncio.create_task(asyncio.to_thread(self._make), name="make later")
        return await asyncio.shield(self._making)
