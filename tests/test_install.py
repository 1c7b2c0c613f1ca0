"""`receiver install`: what it writes, what it asks, what it never shows; under a directory, or with a systemctl of
ours."""

import os
import pty
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cli_rig import RECEIVER, ROOT, environment
from click.testing import CliRunner, Result

from receiver.cli import cli, install
from receiver.config import load

KEY = "a-provider-key-that-nobody-sees"
TARGET = "slack://TokenA/TokenB/a-target-that-nobody-sees"
URL = "https://receiver.example.org"
UNITS = ("receiver.socket", "receiver.service", "receiver-backup.service", "receiver-backup.timer")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "target").write_text(TARGET)
    return tmp_path / "root"


def run(*args: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    """`receiver install` without a terminal."""
    return subprocess.run(
        [*RECEIVER, "install", *args],
        capture_output=True,
        text=True,
        input=stdin or "",
        env=environment(),
        timeout=30,
    )


def given(root: Path, *more: str) -> tuple[str, ...]:
    """All that is asked for."""
    files = ("--provider-key-file", str(root.parent / "key"), "--target-file", str(root.parent / "target"))
    return ("--root", str(root), "--public-url", URL, *files, *more)


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Each file below: mode, when it was written, contents."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            state = path.stat()
            found[str(path.relative_to(root))] = (stat.S_IMODE(state.st_mode), state.st_mtime_ns, path.read_bytes())
    return found


def test_all_is_in_place_with_the_right_modes_and_no_secret_is_shown(root: Path) -> None:
    done = run(*given(root))
    assert done.returncode == 0, done.stderr
    files = snapshot(root)
    modes = {name: mode for name, (mode, _, _) in files.items()}
    assert modes == {
        "etc/receiver/receiver.toml": 0o600,
        "etc/receiver/provider_key": 0o600,
        "etc/receiver/notify_urls": 0o600,
        **{f"etc/systemd/system/{unit}": 0o644 for unit in UNITS},
        "etc/systemd/system/receiver.service.d/10-credentials.conf": 0o644,
    }
    assert files["etc/receiver/provider_key"][2].decode() == f"{KEY}\n"
    assert files["etc/receiver/notify_urls"][2].decode() == f"{TARGET}\n"
    assert "nobody-sees" not in done.stdout + done.stderr
    drop_in = files["etc/systemd/system/receiver.service.d/10-credentials.conf"][2].decode()
    assert "LoadCredential=provider_key:/etc/receiver/provider_key\n" in drop_in
    assert "LoadCredential=notify_urls:/etc/receiver/notify_urls\n" in drop_in


def test_what_is_installed_is_what_the_service_starts_with(root: Path) -> None:
    """The settings as the unit would find them: a credentials directory and a state directory."""
    run(*given(root))
    etc = root / "etc/receiver"
    settings = load({"CREDENTIALS_DIRECTORY": str(etc), "STATE_DIRECTORY": "/var/lib/receiver"}, etc / "receiver.toml")
    assert (settings.public_url, settings.provider_key) == (URL, KEY)
    assert [target.url for target in settings.targets] == [TARGET]
    assert settings.sqlite == Path("/var/lib/receiver/receiver.db")


def test_a_second_time_nothing_is_asked_and_nothing_is_written(root: Path) -> None:
    run(*given(root))
    before = snapshot(root)
    done = run("--root", str(root))
    assert (done.returncode, done.stdout, done.stderr) == (0, "all is in place already\n", "")
    assert snapshot(root) == before


def test_what_is_given_anew_is_changed_and_all_else_kept(root: Path) -> None:
    run(*given(root))
    toml = root / "etc/receiver/receiver.toml"
    toml.write_text(toml.read_text() + "\n[targets.me]\nurl = 'json://127.0.0.1/'\n")
    before = snapshot(root)
    done = run("--root", str(root), "--public-url", "https://new.example.org")
    after = snapshot(root)
    assert done.returncode == 0, done.stderr
    assert {name for name in after if after[name] != before.get(name)} == {"etc/receiver/receiver.toml"}
    assert tomllib.loads(toml.read_text()) == {
        "public_url": "https://new.example.org",
        "targets": {"me": {"url": "json://127.0.0.1/"}},
    }


def test_a_settings_file_without_the_url_gets_it_before_its_tables(root: Path) -> None:
    (root / "etc/receiver").mkdir(parents=True)
    toml = root / "etc/receiver/receiver.toml"
    toml.write_text("sweep_first = 60\n[targets.me]\nurl = 'json://127.0.0.1/'\n")
    done = run("--root", str(root), "--public-url", URL)
    assert done.returncode == 0, done.stderr
    assert tomllib.loads(toml.read_text()) == {
        "public_url": URL,
        "sweep_first": 60,
        "targets": {"me": {"url": "json://127.0.0.1/"}},
    }
    assert "there is no provider_key yet" in done.stderr  # and a target there is


def test_a_secret_that_others_may_read_is_closed(root: Path) -> None:
    run(*given(root))
    key = root / "etc/receiver/provider_key"
    key.chmod(0o644)
    run("--root", str(root))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_template_beside_the_settings_is_loaded_too(root: Path) -> None:
    run(*given(root))
    etc = root / "etc/receiver"
    (etc / "team.j2").write_text("a title\n")
    with (etc / "receiver.toml").open("a") as file:
        file.write("\n[targets.me]\nurl = 'json://127.0.0.1/'\ntemplate = 'team.j2'\n")
    run("--root", str(root))
    for service in ("receiver.service", "receiver-backup.service"):
        drop_in = root / f"etc/systemd/system/{service}.d/10-credentials.conf"
        assert "LoadCredential=team.j2:/etc/receiver/team.j2\n" in drop_in.read_text()


def test_the_units_name_the_place_of_the_program(root: Path) -> None:
    run(*given(root, "--prefix", "/srv/receiver"))
    units = [(root / "etc/systemd/system" / name).read_text() for name in UNITS]
    assert any("ExecStart=/srv/receiver/.venv/bin/receiver serve " in unit for unit in units)
    assert not any("/opt/receiver" in unit for unit in units)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not on this machine")
def test_what_is_installed_is_verified_with_its_drop_in(root: Path) -> None:
    run(*given(root, "--prefix", str(ROOT)))
    told = subprocess.run(
        ["systemd-analyze", "verify", *(str(root / "etc/systemd/system" / name) for name in UNITS)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    ours = [line for line in (told.stdout + told.stderr).splitlines() if "receiver" in line]
    assert [line for line in ours if "is not executable" not in line] == []


# Secrets


def test_a_secret_may_come_on_standard_input(root: Path) -> None:
    done = run("--root", str(root), "--public-url", URL, "--provider-key-file", "-", stdin=f"{KEY}\n")
    assert done.returncode == 0, done.stderr
    assert (root / "etc/receiver/provider_key").read_text() == f"{KEY}\n"


def test_a_person_is_asked_and_what_is_secret_is_not_echoed(root: Path) -> None:
    """On a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(root.parent)
        os.execve(sys.executable, [*RECEIVER, "install", "--root", str(root)], environment())  # noqa: S606
    seen = b""
    answers = [(b"public URL", URL), (b"provider's key", KEY), (b"Apprise URL", TARGET)]
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # how a terminal says that nobody has it open any more
            break
        seen += chunk
        if answers and re.search(re.escape(answers[0][0]) + rb"[^\n]*: $", seen):
            os.write(terminal, answers.pop(0)[1].encode() + b"\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert (os.waitstatus_to_exitcode(status), answers) == (0, []), seen.decode()
    assert b"nobody-sees" not in seen
    assert (root / "etc/receiver/provider_key").read_text() == f"{KEY}\n"
    assert (root / "etc/receiver/notify_urls").read_text() == f"{TARGET}\n"


@pytest.mark.parametrize(
    ("args", "status", "told"),
    [
        ((), 2, "--public-url has to say"),
        (("--public-url", "receiver.example.org"), 1, "the public URL: "),
        (("--public-url", URL, "--provider-key-file", "absent"), 1, "cannot read the file of provider_key: No such"),
        (("--public-url", URL, "--target-file", "wrong"), 1, "An Apprise URL to notify: "),
        (("--public-url", URL, "--target-file", "-", "--provider-key-file", "-"), 2, "stdin can hold one of"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], status: int, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong").write_text("nonsense-that-nobody-sees")
    done = run("--root", str(tmp_path / "root"), *args)
    assert done.returncode == status
    assert told in done.stderr.splitlines()[-1]  # a missing key may have been told before
    assert "nobody-sees" not in done.stderr
    assert not (tmp_path / "root").exists()


# A dry run, and a real one


def test_a_dry_run_says_all_and_does_nothing(root: Path) -> None:
    done = run(*given(root, "--dry-run"))
    assert done.returncode == 0
    assert not root.exists()
    for name in UNITS:
        assert f"write   {root}/etc/systemd/system/{name} (mode 0644, new): as in " in done.stdout
    assert f"write   {root}/etc/receiver/provider_key (mode 0600, new): a secret, not shown\n" in done.stdout
    assert f'receiver.toml (mode 0600, new): public_url = "{URL}"' in done.stdout
    assert "nobody-sees" not in done.stdout + done.stderr


def test_a_dry_run_asks_nothing_and_needs_no_systemd() -> None:
    """On this machine as it is, which may have none."""
    done = run("--dry-run")
    assert done.returncode == 0, done.stderr
    told = (
        "ask     for the public URL",
        "run     systemctl daemon-reload",
        "run     systemctl enable --now ",
        "doctor",
    )
    assert all(words in done.stdout for words in told)


class Machine:
    """A root directory with a program and a systemctl that note how they were called."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = place / "machine"
        self._calls = place / "calls"
        home = place / "home"
        (home / ".venv/bin").mkdir(parents=True)
        (place / "bin").mkdir()
        for program in (home / ".venv/bin/receiver", place / "bin/systemctl"):
            program.write_text(f'#!/bin/sh\necho "$(basename $0) $*" >> {self._calls}\nenv > {place}/env\n')
            program.chmod(0o755)
        self.env = place / "env"
        self._home = home
        monkeypatch.setenv("PATH", f"{place / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setattr(install, "ROOT", self.root)
        monkeypatch.setattr(install, "_hindrances", lambda home, *, uninstall: [])

    def install(self, *args: str) -> Result:
        return CliRunner().invoke(cli, ["install", "--prefix", str(self._home), *args])

    def calls(self) -> list[str]:
        """Those since the last look."""
        found = self._calls.read_text().splitlines() if self._calls.exists() else []
        self._calls.unlink(missing_ok=True)
        return found


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "target").write_text(TARGET)
    return Machine(tmp_path, monkeypatch)


def test_it_is_enabled_started_and_examined(machine: Machine) -> None:
    """The doctor is told by which files the secrets are, and where the state is."""
    files = machine.root.parent
    done = machine.install(
        "--public-url", URL, "--provider-key-file", str(files / "key"), "--target-file", str(files / "target")
    )
    assert done.exit_code == 0, done.output
    assert machine.calls() == [
        "systemctl daemon-reload",
        "systemctl enable --now receiver.socket receiver.service receiver-backup.timer",
        f"receiver doctor --config {machine.root}/etc/receiver/receiver.toml",
    ]
    env = machine.env.read_text()
    assert f"RECEIVER_PROVIDER_KEY_FILE={machine.root}/etc/receiver/provider_key\n" in env
    assert "STATE_DIRECTORY=/var/lib/receiver\n" in env
    assert "nobody-sees" not in env


def test_a_second_time_the_running_service_is_left_alone(machine: Machine) -> None:
    machine.install("--public-url", URL)
    machine.calls()
    assert machine.install().exit_code == 0
    assert machine.calls() == [
        "systemctl enable --now receiver.socket receiver.service receiver-backup.timer",
        f"receiver doctor --config {machine.root}/etc/receiver/receiver.toml",
    ]


def test_a_change_restarts_the_service_and_not_its_socket(machine: Machine) -> None:
    """Callers wait in the socket's queue meanwhile."""
    machine.install("--public-url", URL)
    machine.calls()
    machine.install("--provider-key-file", str(machine.root.parent / "key"))
    calls = machine.calls()
    assert calls[0] == "systemctl daemon-reload"
    assert "systemctl restart receiver.service" in calls
    assert "systemctl restart receiver.socket" not in calls


def test_a_doctor_who_finds_something_is_status_1(machine: Machine) -> None:
    program = machine.root.parent / "home/.venv/bin/receiver"
    program.write_text("#!/bin/sh\nexit 1\n")
    done = machine.install("--public-url", URL)
    assert done.exit_code == 1
    assert "it is installed and was started" in done.output


def test_uninstalling_keeps_settings_and_data_and_says_where_they_are(machine: Machine) -> None:
    machine.install("--public-url", URL, "--provider-key-file", str(machine.root.parent / "key"))
    data = machine.root / "var/lib/receiver/receiver.db"
    data.parent.mkdir(parents=True)
    data.touch()
    machine.calls()
    done = machine.install("--uninstall")
    assert done.exit_code == 0, done.output
    assert machine.calls() == [
        "systemctl disable --now receiver.socket receiver.service receiver-backup.timer",
        "systemctl daemon-reload",
    ]
    assert set(snapshot(machine.root)) == {
        "etc/receiver/receiver.toml",
        "etc/receiver/provider_key",
        "var/lib/receiver/receiver.db",
    }
    assert not list((machine.root / "etc/systemd/system").iterdir())
    assert f"{machine.root}/var/lib/receiver" in done.output
    machine.install("--uninstall")
    assert machine.calls() == []


def test_a_command_that_fails_is_one_line(machine: Machine) -> None:
    systemctl = machine.root.parent / "bin/systemctl"
    systemctl.write_text("#!/bin/sh\necho 'Job for receiver.service failed.' >&2\nexit 1\n")
    done = machine.install("--public-url", URL)
    assert done.exit_code == 1
    assert "receiver: systemctl daemon-reload ended with status 1: Job for receiver.service failed.; " in done.output


def test_a_program_that_the_sandbox_hides_is_refused(tmp_path: Path) -> None:
    """It would fail with status 203 at every start, and nobody would guess why."""
    program = tmp_path / ".venv/bin/receiver"  # below /tmp, of which the unit has its own
    program.parent.mkdir(parents=True)
    program.touch()
    program.chmod(0o755)
    (program.parent / "python").symlink_to("/usr/bin/env")
    told = list(install._hindrances(tmp_path, uninstall=False))
    if tmp_path.is_relative_to("/tmp"):
        assert any("where the service's sandbox hides it; put the checkout into /opt/receiver" in it for it in told)
    assert any("there is no " in it for it in install._hindrances(tmp_path / "absent", uninstall=False))
