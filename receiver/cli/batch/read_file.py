"""A batch's file as records: CSV, JSON Lines or plain lines, told apart by what is in it. Pure but for reading.

A file is read in one go from its beginning, as often as wanted, and no more than one row of it is held.
"""

import csv
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from receiver.cli.batch.columns import Column, is_known_column, resolve_columns
from receiver.cli.batch.text_lines import UnreadableText, read_lines

CELL_MOST = 131_072  # characters: also what the csv module takes
_ROW_MOST = 4 << 20  # characters of a row over all its lines
_HEADER_TRIES = 100  # empty lines before the header
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_REST = "the rows after it were not read"


class FileKind(StrEnum):
    """What a file has."""

    CSV = "csv"
    JSONL = "jsonl"
    LINES = "lines"


class FileShape(Struct, frozen=True):
    """How a file is read. Of CSV: its delimiter and its columns, in order, and the line of the header."""

    kind: FileKind
    delimiter: str = ","
    columns: tuple[Column, ...] = ()
    header_line: int = 0
    uses: tuple[str, ...] | None = None  # the names that a chain uses, if each row is one


class Record(Struct, frozen=True):
    """One row as it stands in the file: the line where it begins, and values by column. Empty cells are left out.

    Values of CSV and of plain lines are text; those of JSON have their types.
    """

    line: int
    values: dict[str, Any]


class Fault(Struct, frozen=True):
    """What is wrong with a row, or with the file from there on: it `ends` there, and the rest was not read."""

    line: int
    text: str
    ends: bool = False


def find_shape(
    file: BinaryIO, lines_field: str | None = None, uses: tuple[str, ...] | None = None
) -> FileShape | list[Fault]:
    """How the file is to be read, or what is wrong with its beginning. `lines_field`: each line is that parameter.
    `uses`: each row is a chain that uses these names."""
    if lines_field is not None:
        return FileShape(FileKind.LINES, columns=(Column(lines_field, title=lines_field),), uses=uses)
    try:
        first = next(((number, text) for number, text in enumerate(read_lines(file), 1) if text.strip()), None)
        if first is None:
            return [Fault(1, "the file is empty")]
        number, text = first
        if text.lstrip().startswith("{"):
            return FileShape(FileKind.JSONL, uses=uses)
        if text.lstrip().startswith("["):
            how = "put each row on a line of its own, without brackets, as `jq -c '.[]'` does"
            return [Fault(number, f"the file is one JSON list: {how}")]
        return _find_csv_shape(file, uses)
    except UnreadableText as error:
        return [Fault(error.line, str(error))]


def read_records(file: BinaryIO, shape: FileShape) -> Iterator[Record | Fault]:
    """The rows of a file, and a fault for each that cannot be read."""
    readers = {FileKind.CSV: _read_csv, FileKind.JSONL: _read_json_lines, FileKind.LINES: _read_plain_lines}
    try:
        yield from readers[shape.kind](file, shape)
    except UnreadableText as error:
        yield Fault(error.line, f"{error}; {_REST}", ends=True)


# -- CSV --


class _GuardedLines:
    """Lines for the csv module, which would put any number of them into one row if a quote is not closed."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = read_lines(file)
        self.length = 0  # of the row so far

    def __iter__(self) -> "_GuardedLines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.length += len(line)
        if self.length > _ROW_MOST:
            raise csv.Error("row too long")
        return line


def _csv_rows(file: BinaryIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, with the line where each begins. Raises UnreadableText."""
    lines = _GuardedLines(file)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        begins, lines.length = reader.line_num + 1, 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UnreadableText(begins, _explain_csv_error(str(error))) from None
        if any(cell.strip() for cell in cells):
            yield begins, cells


def _explain_csv_error(error: str) -> str:
    if "expected after" in error:
        return 'text follows a closing quote; put the whole cell in quotes, and write quotes inside it twice ("")'
    if "unexpected end" in error:
        return 'a quote (") is opened here and never closed'
    if "larger than" in error or "too long" in error:
        return f'a cell is longer than {CELL_MOST:,} characters; perhaps a quote (") is opened here and never closed'
    return f"this cannot be read as CSV ({error})"


def _find_csv_shape(file: BinaryIO, uses: tuple[str, ...] | None) -> FileShape | list[Fault]:
    """The delimiter by which the header has the most known columns, and these columns."""
    tried: list[tuple[int, int, FileShape, list[str]]] = []
    failed: UnreadableText | None = None
    for delimiter in DELIMITERS:
        try:
            rows = _csv_rows(file, delimiter)
            line, header = next(rows, (1, []))
            if header[0][:4].lower() == "sep=":  # Excel's own way to name the delimiter
                line, header = next(rows, (line, []))
        except UnreadableText as error:
            failed = error
            continue
        known = sum(is_known_column(it, uses) for it in header)
        shape = FileShape(FileKind.CSV, delimiter, header_line=line)
        tried.append((known, -len(tried), shape, header))
    if not tried:
        assert failed is not None  # noqa: S101 - every delimiter was tried
        raise failed
    known, _, shape, header = max(tried, key=lambda it: it[:2])
    if not known:
        delimiters = ", ".join(DELIMITERS.values())
        how = f"the first row must name the columns, with {delimiters} between them; for plain prompts say --lines"
        return [Fault(shape.header_line, f"none of its columns is known: {how}")]
    columns, faults = resolve_columns(header, uses=uses)
    if faults:
        return [Fault(shape.header_line, text) for text in faults]
    return FileShape(FileKind.CSV, shape.delimiter, columns, shape.header_line, uses)


def _read_csv(file: BinaryIO, shape: FileShape) -> Iterator[Record | Fault]:
    count = len(shape.columns)
    least = max((place + 1 for place, column in enumerate(shape.columns) if column.name), default=0)
    for line, cells in _csv_rows(file, shape.delimiter):
        if line <= shape.header_line:
            continue
        if len(cells) < least:
            yield Fault(line, f"it has {_cells(len(cells))}, and the header has {count}: some are missing at its end")
            continue
        stray = next((place for place in range(count, len(cells)) if cells[place].strip()), None)
        if stray is not None:
            what = f"a {DELIMITERS[shape.delimiter]} that belongs to a text must be inside quotes"
            yield Fault(line, f"it has {_cells(len(cells))}, and the header has {count}: {what}")
            continue
        yield from _csv_record(line, cells, shape.columns)


def _csv_record(line: int, cells: Sequence[str], columns: Sequence[Column]) -> Iterator[Record | Fault]:
    values: dict[str, Any] = {}
    for place, (cell, column) in enumerate(zip(cells, columns, strict=False), 1):
        text = cell if column.extra else cell.strip()
        if not text:
            continue
        if not column.name:
            yield Fault(line, f"column {place} has a value here, and no name in the header")
            return
        if "\0" in text:
            yield Fault(line, f"{column.title}: it has a NUL character, which no text may have")
            return
        values[column.name] = text
    if values:
        yield Record(line, values)


def _cells(count: int) -> str:
    return f"{count:,} cell{'' if count == 1 else 's'}"


# -- JSON Lines, and plain lines --


def _read_json_lines(file: BinaryIO, shape: FileShape) -> Iterator[Record | Fault]:
    for number, line in enumerate(read_lines(file), 1):
        if not line.strip():
            continue
        try:
            found = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            yield Fault(number, f"it is not JSON: {str(error)[:200]}")
            continue
        if not isinstance(found, dict):
            yield Fault(number, 'it is not a JSON object, as in {"model": …, "params": {…}}')
            continue
        columns, faults = resolve_columns(list(found), json=True, uses=shape.uses)
        if faults:
            yield Fault(number, faults[0])
            continue
        pairs = [it for it in zip(columns, found.values(), strict=True) if it[1] is not None and it[1] != ""]
        fault = next((text for column, value in pairs if (text := _text_fault(column.title, value))), None)
        given = {column.name: value for column, value in pairs}
        yield Record(number, given) if fault is None else Fault(number, fault)


def _text_fault(name: str, value: object) -> str | None:
    if not isinstance(value, str):
        return None
    if len(value) > CELL_MOST:
        return f"{name}: it is longer than {CELL_MOST:,} characters"
    return f"{name}: it has a NUL character, which no text may have" if "\0" in value else None


def _read_plain_lines(file: BinaryIO, shape: FileShape) -> Iterator[Record | Fault]:
    name = shape.columns[0].name
    for number, line in enumerate(read_lines(file), 1):
        text = line.strip()
        if not text:
            continue
        fault = _text_fault(name, text)
        yield Record(number, {name: text}) if fault is None else Fault(number, fault)
