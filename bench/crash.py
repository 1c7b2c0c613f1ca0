"""The crash harness: `python -m bench.crash --kills 200` kills the service again and again and counts what is lost.

Posters send callbacks at full speed and remember those that were answered 200. `receiver serve`, on one SQLite file and
with several json:// targets, is killed with SIGKILL and started again many times: at random moments, some of them
during its start, and at chosen points with the help of `tests/kit/dying.py`. Finally it runs until its outbox is empty.
`bench.crash_check` checks what must be true then; the exit status is 1 if anything is not.
"""

import argparse
import asyncio
import contextlib
import http.client
import http.server
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from bench.crash_check import CrashFindings, ReceivedPing, check_promises
from bench.posters import Posted, task_id
from bench.processes import free_port
from receiver.core.types import Task, TaskState
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import open_store
from receiver.tokens import Ring, new_ref

KEY = "crash-only-key-crash-only-key"
POINTS = ("received", "before-commit", "after-commit", "claimed", "sent")
TARGETS = tuple(f"target{number}" for number in range(8))
POSTERS = 2  # processes
CONNECTIONS = 16  # per poster
UPTIME_MOST_S = 1.0  # from ready to the kill
START_KILLED = 10  # one random kill in this many happens during the start
START_MOST_S = 0.4
READY_MOST_S = 30.0
NTH_MOST = 40  # a chosen point is passed at most this often before it kills
DRAIN_MOST_S = 900.0
DYING = Path(__file__).parent.parent / "tests" / "kit" / "dying.py"


class CrashReport(Struct, frozen=True):
    """What happened: kills of each kind, callbacks answered per second while the service was ready, findings."""

    random_kills: int
    point_kills: int
    rate: float
    statuses: tuple[str, ...]  # other answers than 200, `CODE COUNT`; 0 means no answer
    findings: CrashFindings

    def table_rows(self) -> list[tuple[str, str, str]]:
        """The lines of the table."""
        found = self.findings
        kills = self.random_kills + self.point_kills
        return [
            ("kills", f"{kills:,}", f"{self.point_kills} at chosen points; {len(TARGETS)} targets"),
            ("answered 200", f"{found.answered:,}", f"{found.answered - found.stored:,} lost"),
            ("tasks settled", f"{found.settled:,}", f"{found.settled - found.notified:,} without notice"),
            ("pings sent again", f"{found.repeats:,}", f"at most {kills * len(TARGETS):,}: one a kill and target"),
            ("callbacks while up", f"{self.rate:,.0f} / s", "posters, sinks and sends beside it"),
        ]


class PingSinks:
    """The other end of the targets: records pings that arrived whole. A URL's path holds the target and the life."""

    def __init__(self) -> None:
        pings = self.pings = list[ReceivedPing]()

        class SinkHandler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                ping = self.rfile.read(length)
                if len(ping) < length:
                    return  # the sender was killed halfway
                _, target, life = self.path.split("/")
                label = json.loads(ping)["title"].split()[1]  # "✓ LABEL — 1 picture"
                pings.append(ReceivedPing(target, int(life), label))
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("content-length", "0")
                    self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        class SinkServer(http.server.ThreadingHTTPServer):
            def handle_error(self, *args: object) -> None:
                pass  # broken connections are expected here

        self.server = SinkServer(("127.0.0.1", 0), SinkHandler)
        self.port = self.server.server_address[1]


@contextlib.contextmanager
def open_sinks() -> Iterator[PingSinks]:
    """Listen for pings in a thread."""
    sinks = PingSinks()
    thread = threading.Thread(target=sinks.server.serve_forever, args=(0.1,))
    thread.start()
    try:
        yield sinks
    finally:
        sinks.server.shutdown()
        thread.join()
        sinks.server.server_close()


class KillableService:
    """`receiver serve` in one life after another, with one folder and one port."""

    def __init__(self, folder: Path, sink_port: int) -> None:
        self.port = free_port()
        self.life = 0
        self.database = folder / "receiver.db"
        self._folder = folder
        self._sink_port = sink_port
        self._running: subprocess.Popen[bytes] | None = None

    def start(self, *command: str) -> None:
        """Start the next life. Each has its own target URLs, so that a ping shows which life sent it."""
        self.life += 1
        tables = [
            f'[targets.{name}]\nurl = "json://127.0.0.1:{self._sink_port}/{name}/{self.life}"\n' for name in TARGETS
        ]
        (self._folder / "receiver.toml").write_text("".join(tables))
        env = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
        env |= {
            "RECEIVER_DATABASE_URL": f"sqlite:///{self.database}",
            "RECEIVER_SECRET_KEYS": KEY,
            "RECEIVER_PORT": str(self.port),
            "RECEIVER_PROVIDER_URL": "http://127.0.0.1:9/never-asked",
            "RECEIVER_PROVIDER_KEY": KEY,
        }
        with (self._folder / "service.log").open("wb") as log:  # only of the last life
            command = command or ("-m", "receiver", "serve")
            self._running = subprocess.Popen(
                [sys.executable, *command], cwd=self._folder, env=env, stdout=log, stderr=log
            )

    @property
    def is_alive(self) -> bool:
        """Whether its process is running."""
        return self._running is not None and self._running.poll() is None

    def wait_ready(self) -> None:
        """Wait until it is ready or has ended, which is normal at a chosen point; `wait_dead` checks how it ended."""
        end = time.monotonic() + READY_MOST_S
        while time.monotonic() < end:
            asking = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            with contextlib.closing(asking), contextlib.suppress(OSError, http.client.HTTPException):
                asking.request("GET", "/readyz")
                if asking.getresponse().status == 200:
                    return
            if not self.is_alive:
                return
            time.sleep(0.01)
        raise SystemExit(f"life {self.life} was not ready within {READY_MOST_S:g} s:\n{self.log_tail()}")

    def wait_dead(self) -> None:
        """Wait until it is dead; SystemExit if it was not killed."""
        assert self._running is not None
        try:
            status = self._running.wait(READY_MOST_S)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"life {self.life} did not reach its chosen point within {READY_MOST_S:g} s") from None
        if status != -9:
            raise SystemExit(f"life {self.life} ended with {status} instead of being killed:\n{self.log_tail()}")

    def kill(self) -> None:
        """Kill it with SIGKILL and wait until it is dead."""
        assert self._running is not None
        self._running.kill()
        self.wait_dead()

    def stop(self) -> None:
        """Stop it with SIGTERM, if it is running."""
        if self._running is not None and self.is_alive:
            self._running.terminate()
            self._running.wait(30)

    def log_tail(self) -> str:
        """The end of its log."""
        return (self._folder / "service.log").read_text(errors="replace")[-2000:]


async def fill_database(database: Path, count: int) -> list[str]:
    """Create a database with `count` submitted tasks, each with one target; returns their refs by number."""
    now = time.time_ns() // 1_000_000
    tasks = [
        Task(
            ref=new_ref(now - count + number),
            created_at=now,
            provider=DEFAULT_PROVIDER,
            state=TaskState.WAITING,
            task_id=task_id(number),
            label=str(number),
            targets=(TARGETS[number % len(TARGETS)],),
            model="midjourney_outpaint",
            submitted_at=now,
            poll_at=now + 86_400_000,
        )
        for number in range(count)
    ]
    store = await open_store(database)
    for at in range(0, count, 500):
        async with store.write() as tx:
            await tx.tasks.insert(tasks[at : at + 500])
    await store.close()
    return [task.ref for task in tasks]


@contextlib.contextmanager
def run_posters(folder: Path, port: int) -> Iterator[list[Path]]:
    """Run the posters; afterwards the yielded files hold what was answered."""
    files = [folder / f"answered.{number}" for number in range(POSTERS)]
    running = []
    try:
        for number, file in enumerate(files):
            arguments = (port, CONNECTIONS, folder / "tokens", number, POSTERS, file)
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "bench.posters", *map(str, arguments)],
                    stdin=subprocess.PIPE,
                    cwd=DYING.parents[2],
                )
            )
        yield files
    finally:
        for each in running:
            each.communicate()
    if any(each.returncode for each in running):
        raise SystemExit("a poster ended with an error")


def kill_repeatedly(service: KillableService, chance: random.Random, kills: int, rounds: int) -> float:
    """`kills` at random moments and `rounds` at every chosen point, shuffled; returns the seconds it was ready."""
    ends = [*(["random"] * kills), *(POINTS * rounds)]
    chance.shuffle(ends)
    up_s = 0.0
    for number, end in enumerate(ends, 1):
        in_start = end == "random" and chance.randrange(START_KILLED) == 0
        service.start(*(() if end == "random" else (str(DYING), end, str(chance.randint(1, NTH_MOST)))))
        if in_start:
            time.sleep(chance.uniform(0, START_MOST_S))
        else:
            service.wait_ready()
        ready = time.monotonic()
        if end != "random":
            service.wait_dead()
        else:
            time.sleep(0 if in_start else chance.uniform(0, UPTIME_MOST_S))
            service.kill()
        up_s += time.monotonic() - ready
        if number % 20 == 0:
            print(f"{number} of {len(ends)} kills", file=sys.stderr, flush=True)
    return up_s


def drain_outbox(service: KillableService) -> None:
    """Let the service run until no notice is owed any more."""
    end = time.monotonic() + DRAIN_MOST_S
    with contextlib.closing(sqlite3.connect(f"file:{service.database}?mode=ro", uri=True, timeout=10)) as db:
        while db.execute("SELECT 1 FROM notices WHERE state IN ('due', 'sending', 'held') LIMIT 1").fetchone():
            if not service.is_alive:
                raise SystemExit(f"the last life ended by itself:\n{service.log_tail()}")
            if time.monotonic() > end:
                return  # the check will report what was not sent
            time.sleep(0.1)


def run_crashes(folder: Path, *, kills: int, rounds: int, tasks: int, seed: int) -> CrashReport:
    """Run the whole harness in `folder`."""
    chance = random.Random(seed)
    refs = asyncio.run(fill_database(folder / "receiver.db", tasks))
    ring = Ring([KEY])
    (folder / "tokens").write_text("\n".join(map(ring.token, refs)))
    with open_sinks() as sinks:
        service = KillableService(folder, sinks.port)
        try:
            with run_posters(folder, service.port) as files:
                up_s = kill_repeatedly(service, chance, kills, rounds)
                service.start()
                service.wait_ready()  # so that the posters' last callbacks are answered
            drain_outbox(service)
        finally:
            service.stop()
    lines = [line for file in files for line in file.read_text().splitlines()]
    statuses = tuple(line.removeprefix("status ") for line in lines if line.startswith("status"))
    answered: list[Posted] = [
        (int(number), int(serial)) for number, serial in (line.split() for line in lines if line[0].isdigit())
    ]
    findings = check_promises(service.database, answered, dict(enumerate(refs)), sinks.pings)
    return CrashReport(kills, rounds * len(POINTS), len(answered) / up_s if up_s else 0.0, statuses, findings)


def main() -> None:
    """Run, print the table, and exit with what was broken."""
    arguments = argparse.ArgumentParser(prog="python -m bench.crash")
    arguments.add_argument("--kills", type=int, default=200, help="kills at random moments (default: %(default)s)")
    arguments.add_argument("--rounds", type=int, default=4, help=f"kills at each of {', '.join(POINTS)}")
    arguments.add_argument("--tasks", type=int, default=50_000)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=".", prefix="crash-") as name:
        report = run_crashes(
            Path(name).resolve(), kills=given.kills, rounds=given.rounds, tasks=given.tasks, seed=given.seed
        )
    for row in report.table_rows():
        print(f"| {' | '.join(row)} |")
    if report.findings.settled == given.tasks:
        print("the posters ran out of tasks before the end; run with a larger --tasks")
    if report.statuses:
        print(f"other answers than 200: {', '.join(report.statuses)}")
    if report.findings.broken:
        sys.exit("\n".join(report.findings.broken))


if __name__ == "__main__":
    main()
