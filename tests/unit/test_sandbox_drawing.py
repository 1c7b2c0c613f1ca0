"""What the sandbox draws: each operation does to a picture what its name says, the same plan draws the same bytes."""

import io
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import Image, ImageChops, ImageStat

from kit.model_params import AREA, good_params
from receiver.providers.models import MODELS, short_model_name
from receiver.sandbox.drawing.film import draw_mp4
from receiver.sandbox.drawing.h264 import encode_shot, sequence_parameters
from receiver.sandbox.drawing.paint import draw_png, paint_picture
from receiver.sandbox.drawing.picture import LAYERS_MOST, Mood, Picture, Style, Subject
from receiver.sandbox.drawing.plan import Params, plan_pictures, stranger_picture

SMALL = 128
PROMPT = {"text": "a lighthouse in the evening"}
SOURCE = plan_pictures("diffusion", PROMPT, None, "seed", 4)[1]


def plan(model: str, params: Params, source: Picture | None = SOURCE, count: int = 1) -> Picture:
    return plan_pictures(model, params, source, "seed 2", count)[0]


def paint(picture: Picture, pixels: int = SMALL) -> Image.Image:
    return paint_picture(replace(picture, pixels=pixels)).convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    """From 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_draws_as_many_results_as_it_makes_and_again_the_same(name: str) -> None:
    model, params = MODELS[name], good_params(name)
    made = plan_pictures(short_model_name(name), params, None, "seed", model.makes)
    again = plan_pictures(short_model_name(name), params, None, "seed", model.makes)
    assert made == again
    assert len(made) == model.makes
    assert {it.suffix for it in made} == {"mp4" if model.media == "video" else "png"}
    draw = draw_mp4 if model.media == "video" else draw_png
    files = [draw(replace(it, pixels=SMALL), number) for number, it in enumerate(made)]
    assert files[0] == draw(replace(again[0], pixels=SMALL), 0)
    assert len(set(files)) == len(files)


def test_four_pictures_of_a_prompt_are_four_scenes_of_what_it_names() -> None:
    made = plan_pictures("diffusion", PROMPT, None, "seed", 4)
    assert {(it.subject, it.mood) for it in made} == {(Subject.LIGHTHOUSE, Mood.EVENING)}
    painted = [paint(it) for it in made]
    assert min(difference(one, other) for one in painted for other in painted if one is not other) > 1


@pytest.mark.parametrize(
    ("flags", "size"),
    [("", (1024, 1024)), ("--ar 3:2", (1024, 683)), ("--ar 1:2 --hd", (1024, 2048)), ("--ar x", (1024, 1024))],
)
def test_the_aspect_and_the_size_are_what_the_prompt_says(flags: str, size: tuple[int, int]) -> None:
    assert plan("diffusion", {"text": f"a boat {flags}"}, None).size == size


def test_a_seed_in_the_prompt_draws_the_same_again() -> None:
    params = {"text": "a boat --seed 5"}
    assert plan_pictures("diffusion", params, None, "a", 2) == plan_pictures("diffusion", params, None, "b", 2)


def test_a_subtle_variation_differs_less_than_a_strong_one() -> None:
    source = paint(SOURCE)
    subtle, strong = (paint(plan("variation", {"type": it})) for it in (0, 1))
    assert 0.2 < difference(source, subtle) < difference(source, strong) < 40


def test_a_remix_shows_what_its_prompt_names() -> None:
    remixed = plan("remix", {"remixPrompt": "a castle in winter"})
    assert (remixed.subject, remixed.mood, remixed.scene) == (Subject.CASTLE, Mood.WINTER, SOURCE.scene)
    assert plan("remix", {"remixPrompt": "zzz", "mode": 1}).subject is SOURCE.subject


@pytest.mark.parametrize("scale", [1.1, 1.5, 2.0])
def test_an_outpaint_has_the_picture_in_its_middle_and_more_around_it(scale: float) -> None:
    wider = plan("outpaint", {"scale": scale})
    assert wider.view.width == pytest.approx(SOURCE.view.width * scale)
    assert wider.frame == SOURCE.view
    large, inside = paint(wider, round(SMALL * scale)), paint(SOURCE)
    edge, rim = (large.width - SMALL) // 2, SMALL // 10
    middle = large.crop((edge + rim, edge + rim, edge + SMALL - rim, edge + SMALL - rim))
    assert difference(middle, inside.crop((rim, rim, SMALL - rim, SMALL - rim))) < 6


def test_the_source_is_the_same_inside_all_results_of_an_outpaint() -> None:
    made = plan_pictures("outpaint", {"scale": 2.0, "jobId": "job", "imageNo": 0}, None, "seed", 4)
    insides = {paint(it, 256).crop((80, 80, 176, 176)).tobytes() for it in made}
    assert len(insides) == 1
    assert len({paint(it, 256).tobytes() for it in made}) == 4


@pytest.mark.parametrize(("direction", "side"), [(0, "bottom"), (1, "right"), (2, "top"), (3, "left")])
def test_a_pan_adds_to_one_side(direction: int, side: str) -> None:
    view, before = plan("pan", {"direction": direction, "scale": 1.5}).view, SOURCE.view
    grown = {it for it in ("left", "bottom", "right", "top") if getattr(view, it) != getattr(before, it)}
    assert grown == {side}
    assert abs(getattr(view, side) - getattr(before, side)) == pytest.approx(0.5)


def test_an_inpaint_changes_what_the_mask_covers_and_nothing_else() -> None:
    area = {"width": 1000, "height": 1000, "points": [0, 0, 500, 0, 500, 1000, 0, 1000]}
    changed = paint(plan("inpaint", {"mask": {"areas": [area]}, "remixPrompt": "winter"}))
    left, right = (0, 0, SMALL // 2 - 4, SMALL), (SMALL // 2 + 4, 0, SMALL, SMALL)
    assert difference(changed.crop(left), paint(SOURCE).crop(left)) > 10
    assert difference(changed.crop(right), paint(SOURCE).crop(right)) < 0.5
    assert difference(paint(plan("inpaint", {"mask": {"url": "https://h/m.png"}})), paint(SOURCE)) > 2


def test_an_edit_puts_the_picture_in_its_place_on_the_canvas() -> None:
    params = {"canvas": {"width": 2000, "height": 1000}, "imgPos": {"width": 1000, "height": 1000, "x": 1000, "y": 0}}
    edited = plan("edit", params)
    assert edited.size == (1024, 512)
    assert (edited.view.left, edited.view.right) == pytest.approx((-1.5, 0.5))
    assert plan("uploadpaint", params | {"mask": {"areas": [AREA]}}).size == (1024, 512)


def test_an_upscale_is_the_same_picture_in_twice_the_size() -> None:
    larger = plan("upscale", {"type": 0})
    assert larger.size == (2048, 2048)
    assert paint(larger).tobytes() == paint(SOURCE).tobytes()
    assert plan("upscale", {"type": 3}).size == (3072, 3072)
    assert plan("upscale", {"type": 0}, plan("upscale", {"type": 0}, larger)).size == (3072, 3072)


def test_a_draft_is_coarse_until_it_is_enhanced() -> None:
    draft = plan("diffusion", {"text": "a boat --draft"}, None)
    assert draft.style is Style.DRAFT
    assert plan("enhance", {}, draft).style is Style.PAINTING


def test_a_reroll_is_another_picture_of_the_prompt() -> None:
    again = plan("reroll", {"jobId": "a"})
    assert (again.subject, again.mood) == (SOURCE.subject, SOURCE.mood)
    assert again.scene != SOURCE.scene
    wide = plan("outpaint", {"scale": 1.5})
    assert plan("reroll", {"jobId": "a"}, wide).layers[:-1] == wide.layers[:-1]


@pytest.mark.parametrize(
    ("prompt", "style"), [("a pencil sketch", Style.PENCIL), ("stained glass", Style.MOSAIC), ("pop", Style.POSTER)]
)
def test_a_retexture_keeps_the_scene_and_changes_the_style(prompt: str, style: Style) -> None:
    assert plan("retexture", {"remixPrompt": prompt}) == replace(SOURCE, style=style)
    assert difference(paint(replace(SOURCE, style=style)), paint(SOURCE)) > 10


def test_what_is_cut_out_stands_on_nothing() -> None:
    with Image.open(io.BytesIO(draw_png(plan("remove_background", {}), 0))) as image:
        assert image.mode == "RGBA"
        assert image.getchannel("A").getpixel((4, 4)) == 0
        assert image.getchannel("A").getbbox() is not None


def test_a_stranger_is_the_same_whenever_it_is_named() -> None:
    assert stranger_picture({"jobId": "a", "imageNo": 1}) == stranger_picture({"task_id": "a", "image_no": 1})
    assert stranger_picture({"jobId": "a", "imageNo": 1}) != stranger_picture({"jobId": "a", "imageNo": 2})
    assert stranger_picture({"imgUrl": "https://h/a"}) != stranger_picture({"imgUrl": "https://h/b"})


def test_a_long_chain_stays_within_bounds() -> None:
    picture = SOURCE
    for step in range(30):
        picture = plan("outpaint" if step % 2 else "pan", {"scale": 2.0, "direction": step % 4}, picture)
        picture = plan("inpaint", {"mask": {"areas": [AREA] * 32}}, picture)
    assert len(picture.layers) <= LAYERS_MOST
    assert max(picture.view.width, picture.view.height) <= 12
    assert len(paint(picture).tobytes()) > 0


@pytest.mark.parametrize(
    "pixels", [{"width": 1, "height": 65_536}, {"width": 65_536, "height": 1}, {"width": 1, "height": 1}]
)
def test_the_oddest_canvas_is_drawn_small(pixels: dict[str, int]) -> None:
    for place in (pixels | {"x": 65_536, "y": -65_536}, pixels | {"x": 0, "y": 0}):
        edited = plan("edit", {"canvas": pixels, "imgPos": place, "remixPrompt": "a"})
        assert 16 <= min(edited.size) <= max(edited.size) <= 1024
        assert draw_png(replace(edited, pixels=64), 0)


@pytest.mark.parametrize("scale", [1.1, 2.0])
def test_a_picture_weighs_at_most_150_kb(scale: float) -> None:
    made = plan_pictures("outpaint", {"scale": scale, "jobId": "j", "imageNo": 0}, None, "seed", 4)
    assert max(len(draw_png(it, number)) for number, it in enumerate(made)) <= 150_000


# Videos


def boxes(content: bytes) -> dict[bytes, bytes]:
    """The boxes of an MP4 at one level."""
    found, at = {}, 0
    while at < len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        assert 8 <= size <= len(content) - at
        found[name] = content[at + 8 : at + size]
        at += size
    assert at == len(content)
    return found


@pytest.mark.parametrize(
    ("model", "pixels", "seconds"), [("video_diffusion", 320, 3), ("extend_video", 640, 5), ("video_upscale", 640, 3)]
)
def test_a_video_is_an_mp4_of_its_size_and_length(model: str, pixels: int, seconds: int) -> None:
    picture = plan(model, {"jobId": "a", "videoNo": 0})
    assert (picture.pixels, picture.seconds) == (pixels, seconds)
    top = boxes(draw_mp4(replace(picture, pixels=SMALL), 0))
    assert list(top) == [b"ftyp", b"moov", b"mdat"]
    movie = boxes(top[b"moov"])
    scale, length = struct.unpack_from(">2I", movie[b"mvhd"], 12)
    assert length / scale == seconds
    track = boxes(movie[b"trak"])
    assert struct.unpack(">2I", track[b"tkhd"][-8:]) == (SMALL << 16, SMALL << 16)
    samples, at = 0, 0
    while at < len(top[b"mdat"]):
        at += 4 + int.from_bytes(top[b"mdat"][at : at + 4], "big")
        samples += 1
    assert (at, samples) == (len(top[b"mdat"]), length)


def test_a_longer_video_begins_another_shot_every_three_seconds() -> None:
    picture = replace(SOURCE, seconds=7, pixels=64)
    content = draw_mp4(picture, 1)
    table = content[content.index(b"stss") + 8 :]
    count = int.from_bytes(table[:4], "big")
    assert struct.unpack_from(f">{count}I", table, 4) == (1, 37, 73)


def test_a_unit_has_no_start_code_within() -> None:
    """Zeros are common in a dark picture's bits."""
    units = list(encode_shot(Image.new("RGB", (64, 32)), [(2, 0), (0, 0), (-2, 4)], 0))
    assert len(units) == 4
    for unit in [*units, sequence_parameters((64, 32), (60, 30))]:
        assert not any(unit[at : at + 2] == b"\0\0" and unit[at + 2] < 3 for at in range(len(unit) - 2))


NUMBERS: dict[str, Any] = {
    "jobId": st.just("a"),
    "imageNo": st.integers(0, 3),
    "videoNo": st.integers(0, 3),
    "scale": st.floats(1.1, 3.0) | st.floats(-1e15, 1e15),
    "type": st.integers(0, 3) | st.integers(),
    "direction": st.integers(0, 3) | st.integers(),
    "videoType": st.integers(0, 1) | st.integers(),
    "mode": st.integers(0, 1),
    "remixPrompt": st.text("a boat-ér 3:", max_size=30),
    "text": st.text("--ar 1:2seed", max_size=30),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(MODELS)), st.fixed_dictionaries(NUMBERS)), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_any_chain_can_be_drawn(steps: list[tuple[str, dict[str, Any]]]) -> None:
    source: Picture | None = None
    for name, params in steps:
        source = plan_pictures(short_model_name(name), params, source, "seed", 1)[0]
    assert source is not None
    assert paint_picture(replace(source, pixels=32)).width <= 32
