"""A target whose answer never ends, where no library bounds it: it fills no memory, and keeps no thread for ever."""

import asyncio
import smtplib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from kit.live_service import PATIENCE_S
from receiver.core.types import MessageStyle, Target
from receiver.notify.messages.message import BodyFormat, Message, MessageKind
from receiver.notify.senders import bounded_io
from receiver.notify.senders import sender as senders
from receiver.notify.senders.connections import SendConnections
from receiver.notify.senders.sender import AppriseSender, check_target

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

HELLO = Message(title="a title", body="the body", format=BodyFormat.TEXT, kind=MessageKind.INFO)
FLOOD_MOST = 128 * 1024 * 1024  # bytes after which a test's server has seen enough


class Flood:
    """What a server of one connection after the other says at first, and then without an end."""

    def __init__(self, first: bytes, endless: bytes, pause_s: float) -> None:
        self.written = 0
        self.over = threading.Event()
        self._first, self._endless, self._pause_s = first, endless, pause_s

    def run(self, trap: socket.socket) -> None:
        while not self.over.is_set():
            with suppress(OSError):
                connection, _ = trap.accept()
                with connection:
                    connection.settimeout(60)
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        if self._first.startswith(b"HTTP") or self._endless.startswith(b"HTTP"):
            connection.recv(65_536)
        connection.sendall(self._first)
        while not self.over.is_set() and self.written < FLOOD_MOST:
            connection.sendall(self._endless)
            self.written += len(self._endless)
            time.sleep(self._pause_s)


@contextmanager
def flood(first: bytes, endless: bytes, pause_s: float = 0) -> Iterator[tuple[Flood, int]]:
    """A running Flood and its port; at the end it hangs up, and the sends' threads have ended."""
    it = Flood(first, endless, pause_s)
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.05)
        server = threading.Thread(target=it.run, args=(trap,))
        server.start()
        try:
            yield it, trap.getsockname()[1]
        finally:
            it.over.set()
            server.join()
            threads_end()


def threads_end(within_s: float | None = None) -> bool:
    """Waits for all threads of sends; whether they have ended."""
    left = [thread for thread in threading.enumerate() if thread.name == "send"]
    for thread in left:
        thread.join(within_s)
    return not any(thread.is_alive() for thread in left)


def mail(port: int) -> Target:
    url = f"mailto://127.0.0.1:{port}?from=pings@example.com&to=ann@example.com&mode=insecure"
    return Target(name="mail", url=url, style=MessageStyle.EMAIL)


def web(port: int) -> Target:
    return Target(name="web", url=f"json://127.0.0.1:{port}/a")


@pytest.fixture(scope="module", autouse=True)
def _plugins_are_loaded() -> None:
    """So that the short timeouts below measure the server, and not Apprise's import."""
    check_target(Target(name="any", url="json://127.0.0.1"))


@pytest.mark.parametrize("endless", [b"250-A\r\n" * 100, b"250-" + b"A" * 8000 + b"\r\n"], ids=["short", "long"])
async def test_a_mail_servers_reply_without_an_end_is_read_so_far_and_no_further(endless: bytes) -> None:
    """smtplib keeps every line of it, in the memory of all."""
    with flood(b"220-hi\r\n", endless) as (server, port):
        sent = await AppriseSender(timeout_s=60).send(mail(port), HELLO)

    assert "the connection was cut" in (sent.error or "")
    assert not sent.permanent
    assert server.written < FLOOD_MOST // 2  # what fits into the sockets' buffers, and more


def test_a_reply_that_is_long_but_ends_is_taken_and_so_is_the_next() -> None:
    """The bounds are each reply's own, not the connection's."""
    bounded_io.install_bounds()
    reply = b"250-" + b"A" * 600 + b"\r\n"
    whole = reply * (bounded_io.REPLY_MOST_LINES - 1) + b"250 end\r\n"
    with flood(b"220 hi\r\n" + whole * 2, b"250 more\r\n", 0.05) as (_, port):
        server = smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_S)
        for _ in range(2):
            code, said = server.getreply()
            assert (code, said.count(b"\n")) == (250, bounded_io.REPLY_MOST_LINES - 1)
        server.close()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
ENDLESS: dict[str, tuple[Callable[[int], Target], bytes, bytes]] = {
    "continue": (web, b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "trailers": (web, CHUNKED, b"A: b\r\n"),
    "header": (web, b"HTTP/1.1 200 OK\r\nX: ", b"y"),
    "mail": (mail, b"220", b"-"),
}


@pytest.mark.parametrize("kind", ["continue", "trailers"])
async def test_lines_around_an_answer_without_an_end_are_read_so_far_and_no_further(kind: str) -> None:
    """They fill no memory, but would keep a processor busy."""
    target, first, endless = ENDLESS[kind]
    with flood(first, endless * 1000) as (server, port):
        sent = await AppriseSender(timeout_s=60).send(target(port), HELLO)

    assert sent.error
    assert not sent.permanent
    assert server.written < FLOOD_MOST // 2


@pytest.mark.parametrize("kind", ENDLESS)
async def test_a_thread_that_is_abandoned_ends_though_its_target_goes_on(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wait of it is short, so that no timeout of its libraries' ever ends it."""
    monkeypatch.setattr(senders, "_CUT_AFTER_S", 0.1)
    target, first, endless = ENDLESS[kind]
    sender = AppriseSender(timeout_s=0.3)
    with flood(first, endless, 0.01) as (server, port):
        sent = await sender.send(target(port), HELLO)
        assert (sent.error or "").startswith("not finished within")

        ended = await asyncio.to_thread(threads_end, 15)

        assert not server.over.is_set()
        assert ended
    await asyncio.sleep(0)  # the loop hears of it
    assert sender.abandoned_count == 0


def test_a_connection_that_is_made_after_the_cut_is_cut_too() -> None:
    """A target with several recipients makes one for each."""
    connections = SendConnections()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(60)
        connections.cut_all()
        connections.add_connection(ours)
        assert ours.recv(1) == b""
        connections.close_all()


def test_letting_go_of_a_connection_leaves_it_to_those_that_have_it() -> None:
    """And a cut that comes after it cuts nothing that was opened since."""
    connections = SendConnections()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connections.add_connection(ours)
        connections.close_all()
        connections.cut_all()
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"
