"""How connections end when the service stops, so that a restart loses no request.

A connection that is closed over a request that nobody has read is reset, and whoever sent it cannot know what became of
it. So none is closed that has just been opened or used, or that has bytes waiting; only ones long quiet go at once.
"""

import asyncio
import fcntl
import termios
from typing import Any

from receiver.web.http.connection_limits import BoundedProtocol

WARM_S = 0.5
"""How long a connection that was opened or used may be expected to bring a request, and is not closed in a stop."""


class GracefulProtocol(BoundedProtocol):
    """A connection that `shutdown` ends, in this order of questions:

    1. An answer is owed: it is given, and then the connection ends.
    2. It is quiet for `WARM_S`, and nothing waits in the kernel: it ends at once.
    3. Else it is looked at again after `WARM_S`, and ends unless it is owed an answer by then.

    `last_call` holds for connections that the listener had taken when it closed, and that come to life only then.
    """

    last_call = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        self._quiet_since = self.loop.time()
        super().connection_made(transport)
        if self.last_call:
            self._close_later()

    def on_response_complete(self) -> None:
        self._quiet_since = self.loop.time()
        super().on_response_complete()

    @property
    def is_warm(self) -> bool:
        """Whether it was opened or used not long ago, and is owed nothing: its next request may be on its way."""
        since = max(self._quiet_since, self._idle_since or 0.0)  # the latter where an answer needed no task
        return self.loop.time() - since < WARM_S and not self._owes_answer() and not self.transport.is_closing()

    def shutdown(self) -> None:
        """End, as soon as that loses nothing."""
        if self._owes_answer():
            super().shutdown()
        elif self.is_warm or self._unended or self._aside is not None or self._unread_bytes():
            self._close_later()
        else:
            self.transport.close()

    def _close_later(self) -> None:
        self.loop.call_later(WARM_S, self._close_if_quiet)

    def _close_if_quiet(self) -> None:
        if self.transport.is_closing() or self._owes_answer():
            return  # what is owed is its last answer
        if self._unread_bytes():
            self._close_later()
        else:
            self.transport.close()

    def _unread_bytes(self) -> int:
        """How many bytes the kernel holds that nobody has read."""
        connected: Any = self.transport.get_extra_info("socket")
        try:
            answer = fcntl.ioctl(connected.fileno(), termios.FIONREAD, bytes(4))
        except OSError:
            return 0
        return int.from_bytes(answer, "little")
