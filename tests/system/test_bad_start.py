"""Starts that cannot succeed: one line each, and a status by which systemd knows whether to try again.

Status 2 is in the unit's RestartPreventExitStatus=, 1 is not.
"""

import re
import shutil
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest

from kit.commands import RECEIVER, environment
from kit.live_service import PATIENCE_S

AGAIN, NEVER = 1, 2  # the exit statuses


def serve(
    folder: Path, *options: str, fds: tuple[int, ...] = (), before: tuple[str, ...] = (), **more: str
) -> tuple[int, str]:
    """The status of `receiver serve` that ends by itself, and the one line that it says."""
    done = subprocess.run(
        [*before, *RECEIVER, "serve", *(options or ("--port", "0"))],
        cwd=folder,
        env=environment(**{"DATABASE_URL": f"sqlite:///{folder}/receiver.db", **more}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        pass_fds=fds,
    )
    [line] = done.stderr.splitlines()
    assert line.startswith("receiver: ")
    return done.returncode, line.removeprefix("receiver: ")


def test_a_state_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, line = serve(tmp_path, STATE_DIR=str(tmp_path / "file"))
    assert status == NEVER
    assert re.fullmatch(r"cannot write .*/file/secret_keys: .*; make the state directory writable, or set .*", line)


@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not on this machine")
def test_a_file_system_that_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    status, line = serve(
        tmp_path, before=mounted(tmp_path / "state", "ro"), DATABASE_URL=f"sqlite:///{tmp_path}/state/r.db"
    )
    assert status == NEVER
    assert re.fullmatch(r"cannot write into .*/state, the directory of the database r.db; make it writable .*", line)


def test_a_database_that_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "receiver.db").mkdir()
    status, line = serve(tmp_path)
    assert status == NEVER
    assert re.fullmatch(r"the database .*/receiver.db is not a file; set RECEIVER_DATABASE_URL to .*", line)


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "receiver.db").write_bytes(b"this is no database, and is longer than a header " * 100)
    status, line = serve(tmp_path)
    assert status == NEVER
    assert re.fullmatch(r"the database is damaged .*restore a backup", line)


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "receiver.db") as database:
        database.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT, probed_at INTEGER)")
        database.execute("INSERT INTO migrations (number, name) VALUES (9999, 'later')")
    database.close()
    status, line = serve(tmp_path)
    assert status == NEVER
    assert re.fullmatch(r"the database has schema 9999, but this version only knows .*; install the newer .*", line)


def mounted(place: Path, options: str) -> tuple[str, ...]:
    """What runs a command with a file system of its own at `place`; skips where that is not allowed."""
    script = f'mount -t tmpfs -o {options} tmpfs "$0" && exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", script, str(place))
    if subprocess.run([*before, "true"], capture_output=True, timeout=10).returncode:
        pytest.skip("no file systems may be mounted here")
    return before


@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not on this machine")
@pytest.mark.parametrize("room_kb", [8, 32, 128])
def test_a_full_disk_is_tried_again(tmp_path: Path, room_kb: int) -> None:
    """There may be room later. Its first file, its database's, or its log is what does not fit."""
    (tmp_path / "state").mkdir()
    status, line = serve(
        tmp_path,
        before=mounted(tmp_path / "state", f"size={room_kb}k"),
        DATABASE_URL=f"sqlite:///{tmp_path}/state/r.db",
    )
    assert status == AGAIN
    assert re.search("the disk (is full|reports an error)", line)


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, line = serve(tmp_path, "--port", str(taken.getsockname()[1]), PROVIDER_KEY="a", NOTIFY_URLS="json://x/")
    assert status == NEVER
    assert re.fullmatch(r"--port \(RECEIVER_PORT\): [0-9]+ is already in use on 127.0.0.1; stop what .*", line)
    assert list(tmp_path.iterdir()) == [], "a start that is refused makes neither a database nor keys"


def test_a_port_in_use_is_named_as_it_was_given(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        (tmp_path / "receiver.toml").write_text(f"port = {port}")
        _, line = serve(tmp_path, "--role", "all")
        assert line.startswith(f"port in receiver.toml: {port} is already in use")
        _, line = serve(tmp_path, "--role", "all", PORT=port)
        assert line.startswith(f"RECEIVER_PORT in the environment: {port} is already in use")


def test_an_option_changes_no_word_of_another_error(tmp_path: Path) -> None:
    (tmp_path / "receiver.toml").write_text("RECEIVER_PORT = 1")
    _, line = serve(tmp_path, "--port", "0")
    assert line.startswith("unknown setting 'RECEIVER_PORT' in receiver.toml (did you mean port?")
    _, line = serve(tmp_path, "--host", "no host at all", CONFIG="other.toml")
    assert "other.toml" in line


def test_a_database_in_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """A mistyped path is no place to begin anew."""
    status, line = serve(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/nope/receiver.db")
    assert status == NEVER
    assert line.startswith(
        f"the directory {tmp_path}/nope of the database receiver.db does not exist; create it with `mkdir -p "
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["a file", "a pair's half", "datagrams", "nobody's"])
def test_a_descriptor_that_is_no_listening_socket(tmp_path: Path, what: str) -> None:
    here, there = socket.socketpair()
    unbound, datagrams = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    with here, there, unbound, datagrams, (tmp_path / "file").open("w") as file:
        fds = {"a file": file.fileno(), "a pair's half": here.fileno()}
        fd = {**fds, "datagrams": datagrams.fileno(), "nobody's": unbound.fileno()}[what]
        status, line = serve(tmp_path, "--fd", str(fd), fds=(fd,))
    assert status == NEVER
    assert line == f"--fd {fd} is not a listening stream socket; give the number of one; systemd passes it as 3"


def test_a_unit_without_its_socket(tmp_path: Path) -> None:
    """`--fd 3`, and 3 is not open."""
    status, line = serve(tmp_path, "--fd", "3")
    assert status == NEVER
    assert line.startswith("--fd 3 is not a listening stream socket")


def test_a_credential_that_nobody_reads(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "receiver.toml").touch()
    (credentials / "provider-key").write_text("a-key-that-is-not-shown")
    status, line = serve(
        tmp_path,
        *("--config", str(credentials / "receiver.toml"), "--port", "0"),
        before=("env", f"CREDENTIALS_DIRECTORY={credentials}"),
    )
    assert status == NEVER
    assert line == "unknown credential 'provider-key' (did you mean provider_key?)"


def test_postgresql_needs_what_its_processes_share(tmp_path: Path) -> None:
    """The URL as platforms set it, bare."""
    status, line = serve(
        tmp_path,
        before=("env", "-u", "RECEIVER_DATABASE_URL", "DATABASE_URL=postgres://user:a-password@db/x"),
    )
    assert status == NEVER
    assert line.startswith("DATABASE_URL is PostgreSQL, and STATE_DIR is not set: ")
    assert "a-password" not in line
