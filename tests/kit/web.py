"""The web over real parts: a SQLite file, a provider that is never reached, a sender that sends nowhere.

`serving` puts it on a loopback port of its own, as `receiver serve` does; `Wire` speaks HTTP badly where a test needs a
client that misbehaves.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner, Result
from msgspec import Struct

from kit.fakes import Clock, FakeSender
from kit.live_service import PATIENCE_S
from kit.new_database import place_database
from receiver import config
from receiver.cli.main import cli
from receiver.core.errors import StoreUnavailable
from receiver.notify.senders.sender import MessageSender
from receiver.service.wiring import ServiceParts, open_parts
from receiver.web.app import create_app, serve

TOKEN = "an-api-token-for-tests-0001"
OTHER_TOKEN = "an-api-token-for-tests-0002"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SECRET = "a-secret-key-for-tests-0001"
TARGETS = '[targets.slack]\nurl = "json://127.0.0.1:9/a"\n[targets.mail]\nurl = "json://127.0.0.1:9/b"\n'
KEPT = httpx.Limits(keepalive_expiry=2.0)  # well before the web's five seconds: else both may end one at once
OUTPAINT: dict[str, Any] = {"model": "midjourney_outpaint", "params": {"jobId": "a-job", "imageNo": 0, "scale": 1.5}}
over: list[str] = []
"""The URL of the database of services that do not name one; none: an SQLite file beside their settings."""
DONE = {
    "id": "prov-1",
    "object": "task",
    "model": "midjourney_outpaint",
    "status": "completed",
    "created_at": 1_767_000_000,
    "output": [{"content": [{"type": "image", "url": "https://pics.example/0.png", "jobId": "job-0"}]}],
}


@contextlib.asynccontextmanager
async def opened(
    directory: Path,
    *,
    clock: Clock | None = None,
    boot: Clock | None = None,
    sender: MessageSender | None = None,
    **settings: str,
) -> AsyncIterator[ServiceParts]:
    """The parts of a fresh service with targets `slack` and `mail` (or those of `targets`, as TOML); all other
    `settings` are RECEIVER_ ones, in lower case."""
    file = directory / "receiver.toml"
    file.write_text(settings.pop("targets", TARGETS))
    given = {
        "database_url": over[0] if over else f"sqlite:///{directory}/receiver.db",
        "state_dir": str(directory) if over else "",
        "provider_url": "http://127.0.0.1:9/generation",
        "provider_key": "a-provider-key",
        "secret_keys": SECRET,
        "api_tokens": f"{TOKEN} {OTHER_TOKEN}",
        **settings,
    }
    if given["database_url"] == f"sqlite:///{directory}/receiver.db":
        await place_database(directory / "receiver.db")
    loaded = config.load_settings({f"RECEIVER_{name.upper()}": value for name, value in given.items() if value}, file)
    async with open_parts(loaded, clock=clock or Clock(), boot=boot, sender=sender or FakeSender()) as parts:
        yield parts


class Served(Struct, frozen=True, eq=False):
    """A running web: its port, a client that bears the token, and the events that end it."""

    parts: ServiceParts
    client: httpx.AsyncClient
    stop: asyncio.Event
    draining: asyncio.Event
    port: int = 0
    running: "asyncio.Task[None] | None" = None

    async def ended(self) -> None:
        """Once `serve` has returned."""
        assert self.running is not None
        await self.running


@contextlib.asynccontextmanager
async def serving(parts: ServiceParts) -> AsyncIterator[Served]:
    """`serve` on a free port of loopback."""
    stop, draining = asyncio.Event(), asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(
        serve(parts, host="127.0.0.1", port=0, stop=stop, ready=port.set_result, draining=draining)
    )
    both: set[asyncio.Future[Any]] = {running, port}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    url = f"http://127.0.0.1:{port.result()}"
    try:
        client = httpx.AsyncClient(base_url=url, headers=BEARER, trust_env=False, timeout=PATIENCE_S, limits=KEPT)
        async with client:
            yield Served(parts, client, stop, draining, port.result(), running)
    finally:
        stop.set()
        await running


@contextlib.asynccontextmanager
async def served(
    directory: Path, *, clock: Clock | None = None, sender: MessageSender | None = None, **settings: str
) -> AsyncIterator[Served]:
    """Both: parts, and the web over them."""
    async with opened(directory, clock=clock, boot=None, sender=sender, **settings) as parts, serving(parts) as web:
        yield web


@contextlib.asynccontextmanager
async def near(
    directory: Path, *, clock: Clock | None = None, sender: MessageSender | None = None, **settings: str
) -> AsyncIterator[Served]:
    """Both, without a socket: for what the network has no part in."""
    stop, draining = asyncio.Event(), asyncio.Event()
    async with opened(directory, clock=clock, boot=None, sender=sender, **settings) as parts:
        transport = httpx.ASGITransport(app=create_app(parts, stop=stop, draining=draining))
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver", headers=BEARER) as client:
            yield Served(parts, client, stop, draining)


class Wire:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *lines: str, body: bytes = b"") -> None:
        """A head of these lines, then `body`."""
        self.writer.write("".join(f"{line}\r\n" for line in (*lines, "Host: receiver", "")).encode() + body)
        await self.writer.drain()

    async def answer(self) -> tuple[int, str, bytes]:
        """The next answer's status, head in lower case, and body."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE_S)).decode().lower()
        [length] = [line.removeprefix("content-length: ") for line in head.split("\r\n") if "content-length" in line]
        return int(head.split()[1]), head, await self.reader.readexactly(int(length))

    async def closed(self) -> bool:
        """Whether the other side closes, with nothing more to say; TimeoutError if it does not within `PATIENCE_S`."""
        return await asyncio.wait_for(self.reader.read(), PATIENCE_S) == b""


@contextlib.asynccontextmanager
async def wired(port: int) -> AsyncIterator[Wire]:
    """A raw connection to the web."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def taken(port: int) -> None:
    """Once the web has read what was sent to it before: it answers one that came later."""
    async with wired(port) as wire:
        await wire.send("GET /healthz HTTP/1.1", "Connection: close")
        assert (await wire.answer())[0] == 200


class FullDisk:
    """An ingest that can store nothing: the seam is the disk, which a test cannot fill."""

    queue_depth = 0

    def receive_nowait(self, ref: str, body: bytes, headers: bytes, told: object) -> None:
        raise StoreUnavailable("the disk is full", retry_after_s=7)

    async def receive_callback(self, ref: str, body: bytes, headers: bytes) -> None:
        raise StoreUnavailable("the disk is full", retry_after_s=7)


def callback_path(parts: ServiceParts, ref: str) -> str:
    """The path of the callback URL of `ref`."""
    return f"/callbacks/{parts.ring.token(ref)}"


async def command(web: Served, *args: str) -> Result:
    """What a command says to the service, in a thread of its own. One at a time: it has the process's environment."""
    assert not _in_command, "two commands at once need processes of their own"
    env: dict[str, str | None] = {name: None for name in os.environ if name.startswith("RECEIVER_")}
    env |= {"RECEIVER_SERVER": f"http://127.0.0.1:{web.port}", "RECEIVER_API_TOKEN": TOKEN}
    _in_command.append(args)
    try:
        return await asyncio.to_thread(CliRunner().invoke, cli, args, env=env)
    finally:
        _in_command.clear()


_in_command: list[tuple[str, ...]] = []


async def minted(client: httpx.AsyncClient, **asked: str) -> str:
    """The ref of a fresh callback URL."""
    answer = await client.post("/api/v1/callback-urls", json=asked)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["ref"])


async def completed(web: Served) -> str:
    """The ref of a task that a callback completed: one picture, two notices."""
    ref = await minted(web.client, task_id="prov-1", model="midjourney_outpaint", label="hero")
    answer = await web.client.post(callback_path(web.parts, ref), json=DONE)
    assert answer.json()["verdict"] == "accepted"
    return ref


def problem(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and field of an error, whose shape is checked."""
    error = answer.json()["error"]
    assert error["message"]
    return answer.status_code, error["code"], error.get("field")


def schema_names(node: object) -> set[str]:
    """Every component that a document refers to."""
    return {ref.rpartition("/")[2] for ref in _refs(node)}


def _refs(node: object) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"]] if "$ref" in node else []
        return [*here, *(ref for value in node.values() for ref in _refs(value))]
    return [ref for value in node for ref in _refs(value)] if isinstance(node, list) else []
