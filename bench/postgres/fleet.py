"""Several `receiver serve --role …` over one PostgreSQL database, as processes that may be killed and started again.

A process has one port in all its lives. Its targets are named in a file of its own; their URLs say which process sends,
and in which of its lives.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from bench.processes import free_port
from bench.samples import KEY

TOKEN = "bench-only-token-bench-only-token"  # noqa: S105 - only for benchmarks
READY_MOST_S = 120.0
STOP_MOST_S = 60.0


class FleetSettings(Struct, frozen=True, kw_only=True):
    """What all processes have in common. `more` are settings without their prefix."""

    folder: Path
    database_url: str
    public_url: str
    sink_port: int
    targets: Sequence[str]
    more: Mapping[str, str] = {}


class FleetProcess:
    """One process in its role, in one life after another."""

    def __init__(self, settings: FleetSettings, name: str, role: str) -> None:
        self.name = name
        self.role = role
        self.port = free_port()
        self.lives = 0
        self.folder = settings.folder / name
        self.folder.mkdir()
        self.log = self.folder / "service.log"
        self._settings = settings
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process of its present life."""
        assert self._running is not None
        return self._running.pid

    @property
    def status(self) -> int | None:
        """The exit status of the last life; None while it lives."""
        assert self._running is not None
        return self._running.poll()

    def start(self) -> None:
        """Begin the next life, without waiting for it."""
        self.lives += 1
        settings = self._settings
        sink = f"json://127.0.0.1:{settings.sink_port}"
        tables = [
            f'[targets.{target}]\nurl = "{sink}/{target}/{self.name}/{self.lives}"\n' for target in settings.targets
        ]
        (self.folder / "receiver.toml").write_text("".join(tables))
        env = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
        env |= {
            "RECEIVER_DATABASE_URL": settings.database_url,
            "RECEIVER_STATE_DIR": str(settings.folder / "shared"),
            "RECEIVER_SECRET_KEYS": KEY,
            "RECEIVER_API_TOKENS": TOKEN,
            "RECEIVER_PORT": str(self.port),
            "RECEIVER_PUBLIC_URL": settings.public_url,
            **{f"RECEIVER_{name}": value for name, value in settings.more.items()},
        }
        command = [sys.executable, "-m", "receiver", "serve", "--role", self.role]
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(command, cwd=self.folder, env=env, stdout=log, stderr=log)

    async def wait_ready(self) -> None:
        """Wait until it says so; RuntimeError if it ends before."""
        end = time.monotonic() + READY_MOST_S
        while not await self._is_ready():
            if self.status is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.name} is not ready (status {self.status}):\n{self.log_tail()}")
            await asyncio.sleep(0.02)

    async def _is_ready(self) -> bool:
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                with contextlib.closing(writer):
                    writer.write(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                    return (await reader.readexactly(12))[9:12] == b"200"
        return False

    def kill(self) -> bool:
        """End it with SIGKILL; False if it had ended by itself."""
        if self.status is not None:
            return False
        assert self._running is not None
        self._running.kill()
        self._running.wait()
        return True

    async def stop(self) -> int:
        """SIGTERM, and its exit status; after `STOP_MOST_S` SIGKILL."""
        assert self._running is not None
        if self.status is None:
            self._running.send_signal(signal.SIGTERM)
        try:
            return await asyncio.to_thread(self._running.wait, STOP_MOST_S)
        except subprocess.TimeoutExpired:
            self._running.kill()
            return self._running.wait()

    def log_tail(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-2000:]


@contextlib.asynccontextmanager
async def open_fleet(
    settings: FleetSettings, *, webs: int = 0, workers: int = 0, both: int = 0
) -> AsyncIterator[list[FleetProcess]]:
    """So many processes of each role, webs first, all ready; ended afterwards."""
    names = [(f"web{number}", "web") for number in range(webs)]
    names += [(f"worker{number}", "worker") for number in range(workers)]
    names += [(f"both{number}", "all") for number in range(both)]
    (settings.folder / "shared").mkdir(exist_ok=True)
    fleet = [FleetProcess(settings, name, role) for name, role in names]
    started: list[FleetProcess] = []
    try:
        for process in fleet:
            process.start()
            started.append(process)
        for process in fleet:
            await process.wait_ready()
        yield fleet
    finally:
        await asyncio.gather(*(process.stop() for process in started))
