"""What is read of an answer from a server that may be broken or hostile: so many bytes, for so long.

Knows sockets and bytes alone; what an answer means is the client's.
"""

import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from weakref import WeakSet

ANSWER_MOST = 64 * 1024 * 1024  # bytes of an answer as a whole
LINE_MOST = 8 * 1024 * 1024  # bytes of a line of a stream: a task with all its raw words is far below
ANSWER_S = 120.0  # seconds that an answer may take from its request to its end
PICTURE_S = 900.0  # the same for a picture, over a slow line


class TooMuch(Exception):
    """The text says what there is too much of."""


class Limits:
    """A total deadline for answers, kept even while bytes go on coming in: each read's own timeout does not see that.

    `trace` goes to httpx as the extension of that name with every request; so the connections are known here.
    """

    def __init__(self) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()

    def trace(self, event: str, info: Mapping[str, object]) -> None:
        """What httpx calls as a request goes on."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            found = getattr(info.get("return_value"), "get_extra_info", lambda _: None)("socket")
            if isinstance(found, socket.socket):
                self._sockets.add(found)

    @contextlib.contextmanager
    def within(self, span_s: float) -> Iterator[None]:
        """The connections are broken off after `span_s` seconds. Raises TooMuch if that was so."""
        late = threading.Event()

        def end() -> None:
            late.set()
            for each in list(self._sockets):
                with contextlib.suppress(OSError):  # closed already; of TLS, too, the connection beneath
                    socket.socket.shutdown(each, socket.SHUT_RDWR)

        timer = threading.Timer(span_s, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception as error:
            if late.is_set():
                raise TooMuch(_late(span_s)) from error
            raise
        finally:
            timer.cancel()
        if late.is_set():  # what was broken off can look whole
            raise TooMuch(_late(span_s))


def _late(span_s: float) -> str:
    return f"an answer that has no end after {span_s:g} s"


def whole(pieces: Iterable[bytes]) -> bytes:
    """All of an answer. Raises TooMuch."""
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) > ANSWER_MOST:
            raise TooMuch(f"more than {ANSWER_MOST >> 20} MiB")
    return bytes(found)


def lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of an answer, which end with a newline, as they come. Raises TooMuch, UnicodeDecodeError."""
    rest = b""
    for piece in pieces:
        *ended, rest = (rest + piece).split(b"\n")
        for line in ended:
            yield line.removesuffix(b"\r").decode()
        if len(rest) > LINE_MOST:
            raise TooMuch(f"a line of more than {LINE_MOST >> 20} MiB")
