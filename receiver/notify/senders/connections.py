"""The connections that one send has open, so that another thread can cut them: Python cannot stop a thread."""

import socket
import threading
from contextlib import suppress
from contextvars import ContextVar


class SendConnections:
    """The connections of one send; any thread may cut them.

    It keeps its own descriptor of each, since the send's may be closed, reused for another file, or wrapped in TLS.
    Call `close_all` when the send has ended: until then the other side does not see that the connection is closed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._cut = False

    def add_connection(self, connection: socket.socket) -> None:
        """Register a new connection; after `cut_all` it is cut at once."""
        with self._lock:
            own = connection.dup()
            self._open.append(own)
            if self._cut:
                _shut_down(own)

    def cut_all(self) -> None:
        """End all reading and writing on them, and on those to come. Raises nothing."""
        with self._lock:
            self._cut = True
            for own in self._open:
                _shut_down(own)

    def close_all(self) -> None:
        """Close our own descriptors; the send's stay as they are. Raises nothing."""
        with self._lock:
            for own in self._open:
                own.close()
            self._open.clear()


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)


CURRENT: ContextVar[SendConnections | None] = ContextVar("connections", default=None)  # of this thread's send


def register_connection(connection: socket.socket) -> socket.socket:
    """The same connection, registered with the send of this thread, if there is one."""
    connections = CURRENT.get()
    if connections is not None:
        connections.add_connection(connection)
    return connection
