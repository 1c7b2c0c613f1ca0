"""Packed bodies: unpacked by their first bytes, whatever a header says, and never beyond the bound."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.providers.content_coding import unpack

BODY = b'{"id": "abc"}'
RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
RAW_DEFLATE = RAW.compress(BODY) + RAW.flush()
MOST = 1_000


@pytest.mark.parametrize("coding", ["", "gzip", "identity", "br", "aws-chunked", "UTF-8", "none", "gzip, gzip"])
@pytest.mark.parametrize(
    "packed",
    [
        BODY,
        gzip.compress(BODY),
        zlib.compress(BODY),
        gzip.compress(gzip.compress(BODY)),
        gzip.compress(zlib.compress(BODY)),
        gzip.compress(BODY[:5]) + gzip.compress(BODY[5:]),
        gzip.compress(BODY) + b"\x00\x00",
    ],
    ids=["plain", "gzip", "zlib", "gzip twice", "zlib in gzip", "two members", "padded"],
)
def test_the_first_bytes_say_how_a_body_is_packed(packed: bytes, coding: str) -> None:
    assert unpack(packed, MOST, coding) == BODY


def test_deflate_without_a_head_is_read_where_the_header_names_it() -> None:
    assert unpack(RAW_DEFLATE, MOST, "deflate") == BODY
    assert unpack(RAW_DEFLATE, MOST, "Deflate") == BODY
    assert unpack(BODY, MOST, "deflate") == BODY
    assert unpack(RAW_DEFLATE, MOST) == RAW_DEFLATE


@pytest.mark.parametrize("body", [b"", b"x?", b"80 is a text", b"x^ and more of it", b"\x1f\x8b\x08", b"\x1f\x8bno"])
def test_what_only_begins_like_a_packed_body_stays_as_it_is(body: bytes) -> None:
    assert unpack(body, MOST) == body


def test_a_packed_body_that_was_cut_short_stays_as_it_is() -> None:
    assert unpack(gzip.compress(BODY)[:-9], MOST) == gzip.compress(BODY)[:-9]


def test_a_bomb_does_not_go_off() -> None:
    assert unpack(gzip.compress(b" " * MOST), MOST) == b" " * MOST
    assert unpack(gzip.compress(b" " * (MOST + 1)), MOST) is None
    assert unpack(gzip.compress(gzip.compress(b"\0" * 50_000_000)), MOST) is None
    assert unpack(zlib.compress(b"\0" * 50_000_000), MOST) is None
    assert unpack(gzip.compress(b"") * 200, MOST) is None
    assert unpack(b" " * (MOST + 1), MOST) is None


@given(st.binary(max_size=200), st.sampled_from(["", "gzip", "deflate"]))
def test_no_bytes_raise_and_none_grow_beyond_the_bound(body: bytes, coding: str) -> None:
    assert len(unpack(body, MOST, coding) or b"") <= MOST
