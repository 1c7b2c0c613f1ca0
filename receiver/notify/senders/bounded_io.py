"""Bounds what is read from a service. Apprise reads an answer whole, and an endless one would fill the memory.

Apprise sends through requests, with a new session for each call, and through smtplib. `install_bounds` makes requests
use `BoundedAdapter` and bounds smtplib's replies. Both register the sockets that they open with `connections`.
"""

import http.client
import math
import smtplib
import socket
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from receiver.notify.senders.answers import ANSWERS
from receiver.notify.senders.connections import register_connection

ANSWER_MOST = 256 * 1024  # bytes after decompression; no service says more about one message
ANSWER_MOST_S = 20.0  # to read it
LINES_MOST = 256 * 1024  # bytes around an answer's body: headers, chunk sizes, trailers
REPLY_MOST = 64 * 1024  # bytes of a mail server's reply to one command
REPLY_MOST_LINES = 100
_PIECE = 4096  # bytes read at a time; the limits are checked after each


class _BoundedLines:
    """Wraps a file and bounds the lines that are read from it. Everything else is the file's."""

    def __init__(self, file: Any, bytes_most: int, lines_most: float = math.inf) -> None:
        self._file = file
        self._bytes_left = bytes_most
        self._lines_left = lines_most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def readline(self, most: int = -1) -> bytes:
        """A line. Raises OSError if there were too many; the reader then hangs up."""
        line: bytes = self._file.readline(most)
        self._bytes_left -= len(line)
        self._lines_left -= 1
        if min(self._bytes_left, self._lines_left) < 0:
            raise OSError("the answer is too long")
        return line


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.fp: Any = _BoundedLines(self.fp, LINES_MOST)


class _RegisteredConnection:
    """A mixin for urllib3's connections, which registers their sockets."""

    response_class = _BoundedResponse

    def _new_conn(self) -> socket.socket:
        return register_connection(super()._new_conn())  # type: ignore[misc]


class BoundedAdapter(HTTPAdapter):
    """Reads at most `ANSWER_MOST` bytes of an answer, for at most `ANSWER_MOST_S`; the rest is left unread.

    It also bounds the lines around the body, since urllib3 bounds only their length. If those come a byte at a time,
    reading goes on until the connection is cut.
    """

    def get_connection_with_tls_context(self, *args: Any, **named: Any) -> Any:
        """As in requests; the sockets that the pool opens are registered."""
        pool: Any = super().get_connection_with_tls_context(*args, **named)
        if not issubclass(pool.ConnectionCls, _RegisteredConnection):
            pool.ConnectionCls = type("RegisteredConnection", (_RegisteredConnection, pool.ConnectionCls), {})
        return pool

    def send(self, *args: Any, **named: Any) -> requests.Response:
        """As in requests, but the body is already read."""
        until = time.monotonic() + ANSWER_MOST_S
        response = super().send(*args, **{**named, "stream": True})
        body = bytearray()
        try:
            while len(body) < ANSWER_MOST and time.monotonic() < until:
                piece = response.raw.read1(_PIECE, decode_content=True)
                if not piece:
                    break
                body += piece
        except Exception as error:  # the connection's, or the body cannot be decompressed
            raise requests.ConnectionError(
                f"the answer broke off: {type(error).__name__}", request=response.request
            ) from None
        finally:
            response.raw.close()
        response._content = bytes(body[:ANSWER_MOST])
        response._content_consumed = True
        if (answers := ANSWERS.get()) is not None:
            answers.hear_answer(response.status_code, response.headers, response._content)
        return response


_getreply = smtplib.SMTP.getreply
_get_socket = smtplib.SMTP._get_socket  # type: ignore[attr-defined]


def _bounded_getreply(self: Any) -> tuple[int, bytes]:
    """As in smtplib; raises SMTPServerDisconnected if the reply is too long."""
    file = self.file or self.sock.makefile("rb")
    self.file = _BoundedLines(file, REPLY_MOST, REPLY_MOST_LINES)
    try:
        return _getreply(self)
    finally:
        if self.file is not None:  # it did not hang up
            self.file = file


def _get_registered_socket(self: Any, *args: Any) -> socket.socket:
    return register_connection(_get_socket(self, *args))


def install_bounds() -> None:
    """Bound what every session of requests and every SMTP connection reads from now on. Only Apprise uses them."""
    requests.sessions.HTTPAdapter = BoundedAdapter  # type: ignore[attr-defined]
    smtplib.SMTP.getreply = _bounded_getreply  # type: ignore[method-assign]
    smtplib.SMTP._get_socket = _get_registered_socket  # type: ignore[attr-defined]
