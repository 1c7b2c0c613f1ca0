"""Sky, hills and plants of a scene. What lies within a layer depends on nothing outside of it."""

import math
from collections.abc import Callable, Sequence
from random import Random

from PIL import Image

from receiver.sandbox.drawing.canvas import ROOF, TRUNK, WALL, Canvas, Colour, Palette, blend_colours
from receiver.sandbox.drawing.picture import Box, Layer, Picture

_HORIZON, _ZENITH = -0.1, 0.5
_PLANTS_MOST = 90  # of a hill in a layer
Crest = Callable[[float], float]
"""A hill's outline: its height at x."""


def draw_sky(canvas: Canvas, picture: Picture, sun_x: float) -> None:
    """Lightest at the horizon, with a sun or a moon; then clouds and birds, stars at night."""
    palette, (width, height) = canvas.palette, canvas.image.size
    column = Image.new("RGB", (1, height))
    column.putdata([_sky_colour(palette, canvas.view.top - row / canvas.unit) for row in range(height)])
    canvas.image.paste(column.resize((width, height)), (0, 0))
    behind = _sky_colour(palette, 0.27)
    for radius, share in ((0.13, 0.18), (0.105, 0.35), (0.08, 1.0)):
        canvas.fill_disc(sun_x, 0.27, radius, blend_colours(behind, palette.sun, share))
    for layer, inner in _with_inner(picture.layers):
        _draw_clouds_and_birds(canvas, layer, inner, Random(f"{layer.details}/sky"), sun_x)  # noqa: S311 - no secret


def hill_crests(picture: Picture) -> tuple[Crest, Crest, Crest]:
    """Three hills, far to near. Each layer lets them drift away from how they are inside of it."""
    seed = Random(picture.scene)  # noqa: S311 - chance, not a secret
    shapes = [_waves(seed, swing) for swing in (0.07, 0.05, 0.035)]
    bases = (0.06, -0.08, -0.24)
    if picture.twist:
        turned = Random(picture.twist)  # noqa: S311 - likewise
        bases = (bases[0] + turned.uniform(-0.05, 0.05), bases[1] + turned.uniform(-0.03, 0.03), bases[2])
    far, middle, near = (
        _crest(base, shape, picture.layers, number)
        for number, (base, shape) in enumerate(zip(bases, shapes, strict=True))
    )
    return far, middle, near


def draw_hill(canvas: Canvas, crest: Crest, colour: Colour) -> None:
    """A hill, down to the lower edge."""
    view = canvas.view
    steps = [view.left + view.width * step / 200 for step in range(201)]
    canvas.fill_area([(view.left, view.bottom), *((x, crest(x)) for x in steps), (view.right, view.bottom)], colour)


def draw_plants(canvas: Canvas, crest: Crest, number: int, picture: Picture, clearing: Box) -> None:
    """Plants or houses on hill `number`, of another kind in each of four pictures; none in the `clearing`."""
    ground, near = canvas.palette.hills[number], number == 2
    tall = 0.11 if near else 0.06
    spots: list[tuple[float, float, float, int]] = []
    for layer, inner in _with_inner(picture.layers):
        luck = Random(f"{layer.details}/{number}")  # noqa: S311 - chance, not a secret
        box = layer.box
        count = round((14 if near else 18) * box.width) + (round(16 * max(-0.24 - box.bottom, 0)) if near else 0)
        for _ in range(min(count if inner else count // 2, _PLANTS_MOST)):
            x, size = luck.uniform(box.left, box.right), tall * luck.uniform(0.7, 1.1)
            foot = crest(x) - (luck.uniform(0.0, max(crest(x) - box.bottom, 0.1)) if near else luck.uniform(0.0, 0.04))
            room = Box(x - size * 0.4, foot, x + size * 0.4, foot + size * 1.2)
            hidden = clearing.overlaps(room) if inner is None else inner.overlaps(room)
            if not hidden and box.overlaps(room):
                spots.append((foot, x, size, layer.plant))
    for foot, x, size, plant in sorted(spots, reverse=True):  # the near ones over the far ones
        _PLANTS[plant % len(_PLANTS)](canvas, x, foot, size, ground)


def _with_inner(layers: Sequence[Layer]) -> list[tuple[Layer, Box | None]]:
    """Each layer with the box inside it, which it leaves alone."""
    return [(layer, layers[at - 1].box if at else None) for at, layer in enumerate(layers)]


def _waves(luck: Random, swing: float) -> Crest:
    waves = [(luck.uniform(2, 9), luck.uniform(0, math.tau), swing * luck.uniform(0.3, 0.6)) for _ in range(3)]
    return lambda x: sum(size * math.sin(pace * x + phase) for pace, phase, size in waves)


def _crest(base: float, shape: Crest, layers: Sequence[Layer], number: int) -> Crest:
    drifts = [
        (inner, _waves(Random(f"{layer.details}/hill {number}"), (0.07, 0.05, 0.035)[number]))  # noqa: S311 - no secret
        for layer, inner in _with_inner(layers)
        if inner is not None
    ]

    def height_at(x: float) -> float:
        height = base + shape(x)
        for inner, drift in drifts:
            outside = max(inner.left - x, x - inner.right, 0.0)
            height += min(outside * 4, 1.0) * drift(x)
        return height

    return height_at


def _sky_colour(palette: Palette, y: float) -> Colour:
    share = min(max((_ZENITH - y) / (_ZENITH - _HORIZON), 0.0), 1.0)
    higher = min(max((y - _ZENITH) / 3, 0.0), 0.35)
    return blend_colours(blend_colours(palette.sky[0], palette.sky[1], share), (10, 16, 40), higher)


def _draw_clouds_and_birds(canvas: Canvas, layer: Layer, inner: Box | None, luck: Random, sun_x: float) -> None:
    box, palette = layer.box, canvas.palette
    around = inner or Box(sun_x - 0.14, 0.12, sun_x + 0.14, 0.42)  # nothing in front of the sun
    for _ in range(round(min(box.width * 4, 16))):
        x, y = luck.uniform(box.left, box.right), luck.uniform(0.2, max(box.top, 0.3))
        puffs = [luck.uniform(0, 0.02) for _ in range(5)]
        if y > box.top or around.overlaps(Box(x - 0.12, y - 0.03, x + 0.12, y + 0.06)):
            continue
        if palette.is_dark:
            canvas.fill_disc(x, y, 0.004, (255, 255, 240))
            continue
        colour = blend_colours(_sky_colour(palette, y), (255, 255, 255), 0.45)
        for step, up in enumerate(puffs):
            canvas.fill_disc(x + (step - 2) * 0.035, y + up, 0.03 - abs(step - 2) * 0.006, colour)
    for _ in range(luck.randint(2, 5)):
        x, y = luck.uniform(box.left, box.right), luck.uniform(0.15, 0.45)
        if around.overlaps(Box(x - 0.02, y, x + 0.02, y + 0.01)):
            continue
        wings = [(x - 0.016, y + 0.008), (x, y), (x + 0.016, y + 0.008)]
        canvas.draw_line(wings, 0.004, blend_colours(palette.hills[0], (0, 0, 0), 0.5))


def _draw_pine(canvas: Canvas, x: float, foot: float, tall: float, ground: Colour) -> None:
    dark = blend_colours(ground, (14, 44, 40), 0.55)
    canvas.fill_box(x - tall / 18, foot, x + tall / 18, foot + tall, TRUNK)
    for tier in range(3):
        low, wide = foot + tall * (0.15 + 0.26 * tier), tall * (0.30 - 0.07 * tier)
        canvas.fill_area([(x - wide, low), (x, low + tall * 0.42), (x + wide, low)], dark)


def _draw_broadleaf(canvas: Canvas, x: float, foot: float, tall: float, ground: Colour) -> None:
    leaf = blend_colours(ground, (232, 140, 60), 0.5)
    canvas.fill_box(x - tall / 16, foot, x + tall / 16, foot + tall / 2, TRUNK)
    for aside, up, radius in ((-0.17, 0.6, 0.2), (0.17, 0.6, 0.2), (0.0, 0.75, 0.24)):
        canvas.fill_disc(x + aside * tall, foot + up * tall, radius * tall, leaf)


def _draw_cottage(canvas: Canvas, x: float, foot: float, tall: float, ground: Colour) -> None:
    wall, roof = blend_colours(ground, WALL, 0.75), blend_colours(ground, ROOF, 0.75)
    wide = tall * 0.3
    canvas.fill_box(x - wide, foot, x + wide, foot + tall * 0.35, wall)
    canvas.fill_area(
        [(x - wide * 1.2, foot + tall * 0.35), (x, foot + tall * 0.65), (x + wide * 1.2, foot + tall * 0.35)], roof
    )


def _draw_poplar(canvas: Canvas, x: float, foot: float, tall: float, ground: Colour) -> None:
    leaf = blend_colours(ground, (150, 190, 90), 0.4)
    canvas.fill_oval(x, foot + tall * 0.575, tall * 0.13, tall * 0.575, leaf)


_PLANTS = (_draw_pine, _draw_broadleaf, _draw_cottage, _draw_poplar)
