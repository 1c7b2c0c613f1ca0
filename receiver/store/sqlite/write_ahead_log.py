"""Judges the -wal file beside a copy of a database: what SQLite did not take from it, and whether that matters.

SQLite stops at the first frame that does not fit, without an error: to SQLite, such a log merely ends early. In a copy,
what comes after may be callbacks that were answered. https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

import struct
from typing import BinaryIO

from receiver.core.errors import CorruptDatabase

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = (0x377F0682, 0x377F0683)
_ROUNDS_MOST = 1 << 20  # how often the log may have begun again since a frame was left over from an earlier round


def is_log_header(header: bytes) -> bool:
    """Whether a -wal begins so: with a header whose checksum is right, or as one to which nothing was written yet."""
    if not any(header):
        return True
    if len(header) < _HEADER.size:
        return False
    magic, *_, first, second = _HEADER.unpack(header)
    words = struct.unpack(">6I" if magic & 1 else "<6I", header[:24])
    sums = [0, 0]
    for one, two in zip(words[::2], words[1::2], strict=True):
        sums[0] = (sums[0] + one + sums[1]) & 0xFFFFFFFF
        sums[1] = (sums[1] + two + sums[0]) & 0xFFFFFFFF
    return magic in _MAGIC and sums == [first, second]


def count_left_out(log: BinaryIO, size: int, taken: int) -> int:
    """How many pages of an unfinished transaction are in a -wal of `size` bytes behind the `taken` frames that SQLite
    took: a kill during a commit leaves some.

    Frames left over from an earlier round of the log do not count, because SQLite had moved them into the database.
    Raises CorruptDatabase if there is more than that: if the log is damaged in the middle, cut off, or mixed with
    another.
    """
    log.seek(0)
    header = log.read(_HEADER.size)
    if not any(header):
        return 0
    _, _, page, _, first, second, *_ = _HEADER.unpack(header)
    length = _FRAME.size + page
    left_out, ours = 0, True
    whole, rest = divmod(size - _HEADER.size, length)
    good = _HEADER.size + taken * length  # bytes
    for number in range(taken, whole + (rest >= _FRAME.size)):
        log.seek(_HEADER.size + number * length)
        _, pages_after, *salts, _, _ = _FRAME.unpack(log.read(_FRAME.size))
        ours = salts == [first, second]
        if ours and pages_after and number < whole:
            raise _damaged("a transaction in it is damaged, and others follow", good)
        if not ours and not 0 < (first - salts[0]) % (1 << 32) <= _ROUNDS_MOST:
            raise _damaged("it has parts that do not belong to it", good)
        left_out += ours
    if ours and rest not in (0, _FRAME.size):  # SQLite writes the head of a frame, then its page
        raise _damaged("it was cut off in the middle of a page", good)
    return left_out


def _damaged(problem: str, good: int) -> CorruptDatabase:
    return CorruptDatabase(f"{problem}; its first {good} bytes can be read")
