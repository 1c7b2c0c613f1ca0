"""What the OpenAPI document says of each model's parameters is what is taken: no less, and nothing more."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs
import pytest

from kit.model_params import each_field, good_params, good_value, limits
from receiver.core.errors import RequestRefused
from receiver.providers.declarations import Model
from receiver.providers.geometry import MaskParam
from receiver.providers.models import MODELS, check_params
from receiver.providers.parameters import ChoiceParam, IntegerParam, ModelParam, NumberParam
from receiver.tokens import new_ref
from receiver.web.api.handlers import OPERATIONS
from receiver.web.api.openapi import build_document

REF = new_ref(0, b"0123456789")  # the same in each process that collects the tests


@cache
def validator() -> Any:
    document = build_document(OPERATIONS, ["slack"])
    schema = {"$ref": "#/components/schemas/NewTask", "components": document["components"]}
    return jsonschema_rs.validator_for(schema, validate_formats=True)


def is_taken(model: str, params: dict[str, Any], *, anyway: bool, fed: bool) -> bool:
    try:
        check_params(model, params, anyway=anyway, fed=fed)
    except RequestRefused:
        return False
    return True


def is_described(model: str, params: dict[str, Any], *, anyway: bool, fed: bool) -> bool:
    wait = {"wait_for": {"ref": REF, "image_no": 0}} if fed else {}
    body = {"model": model, "params": params, **({"anyway": True} if anyway else {}), **wait}
    return bool(validator().is_valid(body))


def compared(model: str, params: dict[str, Any], *, fed: bool) -> None:
    for anyway in (False, True):
        said = is_described(model, params, anyway=anyway, fed=fed), is_taken(model, params, anyway=anyway, fed=fed)
        assert said[0] == said[1], (model, params, anyway, fed, said)


def ways(model: Model) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Good parameters, all and only what is needed, alone and with an earlier task that fills a part."""
    for optional in (True, False):
        params = good_params(model.name, optional=optional)
        yield False, params
        if model.feed is not None:
            yield True, {name: it for name, it in params.items() if name not in model.feed.names}


def values(field: ModelParam) -> Iterator[Any]:
    yield from (it for it, _ in limits(field))
    yield from (
        None,
        True,
        "",
        " ",
        "word",
        1,
        1.5,
        2.0,
        [],
        {},
        [1],
        -1,
        2**53 - 1,
        2**53,
        -(2**53),
        good_value(field),
    )
    if isinstance(field, IntegerParam | NumberParam):
        yield from (str(field.least), float(field.least), field.least + 0.5, 1e15, -1e15, 9e14)
    if isinstance(field, ChoiceParam):
        yield from (*field.words, 999, 1_000, float(next(iter(field.words.values()))))
    if isinstance(field, MaskParam):
        yield {"areas": [{"width": 0, "height": 100, "points": [1, 2, 3, 4, 5, 6]}]}


def is_odd(value: Any) -> bool:
    """An odd number of coordinates, which JSON Schema cannot forbid."""
    areas = value.get("areas", []) if isinstance(value, dict) else []
    return any(len(it["points"]) % 2 for it in areas)


@pytest.mark.parametrize(("model", "field"), each_field(), ids=lambda it: it.name)
def test_each_value_of_each_field_is_taken_as_described(model: Model, field: ModelParam) -> None:
    for fed, params in ways(model):
        for value in values(field):
            if not is_odd(value):
                compared(model.name, {**params, field.name: value}, fed=fed)
        compared(model.name, {name: it for name, it in params.items() if name != field.name}, fed=fed)


@pytest.mark.parametrize("name", MODELS)
def test_unknown_names_and_the_callback_are_taken_as_described(name: str) -> None:
    for fed, params in ways(MODELS[name]):
        compared(name, params, fed=fed)
        compared(name, {**params, "lable": 1}, fed=fed)
        compared(name, {**params, "callback": "https://a.example"}, fed=fed)
        compared(name, {}, fed=fed)


@pytest.mark.parametrize(
    ("body", "described"),
    [
        ({"model": "midjourney_blend", "anyway": True, "params": {"urls": ["https://a.example"]}}, True),
        ({"model": "midjourney_blend", "anyway": True}, True),
        ({"model": "midjourney_blend", "params": {}}, False),
        ({"model": "midjourney_blend", "anyway": True, "params": {"callback": None}}, False),
        ({"model": "midjourney blend", "anyway": True}, False),
        ({"model": "", "anyway": True}, False),
        ({"model": "midjourney_blend", "anyway": True, "wait_for": REF}, False),
        ({"model": "midjourney_reroll", "wait_for": REF}, True),
        ({"model": "midjourney_reroll"}, False),
    ],
)
def test_other_models_are_sent_only_anyway(body: dict[str, Any], described: bool) -> None:
    assert validator().is_valid(body) is described


@pytest.mark.parametrize(
    ("wait", "described"),
    [
        (REF, True),
        ({"ref": REF}, True),
        ({"name": "make"}, True),
        ({"ref": REF, "name": None, "image_no": [0, 2]}, True),
        ({"ref": REF, "image_no": "pick"}, True),
        ({}, False),
        ({"ref": None}, False),
        ({"ref": REF, "name": "make"}, False),
        ({"ref": REF, "image_no": [0, 0]}, False),
        ({"ref": REF, "image_no": []}, False),
        ({"ref": REF, "image_no": "none"}, False),
        ({"name": "a b"}, False),
        ("make", False),
    ],
)
def test_what_a_task_waits_for_is_described(wait: Any, described: bool) -> None:
    body = {"model": "midjourney_outpaint", "params": {"scale": 1.5}, "wait_for": wait}
    assert validator().is_valid(body) is described
