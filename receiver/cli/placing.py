"""The steps of `receiver install`: files to be written or removed, commands to be run; each can be told before it is
done, and done again without effect. Contents of secret files are never shown."""

import contextlib
import os
import secrets
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
from msgspec import Struct

COMMAND_MOST_S = 120


class Write(Struct, frozen=True):
    """A file as it has to be, of root where root writes it. `shown` is what a dry run says of its contents."""

    path: Path
    content: bytes
    mode: int
    shown: str

    @property
    def needed(self) -> str | None:
        """`new` or `changed`; None if it already is so. Raises ClickException where nobody knows."""
        try:
            with self.path.open("rb") as file:
                found, state = file.read(), os.fstat(file.fileno())
        except FileNotFoundError:
            return "new"
        except OSError as error:
            raise click.ClickException(f"cannot read {self.path}: {error.strerror}; run this as root") from None
        same = found == self.content and stat.S_IMODE(state.st_mode) == self.mode and state.st_uid == os.geteuid()
        return None if same else "changed"

    def told(self) -> str:
        """What this would do."""
        return f"write   {self.path} (mode {self.mode:04o}, {self.needed}): {self.shown}"

    def done(self) -> None:
        """Do it, so that there is never half a file, nor one that others may read for a while."""
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        with _trouble(self.path):
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(self.content)
                    os.fchmod(descriptor, self.mode)
                    file.flush()
                    os.fsync(descriptor)
                draft.rename(self.path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise


class Remove(Struct, frozen=True):
    """A file that has to go, and its directory with it if that is left empty and ends in `.d`."""

    path: Path

    @property
    def needed(self) -> str | None:
        """`there`, or None."""
        return "there" if self.path.exists() else None

    def told(self) -> str:
        """What this would do."""
        return f"remove  {self.path}"

    def done(self) -> None:
        """Do it."""
        with _trouble(self.path):
            self.path.unlink(missing_ok=True)
        if self.path.parent.suffix == ".d":
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()


class Run(Struct, frozen=True):
    """A command that has to succeed. `doubtful`: that it fails is no reason to stop."""

    argv: tuple[str, ...]
    doubtful: bool = False
    needed: str = "always"

    def told(self) -> str:
        """What this would do."""
        return f"run     {' '.join(self.argv)}"

    def done(self) -> None:
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
                "`journalctl -u receiver -n 20` may say more"
            )


Step = Write | Remove | Run


@contextlib.contextmanager
def _trouble(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"cannot change {path}: {error.strerror}; run this as root") from None
