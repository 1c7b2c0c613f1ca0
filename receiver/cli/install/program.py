"""The program that the units run: where it is, how it is written into them, and why a service could not run it."""

import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import click
from msgspec import Struct

HOME = "/opt/receiver"  # what the shipped units say
PACKAGE = Path(__file__).resolve().parent.parent.parent
_PROGRAM = ".venv/bin/receiver"
# What the sandbox of the units hides or replaces.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev")  # noqa: S108 - compared


class InstalledProgram(Struct, frozen=True):
    """`path` is what the units run, `home` the checkout that it is in; None for an installed package."""

    path: Path
    home: Path | None

    @property
    def package_dir(self) -> Path:
        """Where its modules are."""
        return self.home / "receiver" if self.home else PACKAGE

    def rewrite_unit(self, unit: str) -> str:
        """The text of a unit with this program in it. An installed package has no README to point to."""
        text = unit.replace(f"{HOME}/{_PROGRAM}", str(self.path))
        if self.home is None:
            text = re.sub(r"^Documentation=file:.*\n", "", text, flags=re.MULTILINE)
        home = str(self.home or self.path.parent.parent)
        lines = text.splitlines(keepends=True)
        # comments are about the default place, and stay
        return "".join(line if line.startswith("#") else line.replace(HOME, home) for line in lines)

    def list_files(self) -> Iterator[Path]:
        """The files that a running service may have read: if one is newer than its start, an older version runs.

        Of the dependencies only their folder, which changes whenever a package in it is replaced.
        """
        for folder, folders, names in os.walk(self.package_dir):
            folders[:] = [name for name in folders if name != "__pycache__"]
            yield from (Path(folder, name) for name in names)
        yield from self.path.parent.parent.glob("lib/python3*/site-packages") if self.home else [PACKAGE.parent]

    def find_blockers(self) -> Iterator[str]:
        """Why a service could not run it, each with its remedy."""
        place = self.home or self.path.parent.parent
        if not re.fullmatch(r"/[\w./+-]+", str(self.path), re.ASCII):
            yield f"the path {place} has characters that a unit cannot hold; move it to {HOME}"
        if not os.access(self.path, os.X_OK):
            make = f"run `make install` in {place}" if self.home else f"install it into an environment below {HOME}"
            yield f"{self.path} does not exist; {make}, or name a checkout with --prefix"
            return
        if hidden := list(self.find_hidden()):
            yield from hidden
            return
        for path in self._needed_paths():
            if not os.path.exists(path):  # or we may not look
                yield f"{self.path} needs {path}, which does not exist; create its environment again"
                return
            if not all(each.stat().st_mode & 0o001 for each in path.parents) or not path.stat().st_mode & 0o004:
                yield f"only root can read {path}, and the service does not run as root; chmod -R go+rX {place}"
                return

    def find_hidden(self) -> Iterator[str]:
        """The first part of it that the sandbox hides, with the remedy. It need not exist yet."""
        for path in self._needed_paths():
            if any(path.is_relative_to(hidden) for hidden in _HIDDEN):
                yield f"the service's sandbox hides {path}; {self._move_remedy()}"
                return

    def _needed_paths(self) -> tuple[Path, ...]:
        """The files that must be readable to run it."""
        python = Path(os.path.realpath(self.path.with_name("python") if self.home else sys.executable))
        return self.path, Path(os.path.realpath(self.path)), python, self.package_dir / "__init__.py"

    def _move_remedy(self) -> str:
        if self.home:
            return f"move the checkout to {HOME}, and run `make install` there"
        return f"install it into an environment below {HOME}, with a Python that is not hidden"


def find_program(prefix: Path | None) -> InstalledProgram:
    """The program of the checkout `prefix`; by default the one that runs, from a checkout or a package."""
    if prefix is None and not (PACKAGE.parent / "systemd/receiver.service").exists():
        return InstalledProgram(Path(sysconfig.get_path("scripts"), "receiver"), None)
    home = (prefix or PACKAGE.parent).absolute()
    return InstalledProgram(home / _PROGRAM, home)


def units_dir() -> Path:
    """Where the units are: in the package, or beside it in a checkout. Raises ClickException."""
    for place in (PACKAGE / "units", PACKAGE.parent / "systemd"):
        if (place / "receiver.service").exists():
            return place
    raise click.ClickException("the systemd units are not here: install from a checkout, which has them in systemd/")
