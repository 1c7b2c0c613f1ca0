"""Where `receiver install` is refused, and what the units say of the program: a checkout's, or a package's."""

import os
import subprocess
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from kit.commands import RECEIVER, environment
from kit.install_machine import UNITS, given, snapshot
from receiver.cli.install import blockers, command, program
from receiver.cli.install.program import InstalledProgram
from receiver.cli.main import cli

HOME = Path(__file__).parents[2]

# Where it is refused


def test_a_folder_of_settings_that_others_may_change_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "receiver"
    assert list(blockers.check_settings_folder(folder)) == []
    folder.mkdir(mode=0o755)
    assert list(blockers.check_settings_folder(folder)) == []
    folder.chmod(0o775)
    wanted = [f"users other than root may change {folder}; chown root: {folder} && chmod go-w {folder}"]
    assert list(blockers.check_settings_folder(folder)) == wanted
    (tmp_path / "link").symlink_to(folder)
    assert list(blockers.check_settings_folder(tmp_path / "link")) == wanted
    if os.geteuid() == 0:
        folder.chmod(0o755)
        os.chown(folder, 65_534, 65_534)
        assert list(blockers.check_settings_folder(folder)) == wanted


@pytest.mark.parametrize("made", ["touch", "symlink_to"])
def test_something_else_in_its_place_is_refused(tmp_path: Path, made: str) -> None:
    """A file, a link to nowhere."""
    folder = tmp_path / "receiver"
    getattr(folder, made)(*(["nowhere"] if made == "symlink_to" else []))
    assert list(blockers.check_settings_folder(folder)) == [f"{folder} is not a directory; move it away"]


def test_a_state_directory_that_systemd_cannot_use_is_refused(tmp_path: Path) -> None:
    """The service would end with status 238 at every start."""
    state, kept = tmp_path / "receiver", tmp_path / "private/receiver"
    assert list(blockers.check_state_dir(state)) == []
    state.mkdir()
    assert list(blockers.check_state_dir(state)) == []  # systemd moves it
    kept.mkdir(parents=True)
    assert list(blockers.check_state_dir(state)) == [f"{state} is in the way of systemd's link to {kept}: move it away"]
    state.rmdir()
    for good in (kept, "private/receiver"):
        state.symlink_to(good)
        assert list(blockers.check_state_dir(state)) == []
        state.unlink()
    state.symlink_to("/srv/large")
    [told] = blockers.check_state_dir(state)
    assert told == f"{state} is a link to /srv/large: move its target to {kept}, and remove the link"
    [told] = blockers.check_state_dir(Path("/proc"))
    assert told == "/proc is a mount point: mount that at /private/proc, and remove /proc"


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One that a service may run, were it not below a folder which the sandbox hides."""
    monkeypatch.setattr(program, "_HIDDEN", ("/hidden",))
    with tempfile.TemporaryDirectory() as place:  # pytest's own are closed to others
        Path(place).chmod(0o755)
        home = Path(place).resolve() / "receiver"
        if not all(it.stat().st_mode & 0o001 for it in home.parents):
            pytest.skip("others cannot reach the folder for temporary files")
        for folder in (home / ".venv/bin", home / "receiver"):
            folder.mkdir(parents=True)
        (home / "receiver/__init__.py").touch(mode=0o644)
        (home / ".venv/bin/receiver").touch(mode=0o755)
        (home / ".venv/bin/python").symlink_to("/bin/sh")
        for path in (home, *home.rglob("*")):
            path.chmod(path.stat().st_mode | 0o055) if path.is_dir() else None
        yield home


def test_a_checkout_that_a_service_can_run_is_taken(checkout: Path) -> None:
    assert list(program.find_program(checkout).find_blockers()) == []


def test_a_program_that_the_sandbox_hides_is_refused(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would fail with status 203 at every start, and nobody would guess why; by another name it is hidden too."""
    monkeypatch.setattr(program, "_HIDDEN", (str(checkout),))
    (checkout.parent / "opt").symlink_to(checkout)
    for home in (checkout, checkout.parent / "opt"):
        [told] = program.find_program(home).find_blockers()
        assert "move the checkout to /opt/receiver" in told


@pytest.mark.parametrize("closed", [".", "receiver", "receiver/__init__.py", ".venv", ".venv/bin/receiver"])
def test_a_program_that_others_cannot_reach_is_refused(checkout: Path, closed: str) -> None:
    """As a clone with umask 077 is."""
    (checkout / closed).chmod(0o700)
    [told] = program.find_program(checkout).find_blockers()
    assert told.endswith(f"the service does not run as root; chmod -R go+rX {checkout}")


def test_a_checkout_that_was_not_made_ready_is_refused(checkout: Path) -> None:
    (checkout / ".venv/bin/python").unlink()
    (checkout / ".venv/bin/python").symlink_to("python3.10-that-was")
    [told] = program.find_program(checkout).find_blockers()
    assert told.startswith(
        f"{checkout}/.venv/bin/receiver needs {checkout}/.venv/bin/python3.10-that-was, which does not exist"
    )
    (checkout / ".venv/bin/receiver").unlink()
    [told] = program.find_program(checkout).find_blockers()
    assert f"run `make install` in {checkout}" in told


def test_a_program_that_the_sandbox_hides_is_told_where_only_files_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be for another machine, which has it in the same place."""
    monkeypatch.setattr(program, "_HIDDEN", ("/hidden",))
    for prefix, told in (("/hidden/receiver", True), ("/srv/receiver", False)):
        place = str(tmp_path / prefix.replace("/", "-"))
        done = CliRunner().invoke(
            cli, ["install", "--prefix", prefix, "--root", place, "--public-url", "https://r.example.org"]
        )
        assert done.exit_code == 0
        assert (
            "it will not start: the service's sandbox hides /hidden/receiver/.venv/bin/receiver; " in done.output
        ) is told


def test_a_dry_run_that_would_be_refused_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is said nevertheless."""
    for reasons in (["only root may"], []):
        monkeypatch.setattr(command, "find_blockers", lambda *_, uninstall, told=reasons: told)
        done = CliRunner().invoke(cli, ["install", "--dry-run"])
        assert done.exit_code == len(reasons)
        assert "systemctl enable --now" in done.output


def test_what_a_comment_says_of_the_place_stays_true() -> None:
    """It tells where the program is by default."""
    unit = "# unless it is in /opt/receiver\nExecStart=/opt/receiver/.venv/bin/receiver serve\n"
    named = InstalledProgram(Path("/srv/r/.venv/bin/receiver"), Path("/srv/r")).rewrite_unit(unit)
    assert named == "# unless it is in /opt/receiver\nExecStart=/srv/r/.venv/bin/receiver serve\n"


# A package


def test_a_package_brings_the_units_along_and_they_name_its_program(tmp_path: Path) -> None:
    """The wheel has a copy of each, under the name by which it is looked for."""
    table = tomllib.loads((HOME / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert table["force-include"] == {f"systemd/{name}": f"receiver/units/{name}" for name in UNITS}
    called = InstalledProgram(tmp_path / "bin/receiver", None)
    for name in UNITS:
        text = called.rewrite_unit((HOME / "systemd" / name).read_text())
        assert "/opt/receiver" not in "".join(it for it in text.splitlines() if not it.startswith("#"))
        assert "Documentation=" not in text
        assert ("ExecStart=" in text) == (f"ExecStart={tmp_path}/bin/receiver " in text)


def test_without_a_checkout_the_program_is_the_one_of_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "lib/python3.11/site-packages/receiver"
    (package / "units").mkdir(parents=True)
    (package / "units/receiver.service").touch()
    (package.parent / "systemd").mkdir()  # another package, of that name
    monkeypatch.setattr(program, "PACKAGE", package)
    assert program.find_program(None) == InstalledProgram(Path(sysconfig.get_path("scripts"), "receiver"), None)
    assert program.units_dir() == package / "units"
    assert set(program.find_program(None).list_files()) == {package / "units/receiver.service", package.parent}


@pytest.mark.parametrize("reader", ["full", "gone", "closed"])
def test_what_cannot_be_printed_is_done_all_the_same(tmp_path: Path, reader: str) -> None:
    """As `receiver install | head -1`: half an installation would be worse than a silent one."""
    (tmp_path / "key").write_text("sk-any")
    (tmp_path / "target").write_text("json://127.0.0.1/hook")
    shell = 'exec "$@"' + (" >&-" if reader == "closed" else "")
    read, write = os.pipe()
    os.close(read)
    full = os.open("/dev/full", os.O_WRONLY)
    done = subprocess.run(
        ["sh", "-c", shell, "sh", *RECEIVER, "install", *given(tmp_path / "root")],
        stdin=subprocess.DEVNULL,
        stdout=write if reader == "gone" else full,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        check=False,
    )
    os.close(write)
    os.close(full)
    assert {f"etc/systemd/system/{unit}" for unit in UNITS} <= set(snapshot(tmp_path / "root"))
    assert done.stderr.count("every step was taken") == 1
    assert done.returncode == 1
