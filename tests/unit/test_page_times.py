"""Moments, spans and sizes as pages write them."""

import pytest

from receiver.web.pages.gallery.first_run import find_steps
from receiver.web.pages.look import format_size
from receiver.web.pages.times import format_age, format_clock, format_day, iso_time

AT = 1_795_986_724_500  # 2026-11-29 21:12:04.5 UTC


@pytest.mark.parametrize(
    ("span_s", "words"),
    [
        (-5, "0 s ago"),
        (41, "41 s ago"),
        (60, "1 min ago"),
        (3_599, "59 min ago"),
        (3 * 3600, "3 h ago"),
        (86_400, "1 d ago"),
        (8 * 86_400, "29 November"),
        (400 * 86_400, "29 November 2026"),
    ],
)
def test_an_age_is_short_and_after_a_week_a_day(span_s: int, words: str) -> None:
    assert format_age(AT, AT + span_s * 1000) == words


def test_moments_are_utc() -> None:
    assert iso_time(AT) == "2026-11-29T21:12:04Z"
    assert format_clock(AT) == "21:12:04"
    assert format_day(AT) == "29 November 2026"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_200, "1.2 KB"),
        (99_949, "99.9 KB"),
        (240_000, "240 KB"),
        (999_600, "1.0 MB"),
        (5_800_000, "5.8 MB"),
        (2_500_000_000, "2.5 GB"),
    ],
)
def test_sizes_are_rounded(size: int, words: str) -> None:
    assert format_size(size) == words


def test_the_first_run_names_what_is_missing() -> None:
    bare = find_steps(has_key=False, unreachable="PUBLIC_URL is an address of this machine", targets=[], version="1")
    assert [(it.title, it.word) for it in bare] == [
        ("The service runs", "done"),
        ("No provider key", "missing"),
        ("The provider cannot reach us", "open"),
        ("Nobody is told", "open"),
    ]
    assert bare[2].text.startswith("PUBLIC_URL is an address of this machine. Results are then found by polling alone.")

    whole = find_steps(has_key=True, unreachable=None, targets=["slack", "me", "ops", "b", "c"], version="1")
    assert {it.word for it in whole} == {"done"}
    assert whole[3].title == "slack, me, ops and 2 more are told"
    assert find_steps(has_key=True, unreachable=None, targets=["slack"], version="1")[3].title == "slack is told"
