"""What an attacker found at the door: bodies thrown away, answers out of order, memory and queues without a bound."""

import asyncio
import json
import resource
from pathlib import Path

import pytest

from kit.fakes import POLICY, Clock, a_ref, busy, impatient, parse
from kit.live_service import PATIENCE_S
from kit.web import DONE, Wire, callback_path, opened, served, serving, wired
from receiver.core.errors import SettingsError, StoreUnavailable
from receiver.core.types import Verdict
from receiver.store import Store
from receiver.store.sqlite.engine import SqliteStore
from receiver.store.tables.callbacks import StoredCallback
from receiver.tasks import ingest as room
from receiver.tasks.ingest import HELD_EACH, CallbackIngest
from receiver.telemetry.metrics import Metrics
from receiver.web.http import server

pytestmark = pytest.mark.anyio

BODY = json.dumps(DONE).encode()
UPGRADES = (
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
    ("connection: upgrade", "UPGRADE: websocket"),
    ("Upgrade: TLS/1.2", "Connection: upgrade"),
)


def post(path: str, body: bytes, *more: str, version: str = "1.1") -> bytes:
    """A request as bytes."""
    head = (f"POST {path} HTTP/{version}", "Host: receiver", f"Content-Length: {len(body)}", *more)
    return "".join(f"{line}\r\n" for line in (*head, "")).encode() + body


async def all_said(wire: Wire) -> bytes:
    """Everything that comes until the other side closes."""
    got = b""
    while more := await asyncio.wait_for(wire.reader.read(65536), PATIENCE_S):
        got += more
    return got


async def kept(store: Store, ref: str) -> list[StoredCallback]:
    """The callbacks of a task, with their bytes."""
    return await store.callbacks.get([it.id for it in await store.callbacks.page(ref=ref)])


@pytest.mark.parametrize("wish", UPGRADES)
async def test_a_wish_for_another_protocol_costs_no_body(tmp_path: Path, wish: tuple[str, ...]) -> None:
    """Java's client and `curl --http2` wish for one with every POST."""
    async with served(tmp_path) as web, wired(web.port) as wire:
        ref = a_ref()
        wire.writer.write(post(callback_path(web.parts, ref), BODY, *wish))
        assert (await wire.answer())[0] == 200
        assert [it.body for it in await kept(web.parts.store, ref)] == [BODY]


async def test_in_whatever_pieces_it_comes_a_body_is_kept_or_refused(tmp_path: Path) -> None:
    """A body that looks like a request is never taken for one: it would swallow the next sender's callback."""
    inner = b"POST /callbacks/x HTTP/1.1\r\nHost: receiver\r\nContent-Length: 250\r\n\r\n"
    async with served(tmp_path) as web:
        for cut in range(1, len(post("/", b"", *UPGRADES[0])) + 60, 7):
            ref = a_ref()
            request = post(callback_path(web.parts, ref), inner, *UPGRADES[0])
            async with wired(web.port) as wire:
                wire.writer.write(request[:cut])
                await wire.writer.drain()
                await asyncio.sleep(0.002)
                wire.writer.write(request[cut:])
                status = int((await wire.reader.readuntil(b"\r\n")).split()[1])
                bodies = [it.body for it in await kept(web.parts.store, ref)]
                assert (status, bodies) in [(200, [inner]), (400, [])], cut


async def test_trailers_are_read_by_nobody(tmp_path: Path) -> None:
    async with served(tmp_path) as web, wired(web.port) as wire:
        ref = a_ref()
        head = f"POST {callback_path(web.parts, ref)} HTTP/1.1\r\nHost: receiver\r\nX-Early: 1\r\n"
        trailers = b"".join(b"x-%d: late\r\n" % number for number in range(3000))
        wire.writer.write(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n" + trailers + b"\r\n")
        assert (await wire.answer())[0] == 200
        [callback] = await kept(web.parts.store, ref)
        assert json.loads(callback.headers) == {"x-early": "1"}


@pytest.mark.parametrize("url", ["http://x", "http://x:99999/a", "/callbacks/%zz", "*"])
async def test_a_bad_url_in_pieces_is_a_bad_request_too(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path) as web, wired(web.port) as wire:
        request = post(url, b"{}")
        wire.writer.write(request[:-2])
        await wire.writer.drain()
        await asyncio.sleep(0.02)
        wire.writer.write(request[-2:])
        status = int((await wire.reader.readuntil(b"\r\n")).split()[1])
    assert status in (400, 404)
    assert not [it for it in caplog.records if it.exc_info]


@pytest.mark.parametrize(
    "junk", [b"}", b"\0", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"x" * 70_000 + b"\r\n\r\n"]
)
async def test_what_is_stored_is_told_before_what_follows_is_refused(tmp_path: Path, junk: bytes) -> None:
    async with served(tmp_path) as web, wired(web.port) as wire:
        ref = a_ref()
        wire.writer.write(post(callback_path(web.parts, ref), BODY) + junk)
        said = await all_said(wire)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.count(b"HTTP/1.1 4") == 1


async def test_who_ends_his_side_still_hears_the_answer(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        for more in ((), ("Transfer-Encoding: identity",)):
            async with wired(web.port) as wire:
                wire.writer.write(post(callback_path(web.parts, a_ref()), BODY, *more))
                wire.writer.write_eof()
                assert (await all_said(wire)).startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
        async with wired(web.port) as wire:  # the application's way
            wire.writer.write(b"GET /healthz HTTP/1.1\r\nHost: receiver\r\n\r\n")
            wire.writer.write_eof()
            assert (await all_said(wire)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.usefixtures("idle_s")
async def test_an_old_protocol_is_hung_up_on_at_once(tmp_path: Path) -> None:
    async with served(tmp_path) as web, wired(web.port) as wire:
        wire.writer.write(post(callback_path(web.parts, a_ref()), BODY, "Connection: keep-alive", version="1.0"))
        assert (await all_said(wire)).startswith(b"HTTP/1.1 200 ")


async def test_a_stop_does_not_call_a_slow_body_a_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "STOP_MOST_S", 0.1)
    async with opened(tmp_path) as parts, serving(parts) as web, wired(web.port) as wire:
        wire.writer.write(post(callback_path(parts, a_ref()), BODY)[:-1])
        async with wired(web.port) as later:  # its answer shows that the first one was read
            later.writer.write(b"GET /healthz HTTP/1.1\r\nHost: receiver\r\n\r\n")
            assert (await later.answer())[0] == 200
        web.stop.set()
        assert (await wire.answer())[0] == 503
    assert not [it for it in caplog.records if it.exc_info]


async def test_callbacks_are_bounded_in_number_however_small(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And when the disk refuses one batch, all that wait hear of it at once."""
    monkeypatch.setattr(room, "HELD_MOST", 100 * (HELD_EACH + 3))
    told: list[Verdict | StoreUnavailable] = []
    ingest = CallbackIngest(store, parse, POLICY, Clock(), Metrics())
    await impatient(store)
    assert isinstance(store, SqliteStore)
    with busy(store.path):
        for _ in range(100):
            ingest.receive_nowait(a_ref(), b"1", b"{}", told.append)
        with pytest.raises(StoreUnavailable):
            ingest.receive_nowait(a_ref(), b"1", b"{}", told.append)
        await asyncio.wait_for(ingest.close(PATIENCE_S), PATIENCE_S)
    assert [type(it) for it in told] == [StoreUnavailable] * 100
    assert ingest.queue_depth == 0
    ingest.receive_nowait(a_ref(), b"1", b"{}", told.append)
    await ingest.close()
    assert told[100:] == [Verdict.UNPARSED]


@pytest.mark.parametrize("gone", ["receiver.db", "receiver.db-wal"])
async def test_files_that_were_removed_are_noticed_before_anything_is_answered(tmp_path: Path, gone: str) -> None:
    async with served(tmp_path) as web:
        path = callback_path(web.parts, a_ref())
        assert (await web.client.post(path, content=BODY)).status_code == 200
        (tmp_path / gone).unlink()
        refused = await web.client.post(path, content=b"{}")
        assert refused.status_code == 503
        assert "removed or replaced" in refused.text
        assert "removed or replaced" in (await web.client.get("/readyz")).text


def test_too_few_descriptors_are_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 256))
    with pytest.raises(SettingsError, match="ulimit -n 1024"):
        server.raise_file_limit()
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 100_000))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: asked.append(limits))
    server.raise_file_limit()
    assert asked == [(server.DESCRIPTORS, 100_000)]
