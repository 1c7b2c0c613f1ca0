"""Unpacks gzip and deflate bodies, by their first bytes: what a header says of a body is often wrong. Pure.

Never more than `most` bytes come out, whatever goes in.
"""

import zlib

_GZIP = b"\x1f\x8b\x08"
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # by the first bytes, which zlib checks
_LAYERS_MOST = 3  # one inside the other
_MEMBERS_MOST = 64  # one after the other in one body


def unpack(body: bytes, most: int, coding: str = "") -> bytes | None:
    """The body without its gzip or deflate codings. A damaged one, and any other body, comes back as it is.

    None if it is longer than `most` bytes. `coding` is the Content-Encoding, which only decides about deflate without
    a zlib head.
    """
    unpacked: bytes | None = body
    for _ in range(_LAYERS_MOST):
        if unpacked is not None:
            unpacked = _inflate(unpacked, _GZIP_OR_ZLIB, most)
    if unpacked is not None and "deflate" in coding.lower() and unpacked.lstrip()[:1] not in (b"{", b"[", b'"'):
        unpacked = _inflate(unpacked, -zlib.MAX_WBITS, most)
    return unpacked if unpacked is not None and len(unpacked) <= most else None


def _inflate(body: bytes, wbits: int, most: int) -> bytes | None:
    """What a packed body holds; the body itself if it is damaged, None if it holds more than `most` bytes."""
    unpacked, rest = b"", body
    for _ in range(_MEMBERS_MOST):
        stream = zlib.decompressobj(wbits)
        try:
            unpacked += stream.decompress(rest, most + 1 - len(unpacked))
        except zlib.error:
            return body
        if len(unpacked) > most:
            return None
        if not stream.eof:
            return body
        rest = stream.unused_data
        if not rest.startswith(_GZIP):
            return unpacked
    return None
