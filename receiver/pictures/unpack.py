"""Unpacks gzip and deflate as they arrive, by their first bytes: what a Content-Encoding says is often wrong. Pure.

No layer ever gives more than `most` bytes, whatever goes in. `providers/content_coding` does the same for whole bodies.
"""

import zlib
from collections.abc import Generator, Iterator

from receiver.pictures.sniff import HEAD, sniff_suffix

PIECE = 64 * 1024  # bytes that are unpacked at once
LAYERS_MOST = 3  # one inside the other
MEMBERS_MOST = 64  # one after the other
_GZIP = b"\x1f\x8b\x08"
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


class DamagedBody(ValueError):
    """It cannot be unpacked."""


class UnpackedTooLarge(ValueError):
    """It holds more bytes than are allowed."""


class StreamUnpacker:
    """Unpacks one body, of which `head` is the beginning (all of it if it is shorter than `HEAD`)."""

    def __init__(self, head: bytes, coding: str, most: int) -> None:
        self._layers = [_Layer(bits, most) for bits in find_layers(head, coding)]

    @property
    def is_whole(self) -> bool:
        """Whether every layer has come to its end."""
        return all(layer.is_whole for layer in self._layers)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What the next chunk holds, in pieces. Raises DamagedBody, UnpackedTooLarge."""
        return self._feed_from(0, chunk)

    def _feed_from(self, place: int, chunk: bytes) -> Iterator[bytes]:
        if place == len(self._layers):
            yield chunk
            return
        for piece in self._layers[place].feed(chunk):
            yield from self._feed_from(place + 1, piece)


def find_layers(head: bytes, coding: str) -> list[int]:
    """How a body that begins like this is packed: zlib's window bits of each layer, the outermost first.

    `coding` is the Content-Encoding; it only decides about deflate without a zlib head.
    """
    layers: list[int] = []
    while len(layers) < LAYERS_MOST and sniff_suffix(head) is None:
        for bits in _possible_bits(head, coding):
            inner = _peek(head, bits)
            if inner and (bits != _RAW_BITS or sniff_suffix(inner)):
                break
        else:
            break
        layers.append(bits)
        head = inner
    return layers


def _possible_bits(head: bytes, coding: str) -> Iterator[int]:
    if head.startswith(_GZIP):
        yield _GZIP_BITS
    if len(head) > 1 and head[0] & 15 == 8 and head[0] >> 4 <= 7 and (head[0] << 8 | head[1]) % 31 == 0:
        yield _ZLIB_BITS
    if "deflate" in coding.lower():
        yield _RAW_BITS


def _peek(head: bytes, bits: int) -> bytes:
    """The first unpacked bytes; none if it is not packed like that."""
    try:
        return zlib.decompressobj(bits).decompress(head, HEAD)
    except zlib.error:
        return b""


class _Layer:
    def __init__(self, bits: int, most: int) -> None:
        self._bits = bits
        self._left = most
        self._members = 1
        self._stream = zlib.decompressobj(bits)
        self._ended = False  # what follows is padding
        self._rest = b""  # too short to tell whether another member begins

    @property
    def is_whole(self) -> bool:
        return self._stream.eof

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        packed, self._rest = self._rest + chunk, b""
        while packed and not self._ended:
            if self._stream.eof and not self._begin_member(packed):
                return
            packed = yield from self._inflate(packed)

    def _begin_member(self, packed: bytes) -> bool:
        """Whether another member begins here."""
        if self._bits == _GZIP_BITS and len(packed) < len(_GZIP):
            self._rest = packed
            return False
        if self._bits != _GZIP_BITS or not packed.startswith(_GZIP):
            self._ended = True
            return False
        self._members += 1
        if self._members > MEMBERS_MOST:
            raise DamagedBody("it has too many parts")
        self._stream = zlib.decompressobj(self._bits)
        return True

    def _inflate(self, packed: bytes) -> Generator[bytes, None, bytes]:
        """Yield what comes out, up to the end of a member; returns what is left of `packed`."""
        while True:
            try:
                out = self._stream.decompress(packed, PIECE)
            except zlib.error:
                raise DamagedBody("it is damaged") from None
            packed = self._stream.unconsumed_tail
            self._left -= len(out)
            if self._left < 0:
                raise UnpackedTooLarge("it holds too many bytes")
            if out:
                yield out
            if self._stream.eof:
                return self._stream.unused_data
            if not packed and len(out) < PIECE:
                return b""
