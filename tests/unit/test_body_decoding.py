"""How deep a body may be wrapped before it says nothing: arrays, texts, forms, packed bytes."""

import gzip
import json
from urllib.parse import urlencode

import pytest

from receiver.providers.body_decoding import UNPACKED_MOST, DecodedBody, as_object, decode_body, decode_text

OBJECT = {"id": "a"}
PLAIN = json.dumps(OBJECT).encode()


def in_arrays(value: object, count: int) -> object:
    for _ in range(count):
        value = [value]
    return value


def in_texts(value: object, count: int) -> object:
    for _ in range(count):
        value = json.dumps(value)
    return value


# -- wrappings --


def test_an_object_alone_is_plain_and_a_wrapped_one_is_not() -> None:
    for body in (PLAIN, b"  \n" + PLAIN, gzip.compress(PLAIN)):
        found = decode_body(body)
        assert found is not None
        assert (found.value, found.plain) == (OBJECT, True)
    for body in (json.dumps([OBJECT]).encode(), json.dumps(json.dumps(OBJECT)).encode(), b"data=" + PLAIN):
        found = decode_body(body)
        assert found is not None
        assert (found.value, found.plain) == (OBJECT, False)


@pytest.mark.parametrize(("count", "read"), [(0, True), (1, True), (3, True), (4, False)])
def test_three_wrappings_are_taken_off_and_no_more(count: int, read: bool) -> None:
    for wrapped in (in_arrays(OBJECT, count), in_texts(OBJECT, count)):
        assert as_object(wrapped) == (OBJECT if read else None)
        found = decode_body(json.dumps(wrapped).encode())
        assert (found is not None) is read


@pytest.mark.parametrize("value", [None, 7, "", " ", "words", "[]", [], [OBJECT, OBJECT], [7], '"words"', "{"])
def test_what_holds_no_single_object_is_none(value: object) -> None:
    assert as_object(value) is None


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ('{"id": "a"}', OBJECT),
        (' ["x"] ', ["x"]),
        ('"x"', "x"),
        ("7", "7"),
        ("true", "true"),
        ("{broken", "{broken"),
        ("", ""),
        (" ", " "),
        (7, 7),
        (None, None),
    ],
)
def test_a_text_that_is_json_is_decoded_and_any_other_value_stays(value: object, decoded: object) -> None:
    assert decode_text(value) == decoded


def test_what_was_found_never_changes_and_costs_the_garbage_collector_nothing() -> None:
    config = DecodedBody.__struct_config__
    assert (config.frozen, config.gc) == (True, False)


# -- packed --


def test_a_packed_body_may_have_four_mebibytes() -> None:
    assert UNPACKED_MOST == 4 * 1024 * 1024
    padding = b" " * (UNPACKED_MOST - len(PLAIN))
    assert decode_body(gzip.compress(PLAIN + padding)) is not None
    assert decode_body(gzip.compress(PLAIN + padding + b" ")) is None


@pytest.mark.parametrize(("length", "read"), [(UNPACKED_MOST, True), (UNPACKED_MOST + 1, False)])
def test_and_as_many_before_it_is_unpacked(length: int, read: bool) -> None:
    packed = gzip.compress(PLAIN)
    padded = packed + b"\0" * (length - len(packed))
    assert (decode_body(padded) is not None) is read


def test_a_plain_body_may_have_more() -> None:
    assert decode_body(b" " * 15 + PLAIN + b" " * UNPACKED_MOST) is not None
    assert decode_body(b" " * 17 + PLAIN + b" " * UNPACKED_MOST) is not None


# -- forms --


def form(**fields: str) -> bytes:
    return urlencode(fields).encode()


@pytest.mark.parametrize("field", ["payload", "data", "json", "body", "result", "task", "callback", "event"])
def test_an_object_may_come_in_a_field_of_a_form(field: str) -> None:
    found = decode_body(form(first="x", **{field: json.dumps(OBJECT)}))
    assert found is not None
    assert found.value == OBJECT


def test_a_field_without_an_object_is_passed_over() -> None:
    found = decode_body(form(payload="words", data=json.dumps(OBJECT)))
    assert found is not None
    assert found.value == OBJECT
    assert decode_body(form(other=json.dumps(OBJECT))) is None
    assert decode_body(form(payload="words")) is None
    assert decode_body(b"words and&" + form(payload=json.dumps(OBJECT))) is None, "it does not begin like a form"


@pytest.mark.parametrize(("others", "read"), [(63, True), (64, False)])
def test_a_form_of_more_than_64_fields_says_nothing(others: int, read: bool) -> None:
    body = form(**{f"f{n}": "x" for n in range(others)}, data=json.dumps(OBJECT))
    assert (decode_body(body) is not None) is read
