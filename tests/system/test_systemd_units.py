"""The units, judged by systemd's own tools, and its protocols, spoken in the test; no systemd need be running."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
from pathlib import Path

import click
import pytest

from bench.restart import SystemdUnit
from kit.commands import OUTPAINT, RECEIVER, environment
from kit.live_service import PATIENCE_S, until
from kit.systemd import HOME, analyze, unit
from receiver import sandbox
from receiver.cli import systemd
from receiver.cli.main import COMMANDS, cli
from receiver.core.errors import SettingsError
from receiver.sandbox import SandboxOptions

TEMPLATES = ("receiver-web@.service", "receiver-worker@.service")
SERVICES = ("receiver.service", "receiver-backup.service", "receiver-prune.service", *TEMPLATES)
UNITS = ("receiver.socket", *SERVICES, "receiver-backup.timer", "receiver-prune.timer")
EXPOSURE_MOST = 12  # tenths, as --threshold counts; 96 is a unit without a sandbox
PROGRAM = "/opt/receiver/.venv/bin/receiver"

installed = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not on this machine")


# The units


@installed
def test_the_units_have_nothing_to_complain_of_but_a_program_that_is_not_installed() -> None:
    """Complaints about this machine's other units are not ours."""
    told = analyze("verify", *(str(HOME / "systemd" / name) for name in UNITS))
    ours = {line for line in (told.stdout + told.stderr).splitlines() if "receiver" in line}
    named = [name.replace("@.", "@i.") for name in SERVICES]  # the instance that systemd tries a template with
    missing = {f"{name}: Command {PROGRAM} is not executable: No such file or directory" for name in named}
    assert ours <= missing
    assert ours or Path(PROGRAM).exists()  # else they were not read at all


@installed
@pytest.mark.parametrize("name", SERVICES)
def test_the_sandbox_stays_as_tight_as_it_is(name: str) -> None:
    told = analyze("security", "--offline=yes", f"--threshold={EXPOSURE_MOST}", str(HOME / "systemd" / name))
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_settings_with_secrets_reach_the_service_as_credentials(name: str) -> None:
    """Its user is made anew at each start: a file that it could read by itself would be everybody's to read."""
    assert "LoadCredential=receiver.toml:/etc/receiver/receiver.toml\n" in unit(name)
    assert re.search(r"^ExecStart=.* --config %d/receiver.toml( .*)?$", unit(name), re.MULTILINE)


@pytest.mark.parametrize("name", SERVICES)
def test_no_unit_leaves_a_core_file_with_the_keys(name: str) -> None:
    assert "\nLimitCORE=0\n" in unit(name)


@pytest.mark.parametrize("name", ["receiver.service", "receiver-prune.service", *TEMPLATES])
def test_who_removes_history_is_told_which_start_of_the_machine_this_is(name: str) -> None:
    """ProcSubset=pid hides the file that says so."""
    assert "\nEnvironment=BOOT_ID=%b\n" in unit(name)


def test_backup_prune_and_service_are_one_user_in_one_directory() -> None:
    """Else any could lock the other out of the database."""
    for line in ("DynamicUser=yes", "User=receiver", "StateDirectoryMode=0700"):
        assert all(f"{line}\n" in unit(name) for name in SERVICES)
    for name in SERVICES:
        more = " receiver/backups" if name == "receiver-backup.service" else ""  # `receiver backup` makes no folder
        assert f"\nStateDirectory=receiver{more}\n" in unit(name)


def test_what_prunes_lets_the_service_be_the_first_and_may_speak_to_nobody_else() -> None:
    """At a boot, a timer that is due would take the database from it."""
    words = unit("receiver-prune.service").splitlines()
    assert "After=receiver.service" in words
    assert {"IPAddressDeny=any", "IPAddressAllow=localhost"} <= set(words)


@pytest.mark.parametrize("name", [name for name in UNITS if name.endswith(".timer")])
def test_a_timer_starts_a_unit_that_is_there(name: str) -> None:
    """Of its own name, for it says no other; at a time that systemd understands."""
    assert (HOME / "systemd" / name.replace(".timer", ".service")).exists()
    assert "Unit=" not in unit(name)
    [when] = re.findall(r"^OnCalendar=(.*)$", unit(name), re.MULTILINE)
    if shutil.which("systemd-analyze"):
        assert analyze("calendar", when).returncode == 0


@pytest.mark.parametrize("name", ["receiver.service", *TEMPLATES])
def test_a_restart_waits_longer_than_its_start_limit_counts(name: str) -> None:
    """A disk that is full at the start may have room later: only what a restart cannot mend is given up."""
    words = dict(re.findall(r"^(\w+)=([0-9]+)$", unit(name), re.MULTILINE))
    assert int(words["StartLimitBurst"]) * int(words["RestartSec"]) > int(words["StartLimitIntervalSec"])
    assert "RestartPreventExitStatus=2 243\n" in unit(name)


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_of_many_processes_is_as_confined_as_the_one(name: str) -> None:
    """Line by line: what holds for the service of one process holds for a web and for a worker."""

    def confinement(text: str) -> list[str]:
        return text[text.index("CapabilityBoundingSet=") : text.index("[Install]")].splitlines()

    assert confinement(unit(name)) == confinement(unit("receiver.service"))
    role = name.removeprefix("receiver-").partition("@")[0]
    assert f" serve --role {role} --config %d/receiver.toml --port %i\n" in unit(name)


@pytest.mark.parametrize("name", SERVICES)
def test_the_units_call_commands_and_options_that_are_there(name: str) -> None:
    """As systemd reads the line: %% is a percent sign, %d and %S are directories, and %i is an instance: a port."""
    [line] = re.findall(r"^ExecStart=(.*)$", unit(name), re.MULTILINE)
    program, command, *options = line.replace("%%", "%").replace("%i", "8001").split()
    assert program == PROGRAM
    if command not in COMMANDS:
        pytest.skip(f"there is no `receiver {command}` yet")
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    found.make_context(command, options)  # which raises UsageError


# Sockets


def test_a_socket_is_ours_only_if_it_was_passed_to_this_process() -> None:
    mine = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    assert systemd.passed_socket(mine) == 3
    assert systemd.passed_socket({**mine, "LISTEN_PID": "1"}) is None
    assert systemd.passed_socket({}) is None
    assert systemd.passed_socket({**mine, "LISTEN_FDS": "0"}) is None
    with pytest.raises(SettingsError, match="systemd passes 2 sockets"):
        systemd.passed_socket({**mine, "LISTEN_FDS": "2"})


def test_the_journal_is_known_by_the_descriptor_that_systemd_names(tmp_path: Path) -> None:
    """A shell below the service has the same words in its environment, and its output elsewhere."""
    with (tmp_path / "journal").open("w") as journal, (tmp_path / "file").open("w") as file:
        state = os.fstat(journal.fileno())
        words = {"JOURNAL_STREAM": f"{state.st_dev}:{state.st_ino}"}
        assert systemd.is_journal(words, journal.fileno())
        assert not systemd.is_journal(words, file.fileno())
        assert not systemd.is_journal({}, journal.fileno())


@pytest.mark.anyio
@pytest.mark.parametrize("options", [(), ("--fd", "3")])
async def test_the_socket_that_systemd_passes_is_served_and_it_hears_all(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """That it is ready, that it lives, that it stops; with --fd and without."""
    settings = {"RECEIVER_DATABASE_URL": f"sqlite:///{tmp_path}/receiver.db", "WATCHDOG_USEC": "300000"}
    service = SystemdUnit(tmp_path, settings, *options)
    await service.start()  # which waits for READY=1
    await service.wait_for_line("WATCHDOG=1")
    await service.wait_for_line("WATCHDOG=1")
    stopping = asyncio.create_task(service.stop())
    await service.wait_for_line("STOPPING=1")
    assert await stopping == 0
    await service.close()


@pytest.mark.anyio
async def test_a_stop_asks_for_the_time_that_submissions_need(tmp_path: Path) -> None:
    """systemd would kill it after TimeoutStopSec; the grace of a submission is longer."""
    async with sandbox.open_sandbox(SandboxOptions(slow=1.0)) as provider:
        settings = {
            "RECEIVER_DATABASE_URL": f"sqlite:///{tmp_path}/receiver.db",
            "RECEIVER_PROVIDER_URL": f"{provider.url}/model/v1/generation",
            "RECEIVER_PROVIDER_KEY": "any-key-will-do",
        }
        service = SystemdUnit(tmp_path, settings)
        await service.start()
        api = environment(SERVER=f"http://127.0.0.1:{service.port}", DATABASE_URL=f"sqlite:///{tmp_path}/receiver.db")

        async def said(*command: str) -> bytes:
            asked = await asyncio.create_subprocess_exec(
                *RECEIVER, *command, env=api, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
            )
            return (await asked.communicate())[0]

        async def submitting() -> bool:
            return b"submitting" in await said("tasks", "list", "--state", "submitting", "--json")

        await said(*OUTPAINT)
        await until(submitting)
        stopping = asyncio.create_task(service.stop())
        told = await service.wait_for_line("EXTEND_TIMEOUT_USEC=55000000")
        assert "STATUS=stopping: 1 submission is under way" in told
        again = asyncio.create_task(service.stop())  # a second signal ends it at once
        assert await stopping == await again == -signal.SIGTERM
        await service.close()


# What systemd is told


@pytest.fixture
def notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "socket.socket":
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(tmp_path / "notify"))
    heard.settimeout(5)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return heard


def test_several_words_are_one_message(notified: socket.socket) -> None:
    systemd.sd_notify("READY=1", "STATUS=here")
    assert notified.recv(100) == b"READY=1\nSTATUS=here"
    notified.close()


def test_an_abstract_socket_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"receiver-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        systemd.sd_notify("READY=1")
        assert heard.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_nobody_need_be_there_to_be_told(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing is said about it: it is so at every start without systemd."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.sd_notify("READY=1")
    assert caplog.records == []


def test_the_watchdog_is_kept_only_where_systemd_wants_it_of_this_process() -> None:
    assert systemd.watchdog_s({"WATCHDOG_USEC": "60000000"}) == 60
    assert systemd.watchdog_s({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}) == 60
    assert systemd.watchdog_s({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}) is None
    assert systemd.watchdog_s({}) is None
    assert systemd.watchdog_s({"WATCHDOG_USEC": "0"}) is None


class Probed:
    """A store whose probe answers as told, or not at all."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = asyncio.Event()

    async def probe(self) -> str | None:
        if not self.answers.is_set():
            self.asked.set()
        await self.answers.wait()
        return self.fault


@pytest.mark.anyio
async def test_a_store_that_does_not_answer_is_not_vouched_for_and_one_with_a_full_disk_is(
    notified: socket.socket,
) -> None:
    """A restart may mend the first, and not the second: that is told as the status."""
    store = Probed()
    notified.setblocking(False)
    loop = asyncio.get_running_loop()
    watching = asyncio.create_task(systemd.feed_watchdog(store, 0.03))  # type: ignore[arg-type]  # as much as is used
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert await loop.sock_recv(notified, 100) == b"WATCHDOG=1"
            store.fault = "the disk is full"
            while (heard := await loop.sock_recv(notified, 100)) == b"WATCHDOG=1":
                pass
            assert heard == b"STATUS=callbacks are refused: the disk is full"
            assert await loop.sock_recv(notified, 100) == b"WATCHDOG=1"
        store.asked.clear()
        store.answers.clear()
        await asyncio.wait_for(store.asked.wait(), PATIENCE_S)  # and what was under way before is over
        with contextlib.suppress(BlockingIOError):
            while notified.recv(100):
                pass
        await asyncio.sleep(0.2)  # several beats; were it less, the test would still hold
        with pytest.raises(BlockingIOError):
            notified.recv(100)
        store.fault = None
        store.answers.set()
        async with asyncio.timeout(PATIENCE_S):
            assert await loop.sock_recv(notified, 100) == b"WATCHDOG=1"
    finally:
        watching.cancel()
        notified.close()
