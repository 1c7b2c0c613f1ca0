"""Draws the sandbox's pictures: a small landscape in a frame, and its surroundings.

The source picture depends on the job and image that were outpainted, so the four results of a task share it; their
surroundings differ. The same arguments draw the same bytes. Pure, but so slow (tenths of a second) that callers draw in
a thread.
"""

import io
import math
from collections.abc import Callable
from functools import lru_cache
from random import Random

from msgspec import Struct
from PIL import Image, ImageDraw, ImageFilter, ImageFont

_OVERSIZE = 2  # drawn twice as large, then shrunk, for smooth edges
_Colour = tuple[int, int, int]


class _ColourMood(Struct, frozen=True):
    """The colours of a time of day, far to near."""

    sky: tuple[_Colour, _Colour]
    sun: _Colour
    hills: tuple[_Colour, _Colour, _Colour]


_MOODS = (
    _ColourMood(((92, 158, 214), (244, 226, 190)), (255, 236, 150), ((142, 178, 176), (104, 156, 112), (66, 122, 78))),
    _ColourMood(((74, 64, 122), (250, 170, 120)), (255, 214, 128), ((132, 96, 132), (98, 74, 108), (64, 54, 82))),
    _ColourMood(
        ((240, 180, 160), (252, 236, 214)), (255, 250, 220), ((190, 176, 190), (150, 164, 142), (112, 138, 104))
    ),
    _ColourMood(((18, 30, 66), (88, 104, 150)), (240, 240, 220), ((58, 76, 116), (40, 60, 88), (26, 44, 62))),
)
_WALL: _Colour = (246, 236, 218)
_ROOF: _Colour = (190, 82, 62)
_DOOR: _Colour = (104, 66, 48)
_LIGHT: _Colour = (255, 220, 120)
_TRUNK: _Colour = (92, 70, 56)


class _Canvas:
    """A drawing in units of the source picture, which reaches from -0.5 to 0.5 both ways, y upwards."""

    def __init__(self, size: int, scale: float) -> None:
        self.half = scale / 2
        self.pixels = size * _OVERSIZE
        self.image = Image.new("RGB", (self.pixels, self.pixels))
        self.pen = ImageDraw.Draw(self.image)

    def to_pixels(self, x: float, y: float) -> tuple[float, float]:
        return self.pixel_length(x + self.half), self.pixel_length(self.half - y)

    def pixel_length(self, length: float) -> float:
        return length / (2 * self.half) * self.pixels

    def fill_area(self, points: list[tuple[float, float]], fill: _Colour) -> None:
        self.pen.polygon([self.to_pixels(x, y) for x, y in points], fill=fill)

    def fill_disc(self, x: float, y: float, radius: float, fill: _Colour) -> None:
        self.pen.ellipse((*self.to_pixels(x - radius, y + radius), *self.to_pixels(x + radius, y - radius)), fill=fill)


@lru_cache(maxsize=64)
def draw_landscape(source: str, surround: str, image_no: int, scale: float, size: int = 1024) -> bytes:
    """A square PNG of `size` pixels: a picture seeded by `source`, with surroundings seeded by `surround`.

    `scale` (1.1 to 2.0) is how much wider than the source the whole is. `image_no` is written in the corner.
    """
    seed = Random(source)  # noqa: S311 - chance, not a secret
    mood = _MOODS[seed.randrange(len(_MOODS))]
    canvas = _Canvas(size, scale)
    crests = _hill_crests(seed, Random(surround))  # noqa: S311 - likewise
    _draw_sky(canvas, mood)
    _draw_sun(canvas, mood, seed.uniform(-0.3, 0.3))
    _draw_clouds_and_birds(canvas, mood, Random(f"{surround}/sky"))  # noqa: S311 - likewise
    for number, (crest, colour) in enumerate(zip(crests, mood.hills, strict=True)):
        _draw_hill(canvas, crest, colour)
        if number:
            _draw_plants(canvas, crest, colour, image_no, Random(f"{surround}/{number}"), near=number == 2)  # noqa: S311
    _draw_house(canvas, seed.uniform(-0.22, 0.22), crests[2], night=mood is _MOODS[3])
    image = canvas.image.resize((size, size), Image.Resampling.LANCZOS)
    image = _add_frame(image, scale)
    _draw_number(image, image_no)
    return _encode_png(image)


def _hill_crests(seed: Random, around: Random) -> list[Callable[[float], float]]:
    """The outlines of three hills, far to near: the source's inside the frame, drifting away from it outside."""

    def make_crest(base: float, swing: float) -> Callable[[float], float]:
        waves = [(seed.uniform(2, 9), seed.uniform(0, math.tau), swing * seed.uniform(0.3, 0.6)) for _ in range(3)]
        drift = [(around.uniform(4, 10), around.uniform(0, math.tau), swing) for _ in range(2)]

        def height_at(x: float) -> float:
            outside = min(max(abs(x) - 0.5, 0.0) * 4, 1.0)
            inner = sum(size * math.sin(pace * x + phase) for pace, phase, size in waves)
            outer = sum(size * math.sin(pace * x + phase) for pace, phase, size in drift)
            return base + inner + outside * outer

        return height_at

    return [make_crest(0.06, 0.07), make_crest(-0.08, 0.05), make_crest(-0.24, 0.035)]


def _draw_sky(canvas: _Canvas, mood: _ColourMood) -> None:
    """Lightest at the horizon."""
    column = Image.new("RGB", (1, 64))
    column.putdata([_blend_colours(mood.sky[0], mood.sky[1], row / 63) for row in range(64)])
    horizon = int(canvas.to_pixels(0, -0.1)[1])
    canvas.image.paste(column.resize((canvas.pixels, horizon), Image.Resampling.BICUBIC), (0, 0))


def _draw_sun(canvas: _Canvas, mood: _ColourMood, x: float) -> None:
    for radius, share in ((0.13, 0.18), (0.105, 0.35), (0.08, 1.0)):
        behind = _blend_colours(mood.sky[0], mood.sky[1], 0.4)
        canvas.fill_disc(x, 0.27, radius, _blend_colours(behind, mood.sun, share))


def _draw_clouds_and_birds(canvas: _Canvas, mood: _ColourMood, luck: Random) -> None:
    """Clouds and birds, only outside the frame."""
    for _ in range(6):
        x, y = luck.uniform(-canvas.half, canvas.half), luck.uniform(0.2, canvas.half)
        if max(abs(x), abs(y)) < 0.66:
            continue
        colour = _blend_colours(mood.sky[1], (255, 255, 255), 0.35)
        for step in range(5):
            canvas.fill_disc(x + (step - 2) * 0.035, y + luck.uniform(0, 0.02), 0.03 - abs(step - 2) * 0.006, colour)
    for _ in range(luck.randint(3, 7)):
        x, y = luck.choice((-1, 1)) * luck.uniform(0.55, 0.95), luck.uniform(0.15, 0.5)
        wing = [canvas.to_pixels(x - 0.016, y + 0.008), canvas.to_pixels(x, y), canvas.to_pixels(x + 0.016, y + 0.008)]
        canvas.pen.line(wing, fill=_blend_colours(mood.hills[2], (0, 0, 0), 0.3), width=int(canvas.pixel_length(0.004)))


def _draw_hill(canvas: _Canvas, crest: Callable[[float], float], colour: _Colour) -> None:
    steps = [-canvas.half + 2 * canvas.half * step / 160 for step in range(161)]
    outline = [(x, crest(x)) for x in steps]
    canvas.fill_area([(-canvas.half, -canvas.half), *outline, (canvas.half, -canvas.half)], colour)


def _draw_plants(
    canvas: _Canvas, crest: Callable[[float], float], ground: _Colour, image_no: int, luck: Random, *, near: bool
) -> None:
    """Plants or houses on a hill outside the frame, different in each of the four images."""
    tall = 0.11 if near else 0.06
    grow = (_draw_pine, _draw_broadleaf, _draw_cottage, _draw_poplar)[image_no % 4]
    beside = [luck.choice((-1, 1)) * luck.uniform(0.5 + tall / 2, 1.02) for _ in range(26)]
    spots = [(x, crest(x) - (luck.uniform(0.0, 0.28) if near else luck.uniform(0.0, 0.04))) for x in beside]
    if near:
        spots += [(luck.uniform(-1.02, 1.02), -luck.uniform(0.54 + tall, 1.02)) for _ in range(26)]
    for x, foot in sorted(spots, key=lambda spot: -spot[1]):  # the near ones over the far ones
        grow(canvas, x, foot, tall * luck.uniform(0.7, 1.1), ground)


def _draw_pine(canvas: _Canvas, x: float, foot: float, tall: float, ground: _Colour) -> None:
    dark = _blend_colours(ground, (14, 44, 40), 0.55)
    canvas.fill_area(
        [(x - tall / 18, foot), (x - tall / 18, foot + tall), (x + tall / 18, foot + tall), (x + tall / 18, foot)],
        _TRUNK,
    )
    for tier in range(3):
        low, wide = foot + tall * (0.15 + 0.26 * tier), tall * (0.30 - 0.07 * tier)
        canvas.fill_area([(x - wide, low), (x, low + tall * 0.42), (x + wide, low)], dark)


def _draw_broadleaf(canvas: _Canvas, x: float, foot: float, tall: float, ground: _Colour) -> None:
    leaf = _blend_colours(ground, (232, 140, 60), 0.5)
    canvas.fill_area(
        [
            (x - tall / 16, foot),
            (x - tall / 16, foot + tall / 2),
            (x + tall / 16, foot + tall / 2),
            (x + tall / 16, foot),
        ],
        _TRUNK,
    )
    for aside, up, radius in ((-0.17, 0.6, 0.2), (0.17, 0.6, 0.2), (0.0, 0.75, 0.24)):
        canvas.fill_disc(x + aside * tall, foot + up * tall, radius * tall, leaf)


def _draw_cottage(canvas: _Canvas, x: float, foot: float, tall: float, ground: _Colour) -> None:
    wall, roof = _blend_colours(ground, _WALL, 0.75), _blend_colours(ground, _ROOF, 0.75)
    wide = tall * 0.3
    canvas.fill_area(
        [(x - wide, foot), (x - wide, foot + tall * 0.35), (x + wide, foot + tall * 0.35), (x + wide, foot)], wall
    )
    canvas.fill_area(
        [(x - wide * 1.2, foot + tall * 0.35), (x, foot + tall * 0.65), (x + wide * 1.2, foot + tall * 0.35)], roof
    )


def _draw_poplar(canvas: _Canvas, x: float, foot: float, tall: float, ground: _Colour) -> None:
    leaf = _blend_colours(ground, (150, 190, 90), 0.4)
    left, top = canvas.to_pixels(x - tall * 0.13, foot + tall * 1.15)
    right, bottom = canvas.to_pixels(x + tall * 0.13, foot)
    canvas.pen.ellipse((left, top, right, bottom), fill=leaf)


def _draw_house(canvas: _Canvas, x: float, crest: Callable[[float], float], *, night: bool) -> None:
    foot = min(crest(x - 0.1), crest(x + 0.1)) - 0.02
    box = canvas.pen.rectangle
    box((*canvas.to_pixels(x + 0.045, foot + 0.27), *canvas.to_pixels(x + 0.075, foot + 0.15)), fill=_DOOR)
    box(
        (*canvas.to_pixels(x - 0.1, foot + 0.14), *canvas.to_pixels(x + 0.1, foot)),
        fill=_blend_colours(_WALL, (0, 0, 40), 0.3 * night),
    )
    canvas.fill_area(
        [(x - 0.125, foot + 0.14), (x, foot + 0.25), (x + 0.125, foot + 0.14)],
        _blend_colours(_ROOF, (0, 0, 40), 0.3 * night),
    )
    box((*canvas.to_pixels(x - 0.02, foot + 0.075), *canvas.to_pixels(x + 0.02, foot)), fill=_DOOR)
    for aside in (-0.06, 0.06):
        box(
            (*canvas.to_pixels(x + aside - 0.02, foot + 0.1), *canvas.to_pixels(x + aside + 0.02, foot + 0.055)),
            fill=_LIGHT,
        )


def _add_frame(image: Image.Image, scale: float) -> Image.Image:
    """A white frame with a soft shadow around the source; the outside becomes a little paler."""
    size = image.width
    edge, thick = round(size * (1 - 1 / scale) / 2), max(size // 128, 2)
    inside = (edge, edge, size - edge, size - edge)
    shade = Image.new("L", image.size, 0)
    ImageDraw.Draw(shade).rectangle((edge, edge + thick, size - edge, size - edge + thick), fill=120)
    shade = shade.filter(ImageFilter.GaussianBlur(thick * 1.5))
    around = Image.blend(image, Image.new("RGB", image.size, (255, 255, 255)), 0.14)
    around.paste((20, 24, 40), (0, 0), shade)
    around.paste(image.crop(inside), inside[:2])
    ImageDraw.Draw(around).rectangle(inside, outline=(255, 255, 255), width=thick)
    return around


def _draw_number(image: Image.Image, image_no: int) -> None:
    pen, unit = ImageDraw.Draw(image), image.width / 32
    box = (unit * 29, unit * 29, unit * 31.4, unit * 31.4)
    pen.rounded_rectangle(box, unit / 2, fill=(255, 255, 255))
    pen.text((unit * 30.2, unit * 30.2), str(image_no), (40, 44, 60), ImageFont.load_default(unit * 1.6), anchor="mm")


def _encode_png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _blend_colours(one: _Colour, other: _Colour, share: float) -> _Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
