"""What a target answers is bounded: in bytes, unpacked or not, and in time; and it is no less of an answer for it."""

import gzip
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.core.types import AttemptResult, Target
from receiver.notify.messages.message import BodyFormat, Message, MessageKind
from receiver.notify.senders import bounded_io, plugin
from receiver.notify.senders.sender import AppriseSender

pytestmark = pytest.mark.anyio

Answering = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextmanager
def answering(how: Answering) -> Iterator[Target]:
    """A target whose service answers so."""

    class Turn(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                how(self)
            except OSError:  # it hung up, as it should
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Turn) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Target(name="odd", url=f"json://127.0.0.1:{server.server_address[1]}/a")
        server.shutdown()


def message(body: str = "the body") -> Message:
    return Message(title="a title", body=body, format=BodyFormat.TEXT, kind=MessageKind.INFO)


async def told(how: Answering) -> AttemptResult:
    sender = AppriseSender(timeout_s=20)
    with answering(how) as target:
        sent = await sender.send(target, message())
    await sender.close()
    return sent


def resident_mb() -> float:
    [line] = [it for it in Path("/proc/self/status").read_text().splitlines() if it.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


async def test_an_answer_that_unpacks_to_gigabytes_fills_no_memory() -> None:
    bomb = gzip.compress(bytes(256 * 1024 * 1024))

    def burst(turn: http.server.BaseHTTPRequestHandler) -> None:
        turn.send_response(200)
        turn.send_header("Content-Encoding", "gzip")
        turn.send_header("Content-Length", str(len(bomb)))
        turn.end_headers()
        turn.wfile.write(bomb)

    await told(lambda turn: (turn.send_response(200), turn.send_header("Content-Length", "0"), turn.end_headers()))  # type: ignore[func-returns-value,arg-type]
    before = resident_mb()
    assert (await told(burst)).error is None
    assert resident_mb() - before < 64


async def test_an_answer_without_an_end_is_read_so_far_and_no_further() -> None:
    written = 0

    def flood(turn: http.server.BaseHTTPRequestHandler) -> None:
        nonlocal written
        turn.send_response(200)
        turn.end_headers()
        while written < 1 << 30:
            written += turn.wfile.write(bytes(65_536))

    assert (await told(flood)).error is None
    assert written < 64 * 1024 * 1024


async def test_an_answer_that_drips_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_io, "ANSWER_MOST_S", 0.3)

    def drip(turn: http.server.BaseHTTPRequestHandler) -> None:
        turn.send_response(200)
        turn.end_headers()
        for _ in range(2000):
            turn.wfile.write(b".")
            time.sleep(0.01)

    assert (await told(drip)).error is None


async def test_an_answer_that_breaks_off_is_a_failure_that_passes() -> None:
    def broken(turn: http.server.BaseHTTPRequestHandler) -> None:
        turn.send_response(200)
        turn.send_header("Content-Encoding", "gzip")
        turn.send_header("Content-Length", "4")
        turn.end_headers()
        turn.wfile.write(b"junk")

    sent = await told(broken)
    assert sent.error
    assert not sent.permanent


def opened(url: str) -> Any:
    return plugin.open_target(url)[0]


def test_a_throttle_does_not_wait_for_a_clock_that_was_put_back() -> None:
    """Apprise goes by local time: in autumn its last message lies an hour ahead."""
    service = opened("ntfy://127.0.0.1:9/topic")
    service._last_io_datetime = datetime.now() + timedelta(hours=1)  # as Apprise does
    plugin._forget_future_throttle(service)
    assert service._last_io_datetime is None
