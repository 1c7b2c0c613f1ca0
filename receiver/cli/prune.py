"""`receiver prune`: what RETENTION says, now: by the running service, or else by this command alone."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import click

from receiver import config
from receiver.cli.connect import connect
from receiver.cli.output import echo_json, json_option
from receiver.config import Settings
from receiver.core.errors import ApiError, DatabaseLocked, SettingsError, StoreUnavailable
from receiver.service.wiring import open_pruner
from receiver.store.sqlite.inspect import inspect_database


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="By default ./receiver.toml.")
@json_option
def prune(*, file: Path | None, as_json: bool) -> None:
    """Remove now what is older than RETENTION says; the service does so by itself, every hour.

    Where it runs, it is asked to begin at once, and goes on in the background. Where it does not, all is done here, and
    the room that falls free is given back to the disk.
    """
    settings = config.load_settings(os.environ, file, upkeep=True)
    path = settings.sqlite_file
    if path is None:
        raise SettingsError("RECEIVER_DATABASE_URL: PostgreSQL is not available in this version; use sqlite:///…")
    if not path.is_file():
        raise StoreUnavailable(f"there is no database {path}: say where it is, by --config or RECEIVER_DATABASE_URL")
    before = inspect_database(path).size
    try:
        removed = asyncio.run(_prune_offline(settings))
    except DatabaseLocked:
        begun = _ask_service(file, path)
        if as_json:
            return echo_json({"begun": begun})
        return click.echo("the running service " + ("begins now" if begun else "is at it already") + "; its log tells")
    given_back = max(0, before - path.stat().st_size)
    if as_json:
        return echo_json({"removed": dict(removed), "given_back": given_back})
    told = ", ".join(f"{count:,} of {name}" for name, count in removed.items() if count) or "none, all is young enough"
    return click.echo(f"removed: {told}; {given_back / (1 << 20):.1f} MiB given back to the disk")


def _ask_service(file: Path | None, path: Path) -> bool:
    """Whether the service that has the database begins now; False if it is at it already. Raises ApiError."""
    with connect(file) as client:
        try:
            return client.start_pruning()
        except ApiError as error:
            if error.status:
                raise
            raise click.ClickException(
                f"another process has {path}, and no service answers at {client.server}: if upkeep is under way, wait "
                "for its end; else set RECEIVER_SERVER to where the service is"
            ) from None


async def _prune_offline(settings: Settings) -> Mapping[str, int]:
    async with open_pruner(settings) as pruner:
        await pruner.run_full_pass()
    return pruner.removed
