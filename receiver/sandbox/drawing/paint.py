"""Draws a picture that is planned, as a PNG. The same plan makes the same bytes.

It takes tenths of a second, so callers draw in a thread.
"""

import io
from collections.abc import Iterable
from random import Random

from msgspec.structs import replace
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from receiver.sandbox.drawing.canvas import PALETTES, WHITE, Canvas
from receiver.sandbox.drawing.picture import Box, Picture, Style, Subject
from receiver.sandbox.drawing.scenery import draw_hill, draw_plants, draw_sky, hill_crests
from receiver.sandbox.drawing.subjects import draw_subject

_DRAWN_MOST = 3072  # pixels, of the longer side while it is drawn
_OVERSIZE = 2  # drawn larger, then shrunk, for smooth edges


def draw_png(picture: Picture, image_no: int) -> bytes:
    """The picture with its number in a corner."""
    image = paint_picture(picture)
    _draw_number(image, image_no)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=9)
    return out.getvalue()


def paint_picture(picture: Picture) -> Image.Image:
    """The picture, without its number."""
    size = picture.size
    factor = max(min(_OVERSIZE, _DRAWN_MOST / max(size)), 1.0)
    large = (round(size[0] * factor), round(size[1] * factor))
    image = _paint_scene(picture, large)
    if picture.style is not Style.CUTOUT:
        for patch in picture.patches:
            other = replace(picture, mood=patch.mood, subject=patch.subject, twist=patch.details, patches=())
            _paste_patch(image, _paint_scene(other.with_details(patch.details), large), patch.points, picture.view)
    image = image.resize(size, Image.Resampling.LANCZOS)
    image = _apply_style(image, picture.style)
    return _add_frame(image, picture.frame, picture.view) if picture.frame else image


def _paint_scene(picture: Picture, size: tuple[int, int]) -> Image.Image:
    canvas = Canvas(picture.view, size, PALETTES[picture.mood])
    seed = Random(f"{picture.scene}/places")  # noqa: S311 - chance, not a secret
    sun_x, x = seed.uniform(-0.3, 0.3), seed.uniform(-0.2, 0.2)
    if picture.twist:
        turned = Random(f"{picture.twist}/places")  # noqa: S311 - likewise
        sun_x, x = turned.uniform(-0.3, 0.3), x + turned.choice((-1, 1)) * turned.uniform(0.1, 0.2)
    crests = hill_crests(picture)
    foot = min(crests[2](x - 0.1), crests[2](x + 0.1)) - 0.02
    if picture.style is Style.CUTOUT:
        draw_subject(canvas, picture.subject, x, foot)
        return canvas.image
    draw_sky(canvas, picture, sun_x)
    wide = 0.36 if picture.subject is Subject.BOAT else 0.16
    clearing = Box(x - wide, foot - 0.12, x + wide, foot + 0.5)
    for number, crest in enumerate(crests):
        draw_hill(canvas, crest, canvas.palette.hills[number])
        if number:
            draw_plants(canvas, crest, number, picture, clearing)
    draw_subject(canvas, picture.subject, x, foot)
    return canvas.image


def _paste_patch(image: Image.Image, other: Image.Image, points: Iterable[tuple[float, float]], view: Box) -> None:
    unit = image.width / view.width
    outline = [((x - view.left) * unit, (view.top - y) * unit) for x, y in points]
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    image.paste(other, (0, 0), mask)
    ImageDraw.Draw(image).line([*outline, outline[0]], fill=WHITE, width=max(image.width // 400, 2), joint="curve")


def _apply_style(image: Image.Image, style: Style) -> Image.Image:
    if style is Style.CUTOUT:
        return _add_outline(image)
    flat = image.convert("RGB")
    match style:
        case Style.DRAFT:
            coarse = flat.resize((max(flat.width // 14, 1), max(flat.height // 14, 1)), Image.Resampling.BOX)
            blurred = coarse.resize(flat.size, Image.Resampling.BICUBIC)
            return Image.blend(blurred, Image.new("RGB", flat.size, WHITE), 0.25)
        case Style.PENCIL:
            edges = ImageOps.invert(ImageOps.grayscale(flat).filter(ImageFilter.FIND_EDGES))
            lines = ImageOps.autocontrast(edges.filter(ImageFilter.MinFilter(3)), cutoff=1)
            return ImageOps.colorize(lines, (60, 56, 52), (250, 246, 236))
        case Style.MOSAIC:
            tiles = flat.resize((max(flat.width // 24, 1), max(flat.height // 24, 1)), Image.Resampling.BOX)
            image = tiles.resize(flat.size, Image.Resampling.NEAREST)
            pen = ImageDraw.Draw(image)
            for at in range(0, max(flat.size), 24):
                pen.line((at, 0, at, flat.height), fill=(40, 40, 46), width=2)
                pen.line((0, at, flat.width, at), fill=(40, 40, 46), width=2)
            return image
        case Style.POSTER:
            hue, saturation, value = ImageOps.posterize(flat, 2).convert("HSV").split()
            turned = Image.merge(
                "HSV", (hue.point(lambda it: (it + 96) % 256), saturation.point(lambda it: min(it + 90, 255)), value)
            )
            return turned.convert("RGB")
    return flat


def _add_outline(image: Image.Image) -> Image.Image:
    """A thin dark line around what stands on nothing, so that white is seen on white."""
    alpha = image.getchannel("A")
    wider = alpha.filter(ImageFilter.MaxFilter(max(max(image.size) // 256, 1) * 2 + 1))
    outline = Image.new("RGBA", image.size, (60, 64, 80, 0))
    outline.putalpha(wider)
    outline.alpha_composite(image)
    return outline


def _add_frame(image: Image.Image, frame: Box, view: Box) -> Image.Image:
    """A white frame with a soft shadow around what was there before; the rest becomes a little paler."""
    unit, thick = image.width / view.width, max(max(image.size) // 128, 2)
    left, top = round((frame.left - view.left) * unit), round((view.top - frame.top) * unit)
    inside = (left, top, left + round(frame.width * unit), top + round(frame.height * unit))
    if image.mode != "RGB":
        return image
    shade = Image.new("L", image.size, 0)
    ImageDraw.Draw(shade).rectangle((inside[0], inside[1] + thick, inside[2], inside[3] + thick), fill=120)
    shade = shade.filter(ImageFilter.GaussianBlur(thick * 1.5))
    around = Image.blend(image, Image.new("RGB", image.size, WHITE), 0.14)
    around.paste((20, 24, 40), (0, 0), shade)
    kept = (max(inside[0], 0), max(inside[1], 0), min(inside[2], image.width), min(inside[3], image.height))
    if kept[0] < kept[2] and kept[1] < kept[3]:
        around.paste(image.crop(kept), kept[:2])
    ImageDraw.Draw(around).rectangle(inside, outline=WHITE, width=thick)
    return around


def _draw_number(image: Image.Image, image_no: int) -> None:
    pen, unit = ImageDraw.Draw(image), max(image.size) / 32
    right, bottom = image.width - unit * 0.6, image.height - unit * 0.6
    pen.rounded_rectangle((right - unit * 2.4, bottom - unit * 2.4, right, bottom), unit / 2, fill=WHITE)
    middle = (right - unit * 1.2, bottom - unit * 1.2)
    pen.text(middle, str(image_no), (40, 44, 60), ImageFont.load_default(unit * 1.6), anchor="mm")
