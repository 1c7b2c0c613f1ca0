"""A video of a planned picture: the camera moves over it. An MP4 file (ISO/IEC 14496-12, -14, -15). Pure."""

import struct
from collections.abc import Sequence

from msgspec.structs import replace
from PIL import Image

from receiver.sandbox.drawing.h264 import MACROBLOCK, encode_shot, picture_parameters, sequence_parameters
from receiver.sandbox.drawing.paint import paint_picture
from receiver.sandbox.drawing.picture import Picture

_RATE = 12  # pictures a second
_SHOT_S = 3  # seconds, after which another shot begins
_STEP = 2  # pixels from one picture to the next: even, for colours are kept in half the size
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def draw_mp4(picture: Picture, image_no: int) -> bytes:
    """The video of a picture: the camera moves to the right, and begins or ends at what the picture shows."""
    width, height = (_even(it) for it in picture.size)
    count = picture.seconds * _RATE
    scene = _paint_wide(picture, (width, height), count * _STEP, to_right=image_no % 2 == 0)
    shot_most = min(count, _SHOT_S * _RATE)
    coded = (_whole_blocks(width + shot_most * _STEP), _whole_blocks(height))
    units: list[bytes] = []
    starts: list[int] = []
    for shot, begin in enumerate(range(0, count, shot_most)):
        starts.append(len(units))
        left = begin * _STEP
        still = scene.crop((left, 0, left + coded[0], coded[1]))
        units += encode_shot(still, [(_STEP, 0)] * (min(count - begin, shot_most) - 1), shot)
    return _pack_mp4(units, starts, (width, height), sequence_parameters(coded, (width, height)), picture_parameters())


def _paint_wide(picture: Picture, size: tuple[int, int], more: int, *, to_right: bool) -> Image.Image:
    """The picture with so many pixels more on one side, over which the camera moves."""
    side = "right" if to_right else "left"
    box = picture.view.grow(**{side: more * picture.view.width / size[0]})
    outer = picture.layers[-1]
    wide = replace(picture.with_layer(box, outer.details, outer.plant), frame=None)
    pixels = round(picture.pixels * max(box.width, box.height) / max(picture.view.width, picture.view.height))
    return paint_picture(replace(wide, pixels=pixels)).convert("RGB").resize((size[0] + more, size[1]))


def _pack_mp4(units: Sequence[bytes], starts: Sequence[int], size: tuple[int, int], sps: bytes, pps: bytes) -> bytes:
    """The file: one track, one chunk."""
    samples = [struct.pack(">I", len(unit)) + unit for unit in units]
    head = _box(b"ftyp", b"isom", struct.pack(">I", 512), b"isomiso2avc1mp41")
    place = len(head) + len(_movie(samples, starts, size, sps, pps, 0)) + 8
    return head + _movie(samples, starts, size, sps, pps, place) + _box(b"mdat", *samples)


def _movie(
    samples: Sequence[bytes], starts: Sequence[int], size: tuple[int, int], sps: bytes, pps: bytes, place: int
) -> bytes:
    count = len(samples)
    avcc = _box(
        b"avcC",
        bytes([1, *sps[1:4], 0xFF, 0xE1]),
        *(struct.pack(">H", len(sps)), sps, b"\x01", struct.pack(">H", len(pps)), pps),
    )
    entry = _box(
        b"avc1",
        struct.pack(">6xH16x2H2I4xH32xHh", 1, *size, 0x480000, 0x480000, 1, 24, -1),
        avcc,
    )
    table = _box(
        b"stbl",
        _full(b"stsd", 0, struct.pack(">I", 1), entry),
        _full(b"stts", 0, struct.pack(">3I", 1, count, 1)),
        _full(b"stss", 0, struct.pack(f">I{len(starts)}I", len(starts), *(it + 1 for it in starts))),
        _full(b"stsc", 0, struct.pack(">4I", 1, 1, count, 1)),
        _full(b"stsz", 0, struct.pack(f">2I{count}I", 0, count, *map(len, samples))),
        _full(b"stco", 0, struct.pack(">2I", 1, place)),
    )
    source = _box(b"dinf", _full(b"dref", 0, struct.pack(">I", 1), _full(b"url ", 1)))
    media = _box(
        b"mdia",
        _full(b"mdhd", 0, struct.pack(">4I2H", 0, 0, _RATE, count, 0x55C4, 0)),
        _full(b"hdlr", 0, struct.pack(">I4s12x", 0, b"vide"), b"Video\0"),
        _box(b"minf", _full(b"vmhd", 1, bytes(8)), source, table),
    )
    track = _full(
        b"tkhd",
        3,
        struct.pack(">5I8x4H", 0, 0, 1, 0, count, 0, 0, 0, 0),
        _MATRIX,
        struct.pack(">2I", size[0] << 16, size[1] << 16),
    )
    head = _full(
        b"mvhd",
        0,
        struct.pack(">4I", 0, 0, _RATE, count),
        struct.pack(">IH10x", 0x10000, 0x100),
        _MATRIX,
        bytes(24),
        struct.pack(">I", 2),
    )
    return _box(b"moov", head, _box(b"trak", track, media))


def _box(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), name) + content


def _full(name: bytes, flags: int, *parts: bytes) -> bytes:
    return _box(name, struct.pack(">I", flags), *parts)


def _even(length: int) -> int:
    return max(length // 2 * 2, 16)


def _whole_blocks(length: int) -> int:
    return -(-length // MACROBLOCK) * MACROBLOCK
