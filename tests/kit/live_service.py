"""Real parts to test with: the service as a process, a sink that keeps what it is sent, and waiting with an end.

The provider is the sandbox, run in the test's own event loop on a free port.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from kit.listening import listening

PATIENCE_S = 180.0
"""Only a broken program takes so long, however busy the machine is."""
PORTS_KEPT = 32
KEY = "planted-provider-key-0123456789"
SECRET = "planted-secret-key-0123456789"
TOKEN = "planted-api-token-0123456789"
OUTPAINT = {"jobId": "5e1f2a3b-job", "imageNo": 0, "scale": 1.5, "remixPrompt": "a house by the sea"}


async def until(what: Callable[[], Awaitable[Any]], *, patience_s: float = PATIENCE_S) -> Any:
    """The first true answer of `what`; fails after `patience_s`."""
    end = time.monotonic() + patience_s
    while not (answer := await what()):
        assert time.monotonic() < end, f"still {answer!r} after {patience_s:g} s"
        await asyncio.sleep(0.02)
    return answer


_ports: deque[socket.socket] = deque()


def free_port() -> int:
    """A port of loopback that nobody listens on, and that the kernel gives to nobody meanwhile.

    It stays bound: that keeps out whoever wants any port, and no server that wants this one (with SO_REUSEADDR, as all
    have it).
    """
    if len(_ports) == PORTS_KEPT:
        _ports.popleft().close()
    free = socket.socket()
    free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    free.bind(("127.0.0.1", 0))
    _ports.append(free)
    return int(free.getsockname()[1])


class Sink:
    """A json:// target: keeps every payload; answers `status`."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.status = 200
        self.port = 0

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/sink"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        killed = (asyncio.IncompleteReadError, ConnectionError)  # who sends may be, in the middle of it
        with contextlib.closing(writer), contextlib.suppress(*killed):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            self.got.append(json.loads(await reader.readexactly(length)))
            writer.write(f"HTTP/1.1 {self.status} Told\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()


@contextlib.asynccontextmanager
async def sinking() -> AsyncIterator[Sink]:
    """A sink that listens."""
    sink = Sink()
    async with listening(sink._serve) as sink.port:
        yield sink


class Service:
    """`receiver serve` as a process over one folder; may be killed and started again."""

    def __init__(self, folder: Path, provider_url: str, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("RECEIVER_")},
            "RECEIVER_PORT": str(self.port),
            "RECEIVER_PUBLIC_URL": self.url,
            "RECEIVER_DATABASE_URL": f"sqlite:///{folder}/receiver.db",
            "RECEIVER_SECRET_KEYS": SECRET,
            "RECEIVER_API_TOKENS": TOKEN,
            "RECEIVER_PROVIDER_URL": provider_url,
            "RECEIVER_PROVIDER_KEY": KEY,
            **{f"RECEIVER_{name}": value for name, value in settings.items()},
        }
        self.http = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
            timeout=PATIENCE_S,
            limits=httpx.Limits(keepalive_expiry=2.0),  # before the service's 5 s: else both may end it at once
        )
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    async def start(self, *command: str) -> None:
        """Start (`command` instead of `-m receiver serve`) and wait until it is ready."""
        log = (self.folder / "service.log").open("ab")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *(command or ("-m", "receiver", "serve")), env=self.env, stdout=log, stderr=log
            )

        async def ready() -> bool:
            assert self._process is not None
            assert self._process.returncode is None, (self.folder / "service.log").read_text()
            with contextlib.suppress(httpx.TransportError):
                return (await self.http.get("/readyz")).status_code == 200
            return False

        await until(ready)

    async def ended(self) -> int:
        """The exit status, once it ended by itself; minus the signal's number where one ended it."""
        assert self._process is not None
        async with asyncio.timeout(PATIENCE_S):
            return await self._process.wait()

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(how)
        return await self.ended()

    async def submit(self, label: str, **more: object) -> str:
        """Submit an outpaint; its ref."""
        answer = await self.http.post(
            "/api/v1/tasks", json={"model": "midjourney_outpaint", "params": OUTPAINT, "label": label, **more}
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["ref"])

    async def got(self, path: str, **params: str) -> dict[str, Any]:
        """What the API says to a GET; asked again, as a 503 wants it, while the machine is too busy for a read."""

        async def answered() -> httpx.Response | None:
            answer = await self.http.get(f"/api/v1/{path}", params=params)
            return None if answer.status_code == 503 else answer

        return dict((await until(answered)).json())

    async def task(self, ref: str) -> dict[str, Any]:
        """A task as the API shows it."""
        return await self.got(f"tasks/{ref}")

    async def callbacks(self, ref: str) -> list[dict[str, Any]]:
        """A task's callbacks, oldest first."""
        return list(reversed((await self.got("callbacks", ref=ref))["callbacks"]))

    async def settled(self, ref: str, state: str = "completed") -> dict[str, Any]:
        """The task, once it is in `state` and every notice of it is sent."""

        async def told() -> dict[str, Any] | None:
            task = await self.task(ref)
            sent = task.get("notices") and all(notice["state"] == "sent" for notice in task["notices"])
            return task if sent and task["state"] == state else None

        return dict(await until(told))


@contextlib.asynccontextmanager
async def serving(folder: Path, provider_url: str, **settings: str) -> AsyncIterator[Service]:
    """A service that runs; ended at the end."""
    service = Service(folder, provider_url, **settings)
    try:
        await service.start()
        yield service
    finally:
        await service.stop()
        await service.http.aclose()
