"""Secrets that we made ourselves: generated once into the state directory, and the same ever after.

A crash leaves no empty or half-written file, and two processes that start together both use what the first one wrote.
Here too is the look at the database's place, so that one that cannot be written is a wrong setting like any other.
"""

import errno
import os
import secrets
from pathlib import Path

from receiver.atomic_files import fsync_path
from receiver.config.read import read_secret_file
from receiver.config.value_kinds import TOKENS
from receiver.core.errors import SettingsError, StoreUnavailable

KEYS_FILE = "secret_keys"
TOKENS_FILE = "api_tokens"
_REMEDY = "make it writable by this user, or set RECEIVER_DATABASE_URL to another place"


def load_or_generate(state_dir: Path, name: str) -> tuple[str, ...]:
    """The words of the file `name` in `state_dir`, which is made (directory 0700, file 0600) if it is not there.

    Raises SettingsError when it can be neither read nor written, or holds something else; Unavailable when the disk is
    full, which is no wrong setting: a later start may find room.
    """
    path = state_dir / name
    try:
        if not path.exists():
            _generate_file(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreUnavailable(f"cannot write {path}: the disk is full; make room on it") from None
        remedy = f"make the state directory writable, or set RECEIVER_{name.upper()}"
        raise SettingsError(f"cannot write {path}: {error.strerror}; {remedy}") from None
    return read_generated(path)


def refuse_unwritable(database: Path, *, make: bool = True) -> None:
    """Raise SettingsError where the file `database`, or the directory that it is to be in, cannot be written.

    A directory that is not there is refused too, unless we are to `make` it: a mistyped path would begin anew there.
    """
    directory = next((each for each in database.parents if os.path.exists(each)), Path())
    if not os.path.isdir(directory) or not os.access(directory, os.W_OK | os.X_OK):
        raise SettingsError(f"cannot write into {directory}, where the database {database.name} is to be; {_REMEDY}")
    if directory != database.parent and not make:
        missing = database.parent.absolute()
        remedy = f"mkdir -p {missing}, or set RECEIVER_DATABASE_URL to another place"
        raise SettingsError(f"there is no directory {missing} for the database {database.name}; {remedy}")
    if os.path.exists(database) and not os.path.isfile(database):
        raise SettingsError(f"the database {database} is not a file; set RECEIVER_DATABASE_URL to another place")
    if os.path.exists(database) and not os.access(database, os.R_OK | os.W_OK):
        raise SettingsError(f"cannot write the database {database}; {_REMEDY}")


def read_generated(path: Path) -> tuple[str, ...]:
    """The words of a file that `kept` made. Raises SettingsError."""
    label = f"{path} (restore it from a backup; or delete it, and a new one is made, which the old URLs do not fit)"
    text = read_secret_file(path, label)
    try:
        words: tuple[str, ...] = TOKENS.parse(text)
    except ValueError:
        raise SettingsError(f"{label}: expected {TOKENS.expects}") from None
    return words


def _generate_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(f"{secrets.token_hex(32)}\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(draft, path)  # unlike a rename, it never replaces what another process has put there meanwhile
        except FileExistsError:
            return
    finally:
        draft.unlink()
    fsync_path(path.parent)
