"""Graceful close: how connections end when the service stops, so that a restart loses no request.

Closing a connection over an unread request resets it, and its sender cannot know what became of it. So a connection
that was just opened or used, or has bytes waiting, is not closed; only those that were quiet for a while are, at once.

Whether bytes wait and the end of our side are two system calls in a row, with no turn of the event loop between them.
A request can still cross that end on its way. It is read, so that there is no reset: a callback is stored, though its
answer is lost; any other request is not begun, and its sender can repeat it.
"""

import asyncio
import contextlib
import fcntl
import socket
import termios
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from receiver.web.http.connection_limits import BoundedProtocol

WARM_S = 0.5
"""For so long after it was opened or used, a connection may bring a request, and a stop does not close it."""
LINGER_S = 0.2
"""How long a connection is read after we ended our side, unless the peer hangs up before."""


class GracefulProtocol(BoundedProtocol):
    """A connection that `shutdown` ends by these rules:

    1. If an answer is owed, it is given, and then the connection ends.
    2. If it was quiet for `WARM_S` and nothing waits in the kernel, it ends at once.
    3. Otherwise it is checked again after `WARM_S`, and ends unless an answer is owed by then.

    A connection that was idle for too long ends the same way, also when nothing stops.
    `last_call` is for connections that the listener had accepted when it closed, and that start only then.
    """

    last_call = False

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._lingering: asyncio.TimerHandle | None = None  # set once our side has ended

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
        """Whether it was opened or used recently and is owed nothing: its next request may be on its way."""
        since = max(self._quiet_since, self._idle_since or 0.0)  # the latter after an answer of the fast path
        return self.loop.time() - since < WARM_S and not self._owes_answer() and not self.transport.is_closing()

    def shutdown(self) -> None:
        """End as soon as that loses nothing."""
        if self._owes_answer():
            super().shutdown()
        elif self.is_warm or self._unended or self._aside is not None:
            self._close_later()
        else:
            self._close_if_quiet()

    def timeout_keep_alive_handler(self) -> None:
        """Called when the connection was idle for too long; what waits to be read is read next, and ends that."""
        if not self.transport.is_closing() and not self._unread_bytes():
            self._end_our_side()

    def _close_later(self) -> None:
        self.loop.call_later(WARM_S, self._close_if_quiet)

    def _close_if_quiet(self) -> None:
        if self.transport.is_closing() or self._owes_answer() or self._lingering is not None:
            return  # the answer that is owed is its last
        if self._unread_bytes():
            self._close_later()
        else:
            self._end_our_side()

    def _end_our_side(self) -> None:
        """Say that no answer will come any more, and read on for a moment. Nothing may be unread."""
        self._cork.flush()
        if self.transport.get_write_buffer_size():
            self.transport.close()  # once the peer has taken the answer
            return
        with contextlib.suppress(OSError):  # the peer has gone
            self.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        self._lingering = self.loop.call_later(LINGER_S, self.transport.close)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self._lingering is None:
            super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)

    def _unread_bytes(self) -> int:
        """How many unread bytes the kernel holds."""
        connected: Any = self.transport.get_extra_info("socket")
        try:
            answer = fcntl.ioctl(connected.fileno(), termios.FIONREAD, bytes(4))
        except OSError:
            return 0
        return int.from_bytes(answer, "little")
