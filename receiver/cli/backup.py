"""`receiver backup`: copies the database with its keys, also while the service runs."""

import contextlib
import os
import shlex
from pathlib import Path

import click
from msgspec.structs import replace

from receiver import config
from receiver.cli.output import echo_json, json_option, name_config_option, pluralize
from receiver.cli.streams import echo, note
from receiver.clocks import wall_clock
from receiver.config import Settings
from receiver.config.generated_secrets import KEYS_FILE, PASSWORD_FILE, TOKENS_FILE, read_generated
from receiver.core.errors import SettingsError
from receiver.upkeep import backup as upkeep
from receiver.upkeep.backup import BackupResult
from receiver.upkeep.backup_pictures import ImagesMode

NICE = 19  # the lowest priority, so that the service's callbacks do not wait


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--images",
    type=click.Choice([it.value for it in ImagesMode]),
    default=ImagesMode.NONE.value,
    show_default=True,
    help="Back up the pictures too, in a folder beside FILE: as links (on the same disk) or copies.",
)
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Keep only the newest N, by the date in FILE.")
@name_config_option("config_file")
@json_option
def backup(*, file: Path, images: str, keep: int | None, config_file: Path | None, as_json: bool) -> None:
    """Back up the database and its secret keys to FILE, whether the service runs or not.

    FILE's name may contain the date, as in receiver-%Y%m%dT%H%M%SZ.db; an earlier backup of that name is replaced.
    FILE is as secret as the keys (mode 0600).
    """
    if keep is not None and not upkeep.has_date(file.name):
        raise click.UsageError("--keep needs a date in FILE's name: write it as receiver-%Y%m%dT%H%M%SZ.db")
    settings = config.load_settings(os.environ, config_file, upkeep=True)
    path = settings.sqlite_file
    if path is None:
        raise SettingsError(
            f"the database is PostgreSQL ({settings.database_place}), which `receiver backup` does not copy",
            remedy="run `pg_dump --format=custom --file=receiver.dump "
            f"{shlex.quote(settings.postgres_address)}`, or archive its write-ahead log; and copy "
            f"{settings.state_dir.absolute()} too, with the pictures and what is generated there, and SECRET_KEYS",
        )
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.nice(NICE)
    kept = {
        KEYS_FILE: settings.secret_keys or _generated_secrets(settings, KEYS_FILE),
        TOKENS_FILE: settings.api_tokens or _generated_secrets(settings, TOKENS_FILE),
        PASSWORD_FILE: _read_password(settings),
    }
    made = upkeep.back_up(path, file, kept, settings.state_dir / "images", wall_clock, ImagesMode(images))
    if keep is not None:
        made = replace(made, removed=upkeep.rotate_backups(file, keep))
    if not made.keys:
        note(
            f"receiver: the backup has no secret keys: none are set, and {settings.state_dir / KEYS_FILE} does not "
            "exist; without them, callback URLs already given out will be refused",
        )
    if as_json:
        return echo_json(made)
    return echo(_summary_line(made))


def _generated_secrets(settings: Settings, name: str) -> tuple[str, ...]:
    path = settings.state_dir / name
    return read_generated(path) if os.path.lexists(path) else ()  # a link that leads nowhere is refused


def _read_password(settings: Settings) -> tuple[str, ...]:
    """The hash of the pages' password. If it cannot be read, the backup is made without it: one can be set again."""
    try:
        found = config.read_password_hash(settings)
    except SettingsError as error:
        note(f"receiver: the backup has no password of the pages: {error}")
        return ()
    return () if found is None else (found,)


def _summary_line(made: BackupResult) -> str:
    summary = f"{made.file}: {pluralize(made.tasks, 'task')}, schema {made.schema}, {made.size / (1 << 20):.1f} MiB"
    if made.keys:
        summary += f", with {pluralize(made.keys, 'secret key')} in it (mode 0600: keep it secret)"
    if made.images is None:
        summary += "; without pictures (see --images)"
    else:
        summary += f"; {pluralize(made.images, 'file')} of pictures in {made.file}.images"
    return summary + (f"; removed {pluralize(len(made.removed), 'older backup')}" if made.removed else "")
