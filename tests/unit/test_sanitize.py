"""Text from outside is made fit to be shown; spans of time and URLs read as a person expects them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core import sanitize
from receiver.core.sanitize import (
    defuse_mentions,
    encode_url,
    fit_escaped,
    format_duration,
    join_nonempty,
    one_line,
    strip_control_chars,
    truncate_text,
    utf16_length,
    web_url,
)

# -- text --


def test_a_title_has_at_most_150_characters_and_a_body_3500() -> None:
    """Chat services take about 4,000; the rest is for URLs."""
    assert (sanitize.TITLE_MOST, sanitize.BODY_MOST) == (150, 3_500)


@pytest.mark.parametrize(("text", "shown"), [("", ""), ("four", "four"), ("fives", "fiv…"), ("ab cdef", "ab…")])
def test_text_that_is_too_long_ends_with_an_ellipsis(text: str, shown: str) -> None:
    assert truncate_text(text, 4) == shown


def test_control_and_format_characters_are_removed_and_every_line_end_becomes_a_newline() -> None:
    assert strip_control_chars("a\x00b\x1b[1mc\u202ed\ud800e", 99) == "ab[1mcde"
    assert strip_control_chars("1\r\n2\r3\x854\u20285\u20296\v7\f8\n9", 99) == "1\n2\n3\n4\n5\n6\n7\n8\n9"
    assert strip_control_chars("a\tb", 99) == "a b"


def test_joiners_stay_because_words_and_emoji_are_spelt_with_them() -> None:
    assert strip_control_chars("\u200c\u200d\u200b", 99) == "\u200c\u200d"


def test_no_more_is_read_than_four_times_what_will_be_shown() -> None:
    assert strip_control_chars("x" * 100, 10) == "x" * 40


def test_one_line_has_no_line_end_and_no_double_blank() -> None:
    assert one_line(" a\n\n b\tc ", 99) == "a b c"
    assert one_line("abc\ndef", 5) == "abc…"


def escape(text: str) -> str:
    """An escape like that of HTML: one character becomes four."""
    return text.replace("<", "&lt;")


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("a<b", 6, "a&lt;b"),
        ("a<b", 5, "a…"),
        ("abcdefgh", 7, "abcdef…"),
        ("<<<<", 9, "&lt;&lt;…"),
        ("<<", 4, "…"),
        ("ab", 1, "…"),
        ("<", 3, ""),
        ("<", 0, ""),
    ],
)
def test_text_is_cut_so_that_it_fits_once_escaped_and_no_escape_is_cut(text: str, most: int, shown: str) -> None:
    assert fit_escaped(text, most, escape) == shown


def test_text_that_gets_shorter_when_it_is_written_is_kept_whole_if_it_then_fits() -> None:
    assert fit_escaped("abab", 2, lambda text: text.replace("a", "")) == "bb"


def test_a_service_may_measure_text_in_its_own_way() -> None:
    """Telegram counts UTF-16 units, others bytes."""
    assert fit_escaped("ééé", 5, str, lambda text: len(text.encode())) == "é…"
    assert fit_escaped("éé", 4, str, lambda text: len(text.encode())) == "éé"


@given(st.text("a<", max_size=20), st.integers(0, 60))
def test_the_longest_beginning_that_fits_is_shown(text: str, most: int) -> None:
    candidates = [escape(truncate_text(text, kept)) for kept in range(1, len(text) + 1)]
    longest = max((it for it in candidates if len(it) <= most), key=len, default="")
    assert fit_escaped(text, most, escape) == longest


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("@here", "@\u200bhere"),
        ("<!channel>", "<\u200b!channel>"),
        ("[label](http://a)", "[label]\u200b(http://a)"),
        ("[label][1] [label]: x", "[label]\u200b[1] [label]\u200b: x"),
        ("a @ b < c", "a @ b < c"),
        ("list[0].x", "list[0].x"),
        ("@", "@"),
    ],
)
def test_what_a_chat_service_would_take_for_a_call_or_a_link_is_broken_up(text: str, shown: str) -> None:
    assert defuse_mentions(text) == shown
    assert defuse_mentions(shown) == shown, "once is enough"


@pytest.mark.parametrize(("parts", "joined"), [((), ""), (("", ""), ""), (("a", "", "b"), "a · b"), (("a",), "a")])
def test_parts_are_joined_by_a_dot_and_empty_ones_left_out(parts: tuple[str, ...], joined: str) -> None:
    assert join_nonempty(*parts) == joined


# -- URLs --


def test_a_url_is_shown_in_ascii_and_whole() -> None:
    assert encode_url("https://a.example/ü x<y>@z?q=1&r=[2]#f") == "https://a.example/%C3%BC%20x%3Cy%3E%40z?q=1&r=[2]#f"
    assert encode_url("https://a/%2F\ud800") == "https://a/%2F?"


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://a.example/b c", "https://a.example/b%20c"),
        ("HTTP://a.example", "HTTP://a.example"),
        ("javascript:alert(1)", None),
        ("ftp://a.example", None),
        (" https://a.example", None),
        ("", None),
        (None, None),
    ],
)
def test_only_a_web_address_may_become_a_link(url: str | None, link: str | None) -> None:
    assert web_url(url) == link


# -- spans of time --


@pytest.mark.parametrize(
    ("span_ms", "shown"),
    [
        (None, ""),
        (-1, ""),
        (0, "0.0 s"),
        (1, "0.0 s"),
        (949, "0.9 s"),
        (4_951, "5.0 s"),
        (9_449, "9.4 s"),
        (9_499, "9.5 s"),
        (9_501, "10 s"),
        (10_499, "10 s"),
        (59_400, "59 s"),
        (59_600, "1 min"),
        (61_000, "1 min 1 s"),
        (62_000, "1 min 2 s"),
        (120_000, "2 min"),
        (3_599_000, "59 min 59 s"),
        (3_600_000, "1 h"),
        (3_660_000, "1 h 1 min"),
        (3_720_000, "1 h 2 min"),
        (7_259_000, "2 h"),
        (90_000_000, "25 h"),
    ],
)
def test_a_span_is_said_in_its_two_largest_units(span_ms: int | None, shown: str) -> None:
    assert format_duration(span_ms) == shown


@pytest.mark.parametrize(
    ("text", "units"), [("", 0), ("abc", 3), ("é灯", 2), ("𝔘", 2), ("👩\u200d🎨", 5), ("\ud800", 1), ("a\udc00b", 3)]
)
def test_utf16_units_are_what_chat_services_count(text: str, units: int) -> None:
    assert utf16_length(text) == units
