"""Parsers for single values of foreign JSON: each takes any value and returns something storable, or None.

Storable means valid Unicode without NUL, bounded in length, finite, and integers of 64 bits. Where a value stands in a
body is left to `bodies`.
"""

import json
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any
from urllib.parse import quote

import msgspec

from receiver.core.types import Usage

Json = dict[str, Any]

ID_MOST = 200  # characters, like the next two
MESSAGE_MOST = 2_000
URL_MOST = 16_384
RAW_MOST = 4_096  # bytes of JSON
_ITEMS_MOST = 64  # of each object and list in `bounded_raw`

_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_URL = re.compile(
    r"https?://[^\s\x00-\x20\x7f-\x9f\ud800-\udfff/?#]+(?:[/?#][^\x00-\x1f\x7f-\x9f\ud800-\udfff]*)?",
    re.IGNORECASE,
)
_BLANK = re.compile(r"\s")
_LINE_BREAKS = re.compile(r"[\t\r\n]+")
_PERCENT = re.compile(r"(\d{1,9}(?:\.\d{1,18})?) ?(%?)", re.ASCII)
_TOKEN = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[\w-]{32}", re.ASCII
)  # a callback token, as `tokens` makes them
_decode_strictly = msgspec.json.Decoder().decode


def decode_value(body: bytes | str) -> object:
    """The JSON value of a body, or None.

    What the strict decoder refuses (half a surrogate pair, NaN, a byte order mark, UTF-16, bytes that are not UTF-8, a
    bare newline in a text) is read again leniently: a sloppy sender must not cost us results.
    """
    try:
        return _decode_strictly(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    try:
        text = body if isinstance(body, str) else body.decode(json.detect_encoding(body), "replace")
        return json.loads(text.removeprefix("\ufeff"), strict=False)
    except (ValueError, RecursionError):
        return None


def decode_object(body: bytes | str) -> Json | None:
    """The JSON object of a body, or None: what `decode_value` reads, if it is one."""
    value = decode_value(body)
    return value if isinstance(value, dict) else None


def first_value(levels: Iterable[Json], keys: tuple[str, ...]) -> Any:
    """The first value that exists and is neither null nor empty."""
    for level in levels:
        for key in keys:
            value = level.get(key)
            if value is not None and value != "":
                return value
    return None


def clean_text(value: str, most: int) -> str:
    """The first `most` characters, with U+FFFD for those that a database refuses."""
    if value.isascii() and len(value) <= most and "\x00" not in value:  # the usual case, ten times faster
        return value
    return _UNSTORABLE.sub("\ufffd", value[:most])


def mask_tokens(value: str) -> str:
    """The text without our callback tokens: providers echo parameters in their errors, and the callback URL is one."""
    return _TOKEN.sub("[token]", value)


def short_text(value: object) -> str | None:
    """A text, cut to `ID_MOST`; None if blank."""
    return clean_text(value, ID_MOST) if isinstance(value, str) and value.strip() else None


def parse_id(value: object) -> str | None:
    """An id: a text of at most `ID_MOST`, or a number. A longer one is None, since a cut id is useless."""
    if isinstance(value, str):
        return clean_text(value, ID_MOST) if len(value) <= ID_MOST and value.strip() else None
    number = parse_int(value)
    return None if number is None else str(number)


def parse_int(value: object) -> int | None:
    """An integer of 64 bits, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -(2**63) <= value < 2**63:
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def parse_url(value: object) -> str | None:
    """An http or https URL with a host, its blanks escaped; None if longer than `URL_MOST`, since a cut URL is useless.

    Line breaks and tabs inside are dropped, as browsers do.
    """
    if not isinstance(value, str) or len(value) > 2 * URL_MOST:
        return None
    value = _LINE_BREAKS.sub("", value.strip())
    if not _URL.fullmatch(value):
        return None
    url = _BLANK.sub(lambda blank: quote(blank[0]), value)
    return url if len(url) <= URL_MOST else None


def parse_progress(value: object) -> float | None:
    """0.45, 45 and "45%" are 0.45. 1 is complete, since the provider counts from 0.0 to 1.0."""
    percent = False
    if isinstance(value, str):
        match = _PERCENT.fullmatch(value.strip())
        if match is None:
            return None
        value, percent = float(match[1]), match[2] == "%"
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        return None
    number = float(min(max(value, 0), 100))
    return number / 100 if percent or number > 1 else number


def parse_created_at(value: object) -> int | None:
    """Seconds or milliseconds since 1970, as milliseconds; None outside 2001 to 2100."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if 1e9 <= value < 4.1e9:
        return int(value * 1000)
    return int(value) if 1e12 <= value < 4.1e12 else None


def parse_usage(value: object) -> Usage | None:
    """`{"cost": "0.05", "discount": 1}`, either of which may be missing."""
    if not isinstance(value, dict):
        return None
    cost, discount = _parse_cost(value.get("cost")), value.get("discount")
    if not isinstance(discount, int | float) or isinstance(discount, bool) or not abs(discount) < 1e9:
        discount = None
    return None if cost is None and discount is None else Usage(cost, None if discount is None else float(discount))


def _parse_cost(value: object) -> Decimal | None:
    """Dollars, from a text or a number. Neither too large nor too small, so that it stays short when written out."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if len(value) > 40 if isinstance(value, str) else not abs(value) < 1e12:
        return None
    try:
        cost = Decimal(str(value))
    except InvalidOperation:
        return None
    return cost if cost.is_finite() and (not cost or -18 <= cost.adjusted() <= 12) else None


def parse_code(value: object) -> str | None:
    """`4007098`, `"004007098"` and `8004007098` are all the code `004007098`. The number of an HTTP status stays as it
    is, and so do other texts; 0 is not a code."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        return short_text(value)
    if is_zero_code(value):
        return None
    digits = str(value) if isinstance(value, str) else str(parse_int(value) or "")
    if len(digits) == 10 and digits.startswith("8"):
        return digits[1:]
    if len(digits) == 3 and "100" <= digits <= "599":
        return digits
    return digits.zfill(9)[:ID_MOST] if digits else None


def is_zero_code(value: object) -> bool:
    """Whether a code means that there is no error."""
    return (isinstance(value, str) and value != "" and not value.strip("0")) or parse_int(value) == 0


def bounded_raw(value: object) -> bytes:
    """The value as JSON of at most `RAW_MOST` bytes. Of a longer one, its beginning as a JSON string."""
    encoded = mask_tokens(msgspec.json.encode(_tidy_value(value, depth=8)).decode()).encode()
    if len(encoded) <= RAW_MOST:
        return encoded
    half = encoded[: RAW_MOST // 2 - 1]  # since every quote and backslash becomes two bytes
    return msgspec.json.encode(half.decode(errors="ignore"))


def _tidy_value(value: object, depth: int) -> object:
    if isinstance(value, str):
        return clean_text(value, MESSAGE_MOST)
    if isinstance(value, dict | list) and depth == 0:
        return None
    if isinstance(value, dict):
        return {clean_text(key, ID_MOST): _tidy_value(it, depth - 1) for key, it in islice(value.items(), _ITEMS_MOST)}
    if isinstance(value, list):
        return [_tidy_value(it, depth - 1) for it in value[:_ITEMS_MOST]]
    if isinstance(value, int) and parse_int(value) is None and not isinstance(value, bool):
        return str(value)
    return value
