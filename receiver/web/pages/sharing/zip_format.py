"""The parts of a ZIP archive around the bytes of its files, which are stored as they are, not compressed. Pure.

Each file's checksum and size stand before its bytes, as the oldest programs want it. What is too long for a ZIP's
32 bits gets the fields of ZIP64. Names are UTF-8. (APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.)
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

_MOST_32 = 0xFFFF_FFFF
_MOST_16 = 0xFFFF
_UTF8_NAME = 1 << 11
_PLAIN, _ZIP64 = 20, 45  # the version of the format that a reader needs
_MADE_ON_UNIX = 3 << 8
_REGULAR_FILE = 0o100644 << 16
_FIRST_YEAR, _LAST_YEAR = 1980, 2107
_PIECE = 64 * 1024  # bytes
_LEVEL = 6


class ZipWriter:
    """Writes what stands before each file, and what follows the last one. The caller writes the files' bytes.

    The directory at the end is kept compressed, so that 100,000 files take a few megabytes.
    """

    def __init__(self) -> None:
        self._offset = 0
        self._count = 0
        self._packer = zlib.compressobj(_LEVEL)
        self._packed: list[bytes] = []
        self._directory_size = 0

    def begin_file(self, name: str, size: int, crc: int, at: int) -> bytes:
        """The header of a file of `size` bytes, last changed `at` (milliseconds); its bytes have to follow."""
        raw, when = name.encode("utf-8", "replace"), _dos_time(at)
        large = size >= _MOST_32
        extra = struct.pack("<HHQQ", 1, 16, size, size) if large else b""
        short = _MOST_32 if large else size
        common = (_UTF8_NAME, 0, *when, crc, short, short, len(raw), len(extra))
        header = struct.pack("<4s5H3I2H", b"PK\3\4", _ZIP64 if large else _PLAIN, *common) + raw + extra
        self._add_to_directory(raw, size, common)
        self._offset += len(header) + size
        return header

    def end(self) -> Iterator[bytes]:
        """What follows the last file, in pieces."""
        self._packed.append(self._packer.flush())
        unpacker = zlib.decompressobj()
        for packed in self._packed:
            left = packed
            while left:
                if piece := unpacker.decompress(left, _PIECE):
                    yield piece
                left = unpacker.unconsumed_tail
        while piece := unpacker.decompress(b"", _PIECE) or unpacker.flush():
            yield piece
        start, size, count = self._offset, self._directory_size, self._count
        if start >= _MOST_32 or size >= _MOST_32 or count >= _MOST_16:
            yield struct.pack(
                "<4sQ2H2I4Q", b"PK\6\6", 44, _MADE_ON_UNIX | _ZIP64, _ZIP64, 0, 0, count, count, size, start
            )
            yield struct.pack("<4sIQI", b"PK\6\7", 0, start + size, 1)
        few, small, near = min(count, _MOST_16), min(size, _MOST_32), min(start, _MOST_32)
        yield struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, few, few, small, near, 0)

    def _add_to_directory(self, raw: bytes, size: int, common: tuple[int, ...]) -> None:
        far = self._offset >= _MOST_32
        long = (*((size, size) if size >= _MOST_32 else ()), *((self._offset,) if far else ()))
        extra = struct.pack(f"<HH{len(long)}Q", 1, 8 * len(long), *long) if long else b""
        needs = _ZIP64 if long else _PLAIN
        record = struct.pack(
            "<4s6H3I5H2I",
            b"PK\1\2",
            _MADE_ON_UNIX | needs,
            needs,
            *common[:-1],
            len(extra),
            *(0, 0, 0),
            _REGULAR_FILE,
            _MOST_32 if far else self._offset,
        )
        record += raw + extra
        self._count += 1
        self._directory_size += len(record)
        if packed := self._packer.compress(record):
            self._packed.append(packed)


def zip_size(files: Iterable[tuple[str, int]]) -> int:
    """How many bytes an archive of these files has, given by name and size."""
    writer, size = ZipWriter(), 0
    for name, length in files:
        size += len(writer.begin_file(name, length, 0, 0)) + length
    return size + sum(map(len, writer.end()))


def _dos_time(at: int) -> tuple[int, int]:
    """Time and date as MS-DOS has them, in steps of two seconds."""
    when = datetime.fromtimestamp(at / 1000, UTC)
    year = min(max(when.year, _FIRST_YEAR), _LAST_YEAR) - _FIRST_YEAR
    return when.hour << 11 | when.minute << 5 | when.second // 2, year << 9 | when.month << 5 | when.day
