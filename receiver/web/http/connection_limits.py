"""Connection limits that uvicorn does not have: how many connections there are, and what each may cost.

A slow client (slowloris) is cut off, a crowd is refused, and memory stays bounded whatever is sent; honest clients are
still served. What a request means, and its 408 and 413, are left to the application.
"""

import asyncio
import fcntl
import re
import sys
import termios
from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from receiver.web.http.fast_path import FastPathProtocol

CONNECTIONS_MOST = 512  # half of the 1,024 files that a process may usually have open
PER_ADDRESS_MOST = 64
HEADERS_MOST = 100
HEAD_MOST = 64 * 1024  # bytes; h11's limit too
_UPGRADE = re.compile(rb"^upgrade(?=[ \t]*:)", re.IGNORECASE | re.MULTILINE)
_IGNORED_UPGRADE = b"x-upgra"  # of the same length, so that nothing behind it moves
_HEAD_END = b"\r\n\r\n"
TINY_CHUNK = 64  # a piece of a body with fewer bytes is tiny
TINY_CHUNKS_MOST = 10_000  # in one body: each costs the event loop some microseconds
READ_RATE_LEAST = 512  # bytes a second of an answer that a peer has to take
LULL_MOST_S = 60.0  # without progress, after much of it
PIPELINE_MOST = 16  # requests that wait behind the one being answered

_END = b"content-length: 0\r\nconnection: close\r\n"
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\n" + _END + b"\r\n"
_TOO_MANY_CONNECTIONS = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 10\r\n" + _END + b"\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\n" + _END + b"\r\n"
_TOO_MANY_REQUESTS = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\n" + _END + b"\r\n"


class ConnectionLimiter:
    """Counts connections: at most `CONNECTIONS_MOST`, and at most `PER_ADDRESS_MOST` from one address, unless it is
    loopback or in a network of `trusted`: those are proxies, which limit their own clients."""

    def __init__(self, trusted: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._trusted = tuple(trusted)
        self._all = 0
        self._at: Counter[str] = Counter()

    def try_enter(self, address: str | None) -> bool:
        """Count a connection from `address` (None: a local socket); False if there is no room for it."""
        place = self._counted_address(address)
        if self._all >= CONNECTIONS_MOST or (place is not None and self._at[place] >= PER_ADDRESS_MOST):
            return False
        self._all += 1
        if place is not None:
            self._at[place] += 1
        return True

    def leave(self, address: str | None) -> None:
        """A counted connection from `address` has ended."""
        self._all -= 1
        place = self._counted_address(address)
        if place is not None:
            self._at[place] -= 1
            if not self._at[place]:
                del self._at[place]

    def _counted_address(self, address: str | None) -> str | None:
        """What counts as one address (for IPv6 the /64, which one subscriber has); None if it is not counted."""
        if address is None:
            return None
        found = ip_address(address)
        if found.version == 6:
            found = found.ipv4_mapped or found
        if found.is_loopback or any(found in network for network in self._trusted):
            return None
        return str(found) if found.version == 4 else str(ip_network((int(found), 64), strict=False))


class BoundedProtocol(FastPathProtocol):
    """A connection that waits for its peer at most `patience_s` each time.

    1. For a head, from its first byte (the first head: from the connection), then for a body. Too late is cut off,
       unless an answer is still being made; the application answers 408 itself.
    2. For the peer to read some of an answer: the deadline begins anew with what it has taken, as long as that is at
       least `READ_RATE_LEAST`. A slow but steady reader gets its answer; one that takes nothing is cut off.
    3. A head of more than `HEAD_MOST` bytes or `HEADERS_MOST` headers is 431, more than `PIPELINE_MOST` requests at
       once 429. Both end the connection. Trailers of a body are limited like a head and ignored.
    4. `Upgrade` is ignored, and the request answered as if it had none, since the parser would skip its body. One that
       reaches the parser all the same, in pieces, is 400.
    """

    patience_s: float
    limiter: ConnectionLimiter

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.access_log = False  # it would print paths, and so tokens
        self._let_in = False
        self._heading = True  # between two requests, or in a head
        self._moved_on = False  # this read ended a head or a body, or held some of a body
        self._tail = b""  # the last bytes of a head that has not ended yet
        self._crumbs = 0
        self._unended = 0  # bytes of earlier reads in a head or trailer that has not ended yet
        self._arriving = 0  # bytes of this read
        self._refusal: bytes | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        self._let_in = self.limiter.try_enter(self._peer_host())
        if not self._let_in:
            self.close_with(_TOO_MANY_CONNECTIONS)
            return
        transport.set_write_buffer_limits(high=0)  # so that bytes which the kernel does not take at once are noticed
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        if self._stuck is not None:
            self._stuck.cancel()
        if self._let_in:
            self.limiter.leave(self._peer_host())
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._moved_on = False
        self._arriving = len(data)
        if self._heading:
            if b"pgrade" in data or b"PGRADE" in data:
                end = (self._tail + data).find(_HEAD_END)
                length = len(data) if end < 0 else max(0, end + len(_HEAD_END) - len(self._tail))
                data = _UPGRADE.sub(_IGNORED_UPGRADE, data[:length]) + data[length:]
            self._tail = (self._tail + data[-3:])[-3:]
        super().data_received(data)
        if not self._heading:
            self._tail = b""
        if self.transport.is_closing():
            return
        if not self._moved_on:
            self._unended += len(data)
            if self._unended > HEAD_MOST:
                self.close_with(_TOO_LARGE)
                return
        if self._deadline is None and not (self._heading and self._moved_on):
            self._start_deadline()

    def on_headers_complete(self) -> None:
        if len(self.headers) > HEADERS_MOST or (
            self._unended + self._arriving > HEAD_MOST  # perhaps: a read can also hold the body or the next request
            and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_MOST
        ):
            self._stop_parsing(_TOO_LARGE)
        if len(self.pipeline) >= PIPELINE_MOST:
            self._stop_parsing(_TOO_MANY_REQUESTS)
        if self.parser.should_upgrade():
            self._stop_parsing(_BAD_REQUEST)
        super().on_headers_complete()
        self.headers = []  # the request's are in its scope; what follows are trailers
        self._heading, self._moved_on = False, True
        self._crumbs = 0
        self._unended = 0
        self._cancel_deadline()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._moved_on = True
        if len(body) < TINY_CHUNK:
            self._crumbs += 1
            if self._crumbs > TINY_CHUNKS_MOST:
                self._stop_parsing(_BAD_REQUEST)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._heading, self._moved_on = True, True
        self._unended = 0
        self._cancel_deadline()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader(self.patience_s)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _watch_reader(self, within_s: float) -> None:
        self._stuck = self.loop.call_later(within_s, self._check_reader, within_s, self._untaken_bytes())

    def _check_reader(self, within_s: float, before: int) -> None:
        taken = before - self._untaken_bytes()
        if taken < READ_RATE_LEAST * within_s:
            self.transport.abort()
        else:  # much at once, as between programs of one machine, lasts for a while
            self._watch_reader(max(self.patience_s, min(taken / READ_RATE_LEAST, LULL_MOST_S)))

    def _untaken_bytes(self) -> int:
        """What the peer has not acknowledged: our buffer, and the kernel's."""
        connected: Any = self.transport.get_extra_info("socket")
        try:
            waiting = fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            waiting = b""
        return int(self.transport.get_write_buffer_size()) + int.from_bytes(waiting, sys.byteorder)

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser stops, which may be our own refusal."""
        self.close_with(self._refusal or _BAD_REQUEST)

    def _peer_host(self) -> str | None:
        return self.client[0] if self.client else None

    def _stop_parsing(self, refusal: bytes) -> None:
        self._refusal = refusal
        raise ValueError("the request is beyond the limits")  # httptools wraps it, uvicorn answers it

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self.patience_s, self._on_deadline)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._deadline = None
            self.transport.abort()
        else:  # an answer is still being made: the 408, or one to an earlier request
            self._start_deadline()
