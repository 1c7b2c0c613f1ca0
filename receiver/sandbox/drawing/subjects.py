"""What stands in the middle of a scene. Each is drawn with its foot at (x, y), about a quarter of a unit high."""

import math
from collections.abc import Callable, Mapping

from receiver.sandbox.drawing.canvas import DOOR, LIGHT, ROOF, TRUNK, WALL, WHITE, Canvas, Colour, blend_colours
from receiver.sandbox.drawing.picture import Subject

_RED: Colour = (196, 60, 52)
_STONE: Colour = (196, 188, 176)
_WATER: Colour = (96, 150, 190)


def draw_subject(canvas: Canvas, subject: Subject, x: float, y: float) -> None:
    """The subject, in the light of the canvas's mood."""
    _SUBJECTS[subject](canvas, x, y)


def _lit(canvas: Canvas, colour: Colour) -> Colour:
    return blend_colours(colour, (0, 0, 40), 0.4 if canvas.palette.is_dark else 0.0)


def _draw_house(canvas: Canvas, x: float, y: float) -> None:
    canvas.fill_box(x + 0.045, y + 0.15, x + 0.075, y + 0.27, _lit(canvas, DOOR))
    canvas.fill_box(x - 0.1, y, x + 0.1, y + 0.14, _lit(canvas, WALL))
    canvas.fill_area([(x - 0.125, y + 0.14), (x, y + 0.25), (x + 0.125, y + 0.14)], _lit(canvas, ROOF))
    canvas.fill_box(x - 0.02, y, x + 0.02, y + 0.075, DOOR)
    for aside in (-0.06, 0.06):
        canvas.fill_box(x + aside - 0.02, y + 0.055, x + aside + 0.02, y + 0.1, LIGHT)


def _draw_lighthouse(canvas: Canvas, x: float, y: float) -> None:
    tall, foot, head = 0.34, 0.06, 0.036

    def half_width(share: float) -> float:
        return foot + (head - foot) * share

    for band in range(5):
        low, high = band / 5, (band + 1) / 5
        corners = [(-half_width(low), low), (half_width(low), low), (half_width(high), high), (-half_width(high), high)]
        colour = _lit(canvas, _RED if band % 2 else WHITE)
        canvas.fill_area([(x + across, y + up * tall) for across, up in corners], colour)
    top = y + tall
    for side in (-1, 1):
        beam = [(x, top + 0.025), (x + side * 0.3, top + 0.075), (x + side * 0.3, top + 0.0)]
        if canvas.palette.is_dark:
            canvas.fill_area(beam, blend_colours(canvas.palette.sky[1], LIGHT, 0.4))
    canvas.fill_box(x - 0.05, top - 0.006, x + 0.05, top + 0.006, _lit(canvas, (70, 70, 78)))
    canvas.fill_box(x - 0.026, top + 0.006, x + 0.026, top + 0.045, LIGHT)
    canvas.fill_area([(x - 0.036, top + 0.045), (x, top + 0.085), (x + 0.036, top + 0.045)], _lit(canvas, _RED))
    canvas.fill_box(x - 0.014, y, x + 0.014, y + 0.05, DOOR)


def _draw_boat(canvas: Canvas, x: float, y: float) -> None:
    water = blend_colours(_WATER, canvas.palette.sky[0], 0.5)
    canvas.fill_oval(x, y - 0.03, 0.34, 0.075, water)
    for across, up in ((-0.2, -0.05), (0.12, -0.07), (0.2, -0.02), (-0.1, -0.085)):
        wave = [(x + across - 0.03, y + up), (x + across, y + up + 0.006), (x + across + 0.03, y + up)]
        canvas.draw_line(wave, 0.004, blend_colours(water, WHITE, 0.5))
    hull = [(x - 0.12, y + 0.03), (x + 0.12, y + 0.03), (x + 0.075, y - 0.02), (x - 0.08, y - 0.02)]
    canvas.fill_area(hull, _lit(canvas, _RED))
    canvas.fill_box(x - 0.005, y + 0.03, x + 0.005, y + 0.3, TRUNK)
    canvas.fill_area([(x + 0.012, y + 0.29), (x + 0.012, y + 0.05), (x + 0.11, y + 0.05)], _lit(canvas, WALL))
    canvas.fill_area([(x - 0.012, y + 0.25), (x - 0.012, y + 0.05), (x - 0.085, y + 0.05)], _lit(canvas, WHITE))


def _draw_castle(canvas: Canvas, x: float, y: float) -> None:
    stone = _lit(canvas, _STONE)
    dark = blend_colours(stone, (0, 0, 0), 0.15)
    canvas.fill_box(x - 0.13, y, x + 0.13, y + 0.14, stone)
    for step in range(6):
        left = x - 0.13 + step * 0.046
        canvas.fill_box(left, y + 0.14, left + 0.026, y + 0.165, stone)
    for aside, tall in ((-0.15, 0.22), (0.15, 0.22), (0.0, 0.28)):
        canvas.fill_box(x + aside - 0.035, y, x + aside + 0.035, y + tall, dark)
        roof = [(x + aside - 0.05, y + tall), (x + aside, y + tall + 0.1), (x + aside + 0.05, y + tall)]
        canvas.fill_area(roof, _lit(canvas, (84, 92, 140)))
        canvas.fill_box(x + aside - 0.008, y + tall - 0.07, x + aside + 0.008, y + tall - 0.03, LIGHT)
    canvas.fill_box(x - 0.025, y, x + 0.025, y + 0.06, DOOR)
    canvas.fill_disc(x, y + 0.06, 0.025, DOOR)


def _draw_windmill(canvas: Canvas, x: float, y: float) -> None:
    body = [(x - 0.075, y), (x + 0.075, y), (x + 0.045, y + 0.21), (x - 0.045, y + 0.21)]
    canvas.fill_area(body, _lit(canvas, WALL))
    canvas.fill_area([(x - 0.058, y + 0.2), (x, y + 0.27), (x + 0.058, y + 0.2)], _lit(canvas, ROOF))
    canvas.fill_box(x - 0.018, y, x + 0.018, y + 0.065, DOOR)
    canvas.fill_box(x - 0.014, y + 0.1, x + 0.014, y + 0.135, LIGHT)
    centre = (x, y + 0.205)
    for quarter in range(4):
        angle = math.radians(28 + 90 * quarter)
        along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))

        def place(
            far: float, aside: float, a: tuple[float, float] = along, b: tuple[float, float] = across
        ) -> tuple[float, float]:
            return centre[0] + a[0] * far + b[0] * aside, centre[1] + a[1] * far + b[1] * aside

        canvas.fill_area(
            [place(0.03, 0.0), place(0.19, 0.0), place(0.19, 0.045), place(0.03, 0.03)], _lit(canvas, WHITE)
        )
        canvas.draw_line([place(0, 0), place(0.19, 0)], 0.008, TRUNK)


def _draw_tree(canvas: Canvas, x: float, y: float) -> None:
    canvas.fill_area([(x - 0.035, y), (x + 0.035, y), (x + 0.018, y + 0.16), (x - 0.018, y + 0.16)], TRUNK)
    leaf = _lit(canvas, (86, 132, 62))
    for aside, up, radius in ((-0.09, 0.2, 0.075), (0.09, 0.2, 0.075), (-0.045, 0.27, 0.075), (0.05, 0.27, 0.075)):
        canvas.fill_disc(x + aside, y + up, radius, leaf)
    canvas.fill_disc(x, y + 0.22, 0.09, blend_colours(leaf, WHITE, 0.12))
    for aside, up in ((-0.07, 0.19), (0.02, 0.27), (0.08, 0.21), (-0.02, 0.2), (0.04, 0.17)):
        canvas.fill_disc(x + aside, y + up, 0.012, _RED)


def _draw_balloon(canvas: Canvas, x: float, y: float) -> None:
    middle, radius = y + 0.34, 0.13
    for share, colour in ((1.0, _RED), (0.66, LIGHT), (0.3, _RED)):
        canvas.fill_oval(x, middle, radius * share, radius, _lit(canvas, colour))
    canvas.fill_area(
        [(x - 0.1, middle - 0.085), (x + 0.1, middle - 0.085), (x + 0.03, y + 0.15), (x - 0.03, y + 0.15)],
        _lit(canvas, _RED),
    )
    for side in (-1, 1):
        canvas.draw_line([(x + side * 0.03, y + 0.15), (x + side * 0.022, y + 0.1)], 0.004, TRUNK)
    canvas.fill_box(x - 0.028, y + 0.06, x + 0.028, y + 0.1, DOOR)


_SUBJECTS: Mapping[Subject, Callable[[Canvas, float, float], None]] = {
    Subject.HOUSE: _draw_house,
    Subject.LIGHTHOUSE: _draw_lighthouse,
    Subject.BOAT: _draw_boat,
    Subject.CASTLE: _draw_castle,
    Subject.WINDMILL: _draw_windmill,
    Subject.TREE: _draw_tree,
    Subject.BALLOON: _draw_balloon,
}
