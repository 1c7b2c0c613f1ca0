"""What became of a batch's rows, as CSV or JSON Lines: one row of the file, one line."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from receiver.atomic_files import atomic_write
from receiver.cli.batch.sent_rows import SentRow, SentRows
from receiver.cli.output import json_line
from receiver.client.batch_schemas import BatchRowResult

COLUMNS = (
    "line", "key", "ref", "state", "unsure", "confirmed", "model", "label", "cost", "error_code", "error", "urls",
    "submitted_at", "settled_at", "again_of", "step",
)  # fmt: skip
ENDINGS = (".csv", ".jsonl")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


class ResultsFile(click.Path):
    """The name of a file for results: its ending says how they are written."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        if isinstance(path, Path) and path.suffix.lower() not in ENDINGS:
            self.fail(f"its name must end in {' or '.join(ENDINGS)}, which says how it is written", param, ctx)
        if isinstance(path, Path) and not path.absolute().parent.is_dir():
            self.fail(f"there is no folder {path.parent}", param, ctx)
        return path


def write_results(
    path: Path, results: Iterable[BatchRowResult], sent: SentRows | None = None, *, delimiter: str = ","
) -> int:
    """Write a file of results, whole or not at all. Returns how many there are. Raises ClickException."""
    count = 0
    is_csv = path.suffix.lower() == ".csv"
    lines = format_csv(results, sent, delimiter=delimiter) if is_csv else format_json(results, sent)
    try:
        with atomic_write(path, mode=0o666, durable=False) as file:
            for line in lines:
                file.write(line.encode("utf-8", "replace"))
                count += 1
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
    return count - 1 if is_csv else count


def format_csv(
    results: Iterable[BatchRowResult], sent: SentRows | None = None, *, delimiter: str = ","
) -> Iterator[str]:
    """The header, then a line for each result, with the user's own columns at its end."""
    extra_names = list(sent.extra_names) if sent else []
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")

    def line_of(cells: Iterable[object]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        return buffer.getvalue()

    yield line_of((*COLUMNS, *extra_names))
    for result in results:
        row = _find_row(result, sent)
        extras = row.extras if row else {}
        yield line_of((*_cells(result, row), *(_text(extras.get(name)) for name in extra_names)))


def format_json(results: Iterable[BatchRowResult], sent: SentRows | None = None) -> Iterator[str]:
    """A line for each result, as the API has it, with `key` and the user's own columns if there are any."""
    for result in results:
        row = _find_row(result, sent)
        if row is None:
            yield json_line(result) + "\n"
            continue
        found: dict[str, Any] = msgspec.to_builtins(result)
        found["line"] = row.line
        key = {"key": row.key} if row.key is not None else {}
        yield json_line({**found, **key, **row.extras}) + "\n"


def _find_row(result: BatchRowResult, sent: SentRows | None) -> SentRow | None:
    """The row of the file: of a task that was tried again, that of the first."""
    return (sent.find(result.ref) or sent.find(result.again_of)) if sent else None


def _cells(result: BatchRowResult, row: SentRow | None) -> Iterator[str]:
    error = result.error
    yield str(row.line if row else result.line)
    yield (row and row.key) or ""
    yield result.ref
    yield result.state
    yield "yes" if result.unsure else "no"
    yield "yes" if result.confirmed else "no"
    yield result.model or ""
    yield result.label or ""
    yield result.cost or ""
    yield error.code if error else ""
    yield _disarm(error.message) if error else ""
    yield " ".join(result.urls)
    yield result.submitted_at or ""
    yield result.settled_at or ""
    yield result.again_of or ""
    yield result.step or ""


def _disarm(text: str) -> str:
    """A text of the provider's that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _text(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
