"""Unpacks gzip and deflate bodies, by their first bytes: what a header says of a body is often wrong. Pure.

Never more than `most` bytes come out, whatever goes in.
"""

import zlib

_GZIP = b"\x1f\x8b\x08"
_DEFLATE = 8  # the method, in the first byte of a zlib body
_LAYERS_MOST = 3  # one inside the other
_MEMBERS_MOST = 64  # one after the other in one body


def unpack(body: bytes, most: int, coding: str = "") -> bytes | None:
    """The body without its gzip or deflate codings. A damaged one, and any other body, comes back as it is.

    None if it is longer than `most` bytes. `coding` is the Content-Encoding, which only decides about deflate without
    a zlib head.
    """
    unpacked: bytes | None = body
    for _ in range(_LAYERS_MOST):
        if body.startswith(_GZIP):
            unpacked = _inflate(body, zlib.MAX_WBITS | 16, most)
        elif _is_zlib(body):
            unpacked = _inflate(body, zlib.MAX_WBITS, most)
        if unpacked is None or unpacked == body:
            break
        body = unpacked
    if unpacked is not None and "deflate" in coding.lower() and body.lstrip()[:1] not in (b"{", b"[", b'"'):
        unpacked = _inflate(body, -zlib.MAX_WBITS, most)
    return unpacked if unpacked is not None and len(unpacked) <= most else None


def _is_zlib(body: bytes) -> bool:
    """Whether a body begins as zlib's format does; some plain texts do too, but no JSON and no HTML."""
    return len(body) > 2 and body[0] & 15 == _DEFLATE and body[0] >> 4 <= 7 and (body[0] << 8 | body[1]) % 31 == 0


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
