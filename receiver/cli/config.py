"""`receiver config`: every setting as it is in force here, with its source; secrets masked."""

import os
from pathlib import Path

import click

from receiver import config as settings
from receiver.cli.text import echo_json, json_option, table
from receiver.config import text
from receiver.parameters import check_globs


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="By default ./receiver.toml.")
@click.option("--example", is_flag=True, help="Print a commented receiver.toml instead.")
@json_option
def config(*, file: Path | None, example: bool, as_json: bool) -> None:
    """Every setting, its value (secrets masked; cut to fit, but for --json) and where it came from."""
    if example:
        return click.echo(text.example(), nl=False)
    loaded = settings.load(os.environ, file)
    for target in loaded.targets:
        if wrong := check_globs(target.models):
            click.echo(f"targets.{target.name}: {wrong}", err=True)
    rows = text.describe(loaded)
    if as_json:
        return echo_json([{"name": row.name, "value": row.shown, "source": row.source} for row in rows])
    # RECEIVER_X beside X says nothing, and takes the room of the value.
    told = [(row.name, row.shown, row.source.removesuffix(f" RECEIVER_{row.name}")) for row in rows]
    return click.echo(table(("NAME", "VALUE", "SOURCE"), told, shrink=(1, 2)))
