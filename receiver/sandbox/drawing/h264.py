"""A small H.264 encoder, enough for a camera that moves over a still picture. Pure.

After ITU-T H.264: a shot begins with a picture whose macroblocks are uncompressed (I_PCM); in each later picture every
macroblock is the one before it, moved by whole pixels. So it needs no transform, no entropy tables and no library, and
every player shows it.
"""

from collections.abc import Iterator, Sequence

from PIL import Image

MACROBLOCK = 16
_I_PCM = 25
_FRAME_NUM_BITS = 8
_SPS, _PPS, _IDR, _SLICE = 0x67, 0x68, 0x65, 0x41  # types of units, with the highest priority of reference


class _Bits:
    """Bits in writing."""

    def __init__(self) -> None:
        self._done = bytearray()
        self._open = 0
        self._count = 0  # of the bits in `_open`

    def put(self, value: int, bits: int) -> None:
        """A number in so many bits."""
        self._open = (self._open << bits) | value
        self._count += bits
        whole = self._count // 8
        self._count -= whole * 8
        self._done += (self._open >> self._count).to_bytes(whole, "big")
        self._open &= (1 << self._count) - 1

    def put_unsigned(self, value: int) -> None:
        """A number in Exp-Golomb code."""
        self.put(value + 1, 2 * (value + 1).bit_length() - 1)

    def put_signed(self, value: int) -> None:
        """Likewise, of either sign."""
        self.put_unsigned(2 * value - 1 if value > 0 else -2 * value)

    def align(self) -> None:
        """Zeros up to the next byte."""
        if self._count:
            self.put(0, 8 - self._count)

    def put_bytes(self, content: bytes) -> None:
        """Whole bytes, at a byte's beginning."""
        self._done += content

    def finish(self, kind: int) -> bytes:
        """The unit: its type, then the bits, an end bit and zeros; 3 is put between two zeros and what is below 4."""
        self.put(1, 1)
        self.align()
        out, zeros = bytearray([kind]), 0
        for byte in self._done:
            if zeros >= 2 and byte <= 3:
                out.append(3)
                zeros = 0
            out.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return bytes(out)


def sequence_parameters(size: tuple[int, int], shown: tuple[int, int]) -> bytes:
    """The unit that says how large pictures are (in pixels, multiples of 16), and which part of them, from the upper
    left, is shown (even numbers)."""
    bits = _Bits()
    bits.put(66, 8)  # the baseline profile
    bits.put(0xC0, 8)
    bits.put(31, 8)  # level 3.1
    bits.put_unsigned(0)
    bits.put_unsigned(_FRAME_NUM_BITS - 4)
    bits.put_unsigned(2)  # pictures are shown in the order of decoding
    bits.put_unsigned(1)  # one reference picture
    bits.put(0, 1)
    bits.put_unsigned(size[0] // MACROBLOCK - 1)
    bits.put_unsigned(size[1] // MACROBLOCK - 1)
    bits.put(0b11, 2)  # frames only; direct 8x8 inference
    bits.put(1, 1)  # cropped
    for cropped in (0, (size[0] - shown[0]) // 2, 0, (size[1] - shown[1]) // 2):
        bits.put_unsigned(cropped)
    bits.put(0, 1)
    return bits.finish(_SPS)


def picture_parameters() -> bytes:
    """The unit that says how pictures are coded."""
    bits = _Bits()
    bits.put_unsigned(0)
    bits.put_unsigned(0)
    bits.put(0b00, 2)  # CAVLC, and frames
    for number in (0, 0, 0):  # one slice group, one reference in either list
        bits.put_unsigned(number)
    bits.put(0b000, 3)
    for number in (0, 0, 0):
        bits.put_signed(number)
    bits.put(0b100, 3)  # slices say whether they are deblocked
    return bits.finish(_PPS)


def encode_shot(image: Image.Image, moves: Sequence[tuple[int, int]], shot: int) -> Iterator[bytes]:
    """The units of one shot: `image`, whose sides are multiples of 16, then a picture for each of `moves`, by which the
    camera moves in whole pixels. Two shots in a row have different numbers."""
    yield _encode_whole(image, shot)
    blocks = (image.width // MACROBLOCK) * (image.height // MACROBLOCK)
    for number, move in enumerate(moves, 1):
        yield _encode_move(blocks, move, number)


def _encode_whole(image: Image.Image, shot: int) -> bytes:
    bits = _Bits()
    bits.put_unsigned(0)
    bits.put_unsigned(7)  # intra only
    bits.put_unsigned(0)
    bits.put(0, _FRAME_NUM_BITS)
    bits.put_unsigned(shot % 2)
    bits.put(0b00, 2)  # a short-term reference
    bits.put_signed(0)
    bits.put_unsigned(1)  # no deblocking
    luma, blue, red = _to_planes(image)
    half = MACROBLOCK // 2
    for top in range(0, image.height, MACROBLOCK):
        for left in range(0, image.width, MACROBLOCK):
            bits.put_unsigned(_I_PCM)
            bits.align()
            bits.put_bytes(luma.crop((left, top, left + MACROBLOCK, top + MACROBLOCK)).tobytes())
            x, y = left // 2, top // 2
            for plane in (blue, red):
                bits.put_bytes(plane.crop((x, y, x + half, y + half)).tobytes())
    return bits.finish(_IDR)


def _encode_move(blocks: int, move: tuple[int, int], number: int) -> bytes:
    bits = _Bits()
    bits.put_unsigned(0)
    bits.put_unsigned(5)  # predicted only
    bits.put_unsigned(0)
    bits.put(number % (1 << _FRAME_NUM_BITS), _FRAME_NUM_BITS)
    bits.put(0b000, 3)  # as many references as ever, in their order, kept as ever
    bits.put_signed(0)
    bits.put_unsigned(1)
    for block in range(blocks):
        bits.put(0b11, 2)  # none is skipped; one vector for the whole block
        for length in move:  # in quarters of a pixel; the others are what is predicted from the first
            bits.put_signed(length * 4 if block == 0 else 0)
        bits.put(1, 1)  # nothing is left to add
    return bits.finish(_SLICE)


def _to_planes(image: Image.Image) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Brightness and both colours, these in half the size, in the range of television (BT.601)."""
    luma, blue, red = image.convert("RGB").convert("YCbCr").split()
    half = (image.width // 2, image.height // 2)
    return (
        luma.point(lambda it: 16 + it * 219 // 255),
        blue.resize(half, Image.Resampling.BOX).point(lambda it: 16 + it * 224 // 255),
        red.resize(half, Image.Resampling.BOX).point(lambda it: 16 + it * 224 // 255),
    )
