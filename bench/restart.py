"""Restarts under load while another process holds the listening socket, as systemd does: does any caller notice?

Half of the calls open a new connection, half take one from a pool, as a proxy does. Calls are not retried, except one
sent over a connection that the service was ending at that moment: every other one that fails for any reason is counted.
The kernel says which those are, except where both the call and this question fall between the two system calls with
which the service looks for bytes and ends its side. Such a call is told by nothing from one that was dropped, so these
are counted apart.
"""

import asyncio
import contextlib
import os
import select
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
RATE = 50  # callbacks per second
PAUSE_S = 1.0  # between a start and the next stop
ANSWER_MOST_S = 30.0
READY_MOST_S = 120.0
_EXEC = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); "
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.executable, sys.argv[2:])"
)


class SystemdUnit:
    """`receiver serve` as systemd runs it: a listening socket at descriptor 3, and a notify socket."""

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
        """Start it, and wait until it sends READY=1."""
        command = (sys.executable, "-c", _EXEC, str(self._listener.fileno()))
        serve = (sys.executable, "-m", "receiver", "serve", *self._options)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, *serve, env=self._env, pass_fds=[self._listener.fileno()], stderr=log
            )
        await self.wait_for_line("READY=1")

    async def wait_for_line(self, wanted: str, most_s: float = READY_MOST_S) -> str:
        """Wait for a datagram with this line and return it; RuntimeError with the log if the process ends first."""
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait())
        try:
            async with asyncio.timeout(most_s):
                while True:
                    heard = asyncio.create_task(asyncio.get_running_loop().sock_recv(self._notified, 4096))
                    await asyncio.wait({heard, ended}, return_when=asyncio.FIRST_COMPLETED)
                    if not heard.done():
                        heard.cancel()
                        raise RuntimeError(
                            f"the service ended before it sent {wanted}: {self._log.read_text()[-2000:]}"
                        )
                    said = heard.result().decode()
                    if wanted in said.split("\n"):
                        return said
        finally:
            ended.cancel()

    async def stop(self) -> int:
        """Send SIGTERM, wait for the end, return the exit status."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        return await self._process.wait()

    async def close(self) -> None:
        """Stop it and close the sockets."""
        if self._process is not None and self._process.returncode is None:
            await self.stop()
        self._listener.close()
        self._notified.close()


def _is_ended(writer: asyncio.StreamWriter) -> bool:
    """Whether the other side has ended the connection. The kernel knows it before the event loop has read it."""
    looking = select.poll()
    looking.register(writer.get_extra_info("socket").fileno(), select.POLLRDHUP)
    return bool(looking.poll(0))


class SteadyCalls:
    """Calls at a steady rate. `waits` has the seconds from each call to its answer, `failed` what went wrong."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._port = port
        self._requests = requests
        self._pool: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.waits: list[float] = []
        self.failed: list[str] = []
        self.reused = 0
        self.crossed = 0  # sent while the service was ending that connection, and therefore sent again
        self.ended_unseen = (
            0  # ended without an answer or a reset, where the kernel had not told of the end; sent again
        )

    async def call_steadily(self, rate: float, until: asyncio.Event) -> None:
        """Call `rate` times per second until `until` is set or no requests are left; then wait for all answers."""
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
        crossing = False
        connection = self._take_idle() if pooled else None
        try:
            async with asyncio.timeout(ANSWER_MOST_S):
                if connection is not None:
                    place = "a kept connection"
                    self.reused += 1
                reader, writer = connection or await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(request)
                crossing = connection is not None and _is_ended(writer)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n", 1)[0]))
            if int(head[9:12]) != 200:
                self.failed.append(f"{place}: {head[9:12].decode()}")
            if pooled and b"connection: close" not in head:
                self._pool.append((reader, writer))
            else:
                writer.close()
        except (OSError, EOFError, TimeoutError) as error:
            if connection is not None:
                connection[1].close()
            ended = isinstance(error, asyncio.IncompleteReadError) and not error.partial
            if connection is not None and (ended or (crossing and not isinstance(error, TimeoutError))):
                self.crossed += crossing
                self.ended_unseen += not crossing
                await self._call_once(request, pooled=False)
                return
            self.failed.append(f"{place}: {error!r}")
        self.waits.append(time.perf_counter() - began)

    def _take_idle(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        while self._pool:
            reader, writer = self._pool.pop(0)  # the one idle for longest, which is most likely to be closed
            if not reader.at_eof() and not writer.is_closing() and not _is_ended(writer):
                return reader, writer
            writer.close()
        return None


@contextlib.asynccontextmanager
async def run_under_calls(
    folder: Path, seconds: float, rate: float = RATE
) -> AsyncIterator[tuple[SystemdUnit, SteadyCalls]]:
    """Run a unit and call it until the end of the block, at most for `seconds`; then wait for all answers."""
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
    """Twenty restarts at 50 callbacks per second: how many failed, and the longest wait."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        calls, took = asyncio.run(_restart_repeatedly(Path(folder).resolve()))
    for line in calls.failed:
        print(f"restart: failed: {line}", file=sys.stderr)
    return [
        (
            f"{RESTARTS} restarts at {RATE} callbacks / s",
            f"{len(calls.failed)} failed",
            f"of {len(calls.waits):,}; {calls.reused:,} on kept connections, {calls.crossed} of which were ending, "
            f"and {calls.ended_unseen} perhaps",
        ),
        (
            "the longest wait of a callback",
            f"{max(calls.waits):.2f} s",
            f"at most 5; a restart took {max(took):.2f} s at most",
        ),
    ]
