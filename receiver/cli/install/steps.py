"""The steps of `receiver install`: files to be written or removed, commands to be run; each can be told before it is
done, and done again without effect. Contents of secret files are never shown."""

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

COMMAND_MOST_S = 1000  # a start may take as long as the unit's TimeoutStartSec, and a stop comes before it
_MASKED = Path("/dev/null")  # what a masked unit is a link to
_REMEDIES = {
    errno.EACCES: "run this as root",
    errno.EPERM: "run this as root",
    errno.ENOSPC: "make some room there, and run this again: it goes on where it ended",
    errno.EDQUOT: "make some room there, and run this again: it goes on where it ended",
    errno.EROFS: "see why that disk is read-only",
    errno.EEXIST: "see what is in the place of its folder",
    errno.ENOTDIR: "see what is in the place of its folder",
}


class WriteFile(Struct, frozen=True):
    """A file as it has to be, of root where root writes it. `shown` is what a dry run says of its contents.

    `theirs`: a person may have put a link in its place; what that leads to is read, and is theirs to change.
    """

    path: Path
    content: bytes
    mode: int
    shown: str
    theirs: bool = False

    @property
    def needed(self) -> str | None:
        """`new` or `changed`; None if it already is so. Raises ClickException where nobody knows."""
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
        """Do it, so that there is never half a file, nor one that others could read. Raises ClickException."""
        with _explain_errors(self.path):
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            remove_drafts(self.path)
            with atomic_write(self.path) as file:
                file.write(self.content)
                os.fchmod(file.fileno(), self.mode)


class RemoveFile(Struct, frozen=True):
    """A file that has to go, and its directory with it if that is left empty and ends in `.d`."""

    path: Path

    @property
    def needed(self) -> str | None:
        """`there`, or None: also for a masked unit, which a person wanted never to start."""
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
    """Something that has to hold before the steps behind it are taken: else `look` raises, and they are not."""

    what: str
    look: Callable[[], object]
    needed: str = "always"

    def describe_step(self) -> str:
        """What this would do."""
        return f"check   {self.what}"

    def apply(self) -> None:
        """Do it. Raises what `look` raises."""
        self.look()


class RunCommand(Struct, frozen=True):
    """A command that has to succeed, and why it is run. `doubtful`: that it fails is no reason to stop."""

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
            ended = subprocess.run(  # noqa: S603 - our own words
                self.argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_MOST_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise click.ClickException(f"cannot run {' '.join(self.argv)}: {error}") from None
        if ended.returncode and not self.doubtful:
            raise click.ClickException(
                f"{' '.join(self.argv)} ended with status {ended.returncode}: {ended.stderr.strip() or 'no words'}; "
                "`journalctl -u receiver -n 20` may say more; then run this again"
            )


Step = WriteFile | RemoveFile | CheckStep | RunCommand


def path_exists(path: Path) -> bool:
    """Whether there is such a file. Raises ClickException where we may not look."""
    try:
        return path.exists()
    except OSError as error:
        raise _step_error("look for", path, error) from None


def is_masked(path: Path) -> bool:
    """Whether this unit is one that a person wanted never to start (`systemctl mask`)."""
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
