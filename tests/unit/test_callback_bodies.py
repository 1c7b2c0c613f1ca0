"""Bodies as pages show them: indented, as text or as hex, and never more than a bounded part, whatever they are."""

import gzip
import json

import msgspec
import pytest

from receiver.web.pages.callbacks.bodies import (
    HEX_MOST,
    SHOWN_MOST,
    BodyKind,
    format_hex,
    indent_json,
    kind_of_body,
    media_type_of,
    show_body,
    show_text,
)

LARGE = 1 << 20
ODD = {
    "deep": b"[" * LARGE,
    "deep-closed": b"[" * 20_000 + b"]" * 20_000,
    "one-string": b'"' + b"a" * LARGE + b'"',
    "quotes": b'"' + b'\\"' * (LARGE // 2),
    "escapes": b'["' + b"\\\\" * (LARGE // 4) + b'"]',
    "blanks": b"[" + b" " * LARGE + b"]",
    "bytes": bytes(range(256)) * 4096,
    "overrides": "\u202e".encode() * (LARGE // 3),
    "html": b"<html>" * (LARGE // 6),
    "nulls": b"\0" * LARGE,
    "commas": b"[" + b"1," * (LARGE // 2) + b"1]",
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
def test_a_mebibyte_of_anything_is_shown_in_part(body: bytes) -> None:
    shown = show_body(body)
    assert len(shown.pretty) <= SHOWN_MOST
    assert len(shown.raw) <= SHOWN_MOST
    assert not shown.whole or len(body) < SHOWN_MOST
    assert not any(ord(it) < 32 and it not in "\n\t" for it in shown.raw + shown.pretty)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (None, BodyKind.UNKNOWN),
        (b"", BodyKind.EMPTY),
        (b" \n", BodyKind.EMPTY),
        (b'{"a":1}', BodyKind.JSON),
        (b"[[]]", BodyKind.JSON),
        (b'{"a":', BodyKind.BROKEN),
        (b"<html>", BodyKind.TEXT),
        (b"a\0b", BodyKind.BINARY),
        (b"\xff\xfe", BodyKind.BINARY),
        (b"[" * 5000 + b"]" * 5000, BodyKind.JSON),
    ],
)
def test_kinds(body: bytes | None, kind: BodyKind) -> None:
    assert kind_of_body(body) is kind
    assert show_body(body).kind is kind


def test_json_keeps_its_keys_in_their_order_and_its_numbers_as_they_came() -> None:
    body = b'{"b":1.50,"a":[],"c":{"x":[1,{"y":null}],"e":{}},"s":"a,b:[{\\"q","n":1e400}'
    text, whole = indent_json(body)
    assert whole
    assert text == (
        '{\n  "b": 1.50,\n  "a": [],\n  "c": {\n    "x": [\n      1,\n      {\n        "y": null\n      }\n    ],\n'
        '    "e": {}\n  },\n  "s": "a,b:[{\\"q",\n  "n": 1e400\n}'
    )


@pytest.mark.parametrize("value", [{}, [], {"a": {}}, [[], {}], {"a": [1, 2, {"b": ["c"]}]}, "x", 1, None, [True]])
def test_json_is_indented_as_everybody_does(value: object) -> None:
    text, whole = indent_json(msgspec.json.encode(value))
    assert whole
    assert text == json.dumps(value, indent=2)


def test_what_came_packed_is_shown_unpacked_too() -> None:
    shown = show_body(gzip.compress(b'{"a":1}'))
    assert (shown.pretty, shown.unpacked, shown.hexed) == ('{\n  "a": 1\n}', True, True)
    assert shown.raw.startswith("00000000  1f 8b 08")


def test_hex_has_the_text_beside_it() -> None:
    assert format_hex(b"GET \x00\xff") == f"00000000  {'47 45 54 20 00 ff':<47}  GET .."
    assert len(format_hex(bytes(HEX_MOST)).splitlines()) == HEX_MOST // 16


def test_what_could_hide_or_turn_text_round_is_written_out() -> None:
    assert show_text("a\u202eb\x00\x1b[31m\u200b\U000e0041\r\nc\td") == (
        "a\\u202eb\\u0000\\u001b[31m\\u200b\\U000e0041\nc\td"
    )
    assert show_text("Ünïcödé שלום 👨\u200d👩\u200d👧") == "Ünïcödé שלום 👨\u200d👩\u200d👧"


@pytest.mark.parametrize(
    ("body", "exact"),
    [
        (b'{"a":"b"}\r\n', True),
        ("a\u202eb".encode(), False),
        (b"a\rb", False),
        (b"\xff", False),
        (b"a" * (SHOWN_MOST + 1), False),
        (b"a" * SHOWN_MOST, True),
    ],
    ids=["json", "override", "return", "bytes", "too-long", "long"],
)
def test_only_what_is_shown_as_it_came_can_be_copied(body: bytes, exact: bool) -> None:
    assert show_body(body).exact is exact


@pytest.mark.parametrize(
    ("given", "media_type"),
    [
        ("text/html; charset=utf-8", "text/html"),
        (" Application/JSON ", "application/json"),
        ('text/html"><script>', ""),
        ("\u202etext/html", ""),
        ("", ""),
        ("text", ""),
        ("a/" + "b" * 100, ""),
    ],
)
def test_media_types(given: str, media_type: str) -> None:
    assert media_type_of({"content-type": given}) == media_type
    assert media_type_of({}) == ""
