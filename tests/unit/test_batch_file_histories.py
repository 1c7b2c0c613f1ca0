"""Whatever table a spreadsheet writes, its rows come back with the lines where they begin."""

import codecs
import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.cli.batch.read_file import Fault, FileShape, Record, find_shape, read_records

COLUMNS = ("jobId", "remixPrompt", "label", "x-note")
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)
CODECS = {"utf-8": b"", "utf-8-sig": b"", "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}


def expected(rows: list[list[str]]) -> list[Record]:
    """The records, counting lines as an editor does."""
    found, line = [], 2
    for cells in rows:
        values = {
            name: cell if name == "x-note" else cell.strip()
            for name, cell in zip(("jobid", "remixprompt", "label", "x-note"), cells, strict=True)
        }
        given = {name: cell for name, cell in values.items() if cell}
        if given and any(cell.strip() for cell in cells):
            found.append(Record(line, given))
        line += 1 + sum(cell.count("\n") for cell in cells)
    return found


@settings(deadline=None)
@given(
    rows=st.lists(st.lists(CELL, min_size=4, max_size=4), max_size=6),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    codec=st.sampled_from(sorted(CODECS)),
)
def test_every_table_comes_back(rows: list[list[str]], delimiter: str, end: str, codec: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([COLUMNS, *rows])
    file = io.BytesIO(CODECS[codec] + text.getvalue().encode(codec))
    shape = find_shape(file)
    assert isinstance(shape, FileShape)
    assert shape.delimiter == delimiter
    assert list(read_records(file, shape)) == expected(rows)


@settings(deadline=None)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_content_is_more_than_faults(content: bytes) -> None:
    """Whatever the bytes are, there are rows and faults, and never an exception."""
    for before in (b"", b"jobId,scale\n", b'{"jobId": "a"}\n', codecs.BOM_UTF16_LE):
        file = io.BytesIO(before + content)
        shape = find_shape(file)
        found = shape if isinstance(shape, list) else list(read_records(file, shape))
        assert all(isinstance(it, Record | Fault) and it.line > 0 for it in found)
