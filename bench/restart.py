"""Restarts under load, with the listening socket held by somebody else, as systemd holds it: does a caller notice?

Half of the callers open a connection for each callback, half take one from a pool, as a proxy does. A caller whose
request fails for whatever reason is counted as failed: none tries again.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.load import post_request
from bench.samples import KEY, TableRow, completed_body, fill_store, service_env, waiting_tasks
from receiver.tokens import Ring

RESTARTS = 20
RATE = 50  # callbacks a second
PAUSE_S = 1.0  # between a start and the next stop
ANSWER_MOST_S = 30.0
READY_MOST_S = 30.0
_EXEC = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); "
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.executable, sys.argv[2:])"
)


class SystemdUnit:
    """`receiver serve` as systemd runs it: a socket at descriptor 3, and a notify socket that hears of it."""

    def __init__(self, folder: Path, env: dict[str, str], *options: str) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = int(self._listener.getsockname()[1])
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(folder / "notify"))
        self._notified.setblocking(False)
        self._env = {**os.environ, **env, "NOTIFY_SOCKET": str(folder / "notify")}
        self._log = folder / "unit.log"
        self._options = options
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it says READY=1."""
        command = (sys.executable, "-c", _EXEC, str(self._listener.fileno()))
        serve = (sys.executable, "-m", "receiver", "serve", *self._options)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, *serve, env=self._env, pass_fds=[self._listener.fileno()], stderr=log
            )
        await self.wait_for_line("READY=1")

    async def wait_for_line(self, wanted: str, most_s: float = READY_MOST_S) -> str:
        """The next datagram that has this line; RuntimeError, with its log, if the process ends before."""
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait())
        try:
            async with asyncio.timeout(most_s):
                while True:
                    heard = asyncio.create_task(asyncio.get_running_loop().sock_recv(self._notified, 4096))
                    await asyncio.wait({heard, ended}, return_when=asyncio.FIRST_COMPLETED)
                    if not heard.done():
                        heard.cancel()
                        raise RuntimeError(f"it ended instead of saying {wanted}: {self._log.read_text()[-2000:]}")
                    said = heard.result().decode()
                    if wanted in said.split("\n"):
                        return said
        finally:
            ended.cancel()

    async def stop(self) -> int:
        """SIGTERM; its exit status, once it has ended."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        return await self._process.wait()

    async def close(self) -> None:
        """End it, and give everything back."""
        if self._process is not None and self._process.returncode is None:
            await self.stop()
        self._listener.close()
        self._notified.close()


class SteadyCalls:
    """Callbacks at a steady rate. `waits`: seconds from each call to its answer. `failed`: what went wrong."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._port = port
        self._requests = requests
        self._pool: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.waits: list[float] = []
        self.failed: list[str] = []
        self.reused = 0

    async def call_steadily(self, rate: float, until: asyncio.Event) -> None:
        """Call `rate` times a second until `until` or the end of what there is to say; then wait for all answers."""
        began = time.perf_counter()
        calls = []
        for number, request in enumerate(self._requests):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            if until.is_set():
                break
            calls.append(asyncio.create_task(self._call_once(request, pooled=bool(number % 2))))
        await asyncio.gather(*calls)
        for _, writer in self._pool:
            writer.close()

    async def _call_once(self, request: bytes, *, pooled: bool) -> None:
        began = time.perf_counter()
        place = "a new connection"
        try:
            async with asyncio.timeout(ANSWER_MOST_S):
                connection = self._take_idle() if pooled else None
                if connection is not None:
                    place = "a kept connection"
                    self.reused += 1
                reader, writer = connection or await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n", 1)[0]))
            if int(head[9:12]) != 200:
                self.failed.append(f"{place}: {head[9:12].decode()}")
            if pooled and b"connection: close" not in head:
                self._pool.append((reader, writer))
            else:
                writer.close()
        except (OSError, EOFError, TimeoutError) as error:
            self.failed.append(f"{place}: {error!r}")
        self.waits.append(time.perf_counter() - began)

    def _take_idle(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        while self._pool:
            reader, writer = self._pool.pop(0)  # the one that is idle for longest: the hardest to keep open
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None


@contextlib.asynccontextmanager
async def run_under_calls(
    folder: Path, seconds: float, rate: float = RATE
) -> AsyncIterator[tuple[SystemdUnit, SteadyCalls]]:
    """A unit that runs, and is called for at most `seconds`, until the end of the block; then all is answered."""
    count = int(seconds * rate)
    tasks = waiting_tasks(count)
    await fill_store(folder / "receiver.db", tasks)
    ring = Ring((KEY,))
    calls_of = [
        post_request(f"/callbacks/{ring.token(task.ref)}", completed_body(task.task_id or "")) for task in tasks
    ]
    unit = SystemdUnit(folder, service_env(folder))
    stop = asyncio.Event()
    try:
        await unit.start()
        calls = SteadyCalls(unit.port, calls_of)
        calling = asyncio.create_task(calls.call_steadily(rate, stop))
        yield unit, calls
        stop.set()
        await calling
    finally:
        await unit.close()


async def _restart_repeatedly(folder: Path) -> tuple[SteadyCalls, list[float]]:
    took = []
    async with run_under_calls(folder, seconds=RESTARTS * (PAUSE_S + 3)) as (unit, calls):
        for _ in range(RESTARTS):
            await asyncio.sleep(PAUSE_S)
            began = time.perf_counter()
            await unit.stop()
            await unit.start()
            took.append(time.perf_counter() - began)
    return calls, took


def rows() -> list[TableRow]:
    """Twenty restarts at 50 callbacks a second: how many failed, and how long the unluckiest waited."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        calls, took = asyncio.run(_restart_repeatedly(Path(folder).resolve()))
    for line in calls.failed:
        print(f"restart: failed: {line}", file=sys.stderr)
    return [
        (
            f"{RESTARTS} restarts at {RATE} callbacks / s",
            f"{len(calls.failed)} failed",
            f"of {len(calls.waits):,}; {calls.reused:,} on kept connections",
        ),
        (
            "the longest wait of a callback",
            f"{max(calls.waits):.2f} s",
            f"at most 5; a restart took {max(took):.2f} s at most",
        ),
    ]
