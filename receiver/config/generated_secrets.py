"""Secrets that we generate ourselves: once, into the state directory, and read from there ever after.

A crash leaves no empty or half-written file, and two processes that start together both use what the first one wrote.
`refuse_unwritable` checks the database's directory too, so that a bad one is reported like any other wrong setting.
"""

import contextlib
import errno
import os
import secrets
from pathlib import Path

from receiver.atomic_files import atomic_write
from receiver.config.read import read_secret_file
from receiver.config.value_kinds import TOKENS
from receiver.core.errors import SettingsError, StoreUnavailable, UnsafeFile
from receiver.safe_open import open_file

KEYS_FILE = "secret_keys"
TOKENS_FILE = "api_tokens"
PASSWORD_FILE = "password_hash"  # noqa: S105 - a file's name; `receiver password` makes it
_ELSEWHERE = "set RECEIVER_DATABASE_URL to another place"
_MAKE_WRITABLE = f"make it writable by this user, or {_ELSEWHERE}"
_RESTORE = "restore it from a backup, or delete it to generate a new one (URLs and clients with the old one then stop)"


def load_or_generate(state_dir: Path, name: str) -> tuple[str, ...]:
    """The secrets in the file `name` of `state_dir`. Generates it (directory 0700, file 0600) if it does not exist.

    Raises SettingsError if it cannot be read or written, or holds anything else. Raises StoreUnavailable if the disk is
    full: that is not a wrong setting, and a later start may find room.
    """
    path = state_dir / name
    try:
        if not path.exists():
            _generate_file(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreUnavailable(f"cannot write {path}: the disk is full", remedy="free some space on it") from None
        remedy = f"make the state directory writable, or set RECEIVER_{name.upper()}"
        raise SettingsError(f"cannot write {path}: {error.strerror}", remedy=remedy) from None
    return read_generated(path)


def refuse_unwritable(database: Path, *, make: bool = True) -> None:
    """Raise SettingsError if the file `database` or its directory cannot be written.

    A directory that does not exist is refused too, unless we may `make` it: with a mistyped path the service would
    start with an empty database there.
    """
    directory = next((each for each in database.parents if os.path.exists(each)), Path())
    if not os.path.isdir(directory) or not os.access(directory, os.W_OK | os.X_OK):
        problem = f"cannot write into {directory}, the directory of the database {database.name}"
        raise SettingsError(problem, remedy=_MAKE_WRITABLE)
    if directory != database.parent and not make:
        missing = database.parent.absolute()
        problem = f"the directory {missing} of the database {database.name} does not exist"
        raise SettingsError(problem, remedy=f"create it with `mkdir -p {missing}`, or {_ELSEWHERE}")
    if os.path.exists(database) and not os.path.isfile(database):
        raise SettingsError(f"the database {database} is not a file", remedy=_ELSEWHERE)
    if os.path.exists(database) and not os.access(database, os.R_OK | os.W_OK):
        raise SettingsError(f"cannot write the database {database}", remedy=_MAKE_WRITABLE)


def make_state_dir(state_dir: Path) -> None:
    """Make the state directory, for its owner only, if it does not exist. Raises SettingsError if it is not writable.

    Over SQLite it is the database's own directory, which `refuse_unwritable` checks.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        writable = os.access(state_dir, os.R_OK | os.W_OK | os.X_OK)
    except OSError as error:
        problem = f"cannot make the state directory {state_dir}: {error.strerror}"
        raise SettingsError(problem, remedy="set RECEIVER_STATE_DIR to a directory of this user") from None
    if not writable:
        problem = f"cannot write into the state directory {state_dir}"
        raise SettingsError(problem, remedy="make it writable by this user, or set RECEIVER_STATE_DIR")


def refuse_second_database(database: Path, *, ours: bool) -> None:
    """Raise SettingsError if `database`, which nobody named (`ours`), would be made though the current folder has one.

    Its path counts from the settings file; earlier versions counted from the current folder.
    """
    here = Path(database.name)
    if ours and not os.path.exists(database) and os.path.isfile(here) and os.path.getsize(here):
        url = f"sqlite:///{here.absolute()}"
        raise SettingsError(
            f"there is no database {database.absolute()} yet, but one in this folder: {here.absolute()}",
            remedy=f"move that one there with the files beside it, or set database_url = {url!r} to use it where it is",
        )


def read_generated(path: Path) -> tuple[str, ...]:
    """The secrets in a file that `load_or_generate` made. Root follows no link there. Raises SettingsError."""
    try:
        text = read_secret_file(path, str(path), remedy=_RESTORE, opener=open_file)
    except UnsafeFile as error:
        raise SettingsError(error.problem, remedy=error.remedy) from None
    try:
        words: tuple[str, ...] = TOKENS.parse(text)
    except ValueError:
        raise SettingsError(f"{path}: expected {TOKENS.expects}", remedy=_RESTORE) from None
    return words


def _generate_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), atomic_write(path, replace=False) as file:  # another process's stays
        file.write(f"{secrets.token_hex(32)}\n".encode())
