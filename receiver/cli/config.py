"""`receiver config`: shows every setting as it applies here, with its source; secrets are masked."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from receiver import config as settings
from receiver.cli.output import (
    COLUMN_LEAST,
    GAP,
    config_option,
    display_width,
    echo_json,
    format_table,
    json_option,
    terminal_width,
    wrap_text,
)
from receiver.cli.streams import echo, note
from receiver.config import text
from receiver.providers.models import check_model_globs

_HEADS = ("NAME", "VALUE", "SOURCE")


@click.command()
@config_option
@click.option("--example", is_flag=True, help="Print a commented receiver.toml instead.")
@json_option
def config(*, file: Path | None, example: bool, as_json: bool) -> None:
    """Show every setting, its value (secrets masked) and its source."""
    if example:
        return echo(text.example_toml(), nl=False)
    loaded = settings.load_settings(os.environ, file)
    for target in loaded.targets:
        if wrong := check_model_globs(target.models):
            note(f"targets.{target.name}: {wrong}")
    rows = text.describe_settings(loaded)
    if as_json:
        return echo_json([{"name": row.name, "value": row.shown, "source": row.source} for row in rows])
    # RECEIVER_X beside X repeats the name and takes room from the value.
    shown = [(row.name, row.shown, row.source.removesuffix(f" RECEIVER_{row.name}")) for row in rows]
    return echo(
        format_table(_HEADS, (line for row in shown for line in _row_lines(row, _value_width(shown))), shrink=(1, 2))
    )


def _value_width(rows: Sequence[Sequence[str]]) -> int:
    """The columns that are left for a value."""
    beside = sum(max(display_width(row[place]) for row in (_HEADS, *rows)) for place in (0, 2))
    room = terminal_width() or sys.maxsize
    return max(room - beside - 2 * len(GAP), COLUMN_LEAST)


def _row_lines(row: Sequence[str], room: int) -> Iterator[tuple[str, str, str]]:
    """A row on as many lines as its value needs."""
    name, value, source = row
    first, *more = wrap_text(value, room)
    yield name, first, source
    yield from (("", piece, "") for piece in more)
