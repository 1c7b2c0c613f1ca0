"""Columns of a batch that are named as the options of its models' commands."""

import pytest

from receiver.cli.batch.columns import fold_name, param_name, resolve_columns
from receiver.cli.batch.read_file import Record
from receiver.cli.batch.rows import Row, RowDefaults, build_row
from receiver.providers.models import MODELS

PAIRS = [(model.name, field.option_name, field.name) for model in MODELS.values() for field in model.fields]


@pytest.mark.parametrize(("model", "option", "name"), PAIRS)
def test_a_column_may_be_named_as_the_option_is(model: str, option: str, name: str) -> None:
    columns, faults = resolve_columns([option.upper()])
    assert faults == []
    assert param_name(model, columns[0].name) == name
    assert param_name(model, fold_name(name)) == name


@pytest.mark.parametrize(("model", "wire"), [("variation", {"type": 1}), ("remix", {"mode": 0})])
def test_what_an_option_stands_for_is_a_matter_of_the_row_s_model(model: str, wire: dict[str, int]) -> None:
    given = {"model": model, "jobid": "a", "imageno": "0", "strength": "strong", "prompt": "a sea"}
    row = build_row(Record(2, given), RowDefaults())
    assert isinstance(row, Row), row
    assert row.task.params == {"jobId": "a", "imageNo": 0, "remixPrompt": "a sea"} | wire
    twice = build_row(Record(2, {**given, next(iter(wire)): "subtle"}), RowDefaults())
    assert isinstance(twice, list)
    assert [it.text for it in twice] == [f"{next(iter(wire))}: it is given twice"]


def test_an_option_that_the_row_s_model_has_not_is_left_empty() -> None:
    given = {"model": "outpaint", "jobid": "a", "imageno": "0", "scale": "1.5", "strength": "strong"}
    row = build_row(Record(2, given), RowDefaults())
    assert isinstance(row, list)
    assert [it.text for it in row] == ["strength: outpaint has no such parameter; leave it empty"]


def test_an_option_that_is_nearly_right_is_suggested() -> None:
    _, [fault] = resolve_columns(["strenght"])
    assert fault == "there is no column 'strenght' (did you mean strength?)"
