"""`receiver migrate`: migrates the database to this version's schema, or moves it to another kind of database."""

import asyncio
import os
import sys
import time
from pathlib import Path

import click

from receiver import config
from receiver.cli.batch.progress import ProgressLine
from receiver.cli.output import config_option, echo_json, json_option, pluralize
from receiver.cli.streams import echo, note
from receiver.config import Settings
from receiver.config.bad_value import BadValue
from receiver.config.generated_secrets import KEYS_FILE
from receiver.config.postgres_url import describe_postgres, postgres_secrets
from receiver.config.read import read_secret_file
from receiver.config.value_kinds import DATABASE, sqlite_path
from receiver.core.errors import DatabaseLocked, SettingsError, StoreUnavailable
from receiver.store import open_store
from receiver.store.migrations.steps import load_migrations
from receiver.store.moving.between import DatabaseAt, move_between
from receiver.store.moving.move import MoveResult
from receiver.store.sqlite.inspect import inspect_database


@click.command()
@click.option(
    "--to",
    metavar="URL",
    help="Move everything to this database, which is empty: postgresql://… or sqlite:///…, as DATABASE_URL takes it.",
)
@click.option(
    "--to-file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="The same, with the URL in FILE, or - for standard input: a password in --to can be seen by other users.",
)
@config_option
@json_option
def migrate(*, to: str | None, to_file: Path | None, file: Path | None, as_json: bool) -> None:
    """Bring the database to this version's schema, as the service does at its start. Stop the service first.

    With --to or --to-file, move it to PostgreSQL, or back to SQLite. Every row is read back and compared. A move that
    was stopped goes on where it was. The old database stays as it is.
    """
    if to is not None and to_file is not None:
        raise click.UsageError("--to and --to-file say the same: give one of them")
    settings = config.load_settings(os.environ, file, upkeep=True)
    if settings.sqlite_file is None:
        config.refuse_missing_driver()
    if to is not None or to_file is not None:
        return _move(settings, _parse_target(settings, to, to_file), as_json=as_json)
    place = settings.database_place if settings.sqlite_file is None else str(settings.sqlite_file)
    began = time.monotonic()
    applied, schema = _migrate_sqlite(settings.sqlite_file) if settings.sqlite_file else _migrate_postgres(settings)
    took_s = time.monotonic() - began
    if as_json:
        return echo_json({"applied": applied, "schema": schema, "seconds": round(took_s, 1)})
    if not applied:
        return echo(f"{place} already has schema {schema}: nothing to do")
    return echo(f"{place}: applied {', '.join(applied)} in {took_s:.1f} s; schema {schema}")


# -- migrations --


def _migrate_sqlite(path: Path) -> tuple[list[str], int]:
    """The names of the migrations that were applied, and the schema's number."""
    if not path.is_file():
        raise StoreUnavailable(
            f"there is no database {path}", remedy="say where it is with --config or RECEIVER_DATABASE_URL"
        )
    before = inspect_database(path).schema

    async def open_and_close() -> None:
        await (await open_store(path)).close()

    try:
        asyncio.run(open_and_close())
    except DatabaseLocked:
        raise click.ClickException(
            f"the service is running on {path}, and migrated it when it started; stop it to use another version"
        ) from None
    applied = [step.name for step in load_migrations("sqlite") if step.number > before]
    return applied, before + len(applied)


def _migrate_postgres(settings: Settings) -> tuple[list[str], int]:
    from receiver.store.postgres.moving import migrate_database  # brings asyncpg

    return asyncio.run(migrate_database(_direct_url(settings), settings.database_place))


def _direct_url(settings: Settings) -> str:
    """The database without its pooler, which may end what takes long."""
    return settings.database_listen_url or settings.database_url


# -- moving --


class _Progress:
    """A `MoveReport`: a line on the terminal for each part."""

    def __init__(self) -> None:
        self._line: ProgressLine | None = None

    def begin(self, part: str, rows: int) -> None:
        self.clear()
        self._line = ProgressLine(part, rows, unit="rows")

    def advance(self, rows: int) -> None:
        if self._line is not None:
            self._line.advance(rows)

    def clear(self) -> None:
        if self._line is not None:
            self._line.clear()


def _move(settings: Settings, target: DatabaseAt, *, as_json: bool) -> None:
    where = settings.sqlite_file or _direct_url(settings)
    source = DatabaseAt(where, settings.database_place)
    began, progress = time.monotonic(), _Progress()
    try:
        moved = asyncio.run(move_between(source, target, progress))
    except DatabaseLocked as error:
        raise click.ClickException(f"{error.problem}: stop the service, and run this again") from None
    except KeyboardInterrupt:
        progress.clear()
        note("receiver: stopped; the same command goes on where it was")
        raise
    finally:
        progress.clear()
    took_s = time.monotonic() - began
    following = _next_step(settings, target)
    if as_json:
        return echo_json(
            {
                "from": source.place,
                "to": target.place,
                "tasks": moved.tasks,
                "rows": moved.rows,
                "earlier": moved.earlier,
                "seconds": round(took_s, 1),
                "tables": moved.tables,
                "next": following,
            }
        )
    return echo(f"{_summary_line(moved, source, target, took_s)}\nnext: {following}")


def _summary_line(moved: MoveResult, source: DatabaseAt, target: DatabaseAt, took_s: float) -> str:
    earlier = f" ({moved.earlier:,} of them by an earlier run)" if moved.earlier else ""
    return (
        f"moved {pluralize(moved.tasks, 'task')}, {pluralize(moved.rows, 'row')} in all{earlier}, from {source.place}"
        f" to {target.place} in {took_s:.1f} s; all were read back and compared"
    )


def _next_step(settings: Settings, target: DatabaseAt) -> str:
    kept = f"keep RECEIVER_STATE_DIR={settings.state_dir.absolute()}"
    if isinstance(target.where, Path):
        there = f"RECEIVER_DATABASE_URL=sqlite:///{target.where}"
        keys = "RECEIVER_SECRET_KEYS" if settings.secret_keys else f"the file {KEYS_FILE} in it"
        return f"set {there}, {kept} and {keys}, and start the service"
    keys = (
        "RECEIVER_SECRET_KEYS as it is"
        if settings.secret_keys
        else f"set RECEIVER_SECRET_KEYS_FILE={settings.state_dir.absolute() / KEYS_FILE}"
    )
    return f"set RECEIVER_DATABASE_URL to the URL of {target.place}, {kept} and {keys}, and start the service"


def _parse_target(settings: Settings, to: str | None, to_file: Path | None) -> DatabaseAt:
    """Where to move to. Raises SettingsError, and UsageError for a database of the same kind."""
    text, label = (to, "--to") if to_file is None else (_read_url(to_file), "--to-file")
    try:
        url = settings.place.resolve_url(DATABASE.parse((text or "").strip()))
    except BadValue as error:
        raise SettingsError(f"{label}: {error.problem}", remedy=error.remedy) from None
    except ValueError:
        raise SettingsError(f"{label}: expected {DATABASE.expects}") from None
    path = sqlite_path(url)
    if path is not None:
        if settings.sqlite_file is not None:
            raise click.UsageError(
                f"{label}: DATABASE_URL is SQLite too; `receiver backup` and `receiver restore` copy a database"
            )
        path = path.absolute()
        if not (folder := path.parent).is_dir():
            raise SettingsError(
                f"{label}: the directory {folder} does not exist", remedy=f"create it with `mkdir -p {folder}`"
            )
        return DatabaseAt(path, str(path))
    if settings.sqlite_file is None:
        raise click.UsageError(f"{label}: DATABASE_URL is PostgreSQL too; pg_dump and pg_restore copy a database")
    config.refuse_missing_driver()
    if to_file is None and len([*postgres_secrets(url)]) > 1:
        note("receiver: other users of this machine can see the password in --to; --to-file reads it from a file")
    return DatabaseAt(url, describe_postgres(url))


def _read_url(file: Path) -> str:
    if str(file) == "-":
        return sys.stdin.readline()
    return read_secret_file(file, "--to-file")
