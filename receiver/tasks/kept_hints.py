"""Reads the stored hints of a task again, as outcomes."""

import asyncio
import logging
from collections.abc import Callable

from receiver.core.hints import KeptHint, hints_since
from receiver.core.types import Outcome, Task
from receiver.store.tables.callbacks import CallbackTable

log = logging.getLogger(__name__)

BodyParser = Callable[[bytes], Outcome | None]


async def read_kept_hints(callbacks: CallbackTable, parse: BodyParser, task: Task) -> list[KeptHint]:
    """The task's stored hints since it was submitted, oldest first. Those that cannot be parsed are left out."""
    found = []
    for callback in await callbacks.hints_of(task.ref):
        try:
            outcome = parse(callback.body) if callback.body is not None else None
        except Exception:
            log.exception("the parser failed on a stored callback", extra={"action": "hints.parse", "ref": task.ref})
            continue
        if outcome is not None and callback.received_at >= hints_since(task):
            found.append(KeptHint(callback.received_at, outcome))
        await asyncio.sleep(0)  # they may be large
    return found
