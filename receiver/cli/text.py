"""How the commands write: JSON, tables that fit a terminal, ages, and words from outside made harmless."""

import shutil
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click
import msgspec

from receiver.messages import one_line

CELL_MOST = 200  # characters
GAP = "  "

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, as the API gives it.")


def echo_json(value: object) -> None:
    """Print a view as JSON, indented, money and times as the API writes them."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def echo_json_line(value: object) -> None:
    """Print a view as one line of JSON."""
    click.echo(msgspec.json.encode(value))


def cell(text: str | None) -> str:
    """Text from outside on one line, without what could speak to a terminal; a dash for none."""
    return one_line(text, CELL_MOST) if text else "–"


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, shrink: int | None = None, right: Sequence[int] = ()
) -> str:
    """Aligned columns. Column number `shrink` gives way, down to eight characters, so that a line fits the terminal;
    those of `right` end flush."""
    lines = [list(heads), *map(list, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    if shrink is not None:
        room = shutil.get_terminal_size().columns - sum(widths) - len(GAP) * (len(widths) - 1) + widths[shrink]
        widths[shrink] = min(widths[shrink], max(room, 8))
    return "\n".join(_row(line, widths, right) for line in lines)


def _row(line: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    cut = [text if len(text) <= width else f"{text[: width - 1]}…" for text, width in zip(line, widths, strict=True)]
    padded = [
        text.rjust(width) if place in right else text.ljust(width)
        for place, (text, width) in enumerate(zip(cut, widths, strict=True))
    ]
    return GAP.join(padded).rstrip()


def facts(pairs: Iterable[tuple[str, str | None]]) -> str:
    """Names and values, aligned; those without a value are left out."""
    told = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in told), default=0)
    return "\n".join(f"{name.ljust(width)}{GAP}{value}" for name, value in told)


def age(moment: str, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was: `now`, `12 s`, `5 min`, `3 h`, `8 d`; times ahead as `in 5 min`."""
    gone = ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()
    text = _span(abs(gone))
    return f"in {text}" if gone <= -1 else text if gone >= 1 else "now"


def local(moment: str | None) -> str | None:
    """An RFC 3339 time as `2026-11-22 09:16:00` of this machine's zone."""
    return None if moment is None else datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock(moment: datetime) -> str:
    """The time of day on this machine, `09:16:00`."""
    return moment.astimezone().strftime("%H:%M:%S")


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
