"""Sizes, places and masks as people write them, and what is said about wrong ones."""

import pytest

from receiver.core.errors import RequestRefused
from receiver.providers.geometry import MaskParam, PlaceParam, SizeParam

SIZE, PLACE, MASK = SizeParam(name="canvas"), PlaceParam(name="imgPos"), MaskParam(name="mask")
AREA = {"width": 1000, "height": 1000, "points": [0, 0, 1000, 0, 1000, 1000]}


@pytest.mark.parametrize("text", ["2048x1024", " 2048X1024 ", "2048×1024", '{"width": 2048, "height": 1024}'])
def test_a_size_is_written_short_or_as_json(text: str) -> None:
    assert SIZE.parse_value(SIZE.read_text(text)) == {"width": 2048, "height": 1024}


@pytest.mark.parametrize(
    ("text", "x", "y"), [("10x20", 0, 0), ("10x20+5+6", 5, 6), ("10x20-5-6", -5, -6), ("10x20+0-6", 0, -6)]
)
def test_a_place_is_a_size_and_a_corner_that_is_0_0_if_it_is_left_out(text: str, x: int, y: int) -> None:
    assert PLACE.parse_value(PLACE.read_text(text)) == {"width": 10, "height": 20, "x": x, "y": y}


@pytest.mark.parametrize(
    "text", ["", "2048", "2048x", "x1024", "2048x1024x3", "²x²", "2048x1024+1", "[" * 100_000, "\ud800"]
)
def test_other_texts_are_no_size_and_no_place(text: str) -> None:
    for field in (SIZE, PLACE):
        with pytest.raises(RequestRefused, match=r"must be a width.*such as \d+x\d+"):
            field.parse_value(field.read_text(text))


def test_a_size_is_not_a_place_and_a_place_not_a_size() -> None:
    with pytest.raises(RequestRefused):
        SIZE.parse_value(SIZE.read_text("10x20+5+6"))
    with pytest.raises(RequestRefused):
        PLACE.parse_value({"width": 10, "height": 20})


def test_whole_numbers_are_integers_however_they_are_written() -> None:
    assert repr(SIZE.parse_value({"width": 10.0, "height": 20})) == "{'width': 10, 'height': 20}"
    assert repr(MASK.parse_value({"areas": [AREA | {"points": [0.0, 0.5, 1, 1, 2, 2]}]})["areas"][0]["points"]) == (
        "[0, 0.5, 1, 1, 2, 2]"
    )


def test_a_mask_is_an_address_or_areas_and_its_address_may_be_written_bare() -> None:
    assert MASK.parse_value(MASK.read_text(" https://h/m.png ")) == {"url": "https://h/m.png"}
    assert MASK.parse_value(MASK.read_text('{"url": "https://h/m.png"}')) == {"url": "https://h/m.png"}
    assert MASK.parse_value({"areas": [AREA]}) == {"areas": [AREA]}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("m.png", "mask must be the address of a picture"),
        ({}, "mask must be the address of a picture"),
        ({"areas": [AREA], "url": "https://h/m.png"}, "mask must be the address of a picture"),
        ({"url": "m.png"}, "mask.url must be an absolute http or https URL of at most 1024"),
        ({"areas": AREA}, "mask.areas must be a list of 1 to 32 areas"),
        ({"areas": [AREA, {"width": 500}]}, r"mask.areas\[1\] must be an object with width, height and points"),
        ({"areas": [AREA | {"width": "500"}]}, r"mask.areas\[0\].width must be a whole number from 500 to 4096"),
        (
            {"areas": [AREA | {"points": [0, 0]}]},
            r"mask.areas\[0\].points must be an even number of 6 to 2,000 numbers",
        ),
        ({"areas": [AREA | {"points": [True] * 6}]}, r"mask.areas\[0\].points must be numbers from 0 to 4096"),
    ],
)
def test_a_fault_in_a_mask_is_named_by_its_place(value: object, words: str) -> None:
    with pytest.raises(RequestRefused, match=words) as caught:
        MASK.parse_value(value)
    assert caught.value.field == "mask"


@pytest.mark.parametrize(
    ("side", "code"), [(499, "unlikely"), (100, "unlikely"), (0, "invalid_parameter"), (4097, "invalid_parameter")]
)
def test_a_mask_smaller_than_the_page_allows_is_only_unlikely_because_samples_are(side: int, code: str) -> None:
    value = {"areas": [AREA | {"width": side}]}
    with pytest.raises(RequestRefused) as caught:
        MASK.parse_value(value)
    assert caught.value.code == code
    if code == "unlikely":
        assert MASK.parse_value(value, anyway=True) == value
