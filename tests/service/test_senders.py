"""One message to one target, against real sinks on loopback: what is told of it, and what a bad target cannot do."""

import asyncio
import json
import logging
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

import pytest

from receiver.core.types import AttemptResult, Image, NoticeEvent, Report, Target
from receiver.notify.messages.message import BodyFormat, Message, MessageKind
from receiver.notify.messages.render import render
from receiver.notify.senders.sender import AppriseSender, check_target

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

HELLO = Message(title="✓ hero — 4 pictures", body="<b>a & b</b>", format=BodyFormat.TEXT, kind=MessageKind.SUCCESS)


class Sink:
    """An HTTP server that records bodies and does as it is told: answer a status, hang, or drip for ever."""

    def __init__(self) -> None:
        self.answer: int | str = 200
        self.bodies: list[str] = []
        self.arrived = asyncio.Semaphore(0)
        self.freed = asyncio.Event()
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length:")[2].split()[0])
            self.bodies.append((await reader.readexactly(length)).decode())
            self.arrived.release()
            await self._answer(writer)
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        if self.answer == "drip":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not self.freed.is_set():
                writer.write(b".")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.freed.wait(), 0.02)
        elif self.answer == "hang":
            await self.freed.wait()
        else:
            where = f"Location: http://{self.address}/elsewhere\r\n" if self.answer == 307 else ""
            writer.write(f"HTTP/1.1 {self.answer} X\r\n{where}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()

    def target(self, rest: str = "", *, scheme: str = "json") -> Target:
        return Target(name="sink", url=f"{scheme}://{self.address}{rest}")


@asynccontextmanager
async def sink(answer: int | str = 200) -> AsyncIterator[Sink]:
    """A running Sink; at the end every hanging connection is let go, and the threads that waited on it have ended."""
    it = Sink()
    it.answer = answer
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        it.freed.set()
        await threads_end()
        server.close()
        await server.wait_closed()


async def healthy(sender: AppriseSender, good: Sink) -> AttemptResult:
    """What becomes of a send that needs no more than its turn; with time for the machine, however busy it is."""
    hasty, sender._timeout_s = sender._timeout_s, 60.0
    sent = await sender.send(good.target(), HELLO)
    sender._timeout_s = hasty
    return sent


async def threads_end() -> None:
    for thread in [thread for thread in threading.enumerate() if thread.name == "send"]:
        await asyncio.to_thread(thread.join)


@pytest.fixture(scope="module", autouse=True)
def _plugins_are_loaded() -> None:
    """So that the short timeouts below measure the sink, and not Apprise's import."""
    check_target(Target(name="any", url="json://127.0.0.1"))


@pytest.fixture
def debug() -> Iterator[list[str]]:
    """Every line that reaches the root logger while it is at DEBUG."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    keep, root = Keep(), logging.getLogger()
    level = root.level
    root.addHandler(keep)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(keep)
    root.setLevel(level)


async def test_a_message_arrives_as_it_was_written() -> None:
    async with sink() as there:
        sent = await AppriseSender().send(there.target(), HELLO)

    assert (sent.error, sent.permanent) == (None, False)
    body = json.loads(there.bodies[0])
    assert (body["title"], body["message"], body["type"]) == (HELLO.title, HELLO.body, "success")


@pytest.mark.parametrize("password", ["pässword", "日本🔑"])
async def test_a_password_of_any_letters_goes_out_as_utf_8(password: str) -> None:
    """As RFC 7617 asks for; requests takes Latin-1 only."""
    heads: list[str] = []

    async def keep_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(keep_head, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        sent = await AppriseSender().send(Target(name="t", url=f"json://ann:{quote(password)}@{address}/"), HELLO)
    assert sent.error is None
    assert f"Basic {b64encode(f'ann:{password}'.encode()).decode()}" in heads[0]


@pytest.mark.parametrize(
    ("status", "final"),
    [(500, False), (429, False), (408, False), (400, False), (401, True), (403, True), (404, True), (410, True)],
)
async def test_a_refusal_says_its_status_and_whether_it_looks_final(status: int, final: bool) -> None:
    async with sink(status) as there:
        sent = await AppriseSender().send(there.target(), HELLO)

    assert sent.error is not None
    assert f"error={status}" in sent.error
    assert (sent.looks_final, sent.permanent) == (final, False)
    assert len(there.bodies) == 1


async def test_a_closed_port_is_worth_another_try() -> None:
    async with sink() as there:
        closed = there.target()

    sent = await AppriseSender().send(closed, HELLO)

    assert sent.error is not None
    assert sent.error.endswith("the connection was refused")
    assert not sent.permanent


@pytest.mark.parametrize("answer", ["hang", "drip"])
async def test_a_send_ends_though_the_other_side_does_not(answer: str) -> None:
    async with sink(answer) as there:
        sender = AppriseSender(timeout_s=0.3)

        sent = await sender.send(there.target(), HELLO)

        assert sent.error is not None
        assert sent.error.startswith("not finished within 0.3 s")
        assert not sent.permanent
        assert sender.abandoned_count == 1
    assert sender.abandoned_count == 0


async def test_hanging_targets_take_no_turn_of_a_healthy_one() -> None:
    async with sink("hang") as bad, sink() as good:
        sender = AppriseSender(timeout_s=60)
        hanging = [asyncio.create_task(sender.send(bad.target(f"/{n}"), HELLO)) for n in range(10)]
        for _ in hanging:
            await bad.arrived.acquire()

        sent = await sender.send(good.target(), HELLO)

        assert sent.error is None
        assert not any(task.done() for task in hanging)
        bad.freed.set()
        assert all(task.error for task in await asyncio.gather(*hanging))


async def test_too_many_abandoned_threads_put_all_off_until_they_end() -> None:
    """The backstop: no target's fault, so it costs none of them a try."""
    sender = AppriseSender(timeout_s=0.3, abandoned_most=2)
    async with sink("hang") as bad, sink() as good:
        await asyncio.gather(*(sender.send(bad.target(f"/{n}"), HELLO) for n in range(2)))

        refused = await sender.send(good.target(), HELLO)

        assert refused.error == "not sent: too many sends hang (2 over all targets)"
        assert refused.put_off
        assert not refused.permanent
        assert good.bodies == []
        bad.freed.set()
        await threads_end()
        assert (await healthy(sender, good)).error is None


@pytest.mark.parametrize("answer", ["hang", "drip"])
async def test_many_hanging_targets_never_cost_a_healthy_one_its_turn(answer: str) -> None:
    """Each may leave threads behind, fewer of them the more targets hang: the others are never refused for that."""
    sender = AppriseSender(timeout_s=0.3, abandoned_most=40)
    async with sink(answer) as bad, sink() as good:
        crowd = [bad.target(f"/{n}?rto=60") for n in range(20)]
        for _ in range(3):
            await asyncio.gather(*(sender.send(target, HELLO) for target in crowd))

        sent = await healthy(sender, good)
        abandoned = sender.abandoned_count
        refused = [await sender.send(target, HELLO) for target in crowd]
        bad.freed.set()

        assert sent.error is None
        assert 20 <= abandoned <= 40
        assert not any(each.put_off for each in refused)


async def test_a_target_that_keeps_hanging_uses_up_its_own_share_only() -> None:
    sender = AppriseSender(timeout_s=0.3)
    async with sink("hang") as bad, sink() as good:
        results = [await sender.send(bad.target(), HELLO) for _ in range(4)]

        assert [sent.error for sent in results[2:]] == ["not sent: earlier sends to this target still hang"] * 2
        for _ in range(2):
            await bad.arrived.acquire()  # the threads may get there after their time only
        assert len(bad.bodies) == 2
        assert (await healthy(sender, good)).error is None
        bad.freed.set()


async def test_those_that_waited_for_a_thread_are_bounded_too() -> None:
    """A crowd that hangs would otherwise leave one wave of threads after the other."""
    sender = AppriseSender(timeout_s=0.3, threads=2, abandoned_most=2)
    async with sink("hang") as bad:
        await asyncio.gather(*(sender.send(bad.target(f"/{n}"), HELLO) for n in range(20)))

        assert sender.abandoned_count <= 3


async def test_waiting_for_a_thread_counts_towards_the_timeout() -> None:
    async with sink("hang") as bad, sink() as good:
        sender = AppriseSender(timeout_s=60, threads=1)
        holder = asyncio.create_task(sender.send(bad.target(), HELLO))
        await bad.arrived.acquire()
        sender._timeout_s = 0.05  # the holder keeps its 60 s, so that only this wait can end

        sent = await sender.send(good.target(), HELLO)

        assert sent.error == "not sent: all threads were busy for 0.05 s"
        assert sent.put_off
        assert (good.bodies, sender.abandoned_count) == ([], 0)
        bad.freed.set()
        await holder


async def test_a_cancelled_send_leaves_a_thread_that_is_counted() -> None:
    sender = AppriseSender()
    async with sink("hang") as there:
        task = asyncio.create_task(sender.send(there.target(), HELLO))
        await there.arrived.acquire()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sender.abandoned_count == 1
    assert sender.abandoned_count == 0


async def test_a_closed_sender_sends_nothing() -> None:
    async with sink() as there:
        sender = AppriseSender()
        await sender.close()

        sent = await sender.send(there.target(), HELLO)

    assert sent.error is not None
    assert sent.put_off
    assert not sent.permanent
    assert there.bodies == []


async def test_a_plugin_that_raises_fails_its_send_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def exit_(*args: object, **kwargs: object) -> None:
        raise SystemExit("with a secret")

    monkeypatch.setattr("apprise.Apprise.notify", exit_)

    sent = await AppriseSender().send(Target(name="t", url="json://127.0.0.1:9"), HELLO)

    assert sent.error == "Apprise failed with SystemExit"


@pytest.mark.parametrize("query", ["?optional=yes", "?retry=3&wait=0"])
async def test_a_url_cannot_hide_a_failure_nor_repeat_a_send(query: str) -> None:
    async with sink(500) as there:
        sent = await AppriseSender().send(there.target(query), HELLO)

    assert sent.error is not None
    assert len(there.bodies) == 1


async def test_redirects_are_not_followed() -> None:
    async with sink(307) as there:
        sent = await AppriseSender().send(there.target(), HELLO)

    assert sent.error is not None
    assert len(there.bodies) == 1


async def test_no_error_and_no_log_line_shows_the_url(debug: list[str]) -> None:
    """Not its user, password, path or query, in either spelling, not even with everything at DEBUG."""
    async with sink(500) as there:
        url = f"json://ann:Pa%24%24word@{there.address}/T0KEN/s%C3%A9cret?key=hidden"
        sent = await AppriseSender().send(Target(name="t", url=url), HELLO)
        closed = Target(name="t", url=url)
    assert sent.error is not None
    unreached = await AppriseSender().send(closed, HELLO)
    assert unreached.error is not None

    shown = "\n".join([sent.error, unreached.error, *debug])

    for secret in ("Pa%24%24word", "Pa$$word", "T0KEN", "s%C3%A9cret", "sécret", "hidden", "127.0.0.1"):
        assert secret not in shown


async def test_the_reason_is_told_however_quiet_the_log_is() -> None:
    """Apprise makes its results of log lines, which a level above WARNING would swallow."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        async with sink(500) as there:
            sent = await AppriseSender().send(there.target(), HELLO)
    finally:
        root.setLevel(level)

    assert "error=500" in (sent.error or "")


UNUSABLE = {
    "foo://s3cret/t0ken": "foo://",
    "file:///etc/s3cret": "file://",
    "slack://s3cret": "slack://",
    "s3cret": "not a URL",
    "json://s3cret?redirect=yes": "redirect=",
    "json://s3cret?REDIRECT=1": "redirect=",
    "json://s3cret, json://t0ken": "several URLs",
}


@pytest.mark.parametrize(("url", "said"), UNUSABLE.items())
async def test_a_url_that_cannot_work_is_refused_for_good_and_not_shown(url: str, said: str) -> None:
    target = Target(name="t", url=url)

    sent = await AppriseSender().send(target, HELLO)

    assert sent.permanent
    assert sent.error == str(check_target(target))
    assert said in (sent.error or "")
    assert "s3cret" not in (sent.error or "")
    assert "t0ken" not in (sent.error or "")


def test_a_good_url_passes_the_check() -> None:
    assert check_target(Target(name="t", url="json://127.0.0.1/path")) is None


async def test_what_is_too_long_for_a_service_goes_in_pieces_with_whole_urls() -> None:
    """Mattermost takes 4,000 characters."""
    urls = [f"https://cdn.example.com/{n}.png?signature={'s' * 900}" for n in range(8)]
    report = Report(event=NoticeEvent.COMPLETED, images=tuple(Image(n, url) for n, url in enumerate(urls)))
    async with sink() as there:
        target = there.target("/abcdefghijklmnopqrstuvwxyz", scheme="mmost")

        sent = await AppriseSender().send(target, render((report,), target))

    assert sent.error is None
    assert len(there.bodies) > 1
    assert all(any(url in body for body in there.bodies) for url in urls)
