"""Where the picture that a task goes on from lies in the new one. Pure.

A picture that is extended lies in the middle of its frame, at one part in `scale`; one that is panned lies at the
opposite edge. All is drawn in the picture's own size, so that nothing shifts when the scale changes: a frame that is
wider than the picture becomes less high.
"""

from collections.abc import Mapping

from msgspec import Struct

from receiver.providers.declarations import Draws
from receiver.providers.models import MODELS, find_word

SIDE = 1024  # of a picture whose size nobody knows
SCALE_MOST = 16.0  # what is drawn of a larger one cannot be seen
_DIRECTIONS = ("down", "right", "up", "left")


class Box(Struct, frozen=True):
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


class Source(Struct, frozen=True):
    """The picture that a task goes on from, and its `small` copy; without `src` there is no copy of it."""

    src: str = ""
    width: int | None = None
    height: int | None = None
    small: str = ""


class Frame(Struct, frozen=True):
    """Where the picture that a task goes on from lies in the new one, in hundredths; without `src` it is empty."""

    src: str = ""
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0


class Stage(Struct, frozen=True):
    """A drawing of `width` by `height`: the picture at `inner`, and if it gets a new frame, that at `edge`."""

    width: int
    height: int
    inner: Box
    edge: Box | None = None
    src: str = ""
    draws: Draws = Draws.WHOLE


def draw_stage(source: Source, draws: Draws, scale: float | None, direction: str | None = None) -> Stage:
    """The drawing of what a model does with a picture."""
    width, height = (source.width, source.height) if source.width and source.height else (SIDE, SIDE)
    inner, edge = place_picture(width, height, draws, scale, direction)
    return Stage(width, height, inner, edge, source.src, draws)


def place_picture(
    width: float, height: float, draws: Draws, scale: float | None, direction: str | None = None
) -> tuple[Box, Box | None]:
    """Where a picture lies, and the new frame around it, in a drawing of the picture's size."""
    if draws is Draws.WHOLE or scale is None:
        return Box(0, 0, width, height), None
    part = 1 / min(max(scale, 1.0), SCALE_MOST)
    inner_width, inner_height = width * part, height * part
    if draws is Draws.GROW:
        inner = _round(Box((width - inner_width) / 2, (height - inner_height) / 2, inner_width, inner_height))
        return inner, Box(0, 0, width, height)
    if direction in ("left", "right"):
        top = (height - inner_height) / 2
        left = width - inner_width if direction == "left" else 0
        return _round(Box(left, top, inner_width, inner_height)), _round(Box(0, top, width, inner_height))
    left = (width - inner_width) / 2
    top = height - inner_height if direction == "up" else 0
    return _round(Box(left, top, inner_width, inner_height)), _round(Box(left, 0, inner_width, height))


def describe_new_part(draws: Draws, scale: float | None) -> str:
    """How much of the new picture is new; nothing if all is, or none."""
    if draws is Draws.WHOLE or scale is None or scale <= 0:
        return ""
    share = 1 - 1 / (scale * scale if draws is Draws.GROW else scale)
    return f"{round(max(0.0, share) * 100)} % of the new picture is newly painted."


def read_direction(model: str, params: Mapping[str, object]) -> str | None:
    """The direction into which a picture is panned, by the parameter that says it."""
    words = (find_word(model, name, value) for name, value in params.items())
    return next((word for word in words if word in _DIRECTIONS), None)


def read_scale(params: Mapping[str, object]) -> float | None:
    """How much larger the new picture is."""
    scale = params.get("scale")
    return float(scale) if isinstance(scale, int | float) and not isinstance(scale, bool) else None


def card_frame(model: str | None, params: Mapping[str, object], source: Source | None) -> Frame:
    """The picture in the frame of a task that is under way, for a card; empty if it has none, or the picture is not
    known."""
    declared = MODELS.get(model or "")
    scale = read_scale(params)
    if declared is None or declared.draws is Draws.WHOLE or scale is None or source is None or not source.src:
        return Frame()
    inner, _ = place_picture(100, 100, declared.draws, scale, read_direction(declared.name, params))
    return Frame(source.src, inner.x, inner.y, inner.width, inner.height)


def _round(box: Box) -> Box:
    return Box(round(box.x, 1), round(box.y, 1), round(box.width, 1), round(box.height, 1))
