"""What one send has open: so that another thread can end it, since Python cannot stop the one that reads there."""

import socket
import threading
from contextlib import suppress
from contextvars import ContextVar


class SendConnections:
    """The connections of one send; any thread may cut them.

    It keeps a descriptor of its own for each: the send's may be closed by now, its number another's, or be wrapped in
    TLS. `close` it when the send has ended: until then the other side does not see that the send hung up.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._cut = False

    def add_connection(self, connection: socket.socket) -> None:
        """Takes in one that was just made; after `cut` it is of no use any more."""
        with self._lock:
            kept = connection.dup()
            self._open.append(kept)
            if self._cut:
                _shut_down(kept)

    def cut_all(self) -> None:
        """Whoever reads or writes there is told that the connection is gone, now and later. Raises nothing."""
        with self._lock:
            self._cut = True
            for kept in self._open:
                _shut_down(kept)

    def close_all(self) -> None:
        """Lets go of them, and leaves those as they are that somebody else has open. Raises nothing."""
        with self._lock:
            for kept in self._open:
                kept.close()
            self._open.clear()


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):  # it is gone already
        connection.shutdown(socket.SHUT_RDWR)


CURRENT: ContextVar[SendConnections | None] = ContextVar("connections", default=None)  # those of this thread's send


def register_connection(connection: socket.socket) -> socket.socket:
    """The same connection, which the send that runs in this thread, if any, has open from now on."""
    connections = CURRENT.get()
    if connections is not None:
        connections.add_connection(connection)
    return connection
