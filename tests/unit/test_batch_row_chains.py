"""Rows that go on from others, and rows of which each is a chain: what they become, and what makes them the same."""

import io
from collections.abc import Sequence

import pytest

from receiver.cli.batch.chain_rows import find_missing_columns, read_chain_defaults
from receiver.cli.batch.check import BatchFile, chunk_rows, keyed_rows
from receiver.cli.batch.keys import RowKeys
from receiver.cli.batch.read_file import Fault, FileShape, find_shape
from receiver.cli.batch.row_chains import KeyedRow
from receiver.cli.batch.rows import RowDefaults
from receiver.cli.submit.chain_file import read_chain
from receiver.client.schemas import WaitFor

REF = "0199d0a0-0000-7000-8000-000000000001"
HEAD = "model,prompt,scale,name,after,from,image_no,anyway,label,key,type\n"
CHAIN = read_chain(
    b"""
label = "chain"
[[step]]
name = "make"
model = "diffusion"
params = { prompt = "${animal} on a ${Place}" }
[[step]]
name = "wide"
model = "outpaint"
after = "make"
image_no = "${n}"
params = { scale = "${scale}" }
"""
)[0]


def place(content: str, **more: object) -> tuple[list[KeyedRow], list[str]]:
    """The rows of a file, and what is wrong with it."""
    file = io.BytesIO(content.encode())
    shape = find_shape(file, uses=CHAIN.names if "chain" in more else None)
    assert isinstance(shape, FileShape), shape
    source = BatchFile("rows.csv", "rows.csv", file, shape, RowDefaults(), **more)  # type: ignore[arg-type]
    found = list(keyed_rows(source, RowKeys()))
    faults = [f"{it.line}: {it.text}" for it in found if isinstance(it, Fault)]
    return [it for it in found if isinstance(it, KeyedRow)], faults


def rows(*lines: str) -> str:
    """A file with these lines; cells at their ends may be left out."""
    return HEAD + "".join(f"{line}{',' * (HEAD.count(',') - line.count(','))}\n" for line in lines)


MAKE, WIDE, BIG = "diffusion,a sea,,make", "outpaint,,1.5,wide,make,,2", "upscale,,,big,wide,,0,,,,creative"


def test_rows_of_a_chain_wait_for_one_another() -> None:
    found, faults = place(rows(MAKE, WIDE, BIG, "diffusion,a hill"))
    assert faults == []
    assert [(it.row.task.name, it.row.task.wait_for, it.row.line) for it in found] == [
        ("make", None, 2),
        ("wide", WaitFor(name="make", image_no=2), 3),
        ("big", WaitFor(name="wide", image_no=0), 4),
        (None, None, 5),
    ]
    assert found[1].row.task.params == {"scale": 1.5}


def test_a_row_may_go_on_from_a_task_that_is_there() -> None:
    found, faults = place(rows(f"outpaint,,1.5,,,{REF},pick", f"outpaint,,2,,,{REF},all"))
    assert faults == []
    assert [it.row.task.wait_for for it in found] == [
        WaitFor(ref=REF, image_no="pick"),
        WaitFor(ref=REF, image_no="all"),
    ]
    assert [it.copies for it in found] == [1, 4]


def test_an_item_of_the_api_may_have_wait_for() -> None:
    item = '{"model": "outpaint", "params": {"scale": 1.5}, "wait_for": %s}\n'
    waits = (f'"{REF}"', f'{{"ref": "{REF}", "image_no": [0, 2]}}')
    found, faults = place("".join(item % it for it in waits))
    assert (faults, [it.row.task.wait_for for it in found]) == (
        [],
        [WaitFor(ref=REF), WaitFor(ref=REF, image_no=(0, 2))],
    )
    _, faults = place(item % '{"ref": "x", "name": "y"}')
    assert faults == ["1: wait_for: it must have ref or name, and may have image_no"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            (MAKE, WIDE.replace("make", "mak")),
            "3: after: no row above it in its chain is named 'mak' (did you mean make?)",
        ),
        ((WIDE,), "2: after: no row above it in its chain is named 'make': the rows of a chain follow one another"),
        ((MAKE, "diffusion,x", WIDE), "4: after: no row above it in its chain is named 'make'"),
        ((MAKE, WIDE, WIDE), "4: name: 'wide' is the name of line 3 already, and that is of the same chain"),
        ((MAKE, WIDE.replace("1.5", "3"), BIG), "3: scale: 3 must be a number from 1.1 to 2.0 (004007005)"),
        ((MAKE, WIDE.replace("1.5", "3"), BIG), "4: after: line 3, which it goes on from, is wrong"),
        ((MAKE, WIDE.replace(",2", ",4")), "3: image_no: there will be no picture 4: make makes 4 pictures"),
        ((MAKE, WIDE.replace(",2", ",")), "3: image_no: from which picture does it go on?"),
        ((MAKE, WIDE.replace(",2", ",any")), "3: image_no: any is not a picture's number"),
        (
            (MAKE.replace("sea", "sea --v 8.1"), WIDE),
            "3: outpaint probably cannot follow make: version 8.1 has no outpaint",
        ),
        ((MAKE, f"outpaint,,1.5,,make,{REF},0"), "3: after and from: give one of them"),
        (("outpaint,,1.5,,,hero,0",), "2: from: 'hero' is not the whole ref of a task"),
        (("diffusion,x,,a b",), "2: name: 'a b' cannot be a row's name"),
        ((f"diffusion,x,,,,{REF}",), "2: diffusion cannot go on from another task: it takes no picture"),
        ((f"outpaint,,9,,,{REF},0", MAKE), "2: scale: 9 must be a number"),
        ((f"outpaint,,1.5,,,{REF},0,maybe",), "2: anyway: write yes or no"),
    ],
)
def test_what_is_wrong_with_a_row_of_a_chain_names_its_line(lines: Sequence[str], expected: str) -> None:
    _, faults = place(rows(*lines))
    assert [it for it in faults if it.startswith(expected)], faults


def test_what_is_only_unlikely_goes_anyway() -> None:
    found, faults = place(rows(MAKE.replace("sea", "sea --v 8.1"), f"{WIDE},yes"))
    assert (faults, [it.row.task.anyway for it in found]) == ([], [False, True])
    assert found[1].hints == ("outpaint may not be able to follow make: version 8.1 has no outpaint, pan and inpaint; "
        "`edit` can do the same",)  # fmt: skip


def test_a_row_counts_once_for_each_picture_that_it_goes_on_from() -> None:
    wide = WIDE.replace(",2", ",all")
    found, faults = place(rows(MAKE, wide, BIG))
    assert (faults, [it.copies for it in found]) == ([], [1, 4, 4])
    _, faults = place(rows(MAKE, wide, *[BIG.replace("big", f"b{it}") for it in range(15)]))
    assert faults == ["18: it makes 65 tasks, and a chain may have 64"]


def keys(*lines: str) -> list[str]:
    found, faults = place(rows(*lines))
    assert faults == []
    return [it.key for it in found]


def test_a_key_follows_from_what_the_row_goes_on_from_and_not_from_names_and_labels() -> None:
    first = keys(MAKE, WIDE, BIG)
    assert len({*first}) == 3
    renamed = keys("diffusion,a sea,,m", "outpaint,,1.5,w,m,,2,,label", BIG.replace("wide", "w"))
    assert renamed == first
    assert keys(MAKE, WIDE, BIG.replace("creative", "standard"))[:2] == first[:2], "what comes before is the same"
    other = keys(MAKE.replace("sea", "hill"), WIDE, BIG)
    assert not {*other} & {*first}
    assert keys(MAKE, WIDE.replace(",2", ",1"), BIG)[1:] != first[1:]


def test_equal_chains_are_counted_as_a_whole() -> None:
    both = keys(MAKE, WIDE, MAKE, WIDE)
    assert len({*both}) == 4
    assert both[2] == f"{both[0]} 2"


def test_a_chain_is_sent_in_one_call_and_no_call_has_a_name_twice() -> None:
    plain = ["diffusion,x"] * 98
    found, _ = place(rows(*plain, MAKE, WIDE, BIG, MAKE, WIDE, "diffusion,y,,n", "diffusion,z"))
    assert [(chunk[0].row.line, chunk[-1].row.line) for chunk in chunk_rows(found)] == [
        (2, 99),
        (100, 102),
        (103, 106),
    ]


# -- rows of which each is a chain --


def test_each_row_is_a_chain_with_its_columns_as_values() -> None:
    content = 'animal,PLACE,n,scale,label,x-order\na cat,pier,pick,1.5,tom,7\na dog,beach,"0,2",2,,8\n'
    found, faults = place(content, chain=CHAIN)
    assert faults == []
    assert [(it.row.line, it.row.task.name, it.row.task.label, it.copies) for it in found] == [
        (2, "make", "tom", 1),
        (2, "wide", "tom", 1),
        (3, "make", "chain", 1),
        (3, "wide", "chain", 2),
    ]
    assert found[0].row.task.params == {"text": "a cat on a pier"}
    assert found[3].row.task.wait_for == WaitFor(name="make", image_no=(0, 2))
    assert {it.row.extras["x-order"] for it in found[2:]} == {"8"}
    assert [len(it) for it in chunk_rows(found)] == [2, 2]


def test_a_row_of_json_is_a_chain_too_and_must_say_everything() -> None:
    content = (
        '{"animal": "a cat", "Place": "pier", "n": [0, 1], "scale": 1.5}\n{"animal": "a dog", "n": 0, "scale": 2}\n'
    )
    found, faults = place(content, chain=CHAIN)
    assert [it.copies for it in found] == [1, 2]
    assert faults == ["2: step make: prompt: ${Place} stands for nothing; known are animal, n, scale"]


def test_what_is_wrong_with_a_row_names_the_step_and_the_row_has_no_tasks() -> None:
    found, faults = place("animal,place,n,scale\na cat,pier,7,3\na dog,,0,2\n", chain=CHAIN)
    assert faults == [
        "2: step wide: image_no: there will be no picture 7: make makes 4 pictures, counted from 0",
        "2: step wide: scale: 3 must be a number from 1.1 to 2.0 (004007005)",
        "3: step make: prompt: ${Place} is empty",
    ]
    assert found == []


def test_a_key_of_the_user_s_own_is_that_of_each_step() -> None:
    found, faults = place("animal,place,n,scale,key\na,b,0,2,k\nc,d,0,2,k\n" + f"e,f,0,2,{'k' * 157}\n", chain=CHAIN)
    assert [it.key for it in found] == ["k#make", "k#wide"]
    assert faults == [
        "3: key: 'k#make' is the key of line 2 already; each may occur once",
        "4: key: it is longer than 156 characters",
    ]


def test_a_column_that_the_chain_does_not_use_is_a_fault_of_the_header() -> None:
    found = find_shape(io.BytesIO(b"animal,plase,n,scale\n"), uses=CHAIN.names)
    assert found == [
        Fault(1, "the chain does not use 'plase' (did you mean Place?); a column of your own begins with x-"),
    ]


def test_a_name_that_the_file_has_not_is_a_fault_of_the_header() -> None:
    shape = find_shape(io.BytesIO(b"\nanimal,n\na,0\n"), uses=CHAIN.names)
    assert isinstance(shape, FileShape)
    defaults = read_chain_defaults(["scale=2"], CHAIN)
    [fault] = find_missing_columns(shape, CHAIN, defaults)
    how = "add the column, or say --set Place=VALUE"
    assert fault == Fault(2, f"the chain uses ${{Place}}, and the file has no such column: {how}")


@pytest.mark.parametrize(("pair", "why"), [("scale", "write NAME=VALUE"), ("scal=1", "did you mean scale?")])
def test_a_shared_value_is_one_that_the_chain_uses(pair: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_chain_defaults([pair], CHAIN)
