"""The hash of the pages' password: of the setting PASSWORD_HASH, else of a file in the state directory.

`receiver password` writes that file while the service runs, so the service looks at it again whenever it needs it.
"""

import os
from pathlib import Path

from receiver.config.generated_secrets import PASSWORD_FILE
from receiver.config.read import read_secret_file
from receiver.config.settings import Settings
from receiver.core.errors import SettingsError, UnsafeFile
from receiver.passwords import is_password_hash
from receiver.safe_open import open_file

_REMEDY = "set the password again: `receiver password`"


class PasswordSource:
    """Reads the hash, and reads its file again only once that has changed."""

    def __init__(self, settings: Settings) -> None:
        self._given = settings.password_hash
        self._path = settings.state_dir / PASSWORD_FILE
        self._seen: tuple[int, ...] | None = None
        self._hash: str | None = None

    def __call__(self) -> str | None:
        """The hash; None if no password is set. Raises SettingsError if its file cannot be read."""
        if self._given is not None:
            return self._given
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            self._seen = self._hash = None
            return None
        except OSError as error:
            raise SettingsError(f"cannot read {self._path}: {error.strerror}", remedy=_REMEDY) from None
        seen = found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size
        if seen != self._seen:
            self._hash, self._seen = read_password_file(self._path), seen
        return self._hash


def read_password_hash(settings: Settings) -> str | None:
    """The hash as it is now; None if no password is set. Root follows no link there. Raises SettingsError."""
    if settings.password_hash is not None:
        return settings.password_hash
    path = settings.state_dir / PASSWORD_FILE
    return read_password_file(path) if os.path.lexists(path) else None


def read_password_file(path: Path) -> str:
    """The hash in a file that `receiver password` made. Raises SettingsError."""
    try:
        text = read_secret_file(path, str(path), remedy=_REMEDY, opener=open_file)
    except UnsafeFile as error:
        raise SettingsError(error.problem, remedy=error.remedy) from None
    if not is_password_hash(text):
        raise SettingsError(f"{path} does not hold the hash of a password", remedy=_REMEDY)
    return text
