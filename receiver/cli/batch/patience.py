"""Repeats a call that may be repeated while the service is away, as during an update."""

import time
from collections.abc import Callable
from typing import TypeVar

from receiver.cli.streams import note
from receiver.client.client import PATIENCE_S
from receiver.core.errors import ApiError

GAPS_S = (0.5, 1.0, 2.0, 5.0)  # between two tries; the last one again and again
_LATER = (0, 408, 429)  # statuses after which the same call may succeed; and all from 500
_T = TypeVar("_T")


class Patience:
    """Asks a service again that answered before (`met`). One that cannot be reached at first is not waited for."""

    def __init__(self, *, met: bool = False) -> None:
        self._met = met

    def ask(self, call: Callable[[], _T]) -> _T:
        """What `call` returns. Raises ApiError once that failed for `PATIENCE_S`, or if it cannot succeed later."""
        since, tries = time.monotonic(), 0
        while True:
            try:
                found = call()
            except ApiError as error:
                later = error.status in _LATER or (error.status >= 500 and error.code != "no_api")
                if not (self._met and later) or time.monotonic() - since > PATIENCE_S:
                    raise
                if tries == 0:
                    note(f"receiver: {error.problem}; trying again")
                time.sleep(GAPS_S[min(tries, len(GAPS_S) - 1)])
                tries += 1
            else:
                self._met = True
                return found
