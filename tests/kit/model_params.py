"""Good parameters for every declared model, as a person might give them, and one step beyond each limit."""

from collections.abc import Iterator
from typing import Any

from receiver.providers.declarations import Model
from receiver.providers.geometry import MaskParam, PlaceParam, SizeParam
from receiver.providers.models import MODELS
from receiver.providers.parameters import ChoiceParam, IntegerParam, ModelParam, NumberParam, TextParam, UrlParam

JOB_ID = "6f0b1f6e-2f5c-4a86-9d0e-8f9f5d3f1a10"
PICTURE_URL = "https://pictures.example/a.png"
AREA: dict[str, Any] = {"width": 500, "height": 4096, "points": [0, 0, 400, 0, 400, 500]}


def good_value(field: ModelParam) -> Any:
    """A value that is allowed, in canonical form."""
    match field:
        case TextParam():
            return JOB_ID if field.job_id else "a lighthouse in the evening"
        case IntegerParam() | NumberParam():
            return field.least
        case UrlParam():
            return PICTURE_URL
        case ChoiceParam():
            return next(iter(field.words.values()))
        case SizeParam():
            return {"width": 2048, "height": 1024}
        case PlaceParam():
            return {"width": 1024, "height": 1024, "x": 512, "y": 0}
        case MaskParam():
            return {"areas": [AREA]}
    raise AssertionError(field)


def good_params(model: str, *, optional: bool = False, urls: str = PICTURE_URL) -> dict[str, Any]:
    """Parameters that the model takes: those that it needs, or with `optional` all; pictures are at `urls`."""
    declared = MODELS[model]
    wanted = {field.name for field in declared.fields if optional or field.required} | set(declared.any_of[:1])
    given = {field.name: good_value(field) for field in declared.fields if field.name in wanted}
    return {name: urls if value == PICTURE_URL else value for name, value in given.items()}


def limits(field: ModelParam) -> Iterator[tuple[Any, bool]]:
    """Values at each of its limits, and one step beyond it, each with whether it is within."""
    match field:
        case TextParam():
            yield from [("x" * field.least, True), ("x" * field.most, True), ("山" * field.most, True)]
            yield from [("x" * (field.least - 1), False), ("x" * (field.most + 1), False)]
        case IntegerParam():
            yield from [(field.least, True), (field.most, True), (field.least - 1, False), (field.most + 1, False)]
        case NumberParam():
            yield from [(field.least, True), (field.most, True)]
            yield from [(field.least - 0.001, False), (field.most + 0.001, False)]
        case UrlParam():
            base = "https://pictures.example/"
            yield from [
                (base + "x" * (field.most - len(base)), True),
                (base + "x" * (field.most - len(base) + 1), False),
            ]
            yield from [("http://h", True), ("ftp://pictures.example/a.png", False), ("pictures.example/a.png", False)]
        case ChoiceParam():
            yield from [(number, True) for number in field.words.values()]
            yield from [(-1, False), (max(field.words.values()) + 1, False)]
        case SizeParam() | PlaceParam():
            yield from _box_limits(good_value(field))
        case MaskParam():
            yield from _mask_limits(field)


def _box_limits(good: dict[str, int]) -> Iterator[tuple[Any, bool]]:
    for side in ("width", "height"):
        yield from [(good | {side: number}, 1 <= number <= 65_536) for number in (0, 1, 65_536, 65_537)]
        yield {key: it for key, it in good.items() if key != side}, False
    for corner in {"x", "y"} & good.keys():
        numbers = (-65_537, -65_536, 65_536, 65_537)
        yield from [(good | {corner: number}, abs(number) <= 65_536) for number in numbers]
    yield good | {"depth": 1}, False


def _mask_limits(field: MaskParam) -> Iterator[tuple[Any, bool]]:
    for side in ("width", "height"):
        yield from [({"areas": [AREA | {side: it}]}, 500 <= it <= 4096) for it in (499, 500, 4096, 4097)]
    for count in (4, 5, 6, 7, 8, 2_000, 2_001, 2_002):
        yield {"areas": [AREA | {"points": [1] * count}]}, 6 <= count <= 2_000 and count % 2 == 0
    yield from [({"areas": [AREA | {"points": [at] * 6}]}, 0 <= at <= 4096) for at in (-1, 0, 4096, 4097)]
    yield from [({"areas": [AREA] * count}, 1 <= count <= 32) for count in (0, 1, 32, 33)]
    url = "https://h/" + "x" * (field.url_most - 10)
    yield from [({"url": url}, True), ({"url": url + "x"}, False), ({"url": "https://h/m.png", "areas": [AREA]}, False)]
    yield {}, False


def each_field() -> list[tuple[Model, ModelParam]]:
    """Every declared field with its model."""
    return [(model, field) for model in MODELS.values() for field in model.fields]
