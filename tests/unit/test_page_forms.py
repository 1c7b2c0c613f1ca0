"""Forms from declarations: what is written into one is read back, and what is wrong is said beside its field."""

from collections.abc import Mapping
from typing import Any

import pytest

from kit.model_params import JOB_ID, each_field, good_params, good_value, limits
from receiver.core.errors import RequestRefused
from receiver.providers.models import MODELS, check_params
from receiver.providers.parameters import ChoiceParam, NumberParam
from receiver.web.pages.going_on.forms import (
    DRAWN,
    EXACT,
    Control,
    Field,
    build_fields,
    collect_typed,
    fed_names,
    read_decimal,
    read_form,
    snap,
    write_typed,
)

OUTPAINT = MODELS["midjourney_outpaint"]
PAN = MODELS["midjourney_pan"]
UPSCALE = MODELS["midjourney_upscale"]
SCALE = OUTPAINT.find_param("scale")
OURS = {"model", "do", "image", "from", "label", "target", "told", "key", "anyway", "allow_permutations", "show"}


def sent(fields: tuple[Field, ...]) -> dict[str, str]:
    """What a browser sends of these fields if nobody touches them."""
    values = dict[str, str]()
    for field in fields:
        if field.options:
            [values[field.name]] = [it.value for it in field.options if it.chosen]
        elif field.control is Control.SLIDER:
            values |= {field.name: field.slid, field.name + EXACT: field.value, field.name + DRAWN: field.value}
        else:
            values[field.name] = field.value
    return values


def outpaint(**typed: str) -> dict[str, str]:
    return {"jobId": JOB_ID, "imageNo": "0", "scale": "1.5", **typed}


@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_what_a_form_is_filled_with_comes_back(name: str, optional: bool) -> None:
    model, params = MODELS[name], good_params(name, optional=optional)
    fields = build_fields(model, write_typed(model, params))

    found = read_form(model, collect_typed(model, sent(fields).get))

    assert found.errors == {}
    assert check_params(name, found.params) == check_params(name, params)


@pytest.mark.parametrize("name", MODELS)
def test_a_field_has_a_name_of_its_own(name: str) -> None:
    """What a model calls a parameter must not be what the page calls something else."""
    names = [field.name for field in MODELS[name].fields]
    assert not OURS.intersection(names)
    assert not any(it.endswith((EXACT, DRAWN)) for it in names)
    assert all(field.label and field.label[0].isupper() for field in build_fields(MODELS[name], {}))


@pytest.mark.parametrize("number", range(len(each_field())))
def test_at_every_limit_the_form_says_what_the_api_says(number: int) -> None:
    model, field = each_field()[number]
    params = good_params(model.name, optional=True)
    for value, _ in limits(field):
        given = params | {field.name: value}
        typed = write_typed(model, given)
        blank = not typed[field.name].strip()  # what nobody typed is not sent
        try:
            checked = check_params(model.name, {k: v for k, v in given.items() if not (blank and k == field.name)})
        except RequestRefused:
            checked = b""
        found = read_form(model, typed)
        assert (check_params(model.name, found.params) if not found.errors else b"") == checked, (value, found.errors)
        assert set(found.errors) <= {field.name}


@pytest.mark.parametrize(
    ("slider", "exact", "drawn", "counts"),
    [
        ("1.5", "1.5", "1.5", "1.5"),  # nobody touched it
        ("1.7", "1.5", "1.5", "1.7"),  # the slider was moved
        ("1.5", "1.62", "1.5", "1.62"),  # something was typed
        ("1.7", "1.62", "1.5", "1.62"),  # both: the exact one
        ("1.55", "1.53", "1.53", "1.53"),  # the slider stands at the nearest step of what was drawn
        ("1.55", "1.53", "1.5", "1.53"),  # a script keeps them together
        ("1.7", "", "1.5", "1.7"),  # the exact one was emptied
        ("1.5", "much", "1.5", "much"),  # wrong, and told so
        ("1.7", "1.62", "", "1.62"),
        ("1.7", "1.62", "x", "1.62"),
        ("1.7", "1.62", "9" * 400, "1.62"),
    ],
)
def test_of_a_slider_and_its_exact_value_the_touched_one_counts(
    slider: str, exact: str, drawn: str, counts: str
) -> None:
    typed = outpaint(scale=slider) | {"scale-exact": exact, "scale-drawn": drawn}
    found = read_form(OUTPAINT, typed)
    assert found.params.get("scale") == read_decimal(counts)
    assert ("scale" in found.errors) is (read_decimal(counts) is None)


def test_a_number_alone_counts() -> None:
    assert read_form(OUTPAINT, outpaint()).params["scale"] == 1.5
    assert read_form(OUTPAINT, {"scale-exact": "1.6"} | outpaint(scale="")).params["scale"] == 1.6


@pytest.mark.parametrize("value", [1.1, 1.12, 1.125, 1.999, 2.0, 5.0, -5.0])
def test_a_slider_stands_on_a_step_within_its_limits(value: float) -> None:
    assert isinstance(SCALE, NumberParam)
    at = snap(SCALE, value)
    assert 1.1 <= at <= 2.0
    assert round((at - 1.1) / 0.05, 6).is_integer()
    assert snap(SCALE, at) == at


def test_a_new_form_has_a_slider_in_the_middle_and_a_choice_made() -> None:
    direction, scale = build_fields(PAN, {}, without=("jobId", "imageNo", "remixPrompt"))
    assert [(it.name, it.chosen) for it in direction.options][:2] == [("Left", True), ("Right", False)]
    assert (scale.value, scale.slid, scale.ticks) == ("2.0", "2.0", ("1.1", "2.0", "3.0"))
    [kind] = build_fields(UPSCALE, {}, without=("jobId", "imageNo"), brief=True)
    assert [it.name for it in kind.options] == ["Standard", "Creative", "2 ×", "4 ×"]
    assert "version 5" in kind.hint


def test_what_may_be_left_out_can_be() -> None:
    *_, mode = build_fields(MODELS["midjourney_remix"], {})
    assert next((it.value, it.name, it.chosen) for it in mode.options) == ("", "Default", True)
    fields = build_fields(MODELS["midjourney_remix"], {"jobId": "a-job", "remixPrompt": "a cat"})
    assert read_form(MODELS["midjourney_remix"], sent(fields)).params == {
        "jobId": "a-job",
        "imageNo": 0,
        "remixPrompt": "a cat",
    }


@pytest.mark.parametrize(
    ("typed", "field", "says"),
    [
        (outpaint(scale="2.01"), "scale", "Scale is 1.1 to 2.0."),
        (outpaint(scale="1,5"), "scale", "1,5 has a decimal comma; use a point: 1.5."),
        (outpaint(scale=""), "scale", "Scale is missing."),
        (outpaint(scale="nan"), "scale", "Scale is 1.1 to 2.0."),
        (outpaint(imageNo="7"), "imageNo", "Picture is 0 to 3."),
        (outpaint(imageNo=""), "imageNo", "Choose one."),
        (outpaint(jobId=" "), "jobId", "Job id is missing."),
        (outpaint(jobId="midjourney_provider_job_id"), "jobId", "placeholder of a sample."),
        (
            outpaint(remixPrompt="x" * 8_193),
            "remixPrompt",
            "Prompt for what is new has 8,193 characters, and 8,192 are the most.",
        ),
        (
            outpaint(remixPrompt="{red, blue} sky"),
            "remixPrompt",
            "{a,b} makes two generations, and each is paid for. Take the braces out, or allow it below.",
        ),
        (outpaint(remixPrompt="{a,b,c} {d,e}"), "remixPrompt", "{a,b} makes six generations"),
        (outpaint(remixPrompt="{a,{b,c}}"), "remixPrompt", "{a,b} makes several generations"),
        (
            outpaint(remixPrompt="a sky --repeat 4"),
            "remixPrompt",
            "--repeat 4 makes four generations, and each is paid for. Take it out, or allow it below.",
        ),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_the_form(typed: Mapping[str, str], field: str, says: str) -> None:
    found = read_form(OUTPAINT, typed)
    assert list(found.errors) == [field]
    assert says in found.errors[field]
    assert found.multiplies is ("generations" in says)


def test_every_field_that_is_wrong_is_named() -> None:
    found = read_form(OUTPAINT, {"scale": "9", "imageNo": "x"})
    assert set(found.errors) == {"scale", "imageNo", "jobId"}


def test_several_generations_can_be_allowed() -> None:
    found = read_form(OUTPAINT, outpaint(remixPrompt="{red, blue} sky"), allow_permutations=True)
    assert found.errors == {}
    assert found.params["remixPrompt"] == "{red, blue} sky"


def test_what_only_the_upstream_refuses_can_be_sent_anyway() -> None:
    typed = {"jobId": JOB_ID, "imageNo": "0", "direction": "left", "scale": "5"}
    refused = read_form(PAN, typed)
    assert refused.is_unlikely
    assert refused.errors["scale"].startswith("Scale is 1.1 to 3.0. Midjourney’s own API")
    assert read_form(PAN, typed, anyway=True).params["scale"] == 5.0
    assert not read_form(PAN, typed | {"imageNo": "9"}).is_unlikely
    [field] = [it for it in build_fields(PAN, typed) if it.name == "scale"]
    assert (field.value, field.slid) == ("5", "3.0")


def test_what_an_earlier_task_fills_is_neither_shown_nor_asked_for() -> None:
    without = fed_names(OUTPAINT)
    fields = build_fields(OUTPAINT, {}, without=without)
    assert [it.name for it in fields] == ["scale", "remixPrompt"]
    found = read_form(OUTPAINT, {"scale": "1.5", "jobId": "forged"}, without=without, fed=True)
    assert (found.errors, found.params) == ({}, {"scale": 1.5})


def test_what_is_kept_is_checked_with_the_rest() -> None:
    without = fed_names(OUTPAINT)
    kept: dict[str, Any] = {"jobId": JOB_ID, "imageNo": 2}
    assert read_form(OUTPAINT, {"scale": "1.5"}, without=without, kept=kept).params == {"scale": 1.5}
    assert read_form(OUTPAINT, {"scale": "1.5"}, without=without, kept={"imageNo": 2}).errors


@pytest.mark.parametrize(
    "text",
    [
        *("<script>alert(1)</script>", '"><img src=x>', "\u202egnihtemos", "{{ 7 * 7 }}", " a ", "a\nb", "\n\na"),
        *("x" * 8_192, "山" * 8_192, "😀" * 8_192),
    ],
    ids=range(10),
)
def test_a_prompt_is_kept_as_it_was_typed(text: str) -> None:
    typed = outpaint(remixPrompt=text)
    found = read_form(OUTPAINT, typed)
    assert found.params["remixPrompt"] == text
    [field] = [it for it in build_fields(OUTPAINT, typed) if it.name == "remixPrompt"]
    assert field.value == text


def test_the_form_of_one_model_is_not_taken_for_that_of_another() -> None:
    typed = write_typed(PAN, good_params("midjourney_pan", optional=True))
    found = read_form(UPSCALE, collect_typed(UPSCALE, typed.get))
    assert set(found.errors) == {"type"}
    assert "direction" not in found.params


def test_groups_are_named_as_in_the_form() -> None:
    video = MODELS["midjourney_video_diffusion"]
    assert read_form(video, {}).errors == {"prompt": "One of Prompt and Job id must be given."}
    together = read_form(video, {"jobId": JOB_ID}).errors
    assert together == {"imageNo": "Picture is missing: Job id and Picture are given together."}


def test_every_declared_field_can_be_filled_with_a_good_value() -> None:
    for model, field in each_field():
        fields = build_fields(model, write_typed(model, {field.name: good_value(field)}))
        [built] = [it for it in fields if it.name == field.name]
        assert any(it.chosen for it in built.options) if built.options else built.value


def test_the_directions_of_a_pan_stand_as_one_reads_them() -> None:
    [direction] = [it for it in build_fields(PAN, {}) if it.name == "direction"]
    assert [it.name for it in direction.options] == ["Left", "Right", "Up", "Down"]
    assert [it.value for it in direction.options if it.chosen] == ["left"]


def test_a_form_has_all_words_of_a_choice() -> None:
    choices = [it for model in MODELS.values() for it in model.fields if isinstance(it, ChoiceParam)]
    for choice in choices:
        assert sorted(choice.form_words) == sorted(choice.words)
