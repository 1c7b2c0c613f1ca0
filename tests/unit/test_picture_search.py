"""Where pictures are looked for in a body: how deep, how far, under which names, and which of several is taken."""

from typing import Any

import pytest

from receiver.core.types import Image
from receiver.providers.json_values import URL_MOST
from receiver.providers.vtrix.picture_places import IMAGES_MOST, PictureSearch, find_job_id

BARE = "https://cdn.example/x"  # nothing about it says that it is a picture
PNG = "https://cdn.example/x.png"


def in_value(found: object) -> list[str]:
    return [it.url for it in PictureSearch(None).in_value(found)]


def anywhere(**top: object) -> list[str]:
    return [it.url for it in PictureSearch(None).anywhere(top)]


def nested(value: object, key: str | None, count: int) -> object:
    """`value` inside of `count` objects under `key`, or of as many arrays."""
    for _ in range(count):
        value = [value] if key is None else {key: value}
    return value


def blocks(value: object, count: int) -> object:
    for _ in range(count):
        value = [{"content": value}]
    return value


# -- how many --


def test_64_pictures_of_one_body_are_taken() -> None:
    assert IMAGES_MOST == 64
    many = [f"{PNG}?{n}" for n in range(65)]
    assert in_value(many) == many[:64]
    assert anywhere(images=many) == many[:64]


def test_a_link_that_comes_twice_is_one_picture_unless_it_stands_in_its_place() -> None:
    assert anywhere(image=PNG, photo=PNG) == [PNG]
    assert in_value([PNG, PNG]) == [PNG, PNG]


# -- how deep --


@pytest.mark.parametrize(("levels", "found"), [(0, [BARE]), (1, [BARE]), (8, [BARE]), (9, [])])
def test_a_picture_lies_at_most_eight_levels_deep(levels: int, found: list[str]) -> None:
    assert in_value(nested([BARE], "images", levels)) == found
    assert in_value(blocks([BARE], levels)) == found
    assert in_value([nested(BARE, "url", levels)]) == found
    assert in_value([nested(BARE, None, levels)]) == found


@pytest.mark.parametrize(("levels", "found"), [(1, [PNG]), (7, [PNG]), (8, [])])
def test_elsewhere_seven_levels_deep(levels: int, found: list[str]) -> None:
    assert anywhere(x=nested(PNG, "x", levels - 1)) == found
    assert anywhere(x=nested(PNG, None, levels - 1)) == found


@pytest.mark.parametrize(("others", "found"), [(4_997, [PNG]), (4_998, [])])
def test_no_more_than_5000_values_of_a_body_are_looked_at(others: int, found: list[str]) -> None:
    """The body itself and the array are two of them."""
    assert anywhere(images=[*[0] * others, PNG]) == found


# -- which names --


@pytest.mark.parametrize(
    ("name", "url", "found"),
    [
        ("0", BARE, True),
        ("picture", BARE, True),
        ("x", PNG, True),
        ("x", BARE, False),
        ("source_image", PNG, False),
        ("callback_image", PNG, False),
    ],
)
def test_of_a_map_those_links_are_pictures_whose_name_or_ending_says_so(name: str, url: str, found: bool) -> None:
    assert in_value({name: url}) == ([url] if found else [])
    assert in_value({name: {"url": url}}) == ([url] if found else [])


@pytest.mark.parametrize(
    ("top", "found"),
    [
        ({"image": BARE}, True),
        ({"x": PNG}, True),
        ({"x": BARE}, False),
        ({"image": {"url": BARE}}, True),  # `url` says nothing, so the name above it counts
        ({"x": {"url": BARE}}, False),
        ({"x": {"image_url": BARE}}, True),
        ({"x": [{"photo": BARE}]}, True),
        ({"photos": [BARE]}, True),
        ({"input": {"image": PNG}}, False),
        ({"image": " " * 12 + BARE}, True),
        ({"image": " " * 13 + BARE}, False),
        ({"image": "words " + BARE}, False),
        ({"image": 7}, False),
    ],
)
def test_elsewhere_a_link_is_a_picture_if_its_name_or_its_ending_says_so(top: dict[str, object], found: bool) -> None:
    assert bool(anywhere(**top)) is found


def test_of_an_array_in_the_place_of_a_link_the_first_is_taken() -> None:
    assert in_value([[PNG + "?1", PNG + "?2"]]) == [PNG + "?1"]
    assert in_value([{"url": "", "imageUrl": PNG}]) == [PNG]


def test_the_first_place_that_has_pictures_counts() -> None:
    search = PictureSearch(None)
    outer = {"output": [PNG + "?outer"]}
    levels: list[dict[str, Any]] = [{"output": [], "images": [PNG + "?inner"], "url": PNG}, outer]
    assert [it.url for it in search.in_places(levels)] == [PNG + "?inner"]
    assert PictureSearch(None).in_places([{}]) == ()


# -- why none --


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("data:image/png;base64,AAAA", "data: URL"),
        (" DATA:image/png;base64,AAAA", "data: URL"),
        ("https://", None),
        ("words", None),
        ("w" * (URL_MOST + 1), None),
        ("http" + "\x01" * (URL_MOST - 4), None),
        ("http" + "\x01" * (URL_MOST - 3), "longer than 16,384"),
        (7, None),
    ],
)
def test_why_something_is_not_a_picture_is_said_only_if_it_looks_like_one(item: object, why: str | None) -> None:
    search = PictureSearch(None)
    assert search.in_value([item]) == ()
    assert (why in (search.why_none or "")) if why else search.why_none is None


def test_what_the_moderation_refused_is_no_picture_but_keeps_its_number() -> None:
    search = PictureSearch("job")
    images = search.in_value([PNG, PNG + "?1", PNG + "?2"], [None, " refused ", ""])
    assert images == (Image(0, PNG, "image", "job"), Image(2, PNG + "?2", "image", "job"))
    assert search.moderated == "refused"
    assert len(PictureSearch(None).in_value([PNG, PNG], [""])) == 2
    assert len(PictureSearch(None).in_value([PNG, PNG], "refused")) == 2
    for place, refused in (("urls", 1), ("imageUrls", 1), ("images", 2)):
        assert len(PictureSearch(None).in_places([{place: [PNG, PNG], "audits": ["no"]}])) == refused


# -- job ids --


@pytest.mark.parametrize(
    ("item", "job_id"),
    [
        ({"jobId": "a", "job_id": "b"}, "a"),
        ({"jobId": "", "job_id": "b"}, "b"),
        ({"metadata": {"jobId": "m"}}, "m"),
        ({"jobId": "midjourney_provider_task_id", "metadata": {"job_id": "m"}}, "m"),
        ({"metadata": {"jobId": "provider_task_id", "provider": {"jobId": "p"}}}, "p"),
        ({"metadata": {"provider": {"jobId": "p"}, "provider_context": {"jobId": "c"}}}, "p"),
        ({"metadata": {"provider_context": {"jobId": "c"}}}, "c"),
        ({"metadata": "words"}, None),
        ({}, None),
    ],
)
def test_an_items_job_id_is_its_own_or_in_its_metadata(item: dict[str, object], job_id: str | None) -> None:
    assert find_job_id(item) == job_id
