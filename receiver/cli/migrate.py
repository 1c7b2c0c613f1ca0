"""`receiver migrate`: migrates the database to this version's schema while the service is stopped."""

import asyncio
import os
import time
from pathlib import Path

import click

from receiver import config
from receiver.cli.output import config_option, echo_json, json_option
from receiver.cli.streams import echo
from receiver.core.errors import DatabaseLocked, SettingsError, StoreUnavailable
from receiver.store import open_store
from receiver.store.migrations.steps import load_migrations
from receiver.store.sqlite.inspect import inspect_database


@click.command()
@config_option
@json_option
def migrate(*, file: Path | None, as_json: bool) -> None:
    """Bring the database to this version's schema, as the service does at its start. Stop the service first."""
    path = config.load_settings(os.environ, file, upkeep=True).sqlite_file
    if path is None:
        raise SettingsError(
            "RECEIVER_DATABASE_URL: PostgreSQL is not available in this version", remedy="use sqlite:///…"
        )
    if not path.is_file():
        raise StoreUnavailable(
            f"there is no database {path}", remedy="say where it is with --config or RECEIVER_DATABASE_URL"
        )
    before = inspect_database(path).schema
    began = time.monotonic()
    try:
        asyncio.run(_apply_migrations(path))
    except DatabaseLocked:
        raise click.ClickException(
            f"the service is running on {path}, and migrated it when it started; stop it to use another version"
        ) from None
    took_s = time.monotonic() - began
    applied = [step.name for step in load_migrations("sqlite") if step.number > before]
    if as_json:
        return echo_json({"applied": applied, "schema": before + len(applied), "seconds": round(took_s, 1)})
    if not applied:
        return echo(f"{path} already has schema {before}: nothing to do")
    return echo(f"{path}: applied {', '.join(applied)} in {took_s:.1f} s; schema {before + len(applied)}")


async def _apply_migrations(path: Path) -> None:
    await (await open_store(path)).close()
