"""What hosts send is judged by its first bytes: headers that are not true cost no picture."""

import gzip
import hashlib
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from PIL import Image

from kit.archive_loop import LOOPBACK, answer, png, serving
from kit.picture_files import encoded
from receiver.core.errors import NotFetched
from receiver.pictures.fetch import PictureFetcher
from receiver.pictures.files import ArchiveFiles

pytestmark = pytest.mark.anyio

REF = "0199c0de-0000-7000-8000-000000000001"
PICTURE = png(0, 300_000)
DOT = Image.new("RGB", (4, 4))


@asynccontextmanager
async def fetched(root: Path, sent: bytes, most: int = 1 << 20) -> AsyncIterator[Path]:
    """The file that is kept of an answer."""
    client, files = PictureFetcher(LOOPBACK, most=most), ArchiveFiles(root)
    try:
        async with serving() as site, files.open_pending() as part:
            site.at["/a"] = sent
            suffix = await client.fetch_picture(site.link("/a?sig=secret"), part)
            path = await part.keep_as(REF, f"0.{suffix}")
            assert (part.size, part.sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).digest())
            yield path
    finally:
        await client.close()


async def refused(root: Path, sent: bytes, most: int = 1 << 20) -> NotFetched:
    """Why nothing is kept of it."""
    with pytest.raises(NotFetched) as why:
        async with fetched(root, sent, most):
            pass
    assert "secret" not in str(why.value)
    return why.value


@pytest.mark.parametrize(
    "coding",
    ["", "aws-chunked", "binary", "UTF-8", "none", "identity", "gzip", "deflate", "br", "gzip, aws-chunked", "x\t,,;"],
)
@pytest.mark.parametrize("body", [PICTURE, png(1)], ids=["long", "short"])
async def test_a_coding_in_name_only_costs_no_picture(tmp_path: Path, coding: str, body: bytes) -> None:
    async with fetched(tmp_path, answer(body, 200, f"Content-Encoding: {coding}")) as path:
        assert (path.name, path.read_bytes()) == ("0.png", body)


async def test_two_headers_at_once_cost_no_picture(tmp_path: Path) -> None:
    sent = answer(PICTURE, 200, "Content-Encoding: gzip", "Content-Encoding: aws-chunked")
    async with fetched(tmp_path, sent) as path:
        assert path.read_bytes() == PICTURE


@pytest.mark.parametrize("headers", [[], ["Content-Encoding: gzip"], ["Content-Encoding: aws-chunked, gzip"]])
@pytest.mark.parametrize(
    "packed",
    [gzip.compress(PICTURE), zlib.compress(PICTURE), gzip.compress(gzip.compress(PICTURE)), gzip.compress(png(1))],
    ids=["gzip", "deflate", "twice", "short"],
)
async def test_what_is_packed_is_unpacked_whatever_its_header_says(
    tmp_path: Path, headers: list[str], packed: bytes
) -> None:
    async with fetched(tmp_path, answer(packed, 200, *headers)) as path:
        assert path.name == "0.png"
        assert path.read_bytes() in (PICTURE, png(1))


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(png(0, 1 << 20)), gzip.compress(png(0, 50 << 20)), gzip.compress(gzip.compress(png(0, 50 << 20)))],
    ids=["a little too large", "bomb", "bomb in a bomb"],
)
async def test_a_picture_is_bounded_by_its_unpacked_size(tmp_path: Path, packed: bytes) -> None:
    why = await refused(tmp_path, answer(packed))
    assert (str(why), why.permanent) == ("the picture is larger than 1 MiB", True)


@pytest.mark.parametrize(
    ("sent", "says", "permanent", "early"),
    [
        (answer(gzip.compress(PICTURE)[:-9]), "sent it compressed, and cut off", False, False),
        (answer(gzip.compress(b"<!doctype html>")), "sent a web page, not a picture", False, True),
        (answer(b"\x0b\x10\x80", 200, "Content-Encoding: br"), "sent it compressed as br, though", True, False),
        (answer(b'{"message": "not ready"}', 202), "sent JSON, not a picture", False, True),
        (answer(b"<Error><Code>NoSuchKey</Code></Error>"), "sent XML, not a picture", False, True),
        (answer(b"", 404), "answered HTTP 404", False, True),
        (answer(b"", 410), "answered HTTP 410", True, False),
        (answer(b"", 403), "answered HTTP 403", False, False),
        (answer(b"", 425), "answered HTTP 425", False, False),
    ],
)
async def test_what_is_not_a_picture_is_named_and_says_whether_it_may_come(
    tmp_path: Path, sent: bytes, says: str, *, permanent: bool, early: bool
) -> None:
    why = await refused(tmp_path, sent)
    assert str(why).startswith(f"127.0.0.1 {says}")
    assert (why.permanent, why.early) == (permanent, early)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("0.bmp", encoded(DOT, "BMP")),
        ("0.tif", encoded(DOT, "TIFF")),
        ("0.avif", encoded(DOT, "AVIF")),
        ("0.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 5000),
        ("0.svg", b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
        ("0.mp4", b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + b"\0" * 5000),
        ("0.webm", b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm" + b"\0" * 5000),
    ],
)
async def test_every_kind_that_is_known_is_kept_under_its_own_ending(tmp_path: Path, name: str, body: bytes) -> None:
    async with fetched(tmp_path, answer(body, 200, "Content-Type: application/octet-stream")) as path:
        assert (path.name, path.read_bytes()) == (name, body)


@pytest.mark.parametrize("status", [200, 201, 203])
async def test_any_2xx_with_a_picture_is_a_picture(tmp_path: Path, status: int) -> None:
    async with fetched(tmp_path, answer(PICTURE, status)) as path:
        assert path.read_bytes() == PICTURE
