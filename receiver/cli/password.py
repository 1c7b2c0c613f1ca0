"""`receiver password`: sets or removes the password of the pages."""

import os
import sys
import unicodedata
from pathlib import Path

import click

from receiver import config, passwords
from receiver.atomic_files import atomic_write, explain_os_errors
from receiver.cli.output import name_config_option
from receiver.cli.streams import echo, note
from receiver.config import Settings
from receiver.config.generated_secrets import PASSWORD_FILE
from receiver.config.read import NotText, decode_text
from receiver.safe_open import pinned_folder
from receiver.store.sqlite.files import chown_if_ours, database_owner

_INPUT_MOST = 4 * passwords.MOST + 2  # bytes: the longest password, and a line's end
_LENGTH = f"{passwords.LEAST} to {passwords.MOST:,} characters"


@click.command()
@click.option("--remove", is_flag=True, help="Remove it: the pages ask for an API token again.")
@name_config_option("config_file")
def password(*, remove: bool, config_file: Path | None) -> None:
    """Set the password of the pages: asked for twice, or read from standard input.

    Only its hash is stored, in the state directory. It counts at once, and whoever was logged in is logged out. It is
    never given as an argument, which other users of the machine could read.
    """
    settings = config.load_settings(os.environ, config_file, upkeep=True)
    source = None if settings.password_hash is None else settings.source_of("PASSWORD_HASH")
    if remove:
        if source is not None:
            raise click.ClickException(f"PASSWORD_HASH is set ({source}): remove it there, and restart the service")
        return echo(_remove_password(settings))
    hashed = passwords.hash_password(_ask_password() if sys.stdin.isatty() else _read_password())
    if source is not None:
        note(f"receiver: PASSWORD_HASH is set ({source}), so put this hash there, and restart the service:")
        return echo(hashed)
    _store_hash(settings, hashed)
    if settings.sqlite_file is None:
        note(f"receiver: it counts for the processes that share {settings.state_dir.absolute()}; any other needs the")
        note("receiver: setting PASSWORD_HASH, with the same hash in all of them")
    return echo(f"the password is set, and counts at once: log in at {settings.public_url}/login")


def _ask_password() -> str:
    """Ask a person, without echo, until the same good password was typed twice. Raises ClickException."""
    wrong = "no password was given"
    while True:
        try:
            typed: str = click.prompt(f"Password ({_LENGTH})", hide_input=True, err=True)
            wrong = _find_fault(typed) or ""
            if not wrong:
                if click.prompt("The same again", hide_input=True, err=True) == typed:
                    return typed
                wrong = "the two differ"
        except click.Abort as ended:
            if not isinstance(ended.__context__, EOFError):
                raise
            raise click.ClickException(f"{wrong or 'no password was given'}; nothing was changed") from None
        note(f"receiver: {wrong}; type it again")


def _read_password() -> str:
    """The password on standard input, without the line's end. Raises ClickException."""
    try:
        given = decode_text(sys.stdin.buffer.read(_INPUT_MOST + 1), _INPUT_MOST)
    except NotText as error:
        raise click.ClickException(f"the password on standard input is {error.what}; nothing was changed") from None
    given = given.removesuffix("\n").removesuffix("\r")
    if fault := _find_fault(given):
        raise click.ClickException(f"{fault}; nothing was changed")
    return given


def _find_fault(typed: str) -> str | None:
    """Why this cannot be the password."""
    if not passwords.LEAST <= len(typed) <= passwords.MOST:
        return f"the password needs {_LENGTH}, and this has {len(typed):,}"
    if any(unicodedata.category(it) == "Cc" for it in typed):
        return "a password is one line of text, without control characters: nobody could type this one into the page"
    return None


def _store_hash(settings: Settings, hashed: str) -> None:
    """Put the hash into the state directory, readable by the service's user alone. Raises Unwritable, UnsafeFile."""
    state, database = settings.state_dir, settings.sqlite_file
    with explain_os_errors(f"cannot write {state / PASSWORD_FILE}"):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        whose = database_owner(database if database is not None else state)
        with pinned_folder(state) as folder, atomic_write(folder / PASSWORD_FILE) as file:
            chown_if_ours(file.fileno(), whose)
            file.write(f"{hashed}\n".encode())


def _remove_password(settings: Settings) -> str:
    """Remove the hash; what to say of it. Raises Unwritable, UnsafeFile."""
    state = settings.state_dir
    with explain_os_errors(f"cannot remove {state / PASSWORD_FILE}"):
        try:
            with pinned_folder(state) as folder:
                os.unlink(folder / PASSWORD_FILE)
        except FileNotFoundError:
            return "no password is set: the pages ask for an API token"
    return "the password is removed, and whoever was logged in is logged out: the pages ask for an API token"
