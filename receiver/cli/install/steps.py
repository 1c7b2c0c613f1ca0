"""The steps of `receiver install`: files to write or remove, commands to run. Each can be described before it is
applied, and applied again without effect. Contents of secret files are never shown."""

import contextlib
import errno
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from msgspec import Struct

from receiver.atomic_files import atomic_write, remove_drafts

COMMAND_MOST_S = 1000  # a restart stops first, and then may take the unit's TimeoutStartSec
_MASKED = Path("/dev/null")  # what a masked unit is a link to
_REMEDIES = {
    errno.EACCES: "run this as root",
    errno.EPERM: "run this as root",
    errno.ENOSPC: "free some space there, and run this again: it continues where it stopped",
    errno.EDQUOT: "free some space there, and run this again: it continues where it stopped",
    errno.EROFS: "find out why that disk is read-only",
    errno.EEXIST: "a file is in the place of its folder: move that file away",
    errno.ENOTDIR: "a file is in the place of its folder: move that file away",
}


class WriteFile(Struct, frozen=True):
    """A file as it has to be, owned by whoever writes it. `shown` is what a person is shown of its contents.

    `theirs`: a person may have put a link in its place. Its target is read, but only that person changes it.
    """

    path: Path
    content: bytes
    mode: int
    shown: str
    theirs: bool = False

    @property
    def needed(self) -> str | None:
        """`new` or `changed`; None if the file is already so. Raises ClickException if it cannot be read."""
        linked = self.path.is_symlink()
        try:
            with self.path.open("rb") as file:
                found, state = file.read(), os.fstat(file.fileno())
        except FileNotFoundError:
            if not linked:
                return "new"
            found, state = b"", self.path.lstat()
        except OSError as error:
            raise _step_error("read", self.path, error) from None
        if linked and self.theirs:
            if found == self.content:
                return None
            raise click.ClickException(
                f"{self.path} is a link to {self.path.readlink()}: change that file, or remove the link"
            )
        same = found == self.content and stat.S_IMODE(state.st_mode) == self.mode and state.st_uid == os.geteuid()
        return None if same and not linked else "changed"

    def describe_step(self) -> str:
        """What this would do."""
        return f"write   {self.path} (mode {self.mode:04o}, {self.needed}): {self.shown}"

    def apply(self) -> None:
        """Write it atomically, and never readable for others meanwhile. Raises ClickException."""
        with _explain_errors(self.path):
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            remove_drafts(self.path)
            with atomic_write(self.path) as file:
                file.write(self.content)
                os.fchmod(file.fileno(), self.mode)


class RemoveFile(Struct, frozen=True):
    """A file to remove, with its directory if that ends in `.d` and is left empty."""

    path: Path

    @property
    def needed(self) -> str | None:
        """`there`, or None, also for a unit that a person has masked."""
        return "there" if os.path.lexists(self.path) and not is_masked(self.path) else None

    def describe_step(self) -> str:
        """What this would do."""
        return f"remove  {self.path}"

    def apply(self) -> None:
        """Do it. Raises ClickException."""
        with _explain_errors(self.path):
            self.path.unlink(missing_ok=True)
            remove_drafts(self.path)
        if self.path.parent.suffix == ".d":
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()


class CheckStep(Struct, frozen=True):
    """A check before the steps that follow: if `look` raises, they are not applied."""

    what: str
    look: Callable[[], object]
    needed: str = "always"

    def describe_step(self) -> str:
        """What this would do."""
        return f"check   {self.what}"

    def apply(self) -> None:
        """Check it. Raises what `look` raises."""
        self.look()


class RunCommand(Struct, frozen=True):
    """A command that has to succeed, and why it is run. `doubtful`: it may fail."""

    argv: tuple[str, ...]
    why: str = ""
    doubtful: bool = False
    needed: str = "always"

    def describe_step(self) -> str:
        """What this would do."""
        return f"run     {' '.join(self.argv)}" + (f"  ({self.why})" if self.why else "")

    def apply(self) -> None:
        """Do it. Raises ClickException."""
        try:
            ended = subprocess.run(  # noqa: S603 - our own arguments
                self.argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_MOST_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise click.ClickException(f"cannot run {' '.join(self.argv)}: {error}") from None
        if ended.returncode and not self.doubtful:
            raise click.ClickException(
                f"{' '.join(self.argv)} ended with status {ended.returncode}: {ended.stderr.strip() or 'no message'}; "
                "see `journalctl -u receiver -n 20`, then run this again"
            )


Step = WriteFile | RemoveFile | CheckStep | RunCommand


def path_exists(path: Path) -> bool:
    """Whether the file exists. Raises ClickException if we may not look."""
    try:
        return path.exists()
    except OSError as error:
        raise _step_error("look for", path, error) from None


def is_masked(path: Path) -> bool:
    """Whether a person has masked this unit (`systemctl mask`), so that it never starts."""
    return path.is_symlink() and path.readlink() == _MASKED


@contextlib.contextmanager
def _explain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _step_error("change", path, error) from None


def _step_error(verb: str, path: Path, error: OSError) -> click.ClickException:
    remedy = _REMEDIES.get(error.errno or 0)
    return click.ClickException(f"cannot {verb} {path}: {error.strerror}" + (f"; {remedy}" if remedy else ""))
