"""Every declared model: each limit of each field on both sides, what is missing, what an earlier task fills."""

import math
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.model_params import each_field, good_params, good_value, limits
from receiver.core.errors import RequestRefused
from receiver.core.types import Image
from receiver.providers.declarations import DEPTH_MOST, EXTRA_MOST, JobFeed, Model, UrlFeed
from receiver.providers.models import (
    MODELS,
    check_params,
    command_name,
    fill_params,
    full_model_name,
    param_hints,
    prompt_of,
)
from receiver.providers.parameters import ChoiceParam, Documented, IntegerParam, ModelParam, NumberParam, TextParam

ALL = sorted(MODELS)
FIELDS = [pytest.param(model, field, id=f"{command_name(model.name)}-{field.name}") for model, field in each_field()]
ODD: list[Any] = [
    None,
    True,
    "",
    "1",
    " ",
    "a\0",
    "\ud800",
    -(10**400),
    10**400,
    1e300,
    math.nan,
    math.inf,
    [],
    {},
    [1],
    {"a": 1},
    {"url": 1},
    {"areas": [{}]},
    {"areas": [{"width": math.nan, "height": math.inf, "points": [math.nan] * 6}]},
    {"width": math.inf, "height": 1},
    {"width": True, "height": True, "x": True, "y": True},
]


def refusal(model: str, params: dict[str, Any], **how: bool) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        check_params(model, params, **how)
    assert caught.value.status == 422
    assert len(str(caught.value)) < 1_000
    msgspec.json.encode([str(caught.value), caught.value.code, caught.value.field, caught.value.remedy])
    return caught.value


def checked(model: str, params: dict[str, Any], **how: bool) -> dict[str, Any]:
    return dict(msgspec.json.decode(check_params(model, params, **how)))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("optional", [False, True], ids=["required", "all"])
def test_good_parameters_are_taken_as_they_are_in_declared_order(name: str, *, optional: bool) -> None:
    good = good_params(name, optional=optional)
    assert checked(name, good) == good
    backwards = dict(reversed(good.items()))
    assert check_params(name, backwards) == check_params(name, good)


@pytest.mark.parametrize(("model", "field"), FIELDS)
def test_each_limit_holds_on_both_sides(model: Model, field: ModelParam) -> None:
    for value, within in limits(field):
        params = good_params(model.name, optional=True) | {field.name: value}
        if within:
            assert checked(model.name, params, allow_permutations=True)[field.name] == value
        elif field.documented is Documented.NOBODY and isinstance(field, IntegerParam | NumberParam | ChoiceParam):
            assert checked(model.name, params)[field.name] == value
        else:
            refused = refusal(model.name, params, allow_permutations=True)
            assert refused.field == field.name
            is_missing = isinstance(field, TextParam) and field.required and not value
            wanted = field.missing_code if is_missing else field.invalid_code
            assert refused.code == (wanted or refused.code)
            assert refused.code == wanted or refused.code in ("invalid_parameter", "unlikely")


@pytest.mark.parametrize(("model", "field"), FIELDS)
def test_what_only_the_upstream_states_is_sent_anyway_and_what_the_provider_states_never(
    model: Model, field: ModelParam
) -> None:
    for value, within in limits(field):
        params = good_params(model.name, optional=True) | {field.name: value}
        if within or not isinstance(field, IntegerParam | NumberParam | ChoiceParam):
            continue
        if field.documented is Documented.PROVIDER:
            assert refusal(model.name, params, anyway=True).code != "unlikely"
        elif field.documented is Documented.UPSTREAM and (value >= 0 or not isinstance(field, ChoiceParam)):
            refused = refusal(model.name, params)
            assert (refused.code, "anyway" in (refused.remedy or "")) == ("unlikely", True)
            assert checked(model.name, params, anyway=True)[field.name] == value


@pytest.mark.parametrize(("model", "field"), FIELDS)
@pytest.mark.parametrize("anyway", [False, True], ids=["", "anyway"])
def test_any_value_is_refused_or_becomes_json_that_is_taken_again(
    model: Model, field: ModelParam, *, anyway: bool
) -> None:
    for value in [*ODD, *(value for value, _ in limits(field))]:
        params = good_params(model.name, optional=True) | {field.name: value}
        try:
            text = check_params(model.name, params, anyway=anyway)
        except RequestRefused as refused:
            msgspec.json.encode(str(refused))
            continue
        assert check_params(model.name, msgspec.json.decode(text), anyway=anyway) == text


@pytest.mark.parametrize(("model", "field"), FIELDS)
@pytest.mark.parametrize("how", ["absent", "null"])
def test_what_is_required_is_missed_and_what_is_not_is_left_out(model: Model, field: ModelParam, how: str) -> None:
    params = good_params(model.name, optional=True)
    del params[field.name]
    if how == "null":
        params[field.name] = None
    if not field.required:
        if field.name in model.together:
            assert refusal(model.name, params).field == field.name
        else:
            assert field.name not in checked(model.name, params)
        return
    refused = refusal(model.name, params)
    assert refused.field == field.name
    if field.documented is Documented.UPSTREAM:
        assert refused.code == "unlikely"
        assert field.name not in checked(model.name, params, anyway=True)
    else:
        assert refused.code == (field.missing_code or "invalid_parameter")
        assert refusal(model.name, params, anyway=True).code == refused.code


@pytest.mark.parametrize(("model", "field"), FIELDS)
def test_a_value_as_a_person_writes_it_is_read_as_what_is_sent(model: Model, field: ModelParam) -> None:
    wanted = good_value(field)
    match wanted:
        case {"width": width, "height": height, "x": x, "y": y}:
            text = f"{width}x{height}+{x}+{y}"
        case {"width": width, "height": height}:
            text = f"{width}×{height}"
        case dict():
            text = msgspec.json.encode(wanted).decode()
        case _:
            text = str(wanted)
    assert field.parse_value(field.read_text(text)) == wanted
    if isinstance(field, ChoiceParam):
        for word, number in field.words.items():
            spellings = (word, word.upper(), word.replace("_", "-"), f" {word} ", str(number))
            assert {field.parse_value(field.read_text(it)) for it in spellings} == {number}


def test_the_words_of_two_models_are_the_same_and_their_numbers_the_other_way_round() -> None:
    sent = {
        (name, word): checked(f"midjourney_{name}", good_params(f"midjourney_{name}") | {param: word})[param]
        for name, param in (("variation", "type"), ("remix", "mode"))
        for word in ("subtle", "strong")
    }
    assert list(sent.values()) == [0, 1, 1, 0]
    directions = good_params("midjourney_pan")
    assert [
        checked("midjourney_pan", directions | {"direction": it})["direction"] for it in ("down", "right", "up", "left")
    ] == [0, 1, 2, 3]


def test_a_wrong_word_is_answered_with_the_right_ones() -> None:
    refused = refusal("midjourney_variation", good_params("midjourney_variation") | {"type": "weak"})
    assert str(refused).startswith("type must be subtle (0) or strong (1)")


@pytest.mark.parametrize("name", [it for it in ALL if MODELS[it].feed])
def test_what_an_earlier_task_fills_is_left_out_and_then_filled(name: str) -> None:
    model, good = MODELS[name], good_params(name, optional=True)
    assert model.feed is not None
    rest = {key: it for key, it in good.items() if key not in model.feed.names}
    held = check_params(name, rest, fed=True)
    for filled in model.feed.names:
        refused = refusal(name, rest | {filled: good[filled]}, fed=True)
        assert (refused.field, refused.remedy) == (filled, "leave it out")
    image = Image(2, "https://cdn.example/2.png", "image", "the-job")
    text = fill_params(name, held, image, "https://ours.example/2.png")
    assert text is not None
    by_feed: dict[type, dict[str, object]] = {
        JobFeed: {"jobId": "the-job", "task_id": "the-job", "imageNo": 2, "videoNo": 2, "image_no": 2},
        UrlFeed: {"imgUrl": "https://ours.example/2.png"},
    }
    wanted = by_feed[type(model.feed)]
    assert msgspec.json.decode(text) == rest | {key: it for key, it in wanted.items() if key in model.feed.names}
    without = fill_params(name, held, Image(2, "https://cdn.example/2.png", "image", None), "https://ours.example/2")
    assert (without is None) == isinstance(model.feed, JobFeed)


def test_a_picture_that_the_model_cannot_name_is_refused_when_it_is_filled_in() -> None:
    image = Image(4, "https://cdn.example/4.png", "image", "the-job")
    with pytest.raises(RequestRefused, match="imageNo must be"):
        fill_params("midjourney_upscale", b'{"type":0}', image, "")
    with pytest.raises(RequestRefused, match="imgUrl must be"):
        fill_params("midjourney_retexture", b'{"remixPrompt":"oil"}', image, "https://cdn.example/" + "x" * 2_000)


def test_a_video_needs_a_prompt_or_a_picture_and_a_picture_its_number() -> None:
    name = "midjourney_video_diffusion"
    assert refusal(name, {}).field == "prompt"
    assert refusal(name, {"prompt": None, "jobId": None}).field == "prompt"
    assert checked(name, {"jobId": "a", "imageNo": 0}) == {"jobId": "a", "imageNo": 0}
    assert checked(name, {"prompt": "waves"}) == {"prompt": "waves"}
    assert refusal(name, {"jobId": "a"}).field == "imageNo"
    assert refusal(name, {"prompt": "waves", "imageNo": 1}).field == "jobId"
    assert checked(name, {}, fed=True) == {}


@pytest.mark.parametrize("name", ["midjourney_V8.1_t2i", "midjourney_V8.1_i2i"])
def test_an_open_model_takes_what_nobody_documents_and_says_so(name: str) -> None:
    params = good_params(name) | {"zoom": {"by": [1, 2]}, "aspect": None}
    assert checked(name, params) == good_params(name) | {"zoom": {"by": [1, 2]}}
    assert any("'zoom'" in hint and "unchecked" in hint for hint in param_hints(name, params))
    assert refusal(name, params | {"callback": "https://h/"}).field == "callback"
    for value in ("x" * EXTRA_MOST, "a\0b", "\ud800"):
        assert refusal(name, params | {"zoom": value}).code == "invalid_parameter"


def test_a_model_that_is_not_declared_is_sent_only_anyway_and_unchecked() -> None:
    assert refusal("midjourney_blend", {"imgUrls": []}).code == "unknown_model"
    assert checked("midjourney_blend", {"b": 1, "a": None}, anyway=True) == {"a": None, "b": 1}
    assert refusal("mid journey", {}, anyway=True).code == "unknown_model"
    assert refusal("midjourney_blend", {"callback": "https://h/"}, anyway=True).field == "callback"
    assert "unchecked" in param_hints("midjourney_blend", {})[0]


@pytest.mark.parametrize("name", ALL)
def test_a_model_is_found_by_its_name_its_short_name_and_its_command(name: str) -> None:
    assert {full_model_name(it) for it in (name, command_name(name), name.removeprefix("midjourney_"))} == {name}
    assert re.fullmatch("[a-z0-9.-]+", command_name(name))


def test_commands_and_options_are_unique_and_no_option_is_one_of_our_own() -> None:
    assert len({command_name(it) for it in ALL}) == len(ALL)
    for model in MODELS.values():
        options = [field.option_name for field in model.fields]
        assert len(set(options)) == len(options)
        assert all(re.fullmatch("[a-z][a-z-]+", it) for it in options)
        assert model.summary.endswith(".")
        assert all(field.help for field in model.fields)


@pytest.mark.parametrize("name", ALL)
def test_the_schema_has_every_field_and_none_for_what_is_filled(name: str) -> None:
    model = MODELS[name]
    whole, fed = model.describe_params(), model.describe_params(fed=True)
    assert list(whole["properties"]) == [field.name for field in model.fields]  # type: ignore[call-overload]
    filled = model.feed.names if model.feed else ()
    assert tuple(name for name, it in fed["properties"].items() if it == {"type": "null"}) == filled  # type: ignore[attr-defined]
    assert not set(filled).intersection(fed["required"])  # type: ignore[arg-type]
    assert whole["additionalProperties"] is model.is_open
    msgspec.json.encode([whole, fed])


@pytest.mark.parametrize("name", ALL)
def test_a_prompt_is_found_and_its_permutations_refused(name: str) -> None:
    prompt = MODELS[name].prompt_param
    if prompt is None:
        return
    params = good_params(name, optional=True)
    assert prompt_of(name, params) == params[prompt]
    for text in ("a {red,blue} bird", "a bird --repeat 2", "a bird --r 3"):
        refused = refusal(name, params | {prompt: text})
        assert refused.field == prompt
        assert "allow_permutations" in (refused.remedy or "")
        assert checked(name, params | {prompt: text}, allow_permutations=True)[prompt] == text


@given(st.sampled_from(ALL), st.dictionaries(st.text(max_size=9), st.sampled_from(ODD), max_size=6), st.booleans())
def test_whatever_is_given_is_refused_or_canonical(name: str, extra: dict[str, Any], anyway: bool) -> None:
    try:
        text = check_params(name, good_params(name) | extra, anyway=anyway)
    except RequestRefused:
        return
    assert check_params(name, msgspec.json.decode(text), anyway=anyway) == text


@given(
    st.sampled_from([it for it in each_field() if isinstance(it[1], IntegerParam | NumberParam)]),
    st.integers() | st.floats(allow_nan=True),
    st.booleans(),
)
def test_a_number_is_within_its_limits_or_refused(
    which: tuple[Model, ModelParam],
    value: float,
    anyway: bool,
) -> None:
    model, field = which
    assert isinstance(field, IntegerParam | NumberParam)
    params = good_params(model.name, optional=True) | {field.name: value}
    try:
        sent = checked(model.name, params, anyway=anyway)[field.name]
    except RequestRefused:
        whole = isinstance(field, NumberParam) or float(value).is_integer() if abs(value) < 1e300 else True
        assert not (whole and field.least <= value <= field.most)
        return
    assert sent == value
    is_certain = field.documented is Documented.PROVIDER or (field.documented is Documented.UPSTREAM and not anyway)
    assert not is_certain or field.least <= value <= field.most


@pytest.mark.parametrize("wrap", [lambda it: [it], lambda it: {"a": it}, lambda it: [1, it, "x"]])
def test_undeclared_parameters_may_be_nested_so_far(wrap: Callable[[Any], Any]) -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: Any = 0
        for _ in range(levels - 1):
            value = wrap(value)
        return {"x": value}

    deep = nested(DEPTH_MOST)
    assert msgspec.json.decode(check_params("nobody-knows-this", deep, anyway=True)) == deep
    for levels in (DEPTH_MOST + 1, 949, 5_000):
        assert refusal("nobody-knows-this", nested(levels), anyway=True).field == "params"
