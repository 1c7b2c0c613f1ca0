"""`receiver migrate --to`, as a person runs it; and what it says where it cannot."""

import asyncio
import contextlib
import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kit.commands import RECEIVER, environment
from kit.database_faults import NOWHERE
from kit.every_table import dump, fill_every_table
from kit.live_service import PATIENCE_S, free_port, serving
from kit.moves import die_moving
from kit.new_database import place_database
from kit.postgres_cluster import PASSWORD, PostgresCluster
from kit.state_folder import run
from receiver.store.moving.tables import MOVED

pytestmark = pytest.mark.anyio


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = await place_database(tmp_path / "receiver.db")
    fill_every_table(path, 7)
    return path


def place_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}{parts.path}"


def run_with_input(*command: str, folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RECEIVER, *command],
        cwd=folder,
        env=environment(),
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def read_to_the_end(terminal: int) -> bytes:
    """What is left in a terminal whose programs have ended."""
    seen = b""
    with contextlib.suppress(OSError):
        while more := os.read(terminal, 1000):
            seen += more
    return seen


async def test_there_and_back_says_what_was_moved_and_what_to_do_next(
    tmp_path: Path, path: Path, fresh_postgres_url: str
) -> None:
    before = dump(path)
    rows = sum(len(before[it.name]) for it in MOVED)
    (tmp_path / "url").write_text(f"{fresh_postgres_url}\n")
    went = run("migrate", "--to-file", "url", folder=tmp_path)
    assert went.returncode == 0, went.stderr
    assert went.stderr == ""
    told, following = went.stdout.splitlines()
    place = place_of(fresh_postgres_url)
    assert told.startswith(f"moved 7 tasks, {rows} rows in all, from {path} to {place} in ")
    assert told.endswith(" s; all were read back and compared")
    assert following == (
        f"next: set RECEIVER_DATABASE_URL to the URL of {place}, keep RECEIVER_STATE_DIR={tmp_path} and set"
        f" RECEIVER_SECRET_KEYS_FILE={tmp_path}/secret_keys, and start the service"
    )
    now = {"DATABASE_URL": fresh_postgres_url, "STATE_DIR": str(tmp_path)}
    migrated = run("migrate", folder=tmp_path, **now)
    assert migrated.stdout == f"{place} already has schema 21: nothing to do\n", migrated.stderr
    back = run(
        "migrate", "--to", "sqlite:///back.db", "--json", folder=tmp_path, SECRET_KEYS="a-secret-key-0123456789", **now
    )
    assert back.returncode == 0, back.stderr
    found = json.loads(back.stdout)
    assert (found["from"], found["to"], found["tasks"], found["rows"], found["earlier"]) == (
        place,
        str(tmp_path / "back.db"),
        7,
        rows,
        0,
    )
    assert found["tables"]["tasks"]["rows"] == 7
    assert found["next"] == (
        f"set RECEIVER_DATABASE_URL=sqlite:///{tmp_path}/back.db, keep RECEIVER_STATE_DIR={tmp_path} and"
        " RECEIVER_SECRET_KEYS, and start the service"
    )
    assert dump(tmp_path / "back.db") == before
    assert PASSWORD not in went.stdout + back.stdout + back.stderr


def test_a_new_database_on_a_server_is_migrated(tmp_path: Path, fresh_postgres_url: str) -> None:
    settings = {"DATABASE_URL": fresh_postgres_url, "STATE_DIR": str(tmp_path)}
    told = run("migrate", "--json", folder=tmp_path, **settings)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["applied"] == ["0021_first"]


async def test_a_url_may_come_from_standard_input_and_a_password_on_the_line_is_warned_of(
    tmp_path: Path, path: Path, fresh_postgres_url: str
) -> None:
    given = run_with_input("migrate", "--to-file", "-", folder=tmp_path, text=f"{fresh_postgres_url}\n")
    assert given.returncode == 0, given.stderr
    again = run("migrate", "--to", fresh_postgres_url, folder=tmp_path)
    warned, refused = again.stderr.splitlines()
    assert warned == (
        "receiver: other users of this machine can see the password in --to; --to-file reads it from a file"
    )
    place = place_of(fresh_postgres_url)
    assert refused == (
        f"receiver: the database {place} has tasks of its own; name an empty one: make it with CREATE DATABASE"
    )


async def test_a_running_service_is_not_moved_away_from_under_itself(tmp_path: Path, fresh_postgres_url: str) -> None:
    (tmp_path / "url").write_text(fresh_postgres_url)
    async with serving(tmp_path, NOWHERE) as service:
        refused = await asyncio.to_thread(run, "migrate", "--to-file", "url", folder=tmp_path)
        assert refused.returncode == 1
        assert refused.stderr == (
            f"receiver: another process is using {tmp_path}/receiver.db: stop the service, and run this again\n"
        )
        assert await service.stop(signal.SIGTERM) == 0
    moved = run("migrate", "--to-file", "url", folder=tmp_path)
    assert moved.returncode == 0, moved.stderr


async def test_what_is_wrong_is_said_in_one_line_with_what_to_do(
    tmp_path: Path, path: Path, postgres: PostgresCluster, fresh_postgres_url: str
) -> None:
    name = urlsplit(fresh_postgres_url).path[1:]
    server = f"127.0.0.1:{postgres.port}"
    port = free_port()
    for url, status, told in (
        ("mysql://user@host/name", 2, "--to-file: expected sqlite:///FILE (sqlite:////FILE for an absolute path) or"),
        ("postgresql://user@host", 2, "it names no database; write the database's name behind the host"),
        ("sqlite:///other.db", 2, "`receiver backup` and `receiver restore` copy a database"),
        (postgres.url(name, password="wrong"), 1, f"{server}/{name} refuses this user or its password; check both"),
        (postgres.url(name, role="nobody"), 1, f"{server}/{name} refuses this user or its password; check both"),
        (postgres.url("none"), 1, f"there is no such database at {server}/none; make it: CREATE DATABASE"),
        (postgres.url(name, port=port), 1, f"cannot reach 127.0.0.1:{port}/{name}: Connection refused; check that"),
        ("postgresql://u:hidden@host.invalid/x", 1, "cannot reach host.invalid:5432/x: "),
    ):
        (tmp_path / "url").write_text(url)
        refused = run("migrate", "--to-file", "url", folder=tmp_path)
        assert refused.returncode == status, refused.stderr
        assert told in refused.stderr
        assert refused.stderr.count("\n") == 1
        assert not {"wrong", "hidden", PASSWORD} & {*refused.stderr.split()}
    (tmp_path / "url").write_text("sqlite:///none/other.db")
    settings = {"DATABASE_URL": fresh_postgres_url, "STATE_DIR": str(tmp_path)}
    refused = run("migrate", "--to-file", "url", folder=tmp_path, **settings)
    folder = tmp_path / "none"
    assert refused.stderr == (
        f"receiver: --to-file: the directory {folder} does not exist; create it with `mkdir -p {folder}`\n"
    )
    (tmp_path / "url").write_text(f"{fresh_postgres_url}2")
    assert "PostgreSQL too; pg_dump" in run("migrate", "--to-file", "url", folder=tmp_path, **settings).stderr
    both = run("migrate", "--to-file", "url", "--to", "sqlite:///a.db", folder=tmp_path)
    assert (both.returncode, "say the same: give one of them" in both.stderr) == (2, True)


async def test_a_database_that_others_have_filled_with_connections_is_told(
    tmp_path: Path, path: Path, postgres: PostgresCluster, fresh_postgres_url: str
) -> None:
    name = urlsplit(fresh_postgres_url).path[1:]
    postgres.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    (tmp_path / "url").write_text(fresh_postgres_url)
    refused = run("migrate", "--to-file", "url", folder=tmp_path)
    assert refused.returncode == 1
    assert "has no connection left (too many connections for database" in refused.stderr
    assert "; end some, or raise its max_connections" in refused.stderr


async def test_it_shows_how_far_it_is_and_goes_on_after_ctrl_c(
    tmp_path: Path, path: Path, postgres: PostgresCluster, fresh_postgres_url: str
) -> None:
    """It was begun before, and what it compares first is locked: so it waits where it is."""
    name = urlsplit(fresh_postgres_url).path[1:]
    assert await asyncio.to_thread(die_moving, path, fresh_postgres_url, "committed", 9) == -9
    (tmp_path / "url").write_text(fresh_postgres_url)
    holding = await asyncio.create_subprocess_exec(
        *postgres.psql(name), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert holding.stdin is not None
    assert holding.stdout is not None
    holding.stdin.write(b"BEGIN; LOCK TABLE callbacks;\n\\echo locked\n")
    assert await holding.stdout.readline() == b"locked\n"
    ours, theirs = pty.openpty()
    try:
        moving = await asyncio.create_subprocess_exec(
            *(*RECEIVER, "migrate", "--to-file", "url"), cwd=tmp_path, env=environment(), stderr=theirs
        )
        os.close(theirs)
        seen = b""
        while b"moved [" not in seen:
            seen += await asyncio.to_thread(os.read, ours, 1000)
        assert b" rows, " in seen
        moving.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(moving.wait(), PATIENCE_S) == 130
        seen += read_to_the_end(ours)
        assert b"receiver: stopped; the same command goes on where it was" in seen
    finally:
        os.close(ours)
        holding.stdin.close()
        await holding.wait()
    went = run("migrate", "--to-file", "url", "--json", folder=tmp_path)
    assert went.returncode == 0, went.stderr
    found = json.loads(went.stdout)
    assert found["tasks"] == 7
    assert found["earlier"] > 0
