"""`receiver password`: what it takes, where it puts the hash, and who knows of it afterwards."""

import asyncio
import json
import os
import pty
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kit.commands import RECEIVER, environment
from kit.new_database import place_database
from receiver import config
from receiver.cli.main import COMMANDS
from receiver.core.errors import SettingsError
from receiver.passwords import MOST, hash_password, is_password_hash, verify_password

PASSWORD = "correct horse"
SECRET = "a-secret-key-for-tests-0001"
FILE = "password_hash"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str, given: bytes = b"", **settings: str) -> subprocess.CompletedProcess[str]:
    """The command in the current folder, with `given` on its standard input."""
    done = subprocess.run(
        [*RECEIVER, *args], input=given, capture_output=True, env=environment(**settings), check=False
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def on_a_terminal(*typed: bytes) -> tuple[int, str]:
    """Status and screen of `receiver password`, with an answer to each of its questions."""
    left = list(typed)
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests in the background has it ignored
        os.execve(sys.executable, [*RECEIVER, "password"], environment())  # noqa: S606
    seen = asked = b""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # how a terminal says that nobody has it open any more
            break
        seen, asked = seen + chunk, asked + chunk
        if left and re.search(rb"(?:Password|The same again)[^\n]*: $", asked):
            os.write(terminal, left.pop(0))
            asked = b""
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert left == [], seen.decode()
    return os.waitstatus_to_exitcode(status), seen.decode()


def stored() -> str:
    return Path(FILE).read_text().strip()


# -- what it takes --


def test_a_person_types_it_twice_and_never_sees_it() -> None:
    status, seen = on_a_terminal(f"{PASSWORD}\n".encode(), f"{PASSWORD}\n".encode())
    assert status == 0
    assert "log in at http://127.0.0.1:8000/login" in seen
    assert PASSWORD not in seen
    assert verify_password(stored(), PASSWORD)


def test_what_is_too_short_or_typed_differently_is_asked_again() -> None:
    typed = ("short", PASSWORD, "correct house", PASSWORD, PASSWORD)
    status, seen = on_a_terminal(*(f"{it}\n".encode() for it in typed))
    assert status == 0
    assert "the password needs 8 to 1,024 characters, and this has 5; type it again" in seen
    assert "the two differ; type it again" in seen
    assert "house" not in seen
    assert verify_password(stored(), PASSWORD)


def test_whoever_stops_typing_has_changed_nothing() -> None:
    status, seen = on_a_terminal(b"\x04")
    assert (status, "no password was given; nothing was changed" in seen) == (1, True)
    status, _ = on_a_terminal(b"\x03")
    assert status == 130
    assert not Path(FILE).exists()


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_script_gives_it_on_standard_input(end: str) -> None:
    done = run("password", given=f"{PASSWORD}{end}".encode())
    assert (done.returncode, done.stderr) == (0, "")
    assert verify_password(stored(), PASSWORD)
    assert PASSWORD not in done.stdout


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (b"", "the password needs 8 to 1,024 characters, and this has 0; nothing was changed"),
        (b"seven77\n", "and this has 7"),
        (b"x" * (MOST + 1), "and this has 1,025"),
        (b"x" * 100_000, "the password on standard input is larger than 4 KB"),
        (b"\xff\xfeabcdefgh", "is UTF-16 text"),
        (b"caf\xe9 au lait", "is not UTF-8 text"),
        (b"two lines\nof text\n", "a password is one line of text"),
        (b"with a \x1b[1m in it", "without control characters"),
    ],
)
def test_what_is_no_password_is_one_line_and_changes_nothing(given: bytes, why: str) -> None:
    Path(FILE).write_text("as before\n")
    done = run("password", given=given)
    assert done.returncode == 1
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert stored() == "as before"


def test_eight_characters_of_any_script_and_blanks_at_its_ends_are_a_password() -> None:
    for password in ("пароль12", " x x x x ", "😀" * 8, "x" * MOST):
        assert run("password", given=f"{password}\n".encode()).returncode == 0
        assert verify_password(stored(), password)


def test_it_cannot_be_an_argument() -> None:
    done = run("password", PASSWORD)
    assert done.returncode == 2
    assert not Path(FILE).exists()


# -- where it is --


def test_only_its_owner_reads_the_hash_and_it_lies_where_the_service_looks() -> None:
    Path("receiver.toml").write_text('state_dir = "state"\ndatabase_url = "sqlite:///data/receiver.db"\n')
    Path("data").mkdir()
    assert run("password", given=PASSWORD.encode()).returncode == 0
    found = Path("state", FILE).stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert stat.S_IMODE(Path("state").stat().st_mode) == 0o700
    source = config.PasswordSource(config.load_settings({}))
    assert verify_password(source() or "", PASSWORD)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_s_command_gives_the_hash_to_the_user_of_the_database() -> None:
    os.chown(Path.cwd(), 65534, 65534)
    Path("receiver.db").touch()
    os.chown("receiver.db", 65534, 65534)
    assert run("password", given=PASSWORD.encode()).returncode == 0
    assert Path(FILE).stat().st_uid == 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="other users could only change what they may change anyway")
def test_root_follows_no_link_that_the_service_s_user_planted() -> None:
    state = Path("state")
    state.mkdir()
    Path("precious").write_text("root's own")
    os.chown(state, 65534, 65534)
    (state / FILE).symlink_to(Path("precious").absolute())
    settings: dict[str, Any] = {
        "STATE_DIR": str(state.absolute()),
        "DATABASE_URL": f"sqlite:///{state.absolute()}/receiver.db",
    }
    assert run("doctor", **settings).returncode == 1
    assert run("password", given=PASSWORD.encode(), **settings).returncode == 0
    assert Path("precious").read_text() == "root's own"
    assert not (state / FILE).is_symlink()


def test_a_new_password_is_read_without_a_restart() -> None:
    source = config.PasswordSource(config.load_settings({}))
    assert source() is None
    for password in (PASSWORD, "another horse"):
        assert run("password", given=password.encode()).returncode == 0
        assert verify_password(source() or "", password)
    assert run("password", "--remove").returncode == 0
    assert source() is None


@pytest.mark.parametrize("text", ["", "\n", "nonsense", "$argon2id$v=19$m=4194304,t=2,p=1$aaaaaaaaaaa$" + "a" * 43])
def test_a_file_that_holds_no_hash_is_an_error_and_not_the_absence_of_a_password(text: str) -> None:
    Path(FILE).write_text(text)
    source = config.PasswordSource(config.load_settings({}))
    for _ in range(2):
        with pytest.raises(SettingsError, match="set the password again"):
            source()


def test_removing_it_says_what_the_pages_ask_for_then() -> None:
    assert run("password", given=PASSWORD.encode()).returncode == 0
    done = run("password", "--remove")
    assert "the pages ask for an API token" in done.stdout
    assert not Path(FILE).exists()
    again = run("password", "--remove")
    assert (again.returncode, again.stdout) == (0, "no password is set: the pages ask for an API token\n")


def test_a_hash_in_the_settings_wins_and_the_command_says_where_the_new_one_goes() -> None:
    given: dict[str, Any] = {"PASSWORD_HASH": hash_password("of the settings")}
    done = run("password", given=PASSWORD.encode(), **given)
    assert done.returncode == 0
    assert "PASSWORD_HASH is set (environment RECEIVER_PASSWORD_HASH), so put this hash there" in done.stderr
    assert is_password_hash(done.stdout.strip())
    assert verify_password(done.stdout.strip(), PASSWORD)
    assert not Path(FILE).exists()
    refused = run("password", "--remove", **given)
    assert (refused.returncode, "remove it there" in refused.stderr) == (1, True)


def test_the_setting_may_be_a_file_and_what_is_no_hash_is_refused_unseen() -> None:
    Path("hash").write_text(f"{hash_password(PASSWORD)}\n")
    loaded = config.load_settings({"RECEIVER_PASSWORD_HASH_FILE": "hash"})
    assert verify_password(loaded.password_hash or "", PASSWORD)
    for wrong in ("my own password", "$$argon2id$$v=19", "$argon2id$v=19$m=4194304,t=2,p=1$aaaaaaaaaaa$" + "a" * 43):
        done = run("config", PASSWORD_HASH=wrong)
        assert (done.returncode, "expected a hash" in done.stderr, wrong in done.stderr) == (2, True, False)


# -- who knows of it --


def test_the_listing_masks_it_and_the_overview_names_the_command() -> None:
    hashed = hash_password(PASSWORD)
    [line] = [it for it in run("config", PASSWORD_HASH=hashed).stdout.splitlines() if "PASSWORD_HASH" in it]
    assert "•••" in line
    assert hashed not in line
    assert "password" in COMMANDS


@pytest.mark.parametrize(
    ("text", "result", "said"),
    [
        (None, "ok", "no password is set, so the pages ask for an API token; `receiver password` sets one"),
        ("hash", "ok", "the pages ask for the password"),
        ("nonsense", "failed", "nobody can log in to the pages: "),
    ],
)
def test_the_doctor_knows_how_one_logs_in(text: str | None, result: str, said: str) -> None:
    if text is not None:
        Path(FILE).write_text(hash_password(PASSWORD) if text == "hash" else text)
        Path(FILE).chmod(0o600)
    found = json.loads(run("doctor", "--json").stdout)
    [line] = [it for it in found if it["check"] == "password"]
    assert (line["result"], line["text"].startswith(said)) == (result, True)


def test_the_doctor_sees_a_hash_that_others_can_read() -> None:
    assert run("password", given=PASSWORD.encode()).returncode == 0
    Path(FILE).chmod(0o644)
    found = json.loads(run("doctor", "--json").stdout)
    assert any(it["check"] == "permissions" and it["remedy"] == f"chmod 600 {FILE}" for it in found)


def backed_up(tmp_path: Path) -> Path:
    """A backup of a folder with a database and a password."""
    asyncio.run(place_database(Path("receiver.db")))
    done = run("backup", "b.db", SECRET_KEYS=SECRET)
    assert done.returncode == 0, done.stderr
    return tmp_path / "b.db"


def test_a_backup_brings_the_password_along_unless_there_is_one(tmp_path: Path) -> None:
    assert run("password", given=PASSWORD.encode()).returncode == 0
    before, backup = stored(), backed_up(tmp_path)
    Path(FILE).unlink()
    assert run("restore", str(backup), SECRET_KEYS=SECRET).returncode == 0
    assert (stored(), stat.S_IMODE(Path(FILE).stat().st_mode)) == (before, 0o600)
    assert run("password", given=b"another horse").returncode == 0
    assert run("restore", str(backup), SECRET_KEYS=SECRET).returncode == 0
    assert verify_password(stored(), "another horse")


def test_a_backup_is_made_though_the_password_cannot_be_read(tmp_path: Path) -> None:
    Path(FILE).write_text("nonsense")
    asyncio.run(place_database(Path("receiver.db")))
    done = run("backup", "b.db", SECRET_KEYS=SECRET)
    assert done.returncode == 0
    assert "the backup has no password of the pages" in done.stderr
