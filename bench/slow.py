"""Honest callbacks among slow senders: 300 connections drip heads and bodies, and reconnect whenever they are cut.

`python -m bench.slow` prints how long honest callbacks wait for their answers, with and without the slow senders.
"""

import asyncio
import contextlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.load import pack_requests, post_request
from bench.processes import LOAD_CORE, port_of, start_module
from bench.samples import KEY, TableRow, service_env
from receiver.tokens import Ring, new_ref

SLOW = 300
HONEST = 8  # connections
CALLBACKS = 10_000
BODY_TIMEOUT_S = 1  # short, so that every slow sender is cut and returns several times
DRIP_S = 0.2  # between two bytes
SETTLE_S = 0.5  # until all are connected


def rows() -> list[TableRow]:
    """The lines of the table."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).resolve()
        env = service_env(folder, RECEIVER_BODY_TIMEOUT=str(BODY_TIMEOUT_S))
        with start_module("bench.servers", "held", env=env) as server:
            port = port_of(server)
            calm = _measure_honest(port, folder)
            among, ends = asyncio.run(_measure_siege(port, folder))
    return [
        (
            f"p99 of honest callbacks among {SLOW} slow senders",
            f"{among['p99_ms']:.1f} ms",
            f"{calm['p99_ms']:.1f} ms without; {sum(ends.values()):,} slow ones cut",
        )
    ]


def _measure_honest(port: int, folder: Path) -> dict[str, Any]:
    """Post honest callbacks as fast as they are answered; returns the figures of `bench.load`."""
    pack_requests(_honest_callbacks(), folder / "requests")
    command = ("bench.load", str(port), str(HONEST), str(folder / "requests"))
    with start_module(*command, cores=LOAD_CORE) as running:
        assert running.stdout is not None
        figures: dict[str, Any] = json.loads(running.stdout.readline())
    if figures["statuses"] != {"200": CALLBACKS}:
        raise SystemExit(f"honest callbacks were answered {figures['statuses']}")
    return figures


def _honest_callbacks() -> Iterator[bytes]:
    ring, now = Ring([KEY]), time.time_ns() // 1_000_000
    body = b'{"status":"processing","pad":"%s"}' % (b"x" * 1000)
    return (post_request(f"/callbacks/{ring.token(new_ref(now))}", body) for _ in range(CALLBACKS))


async def _measure_siege(port: int, folder: Path) -> tuple[dict[str, Any], Counter[bytes]]:
    """The honest figures while slow senders drip, and counts of the statuses with which those were cut."""
    path = f"/callbacks/{Ring([KEY]).token(new_ref(time.time_ns() // 1_000_000))}"
    head = f"POST {path} HTTP/1.1\r\nX-Slow: ".encode()
    body = f"POST {path} HTTP/1.1\r\nContent-Length: 100000\r\n\r\n".encode()
    ends: Counter[bytes] = Counter()
    slow = [asyncio.create_task(_drip_request(port, (head, body)[number % 2], ends)) for number in range(SLOW)]
    await asyncio.sleep(SETTLE_S)
    figures = await asyncio.to_thread(_measure_honest, port, folder)
    for dripping in slow:
        dripping.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    return figures, ends


async def _drip_request(port: int, begun: bytes, ends: Counter[bytes]) -> None:
    """Begin a request, send a byte now and then until cut, and start again."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        reading = asyncio.create_task(reader.read())
        with contextlib.closing(writer):
            writer.write(begun)
            while not reading.done():
                await asyncio.wait({reading}, timeout=DRIP_S)
                writer.write(b"x")
            ends[reading.result()[9:12] if reading.exception() is None else b""] += 1


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row))
