"""The values in a body, the answers to a submission, and any bytes at all."""

import json
import re
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.provider_bodies import TASK, URL, read, without
from receiver.core.types import Ending, Outcome, OutcomeShape
from receiver.providers.json_values import RAW_MOST
from receiver.providers.vtrix import bodies
from receiver.providers.vtrix.error_parts import CODE_KEYS, REASON_KEYS
from receiver.providers.vtrix.picture_places import LIST_KEYS, PICTURE_PLACES, URL_KEYS
from receiver.providers.vtrix.status_words import STATUS_WORDS

# Values


@pytest.mark.parametrize(
    ("value", "progress"),
    [
        (0.45, 0.45),
        (45, 0.45),
        ("45%", 0.45),
        ("45", 0.45),
        ("0.45", 0.45),
        ("1%", 0.01),
        (1, 1.0),
        (100, 1.0),
        (1e300, 1.0),
        (10**30, 1.0),
        (-3, 0.0),
        (True, None),
        ("soon", None),
        ("-1%", None),
        (None, None),
        ([], None),
    ],
)
def test_progress_is_a_fraction(value: object, progress: float | None) -> None:
    assert read(without("output", status="in_progress", progress=value)).progress == progress


@pytest.mark.parametrize(
    ("value", "created_at"),
    [
        (1767000000, 1767000000000),
        (1767000000123, 1767000000123),
        (0, None),
        (-1, None),
        (10**18, None),
        (True, None),
        ("2026-01-01T00:00:00Z", None),
    ],
)
def test_created_at_is_milliseconds_of_a_sane_year(value: object, created_at: int | None) -> None:
    assert read(without(created_at=value)).created_at == created_at


@pytest.mark.parametrize(
    ("value", "cost"),
    [
        ("0.05", Decimal("0.05")),
        (0.05, Decimal("0.05")),
        (3, Decimal(3)),
        ("NaN", None),
        ("-Infinity", None),
        ("1e999999", None),
        ("1e-999999", None),
        ("9" * 41, None),
        (10**30, None),
        (True, None),
        ("free", None),
        ([], None),
    ],
)
def test_cost_is_a_finite_decimal(value: object, cost: Decimal | None) -> None:
    usage = read(without(usage={"cost": value, "discount": 1})).usage
    assert usage is not None
    assert usage.cost == cost


def test_everything_is_bounded() -> None:
    images = read(without(output=[{"content": [{"url": f"{URL}?{n}"} for n in range(100)]}])).images
    assert len(images) == 64
    assert read(without("output", status="s" * 99)).status == "s" * 99
    assert len(read({"status": "s" * 999}).status) == 100
    assert read({"status": "x", "id": "i" * 201}).job_id is None
    assert read(without(output=[{"content": [{"url": URL + "a" * 16_384}]}])).images == ()
    error = read(without("output", status="failed", error={"message": "m" * 9_000, "more": ['"\\'] * 9_000})).error
    assert error is not None
    assert len(error.message) == 2_000
    assert len(error.raw or b"") <= RAW_MOST
    json.loads(error.raw or b"")


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "//cdn.example/x", "https://", "http:///x", "https://a b/", "data:,", 7, {}]
)
def test_only_http_urls_are_pictures(url: object) -> None:
    assert read(without(output=[{"content": [{"url": url}]}])).images == ()


@pytest.mark.parametrize(
    ("spelling", "kept"),
    [
        (rb"\ud800", "\ufffd"),
        (rb"\u0000", "\ufffd"),
        (b"\x00", "\ufffd"),
        (b"\xff", "\ufffd"),
        (rb"\ud83d\ude00", "😀"),
        (b"a\nb", "a\nb"),
    ],
)
def test_a_sloppy_text_is_mended_not_lost(spelling: bytes, kept: str) -> None:
    outcome = bodies.parse_body(b'{"id":"a","status":"failed","model":"m","error":"<' + spelling + b'>"}')
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.message == f"<{kept}>"


def test_a_byte_order_mark_nan_and_huge_numbers_lose_nothing_else() -> None:
    body = b'\xef\xbb\xbf{"id":"a","status":"failed","model":"m","progress":NaN,"x":1e999,"created_at":1'
    outcome = bodies.parse_body(body + b"0" * 30 + b',"error":{"code":1' + b"0" * 30 + b',"message":"m","n":NaN}}')
    assert outcome is not None
    assert (outcome.task_id, outcome.progress, outcome.created_at) == ("a", None, None)
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.message) == (None, "m")


# Answers to a submission


def test_an_answer_with_an_id_is_a_task_object_whatever_else_it_has() -> None:
    bare = bodies.parse_accepted(b'{"id": "abc"}')
    assert bare == Outcome(ending=Ending.RUNNING, shape=OutcomeShape.TASK, status="", task_id="abc")
    assert bodies.parse_accepted(json.dumps(TASK).encode()) == read(TASK)
    failed = bodies.parse_accepted(b'{"id": "abc", "status": "failed", "error": "no"}')
    assert failed is not None
    assert (failed.shape, failed.ending, failed.task_id) == (OutcomeShape.TASK, Ending.FAILED, "abc")
    assert bodies.parse_accepted(b'{"data": {"id": "abc"}}') is None
    assert bodies.parse_accepted(b'{"id": ""}') is None
    assert bodies.parse_accepted(b"[]") is None


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": "words", "message": "not these"}, None, "words"),
        (
            {"error": {"code": "RATE_LIMIT_EXCEEDED", "message": "slow"}, "request_id": "r"},
            "RATE_LIMIT_EXCEEDED",
            "slow",
        ),
        ({"code": 4007003, "message": "invalid image number"}, "004007003", "invalid image number"),
        ({"code": 429, "message": "m", "reason": "Max_Concurrent_Limited"}, "429", "m"),
        ({"detail": "unknown app"}, None, "unknown app"),
        ({"detail": [{"loc": ["body"], "msg": "field required"}]}, None, "field required"),
        ({"status": {"code": 40201, "message": "no balance", "error_code": "x"}}, "000040201", "no balance"),
    ],
)
def test_a_refusal_is_read_from_every_error_body(body: dict[str, Any], code: str | None, message: str) -> None:
    got = bodies.parse_refusal(json.dumps(body).encode())
    assert got is not None
    assert (got.code, got.message) == (code, message)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"<html>",
        b'{"code": 0, "message": "taken"}',
        b'{"message": "success"}',
        b'{"status": "failed"}',
    ],
)
def test_what_does_not_complain_is_no_refusal(body: bytes) -> None:
    """After a 200 without id the difference is between "failed" and "nobody knows, it may have been paid"."""
    assert bodies.parse_refusal(body) is None


# Anything at all

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[]))
WORDS = st.sampled_from([*STATUS_WORDS, "COMPLETED", "JobStatusFail", "200", URL, "45%", "1e9", "8004007098", "\ud800"])
SOME_KEYS = (
    "data",
    "payload",
    "task",
    "output",
    "content",
    "error",
    "event",
    "metadata",
    "usage",
    "cost",
    "model",
    "type",
)
TABLES = (
    bodies.ID_KEYS,
    bodies.STATUS_KEYS,
    bodies.PROGRESS_KEYS,
    CODE_KEYS,
    REASON_KEYS,
    URL_KEYS,
    LIST_KEYS,
)
KEYS = st.sampled_from(
    [
        *SOME_KEYS,
        "created_at",
        "comment",
        "discount",
        *(key for table in (*TABLES, *PICTURE_PLACES) for key in table),
    ]
)
VALUES = st.recursive(SCALARS | WORDS, lambda it: st.lists(it, max_size=4) | st.dictionaries(KEYS, it, max_size=6))


def storable(outcome: Outcome | None) -> None:
    """What the store and the API will do with it."""
    if outcome is None:
        return
    encoded = msgspec.json.encode(outcome)
    assert not re.search(r"(?<!\\)(\\\\)*\\u0000", encoded.decode("utf-8"))
    if outcome.error and outcome.error.raw is not None:
        msgspec.json.decode(outcome.error.raw)
        assert len(outcome.error.raw) <= RAW_MOST
    assert outcome.progress is None or 0 <= outcome.progress <= 1
    assert outcome.created_at is None or 0 < outcome.created_at < 2**63
    assert outcome.usage is None or outcome.usage.cost is None or outcome.usage.cost.is_finite()
    assert outcome.shape is not OutcomeShape.TASK or outcome.task_id is not None
    assert len(outcome.doubt or "") < 200


@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_any_json_gives_an_outcome_that_can_be_stored_or_none(value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()
    storable(bodies.parse_body(body))
    storable(bodies.parse_accepted(body))
    bodies.parse_refusal(body)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_a_task_object_with_anything_else_in_it_can_be_stored(value: dict[str, Any]) -> None:
    storable(bodies.parse_body(json.dumps(TASK | value).encode()))


@given(st.binary())
def test_no_bytes_raise(body: bytes) -> None:
    storable(bodies.parse_body(body))
    storable(bodies.parse_body(b'{"status":"failed","error":"' + body + b'"}'))
    bodies.parse_refusal(body)
