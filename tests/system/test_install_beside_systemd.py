"""`receiver install` beside a systemd: what it starts and restarts, also where it was interrupted or is not alone."""

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from kit.install_machine import KEY, TARGET, UNITS, URL, Machine, snapshot
from receiver.cli.install import steps as placing
from receiver.cli.install import unit_age
from receiver.cli.install.steps import RemoveFile, RunCommand, WriteFile

HOME = Path(__file__).parents[2]
SINCE = unit_age.running_since  # before a machine of ours answers in its place


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
    machine.runs()
    machine.calls()
    assert machine.install().exit_code == 0
    assert machine.calls() == [
        "systemctl enable --now receiver.socket receiver.service receiver-backup.timer",
        f"receiver doctor --config {machine.root}/etc/receiver/receiver.toml",
    ]


def test_a_change_restarts_the_service_and_not_its_socket(machine: Machine) -> None:
    """Callers wait in the socket's queue meanwhile."""
    machine.install("--public-url", URL)
    machine.runs()
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
        "systemctl disable --now receiver.socket receiver.service receiver-backup.timer receiver-prune.timer",
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


# What is older than what is there


@pytest.mark.parametrize(
    "file",
    [
        "machine/etc/receiver/receiver.toml",
        "machine/etc/receiver/secret_keys",
        "machine/etc/systemd/system/receiver.service.d/mine.conf",
        "home/receiver/ingest.py",
        "home/.venv/lib/python3.11/site-packages/httpx",
    ],
)
def test_a_service_older_than_what_it_reads_is_restarted(machine: Machine, file: str) -> None:
    """An upgrade, or a file that a person put there: what was installed before is not what runs, unless it is told."""
    machine.install("--public-url", URL)
    path = machine.root.parent / file
    path.parent.mkdir(exist_ok=True, parents=True)
    machine.runs()
    machine.calls()
    assert machine.install().exit_code == 0
    assert not [call for call in machine.calls() if "restart" in call]
    path.write_text(path.read_text() if path.exists() else "a-secret-of-some-length\n" if "secret" in file else "")
    done = machine.install()
    assert done.exit_code == 0, done.output
    calls = machine.calls()
    assert calls.index("systemctl daemon-reload") < calls.index("systemctl restart receiver.service")
    assert "systemctl restart receiver.socket" not in calls
    assert " is newer than what runs)" in done.output


def test_a_socket_is_restarted_only_for_an_address_of_its_own(machine: Machine) -> None:
    machine.install("--public-url", URL)
    machine.runs()
    override = machine.root / "etc/systemd/system/receiver.socket.d/override.conf"
    override.parent.mkdir()
    override.write_text("[Socket]\nListenStream=\nListenStream=127.0.0.1:9000\n")
    machine.calls()
    machine.install()
    calls = machine.calls()
    assert calls.index("systemctl daemon-reload") < calls.index("systemctl restart receiver.socket")


def test_the_timer_that_prunes_is_there_and_left_to_a_person(machine: Machine) -> None:
    """The running service prunes every hour: it would be double work."""
    machine.install("--public-url", URL)
    assert (machine.root / "etc/systemd/system/receiver-prune.timer").exists()
    assert not [call for call in machine.calls() if "receiver-prune" in call]


@pytest.mark.parametrize("how", ["masked", "disabled"])
def test_backups_that_a_person_does_not_want_are_not_wanted_the_next_time(machine: Machine, how: str) -> None:
    """Nor by an upgrade."""
    machine.install("--public-url", URL)
    system = machine.root / "etc/systemd/system"
    for link in ("multi-user.target.wants/receiver.service", "timers.target.wants/receiver-backup.timer"):
        (system / link).parent.mkdir()
        (system / link).symlink_to(system / Path(link).name)
    machine.calls()
    machine.install()
    assert "systemctl enable --now receiver.socket receiver.service receiver-backup.timer" in machine.calls()
    (system / "timers.target.wants/receiver-backup.timer").unlink()
    if how == "masked":
        (system / "receiver-backup.timer").unlink()
        (system / "receiver-backup.timer").symlink_to("/dev/null")
    machine.install()
    calls = machine.calls()
    assert "systemctl enable --now receiver.socket receiver.service" in calls
    assert not [call for call in calls if "receiver-backup" in call]


@pytest.mark.parametrize(
    ("told", "ago"),
    [
        ("ActiveState=active\n{name}={now}\n", 0.0),
        ("ActiveState=reloading\n{name}={now}\n", 0.0),
        ("ActiveState=activating\n{name}={now}\n", None),
        ("ActiveState=inactive\n{name}=0\n", None),
        ("ActiveState=active\n{name}=0\n", None),
        ("ActiveState=active\n{name}=n/a\n", None),
        ("", None),
    ],
)
@pytest.mark.parametrize(
    ("unit", "name"),
    [("receiver.service", "ExecMainStartTimestampMonotonic"), ("receiver.socket", "ActiveEnterTimestampMonotonic")],
)
def test_systemd_is_asked_since_when_a_unit_runs(
    machine: Machine, unit: str, name: str, told: str, ago: float | None
) -> None:
    """As `systemctl show` answers."""
    systemctl, answer = machine.root.parent / "bin/systemctl", machine.root.parent / "answer"
    systemctl.write_text(f'#!/bin/sh\n[ "$*" = "show --property=ActiveState,{name} {unit}" ] && cat {answer}\n')
    earliest = time.time()
    answer.write_text(told.format(name=name, now=time.monotonic_ns() // 1000))
    found = SINCE(unit)
    if ago is None:
        assert found is None
    else:
        assert found is not None
        assert earliest - 1 < found < time.time() + 1  # the two clocks are read one after the other


def test_nobody_knows_since_when_where_there_is_no_systemctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert SINCE("receiver.service") is None


# Interrupted, or in vain


class Interrupted:
    """Ends the run with Ctrl-C before its `at`th step, or lets all be done; counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at, self.steps = -1, 0
        for kind in (WriteFile, RemoveFile, RunCommand):
            monkeypatch.setattr(kind, "apply", self._around(kind.apply))

    def _around(self, done: Any) -> Any:
        def step(it: object) -> None:
            if self.steps == self.at:
                raise KeyboardInterrupt
            self.steps += 1
            done(it)

        return step


def test_wherever_a_first_run_is_interrupted_the_next_one_ends_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files as they would be, and started after the last of them."""
    files = machine.root.parent
    args = ("--public-url", URL, "--provider-key-file", str(files / "key"), "--target-file", str(files / "target"))
    interrupted = Interrupted(monkeypatch)
    assert machine.install(*args).exit_code == 0
    wanted = {name: (mode, content) for name, (mode, _, content) in snapshot(machine.root).items()}
    last, steps = machine.calls(), interrupted.steps
    for at in range(steps):
        uninstall_all(machine)
        interrupted.at, interrupted.steps = at, 0
        assert machine.install(*args).exit_code == 130
        interrupted.at = -1
        machine.calls()
        assert machine.install(*args).exit_code == 0
        assert {name: (mode, content) for name, (mode, _, content) in snapshot(machine.root).items()} == wanted
        calls = machine.calls()
        assert [calls[0], *calls[-2:]] == last


def uninstall_all(machine: Machine) -> None:
    """As if it had never been."""
    for name in snapshot(machine.root):
        (machine.root / name).unlink()


def test_wherever_a_change_is_interrupted_the_next_run_has_the_service_know_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would go on with the old key, and all would look well."""
    interrupted = Interrupted(monkeypatch)
    machine.install("--public-url", URL)
    key = machine.root.parent / "key"
    for at in range(20):
        key.write_text(f"{KEY}-{at}")
        machine.runs()
        interrupted.at, interrupted.steps = at, 0
        machine.calls()
        done = machine.install("--provider-key-file", str(key))
        if done.exit_code == 0:
            assert at > 3
            return
        if "systemctl restart receiver.service" in machine.calls():
            machine.runs()
        else:
            interrupted.at = -1
            assert machine.install("--provider-key-file", str(key)).exit_code == 0
            assert "systemctl restart receiver.service" in machine.calls()
    pytest.fail("it never came to its end")


def test_wherever_a_removal_is_interrupted_the_next_one_ends_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemctl refuses to disable what is no longer there: it is asked for the rest."""
    systemctl, system = machine.root.parent / "bin/systemctl", machine.root / "etc/systemd/system"
    systemctl.write_text(
        '#!/bin/sh\n[ "$1" = disable ] || exit 0\nshift 2\n'
        f'for unit; do [ -e {system}/$unit ] || {{ echo "Unit file $unit does not exist." >&2; exit 1; }}; done\n'
    )
    interrupted = Interrupted(monkeypatch)
    for at in range(20):
        machine.install("--public-url", URL, "--provider-key-file", str(machine.root.parent / "key"))
        interrupted.at, interrupted.steps = at, 0
        done = machine.install("--uninstall")
        interrupted.at = -1
        assert machine.install("--uninstall").exit_code == 0
        assert not list(system.iterdir())
        if done.exit_code == 0:
            assert at > len(UNITS)
            return
    pytest.fail("it never came to its end")


def test_wrong_settings_leave_the_running_service_alone(machine: Machine) -> None:
    """It would not start again with them."""
    machine.install("--public-url", URL)
    toml = machine.root / "etc/receiver/receiver.toml"
    right = toml.read_text()
    machine.runs()
    for wrong, told in (
        ("sweep_frist = 60\n", "did you mean sweep_first?"),
        ("[targets.me]\nurl = 'json://127.0.0.1/'\ntemplate = 'absent.j2'\n", "absent.j2: No such file"),
        ("[targets.me]\nurl = 'json://127.0.0.1/'\ntemplate = 'mail/team.j2'\n", "is not in the folder of"),
    ):
        (toml.parent / "mail").mkdir(exist_ok=True)
        (toml.parent / "mail/team.j2").write_text("a title\n")
        toml.write_text(right + wrong)
        machine.calls()
        done = machine.install()
        assert (done.exit_code, told in done.output) == (2, True), done.output
        assert machine.calls() == []


def test_a_full_disk_is_one_line_that_does_not_ask_for_root(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing half written is left; when there is room again, it goes on."""
    full = True

    def fsync(_: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(placing.os, "fsync", fsync)  # type: ignore[attr-defined]  # it imports os
    done = machine.install("--public-url", URL)
    assert done.exit_code == 1
    told = f"cannot change {machine.root}/etc/receiver/receiver.toml: No space left on device; free some space"
    assert f"receiver: {told}" in done.output
    assert (snapshot(machine.root), machine.calls()) == ({}, [])
    full = False
    assert machine.install("--public-url", URL).exit_code == 0


def test_a_start_may_take_as_long_as_the_unit_lets_it() -> None:
    """A large database is brought to a newer schema first."""
    words = (HOME / "systemd/receiver.service").read_text().split()
    [start] = [int(it.partition("=")[2]) for it in words if it.startswith("TimeoutStartSec=")]
    [stop] = [int(it.partition("=")[2]) for it in words if it.startswith("TimeoutStopSec=")]
    assert start + stop < placing.COMMAND_MOST_S
