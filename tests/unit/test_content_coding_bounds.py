"""Packed bodies: how many layers and members are unpacked, and which first bytes are those of a packed body."""

import gzip
import zlib

import pytest

from receiver.providers.content_coding import unpack

BODY = b'{"id": "abc"}'
MOST = 1_000


def pack(body: bytes, layers: int) -> bytes:
    for _ in range(layers):
        body = gzip.compress(body)
    return body


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_three_layers_are_unpacked(layers: int) -> None:
    assert unpack(pack(BODY, layers), MOST) == BODY


def test_a_fourth_layer_is_left_packed() -> None:
    assert unpack(pack(BODY, 4), MOST) == pack(BODY, 1)


@pytest.mark.parametrize(("members", "unpacked"), [(63, b"a" * 63), (64, b"a" * 64), (65, None)])
def test_a_body_may_have_64_members_one_after_the_other(members: int, unpacked: bytes | None) -> None:
    assert unpack(gzip.compress(b"a") * members, MOST) == unpacked


@pytest.mark.parametrize("level", [0, 1, 6, 9])
@pytest.mark.parametrize("wbits", [9, 15])
def test_every_head_that_zlib_writes_is_known(level: int, wbits: int) -> None:
    stream = zlib.compressobj(level, wbits=wbits)
    assert unpack(stream.compress(BODY) + stream.flush(), MOST) == BODY


def test_what_is_not_a_whole_zlib_head_is_a_body_of_its_own() -> None:
    packed = zlib.compress(BODY)
    for head in (b"\x78", b"\x78\x9c", b"\x79\x9c" + packed[2:], b"\x78\x9d" + packed[2:], b"\x88\x1c" + packed[2:]):
        assert unpack(head, MOST) == head


@pytest.mark.parametrize(("length", "kept"), [(MOST - 1, True), (MOST, True), (MOST + 1, False)])
def test_no_body_is_longer_than_the_bound_however_it_came(length: int, kept: bool) -> None:
    body = b"x" * length
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = raw.compress(body) + raw.flush()
    for packed, coding in (
        (body, ""),
        (gzip.compress(body), ""),
        (gzip.compress(body[:500]) + gzip.compress(body[500:]), ""),
        (zlib.compress(body), ""),
        (deflated, "deflate"),
    ):
        assert unpack(packed, MOST, coding) == (body if kept else None)


def test_a_member_that_was_cut_short_leaves_the_body_packed() -> None:
    whole = gzip.compress(BODY)
    for cut in (whole[:-1], whole + whole[:-1], whole + whole[:4]):
        assert unpack(cut, MOST) == cut


@pytest.mark.parametrize("start", [b"{", b"[", b'"', b"  {"])
def test_a_body_that_begins_like_json_is_not_unpacked_whatever_its_header_says(start: bytes) -> None:
    assert unpack(start + b"...", MOST, "deflate") == start + b"..."


@pytest.mark.parametrize("text", [b"{0a! ", b"[0a! ", b" {0a! "])
def test_even_a_text_that_could_be_deflated_is_left_as_it_is_if_it_begins_like_json(text: bytes) -> None:
    assert zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(text.lstrip())
    assert unpack(text, MOST, "deflate") == text
