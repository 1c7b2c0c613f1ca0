"""What kind of file this is, by its first bytes: a server's Content-Type is often wrong. Pure."""

HEAD = 64  # bytes that suffice

_AVIF = (b"avif", b"avis")
_MP4 = (b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"dash", b"M4V ", b"MSNV")


def sniff_suffix(head: bytes) -> str | None:
    """The suffix (one of `files.MEDIA`) of a file that begins like this; None if it is not a picture or a film."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":  # ISO/IEC 14496-12: the box's size, `ftyp`, the major brand, its version, then the others
        end = min(int.from_bytes(head[:4], "big"), HEAD)
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, end, 4))]
        if any(brand in _AVIF for brand in brands):
            return "avif"
        return "mp4" if any(brand in _MP4 for brand in brands) else None
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in head[:HEAD]:
        return "webm"
    return None
