"""`receiver prune`: applies RETENTION now, through the running service or, if none runs, by itself."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import click

from receiver import config
from receiver.cli.connect import connect
from receiver.cli.output import config_option, echo_json, json_option
from receiver.cli.streams import echo
from receiver.config import Settings
from receiver.core.errors import ApiError, DatabaseLocked, StoreUnavailable
from receiver.service.wiring import open_pruner
from receiver.store.sqlite.inspect import inspect_database


@click.command()
@config_option
@json_option
def prune(*, file: Path | None, as_json: bool) -> None:
    """Remove now what is older than RETENTION allows; the service does so every hour by itself.

    A running service is asked to begin at once, and goes on in the background. If none runs, the command does it all
    itself, and returns the freed space to the disk. For an hour after a leap of the clock, nothing is removed. Over
    PostgreSQL the command always does it itself, beside the service.
    """
    settings = config.load_settings(os.environ, file, upkeep=True)
    path = settings.sqlite_file
    if path is None:
        removed = asyncio.run(_prune_offline(settings))
        return echo_json({"removed": dict(removed), "given_back": 0}) if as_json else echo(_removed_line(removed))
    if not path.is_file():
        raise StoreUnavailable(
            f"there is no database {path}", remedy="say where it is with --config or RECEIVER_DATABASE_URL"
        )
    before = inspect_database(path).size
    try:
        removed = asyncio.run(_prune_offline(settings))
    except DatabaseLocked:
        begun = _ask_service(file, path)
        if as_json:
            return echo_json({"begun": begun})
        return echo(f"the running service {'begins now' if begun else 'is already pruning'}; see its log")
    given_back = max(0, before - path.stat().st_size)
    if as_json:
        return echo_json({"removed": dict(removed), "given_back": given_back})
    return echo(f"{_removed_line(removed)}; {given_back / (1 << 20):.1f} MiB returned to the disk")


def _removed_line(removed: Mapping[str, int]) -> str:
    counts = ", ".join(f"{count:,} of {name}" for name, count in removed.items() if count) or "nothing"
    return f"removed: {counts}"


def _ask_service(file: Path | None, path: Path) -> bool:
    """Ask the service that has the database to prune; False if it already is. Raises ApiError."""
    with connect(file) as client:
        try:
            return client.start_pruning()
        except ApiError as error:
            if error.status:
                raise
            raise click.ClickException(
                f"another process has {path} open, and no service answers at {client.server}: if a restore or another "
                "prune is running, wait for it; else set RECEIVER_SERVER to the service's address"
            ) from None


async def _prune_offline(settings: Settings) -> Mapping[str, int]:
    async with open_pruner(settings) as pruner:
        await pruner.run_full_pass()
    return pruner.removed
