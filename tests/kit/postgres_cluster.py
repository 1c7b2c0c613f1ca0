"""A real PostgreSQL for tests: a cluster of its own in a temporary folder, on a free port of loopback.

As hostile as a stranger's: words are sorted by a language, not by their bytes, a search takes them for English, the
role that we are is no superuser, and its password has letters that a URL must spell otherwise.
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

from kit.live_service import PATIENCE_S, free_port

ROLE = "receiver"
PASSWORD = "made-up/p@ss:word"
VERSION_LEAST = 14
StopMode = Literal["fast", "immediate", "killed"]
_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "killed": signal.SIGKILL}
_ACCESS = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nlocal replication all trust\n"
# Ends the server if we go without doing so: its standard input ends with us.
_WATCH = (
    'read -r _; pid=$(head -n 1 "$0/data/postmaster.pid" 2>/dev/null) || exit 0; kill -QUIT "$pid"; '
    'while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done; rm -rf "$0"'
)


def missing() -> str | None:
    """Why there can be no cluster here, or None."""
    programs = programs_folder()
    if programs is None or not all((programs / it).exists() for it in ("initdb", "postgres", "psql")):
        return "PostgreSQL is not on this machine: .ci/packages installs it"
    if version(programs) < VERSION_LEAST:
        return f"PostgreSQL on this machine is older than {VERSION_LEAST}"
    return None


def programs_folder() -> Path | None:
    """Where PostgreSQL's programs are: Debian's newest, or those on the PATH."""
    debian = [it for it in Path("/usr/lib/postgresql").glob("*/bin") if it.parent.name.isdigit()]
    if debian:
        return max(debian, key=lambda it: int(it.parent.name))
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def version(programs: Path) -> int:
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)", said)
    return int(found[1]) if found else 0


def another_user() -> dict[str, Any]:
    """What `subprocess` needs to run a program as somebody without rights, if we are root: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise AssertionError("neither postgres nor nobody is a user of this machine")


def hand_over(path: Path) -> None:
    """Let `another_user` own it."""
    if who := another_user():
        os.chown(path, who["user"], who["group"])


class PostgresCluster:
    """One server and its databases. It is empty and stopped at first; `with` starts it and removes all of it.

    `durable` says whether it keeps what it has answered when the machine fails, for tests that kill it; else it never
    waits for a disk. `options` are settings of postgresql.conf.
    """

    def __init__(self, *, durable: bool = False, options: Mapping[str, str] | None = None) -> None:
        programs = programs_folder()
        assert programs is not None, missing()
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="receiver-postgres-"))
        hand_over(self.folder)
        self.data = self.folder / "data"
        self.port = free_port()
        self.log = self.folder / "log"
        self._durable = durable
        self._options = dict(options or {})
        self._server: subprocess.Popen[bytes] | None = None
        self._watch = subprocess.Popen(
            ["sh", "-c", _WATCH, self.folder], stdin=subprocess.PIPE, start_new_session=True, **another_user()
        )
        self._numbers = count(1)

    def __enter__(self) -> Self:
        try:
            self.make()
            self.start()
            self.prepare()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def prepare(self) -> None:
        """What is to be done once it runs for the first time."""
        self.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")

    @property
    def pid(self) -> int:
        """The server's process, the parent of all its others."""
        assert self._server is not None, "PostgreSQL is stopped"
        return self._server.pid

    def url(self, database: str, *, role: str = ROLE, password: str = PASSWORD, port: int | None = None) -> str:
        """How the product reaches a database; by another `port` if something stands between."""
        return f"postgresql://{role}:{quote(password, safe='')}@127.0.0.1:{port or self.port}/{database}"

    def make(self) -> None:
        """Make the cluster's files. Languages sort words differently: ICU's English if this PostgreSQL has it."""
        initdb = [
            *(str(self.programs / "initdb"), "--pgdata", str(self.data), "--encoding", "UTF8", "--locale", "C.UTF-8"),
            *("--username", "postgres", "--auth", "trust", "--data-checksums", "--no-sync", "-T", "english"),
        ]
        icu = ["--locale-provider", "icu", "--icu-locale", "en-US"] if version(self.programs) >= 15 else []
        for more in (icu, []):
            done = subprocess.run([*initdb, *more], capture_output=True, text=True, cwd="/", **another_user())
            if done.returncode == 0:
                break
        assert done.returncode == 0, done.stderr
        (self.data / "pg_hba.conf").write_text(_ACCESS)

    def start(self, options: Mapping[str, str] | None = None) -> None:
        """Start it, with further settings from now on, and wait until it takes connections."""
        self._options |= options or {}
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "fsync": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
            "shared_buffers": "16MB",
            "max_connections": "100",
            **self._options,
        }
        assert self._server is None, "PostgreSQL runs already"
        command = [str(self.programs / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **another_user(),
            )
        end = time.monotonic() + PATIENCE_S
        while not self._is_ready():
            assert self._server.poll() is None, f"PostgreSQL did not start: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < end, "PostgreSQL did not start in time"
            time.sleep(0.01)

    def _is_ready(self) -> bool:
        """As pg_ctl learns it: the server's file says so, and says that it is this server's."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(self.pid)] and len(lines) >= 8 and lines[7].strip() == "ready"

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop it: `fast` ends each connection with a word, `immediate` without, `killed` by SIGKILL.

        It has ended when this returns. Once killed, its other processes notice by themselves, and shortly after.
        """
        server, self._server = self._server, None
        assert server is not None, "PostgreSQL is stopped already"
        server.send_signal(_SIGNALS[mode])
        try:
            server.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
            raise

    def restart(self, mode: StopMode = "fast", options: Mapping[str, str] | None = None) -> None:
        """Stop and start it on the same port."""
        self.stop(mode)
        self.start(options)

    def close(self) -> None:
        """End it, whatever it is at, and remove its files."""
        try:
            if self._server is not None:
                self.stop("immediate")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._watch.communicate()

    def make_database(self, template: str = "template0", *, owner: str = ROLE) -> str:
        """A new database, empty or a copy of one that nobody is connected to; gives its name."""
        name = f"receiver{next(self._numbers)}"
        strategy = " STRATEGY file_copy" if version(self.programs) >= 15 else ""  # the faster one while fsync is off
        self.execute(f"CREATE DATABASE {name} OWNER {owner} TEMPLATE {template}{strategy}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove it, and end the connections to it."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, sql: str, database: str = "postgres") -> list[list[str]]:
        """Run statements as the superuser; gives the rows of the last one, as text. For a test's own questions: every
        call is a program and a connection of its own."""
        done = subprocess.run(
            self.psql(database), input=sql, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    def psql(self, database: str) -> list[str]:
        """The command of a psql that takes statements from its standard input and ends at the first mistake."""
        return [
            *(str(self.programs / "psql"), "--no-psqlrc", "--quiet", "--no-align", "--tuples-only"),
            *("--field-separator=\t", "--set=ON_ERROR_STOP=1", "--username=postgres"),
            *(f"--host={self.folder}", f"--port={self.port}", database),
        ]

    def connections(self, database: str) -> int:
        """How many there are to a database, but for the one that asks."""
        sql = f"SELECT count(*) FROM pg_stat_activity WHERE {clients_of(database)}"
        return int(self.execute(sql)[0][0])

    def end_connections(self, database: str) -> int:
        """End all connections to a database, as an administrator would; gives how many there were."""
        sql = f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {clients_of(database)}"
        return len(self.execute(sql))


def clients_of(database: str) -> str:
    """A condition on pg_stat_activity."""
    return f"datname = '{database}' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"


@contextlib.contextmanager
def own_cluster(*, durable: bool = True, options: Mapping[str, str] | None = None) -> Iterator[PostgresCluster]:
    """A cluster that a test may stop, kill and starve: it has it alone, and what it has answered is on the disk."""
    with PostgresCluster(durable=durable, options=options) as cluster:
        yield cluster
