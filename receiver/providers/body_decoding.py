"""Finds the JSON object of a body, however it is wrapped: packed, in an array, as a text, in a form field. Pure."""

import re
from urllib.parse import parse_qsl

from msgspec import Struct

from receiver.providers.content_coding import unpack
from receiver.providers.json_values import Json, decode_value

UNPACKED_MOST = 4 << 20  # bytes of a body that came packed
_WRAPS_MOST = 4
_FIELDS_MOST = 64
_FORM = re.compile(rb"\s*[\w.\[\]-]{1,64}=")
_FORM_FIELDS = ("payload", "data", "json", "body", "result", "task", "callback", "event")
_JSON_STARTS = ("{", "[", '"')


class DecodedBody(Struct, frozen=True, gc=False):
    """The object in a body; `plain` if the body is nothing but the object, packed or not."""

    value: Json
    plain: bool


def decode_body(body: bytes) -> DecodedBody | None:
    """The JSON object of a body, or None. Never raises."""
    if not body.lstrip().startswith((b"{", b"[", b'"')):
        unpacked = unpack(body, UNPACKED_MOST) if len(body) <= UNPACKED_MOST else body
        if unpacked is None:
            return None
        body = unpacked
    value = decode_value(body)
    plain = True
    if value is None and _FORM.match(body):
        value, plain = _form_value(body), False
    for _ in range(_WRAPS_MOST):
        if isinstance(value, dict):
            return DecodedBody(value, plain)
        value, plain = _unwrap(value), False
    return None


def decode_text(value: object) -> object:
    """The JSON in a text, or any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in _JSON_STARTS and value.strip():
        decoded = decode_value(value)
        return value if decoded is None else decoded
    return value


def as_object(value: object) -> Json | None:
    """The object that a value is, or that its text or its one-element array holds; None if there is none."""
    for _ in range(_WRAPS_MOST):
        if isinstance(value, dict):
            return value
        value = _unwrap(value)
    return None


def _unwrap(value: object) -> object:
    if isinstance(value, list):
        return value[0] if len(value) == 1 else None
    decoded = decode_text(value)
    return decoded if decoded is not value else None


def _form_value(body: bytes) -> object:
    """The JSON object in a field of a form."""
    try:
        fields = dict(parse_qsl(body.decode("utf-8", "replace").strip(), max_num_fields=_FIELDS_MOST))
    except ValueError:
        return None
    found = (as_object(fields[name]) for name in _FORM_FIELDS if name in fields)
    return next((value for value in found if value is not None), None)
