"""A drawing surface in units of the scene, and the colours of each mood."""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from PIL import Image, ImageDraw

from receiver.sandbox.drawing.picture import Box, Mood

Colour = tuple[int, int, int]


class Palette(Struct, frozen=True):
    """The colours of a mood, far to near."""

    sky: tuple[Colour, Colour]
    sun: Colour
    hills: tuple[Colour, Colour, Colour]
    is_dark: bool = False


PALETTES: Mapping[Mood, Palette] = {
    Mood.DAY: Palette(
        ((92, 158, 214), (244, 226, 190)), (255, 236, 150), ((142, 178, 176), (104, 156, 112), (66, 122, 78))
    ),
    Mood.EVENING: Palette(
        ((74, 64, 122), (250, 170, 120)), (255, 214, 128), ((132, 96, 132), (98, 74, 108), (64, 54, 82))
    ),
    Mood.MORNING: Palette(
        ((240, 180, 160), (252, 236, 214)), (255, 250, 220), ((190, 176, 190), (150, 164, 142), (112, 138, 104))
    ),
    Mood.NIGHT: Palette(
        ((18, 30, 66), (88, 104, 150)), (240, 240, 220), ((58, 76, 116), (40, 60, 88), (26, 44, 62)), is_dark=True
    ),
    Mood.WINTER: Palette(
        ((150, 182, 206), (232, 238, 242)), (255, 250, 236), ((206, 216, 226), (222, 230, 236), (240, 244, 248))
    ),
}
WALL: Colour = (246, 236, 218)
ROOF: Colour = (190, 82, 62)
DOOR: Colour = (104, 66, 48)
LIGHT: Colour = (255, 220, 120)
TRUNK: Colour = (92, 70, 56)
WHITE: Colour = (255, 255, 255)


class Canvas:
    """A picture of `view` in `size` pixels; `palette` gives its colours. Transparent until it is painted on."""

    def __init__(self, view: Box, size: tuple[int, int], palette: Palette) -> None:
        self.view = view
        self.palette = palette
        self.unit = size[0] / view.width  # pixels
        self.image = Image.new("RGBA", size, (0, 0, 0, 0))
        self.pen = ImageDraw.Draw(self.image)

    def to_pixels(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the scene is."""
        return (x - self.view.left) * self.unit, (self.view.top - y) * self.unit

    def fill_area(self, points: Iterable[tuple[float, float]], fill: Colour) -> None:
        """Paint a polygon."""
        self.pen.polygon([self.to_pixels(x, y) for x, y in points], fill=fill)

    def fill_box(self, left: float, bottom: float, right: float, top: float, fill: Colour) -> None:
        """Paint a rectangle."""
        self.pen.rectangle((*self.to_pixels(left, top), *self.to_pixels(right, bottom)), fill=fill)

    def fill_disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """Paint a disc."""
        self.fill_oval(x, y, radius, radius, fill)

    def fill_oval(self, x: float, y: float, across: float, up: float, fill: Colour) -> None:
        """Paint an ellipse with these half axes."""
        self.pen.ellipse((*self.to_pixels(x - across, y + up), *self.to_pixels(x + across, y - up)), fill=fill)

    def draw_line(self, points: Iterable[tuple[float, float]], width: float, fill: Colour) -> None:
        """Paint a line."""
        thick = max(int(width * self.unit), 1)
        self.pen.line([self.to_pixels(x, y) for x, y in points], fill=fill, width=thick)


def blend_colours(one: Colour, other: Colour, share: float) -> Colour:
    """The colour between the two; `share` is the other's, from 0 to 1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
