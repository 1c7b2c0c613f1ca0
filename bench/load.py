"""The load generator: keep-alive connections that each send the next request as soon as the last was answered.

It runs as a separate process, away from the server's core. `python -m bench.load PORT CONNECTIONS FILE` reads requests,
each preceded by its length as four big-endian bytes, and prints one line of JSON: requests per second, latencies and
statuses.
"""

import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path


def pack_requests(requests: Iterator[bytes], into: Path) -> None:
    """Write requests into a file for `unpack_requests`."""
    with into.open("wb") as file:
        for request in requests:
            file.write(len(request).to_bytes(4, "big") + request)


def unpack_requests(file: Path) -> list[bytes]:
    """The requests in a file written by `pack_requests`."""
    packed = memoryview(file.read_bytes())
    found, at = [], 0
    while at < len(packed):
        size = int.from_bytes(packed[at : at + 4], "big")
        found.append(bytes(packed[at + 4 : at + 4 + size]))
        at += 4 + size
    return found


def post_request(path: str, body: bytes) -> bytes:
    """A POST request as bytes."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class _LoadConnection(asyncio.Protocol):
    """Sends a request, waits for the whole answer, sends the next."""

    def __init__(self, requests: Iterator[bytes], latencies: list[float], statuses: Counter[int]) -> None:
        self._requests = requests
        self._latencies = latencies
        self._statuses = statuses
        self._got = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send_next()

    def _send_next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, rest = self._got.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(rest) < length:
            return
        self._latencies.append(time.perf_counter() - self._sent_at)
        self._statuses[int(head[9:12])] += 1
        self._got = b""
        self._send_next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def run_load(port: int, connections: int, requests: list[bytes]) -> dict[str, object]:
    """Send all `requests` over this many connections and return the figures."""
    loop = asyncio.get_running_loop()
    left = iter(requests)
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    started = time.perf_counter()
    opened = [
        await loop.create_connection(lambda: _LoadConnection(left, latencies, statuses), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in opened))
    took = time.perf_counter() - started
    hundredths = statistics.quantiles(latencies, n=100)
    return {
        "rate": len(latencies) / took,
        "p50_ms": hundredths[49] * 1000,
        "p99_ms": hundredths[98] * 1000,
        "statuses": dict(statuses),
    }


if __name__ == "__main__":
    port, connections, file = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    print(json.dumps(asyncio.run(run_load(port, connections, unpack_requests(file)))))
