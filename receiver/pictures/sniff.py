"""What kind of file this is, by its first bytes: a server's Content-Type is often wrong. Pure."""

import re
from typing import NamedTuple

HEAD = 4096  # bytes that suffice


class FileKind(NamedTuple):
    """A kind of file that we keep: its media type, its name in messages, and whether we draw it."""

    media_type: str
    name: str
    drawn: bool = True


KINDS = {
    "png": FileKind("image/png", "PNG picture"),
    "jpg": FileKind("image/jpeg", "JPEG picture"),
    "webp": FileKind("image/webp", "WebP picture"),
    "gif": FileKind("image/gif", "GIF picture"),
    "bmp": FileKind("image/bmp", "BMP picture"),
    "tif": FileKind("image/tiff", "TIFF picture"),
    "avif": FileKind("image/avif", "AVIF picture"),
    "heic": FileKind("image/heic", "HEIC picture", drawn=False),
    "svg": FileKind("image/svg+xml", "SVG drawing", drawn=False),  # a program in disguise, which nothing here runs
    "mp4": FileKind("video/mp4", "MP4 video", drawn=False),
    "mov": FileKind("video/quicktime", "QuickTime video", drawn=False),
    "webm": FileKind("video/webm", "WebM video", drawn=False),
}
"""The kinds by the suffixes that their files get."""

_BY_MEDIA = {kind.media_type: kind for kind in KINDS.values()}
_AVIF = (b"avif", b"avis")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_MP4 = (b"iso", b"mp4", b"avc", b"hvc", b"hev", b"cmf", b"3gp", b"dash", b"M4V ", b"MSNV", b"av01")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # the sizes of its second header, one for each version
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SVG = rb"<(?:[\w.-]+:)?svg[\s/>]"
_HTML = rb"<(?:!doctype\s+html|html|head|body|title|script|div|h1|p)\b"
_FOREIGN = (
    (b"%PDF-", "a PDF file"),
    (b"%!PS", "a PostScript file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"8BPS", "a Photoshop file"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\x1a\x45\xdf\xa3", "a Matroska video"),
    (b"FLV\x01", "a Flash video"),
    (b"ID3", "an audio file"),
    (b"OggS", "an Ogg file"),
    (b"fLaC", "an audio file"),
    (b"RIFF", "a RIFF file"),
)
_UNKNOWN = "something that is not a picture"


def media_name(media_type: str | None) -> str:
    """What a kept file of this media type is called: `SVG drawing`; `file` for an unknown one."""
    kind = _BY_MEDIA.get(media_type or "")
    return kind.name if kind else "file"


def is_drawn(media_type: str | None) -> bool:
    """Whether kept files of this media type get thumbnails and a place on the contact sheet."""
    kind = _BY_MEDIA.get(media_type or "")
    return kind is not None and kind.drawn


def sniff_suffix(head: bytes) -> str | None:
    """The suffix (one of `KINDS`) of a file that begins like this; None if it is not a picture or a film."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    if head.startswith(_TIFF):
        return "tif"
    if head[4:8] == b"ftyp":
        return _sniff_boxes(head)
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in head[:64]:
        return "webm"
    return "svg" if _is_svg(head) else None


def name_foreign(head: bytes) -> str:
    """What was sent instead of a picture, for a sentence: `a web page, not a picture`."""
    text = _decode_text(head)
    if re.match(_HTML, text, re.IGNORECASE):
        name = "a web page"
    elif text.startswith((b"<?xml", b"<!--")) or re.match(rb"<[A-Za-z]", text):
        name = "XML"
    elif text.startswith((b"{", b"[")):
        name = "JSON"
    else:
        name = next((it for begin, it in _FOREIGN if head.startswith(begin)), "")
        if not name and head[4:8] == b"ftyp":
            name = "a media file of an unknown kind"
        if not name and text and not re.search(rb"[\x00-\x08\x0e-\x1f\x7f]", text):
            name = "text"
    if not name:
        return _UNKNOWN
    return f"{name}, which is not kept" if name.endswith(("picture", "video")) else f"{name}, not a picture"


def _sniff_boxes(head: bytes) -> str | None:
    """ISO/IEC 14496-12: the first box's size, `ftyp`, the major brand, its version, then the compatible brands."""
    end = min(int.from_bytes(head[:4], "big"), 256)
    major = head[8:12]
    brands = [major, *(head[at : at + 4] for at in range(16, end, 4))]
    if any(brand in _AVIF for brand in brands):
        return "avif"
    if major in _HEIC or (any(brand in _HEIC for brand in brands) and not major.startswith(_MP4)):
        return "heic"
    if major == b"qt  ":
        return "mov"
    return "mp4" if any(brand.startswith(_MP4) for brand in brands) else None


def _is_svg(head: bytes) -> bool:
    """Whether its first element is `svg`, after declarations and comments."""
    rest = _decode_text(head)
    while rest.startswith(b"<"):
        if rest.startswith(b"<!--"):
            end = b"-->"
        elif rest.startswith(b"<?"):
            end = b"?>"
        elif rest[:9].lower() == b"<!doctype":
            if rest[9:].split(None, 1)[:1] and rest[9:].split(None, 1)[0].lower().startswith(b"svg"):
                return True
            end = b">"
        else:
            return re.match(_SVG, rest) is not None
        _, found, rest = rest.partition(end)
        if not found:
            return False
        rest = rest.lstrip()
    return False


def _decode_text(head: bytes) -> bytes:
    """The beginning as UTF-8 without a byte order mark and leading blanks, if it is text."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head[: len(head) // 2 * 2].decode("utf-16", "replace").encode("utf-8", "replace")
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()
