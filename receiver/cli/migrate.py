"""`receiver migrate`: brings the database to this version's schema, while the service does not run."""

import asyncio
import os
import time
from pathlib import Path

import click

from receiver import config
from receiver.cli.output import echo_json, json_option
from receiver.core.errors import Locked, SettingsError, Unavailable
from receiver.store import open_store
from receiver.store.migrations.steps import migrations
from receiver.store.sqlite.inspect import look


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="By default ./receiver.toml.")
@json_option
def migrate(*, file: Path | None, as_json: bool) -> None:
    """Apply the migrations that the database lacks, as a start would. The service must not run."""
    path = config.load(os.environ, file, upkeep=True).sqlite
    if path is None:
        raise SettingsError("RECEIVER_DATABASE_URL: PostgreSQL is not available in this version; use sqlite:///…")
    if not path.is_file():
        raise Unavailable(f"there is no database {path}: say where it is, by --config or RECEIVER_DATABASE_URL")
    before = look(path).schema
    began = time.monotonic()
    try:
        asyncio.run(_open(path))
    except Locked:
        raise click.ClickException(
            f"the service is running on {path}, and migrated it when it started: stop it first"
        ) from None
    took_s = time.monotonic() - began
    applied = [step.name for step in migrations("sqlite") if step.number > before]
    if as_json:
        return echo_json({"applied": applied, "schema": before + len(applied), "seconds": round(took_s, 1)})
    if not applied:
        return click.echo(f"{path} has schema {before} already: nothing to do")
    return click.echo(f"{path}: applied {', '.join(applied)} in {took_s:.1f} s; schema {before + len(applied)}")


async def _open(path: Path) -> None:
    await (await open_store(path)).close()
