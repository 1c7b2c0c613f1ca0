"""The bounds of a connection, which uvicorn does not have: how many there are, and what each may cost.

A slow sender is cut, a crowd is turned away at the door, and memory stays bounded whatever is sent; honest senders go
on being served. What a request means, and its 408 and 413, are left to the application.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from receiver.web.http.fast_path import FastPathProtocol

CONNECTIONS_MOST = 512  # half of the 1,024 descriptors that a process may usually have open
PER_ADDRESS_MOST = 64
HEADERS_MOST = 100
HEAD_MOST = 64 * 1024  # bytes; h11's limit too
_UPGRADE = re.compile(rb"^upgrade(?=[ \t]*:)", re.IGNORECASE | re.MULTILINE)
_IGNORED_UPGRADE = b"x-upgra"  # in its place, as long as it: what follows the head stays where it is, whatever it is
_HEAD_END = b"\r\n\r\n"
TINY_CHUNK = 64  # bytes of a body, or chunk of it, below which it is one
TINY_CHUNKS_MOST = 10_000  # of a body: each costs the loop some microseconds
PIPELINE_MOST = 16  # requests that wait behind the one that is being answered

_END = b"content-length: 0\r\nconnection: close\r\n"
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\n" + _END + b"\r\n"
_TOO_MANY_CONNECTIONS = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 10\r\n" + _END + b"\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\n" + _END + b"\r\n"
_TOO_MANY_REQUESTS = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\n" + _END + b"\r\n"


class ConnectionLimiter:
    """Who is connected: at most `CONNECTIONS_MOST`, and from one address at most `PER_ADDRESS_MOST`, unless it is
    loopback or in a network of `trusted`: those are proxies, which bound their own clients."""

    def __init__(self, trusted: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._trusted = tuple(trusted)
        self._all = 0
        self._at: Counter[str] = Counter()

    def try_enter(self, address: str | None) -> bool:
        """Let one in from `address` (None: a local socket), or say that there is no room."""
        place = self._counted_address(address)
        if self._all >= CONNECTIONS_MOST or (place is not None and self._at[place] >= PER_ADDRESS_MOST):
            return False
        self._all += 1
        if place is not None:
            self._at[place] += 1
        return True

    def leave(self, address: str | None) -> None:
        """One that was let in from `address` has gone."""
        self._all -= 1
        place = self._counted_address(address)
        if place is not None:
            self._at[place] -= 1
            if not self._at[place]:
                del self._at[place]

    def _counted_address(self, address: str | None) -> str | None:
        """What is counted as one address (of IPv6 the /64, which a subscriber has whole); None where nothing is."""
        if address is None:
            return None
        found = ip_address(address)
        if found.version == 6:
            found = found.ipv4_mapped or found
        if found.is_loopback or any(found in network for network in self._trusted):
            return None
        return str(found) if found.version == 4 else str(ip_network((int(found), 64), strict=False))


class BoundedProtocol(FastPathProtocol):
    """A connection whose every wait for its peer ends after `patience_s`.

    1. A head, from its first byte on (the first one: from the connection on), then a body: cut, unless an answer is
       still being made; the application says 408 itself.
    2. An answer that the peer does not take: cut.
    3. A head of more than `HEAD_MOST` bytes or `HEADERS_MOST` headers: 431. More than `PIPELINE_MOST` requests at once:
       429. Both end the connection. What trails a body is bounded like a head, and read by nobody.
    4. A wish to change the protocol is not heard, and the request is answered as if it had none. The parser would skip
       its body; so one that comes to its ears all the same, in pieces, is 400.
    """

    patience_s: float
    crowd: ConnectionLimiter

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.access_log = False  # it would print paths, hence tokens
        self._let_in = False
        self._heading = True  # between two requests, or in a head
        self._moved_on = False  # this read ended a head or a body, or brought some of a body
        self._tail = b""  # the last of what came of a head without an end
        self._crumbs = 0
        self._unended = 0  # bytes of earlier reads that belong to a head or trailer without an end yet
        self._arriving = 0  # bytes of this read
        self._refusal: bytes | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        self._let_in = self.crowd.try_enter(self._peer_host())
        if not self._let_in:
            self.close_with(_TOO_MANY_CONNECTIONS)
            return
        transport.set_write_buffer_limits(high=0)  # what the kernel does not take at once is known to be waiting
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        if self._stuck is not None:
            self._stuck.cancel()
        if self._let_in:
            self.crowd.leave(self._peer_host())
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
            self._unended + self._arriving > HEAD_MOST  # may be: a read can also bring the body, or the next request
            and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_MOST
        ):
            self._stop_parsing(_TOO_LARGE)
        if len(self.pipeline) >= PIPELINE_MOST:
            self._stop_parsing(_TOO_MANY_REQUESTS)
        if self.parser.should_upgrade():
            self._stop_parsing(_BAD_REQUEST)
        super().on_headers_complete()
        self.headers = []  # the request's are in its scope; what comes now are trailers
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
        self._stuck = self.loop.call_later(self.patience_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser stops: ours may have stopped for a reason of its own."""
        self.close_with(self._refusal or _BAD_REQUEST)

    def _peer_host(self) -> str | None:
        return self.client[0] if self.client else None

    def _stop_parsing(self, refusal: bytes) -> None:
        self._refusal = refusal
        raise ValueError("the request is out of bounds")  # httptools turns it into its own, uvicorn into a 400

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
        else:  # an answer is still being made: perhaps the 408, perhaps to the request before
            self._start_deadline()
