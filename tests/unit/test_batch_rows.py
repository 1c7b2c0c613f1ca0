"""Rows of a batch: what each submits, what is wrong with it, and what makes it the same row later."""

from typing import Any

import msgspec
import pytest

from receiver.cli.batch.keys import RowKeys, name_stem
from receiver.cli.batch.read_file import Fault, Record
from receiver.cli.batch.rows import Row, RowDefaults, build_row, read_defaults, resolve_field
from receiver.client.schemas import NewTask

GOOD = {"model": "outpaint", "jobid": "a", "imageno": "0", "scale": "1.5"}


def build(**values: Any) -> Row:
    row = build_row(Record(7, {**GOOD, **values}), RowDefaults())
    assert isinstance(row, Row), row
    return row


def faults(**values: Any) -> list[str]:
    found = build_row(Record(7, {name: it for name, it in {**GOOD, **values}.items() if it is not None}), RowDefaults())
    assert isinstance(found, list), found
    assert {it.line for it in found} == {7}
    return [it.text for it in found]


def fault(**values: Any) -> str:
    [text] = faults(**values)
    return text


def test_a_row_of_text_is_a_task() -> None:
    row = build(
        prompt="a sea", label="hero", target="me, team", poll_only="Yes", key="k", priority="high", **{"x-n": "1"}
    )
    assert row.task == NewTask(
        model="midjourney_outpaint",
        params={"jobId": "a", "imageNo": 0, "scale": 1.5, "remixPrompt": "a sea"},
        label="hero",
        targets=("me", "team"),
        poll_only=True,
        line=7,
    )
    assert (row.key, row.priority, row.extras) == ("k", "high", {"x-n": "1"})
    assert msgspec.json.decode(row.params) == row.task.params


def test_an_item_of_the_api_is_a_task() -> None:
    item = {"model": "midjourney_outpaint", "params": {"jobId": "a", "imageNo": 0, "scale": 1.5}, "target": ["me"]}
    row = build_row(Record(7, item), RowDefaults())
    assert isinstance(row, Row)
    assert (row.task.params, row.task.targets) == (build().task.params, ("me",))


@pytest.mark.parametrize(
    ("text", "value"), [("1.5", 1.5), ("2", 2.0), ("2.", 2.0), ("15e-1", 1.5), ("+1.25", 1.25), ("1.50", 1.5)]
)
def test_numbers_as_tables_write_them(text: str, value: float) -> None:
    assert build(scale=text).task.params["scale"] == value
    assert build(imageno="2.0").task.params["imageNo"] == 2


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"scale": "3"}, "scale: 3 must be a number from 1.1 to 2.0 (004007005)"),
        ({"scale": "1,5"}, "scale: 1,5 has a decimal comma; use a point: 1.5"),
        ({"scale": "wide"}, "scale: 'wide' must be a number from 1.1 to 2.0 (004007005)"),
        ({"scale": "1_5"}, "scale: '1_5' must be a number from 1.1 to 2.0 (004007005)"),
        ({"scale": "nan"}, "scale: 'nan' must be a number from 1.1 to 2.0 (004007005)"),
        ({"scale": None}, "scale: is missing (004007004)"),
        ({"imageno": "1.5"}, "imageNo: 1.5 must be a whole number from 0 to 3 (004007003)"),
        ({"imageno": True}, "imageNo: True must be a whole number from 0 to 3 (004007003)"),
        ({"jobid": None}, "jobId: is missing (004007001)"),
        ({"model": None}, "model: it is missing; add a column for it, or say --model for all rows"),
        ({"model": "outpain"}, "model: unknown model 'outpain' (did you mean midjourney_outpaint?)"),
        ({"model": 7}, "model: it must be text"),
        ({"prompt": "{a,b}"}, "prompt: has permutation braces {a,b}"),
        ({"prompt": "a", "remixprompt": "b"}, "remixPrompt: it is given twice"),
        ({"prompt": "x" * 8_193}, "prompt: must be 1 to 8192 characters long, not 8193"),
        ({"params": {"callback": "https://a.example"}}, "callback: the service sets the callback; leave it out"),
        ({"params": {"jobid": "b"}}, "jobid: midjourney_outpaint has no parameter 'jobid' (did you mean jobId?)"),
        ({"params": [1]}, "params: it must be a JSON object"),
        ({"label": "x" * 201}, "label: it is longer than 200 characters"),
        ({"label": 7}, "label: it must be text"),
        ({"key": "x" * 201}, "key: it is longer than 200 characters"),
        ({"poll_only": "perhaps"}, "poll_only: write yes or no"),
        ({"allow_permutations": 2}, "allow_permutations: write yes or no"),
        ({"priority": "urgent"}, "priority: it must be high, normal or low"),
        ({"target": []}, "target: write the name of a target"),
        ({"x-n": "x" * 64_000}, "its columns that begin with x- are longer than 64,000 characters together"),
    ],
)
def test_what_is_wrong_with_a_row_is_one_sentence(values: dict[str, Any], why: str) -> None:
    assert fault(**values).startswith(why)


def test_all_that_is_wrong_with_a_row_is_said_at_once() -> None:
    assert faults(
        **{"imageno": None, "scale": "1,5", "prompt": "x" * 8_193, "key": 7, "x-n": "x" * 64_000},
        label="x" * 201,
        target=[],
        poll_only="perhaps",
        allow_permutations="2",
        priority="urgent",
    ) == [
        "allow_permutations: write yes or no",
        "scale: 1,5 has a decimal comma; use a point: 1.5",
        "imageNo: is missing (004007002)",
        "prompt: must be 1 to 8192 characters long, not 8193",
        "label: it is longer than 200 characters",
        "target: write the name of a target, or several with blanks between them",
        "poll_only: write yes or no",
        "key: it must be text",
        "priority: it must be high, normal or low",
        "its columns that begin with x- are longer than 64,000 characters together",
    ]
    assert faults(jobid=None, scale="3", prompt="{a,b}") == [
        "jobId: is missing (004007001)",
        "scale: 3 must be a number from 1.1 to 2.0 (004007005)",
    ], "permutations are looked for in what can be submitted"
    assert faults(model="outpain", scale="3", label=7) == [
        "model: unknown model 'outpain' (did you mean midjourney_outpaint?)",
        "label: it must be text",
    ], "without a model nothing can be said of its parameters"
    assert faults(params={"callback": "https://a.example"}, scale="3", remixprompt="a", prompt="b") == [
        "remixPrompt: it is given twice",
        "callback: the service sets the callback; leave it out",
        "scale: 3 must be a number from 1.1 to 2.0 (004007005)",
    ]


def test_what_all_rows_share_may_be_wrong_too() -> None:
    defaults = read_defaults("outpaint", ["scale=1,5", "label=all"])
    found = build_row(Record(7, {"jobid": "a", "imageno": "9"}), defaults)
    assert isinstance(found, list)
    assert [it.text.partition(":")[0] for it in found] == ["scale", "imageNo"]


def test_permutations_may_be_allowed() -> None:
    assert build(prompt="{a,b}", allow_permutations="1").task.allow_permutations


def test_what_all_rows_share_holds_where_a_row_says_nothing() -> None:
    defaults = read_defaults("outpaint", ["scale=1.2", "prompt = red = 1", "poll-only=yes", "label=all"])
    row = build_row(Record(7, {"jobid": "a", "imageno": "0", "remixprompt": "own"}), defaults)
    assert isinstance(row, Row)
    assert row.task.params == {"jobId": "a", "imageNo": 0, "scale": 1.2, "remixPrompt": "own"}
    assert (row.task.poll_only, row.task.label) == (True, "all")
    row = build_row(Record(7, {"jobid": "a", "imageno": "0", "scale": "1.3"}), defaults)
    assert isinstance(row, Row)
    assert row.task.params == {"jobId": "a", "imageNo": 0, "scale": 1.3, "remixPrompt": "red = 1"}


@pytest.mark.parametrize(
    ("model", "pairs", "why"),
    [
        ("outpain", [], "unknown model 'outpain' (did you mean midjourney_outpaint?)"),
        (None, ["scale"], "--set scale: write NAME=VALUE"),
        (None, ["scal=1"], "--set scal=1: there is no column 'scal' (did you mean scale?)"),
        (None, ["=1"], "--set =1: the name is missing"),
        (None, ["key=1"], "--set key=1: this cannot be the same for all rows"),
    ],
)
def test_wrong_options_are_explained(model: str | None, pairs: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        read_defaults(model, pairs)
    assert str(caught.value) == why


def test_a_field_of_plain_lines_is_a_known_column() -> None:
    assert resolve_field("remix-prompt").name == "remixprompt"
    with pytest.raises(ValueError, match=r"--field propmt: there is no column 'propmt' .did you mean prompt"):
        resolve_field("propmt")


# -- keys and names --


def keys(*rows: Row) -> list[str | Fault]:
    made = RowKeys()
    return [made.next_key(row) for row in rows]


def name(*rows: Row, path: str = "rows.csv") -> str:
    made = RowKeys()
    for row in rows:
        made.next_key(row)
    return made.batch_name(path)


def test_a_key_is_made_of_what_is_paid_for() -> None:
    plain = build()
    assert keys(plain) == keys(build(label="other", target="me", poll_only="yes", scale="1.50", **{"x-n": "2"}))
    different = [build(jobid="b"), build(scale="1.6"), build(prompt="p"), build(allow_permutations="yes")]
    assert len({*keys(plain), *(key for row in different for key in keys(row))}) == 5


def test_equal_rows_are_counted() -> None:
    """So that one of two equal ones may be removed, and no other row changes its key."""
    first, second = build(), build(jobid="b")
    one, two, three, four = keys(first, second, first, first)
    assert len({one, two, three, four}) == 4
    assert keys(second, first, first) == [two, one, three]


def test_a_key_of_the_user_s_own_may_occur_once() -> None:
    first = build(key="k")
    again = build_row(Record(9, {**GOOD, "jobid": "b", "key": "k"}), RowDefaults())
    assert isinstance(again, Row)
    assert keys(first, again) == ["k", Fault(9, "key: 'k' is the key of line 7 already; each may occur once")]


def test_a_batch_is_named_after_its_file_and_its_rows() -> None:
    first, second = build(), build(jobid="b")
    plain = name(first, second)
    assert plain == name(second, build(label="corrected"), path="/other/rows.jsonl")
    assert plain == name(first, first, second)  # equal rows are the same work once more
    assert plain != name(first)
    assert plain != name(first, build(jobid="b", key="k"))


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("-", "batch"),
        ("my rows (1).csv", "my-rows-1"),
        ("Größe.csv", "Groe"),
        ("行.csv", "batch"),
        (f"{'x' * 200}.csv", "x" * 60),
        ("../a/.csv", "csv"),
    ],
)
def test_names_are_plain(path: str, stem: str) -> None:
    assert name_stem(path) == stem
    own = name(build(), path=path)
    assert own.rpartition("-")[0] == stem
