"""The commands of upkeep over PostgreSQL: what they do, and what they leave to PostgreSQL's own programs."""

import json
import subprocess
from pathlib import Path

import pytest

from kit.commands import RECEIVER, environment
from kit.live_service import PATIENCE_S, SECRET
from kit.postgres_cluster import PASSWORD, PostgresCluster

SHOWN = "postgresql://someone@db.test:6432/receiver?sslmode=require"
URL = "postgresql://someone:a%40-password@db.test:6432/receiver?sslmode=require&sslpassword=another-password"


def run(folder: Path, *args: str, url: str = URL, given: str = "", **settings: str) -> tuple[int, str, str]:
    """The status of a command, and what it says on both streams. No password may be in it."""
    env = environment(DATABASE_URL=url, STATE_DIR=str(folder / "shared"), **settings)
    done = subprocess.run(
        [*RECEIVER, *args], cwd=folder, env=env, input=given, capture_output=True, text=True, timeout=PATIENCE_S
    )
    for secret in ("a%40-password", "a@-password", "another-password", PASSWORD):
        assert secret not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def test_a_backup_is_refused_with_the_command_that_makes_one_and_what_else_to_copy(tmp_path: Path) -> None:
    status, _, said = run(tmp_path, "backup", "receiver.backup")
    assert status == 2
    assert said.count("\n") == 1
    assert "the database is PostgreSQL (db.test:6432/receiver), which `receiver backup` does not copy" in said
    assert f"`pg_dump --format=custom --file=receiver.dump '{SHOWN}'`" in said
    assert f"copy {tmp_path}/shared too" in said
    assert list(tmp_path.iterdir()) == []


def test_a_restore_is_refused_with_what_keeps_tasks_from_being_paid_for_twice(tmp_path: Path) -> None:
    (tmp_path / "some.backup").touch()
    status, _, said = run(tmp_path, "restore", "some.backup")
    assert status == 2
    assert said.count("\n") == 1
    assert f"`pg_restore --clean --if-exists --no-owner --dbname='{SHOWN}' receiver.dump`" in said
    assert "start `receiver serve --role web` alone and run `receiver queue pause`" in said


def test_a_password_is_set_for_all_that_share_the_directory(tmp_path: Path) -> None:
    status, said, more = run(tmp_path, "password", given="a password for tests\n")
    assert status == 0
    assert "counts at once" in said
    assert f"the processes that share {tmp_path}/shared" in more
    assert (tmp_path / "shared" / "password_hash").read_text().startswith("$argon2id$")


def test_the_settings_are_shown_without_the_passwords(tmp_path: Path) -> None:
    listen = "postgresql://someone:a%40-password@direct.test/receiver"
    status, said, _ = run(tmp_path, "config", SECRET_KEYS=SECRET, DATABASE_LISTEN_URL=listen)
    assert status == 0
    assert "postgresql://•••@db.test:6432/receiver?•••" in said
    assert "postgresql://•••@direct.test/receiver" in said


def test_prune_works_beside_a_service_or_without_one(tmp_path: Path, postgres_url: str) -> None:
    status, said, more = run(tmp_path, "prune", url=postgres_url)
    assert (status, said) == (0, "removed: nothing\n")
    assert [it for it in more.splitlines() if "=off, so what was answered" not in it] == []  # the cluster is in a hurry
    status, said, _ = run(tmp_path, "prune", "--json", url=postgres_url)
    assert (status, json.loads(said)) == (0, {"removed": {}, "given_back": 0})


def test_prune_without_its_database_is_one_line(tmp_path: Path, postgres: PostgresCluster) -> None:
    status, _, said = run(tmp_path, "prune", url=postgres.url("none_of_this_name"))
    assert (status, said.count("\n")) == (2, 1)
    assert "no database of this name" in said


@pytest.mark.parametrize("there", [True, False])
def test_the_doctor_looks_at_the_database(
    there: bool, tmp_path: Path, postgres: PostgresCluster, postgres_url: str
) -> None:
    url = postgres_url if there else postgres.url("none_of_this_name")
    _, said, _ = run(tmp_path, "doctor", "--json", url=url, SECRET_KEYS=SECRET, PROVIDER_URL="http://127.0.0.1:9/x")
    found = [it for it in json.loads(said) if it["check"] == "database"]
    assert found
    assert found[0]["text"].startswith("127.0.0.1:" if there else "there is no such database at 127.0.0.1:")
    assert {it["result"] for it in found} <= ({"ok", "warning"} if there else {"failed"})
    assert not [it for it in json.loads(said) if "crashed" in it["text"]]
