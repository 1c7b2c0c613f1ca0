"""What a file is, by its first bytes: what we keep has a name and a suffix, and what we do not keep has a name too."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from receiver.pictures.sniff import HEAD, KINDS, is_drawn, media_name, name_foreign, sniff_suffix

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, kind)
    return out.getvalue()


def boxed(major: bytes, *others: bytes) -> bytes:
    brands = b"".join((major, b"\0\0\0\0", *others))
    return (len(brands) + 8).to_bytes(4, "big") + b"ftyp" + brands + b"\0\0\0\x08mdat"


@pytest.mark.parametrize(
    ("begins", "suffix"),
    [
        *((picture(kind), suffix) for kind, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"))),
        *((picture(kind), suffix) for kind, suffix in (("GIF", "gif"), ("BMP", "bmp"), ("TIFF", "tif"))),
        (picture("AVIF"), "avif"),
        (b"MM\0*\0\0\0\x08", "tif"),
        (b"II+\0\x08\0\0\0", "tif"),
        (boxed(b"avif", b"mif1", b"miaf"), "avif"),
        (boxed(b"mif1", b"avif"), "avif"),
        (boxed(b"heic", b"mif1", b"heic"), "heic"),
        (boxed(b"mif1", b"heic"), "heic"),
        (boxed(b"isom", b"iso2", b"avc1", b"mp41"), "mp4"),
        (boxed(b"iso9"), "mp4"),
        (boxed(b"XAVC", b"mp42"), "mp4"),
        (boxed(b"qt  "), "mov"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", "webm"),
        (SVG, "svg"),
        (b"<svg>", "svg"),
        (b"\xef\xbb\xbf \n" + SVG, "svg"),
        (b'<?xml version="1.0"?>\n<!-- made by hand -->\n' + SVG, "svg"),
        (b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" [ <!ENTITY a "b"> ]>' + SVG, "svg"),
        (b"<svg:svg xmlns:svg='http://www.w3.org/2000/svg'>", "svg"),
        (SVG.decode().encode("utf-16"), "svg"),
    ],
)
def test_what_is_kept_is_known_by_its_first_bytes(begins: bytes, suffix: str) -> None:
    assert sniff_suffix(begins) == sniff_suffix(begins[:HEAD]) == suffix
    assert suffix in KINDS


@pytest.mark.parametrize(
    ("begins", "name"),
    [
        (b"<!DOCTYPE html><html>", "a web page, not a picture"),
        (b"<html><body><svg></svg>", "a web page, not a picture"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "XML, not a picture"),
        (b"<Error><Code>AccessDenied</Code></Error>", "XML, not a picture"),
        (b"<!-- " + b"<!---->" * 600, "XML, not a picture"),
        (b'{"message": "not ready"}', "JSON, not a picture"),
        (b"%PDF-1.7", "a PDF file, not a picture"),
        (b"PK\x03\x04", "a ZIP archive, not a picture"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "a RIFF file, not a picture"),
        (b"\xff\x0a\xfa", "a JPEG XL picture, which is not kept"),
        (boxed(b"crx "), "a media file of an unknown kind, not a picture"),
        (b"BMW is a make of cars", "text, not a picture"),
        (b"try again later", "text, not a picture"),
        (b"\0\1\2\3", "something that is not a picture"),
        (b"", "something that is not a picture"),
    ],
)
def test_what_is_not_kept_is_named_for_what_it_is(begins: bytes, name: str) -> None:
    assert (sniff_suffix(begins), name_foreign(begins)) == (None, name)


def test_only_what_the_drawing_can_read_is_drawn() -> None:
    drawn = {suffix for suffix, kind in KINDS.items() if is_drawn(kind.media_type)}
    assert drawn == {"png", "jpg", "webp", "gif", "bmp", "tif", "avif"}
    assert not is_drawn(None)
    assert not is_drawn("image/x-unknown")


def test_each_media_type_has_a_name() -> None:
    assert (media_name("image/svg+xml"), media_name("video/mp4")) == ("SVG drawing", "MP4 video")
    assert media_name(None) == media_name("x/y") == "file"
    assert (
        len({kind.media_type for kind in KINDS.values()}) == len({kind.name for kind in KINDS.values()}) == len(KINDS)
    )


@given(st.binary(max_size=80) | st.text(alphabet='<!-?>svg doctype[]"', max_size=60).map(str.encode))
def test_no_bytes_break_it(begins: bytes) -> None:
    assert sniff_suffix(begins) in {None, *KINDS}
    assert name_foreign(begins)
