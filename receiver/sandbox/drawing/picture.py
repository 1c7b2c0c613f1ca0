"""What is to be drawn, as plain values: a scene, the part of it that is shown, and what was done to it since. Pure.

Places are in units of the scene. A square picture made from a prompt shows it from -0.5 to 0.5 both ways, y upwards;
its four pictures are four scenes. What goes on from a picture keeps its scene, so one recognises it.
"""

from enum import Enum

import msgspec
from msgspec import Struct

LAYERS_MOST = 8
PATCHES_MOST = 4
_SPAN_LEAST, _SPAN_MOST = 0.05, 12.0  # units that are shown, each way
_ASPECT_MOST = 4.0


class Mood(Enum):
    """The time of day or year, which gives the colours."""

    DAY = "day"
    EVENING = "evening"
    MORNING = "morning"
    NIGHT = "night"
    WINTER = "winter"


class Subject(Enum):
    """What stands in the middle."""

    HOUSE = "house"
    LIGHTHOUSE = "lighthouse"
    BOAT = "boat"
    CASTLE = "castle"
    WINDMILL = "windmill"
    TREE = "tree"
    BALLOON = "balloon"


class Style(Enum):
    """How it is painted."""

    PAINTING = "painting"
    DRAFT = "draft"  # coarse and pale, as a draft is
    PENCIL = "pencil"
    MOSAIC = "mosaic"
    POSTER = "poster"
    CUTOUT = "cutout"  # the subject alone, on nothing


class Box(Struct, frozen=True):
    """A part of the scene."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def width(self) -> float:
        """From left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """From bottom to top."""
        return self.top - self.bottom

    def overlaps(self, other: "Box") -> bool:
        """Whether they share a point."""
        beside = self.right < other.left or other.right < self.left
        return not beside and self.bottom <= other.top and other.bottom <= self.top

    def point_at(self, across: float, down: float) -> tuple[float, float]:
        """The point at these shares of its width, from the left, and of its height, from the top."""
        return self.left + self.width * across, self.top - self.height * down

    def grow(self, *, left: float = 0, right: float = 0, down: float = 0, up: float = 0) -> "Box":
        """The box with so much more on each side, within what can be drawn."""
        box = Box(self.left - left, self.bottom - down, self.right + right, self.top + up)
        is_sane = min(box.width, box.height) >= _SPAN_LEAST and max(box.width, box.height) <= _SPAN_MOST
        return box if is_sane else self


class Layer(Struct, frozen=True):
    """A part that was painted at once: around the layers before it, with details of its own."""

    box: Box
    details: str  # a seed
    plant: int


class Patch(Struct, frozen=True):
    """A part that was repainted."""

    points: tuple[tuple[float, float], ...]
    mood: Mood
    subject: Subject
    details: str  # a seed


class Picture(Struct, frozen=True, kw_only=True):
    """One picture, or a video of it, if it lasts any `seconds`."""

    prompt: str
    scene: str  # a seed
    subject: Subject
    mood: Mood
    layers: tuple[Layer, ...]  # the innermost first; the last one's box is what is shown
    twist: str = ""  # a seed; what a strong variation moves
    frame: Box | None = None  # drawn around what was there before
    patches: tuple[Patch, ...] = ()
    pixels: int = 1024  # of the longer side
    style: Style = Style.PAINTING
    seconds: int = 0

    @property
    def view(self) -> Box:
        """What is shown."""
        return self.layers[-1].box

    @property
    def suffix(self) -> str:
        """The ending of its file's name."""
        return "mp4" if self.seconds else "png"

    @property
    def size(self) -> tuple[int, int]:
        """Its width and height in pixels."""
        unit = self.pixels / max(self.view.width, self.view.height)
        return max(round(self.view.width * unit), 16), max(round(self.view.height * unit), 16)

    def with_details(self, details: str) -> "Picture":
        """The same picture with other details in every layer."""
        layers = tuple(
            msgspec.structs.replace(it, details=f"{details}/{number}") for number, it in enumerate(self.layers)
        )
        return msgspec.structs.replace(self, layers=layers, frame=None)

    def with_layer(self, box: Box, details: str, plant: int) -> "Picture":
        """The picture as the inside of a larger one, in a frame."""
        layers = (*self.layers, Layer(box, details, plant))[-LAYERS_MOST:]
        return msgspec.structs.replace(self, layers=layers, frame=self.view)


def box_of_aspect(aspect: float) -> Box:
    """What a picture of this aspect shows: its shorter side is one unit."""
    aspect = min(max(aspect, 1 / _ASPECT_MOST), _ASPECT_MOST)
    across, up = max(aspect, 1.0) / 2, max(1 / aspect, 1.0) / 2
    return Box(-across, -up, across, up)
