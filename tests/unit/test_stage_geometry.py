"""Where the picture lies in the frame of the new one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.providers.declarations import Draws
from receiver.web.pages.going_on.stage import (
    Box,
    Frame,
    Source,
    card_frame,
    describe_new_part,
    draw_stage,
    place_picture,
    read_direction,
    read_scale,
)

PICTURE = Source("/images/a/0.png", 1024, 1024)


def test_an_extended_picture_lies_in_the_middle_at_one_part_in_scale() -> None:
    stage = draw_stage(PICTURE, Draws.GROW, 1.5)
    assert (stage.width, stage.height, stage.src) == (1024, 1024, PICTURE.src)
    assert stage.inner == Box(170.7, 170.7, 682.7, 682.7)
    assert stage.edge == Box(0, 0, 1024, 1024)


@pytest.mark.parametrize(
    ("direction", "inner", "edge"),
    [
        ("right", Box(0, 100, 200, 200), Box(0, 100, 400, 200)),
        ("left", Box(200, 100, 200, 200), Box(0, 100, 400, 200)),
        ("down", Box(100, 0, 200, 200), Box(100, 0, 200, 400)),
        ("up", Box(100, 200, 200, 200), Box(100, 0, 200, 400)),
        (None, Box(100, 0, 200, 200), Box(100, 0, 200, 400)),
    ],
)
def test_a_panned_picture_lies_at_the_edge_that_is_opposite(direction: str | None, inner: Box, edge: Box) -> None:
    assert place_picture(400, 400, Draws.SHIFT, 2.0, direction) == (inner, edge)


def test_all_else_leaves_the_picture_whole() -> None:
    for stage in (draw_stage(PICTURE, Draws.WHOLE, 1.5), draw_stage(PICTURE, Draws.GROW, None)):
        assert (stage.inner, stage.edge) == (Box(0, 0, 1024, 1024), None)


def test_a_picture_of_unknown_size_is_drawn_as_a_square() -> None:
    stage = draw_stage(Source("/a.png"), Draws.GROW, 2.0)
    assert (stage.width, stage.height, stage.inner) == (1024, 1024, Box(256, 256, 512, 512))
    assert draw_stage(Source("/a.png", 0, 5), Draws.WHOLE, None).width == 1024


@given(
    st.integers(1, 10_000),
    st.integers(1, 10_000),
    st.sampled_from(Draws),
    st.floats(allow_nan=False),
    st.sampled_from(["up", "down", "left", "right", None, "sideways"]),
)
def test_a_picture_is_never_drawn_outside_its_frame(
    width: int, height: int, draws: Draws, scale: float, direction: str | None
) -> None:
    inner, edge = place_picture(width, height, draws, scale, direction)
    frame = edge or Box(0, 0, width, height)
    assert all(map(math.isfinite, (inner.x, inner.y, inner.width, inner.height)))
    assert frame.x - 0.2 <= inner.x
    assert frame.y - 0.2 <= inner.y
    assert inner.x + inner.width <= frame.x + frame.width + 0.2
    assert inner.y + inner.height <= frame.y + frame.height + 0.2
    assert frame.x >= 0
    assert frame.y >= 0
    assert frame.x + frame.width <= width + 0.2
    assert frame.y + frame.height <= height + 0.2


@pytest.mark.parametrize(
    ("draws", "scale", "says"),
    [
        (Draws.GROW, 1.5, "56 % of the new picture is newly painted."),
        (Draws.GROW, 2.0, "75 % of the new picture is newly painted."),
        (Draws.SHIFT, 1.5, "33 % of the new picture is newly painted."),
        (Draws.GROW, 0.5, "0 % of the new picture is newly painted."),
        (Draws.GROW, 0, ""),
        (Draws.GROW, None, ""),
        (Draws.WHOLE, 1.5, ""),
    ],
)
def test_how_much_is_new(draws: Draws, scale: float | None, says: str) -> None:
    assert describe_new_part(draws, scale) == says


def test_a_card_shows_the_picture_at_its_place() -> None:
    frame = card_frame("midjourney_outpaint", {"scale": 2.0}, PICTURE)
    assert frame == Frame(PICTURE.src, 25, 25, 50, 50)
    panned = card_frame("midjourney_pan", {"scale": 2, "direction": 3}, PICTURE)
    assert panned == Frame(PICTURE.src, 50, 25, 50, 50)


@pytest.mark.parametrize(
    ("model", "params", "source"),
    [
        ("midjourney_outpaint", {"scale": 2.0}, None),
        ("midjourney_outpaint", {"scale": 2.0}, Source()),
        ("midjourney_outpaint", {}, PICTURE),
        ("midjourney_outpaint", {"scale": "2"}, PICTURE),
        ("midjourney_outpaint", {"scale": True}, PICTURE),
        ("midjourney_variation", {"type": 1}, PICTURE),
        ("unknown", {"scale": 2.0}, PICTURE),
        (None, {"scale": 2.0}, PICTURE),
    ],
)
def test_a_card_without_a_scale_or_a_source_has_an_empty_frame(
    model: str | None, params: dict[str, object], source: Source | None
) -> None:
    assert card_frame(model, params, source) == Frame()


def test_scale_and_direction_are_read_from_parameters() -> None:
    assert read_direction("midjourney_pan", {"scale": 2, "direction": 1}) == "right"
    assert read_direction("midjourney_variation", {"type": 1}) is None
    assert read_scale({"scale": 2}) == 2.0
