"""Terminal output: JSON, tables that fit the terminal, times, and text from outside without control characters."""

import errno
import itertools
import os
import re
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from receiver.cli.streams import echo, takes_only_some_characters
from receiver.core.local_time import format_local
from receiver.core.sanitize import one_line

CELL_MOST = 200  # characters
COLUMN_LEAST = 8  # the least width to which a column shrinks
FOLDER = click.Path(file_okay=False, path_type=Path)
GAP = "  "
_NONE = "–"
_C = TypeVar("_C", bound=Callable[..., Any])
_PROSE_WIDTH = 80  # where there is no terminal
_BEYOND_ASCII = re.compile(r"[^\x00-\x7e]")
_CONTROLS = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")  # JSON itself escapes the rest
_TIME_ERRORS = (ValueError, OverflowError, TypeError)  # not a time, one beyond the calendar, one without a zone


def name_config_option(name: str) -> Callable[[_C], _C]:
    """The option `--config`, which comes as the argument `name`."""
    what = "By default ./receiver.toml; as root, else the unit's."
    return click.option("--config", name, type=click.Path(path_type=Path), metavar="FILE", help=what)


config_option = name_config_option("file")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, as the API returns it.")


def choice_option(flag: str, words: type[StrEnum], what: str) -> Callable[[_C], _C]:
    """An option for one of `words`, which its help names."""
    known = [it.value for it in words]
    return click.option(flag, type=click.Choice(known), metavar=flag[2:].upper(), help=f"{what}: {', '.join(known)}.")


def echo_json(value: object) -> None:
    """Print a view as indented JSON, with money and times as the API writes them."""
    echo(_escape_json(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))


def echo_json_line(value: object) -> None:
    """Print a view as one line of JSON."""
    echo(json_line(value))


def json_line(value: object) -> str:
    """A view as one line of JSON."""
    return _escape_json(msgspec.json.encode(value).decode())


def _escape_json(text: str) -> str:
    """The same JSON with control characters escaped, and whatever the terminal may lack: both are only in strings."""
    found = _BEYOND_ASCII if takes_only_some_characters() else _CONTROLS
    return found.sub(lambda it: "".join(f"\\u{unit:04x}" for unit in _utf16_units(it[0])), text)


def _utf16_units(text: str) -> Iterator[int]:
    packed = text.encode("utf-16-be", "surrogatepass")
    return (int.from_bytes(packed[at : at + 2]) for at in range(0, len(packed), 2))


def safe_line(text: str | None) -> str:
    """Text from outside on one line, without control characters; a dash for none."""
    return one_line(text, CELL_MOST) if text else _NONE


def safe_text(text: str) -> str:
    """Text from outside, whole: control characters are escaped, except line ends and tabs."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def format_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    shrink: Sequence[int] = (),
    right: Sequence[int] = (),
    least: Mapping[int, int] | None = None,
) -> str:
    """Aligned columns. Those in `shrink` are narrowed in turn, to what `least` says or `COLUMN_LEAST`, until a line
    fits the terminal; those in `right` are aligned right."""
    lines = [list(heads), *map(list, rows)]
    widths = [max(display_width(line[place]) for line in lines) for place in range(len(heads))]
    for place in shrink:
        if (room := terminal_width()) is None:
            break
        over = sum(widths) + len(GAP) * (len(widths) - 1) - room
        widths[place] = min(widths[place], max(widths[place] - over, (least or {}).get(place, COLUMN_LEAST)))
    return "\n".join(_format_row(line, widths, right) for line in lines)


def _format_row(line: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    padded = [
        _pad_to_width(_cut_to_width(text, width), width, flush=place in right)
        for place, (text, width) in enumerate(zip(line, widths, strict=True))
    ]
    return GAP.join(padded).rstrip()


def prepare_folder(folder: Path) -> None:
    """Make the folder, if it is not there. Raises ClickException where that, or writing into it, is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"cannot make {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise click.ClickException(f"cannot write into {folder}: {os.strerror(errno.EACCES)}")


def terminal_width() -> int | None:
    """The columns of the terminal, or of COLUMNS; None where nothing is cut, as in a pipe or a file."""
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdigit() and int(told) > 0:
        return int(told)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (AttributeError, OSError, ValueError):  # there is none, or it is no terminal
        return None


def display_width(text: str) -> int:
    """How many terminal columns `text` takes: Chinese, Japanese, Korean and emoji two each, accents none."""
    return sum(map(_char_width, text))


def wrap_text(text: str, width: int) -> list[str]:
    """`text` on lines of at most `width` columns, broken between words where possible; nothing is cut."""
    lines, line = [], ""
    for piece in re.findall(r"\S+\s*|\s+", text):
        if line and display_width(line) + display_width(piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        for character in piece:
            if display_width(line) + _char_width(character) > width and not character.isspace():
                lines.append(line)
                line = ""
            line += character
    return [*lines, line.rstrip()]


def _char_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut_to_width(text: str, width: int) -> str:
    if display_width(text) <= width:
        return text
    ends = itertools.accumulate(map(_char_width, text))
    return "".join(c for c, end in zip(text, ends, strict=True) if end < width) + "…"


def _pad_to_width(text: str, width: int, *, flush: bool = False) -> str:
    spaces = " " * (width - display_width(text))
    return spaces + text if flush else text + spaces


def format_facts(pairs: Iterable[tuple[str, str | None]]) -> str:
    """Names and values, aligned, without those that have no value."""
    facts = [(name, value) for name, value in pairs if value]
    width = max((display_width(name) for name, _ in facts), default=0)
    return "\n".join(f"{_pad_to_width(name, width)}{GAP}{value}" for name, value in facts)


def format_rows(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns without heads; those that are empty in every row are left out."""
    shown = [place for place in range(len(rows[0])) if any(row[place] for row in rows)] if rows else []
    widths = {place: max(display_width(row[place]) for row in rows) for place in shown}
    lines = (GAP.join(_pad_to_width(row[place], widths[place]) for place in shown) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def wrap_prose(text: str, indent: str = "") -> str:
    """Sentences, broken between words so that they fit the terminal."""
    return textwrap.fill(
        text,
        terminal_width() or _PROSE_WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def pluralize(count: int, one: str, many: str | None = None) -> str:
    """`1 task`, `1,200 tasks`; `many` where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def age(moment: str, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was: `now`, `12 s`, `5 min`, `3 h`, `8 d`; a future time as `in 5 min`.

    A dash for what is not a time, here and below, because it comes from a server.
    """
    try:
        gone = ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()
    except _TIME_ERRORS:
        return _NONE
    text = _format_span(abs(gone))
    return f"in {text}" if gone <= -1 else text if gone >= 1 else "now"


def time_and_age(moment: str) -> str:
    """An RFC 3339 time with how long ago it was: `2026-11-22 09:16:00 UTC (5 min ago)`."""
    since = age(moment)
    if since == _NONE or local_time(moment) == _NONE:
        return _NONE
    return f"{local_time(moment)} ({since}{'' if since == 'now' or since.startswith('in') else ' ago'})"


def local_time(moment: str) -> str:
    """An RFC 3339 time as `2026-11-22 09:16:00 +01:00` in this machine's time zone."""
    return _format_local(moment, "%Y-%m-%d %H:%M:%S")


def short_time(moment: str) -> str:
    """An RFC 3339 time: `09:16:30 +01:00` in this machine's time zone, with its date if it is a day or more off.

    A whole minute has no seconds, `09:16 +01:00`, as quiet hours are written.
    """
    try:
        at = datetime.fromisoformat(moment)
        if abs(at - datetime.now(UTC)) >= timedelta(days=1):
            return _format_local(moment, "%Y-%m-%d %H:%M")
        return _format_local(moment, "%H:%M:%S" if at.second else "%H:%M")
    except _TIME_ERRORS:
        return _NONE


def time_of_day(moment: datetime) -> str:
    """The time of day on this machine, `09:16:00 +01:00`."""
    return _format_local(moment.isoformat(), "%H:%M:%S")


def _format_local(moment: str, form: str) -> str:
    try:
        return format_local(datetime.fromisoformat(moment), form)
    except _TIME_ERRORS:
        return _NONE


def _format_span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
