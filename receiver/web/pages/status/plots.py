"""Plots as figures for a template to draw: bars by the day, and boxes for how long things take. Pure.

A plot is 560 units wide. Its texts are 12 units high, on a phone 19; what stands beside or below a text leaves room for
the larger ones. What a plot shows is also said: in one sentence, its finding, and in figures.
"""

from collections.abc import Callable, Sequence
from datetime import date
from math import ceil, floor, log10

from msgspec import Struct

from receiver.core.sanitize import format_duration, truncate_text

WIDTH = 560
DAYS_MOST = 14
MODELS_MOST = 6
SHARE_SAID = 10  # percent: a share above it is written at its bar
_DAYS_LEAST = 7  # so that the first days are not drawn as a wall
_RIGHT = 4
_CHARACTER = 11  # units, of a text 19 high
_TOP, _BOTTOM, _BAR_HEIGHT = 20.5, 160.5, 190
_BAR_MOST, _BAR_SHARE = 40, 0.7  # of a bar's width: units, and of the room for a day
_GAP = 1.0  # between the parts of a bar
_PART_LEAST = 1.5  # so that what is not nothing can be seen
_ROW, _AXIS_ROOM, _BOX = 40, 32, 18
_NAME_MOST = 18
_TICKS_MOST = 4
_STEPS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
NARROW_SPACE = "\u202f"


class Rectangle(Struct, frozen=True):
    """A bar, a part of one, or a box; `kind` is its class."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class Line(Struct, frozen=True):
    """A line; `kind` is its class."""

    kind: str
    x1: float
    y1: float
    x2: float
    y2: float


class Text(Struct, frozen=True):
    """A text at a point: its start, middle or end is there. A `strong` one is a value or a name, not a scale."""

    text: str
    x: float
    y: float
    anchor: str = "start"
    strong: bool = False


class Plot(Struct, frozen=True):
    """A plot: what to draw, in this order; `finding` says what it shows, `figures` are (of what, figures in words)."""

    height: int
    finding: str
    figures: Sequence[tuple[str, str]]
    lines: Sequence[Line]
    rectangles: Sequence[Rectangle]
    marks: Sequence[Line]
    texts: Sequence[Text]
    period: str = ""  # the days that it shows


class SettledDay(Struct, frozen=True):
    """How many tasks were settled on a day, and by what."""

    day: str
    by_callback: int = 0
    by_sweep: int = 0
    by_others: int = 0

    @property
    def both(self) -> int:
        """Those that the plot shows."""
        return self.by_callback + self.by_sweep


class _Spread(Struct, frozen=True):
    """The times within which a tenth, a quarter, half, three quarters and nine tenths ended."""

    least: float
    low: float
    middle: float
    high: float
    most: float


def plot_costs(
    costs: Sequence[tuple[str, int]], write: Callable[[int], str], write_scale: Callable[[int], str]
) -> Plot | None:
    """The costs of days, oldest first, in a unit of which `write` makes words, and `write_scale` those of the scale;
    None if there were none."""
    shown = _without_empty_days([cost > 0 for _, cost in costs])
    days = [(day, max(0, cost)) for day, cost in costs[shown:]]
    values = [cost for _, cost in days]
    if not any(values):
        return None
    low, high, last = min(values), max(values), values[-1]
    finding = f"Cost a day over {len(days)} days: from {write(low)} to {write(high)}, today {write(last)}."
    frame = _Frame(high, len(days), write_scale)
    bars = [Rectangle("bar", frame.left_of(place), *frame.span(0, cost)) for place, cost in enumerate(values) if cost]
    texts = [*frame.scale_texts(), *frame.day_texts([day for day, _ in days])]
    figures = [(name_day(day), write(cost)) for day, cost in reversed(days)]
    return Plot(_BAR_HEIGHT, finding, figures, frame.lines(), bars, (), texts, name_days(days[0][0], days[-1][0]))


def plot_settled(days: Sequence[SettledDay]) -> Plot | None:
    """How many tasks were settled on each day, oldest first, by callback and by the sweep; None if there were none."""
    days = days[_without_empty_days([it.both > 0 for it in days]) :]
    if not any(it.both for it in days):
        return None
    frame = _Frame(max(it.both for it in days), len(days), short_number, whole=True)
    bars, texts = [], [*frame.scale_texts(), *frame.day_texts([it.day for it in days])]
    shares = [_percent(it.by_sweep, it.both) for it in days]
    for place, it in enumerate(days):
        left = frame.left_of(place)
        if it.by_callback:
            bars.append(Rectangle("bar", left, *frame.span(0, it.by_callback)))
        if it.by_sweep:
            gap = _GAP if it.by_callback else 0.0
            bars.append(Rectangle("bar-two", left, *frame.span(it.by_callback, it.by_sweep, gap)))
        if shares[place] > SHARE_SAID and _is_peak(shares, place):
            above = frame.top_of(it.both) - 7
            text = f"{shares[place]:.0f}{NARROW_SPACE}%"
            texts.append(Text(text, frame.middle_of(place), above, "middle", strong=True))
    figures = [(name_day(it.day), _describe_settled(it)) for it in reversed(days)]
    period = name_days(days[0].day, days[-1].day)
    return Plot(_BAR_HEIGHT, _find_share(days, shares), figures, frame.lines(), bars, (), texts, period)


def plot_durations(models: Sequence[tuple[str, Sequence[int]]], least: int) -> Plot | None:
    """How long the last tasks of each model took, in milliseconds; None if no model has at least `least`."""
    known = [(name, sorted(took)) for name, took in models if len(took) >= max(1, least)][:MODELS_MOST]
    if not known:
        return None
    rows = [
        (truncate_text(name, _NAME_MOST), _Spread(*(percentile(took, it) for it in _SHARES))) for name, took in known
    ]
    halves = [format_duration(round(it.middle)) for _, it in rows]
    left = 10.0 + 10 * max(len(name) for name, _ in rows)
    right = WIDTH - 12 - _CHARACTER * max(map(len, halves))
    top = max(1.0, *(it.most for _, it in rows))
    bottom = _ROW * len(rows) + 6.5

    def across(took: float) -> float:
        return round(left + (right - left) * took / top, 1)

    lines, boxes, marks = [Line("axis", left, bottom, WIDTH - _RIGHT, bottom)], [], []
    texts = [Text(words, across(tick), bottom + 18, "middle" if tick else "start") for tick, words in _time_ticks(top)]
    for place, (name, it) in enumerate(rows):
        y = _ROW * place + 24
        lines.append(Line("span", across(it.least), y, across(it.most), y))
        width = round(max(_PART_LEAST, across(it.high) - across(it.low)), 1)
        boxes.append(Rectangle("box", across(it.low), y - _BOX / 2, width, _BOX))
        marks.append(Line("middle", across(it.middle), y - _BOX / 2, across(it.middle), y + _BOX / 2))
        texts.append(Text(name, 0, y + 5, strong=True))
        texts.append(Text(halves[place], across(it.most) + 8, y + 5))
    finding = " ".join(
        f"{name}: half within {half}, nine in ten within {format_duration(round(it.most))}."
        for (name, it), half in zip(rows, halves, strict=True)
    )
    figures = [(name, _describe_durations(took, least)) for name, took in models[:MODELS_MOST]]
    return Plot(_ROW * len(rows) + _AXIS_ROOM, finding, figures, lines, boxes, marks, texts)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies, between two of them in proportion. There must be some."""
    place = share * (len(ordered) - 1)
    below, above = ordered[floor(place)], ordered[ceil(place)]
    return below + (above - below) * (place - floor(place))


def nice_top(most: float, *, whole: bool = False) -> float:
    """The end of a scale on which `most` lies: twice a round number, a whole one if it is to be."""
    half = max(most / 2, 0.5 if whole else 1e-9)
    power = 10.0 ** floor(log10(half))
    step = next(step for step in _STEPS if step * power >= half * (1 - 1e-9))
    top = 2 * step * power
    return float(ceil(top)) if whole else top


def short_number(number: float) -> str:
    """A number for a scale: `680`, `1,200`, `12k`, `3.4M`."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if number >= 10 * size or (unit == "M" and number >= size):
            return f"{number / size:.3g}{unit}"
    return f"{number:,.0f}"


def name_day(day: str) -> str:
    """`24 November`."""
    at = date.fromisoformat(day)
    return f"{at.day} {at:%B}"


def name_days(first: str, last: str) -> str:
    """`21 to 29 November 2026`, `28 November to 4 December 2026`, with both years where they differ."""
    one, other = date.fromisoformat(first), date.fromisoformat(last)
    end = f"{name_day(last)} {other.year}"
    if one == other:
        return end
    if one.year != other.year:
        return f"{name_day(first)} {one.year} to {end}"
    return f"{one.day if one.month == other.month else name_day(first)} to {end}"


class _Frame:
    """Where bars of up to `most` stand, one for each of `count` days."""

    def __init__(self, most: int, count: int, write: Callable[[int], str], *, whole: bool = False) -> None:
        self._top = nice_top(most, whole=whole)
        middle = self._top / 2
        ticks = [self._top] if whole and middle != int(middle) else [middle, self._top]
        self._ticks = [(0.0, write(0)), *((tick, write(round(tick))) for tick in ticks)]
        self._left = 4 + _CHARACTER * max(3, *(len(text) for _, text in self._ticks))
        self._slot = (WIDTH - _RIGHT - self._left) / count
        self._width = round(min(_BAR_MOST, self._slot * _BAR_SHARE), 1)

    def left_of(self, place: int) -> float:
        return round(self.middle_of(place) - self._width / 2, 1)

    def middle_of(self, place: int) -> float:
        return round(self._left + self._slot * (place + 0.5), 1)

    def top_of(self, value: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * value / self._top, 1)

    def span(self, below: int, value: int, gap: float = 0.0) -> tuple[float, float, float]:
        """y, width and height of a part of a bar, which stands on `below`."""
        bottom = self.top_of(below) - gap
        top = min(self.top_of(below + value), bottom - _PART_LEAST)
        return round(top, 1), self._width, round(bottom - top, 1)

    def lines(self) -> list[Line]:
        ys = [self.top_of(tick) for tick, _ in self._ticks]
        return [Line("axis", self._left, y, WIDTH - _RIGHT, y) for y in ys]

    def scale_texts(self) -> list[Text]:
        return [Text(text, 0, round(self.top_of(tick) + 4, 1)) for tick, text in self._ticks]

    def day_texts(self, days: Sequence[str]) -> list[Text]:
        return [
            Text(str(date.fromisoformat(day).day), self.middle_of(place), 180, "middle")
            for place, day in enumerate(days)
        ]


def _without_empty_days(used: Sequence[bool]) -> int:
    """Where the plot of these days begins: at the first used one, but so that a week is shown."""
    first = used.index(True) if True in used else 0
    return max(0, min(first, len(used) - _DAYS_LEAST), len(used) - DAYS_MOST)


def _is_peak(shares: Sequence[float], place: int) -> bool:
    """Whether the text of this share has room: of neighbours, the larger one is written."""
    before = shares[place - 1] if place else 0.0
    after = shares[place + 1] if place + 1 < len(shares) else 0.0
    return shares[place] > before and shares[place] >= after


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def _find_share(days: Sequence[SettledDay], shares: Sequence[float]) -> str:
    most = max(shares)
    today = f"Tasks settled a day over {len(days)} days, {days[-1].both:,} today."
    if most <= SHARE_SAID:
        return f"{today} The sweep never found more than {SHARE_SAID} percent of them."
    rest = max((share for share in shares if share != most), default=0.0)
    others = f"on other days at most {ceil(rest)}" if rest > 0 else "on other days none"
    return f"{today} The sweep found {most:.0f} percent of them on {name_day(days[shares.index(most)].day)}, {others}."


def _describe_settled(it: SettledDay) -> str:
    words = [f"{it.by_callback:,} by callback", f"{it.by_sweep:,} by sweep"]
    return ", ".join([*words, f"{it.by_others:,} otherwise"] if it.by_others else words)


def _describe_durations(took: Sequence[int], least: int) -> str:
    if len(took) < max(1, least):
        return f"not enough yet: {len(took)} of {least} results"
    ordered = sorted(took)
    least_, low, middle, high, most = (format_duration(round(percentile(ordered, share))) for share in _SHARES)
    return (
        f"half within {middle}; the middle half {low} to {high}; one in ten within {least_}, nine in ten within {most}"
    )


def _time_ticks(top_ms: float) -> list[tuple[int, str]]:
    """The moments on a scale that ends at `top_ms`, in milliseconds, and what they are called."""
    step = next((it for it in _SECONDS if top_ms / (1000 * it) <= _TICKS_MOST), _SECONDS[-1])
    step *= max(1, ceil(top_ms / (1000 * step * _TICKS_MOST)))
    unit, size = next(it for it in _UNITS if step % it[1] == 0)
    return [(tick, f"{tick // 1000 // size} {unit}") for tick in range(0, floor(top_ms) + 1, step * 1000)]
