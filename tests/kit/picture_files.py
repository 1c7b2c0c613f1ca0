"""Files of pictures for the tests: good ones in every format and mode, and bad ones of every kind."""

import functools
import io
import struct
import zlib
from pathlib import Path
from random import Random

from PIL import Image

from receiver.pictures.drawing.process import LIMITS

PATIENT = LIMITS._replace(within_s=500.0)
"""What drawing may use, on a machine that has other things to do."""

RED, BLUE, GREEN = (200, 30, 40), (30, 60, 200), (20, 150, 60)
Colour = tuple[int, int, int]


def encoded(image: Image.Image, kind: str = "PNG", **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def plain(size: tuple[int, int] = (320, 240), colour: Colour = RED, kind: str = "PNG") -> bytes:
    """A picture of one colour."""
    return encoded(Image.new("RGB", size, colour), kind)


def noise(side: int, seed: int = 1) -> Image.Image:
    """The heaviest picture there is."""
    content = Random(seed).randbytes(side * side * 3)  # noqa: S311 - chance, not a secret
    return Image.frombytes("RGB", (side, side), content)


def opened(content: bytes | None) -> Image.Image:
    """A picture that was drawn, as RGB."""
    assert content is not None
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "JPEG"
        return image.convert("RGB")


def written(folder: Path, contents: list[bytes]) -> list[tuple[str, Path]]:
    """The contents as files, with their places as captions."""
    paths = [(str(at), folder / str(at)) for at in range(len(contents))]
    for (_, path), content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def png_of(width: int, height: int, *, body: bytes = b"") -> bytes:
    """A PNG that claims a size, whatever is in it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def scans(side: int, count: int) -> bytes:
    """A grey progressive JPEG whose last scan, of a few bytes, comes `count` times more: each goes over all of it."""
    content = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * count + content[-2:]


def tampered(content: bytes) -> bytes:
    """The same with the middle of it overwritten."""
    middle = len(content) // 2
    return content[: middle - 20] + bytes(40) + content[middle + 20 :]


@functools.cache
def bad() -> dict[str, bytes]:
    """What is not a picture, or not one that may be drawn."""
    image = noise(64)
    webp = encoded(image, "WEBP", lossless=True)
    return {
        "nothing": b"",
        "text": b"<!doctype html><title>404</title>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "only the signature": b"\x89PNG\r\n\x1a\n",
        "cut png": encoded(image)[:-3000],
        "cut jpeg": encoded(image, "JPEG")[:-1500],
        "cut webp": webp[:-3000],
        "tampered png": tampered(encoded(image)),
        "tampered webp": webp[:21] + bytes(40) + webp[61:],
        "no pixels": png_of(0, 0),
        "bomb": png_of(50_000, 50_000),
        "just too large": png_of(5_001, 4_000),
        "webp bomb": b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xfe\x3f\0" * 2 + bytes(40),
        "a large webp": encoded(Image.new("RGB", (2600, 2600)), "WEBP", method=0),
        "a large avif": encoded(Image.new("RGB", (2600, 2600)), "AVIF", speed=10),
        "cut bmp": encoded(image, "BMP")[:-3000],
        "cut tiff": encoded(image, "TIFF", compression="tiff_lzw")[:-3000],
        "cut avif": encoded(image, "AVIF", speed=10)[:-1500],
        "another format": encoded(image, "PPM"),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }
