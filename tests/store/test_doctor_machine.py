"""What the doctor sees on this machine: each thing that is wrong with files, disk and database, and its remedy."""

import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import a_task, put
from receiver.core.errors import CorruptDatabase
from receiver.core.types import MessageStyle, Target
from receiver.store import Store, open_store
from receiver.store.sqlite import inspect as looking
from receiver.store.sqlite.inspect import inspect_database
from receiver.upkeep.doctor import findings as checks
from receiver.upkeep.doctor import machine
from receiver.upkeep.doctor.findings import CheckResult, Finding
from receiver.upkeep.doctor.machine import DiskSpace, judge_disk
from receiver.upkeep.doctor.targets import check_targets

KEPT = ("secret_keys", "api_tokens")
GIB = 1 << 30
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


def only(findings: list[Finding], result: CheckResult = CheckResult.FAILED) -> str:
    """Text and remedy of the one finding there is."""
    [found] = findings
    assert found.result is result
    assert result is CheckResult.OK or found.remedy
    return f"{found.text}: {found.remedy}"


# -- permissions --


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory as the service makes it."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    for name in (*KEPT, "receiver.db", "receiver.db-wal", "receiver.db.lock"):
        (folder / name).touch(0o600)
    return folder


def permissions(state: Path, *named: tuple[str, Path]) -> list[Finding]:
    return list(machine.check_permissions(state, state / "receiver.db", KEPT, named))


def test_a_state_that_is_its_owner_s_alone_is_well(state: Path) -> None:
    assert "other users can read no secrets" in only(permissions(state), CheckResult.OK)


def test_a_state_directory_that_the_first_start_makes_is_well(tmp_path: Path) -> None:
    assert "created at the first start" in only(permissions(tmp_path / "a" / "b"), CheckResult.OK)


@pytest.mark.parametrize("name", [*KEPT, "receiver.db", "receiver.db-wal"])
def test_what_others_may_read_is_told(state: Path, name: str) -> None:
    (state / name).chmod(0o640)
    assert f"other users can read {state / name} (mode 0640): chmod 600 {state / name}" in only(permissions(state))


def test_a_directory_that_others_may_write_is_told(state: Path) -> None:
    """They could put their own keys in the place of ours."""
    state.chmod(0o777)
    assert f"and replace the keys: chmod go-w {state}" in only(permissions(state))


def test_a_folder_that_is_everybodys_is_not_to_be_closed(state: Path) -> None:
    """/tmp has the sticky bit: `chmod go-w /tmp` would break every other program."""
    state.chmod(0o1777)
    text = only(permissions(state), CheckResult.WARNING)
    assert text.startswith(
        f"{state} is for all users, so another one could put keys there before the service does: give"
    )
    assert "chmod" not in text


@as_root
def test_the_owner_of_everybodys_folder_is_not_to_own_the_files_in_it(state: Path) -> None:
    state.chmod(0o1777)
    os.chown(state / "receiver.db", 65534, 65534)
    assert "chown" not in only(permissions(state), CheckResult.WARNING)


@as_root
@pytest.mark.parametrize("name", [*KEPT, "receiver.db", "receiver.db-wal", "receiver.db.lock"])
def test_a_file_that_locks_the_service_out_is_told(state: Path, name: str) -> None:
    """As upkeep that was run by root may leave one behind."""
    for path in (state, *state.iterdir()):
        os.chown(path, 65534, 65534)
    os.chown(state / name, 0, 0)
    text = only(permissions(state))
    assert f"{state / name} belongs to root" in text
    assert text.endswith(f": chown -h 65534:65534 {state / name}")


@as_root
def test_a_state_that_is_not_ours_to_see_is_told_with_whose_it_is(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(state, 65534, 65534)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert f"root has no access to {state}: run the doctor as nobody or root" in only(permissions(state))


@as_root
def test_roots_own_state_is_not_told_to_be_looked_at_as_root_or_root(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert only(permissions(state)).endswith(": run the doctor as root")


def test_a_file_in_the_place_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    assert "is not a directory: move it away" in only(permissions(tmp_path / "state"))


def test_a_place_where_no_directory_can_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    """No remedy opens a folder that is not the service's."""
    text = only(permissions(tmp_path / "file" / "state"))
    assert "cannot be created: make it as root: `install -d -m 700 -o " in text
    assert text.endswith(f" {tmp_path}/file/state`, or set STATE_DIR")


def test_a_file_of_settings_with_secrets_that_everybody_may_read_is_told(state: Path, tmp_path: Path) -> None:
    """A group may share it."""
    path = tmp_path / "receiver.toml"
    path.touch(0o644)
    path.chmod(0o644)
    assert f"which holds PROVIDER_KEY: chmod o= {path}" in only(permissions(state, ("PROVIDER_KEY", path)))
    path.chmod(0o640)
    assert only(permissions(state, ("PROVIDER_KEY", path)), CheckResult.OK)


# -- the disk --


@pytest.mark.parametrize(
    ("found", "result", "said"),
    [
        (DiskSpace(10 * GIB, 20 * GIB, 1000, False), CheckResult.OK, "10 GiB of 20 GiB free at /state"),
        (DiskSpace(10 * GIB, 20 * GIB, None, False), CheckResult.OK, "10 GiB of 20 GiB"),
        (
            DiskSpace(GIB - 1, 20 * GIB, 1000, False),
            CheckResult.WARNING,
            "below 1.0 GiB, pictures are not archived: free some",
        ),
        (DiskSpace(64 << 20, 20 * GIB, 1000, False), CheckResult.WARNING, "pictures are not archived"),
        (
            DiskSpace((64 << 20) - 1, 20 * GIB, 1000, False),
            CheckResult.FAILED,
            "callbacks will soon be refused: free some",
        ),
        (DiskSpace(0, 20 * GIB, 1000, False), CheckResult.FAILED, "0 bytes of 20 GiB free"),
        (DiskSpace(10 * GIB, 20 * GIB, 0, False), CheckResult.FAILED, "no more files: remove some"),
        (DiskSpace(10 * GIB, 20 * GIB, 1000, True), CheckResult.FAILED, "is read-only: find"),
    ],
)
def test_a_disk_is_judged_by_what_it_still_takes(found: DiskSpace, result: CheckResult, said: str) -> None:
    assert said in only([judge_disk(found, Path("/state"))], result)


def test_the_room_is_that_of_the_place_where_the_state_will_be(tmp_path: Path) -> None:
    [found] = machine.check_disk(tmp_path / "not" / "there")
    assert found.text.endswith(f"at {tmp_path}") or found.result is not CheckResult.OK


# -- the database --


def database(path: Path) -> list[Finding]:
    return list(machine.check_database(path))


@pytest.mark.anyio
@pytest.mark.sqlite_only
async def test_a_database_in_use_is_looked_at_without_its_lock(store: Store, tmp_path: Path) -> None:
    """And while a transaction is open; what is committed meanwhile is seen."""
    await put(store, a_task())
    async with store.write() as tx:
        await tx.tasks.insert([a_task(task_id="job-2")])
        assert "schema" in only(database(tmp_path / "r.db"), CheckResult.OK)
    assert inspect_database(tmp_path / "r.db").checked


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.anyio
async def test_a_database_that_nobody_uses_is_left_as_it_was(tmp_path: Path) -> None:
    """A log that root leaves beside it could lock the service out."""
    store = await open_store(tmp_path / "r.db")
    await put(store, a_task())
    await store.close()
    before = content(tmp_path)
    assert only(database(tmp_path / "r.db"), CheckResult.OK)
    assert content(tmp_path) == before


def test_a_database_that_the_first_start_makes_is_well(tmp_path: Path) -> None:
    assert "the first start creates it" in only(database(tmp_path / "r.db"), CheckResult.OK)


def test_a_database_whose_directory_is_missing_is_told_as_the_start_refuses_it(tmp_path: Path) -> None:
    told = only(database(tmp_path / "nope/r.db"))
    assert f"the directory {tmp_path}/nope of the database r.db does not exist" in told
    assert f"mkdir -p {tmp_path}/nope" in told
    [found] = machine.check_database(tmp_path / "nope" / "receiver.db", made_by_unit=True)
    assert (found.result, found.text[-41:]) == ("ok", "not exist yet; the first start creates it")


def a_database(path: Path, *statements: str) -> Path:
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY)")
    for statement in statements:
        raw.execute(statement)
    raw.commit()
    raw.close()
    return path


def test_a_database_from_a_newer_version_is_told(tmp_path: Path) -> None:
    path = a_database(tmp_path / "r.db", "INSERT INTO migrations VALUES (9999)")
    assert "has schema 9999, but this version only knows" in (text := only(database(path)))
    assert "install the newer version again" in text


def test_a_database_from_an_older_version_is_well_and_told_what_a_start_does(tmp_path: Path) -> None:
    path = a_database(tmp_path / "r.db", "INSERT INTO migrations VALUES (1)")
    assert "the next start runs" in only(database(path), CheckResult.OK)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "r.db").write_bytes(b"not at all a database" * 1000)
    assert "is damaged" in (text := only(database(tmp_path / "r.db")))
    assert "restore a backup" in text


def test_a_database_of_something_else_is_told(tmp_path: Path) -> None:
    raw = sqlite3.connect(tmp_path / "r.db")
    raw.execute("CREATE TABLE theirs (x)")
    raw.close()
    assert "not a receiver database" in (text := only(database(tmp_path / "r.db")))
    assert "DATABASE_URL names the right file" in text


def test_a_page_that_is_damaged_is_told(tmp_path: Path) -> None:
    """Though nobody has asked for what stands on it yet."""
    path = a_database(
        tmp_path / "r.db",
        "CREATE TABLE filler (x TEXT)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500)"
        " INSERT INTO filler SELECT hex(randomblob(400)) FROM n",
    )
    content = bytearray(path.read_bytes())
    content[-8192:-4096] = b"\xff" * 4096
    path.write_bytes(content)
    assert "is damaged" in only(database(path))


@pytest.mark.anyio
@pytest.mark.sqlite_only
async def test_a_database_that_cannot_be_checked_in_time_is_not_called_sound(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(store, a_task())
    monkeypatch.setattr(looking, "CHECK_MOST_S", -1.0)
    monkeypatch.setattr(looking, "_STEPS", 1)
    assert not inspect_database(tmp_path / "r.db").checked
    assert "`receiver backup` checks every page" in only(database(tmp_path / "r.db"), CheckResult.OK)


@pytest.mark.anyio
@pytest.mark.sqlite_only
async def test_a_log_that_somebody_keeps_from_starting_again_is_warned_of(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "LOG_LONG", 0)
    _, warned = database(tmp_path / "r.db")
    assert warned.result is CheckResult.WARNING
    assert "write-ahead log has grown" in warned.text


@as_root
@pytest.mark.anyio
@pytest.mark.sqlite_only
async def test_looking_as_root_leaves_the_service_s_files_to_the_service(store: Store, tmp_path: Path) -> None:
    """Where a crash left a log, the look makes files: they take after the database."""
    await put(store, a_task())
    left = copied_for_nobody(tmp_path)
    assert inspect_database(left / "r.db").checked
    assert owners(left) == {"r.db": 65534, "r.db-wal": 65534, "r.db-shm": 65534}


def copied_for_nobody(folder: Path) -> Path:
    """The files as a kill leaves them. By a process: one that closes a database's file gives up its locks on it."""
    left = folder / "left"
    left.mkdir()
    subprocess.run(["cp", folder / "r.db", folder / "r.db-wal", left], check=True)
    for path in (left, *left.iterdir()):
        os.chown(path, 65534, 65534)
    return left


def owners(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_uid for path in folder.iterdir()}


def test_damage_seen_while_somebody_opens_it_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is taken for idle and is not may look damaged."""
    path = a_database(tmp_path / "r.db", "INSERT INTO migrations VALUES (1)")
    seen, ways = looking._inspect_with, []

    def opened_meanwhile(path: Path, how: str) -> looking.DatabaseInspection:
        ways.append(how)
        if len(ways) == 1:
            Path(f"{path}-wal").touch()
            raise CorruptDatabase("half a change")
        return seen(path, how)

    monkeypatch.setattr(looking, "_inspect_with", opened_meanwhile)
    assert inspect_database(path).schema == 1
    assert ways == ["immutable=1", "mode=ro"]


# -- targets --


def test_each_target_is_told_by_itself() -> None:
    good = Target(name="good", url="json://127.0.0.1:9/x")
    unusable = Target(name="unusable", url="slack://a-secret-that-is-none")
    found = list(check_targets([good, unusable]))
    assert [it.result for it in found] == [CheckResult.OK, CheckResult.FAILED]
    assert "unusable: Apprise cannot use this slack:// URL" in found[1].text
    assert "appriseit.com" in (found[1].remedy or "")
    assert "a-secret-that-is-none" not in str(found)


def test_a_template_that_cannot_be_used_is_a_warning() -> None:
    target = Target(name="team", url="json://127.0.0.1:9/x", template="{{ nobody", style=MessageStyle.TEXT)
    assert "team: its template fails, so messages use the built-in one" in only(
        list(check_targets([target])), CheckResult.WARNING
    )


def test_no_target_is_a_warning() -> None:
    assert "so nobody is notified: set RECEIVER_NOTIFY_URLS" in only(list(check_targets([])), CheckResult.WARNING)


# -- the bounds of a check --


def test_a_check_that_hangs_is_left_behind_with_what_it_found_until_then() -> None:
    gate = threading.Event()

    def hang() -> Iterator[Finding]:
        yield checks.ok("so far")
        gate.wait()

    found = checks.run_check("a check", hang, 0.2)
    gate.set()
    assert [(it.check, it.result) for it in found] == [("a check", CheckResult.OK), ("a check", CheckResult.FAILED)]
    assert "did not end within 0.2 s" in found[1].text


def test_a_check_that_breaks_is_a_finding_that_shows_no_secret() -> None:
    def broken() -> list[Finding]:
        raise RuntimeError("a-secret")

    def closed() -> list[Finding]:
        raise PermissionError(13, "Permission denied")

    assert "crashed with RuntimeError: please report this bug in receiver" in only(checks.run_check("a check", broken))
    assert "Permission denied: run the doctor as" in only(checks.run_check("a check", closed))


def test_findings_carry_the_name_of_their_check() -> None:
    assert checks.run_check("disk", lambda: [checks.ok("much room")]) == [replace(checks.ok("much room"), check="disk")]
