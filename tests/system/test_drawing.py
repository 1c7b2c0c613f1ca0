"""What is drawn: thumbnails and contact sheets of good pictures, bad ones, and both together; by the real child."""

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from kit.picture_files import BLUE, GREEN, PATIENT, RED, Colour, bad, encoded, noise, opened, plain, written
from receiver.pictures.drawing.draw import HEAVY, SIDE, columns_for, fit_size, webp_size
from receiver.pictures.drawing.process import DrawingProcess
from receiver.pictures.drawing.protocol import SMALL, TINY, ContactSheet

pytestmark = pytest.mark.anyio

WHITE = (255, 255, 255)


def near(pixel: object, colour: Colour, by: int = 14) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(one - other) <= by for one, other in zip(pixel, colour, strict=True))


def patches(image: Image.Image, colour: Colour) -> tuple[int, int, int, int] | None:
    """The box around all that has this colour."""
    bands = [
        band.point([255 * (abs(value - wanted) <= 30) for value in range(256)])
        for band, wanted in zip(image.split(), colour, strict=True)
    ]
    mask = Image.composite(Image.composite(bands[0], bands[1], bands[1]), bands[2], bands[2])
    return mask.getbbox()


def patient() -> DrawingProcess:
    return DrawingProcess(limits=PATIENT, within_s=600)


async def drawn(folder: Path, *contents: bytes) -> ContactSheet:
    return await patient().draw_sheet(written(folder, list(contents)))


async def test_four_pictures_become_four_thumbnails_and_one_sheet(tmp_path: Path) -> None:
    """Thumbnails of at most 512 pixels, a sheet of at most 1600, and the sizes of the pictures themselves."""
    pictures = [plain((1200, 900)), plain((700, 700), BLUE, "JPEG"), plain((90, 60), kind="GIF"), plain(kind="WEBP")]
    sheet = await drawn(tmp_path, *pictures)
    assert sheet.error is None
    assert [(it.width, it.height, it.error) for it in sheet.drawn] == [
        (1200, 900, None),
        (700, 700, None),
        (90, 60, None),
        (320, 240, None),
    ]
    assert [opened(it.small).size for it in sheet.drawn] == [(SMALL, 384), (SMALL, SMALL), (90, 60), (320, 240)]
    assert [opened(it.tiny).size if it.tiny else None for it in sheet.drawn] == [
        (TINY, 192),
        (TINY, TINY),
        None,
        (TINY, 192),
    ]
    assert max(opened(sheet.picture).size) <= SIDE


def _modes() -> dict[str, bytes]:
    red = Image.new("RGB", (40, 40), RED)
    half = red.convert("RGBA")
    half.putalpha(0)
    half.paste((*RED, 255), (0, 0, 20, 40))
    return {
        "rgb": encoded(red),
        "palette": encoded(red.quantize(4)),
        "grey": encoded(Image.new("L", (40, 40), 120)),
        "grey, 16 bits": encoded(Image.new("I;16", (40, 40), 120 * 257)),
        "one bit": encoded(Image.new("1", (40, 40), 1)),
        "cmyk": encoded(red.convert("CMYK"), "JPEG"),
        "progressive": encoded(red, "JPEG", progressive=True),
        "half clear": encoded(half),
        "half clear webp": encoded(half, "WEBP", lossless=True),
        "half clear gif": encoded(half, "GIF"),
        "large and half clear": encoded(half.resize((2600, 2600), Image.Resampling.NEAREST)),
        "bmp": encoded(red, "BMP"),
        "tiff": encoded(red, "TIFF"),
        "packed tiff": encoded(red, "TIFF", compression="tiff_lzw"),
        "grey tiff, 16 bits": encoded(Image.new("I;16", (40, 40), 120 * 257), "TIFF"),
        "half clear tiff": encoded(half, "TIFF"),
        "avif": encoded(red, "AVIF", speed=10),
        "half clear avif": encoded(half, "AVIF", speed=10),
        "moving": encoded(red, "GIF", save_all=True, append_images=[Image.new("RGB", (40, 40), BLUE)]),
        "moving webp": encoded(red, "WEBP", save_all=True, append_images=[Image.new("RGB", (40, 40), BLUE)]),
    }


async def test_every_format_and_mode_keeps_its_colours(tmp_path: Path) -> None:
    """The first frame of what moves; what is clear lies on white."""
    modes = _modes()
    sheet = await drawn(tmp_path, *modes.values())
    left = {"grey": (120,) * 3, "grey, 16 bits": (120,) * 3, "grey tiff, 16 bits": (120,) * 3, "one bit": WHITE}
    for name, one in zip(modes, sheet.drawn, strict=True):
        assert one.error is None, name
        small = opened(one.small)
        quarter = small.width // 4
        assert near(small.getpixel((quarter, 2 * quarter)), left.get(name, RED)), name
        if "clear" in name:
            assert near(small.getpixel((3 * quarter, 2 * quarter)), WHITE), name


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
async def test_a_camera_s_turn_is_undone(tmp_path: Path, kind: str) -> None:
    """All eight orientations of EXIF: upright, what was the left half is red, and the size is the upright one."""
    upright = Image.new("RGB", (1400, 900), BLUE)
    upright.paste(RED, (0, 0, 700, 450))
    turns = [  # how it has to be turned to lie as each orientation says
        None,
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.ROTATE_180,
        Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_90,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_270,
    ]
    contents = []
    for orientation, turn in enumerate(turns, 1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        contents.append(encoded(upright if turn is None else upright.transpose(turn), kind, exif=exif.tobytes()))
    sheet = await drawn(tmp_path, *contents)
    for one in sheet.drawn:
        assert (one.width, one.height, one.error) == (1400, 900, None)
        small = opened(one.small)
        assert small.size == (512, 329)
        assert near(small.getpixel((120, 80)), RED)
        assert near(small.getpixel((400, 80)), BLUE)
        assert near(small.getpixel((120, 250)), BLUE)


@pytest.mark.parametrize("name", sorted(bad()))
async def test_a_bad_picture_fails_alone(tmp_path: Path, name: str) -> None:
    """It says why, in one line that names no file of ours; its neighbours are drawn, and so is the sheet."""
    sheet = await drawn(tmp_path, plain(), bad()[name], plain(colour=BLUE))
    first, failed, last = sheet.drawn
    assert failed.small is None
    assert failed.error
    assert "\n" not in failed.error
    assert str(tmp_path) not in failed.error
    assert "child" not in failed.error  # it lived through it
    assert (first.error, last.error, sheet.error) == (None, None, None)
    picture = opened(sheet.picture)
    assert patches(picture, RED)
    assert patches(picture, BLUE)


@pytest.mark.parametrize("name", ["bomb", "just too large", "webp bomb", "a large webp", "a large avif"])
async def test_what_is_too_large_is_told_by_its_header(tmp_path: Path, name: str) -> None:
    """Before a pixel of it is read."""
    (failed,) = (await drawn(tmp_path, bad()[name])).drawn
    assert failed.error is not None
    assert re.fullmatch(r"too large: (\d+ × \d+|more than 20,000,000) pixels", failed.error)


async def test_what_is_not_a_file_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe, a folder and nothing at all."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "good").write_bytes(plain())
    names = ("pipe", "good", "gone", ".")
    sheet = await patient().draw_sheet([(name, tmp_path / name) for name in names])
    assert [it.error for it in sheet.drawn] == [
        "cannot be read: not a file",
        None,
        "cannot be read: No such file or directory",
        "cannot be read: not a file",
    ]
    assert sheet.picture


async def test_nothing_but_bad_pictures_is_no_sheet(tmp_path: Path) -> None:
    sheet = await drawn(tmp_path, b"", b"x")
    assert (sheet.picture, sheet.error) == (None, "none of the pictures can be drawn")
    assert all(it.error for it in sheet.drawn)


async def test_one_picture_has_the_sheet_for_itself(tmp_path: Path) -> None:
    """At most 1024 pixels, never enlarged, and without a number."""
    large = await drawn(tmp_path, plain((3000, 1500)))
    assert opened(large.picture).size == (1024, 512)
    little = await drawn(tmp_path, plain((100, 50)))
    picture = opened(little.picture)
    assert picture.size == (100, 50)
    assert all(near(picture.getpixel((x, y)), RED) for x in range(0, 100, 5) for y in range(0, 50, 5))


async def test_the_ratio_of_the_sides_is_kept_on_the_sheet(tmp_path: Path) -> None:
    """A wide, a tall and a square picture, each whole and undistorted, none over another."""
    sheet = await drawn(tmp_path, plain((2000, 1000), RED), plain((600, 1200), BLUE), plain((900, 900), GREEN))
    picture = opened(sheet.picture)
    for colour, ratio in ((RED, 2.0), (BLUE, 0.5), (GREEN, 1.0)):
        box = patches(picture, colour)
        assert box is not None
        assert (box[2] - box[0]) / (box[3] - box[1]) == pytest.approx(ratio, rel=0.02)


async def test_pictures_stand_in_the_order_they_were_given(tmp_path: Path) -> None:
    """Row by row, left to right."""
    shades = [(shade, 0, 0) for shade in range(20, 220, 25)]
    sheet = await drawn(tmp_path, *[plain((200, 200), it) for it in shades])
    picture = opened(sheet.picture)
    gap, columns = (picture.width - 4 * 200) // 5, 4
    middles = [gap + 100 + place * (200 + gap) for place in range(columns)]
    found = [picture.getpixel((x, y)) for y in middles[:2] for x in middles]
    assert all(near(pixel, shade, 6) for pixel, shade in zip(found, shades, strict=True))


@pytest.mark.parametrize("colour", [WHITE, (0, 0, 0), (128, 128, 128)])
async def test_numbers_can_be_read_on_any_picture(tmp_path: Path, colour: Colour) -> None:
    """Light on dark with a light edge, in the corner of each."""
    sheet = await drawn(tmp_path, plain((800, 800), colour), plain((800, 800), colour))
    picture = opened(sheet.picture).convert("L")
    corner, rest = (sorted(picture.crop(box).tobytes()) for box in ((20, 20, 120, 120), (200, 200, 700, 700)))
    assert corner[0] < 40
    assert corner[-1] > 235
    assert rest[-1] - rest[0] <= 4


async def test_captions_may_say_anything(tmp_path: Path) -> None:
    """Long ones, empty ones, control characters, other scripts: the sheet is drawn."""
    captions = ["", "a" * 9000, "\x00\x1b[31m\n", "‮שלום", "你好", "👩‍👩‍👧", "0"]
    paths = written(tmp_path, [plain((60, 60))] * len(captions))
    sheet = await patient().draw_sheet([(caption, path) for caption, (_, path) in zip(captions, paths, strict=True)])
    assert sheet.error is None


async def test_a_sheet_never_weighs_more_than_a_megabyte(tmp_path: Path) -> None:
    """Not even of noise."""
    sheet = await drawn(tmp_path, *[encoded(noise(820, seed), compress_level=1) for seed in range(4)])
    assert sheet.picture is not None
    assert 300_000 < len(sheet.picture) <= HEAVY


async def test_thirty_six_pictures_fit(tmp_path: Path) -> None:
    """Of mixed sizes; and those after them are told that they do not."""
    sizes = [(400, 300), (300, 400), (300, 300), (900, 100), (1, 1), (1, 4000)]
    sheet = await drawn(tmp_path, *[plain(sizes[at % len(sizes)]) for at in range(38)])
    assert max(opened(sheet.picture).size) <= SIDE
    assert [it.error for it in sheet.drawn] == [None] * 36 + ["more than 36 pictures at once"] * 2


def test_columns() -> None:
    """Two for up to four, then up to six; the last row as full as can be."""
    found = {count: columns_for(count) for count in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 25, 26, 36)}
    assert found == {1: 1, 2: 2, 3: 2, 4: 2, 5: 3, 6: 3, 7: 4, 8: 4, 9: 3, 10: 5, 12: 4, 16: 4, 25: 5, 26: 6, 36: 6}
    assert all(columns_for(count) ** 2 >= count for count in range(1, 37))


def test_fitted_keeps_the_ratio_and_a_pixel_at_least() -> None:
    assert fit_size((2000, 1000), (512, 512)) == (512, 256)
    assert fit_size((10, 20), (512, 512)) == (10, 20)
    assert fit_size((9000, 2), (512, 512)) == (512, 1)


def test_the_size_of_a_webp_is_in_its_header(tmp_path: Path) -> None:
    """In all three forms of it; the file is left at its beginning."""
    image = noise(16).resize((37, 21))
    clear = image.convert("RGBA")
    clear.putalpha(90)
    for content in (
        encoded(image, "WEBP"),
        encoded(image, "WEBP", lossless=True),
        encoded(clear, "WEBP"),
    ):
        (tmp_path / "it").write_bytes(content)
        with (tmp_path / "it").open("rb") as file:
            assert webp_size(file) == (37, 21)
            assert file.tell() == 0
    (tmp_path / "it").write_bytes(plain())
    with (tmp_path / "it").open("rb") as file:
        assert webp_size(file) is None
