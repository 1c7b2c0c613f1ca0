"""Parameters that are shapes: the size of a canvas, where a picture stands on it, and masks. All are in pixels."""

import re
from collections.abc import Mapping
from typing import Any

from receiver.core.errors import RequestRefused
from receiver.providers.parameters import INVALID, ModelParam, is_http_url, read_json_or_text, unlikely

_PIXELS_MOST = 65_536  # our own bound; nobody states one
_MASK_LEAST, _MASK_MOST = 500, 4096  # the sides of a mask, by the provider's page
_POINTS_LEAST, _POINTS_MOST = 6, 2_000  # numbers in an area, x and y in turn; the upper bound is ours
_AREAS_MOST = 32  # ours
_MASK_EXPECTED = (
    'the address of a picture, {"url": "https://…"}, or areas, '
    '{"areas": [{"width": 1024, "height": 1024, "points": [0, 0, 1024, 0, 512, 512]}]}'
)
_GEOMETRY = re.compile(r"([0-9]{1,6})[xX×]([0-9]{1,6})(?:([-+][0-9]{1,6})([-+][0-9]{1,6}))?")  # 2048x1024+0-128


class SizeParam(ModelParam, frozen=True, kw_only=True):
    """A width and a height."""

    def describe_value(self, *, anyway: bool = False) -> dict[str, object]:
        return _describe_object({"width": _side_schema(), "height": _side_schema()})

    def read_text(self, text: str) -> object:
        found = _GEOMETRY.fullmatch(text.strip())
        if found is None or found[3] is not None:
            return read_json_or_text(text)
        return {"width": int(found[1]), "height": int(found[2])}

    @property
    def metavar(self) -> str:
        return "WIDTHxHEIGHT"

    def parse_value(self, value: object, *, anyway: bool = False) -> dict[str, int]:
        expected = f"a width and a height from 1 to {_PIXELS_MOST:,} pixels, such as 2048x1024"
        return _parse_numbers(self, value, ("width", "height"), 1, expected)


class PlaceParam(ModelParam, frozen=True, kw_only=True):
    """The size and the upper left corner of a picture on its canvas; it may reach over the edge."""

    def describe_value(self, *, anyway: bool = False) -> dict[str, object]:
        corner = {"type": "integer", "minimum": -_PIXELS_MOST, "maximum": _PIXELS_MOST}
        return _describe_object({"width": _side_schema(), "height": _side_schema(), "x": corner, "y": corner})

    def read_text(self, text: str) -> object:
        found = _GEOMETRY.fullmatch(text.strip())
        if found is None:
            return read_json_or_text(text)
        return {"width": int(found[1]), "height": int(found[2]), "x": int(found[3] or 0), "y": int(found[4] or 0)}

    @property
    def metavar(self) -> str:
        return "WIDTHxHEIGHT+X+Y"

    def parse_value(self, value: object, *, anyway: bool = False) -> dict[str, int]:
        expected = f"a width, a height, x and y of at most {_PIXELS_MOST:,} pixels, such as 1024x1024+512+0"
        size = _parse_numbers(self, value, ("width", "height", "x", "y"), -_PIXELS_MOST, expected)
        if size["width"] < 1 or size["height"] < 1:
            raise self.invalid_error(expected)
        return size


class MaskParam(ModelParam, frozen=True, kw_only=True):
    """What of a picture is to be repainted: either `areas`, polygons with the size of the mask that they are drawn on,
    or the `url` of a black and white picture, in which white is repainted."""

    url_most: int = 1024

    def describe_value(self, *, anyway: bool = False) -> dict[str, object]:
        side = {"type": "integer", "minimum": 1 if anyway else _MASK_LEAST, "maximum": _MASK_MOST}
        points = {
            "type": "array",
            "items": {"type": "number", "minimum": 0, "maximum": _MASK_MOST},
            "minItems": _POINTS_LEAST,
            "maxItems": _POINTS_MOST,
            "description": "x and y in turn, so an even number of them",
        }
        area = _describe_object({"width": side, "height": side, "points": points})
        areas = {"type": "array", "items": area, "minItems": 1, "maxItems": _AREAS_MOST}
        url = {"type": "string", "format": "uri", "pattern": "^https?://", "maxLength": self.url_most}
        return {"oneOf": [_describe_object({"areas": areas}), _describe_object({"url": url})]}

    def read_text(self, text: str) -> object:
        return {"url": text.strip()} if re.match("https?://", text.strip()) else read_json_or_text(text)

    @property
    def metavar(self) -> str:
        return "URL|JSON"

    def parse_value(self, value: object, *, anyway: bool = False) -> dict[str, Any]:
        if not isinstance(value, Mapping) or len(value) != 1 or next(iter(value)) not in ("areas", "url"):
            raise self.invalid_error(_MASK_EXPECTED)
        if "url" in value:
            url = value["url"]
            if not isinstance(url, str) or len(url) > self.url_most or not is_http_url(url):
                raise self._error("url", f"an absolute http or https URL of at most {self.url_most} characters")
            return {"url": url}
        areas = value["areas"]
        if not isinstance(areas, list) or not 1 <= len(areas) <= _AREAS_MOST:
            raise self._error("areas", f"a list of 1 to {_AREAS_MOST} areas")
        return {"areas": [self._parse_area(it, f"areas[{number}]", anyway=anyway) for number, it in enumerate(areas)]}

    def _parse_area(self, area: object, where: str, *, anyway: bool) -> dict[str, Any]:
        if not isinstance(area, Mapping) or set(area) != {"width", "height", "points"}:
            raise self._error(where, "an object with width, height and points")
        sides = {side: self._parse_side(area[side], f"{where}.{side}", anyway=anyway) for side in ("width", "height")}
        points = area["points"]
        if not isinstance(points, list) or not _POINTS_LEAST <= len(points) <= _POINTS_MOST or len(points) % 2:
            expected = f"an even number of {_POINTS_LEAST} to {_POINTS_MOST:,} numbers, x and y in turn"
            raise self._error(f"{where}.points", expected)
        return {**sides, "points": [self._parse_point(it, f"{where}.points") for it in points]}

    def _parse_side(self, side: object, where: str, *, anyway: bool) -> int:
        number = _as_integer(side)
        if number is None or not 1 <= number <= _MASK_MOST:
            raise self._error(where, f"a whole number from {_MASK_LEAST} to {_MASK_MOST}")
        if (
            number < _MASK_LEAST and not anyway
        ):  # the upstream's own samples are smaller than the provider's page allows
            raise unlikely(f"{self.name}.{where} should be from {_MASK_LEAST} to {_MASK_MOST}", self.name)
        return number

    def _parse_point(self, point: object, where: str) -> int | float:
        if not isinstance(point, int | float) or isinstance(point, bool) or not 0 <= point <= _MASK_MOST:
            raise self._error(where, f"numbers from 0 to {_MASK_MOST}")
        return int(point) if float(point).is_integer() else float(point)

    def _error(self, where: str, expected: str) -> RequestRefused:
        return RequestRefused(422, self.invalid_code or INVALID, f"{self.name}.{where} must be {expected}", self.name)


def _parse_numbers(
    param: ModelParam, value: object, names: tuple[str, ...], least: int, expected: str
) -> dict[str, int]:
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise param.invalid_error(expected)
    numbers = {name: _as_integer(value[name]) for name in names}
    found = {name: number for name, number in numbers.items() if number is not None}
    if len(found) != len(names) or not all(least <= number <= _PIXELS_MOST for number in found.values()):
        raise param.invalid_error(expected)
    return found


def _as_integer(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _describe_object(properties: dict[str, Any]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _side_schema() -> dict[str, object]:
    return {"type": "integer", "minimum": 1, "maximum": _PIXELS_MOST}
