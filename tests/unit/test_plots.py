"""Plots as figures: where bars and boxes stand, what is written at them, and what is said of them."""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest

from receiver.web.pages.status.plots import (
    DAYS_MOST,
    MODELS_MOST,
    NARROW_SPACE,
    WIDTH,
    Plot,
    SettledDay,
    Text,
    name_days,
    nice_top,
    percentile,
    plot_costs,
    plot_durations,
    plot_settled,
    short_number,
)

LEAST = 20


def days(count: int) -> list[str]:
    return [f"2026-11-{day:02}" for day in range(31 - count, 31)]


def costs(values: Sequence[int]) -> Plot | None:
    return plot_costs(list(zip(days(len(values)), values, strict=True)), lambda it: f"${it}.00", lambda it: f"${it}")


def settled(*counts: tuple[int, ...]) -> Plot | None:
    return plot_settled([SettledDay(day, *count) for day, count in zip(days(len(counts)), counts, strict=True)])


def some(plot: Plot | None) -> Plot:
    assert plot is not None
    return plot


def texts(plot: Plot, anchor: str, *, strong: bool = False) -> list[str]:
    return [it.text for it in plot.texts if it.anchor == anchor and it.strong is strong]


def check_inside(plot: Plot) -> None:
    """Everything lies within the picture, no bar is upside down, and bars do not touch."""
    across = [x for it in plot.rectangles for x in (it.x, it.x + it.width)]
    down = [y for it in plot.rectangles for y in (it.y, it.y + it.height)]
    for line in (*plot.lines, *plot.marks):
        across += [line.x1, line.x2]
        down += [line.y1, line.y2]
    across += [it.x for it in plot.texts]
    down += [it.y for it in plot.texts]
    assert min(across) >= 0
    assert max(across) <= WIDTH
    assert min(down) > 0
    assert max(down) <= plot.height
    assert min(min(it.width, it.height) for it in plot.rectangles) > 0
    ends = [it.x + 11 * len(it.text) for it in plot.texts if it.anchor == "start"]
    assert max(ends) <= WIDTH + 1, "no room on a phone"
    columns = sorted({(it.x, it.width) for it in plot.rectangles if it.kind == "bar"})
    assert all(x + width <= other for (x, width), (other, _) in pairwise(columns))


@pytest.mark.parametrize("values", [[], [0], [0] * 14])
def test_nothing_spent_is_no_plot(values: list[int]) -> None:
    assert costs(values) is None


def test_costs_stand_on_a_scale_of_round_numbers() -> None:
    plot = some(costs([3, 4, 6, 5, 8, 12, 9, 14, 21]))

    check_inside(plot)
    assert texts(plot, "start") == ["$0", "$12", "$24"]
    assert texts(plot, "middle") == [str(day) for day in range(22, 31)]
    heights = [it.height for it in plot.rectangles]
    assert heights == pytest.approx([140 * it / 24 for it in (3, 4, 6, 5, 8, 12, 9, 14, 21)], abs=0.11)
    assert {round(it.y + it.height, 1) for it in plot.rectangles} == {160.5}
    assert [line.y1 for line in plot.lines] == [160.5, 90.5, 20.5]
    assert plot.finding == "Cost a day over 9 days: from $3.00 to $21.00, today $21.00."
    assert plot.figures[0] == ("30 November", "$21.00")
    assert plot.figures[-1] == ("22 November", "$3.00")
    assert plot.period == "22 to 30 November 2026"


def test_a_single_day_stands_at_the_end_of_a_week() -> None:
    plot = some(costs([0] * 13 + [5]))

    check_inside(plot)
    assert texts(plot, "middle") == [str(day) for day in range(24, 31)]
    [bar] = plot.rectangles
    assert bar.x > WIDTH - 80
    assert plot.finding == "Cost a day over 7 days: from $0.00 to $5.00, today $5.00."


def test_only_one_day_at_all() -> None:
    plot = some(costs([7]))
    check_inside(plot)
    assert plot.rectangles[0].width == 40
    assert plot.period == "30 November 2026"


def test_a_day_without_costs_has_no_bar_but_its_place() -> None:
    plot = some(costs([1, 0, 2, 0, 0, 0, 0, 3]))
    assert len(plot.rectangles) == 3
    assert len(texts(plot, "middle")) == 8


def test_fourteen_days_are_the_most() -> None:
    plot = some(costs(list(range(1, 31))))
    check_inside(plot)
    assert len(plot.rectangles) == DAYS_MOST
    assert texts(plot, "middle")[0] == "17"


def test_a_tiny_cost_beside_a_huge_one_is_still_seen() -> None:
    plot = some(costs([1, *[0] * 5, 10**15]))
    check_inside(plot)
    assert plot.rectangles[0].height == 1.5
    assert plot.rectangles[1].height > 100


def test_a_credit_is_drawn_as_nothing() -> None:
    assert len(some(costs([-5, 3])).rectangles) == 1


def test_the_sweep_stands_on_the_callbacks() -> None:
    plot = some(settled((90, 10), (50, 0), (0, 40)))

    check_inside(plot)
    assert [it.kind for it in plot.rectangles] == ["bar", "bar-two", "bar", "bar-two"]
    callback, sweep = plot.rectangles[:2]
    assert sweep.x == callback.x
    assert sweep.y + sweep.height == pytest.approx(callback.y - 1.0), "a gap tells them apart without colours"
    alone = plot.rectangles[3]
    assert alone.y + alone.height == pytest.approx(160.5)


@pytest.mark.parametrize("counts", [(), ((0, 0),), ((0, 0, 3),) * 14])
def test_nothing_settled_by_callback_or_sweep_is_no_plot(counts: tuple[tuple[int, ...], ...]) -> None:
    assert settled(*counts) is None


def test_a_share_above_ten_percent_is_written_at_its_bar() -> None:
    plot = some(settled((90, 10), (104, 47), (100, 2)))

    [share] = [it for it in plot.texts if it.strong]
    assert share.text == f"31{NARROW_SPACE}%"
    top = min(it.y for it in plot.rectangles if it.kind == "bar-two" and it.x < share.x < it.x + it.width)
    assert 0 < top - share.y < 10
    assert plot.finding == (
        "Tasks settled a day over 3 days, 102 today. The sweep found 31 percent of them on 29 November, on other days "
        "at most 10."
    )


def test_a_share_of_all_says_that_other_days_had_none() -> None:
    finding = some(settled((5, 0), (0, 5))).finding
    assert finding.endswith("The sweep found 100 percent of them on 30 November, on other days none.")


def test_small_shares_are_only_said_to_be_small() -> None:
    plot = some(settled((90, 10), (50, 1)))
    assert not [it for it in plot.texts if it.strong]
    assert plot.finding.endswith("The sweep never found more than 10 percent of them.")


def test_of_neighbours_the_larger_share_is_written() -> None:
    """They would overlap on a phone."""
    plot = some(settled(*[(60, 40), (50, 50), (50, 50), (70, 30), (100, 0), (80, 20)]))
    assert [it.text for it in plot.texts if it.strong] == [f"50{NARROW_SPACE}%", f"20{NARROW_SPACE}%"]


def test_one_task_has_a_scale_of_whole_numbers() -> None:
    assert texts(some(settled((1, 0))), "start") == ["0", "1"]
    assert texts(some(settled((3, 0))), "start") == ["0", "3"]
    assert texts(some(settled((4, 0))), "start") == ["0", "2", "4"]
    assert texts(some(settled((640, 5))), "start") == ["0", "400", "800"]


def test_what_ended_otherwise_is_in_the_figures_alone() -> None:
    plot = some(settled((104, 47, 2), (3, 0)))
    assert dict(plot.figures)["29 November"] == "104 by callback, 47 by sweep, 2 otherwise"
    assert dict(plot.figures)["30 November"] == "3 by callback, 0 by sweep"


def test_a_huge_day_has_short_words_on_its_scale() -> None:
    plot = some(settled(*[(9_000_000, 1)] * 14))
    check_inside(plot)
    assert texts(plot, "start") == ["0", "5M", "10M"]


def seconds(*took: float) -> list[int]:
    return [round(it * 1000) for it in took]


def test_a_box_shows_the_middle_half_and_its_mark_the_median() -> None:
    plot = some(plot_durations([("outpaint", seconds(*range(101)))], LEAST))

    check_inside(plot)
    [box], [mark] = plot.rectangles, plot.marks
    _, span = plot.lines
    scale = (span.x2 - span.x1) / 80
    assert box.width == pytest.approx(50 * scale, abs=0.2)
    assert box.x == pytest.approx(span.x1 + 15 * scale, abs=0.2)
    assert mark.x1 == mark.x2 == pytest.approx(span.x1 + 40 * scale, abs=0.2)
    assert Text("50 s", span.x2 + 8, span.y1 + 5) in plot.texts
    assert texts(plot, "start", strong=True) == ["outpaint"]
    assert texts(plot, "middle") == ["30 s", "60 s", "90 s"]
    assert plot.finding == "outpaint: half within 50 s, nine in ten within 1 min 30 s."
    assert plot.figures == [
        (
            "outpaint",
            "half within 50 s; the middle half 25 s to 1 min 15 s; one in ten within 10 s, nine in ten within "
            "1 min 30 s",
        )
    ]


def test_too_few_results_are_not_drawn() -> None:
    assert plot_durations([], LEAST) is None
    assert plot_durations([("outpaint", [])], 0) is None
    assert plot_durations([("outpaint", [1000] * 19)], LEAST) is None
    both = some(plot_durations([("upscale", [1000] * 3), ("outpaint", [1000] * 20)], LEAST))
    assert texts(both, "start", strong=True) == ["outpaint"]
    assert dict(both.figures)["upscale"] == "not enough yet: 3 of 20 results"


def test_tasks_that_all_took_the_same_have_a_box_that_can_be_seen() -> None:
    plot = some(plot_durations([("outpaint", [58_000] * 20)], LEAST))
    check_inside(plot)
    assert plot.rectangles[0].width == 1.5


def test_six_models_are_the_most_and_a_long_name_is_cut() -> None:
    many = [(f"a_model_with_a_very_long_name_{number}", [1000 * number + 500] * 20) for number in range(9)]
    plot = some(plot_durations(many, LEAST))
    check_inside(plot)
    assert len(plot.rectangles) == len(plot.marks) == len(plot.figures) == MODELS_MOST
    assert plot.height == 40 * MODELS_MOST + 32
    names = texts(plot, "start", strong=True)
    assert {len(name) for name in names} == {18}
    assert names[0].endswith("…")


@pytest.mark.parametrize(
    ("most_ms", "ticks"),
    [
        (0, []),
        (900, []),
        (4_000, ["1 s", "2 s", "3 s", "4 s"]),
        (85_000, ["30 s", "60 s"]),
        (150_000, ["1 min", "2 min"]),
        (7_200_000, ["30 min", "60 min", "90 min", "120 min"]),
        (3 * 86_400_000, ["1 d", "2 d", "3 d"]),
        (4000 * 86_400_000, ["1000 d", "2000 d", "3000 d", "4000 d"]),
    ],
)
def test_ticks_of_time_are_few_and_round(most_ms: int, ticks: list[str]) -> None:
    plot = some(plot_durations([("m", [most_ms] * 20)], LEAST))
    check_inside(plot)
    assert texts(plot, "middle") == ticks
    assert "0 s" in texts(plot, "start") or any(it.startswith("0 ") for it in texts(plot, "start"))


def test_a_percentile_lies_between_two_values_in_proportion() -> None:
    assert percentile([7], 0.9) == 7
    assert percentile([0, 10], 0.25) == 2.5
    assert percentile([0, 10, 20, 30, 40], 0.5) == 20
    assert percentile([0, 10, 20, 30, 40], 0.9) == pytest.approx(36)
    assert percentile([1, 5], 0) == 1
    assert percentile([1, 5], 1) == 5


@pytest.mark.parametrize("most", [1e-9, 0.3, 1, 2, 3, 7, 9.99, 10, 10.01, 21.35, 640, 999, 1001, 123_456, 1e15])
def test_the_top_of_a_scale_is_round_and_not_far_off(most: float) -> None:
    for whole in (False, True):
        top = nice_top(most, whole=whole)
        assert top >= most * (1 - 1e-9)
        assert top <= max(most * 1.7, 1.0)
        assert not whole or top == math.floor(top)
    assert nice_top(0, whole=True) == 1


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (680, "680"), (1200, "1,200"), (9_999, "9,999"), (12_000, "12k"), (1_500_000, "1.5M"), (2e7, "20M")],
)
def test_numbers_of_a_scale_are_short(number: float, words: str) -> None:
    assert short_number(number) == words


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ("2026-11-21", "2026-11-29", "21 to 29 November 2026"),
        ("2026-11-29", "2026-11-29", "29 November 2026"),
        ("2026-11-28", "2026-12-04", "28 November to 4 December 2026"),
        ("2025-12-28", "2026-01-04", "28 December 2025 to 4 January 2026"),
    ],
)
def test_days_are_named_as_people_do(first: str, last: str, words: str) -> None:
    assert name_days(first, last) == words
