"""A batch's file as people really have them: its rows, the line where each begins, and what is wrong."""

import codecs
import io
import json
import tracemalloc
from collections.abc import Iterator

import pytest

from receiver.cli.batch.read_file import CELL_MOST, Fault, FileKind, FileShape, Record, find_shape, read_records
from receiver.cli.batch.text_lines import LINE_MOST, UnreadableText, has_byte_order_mark, read_lines

HEADER = "jobId,imageNo,scale,remixPrompt"
ROW = {"jobid": "a", "imageno": "0", "scale": "1.5"}


def read(content: str | bytes) -> list[Record | Fault]:
    """The rows and faults of a file."""
    file = io.BytesIO(content.encode() if isinstance(content, str) else content)
    shape = find_shape(file)
    return shape if isinstance(shape, list) else list(read_records(file, shape))  # type: ignore[return-value]


def shape_of(content: str) -> FileShape:
    shape = find_shape(io.BytesIO(content.encode()))
    assert isinstance(shape, FileShape), shape
    return shape


def only_fault(content: str | bytes) -> tuple[int, str]:
    [fault] = read(content)
    assert isinstance(fault, Fault), fault
    return fault.line, fault.text


@pytest.mark.parametrize(
    ("codec", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
    ],
)
def test_every_usual_encoding_gives_the_same_rows(codec: str, mark: bytes) -> None:
    content = mark + f"{HEADER}\r\na,0,1.5,Möwen 🎨\r\n".encode(codec)
    assert read(content) == [Record(2, {**ROW, "remixprompt": "Möwen 🎨"})]
    assert has_byte_order_mark(io.BytesIO(content)) == bool(mark)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "{end}", "{end}{end}  {end}"])
def test_any_line_end_and_empty_lines_count(end: str, last: str) -> None:
    content = f"{HEADER}{end}{end}a,0,1.5,{end},,,{end}b,0,1.5," + last.format(end=end)
    assert read(content) == [Record(3, ROW), Record(5, {**ROW, "jobid": "b"})]


def test_a_line_end_in_two_pieces_of_the_file_is_one() -> None:
    """The first piece ends between CR and LF."""
    first = HEADER + "," * ((1 << 16) - 1 - len(HEADER))
    content = f"{first}\r\na,0,1.5{',' * (first.count(',') - 2)}\r\n"
    assert content[1 << 16] == "\n"
    assert read(content) == [Record(2, ROW)]


def test_a_row_is_named_by_the_line_where_it_begins() -> None:
    content = f'{HEADER}\na,0,1.5,"two\r\nlines\n\nand ""more"""\nb,0,1.5,\n'
    assert read(content) == [
        Record(2, {**ROW, "remixprompt": 'two\nlines\n\nand "more"'}),
        Record(6, {**ROW, "jobid": "b"}),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_that_of_the_header(delimiter: str) -> None:
    rows = [HEADER.split(","), ["a", "0", "1.5", '"a, b; c\td"']]
    content = "\n".join(delimiter.join(cells) for cells in rows)
    assert shape_of(content).delimiter == delimiter
    assert read(content) == [Record(2, {**ROW, "remixprompt": "a, b; c\td"})]


def test_excel_may_name_the_delimiter() -> None:
    assert read("sep=;\njobId;imageNo;scale\na;0;1,5\n") == [Record(3, {**ROW, "scale": "1,5"})]


@pytest.mark.parametrize("spelt", ["imageNo", "image-no", "image_no", "IMAGE NO", " imageno "])
def test_a_column_may_be_spelt_as_on_the_wire_or_as_an_option(spelt: str) -> None:
    assert read(f"job_id,{spelt},Scale\na,0,1.5\n") == [Record(2, ROW)]


def test_own_columns_are_taken_as_they_are() -> None:
    assert read(f"{HEADER},x-Order, X-note \na,0,1.5,, 0042 ,\n") == [Record(2, {**ROW, "x-Order": " 0042 "})]


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("jobId,imageNo,scle", "there is no column 'scle' (did you mean scale?)"),
        (
            "jobId,imageNo,zzzzzz",
            "there is no column 'zzzzzz': known are text, task_id, imageNo, remixPrompt, jobId, type, mode, scale",
        ),
        ("jobId,imageNo,image_no,scale", "'image_no' and 'imageNo' are the same column: leave one out"),
    ],
)
def test_a_wrong_header_is_one_fault_that_helps(header: str, why: str) -> None:
    line, text = only_fault(f"\n{header}\na,0,1.5\n")
    assert line == 2
    assert text.startswith(why)


def test_a_file_without_a_header_is_told_what_is_missing() -> None:
    line, text = only_fault("a lighthouse\na house by the sea\n")
    assert (line, text.partition(":")[0]) == (1, "none of its columns is known")
    assert "--lines" in text


@pytest.mark.parametrize("content", ["", "\n \n", codecs.BOM_UTF8])
def test_an_empty_file_is_a_fault(content: str | bytes) -> None:
    assert only_fault(content) == (1, "the file is empty")


def test_a_row_with_too_few_or_too_many_cells_is_refused() -> None:
    """A cell too few may be a cell that is cut off; one too many is a comma without quotes. Empty ones do no harm."""
    few, many, fine = read(f"{HEADER}\na,0,1.5\na,0,1.5,red, green\na,0,1.5,,,,\n")
    assert few == Fault(2, "it has 3 cells, and the header has 4: some are missing at its end")
    assert isinstance(many, Fault)
    assert many.line == 3
    assert "a comma that belongs to a text must be inside quotes" in many.text
    assert fine == Record(4, ROW)


def test_a_column_without_a_name_must_be_empty() -> None:
    assert read("jobId,imageNo,scale,\na,0,1.5,\na,0,1.5\na,0,1.5,x\n") == [
        Record(2, ROW),
        Record(3, ROW),
        Fault(4, "column 4 has a value here, and no name in the header"),
    ]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('a,0,1.5,"never closed\nb,0,1.5,\n', 'a quote (") is opened here and never closed'),
        ('a,0,1.5,"never closed\n' + "b,0,1.5,\n" * 20_000, "a cell is longer than 131,072 characters"),
        (f"a,0,1.5,{'x' * 1_000_000}\n", "a cell is longer than 131,072 characters"),
        (f"a,0,1.5,{'x' * (LINE_MOST + 1)}\n", "the line is longer than 1,048,576 characters"),
        ('a,0,1.5,"a" b\n', "text follows a closing quote"),
    ],
    ids=["unclosed", "unclosed in a long file", "1 MB cell", "a line beyond all bounds", "text after a quote"],
)
def test_what_breaks_the_rows_apart_ends_the_reading_there(row: str, why: str) -> None:
    good, bad = read(f"{HEADER}\nz,0,1.5,\n{row}")
    assert good == Record(2, {**ROW, "jobid": "z"})
    assert isinstance(bad, Fault)
    assert bad.line == 3
    assert bad.text.startswith(why)
    assert bad.text.endswith("the rows after it were not read")
    assert bad.ends


def test_a_row_of_endless_lines_is_bounded() -> None:
    cell = '"' + "x" * 100_000 + '\n",'
    _, bad = read(f"{HEADER}\nz,0,1.5,\n{cell * 50}")
    assert isinstance(bad, Fault)
    assert bad.line == 3


def test_a_nul_character_is_one_row_s_fault() -> None:
    assert read(f"{HEADER}\na,0,1.5,x\0y\nb,0,1.5,\n") == [
        Fault(2, "remixPrompt: it has a NUL character, which no text may have"),
        Record(3, {**ROW, "jobid": "b"}),
    ]


@pytest.mark.parametrize("before", [0, 70_000])
def test_what_is_not_utf_8_is_named_by_line_and_byte(before: int) -> None:
    content = f"{HEADER}\r\n".encode() + b"a,0,1.5,\r\n" * before + "ü,0,1.5,M".encode() + b"\xf6wen\r\n"
    file = io.BytesIO(content)
    with pytest.raises(UnreadableText, match=r"^byte 11 of the line \(0xf6\) is not UTF-8; save the file") as caught:
        list(read_lines(file))
    assert caught.value.line == before + 2


@pytest.mark.parametrize("before", [1, 5, 20_000])
@pytest.mark.parametrize("bad", [b"b,0,1.5,M\xf6wen\n", b"b" * (LINE_MOST + 1)], ids=["byte", "length"])
def test_every_row_before_what_cannot_be_read_is_read(before: int, bad: bytes) -> None:
    """Also those of the same piece of the file."""
    content = f"{HEADER}\n".encode() + b"a,0,1.5,\n" * before + bad + b"a,0,1.5,\n" * 5
    *rows, last = read(content)
    assert rows == [Record(line, ROW) for line in range(2, before + 2)]
    assert isinstance(last, Fault)
    assert (last.line, last.ends) == (before + 2, True)


def test_half_a_character_at_the_end_is_not_utf_8() -> None:
    with pytest.raises(UnreadableText, match="byte 2 of the line") as caught:
        list(read_lines(io.BytesIO(b"a\rb\xc3")))
    assert caught.value.line == 2
    with pytest.raises(UnreadableText, match="is not UTF-16"):
        list(read_lines(io.BytesIO(codecs.BOM_UTF16_LE + "a\nb".encode("utf-16-le") + b"\0")))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (HEADER.encode("utf-16-le"), "the file looks like UTF-16 without a byte order mark; save the file as UTF-8"),
        (codecs.BOM_UTF32_LE + HEADER.encode("utf-32-le"), "the file is UTF-32; save the file as UTF-8"),
        (b"PK\x03\x04\x14\0", "the file is a spreadsheet, not text; export it as CSV (UTF-8)"),
    ],
)
def test_what_no_editor_saves_as_text_is_named(content: bytes, why: str) -> None:
    assert only_fault(content) == (1, why)


def test_json_lines_are_items_of_the_api_or_columns() -> None:
    item = {"model": "midjourney_outpaint", "params": {"jobId": "a", "imageNo": 0, "scale": 1.5}, "label": "é\n"}
    flat = {"Model": "outpaint", "image-no": 0, "x-n": [1], "scale": None}
    assert read(f"\n {json.dumps(item)}\n\n{json.dumps(flat)}\r\n") == [
        Record(2, item),
        Record(4, {"model": "outpaint", "imageno": 0, "x-n": [1]}),
    ]
    assert shape_of(json.dumps(item)).kind is FileKind.JSONL


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "it is not JSON: "),
        ("[1]", "it is not a JSON object"),
        ('{"scal": 1}', "there is no column 'scal' (did you mean scale?)"),
        ('{"imageNo": 1, "image_no": 2}', "'image_no' and 'imageNo' are the same column"),
        (json.dumps({"prompt": "x" * (CELL_MOST + 1)}), "prompt: it is longer than 131,072 characters"),
        (json.dumps({"label": "a\0b"}), "label: it has a NUL character"),
        ("[" * 100_000, "it is not JSON: "),
    ],
)
def test_each_bad_line_of_json_is_one_fault(line: str, why: str) -> None:
    good = '{"jobId": "a"}'
    first, bad, last = read(f"{good}\n{line}\n{good}\n")
    assert isinstance(bad, Fault)
    assert bad.line == 2
    assert bad.text.startswith(why)
    assert (first, last) == (Record(1, {"jobid": "a"}), Record(3, {"jobid": "a"}))


def test_one_json_list_is_told_how_to_become_lines() -> None:
    assert only_fault('[\n{"jobId": "a"}\n]')[1].startswith("the file is one JSON list")


def test_plain_lines_are_values_of_one_parameter() -> None:
    file = io.BytesIO(b'a house, "red"\n\n{a,b}\r\n')
    shape = find_shape(file, "prompt")
    assert isinstance(shape, FileShape)
    assert list(read_records(file, shape)) == [
        Record(1, {"prompt": 'a house, "red"'}),
        Record(3, {"prompt": "{a,b}"}),
    ]


def test_a_long_file_is_never_held() -> None:
    """A hundred thousand rows are read in the memory of a few."""
    line = f"a,0,1.5,{'x' * 100}\n".encode()
    file = io.BytesIO(HEADER.encode() + b"\n" + line * 100_000)
    shape = find_shape(file)
    assert isinstance(shape, FileShape)

    def last(records: Iterator[Record | Fault]) -> Record | Fault:
        for record in records:
            found = record
        return found

    tracemalloc.start()
    try:
        assert last(read_records(file, shape)).line == 100_001
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
