"""Packed pictures are unpacked as they arrive, by their first bytes, and never beyond the bound."""

import contextlib
import gzip
import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.archive_loop import png
from receiver.pictures.unpack import MEMBERS_MOST, DamagedBody, StreamUnpacker, UnpackedTooLarge

MOST = 1 << 20
PICTURE = png(3, 200_000)
NOISE = png(0) + Random(1).randbytes(100_000)  # noqa: S311 - chance, not a secret
RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
RAW_DEFLATE = RAW.compress(PICTURE) + RAW.flush()


def unpacked(body: bytes, coding: str = "", most: int = MOST, step: int = 1000) -> bytes:
    """All that comes out, if it is fed in steps."""
    unpacker = StreamUnpacker(body[:4096], coding, most)
    out = b"".join(piece for at in range(0, len(body), step) for piece in unpacker.feed(body[at : at + step]))
    assert unpacker.is_whole
    return out


@pytest.mark.parametrize("coding", ["", "gzip", "identity", "br", "aws-chunked", "UTF-8", "none", "gzip, gzip"])
@pytest.mark.parametrize(
    "body",
    [
        PICTURE,
        gzip.compress(PICTURE),
        zlib.compress(PICTURE),
        gzip.compress(gzip.compress(PICTURE)),
        gzip.compress(zlib.compress(PICTURE)),
        gzip.compress(PICTURE[:50]) + gzip.compress(PICTURE[50:]),
        gzip.compress(PICTURE) + b"\0" * 512,
    ],
    ids=["plain", "gzip", "zlib", "gzip twice", "zlib in gzip", "two members", "padded"],
)
def test_the_first_bytes_say_how_it_is_packed(body: bytes, coding: str) -> None:
    assert unpacked(body, coding) == PICTURE


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_it_does_not_matter_how_it_is_cut_into_chunks(step: int) -> None:
    body = gzip.compress(NOISE[:60_000]) + gzip.compress(NOISE[60_000:])
    assert unpacked(body, step=step) == NOISE


def test_deflate_without_a_head_is_read_where_the_header_names_it() -> None:
    assert unpacked(RAW_DEFLATE, "deflate") == PICTURE
    assert unpacked(RAW_DEFLATE) == RAW_DEFLATE
    assert unpacked(PICTURE, "deflate") == PICTURE


def test_what_is_cut_off_is_not_whole() -> None:
    body = gzip.compress(PICTURE)[:-9]
    unpacker = StreamUnpacker(body[:4096], "", MOST)
    assert b"".join(unpacker.feed(body))
    assert not unpacker.is_whole


def test_what_is_damaged_says_so() -> None:
    body = bytearray(gzip.compress(NOISE))
    body[60_000:60_040] = bytes(40)
    unpacker = StreamUnpacker(bytes(body[:4096]), "", MOST)
    with pytest.raises(DamagedBody):
        list(unpacker.feed(bytes(body)))


@pytest.mark.parametrize(
    "bomb",
    [
        gzip.compress(png(0, MOST)),
        gzip.compress(gzip.compress(png(0, 30 * MOST))),
        zlib.compress(png(0, 30 * MOST)),
        gzip.compress(gzip.compress(png(0)) + gzip.compress(b"") * 2 * (MOST // 20)),  # large only in between
    ],
    ids=["gzip", "gzip twice", "zlib", "in between"],
)
def test_a_bomb_does_not_go_off(bomb: bytes) -> None:
    unpacker = StreamUnpacker(bomb[:4096], "", MOST)
    came: list[int] = []
    with pytest.raises((UnpackedTooLarge, DamagedBody)):
        came.extend(map(len, unpacker.feed(bomb)))
    assert sum(came) <= MOST


def test_members_without_an_end_are_refused() -> None:
    with pytest.raises(DamagedBody):
        unpacked(gzip.compress(PICTURE) + gzip.compress(b"") * MEMBERS_MOST)


@given(
    st.binary(max_size=300), st.sampled_from(["", "gzip", "deflate"]), st.sampled_from([b"", b"\x1f\x8b\x08", b"x\x9c"])
)
def test_any_bytes_come_through_or_are_refused(body: bytes, coding: str, begin: bytes) -> None:
    body = begin + body
    unpacker = StreamUnpacker(body, coding, 100_000)
    with contextlib.suppress(DamagedBody, UnpackedTooLarge):
        assert sum(map(len, unpacker.feed(body))) <= 100_000
