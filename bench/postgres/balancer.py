"""A balancer that remembers what was answered: each request goes to the next web, over a connection of its own.

A web that was killed is skipped; a request whose answer did not come whole is answered 502, and nobody knows whether it
was carried out.
"""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from itertools import count

ANSWER_MOST_S = 30.0
NO_ANSWER = 502


class Balancer:
    """Forwards to one of `ports` after another. `answered` has (ref, SHA-256 of the body) of each callback that was
    answered 200; `others` counts the other answers to callbacks."""

    def __init__(self) -> None:
        self.port = 0
        self.ports: Sequence[int] = ()
        self.answered: set[tuple[str, str]] = set()
        self.others: Counter[int] = Counter()
        self._turns = count()

    async def forward(self, request: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer to one whole request; 502 if no web is up, or it did not answer."""
        head, _, body = request.partition(b"\r\n\r\n")
        turn = next(self._turns)
        status, answer = NO_ANSWER, b""
        for place in range(len(self.ports)):
            port = self.ports[(turn + place) % len(self.ports)]
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            with contextlib.closing(writer):
                status, answer = await _exchange(reader, writer, head + b"\r\nConnection: close\r\n\r\n" + body)
            break
        if head.startswith(b"POST /callbacks/"):
            if status == 200:
                ref = head[16 : 16 + 36].decode()
                self.answered.add((ref, hashlib.sha256(body).hexdigest()))
            else:
                self.others[status] += 1
        return status, answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request of somebody else, and answer it."""
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError, ValueError):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = [it for it in head.rstrip().split(b"\r\n") if not it.lower().startswith(b"connection:")]
            length = next((int(it.split(b":")[1]) for it in lines if it.lower().startswith(b"content-length:")), 0)
            body = await reader.readexactly(length)
            status, answer = await self.forward(b"\r\n".join(lines) + b"\r\n\r\n" + body)
            writer.write(
                f"HTTP/1.1 {status} Told\r\nContent-Length: {len(answer)}\r\nConnection: close\r\n\r\n".encode()
                + answer
            )
            await writer.drain()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    try:
        async with asyncio.timeout(ANSWER_MOST_S):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n", 1)[0])
            return int(head[9:12]), await reader.readexactly(length)
    except (OSError, EOFError, TimeoutError):
        return NO_ANSWER, b""


@contextlib.asynccontextmanager
async def open_balancer() -> AsyncIterator[Balancer]:
    """A balancer that listens; tell it the `ports`."""
    balancer = Balancer()
    server = await asyncio.start_server(balancer.serve, "127.0.0.1", 0, backlog=1024)
    balancer.port = server.sockets[0].getsockname()[1]
    try:
        yield balancer
    finally:
        server.close()
