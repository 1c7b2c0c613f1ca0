"""Single values out of strangers' JSON: each becomes something that can be stored, or nothing, at every bound."""

import json
import math
from decimal import Decimal

import pytest

from receiver.core.types import Usage
from receiver.providers.json_values import (
    ID_MOST,
    MESSAGE_MOST,
    RAW_MOST,
    URL_MOST,
    bounded_raw,
    clean_text,
    decode_object,
    first_value,
    is_zero_code,
    mask_tokens,
    parse_code,
    parse_created_at,
    parse_id,
    parse_int,
    parse_progress,
    parse_url,
    parse_usage,
    short_text,
)

TOKEN = "0199c0de-0000-7000-8000-000000000001." + "A-b_" * 8


def test_what_is_kept_is_bounded() -> None:
    assert (ID_MOST, MESSAGE_MOST, URL_MOST, RAW_MOST) == (200, 2_000, 16_384, 4_096)


# -- bodies --


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (rb'{"a": "\ud800"}', {"a": "\ud800"}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (b'{"a": "1\n2"}', {"a": "1\n2"}),
        (b"[1]", None),
        (b"[NaN]", None),
        (b'"a"', None),
        (b"", None),
        (b"<html>", None),
        (b"[" * 200_000, None),
    ],
)
def test_a_sloppy_body_is_still_read_and_what_is_not_an_object_is_nothing(
    body: bytes, value: dict[str, object] | None
) -> None:
    assert decode_object(body) == value


def test_nan_in_a_body_loses_nothing_else() -> None:
    decoded = decode_object(b'{"a": NaN, "b": 1}')
    assert decoded is not None
    assert math.isnan(decoded["a"])
    assert decoded["b"] == 1


def test_the_first_value_is_the_first_that_says_something() -> None:
    levels: list[dict[str, object]] = [{"a": None, "b": ""}, {"b": 0, "c": 1}, {"a": 2}]
    assert first_value(levels, ("a", "b")) == 0
    assert first_value(levels, ("b", "a")) == 0
    assert first_value(levels, ("a",)) == 2
    assert first_value(levels, ("d",)) is None


# -- texts --


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("abcd", "abcd"),
        ("abcde", "abcd"),
        ("éé", "éé"),
        ("ééééé", "éééé"),
        ("a\x00b", "a\ufffdb"),
        ("a\ud800", "a\ufffd"),
        ("a\x01\n", "a\x01\n"),
    ],
)
def test_a_text_is_cut_and_what_no_database_takes_is_replaced(text: str, kept: str) -> None:
    assert clean_text(text, 4) == kept


def test_our_own_token_is_masked_and_nothing_else() -> None:
    assert mask_tokens(f"<https://me.example/callbacks/{TOKEN}>") == "<https://me.example/callbacks/[token]>"
    assert mask_tokens(TOKEN[:-1]) == TOKEN[:-1]


@pytest.mark.parametrize(
    ("value", "text"),
    [("a b", "a b"), ("x" * 201, "x" * 200), (" ", None), ("", None), (7, None), (None, None)],
)
def test_a_name_is_a_short_text_that_is_not_blank(value: object, text: str | None) -> None:
    assert short_text(value) == text


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ("x" * 200, "x" * 200),
        ("x" * 201, None),
        (" ", None),
        ("", None),
        (12, "12"),
        (0, "0"),
        (12.0, "12"),
        (12.5, None),
        (True, None),
        (None, None),
    ],
)
def test_an_id_is_whole_or_nothing(value: object, known: str | None) -> None:
    assert parse_id(value) == known


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("https://a", "https://a"),
        (" HTTP://a/b?c#d ", "HTTP://a/b?c#d"),
        ("https://a/" + "x" * 16_374, "https://a/" + "x" * 16_374),
        ("https://a/" + "x" * 16_375, None),
        ("https://", None),
        ("https:///x", None),
        ("https://a b", None),
        ("https://a/\x85b", None),
        ("ftp://a", None),
        (7, None),
    ],
)
def test_a_url_is_a_whole_web_address(value: object, url: str | None) -> None:
    assert parse_url(value) == url


# -- numbers --


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        (-1, -1),
        (7.0, 7),
        (7.5, None),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (-(2**63), -(2**63)),
        (-(2**63) - 1, None),
        (2.0**63, None),
        (math.inf, None),
        (math.nan, None),
        (True, None),
        ("7", None),
        (None, None),
    ],
)
def test_a_whole_number_has_64_bits(value: object, number: int | None) -> None:
    found = parse_int(value)
    assert found == number
    assert found is None or type(found) is int


@pytest.mark.parametrize(
    ("value", "fraction"),
    [
        (0, 0.0),
        (0.0, 0.0),
        (0.45, 0.45),
        (1, 1.0),
        (2, 0.02),
        (99, 0.99),
        (100, 1.0),
        (101, 1.0),
        (-0.5, 0.0),
        (-3, 0.0),
        ("45", 0.45),
        ("0.45", 0.45),
        ("1%", 0.01),
        (" 50 % ", 0.5),
        ("100%", 1.0),
        ("50 percent", None),
        ("1" * 10, None),
        (math.nan, None),
        (True, None),
        (None, None),
        ([1], None),
    ],
)
def test_progress_is_a_fraction_and_more_than_one_is_percent(value: object, fraction: float | None) -> None:
    assert parse_progress(value) == fraction


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (999_999_999, None),
        (1_000_000_000, 1_000_000_000_000),
        (1_767_000_000.5, 1_767_000_000_500),
        (4_099_999_999, 4_099_999_999_000),
        (4_100_000_000, None),
        (999_999_999_999, None),
        (1_000_000_000_000, 1_000_000_000_000),
        (4_099_999_999_999, 4_099_999_999_999),
        (4_100_000_000_000, None),
        (True, None),
        ("1767000000", None),
    ],
)
def test_a_time_of_seconds_or_milliseconds_lies_between_2001_and_2100(value: object, milliseconds: int | None) -> None:
    assert parse_created_at(value) == milliseconds


# -- what it costs --


@pytest.mark.parametrize(
    ("cost", "dollars"),
    [
        ("0.05", Decimal("0.05")),
        (0.05, Decimal("0.05")),
        (3, Decimal(3)),
        (0, Decimal(0)),
        ("0e-50", Decimal("0e-50")),
        ("1e-18", Decimal("1e-18")),
        ("1e-19", None),
        ("1e12", Decimal("1e12")),
        ("1e13", None),
        (999_999_999_999, Decimal(999_999_999_999)),
        (10**12, None),
        (-(10**12), None),
        ("0." + "1" * 38, Decimal("0." + "1" * 38)),
        ("0." + "1" * 39, None),
        ("NaN", None),
        ("Infinity", None),
        (math.nan, None),
        ("free", None),
        (True, None),
        ([], None),
    ],
)
def test_a_cost_is_a_decimal_that_stays_short_when_written_out(cost: object, dollars: Decimal | None) -> None:
    assert parse_usage({"cost": cost, "discount": 1}) == Usage(dollars, 1.0)


@pytest.mark.parametrize(
    ("discount", "kept"),
    [
        (0, 0.0),
        (0.5, 0.5),
        (-0.5, -0.5),
        (999_999_999, 999_999_999.0),
        (1_000_000_000, None),
        (-1_000_000_000, None),
        (math.nan, None),
        (True, None),
        ("1", None),
        (None, None),
    ],
)
def test_a_discount_is_a_sensible_number(discount: object, kept: float | None) -> None:
    assert parse_usage({"cost": "1", "discount": discount}) == Usage(Decimal(1), kept)


def test_either_part_of_the_usage_may_be_missing_but_not_both() -> None:
    assert parse_usage({"discount": 1}) == Usage(None, 1.0)
    assert parse_usage({"cost": 1}) == Usage(Decimal(1), None)
    assert parse_usage({}) is None
    assert parse_usage([1]) is None


# -- error codes --


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (4007098, "004007098"),
        ("4007098", "004007098"),
        ("004007098", "004007098"),
        (8004007098, "004007098"),
        ("8004007098", "004007098"),
        (9004007098, "9004007098"),
        (80040070981, "80040070981"),
        ("1" * 201, "1" * 200),
        (5.0, "000000005"),
        (405, "405"),
        ("599", "599"),
        (600, "000000600"),
        ("099", "000000099"),
        ("CONTENT_BLOCKED", "CONTENT_BLOCKED"),
        ("٣", "٣"),
        (" ", None),
        ("", None),
        (0, None),
        ("000", None),
        (5.5, None),
        (True, None),
        (None, None),
    ],
)
def test_a_code_has_one_spelling_and_zero_is_none(value: object, code: str | None) -> None:
    assert parse_code(value) == code


@pytest.mark.parametrize(
    ("value", "says_well"),
    [(0, True), (0.0, True), ("0", True), ("000", True), ("", False), ("00a", False), (1, False), (None, False)],
)
def test_zero_in_any_spelling_says_that_all_is_well(value: object, says_well: bool) -> None:
    assert is_zero_code(value) is says_well


# -- what is kept as it came --


def test_what_came_is_kept_as_json_without_our_token() -> None:
    assert bounded_raw({"code": 7, "said": [TOKEN, None, True, 0.5]}) == b'{"code":7,"said":["[token]",null,true,0.5]}'


def test_what_cannot_be_stored_is_replaced_at_any_depth() -> None:
    assert json.loads(bounded_raw({"a\x00": ["\ud800", 2**70]})) == {"a\ufffd": ["\ufffd", str(2**70)]}
    assert json.loads(bounded_raw({"k" * 201: "v" * 2_001})) == {"k" * 200: "v" * 2_000}


def test_64_items_of_each_list_and_object_are_kept_and_eight_levels() -> None:
    assert json.loads(bounded_raw([*range(65)])) == [*range(64)]
    assert len(json.loads(bounded_raw({str(n): n for n in range(65)}))) == 64
    assert bounded_raw([[[[[[[["deep"]]]]]]]]) == b'[[[[[[[["deep"]]]]]]]]'
    assert bounded_raw([[[[[[[[[]]]]]]]]]) == b"[[[[[[[[null]]]]]]]]"
    assert bounded_raw({"1": {"2": {"3": {"4": {"5": {"6": {"7": {"8": {}}}}}}}}}).endswith(b'{"8":null}}}}}}}}')


def test_of_what_is_longer_than_4096_bytes_the_beginning_is_kept_as_a_text() -> None:
    longest = ["x" * 2_000, "y" * 2_000, "z" * 86]
    assert json.loads(bounded_raw(longest)) == longest
    assert len(bounded_raw(longest)) == RAW_MOST
    cut = json.loads(bounded_raw([*longest[:2], "z" * 87]))
    assert cut == '["' + "x" * 2_000 + '","' + "y" * 42


def test_the_beginning_stays_within_the_bound_even_if_every_byte_is_escaped() -> None:
    kept = bounded_raw(['"' * 2_000, '"' * 2_000])
    assert len(kept) == RAW_MOST - 1, "the bracket alone is one byte"
    assert json.loads(kept).startswith('["\\"')
