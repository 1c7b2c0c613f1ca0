"""`receiver install`: puts units, settings and secrets where systemd finds them, and starts the service.

It asks only for what is missing and changes only what differs, so it may be run again at any time: after an upgrade, to
give another key, or after an interruption. Secrets come from the terminal without echo, or from files; never from the
command line, which other users can read.
"""

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from receiver import config
from receiver.cli.install import program, prompts, unit_age
from receiver.cli.install.blockers import find_blockers
from receiver.cli.install.program import HOME, InstalledProgram
from receiver.cli.install.steps import CheckStep, RemoveFile, RunCommand, Step, WriteFile, is_masked, path_exists
from receiver.cli.main import FAILED
from receiver.cli.streams import OutputLost, discard_output, echo, note
from receiver.config import SETTINGS, value_kinds
from receiver.config.read import read_toml
from receiver.config.text import example_toml
from receiver.config.value_kinds import ValueKind
from receiver.core.errors import SettingsError

UNITS = (
    *("receiver.socket", "receiver.service"),
    *("receiver-backup.service", "receiver-backup.timer"),
    *("receiver-prune.service", "receiver-prune.timer"),
)
STARTED_UNITS = ("receiver.socket", "receiver.service", "receiver-backup.timer")
OPTIONAL_UNITS = ("receiver-backup.timer",)  # a person may disable or mask these
ENABLED_BY_A_PERSON = ("receiver-prune.timer",)  # the running service prunes by itself
ROOT = Path("/")
ETC, STATE, SYSTEM = "etc/receiver", "var/lib/receiver", "etc/systemd/system"
DROP_IN = "10-credentials.conf"
_SECRET_NAMES = tuple(setting.name.lower() for setting in SETTINGS if setting.secret)
# The secrets that each service gets beside receiver.toml: only those that its command needs.
_LOADED_SECRETS = {
    "receiver.service": _SECRET_NAMES,
    "receiver-backup.service": ("database_url", "secret_keys", "api_tokens", "password_hash"),
    "receiver-prune.service": ("database_url", "api_tokens", "api_token"),
}
_HINTS = {"notify_urls": ", your Slack webhook or any Apprise URL"}
_file_option = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


class _InstallPaths(Struct, frozen=True):
    """Where things go, below `root`, which is not in the contents of any file."""

    root: Path

    @property
    def settings_file(self) -> Path:
        return self.root / ETC / "receiver.toml"

    def secret_file(self, name: str) -> Path:
        return self.root / ETC / name

    def unit_file(self, name: str) -> Path:
        return self.root / SYSTEM / name

    def is_enabled(self, name: str) -> bool:
        """Whether a unit starts at boot."""
        target = {"service": "multi-user", "socket": "sockets", "timer": "timers"}[name.rpartition(".")[2]]
        return os.path.lexists(self.root / SYSTEM / f"{target}.target.wants" / name)

    def drop_in(self, service: str) -> Path:
        return self.root / SYSTEM / f"{service}.d" / DROP_IN


@click.command()
@click.option("--public-url", metavar="URL", help="The URL at which the provider can reach the service.")
@click.option("--provider-key-file", type=_file_option, metavar="FILE", help="Holds the provider's key; - is stdin.")
@click.option(
    "--target-file", type=_file_option, metavar="FILE", help="Holds a Slack webhook or Apprise URL; - is stdin."
)
@click.option("--prefix", type=click.Path(path_type=Path), metavar="DIR", help="The checkout; by default this one.")
@click.option("--root", type=click.Path(path_type=Path), metavar="DIR", help="Write below DIR, and start nothing.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@click.option("--uninstall", is_flag=True, help="Stop the service and remove its units; settings and data stay.")
def install(
    *,
    public_url: str | None,
    provider_key_file: Path | None,
    target_file: Path | None,
    prefix: Path | None,
    root: Path | None,
    dry_run: bool,
    uninstall: bool,
) -> None:
    """Install the service under systemd: put units, settings and secrets in place, start it, run the doctor.

    May be run again: it asks only for what is missing, and changes only what differs.
    """
    places = _InstallPaths(root.absolute() if root else ROOT)
    live = root is None
    called = program.find_program(prefix)
    folders = places.root / ETC, places.root / STATE
    blockers = list(find_blockers(*folders, called, uninstall=uninstall)) if live else []
    for line in blockers:
        if not dry_run:
            raise click.ClickException(line)
        note(f"receiver: this would be refused here: {line}")
    if not live and not uninstall:
        for line in called.find_hidden():
            note(f"receiver: as a service it will not start: {line}")
    if uninstall:
        steps = _uninstall_steps(places, live=live)
    else:
        if provider_key_file and provider_key_file == target_file == prompts.STDIN:
            raise click.UsageError("stdin can hold one of --provider-key-file and --target-file, not both")
        steps = [
            *_settings_steps(places, public_url, ask=not dry_run),
            *_secret_steps(
                places, "provider_key", provider_key_file, "The provider's key", value_kinds.TOKEN, ask=not dry_run
            ),
            *_secret_steps(places, "notify_urls", target_file, "The target's URL", prompts.TARGETS, ask=not dry_run),
        ]
        steps += _unit_steps(places, called, steps)
        steps += _systemctl_steps(places, called, steps) if live else []
    needed = [step for step in steps if step.needed]
    if dry_run:
        for step in needed:
            echo(step.describe_step())
        if live and not uninstall:
            echo(f"run     {' '.join(_doctor_command(places, called))}")
        if blockers:
            raise click.exceptions.Exit(FAILED)
        return
    lost = _apply_steps(needed)
    if lost is not None:
        raise OutputLost(lost.why, "all the same, every step was taken; `receiver doctor` says whether all is well")
    if uninstall:
        echo(_kept_message(places))
    elif live:
        _ask_the_doctor(places, called)
    else:
        echo("nothing was started" if needed else "everything is in place already")


def _apply_steps(steps: Sequence[Step]) -> OutputLost | None:
    """Take the steps, and print each before. If that cannot be done, the others are taken all the same."""
    lost = None
    for step in steps:
        try:
            echo(step.describe_step())
        except OutputLost as error:
            discard_output()
            lost = lost or error
        step.apply()
    return lost


def _settings_steps(places: _InstallPaths, public_url: str | None, *, ask: bool) -> list[Step]:
    """receiver.toml, with the public URL in it."""
    there = path_exists(places.settings_file)
    known: dict[str, Any] = read_toml(places.settings_file) if there else {}
    url = public_url or str(known.get("public_url", ""))
    if url:
        prompts.check_value(url, value_kinds.WEB, "the public URL")
    elif not ask:
        echo(f"ask     for the public URL, unless --public-url gives it; it goes into {places.settings_file}")
        return []
    elif not prompts.on_a_terminal():
        raise click.UsageError(
            "--public-url is missing: give the URL that the provider can reach, as https://receiver.example"
        )
    else:
        question = "The public URL, as the provider can reach it (https://…)"
        url = prompts.prompt_value(question, value_kinds.WEB, "the public URL")
    # as bytes, since the text would be decoded by this shell's locale
    text = places.settings_file.read_bytes().decode("utf-8-sig") if there else example_toml()
    if known.get("public_url") != url:
        wanted = {**known, "public_url": url}
        found = next((it for it in _with_public_url(text, url) if _parses_as(it, wanted)), None)
        if found is None:
            raise click.ClickException(f"cannot set public_url in {places.settings_file}; change it there by hand")
        text = found
    shown = f"public_url = {json.dumps(url)}, all else " + ("unchanged" if there else "commented out")
    return [WriteFile(places.settings_file, text.encode(), 0o600, shown, theirs=True)]


def _with_public_url(text: str, url: str) -> Iterator[str]:
    """Candidates for receiver.toml: with the setting replaced, or uncommented, or put at the top."""
    line = f"public_url = {json.dumps(url)}"
    for found in (r"^public_url[ \t]*=[^\r\n]*", r"^#[ \t]*public_url[ \t]*=[^\r\n]*"):
        yield re.sub(found, lambda _: line, text, count=1, flags=re.MULTILINE)
    yield f"{line}\n{text}"


def _parses_as(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def _secret_steps(
    places: _InstallPaths, name: str, file: Path | None, what: str, kind: ValueKind, *, ask: bool
) -> list[Step]:
    """The file of a secret, if there is a value for it."""
    path = places.secret_file(name)
    by_hand = file == prompts.STDIN and prompts.on_a_terminal()  # reading it would echo it
    if file is not None and not by_hand:
        if not (value := prompts.read_secret_input(file, name)):
            raise click.ClickException(f"the file of {name} is empty")
        prompts.check_value(value, kind, what)
    elif path_exists(path) and not by_hand:
        known = next(setting.kind for setting in SETTINGS if setting.name.lower() == name)
        prompts.check_value(prompts.read_secret_input(path, name), known, f"{path}")
        return [WriteFile(path, path.read_bytes(), 0o600, "a secret, not shown", theirs=True)]
    elif path_exists(places.settings_file) and _has_secret(read_toml(places.settings_file), name) and not by_hand:
        return []
    elif not ask:
        option = "--provider-key-file" if name == "provider_key" else "--target-file"
        asked = f"{what[:1].lower()}{what[1:]}{_HINTS.get(name, '')}"
        echo(f"ask     for {asked}, without echo, unless {option} gives it; it goes into {path}")
        return []
    elif prompts.on_a_terminal():
        question = f"{what}{_HINTS.get(name, '')} (not shown; empty to add it later)"
        value = prompts.prompt_value(question, kind, what, secret=True)
    else:
        value = ""
    if not value:
        note(f"receiver: there is no {name} yet: put it into {path} (mode 0600), and run this again")
        return []
    return [WriteFile(path, f"{value}\n".encode(), 0o600, "a secret, not shown", theirs=True)]


def _has_secret(table: dict[str, Any], name: str) -> bool:
    return bool(table.get(name) or (name == "notify_urls" and table.get("targets")))


def _unit_steps(places: _InstallPaths, called: InstalledProgram, planned: list[Step]) -> list[Step]:
    """The units, and the drop-ins that load the secrets that exist or are planned."""
    steps: list[Step] = []
    source = program.units_dir()
    for name in UNITS:
        text = called.rewrite_unit((source / name).read_text("utf-8"))
        shown = f"as in {source}" + (f", with {called.path} in it" if str(called.home) != HOME else "")
        if not is_masked(places.unit_file(name)):
            steps.append(WriteFile(places.unit_file(name), text.encode(), 0o644, shown))
        elif name not in OPTIONAL_UNITS and name in STARTED_UNITS:
            raise click.ClickException(f"{name} is masked; run `systemctl unmask {name}` first")
    writing = {step.path for step in planned if isinstance(step, WriteFile)}
    there = [
        name for name in _SECRET_NAMES if places.secret_file(name) in writing or path_exists(places.secret_file(name))
    ]
    templates = _template_names(places)
    for service, needed in _LOADED_SECRETS.items():
        names = [name for name in there if name in needed]
        loads = [f"LoadCredential={name}:/{ETC}/{name}" for name in (*names, *templates)]
        lines = ["# By `receiver install`, for what is in /etc/receiver: run it again when that changes.", "[Service]"]
        content = "\n".join([*lines, *loads, ""]).encode()
        shown = f"loads {', '.join((*names, *templates))}"
        path = places.drop_in(service)
        steps.append(WriteFile(path, content, 0o644, shown) if loads else RemoveFile(path))
    return steps


def _template_names(places: _InstallPaths) -> list[str]:
    """The templates beside receiver.toml that its targets name: the service gets each as a credential."""
    targets = read_toml(places.settings_file).get("targets", {}) if path_exists(places.settings_file) else {}
    tables = targets.values() if isinstance(targets, dict) else ()
    named = {table.get("template") for table in tables if isinstance(table, dict)}
    return sorted(name for name in named if isinstance(name, str) and re.fullmatch(r"[\w.-]+", name, re.ASCII))


def _systemctl_steps(places: _InstallPaths, called: InstalledProgram, planned: list[Step]) -> list[Step]:
    """The systemctl commands. An unchanged socket stays open throughout, so no request is refused.

    What runs is restarted if it is older than its files: after this run, an interrupted one, or an upgrade.
    """
    changed = {step.path for step in planned if isinstance(step, WriteFile | RemoveFile) and step.needed}
    service, socket = "receiver.service", "receiver.socket"
    was_there, began = places.unit_file(service).exists(), unit_age.running_since(service)
    reads = [places.settings_file, *(places.secret_file(name) for name in (*_SECRET_NAMES, *_template_names(places)))]
    reads += [places.unit_file(service), places.drop_in(service), *_drop_ins(places, service), *called.list_files()]
    old = _newer_file(reads, changed, began)
    old_socket = _newer_file(
        [places.unit_file(socket), *_drop_ins(places, socket)], changed, unit_age.running_since(socket)
    )
    steps: list[Step] = [CheckStep("the settings, as the service will find them", lambda: _check_settings(places))]
    if changed or old or old_socket or began is None:
        steps.append(RunCommand(("systemctl", "daemon-reload")))
    started = _units_to_start(places)
    if was_there and began is None:  # it may have failed too often to be started
        steps.append(RunCommand(("systemctl", "reset-failed", *started), doubtful=True))
    if old_socket:
        steps.append(RunCommand(("systemctl", "restart", socket), f"{old_socket} is newer than what runs"))
    steps.append(RunCommand(("systemctl", "enable", "--now", *started)))
    if old:
        steps.append(RunCommand(("systemctl", "restart", service), f"{old} is newer than what runs"))
    return steps


def _units_to_start(places: _InstallPaths) -> list[str]:
    """The units to start, without those that a person masked, or disabled while the service is enabled."""
    refused = [
        name
        for name in OPTIONAL_UNITS
        if is_masked(places.unit_file(name))
        or (places.unit_file(name).exists() and places.is_enabled("receiver.service") and not places.is_enabled(name))
    ]
    return [name for name in STARTED_UNITS if name not in refused]


def _newer_file(reads: list[Path], changed: set[Path], began: float | None) -> Path | None:
    """The first file newer than a unit that began then: about to be written, or written since."""
    if began is None:
        return None
    return next((path for path in reads if path in changed), None) or unit_age.first_newer(reads, began)


def _drop_ins(places: _InstallPaths, unit: str) -> list[Path]:
    return sorted(places.unit_file(f"{unit}.d").glob("*.conf"))


def _unit_environment(places: _InstallPaths) -> dict[str, str]:
    """The unit's settings beside receiver.toml, as an environment."""
    files = {
        f"RECEIVER_{it.upper()}_FILE": str(places.secret_file(it))
        for it in _SECRET_NAMES
        if path_exists(places.secret_file(it))
    }
    return {**files, "STATE_DIRECTORY": f"/{STATE}"}


def _check_settings(places: _InstallPaths) -> None:
    """Raise SettingsError if the service would not start; then what runs is left alone."""
    config.load_settings(_unit_environment(places), places.settings_file)
    for target in read_toml(places.settings_file).get("targets", {}).values():
        if "template" in target and target["template"] not in _template_names(places):
            problem = f"the template {target['template']!r} is not in the folder of {places.settings_file}"
            raise SettingsError(problem, remedy="put it there, and name it without a folder")


def _doctor_command(places: _InstallPaths, called: InstalledProgram) -> tuple[str, ...]:
    return str(called.path), "doctor", "--config", str(places.settings_file)


def _ask_the_doctor(places: _InstallPaths, called: InstalledProgram) -> None:
    """Run the doctor with the unit's settings. Ends with its status."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    ended = subprocess.run(  # noqa: S603 - our own program
        _doctor_command(places, called), env={**clean, **_unit_environment(places)}, check=False
    )
    if ended.returncode:
        note("receiver: it is installed and was started, but the doctor found something: see above")
        raise click.exceptions.Exit(FAILED)


def _uninstall_steps(places: _InstallPaths, *, live: bool) -> list[Step]:
    files: list[Step] = [
        *(RemoveFile(places.unit_file(name)) for name in UNITS),
        *(RemoveFile(places.drop_in(name)) for name in _LOADED_SECRETS),
    ]
    if not live or not any(step.needed for step in files):
        return files
    # only those that are left after an interruption: systemctl refuses what it cannot find
    left = [name for name in (*STARTED_UNITS, *ENABLED_BY_A_PERSON) if RemoveFile(places.unit_file(name)).needed]
    gone = [name for name in STARTED_UNITS if name not in left]
    stopped: list[Step] = [RunCommand(("systemctl", "disable", "--now", *left))] if left else []
    stopped += [RunCommand(("systemctl", "stop", *gone), doubtful=True)] if gone else []
    return [*stopped, *files, RunCommand(("systemctl", "daemon-reload"))]


def _kept_message(places: _InstallPaths) -> str:
    etc, state = places.root / ETC, places.root / STATE
    link = f", which is a link to {state.parent / 'private/receiver'}" if state.is_symlink() else ""
    return (
        f"kept: settings and secrets in {etc}; database, pictures, keys and backups in {state}{link}. "
        f"`receiver install` uses them again. To delete them, remove {'all three' if link else 'both'}; callbacks that "
        "are still to come will then be refused"
    )
