"""The program that the units call: which it is, what of it is said in them, and why a service could not run it."""

import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import click
from msgspec import Struct

HOME = "/opt/receiver"  # what the units say
PACKAGE = Path(__file__).resolve().parent.parent.parent
_PROGRAM = ".venv/bin/receiver"
# What the sandbox of the units hides, or has anew.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev")  # noqa: S108 - compared


class InstalledProgram(Struct, frozen=True):
    """`path` is what the units call, `home` the checkout that it is in; None for an installed package."""

    path: Path
    home: Path | None

    @property
    def package_dir(self) -> Path:
        """Where its modules are."""
        return self.home / "receiver" if self.home else PACKAGE

    def rewrite_unit(self, unit: str) -> str:
        """The text of a unit, with this program in it. A package has no README beside it that could be pointed to."""
        text = unit.replace(f"{HOME}/{_PROGRAM}", str(self.path))
        if self.home is None:
            text = re.sub(r"^Documentation=file:.*\n", "", text, flags=re.MULTILINE)
        home = str(self.home or self.path.parent.parent)
        lines = text.splitlines(keepends=True)
        # what a comment says of the place is said of the one that it has without us
        return "".join(line if line.startswith("#") else line.replace(HOME, home) for line in lines)

    def list_files(self) -> Iterator[Path]:
        """What a running service has read of it, or might: it runs an older one if any of them is newer than its start.

        Of what it depends on, only the folder: that changes whenever a package in it is put in another's place.
        """
        for folder, folders, names in os.walk(self.package_dir):
            folders[:] = [name for name in folders if name != "__pycache__"]
            yield from (Path(folder, name) for name in names)
        yield from self.path.parent.parent.glob("lib/python3*/site-packages") if self.home else [PACKAGE.parent]

    def find_blockers(self) -> Iterator[str]:
        """Why a service could not run it, each with its remedy."""
        place = self.home or self.path.parent.parent
        if not re.fullmatch(r"/[\w./+-]+", str(self.path), re.ASCII):
            yield f"the path {place} cannot be written into a unit; put it into {HOME}"
        if not os.access(self.path, os.X_OK):
            make = f"run `make install` in {place}" if self.home else f"install it into an environment below {HOME}"
            yield f"there is no {self.path}; {make}, or name a checkout by --prefix"
            return
        if hidden := list(self.find_hidden()):
            yield from hidden
            return
        for path in self._needed_paths():
            if not os.path.exists(path):  # or we may not look
                yield f"there is no {path}, which {self.path} needs; make its environment anew"
                return
            if not all(each.stat().st_mode & 0o001 for each in path.parents) or not path.stat().st_mode & 0o004:
                yield f"others than root cannot reach {path}, and the service is not root; chmod -R go+rX {place}"
                return

    def find_hidden(self) -> Iterator[str]:
        """What of it the sandbox hides, the first thing, with the remedy; whether it is there yet does not matter."""
        for path in self._needed_paths():
            if any(path.is_relative_to(hidden) for hidden in _HIDDEN):
                yield f"{path} is where the service's sandbox hides it; {self._move_remedy()}"
                return

    def _needed_paths(self) -> tuple[Path, ...]:
        """What has to be reached to run it."""
        python = Path(os.path.realpath(self.path.with_name("python") if self.home else sys.executable))
        return self.path, Path(os.path.realpath(self.path)), python, self.package_dir / "__init__.py"

    def _move_remedy(self) -> str:
        if self.home:
            return f"put the checkout into {HOME}, `make install` there"
        return f"install it into an environment below {HOME}, with a Python that is not hidden"


def find_program(prefix: Path | None) -> InstalledProgram:
    """The program of the checkout `prefix`; by default the one that runs, be it a checkout's or a package's."""
    if prefix is None and not (PACKAGE.parent / "systemd/receiver.service").exists():
        return InstalledProgram(Path(sysconfig.get_path("scripts"), "receiver"), None)
    home = (prefix or PACKAGE.parent).absolute()
    return InstalledProgram(home / _PROGRAM, home)


def units_dir() -> Path:
    """Where the units are: in the package, or beside it in a checkout. Raises ClickException."""
    for place in (PACKAGE / "units", PACKAGE.parent / "systemd"):
        if (place / "receiver.service").exists():
            return place
    raise click.ClickException("the units are not here: install from a checkout, whose systemd/ has them")
