"""Debian's pgbouncer in front of a cluster of ours, as managed databases have it: each transaction may get another
connection to the server, so nothing may be kept in a session."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from kit.live_service import PATIENCE_S, free_port
from kit.postgres_cluster import PASSWORD, ROLE, PostgresCluster, another_user, hand_over


class Pooler(Struct, frozen=True, eq=False):
    """A pgbouncer that runs: how to reach a database through it, and the file that its log goes to."""

    cluster: PostgresCluster
    port: int
    log: Path

    def url(self, database: str, *, password: str = PASSWORD) -> str:
        return self.cluster.url(database, password=password, port=self.port)


def missing() -> str | None:
    """Why it cannot be tried here, or None."""
    return None if _program() else "pgbouncer is not on this machine: .ci/packages installs it"


def _program() -> str | None:
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")


@contextlib.contextmanager
def pgbouncer(cluster: PostgresCluster, options: Mapping[str, str] | None = None) -> Iterator[Pooler]:
    """A pgbouncer in transaction mode. `options` are settings of its own, such as `default_pool_size`."""
    program = _program()
    assert program is not None, missing()
    folder = Path(tempfile.mkdtemp(prefix="receiver-pgbouncer-"))
    try:
        hand_over(folder)
        pooler = Pooler(cluster, free_port(), folder / "log")
        users = _written(folder / "users", f'"{ROLE}" "{PASSWORD}"\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(pooler.port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": str(users),
            "admin_users": ROLE,
            "pool_mode": "transaction",
            "default_pool_size": "20",
            **(options or {}),
        }
        lines = [f"[databases]\n* = host=127.0.0.1 port={cluster.port}\n[pgbouncer]\n"]
        lines += [f"{name} = {value}\n" for name, value in settings.items()]
        file = _written(folder / "pgbouncer.ini", "".join(lines))
        with pooler.log.open("ab") as log:
            process = subprocess.Popen(
                [program, file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **another_user(),
            )
        try:
            _wait_until_up(process, pooler)
            yield pooler
        finally:
            process.send_signal(signal.SIGTERM)  # at once; SIGINT would wait for its clients
            process.wait(PATIENCE_S)
    finally:
        shutil.rmtree(folder)


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    hand_over(path)
    return path


def _wait_until_up(process: "subprocess.Popen[bytes]", pooler: Pooler) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, f"pgbouncer did not start: {pooler.log.read_text()}"
        assert time.monotonic() < end, "pgbouncer did not start in time"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", pooler.port)).close()
            return
        time.sleep(0.01)
