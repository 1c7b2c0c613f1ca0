"""`receiver install`: the units, the settings and the secrets put where systemd finds them, and the service started.

It asks only for what is not known yet and changes only what is not so already, so that it may be run again at any
time: after an upgrade, or to give another key. Secrets come from the terminal without echo, or from files; never from
the command line, which other users can read.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from receiver.cli import FAILED
from receiver.cli.placing import Remove, Run, Step, Write
from receiver.config import SETTINGS, kinds
from receiver.config.kinds import BadValue, Kind
from receiver.config.read import read_toml
from receiver.config.targets import URLS
from receiver.config.text import example

UNITS = ("receiver.socket", "receiver.service", "receiver-backup.service", "receiver-backup.timer")
STARTED = ("receiver.socket", "receiver.service", "receiver-backup.timer")
HOME = "/opt/receiver"  # what the units say
ROOT = Path("/")
PACKAGE = Path(__file__).resolve().parent.parent
ETC, STATE, SYSTEM = "etc/receiver", "var/lib/receiver", "etc/systemd/system"
DROP_IN = "10-credentials.conf"
# What a backup needs to know, beside receiver.toml.
_OF_BACKUP = ("database_url", "secret_keys", "api_tokens")
# What the sandbox of the units hides, or has anew.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev")  # noqa: S108 - compared
_file_option = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


class _Places(Struct, frozen=True):
    """Where things go, under `root`; what is written into files does not know of it."""

    root: Path

    @property
    def toml(self) -> Path:
        return self.root / ETC / "receiver.toml"

    def secret(self, name: str) -> Path:
        return self.root / ETC / name

    def unit(self, name: str) -> Path:
        return self.root / SYSTEM / name

    def drop_in(self, service: str) -> Path:
        return self.root / SYSTEM / f"{service}.d" / DROP_IN


@click.command()
@click.option("--public-url", metavar="URL", help="What the provider can reach.")
@click.option("--provider-key-file", type=_file_option, metavar="FILE", help="Holds the provider's key; - is stdin.")
@click.option("--target-file", type=_file_option, metavar="FILE", help="Holds an Apprise URL to notify; - is stdin.")
@click.option("--prefix", type=click.Path(path_type=Path), metavar="DIR", help="The checkout; by default this one.")
@click.option("--root", type=click.Path(path_type=Path), metavar="DIR", help="Write below DIR, and start nothing.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--uninstall", is_flag=True, help="Stop it and remove the units; settings and data are kept.")
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
    """Run the service under systemd: puts units, settings and secrets in place, starts it, asks the doctor.

    May be run again: it asks for nothing that it knows, and changes nothing that is so already.
    """
    places = _Places(root.absolute() if root else ROOT)
    live = root is None
    home = (prefix or PACKAGE.parent).absolute()
    hindrances = list(_hindrances(home, uninstall=uninstall)) if live else []
    if hindrances and not dry_run:
        raise click.ClickException(hindrances[0])
    if uninstall:
        steps = _removal(places, live=live)
    else:
        if provider_key_file and provider_key_file == target_file == Path("-"):
            raise click.UsageError("stdin can hold one of --provider-key-file and --target-file, not both")
        steps = [
            *_settings(places, public_url, ask=not dry_run),
            *_secret(places, "provider_key", provider_key_file, "The provider's key", kinds.TOKEN, ask=not dry_run),
            *_secret(places, "notify_urls", target_file, "An Apprise URL to notify", URLS, ask=not dry_run),
        ]
        steps += _units(places, home, steps)
        steps += _commands(places, steps) if live else []
    needed = [step for step in steps if step.needed]
    for step in needed:
        click.echo(step.told())
        if not dry_run:
            step.done()
    if dry_run:
        if live and not uninstall:
            click.echo(f"run     {' '.join(_doctor(places, home))}")
        for line in hindrances:
            click.echo(f"receiver: here it would be refused: {line}", err=True)
    elif uninstall:
        click.echo(_left(places))
    elif live:
        _ask_the_doctor(places, home)
    else:
        click.echo("nothing was started" if needed else "all is in place already")


def _hindrances(home: Path, *, uninstall: bool) -> Iterator[str]:
    """Why it cannot be done on this machine, each with its remedy."""
    if os.geteuid():
        yield "only root can install a service; run this with sudo"
    if not Path("/run/systemd/system").is_dir():
        yield "systemd does not run here; start `receiver serve` by hand, or try --dry-run or --root DIR"
    if uninstall:
        return
    if not re.fullmatch(r"/[\w./+-]+", str(home), re.ASCII):
        yield f"the path {home} cannot be written into a unit; put the checkout into {HOME}"
    program, python = home / ".venv/bin/receiver", Path(os.path.realpath(home / ".venv/bin/python"))
    if not os.access(program, os.X_OK):
        yield f"there is no {program}; run `make install` in {home}, or name the checkout by --prefix"
        return
    for path in (program, python):
        if any(path.is_relative_to(hidden) for hidden in _HIDDEN):
            yield f"{path} is where the service's sandbox hides it; put the checkout into {HOME}, `make install` there"
        elif not all(each.stat().st_mode & 0o001 for each in (path, *path.parents)):
            yield f"others than root cannot reach {path}, and the service is not root; chmod -R go+rX {home}"


def _settings(places: _Places, public_url: str | None, *, ask: bool) -> list[Step]:
    """receiver.toml, with the public URL in it."""
    there = places.toml.exists()
    known: dict[str, Any] = read_toml(places.toml) if there else {}
    url = public_url or known.get("public_url")
    if not url and ask:
        if not sys.stdin.isatty():
            raise click.UsageError("--public-url has to say what the provider can reach, as https://receiver.example")
        url = click.prompt("The public URL, as the provider can reach it (https://…)", err=True)
    if not url:
        click.echo("ask     for the public URL, unless --public-url gives it")
        return []
    _checked(url, kinds.WEB, "the public URL")
    text = places.toml.read_text() if there else example()
    if known.get("public_url") != url:
        text = _with_public_url(text, url)
        if tomllib.loads(text) != {**known, "public_url": url}:
            raise click.ClickException(f"cannot set public_url in {places.toml}; change it there by hand")
    shown = f"public_url = {json.dumps(url)}, all else " + ("as it is" if there else "commented out")
    return [Write(places.toml, text.encode(), 0o600, shown)]


def _with_public_url(text: str, url: str) -> str:
    """The text of a receiver.toml with the setting at its place, or at the top."""
    line = f"public_url = {json.dumps(url)}"
    for found in (r"^public_url[ \t]*=.*$", r"^#[ \t]*public_url[ \t]*=.*$"):
        changed, count = re.subn(found, lambda _: line, text, count=1, flags=re.MULTILINE)
        if count:
            return changed
    return f"{line}\n{text}"


def _secret(places: _Places, name: str, file: Path | None, what: str, kind: Kind, *, ask: bool) -> list[Step]:
    """The file of a secret, if there is one to be."""
    path = places.secret(name)
    if file is not None:
        value = _read(file, name)
    elif path.exists():
        _checked(_read(path, name), kind, f"{path}")
        return [Write(path, path.read_bytes(), 0o600, "a secret, not shown")]
    elif places.toml.exists() and _is_in(read_toml(places.toml), name):
        return []
    elif not ask:
        option = "--provider-key-file" if name == "provider_key" else "--target-file"
        click.echo(f"ask     for {what[:1].lower()}{what[1:]}, without echo, unless {option} gives it")
        return []
    elif sys.stdin.isatty():
        hint = f"{what} (it is not shown; nothing: later)"
        value = click.prompt(hint, hide_input=True, default="", show_default=False, err=True).strip()
    else:
        value = ""
    if not value:
        click.echo(f"receiver: there is no {name} yet: put it into {path} (mode 0600), and run this again", err=True)
        return []
    _checked(value, kind, what)
    return [Write(path, f"{value}\n".encode(), 0o600, "a secret, not shown")]


def _is_in(table: dict[str, Any], name: str) -> bool:
    return bool(table.get(name) or (name == "notify_urls" and table.get("targets")))


def _read(file: Path, name: str) -> str:
    try:
        return (sys.stdin.read() if file == Path("-") else file.read_text("utf-8")).strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise click.ClickException(f"cannot read the file of {name}: {why}") from None


def _checked(value: str, kind: Kind, what: str) -> None:
    try:
        kind.parse(value)
    except BadValue as error:
        raise click.ClickException(f"{what}: {error}") from None
    except ValueError:
        raise click.ClickException(f"{what}: expected {kind.expects}") from None


def _units(places: _Places, home: Path, planned: list[Step]) -> list[Step]:
    """The units, and what loads those secrets that are there, or will be."""
    steps: list[Step] = []
    source = _source()
    for name in UNITS:
        text = (source / name).read_text("utf-8").replace(HOME, str(home))
        shown = f"as in {source}" + (f", with {home} for {HOME}" if str(home) != HOME else "")
        steps.append(Write(places.unit(name), text.encode(), 0o644, shown))
    writing = {step.path for step in planned if isinstance(step, Write)}
    secret = [setting.name.lower() for setting in SETTINGS if setting.secret]
    there = [name for name in secret if places.secret(name) in writing or places.secret(name).exists()]
    templates = _templates(places)
    for service, names in (
        ("receiver.service", there),
        ("receiver-backup.service", [name for name in there if name in _OF_BACKUP]),
    ):
        loads = [f"LoadCredential={name}:/{ETC}/{name}" for name in (*names, *templates)]
        lines = ["# By `receiver install`, for what is in /etc/receiver: run it again when that changes.", "[Service]"]
        content = "\n".join([*lines, *loads, ""]).encode()
        shown = f"loads {', '.join((*names, *templates))}"
        path = places.drop_in(service)
        steps.append(Write(path, content, 0o644, shown) if loads else Remove(path))
    return steps


def _templates(places: _Places) -> list[str]:
    """Files beside receiver.toml that its targets name: the service finds them only beside the credential."""
    targets = read_toml(places.toml).get("targets", {}) if places.toml.exists() else {}
    tables = targets.values() if isinstance(targets, dict) else ()
    named = {table.get("template") for table in tables if isinstance(table, dict)}
    return sorted(name for name in named if isinstance(name, str) and re.fullmatch(r"[\w.-]+", name, re.ASCII))


def _source() -> Path:
    """Where the units are: in the package, or beside it in a checkout."""
    for place in (PACKAGE / "units", PACKAGE.parent / "systemd"):
        if (place / UNITS[0]).exists():
            return place
    raise click.ClickException("the units are not here: install from a checkout, whose systemd/ has them")


def _commands(places: _Places, planned: list[Step]) -> list[Step]:
    """What tells systemd of it. A socket that is as it was stays open throughout: no caller is refused."""
    changed = {step.path for step in planned if not isinstance(step, Run) and step.needed}
    was_there = places.unit("receiver.service").exists()
    steps: list[Step] = [Run(("systemctl", "daemon-reload"))] if changed else []
    if was_there and changed:
        steps.append(Run(("systemctl", "reset-failed", *STARTED), doubtful=True))
    if was_there and places.unit("receiver.socket") in changed:
        steps.append(Run(("systemctl", "restart", "receiver.socket")))
    steps.append(Run(("systemctl", "enable", "--now", *STARTED)))
    if was_there and changed:
        steps.append(Run(("systemctl", "restart", "receiver.service")))
    return steps


def _doctor(places: _Places, home: Path) -> tuple[str, ...]:
    return str(home / ".venv/bin/receiver"), "doctor", "--config", str(places.toml)


def _ask_the_doctor(places: _Places, home: Path) -> None:
    """The doctor, told what the unit is told. Ends with its status."""
    secret = [setting.name.lower() for setting in SETTINGS if setting.secret]
    files = {f"RECEIVER_{it.upper()}_FILE": str(places.secret(it)) for it in secret if places.secret(it).exists()}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    ended = subprocess.run(  # noqa: S603 - our own program
        _doctor(places, home),
        env={**clean, **files, "STATE_DIRECTORY": f"/{STATE}"},
        check=False,
    )
    if ended.returncode:
        click.echo("receiver: it is installed and was started; the doctor has something to say, see above", err=True)
        raise click.exceptions.Exit(FAILED)


def _removal(places: _Places, *, live: bool) -> list[Step]:
    files: list[Step] = [
        *(Remove(places.unit(name)) for name in UNITS),
        *(Remove(places.drop_in(name)) for name in UNITS if name.endswith(".service")),
    ]
    if not live or not any(step.needed for step in files):
        return files
    return [
        Run(("systemctl", "disable", "--now", *STARTED)),
        *files,
        Run(("systemctl", "daemon-reload")),
    ]


def _left(places: _Places) -> str:
    etc, state = places.root / ETC, places.root / STATE
    return (
        f"kept: settings and secrets in {etc}; database, pictures, keys and backups in {state}, which is a link to "
        f"{state.parent / 'private/receiver'}. `receiver install` takes them up again. To be rid of them, remove all "
        "three: callbacks that are still to come will then be refused"
    )
