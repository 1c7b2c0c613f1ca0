"""A batch's file as lines of text, read several times in bounded memory.

UTF-8 with or without a byte order mark, and UTF-16 with one; any kind of line end. What cannot be read says on which
line and byte.
"""

import codecs
import contextlib
import errno
import io
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

import click

from receiver.core.errors import ReceiverError

LINE_MOST = 1 << 20  # characters
SPOOLED_MOST = 1 << 30  # bytes of standard input
_CHUNK = 1 << 16
_MARKS = (  # the longer ones first: UTF-32 begins as UTF-16 does
    (codecs.BOM_UTF32_LE, None),
    (codecs.BOM_UTF32_BE, None),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAVE_AS = "save the file as UTF-8"


class UnreadableText(ReceiverError):
    """The file cannot be read any further than `line`."""

    def __init__(self, line: int, problem: str, *, remedy: str | None = None) -> None:
        super().__init__(problem, remedy=remedy)
        self.line = line


@contextlib.contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """The file, or standard input for `-`. What can be read only once is copied into a file without a name, which no
    other user can open. Raises UsageError if there is nothing to read."""
    if path == "-":
        source = getattr(sys.stdin, "buffer", None)
        if source is None:
            raise click.UsageError("standard input is closed")
        with _spool(source) as copy:
            yield copy
        return
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from None
    with file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            yield file
        else:
            with _spool(file) as copy:
                yield copy


def _spool(source: IO[bytes]) -> BinaryIO:
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        while piece := source.read(_CHUNK):
            copy.write(piece)
            if copy.tell() > SPOOLED_MOST:
                raise click.UsageError(f"standard input is longer than {SPOOLED_MOST >> 20} MiB: split it")
        copy.flush()
    except OSError as error:
        copy.close()
        why = "the temporary folder is full" if error.errno == errno.ENOSPC else error.strerror
        raise click.UsageError(f"cannot keep a copy of standard input: {why}") from None
    except BaseException:
        copy.close()
        raise
    return copy


def has_byte_order_mark(file: BinaryIO) -> bool:
    """Whether it begins with one."""
    file.seek(0)
    head = file.read(4)
    return any(head.startswith(mark) for mark, _ in _MARKS)


def read_lines(file: BinaryIO) -> Iterator[str]:
    """Its lines from the beginning, each with `\\n` at its end if it had any line end. Raises UnreadableText."""
    codec, skipped = _find_codec(file)
    file.seek(skipped)
    text = io.TextIOWrapper(_Unclosed(file), encoding=codec, newline=None)
    number = 0
    try:
        while line := text.readline(LINE_MOST + 1):
            number += 1
            if len(line) > LINE_MOST:
                problem = f"the line is longer than {LINE_MOST:,} characters"
                raise UnreadableText(number, problem, remedy="this does not look like a file of rows")
            yield line
    except UnicodeDecodeError:
        raise _find_undecodable(file, codec, skipped) from None


class _Unclosed(io.BufferedReader):
    """Reads from a file that its own end does not close."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(_Raw(file), _CHUNK)


class _Raw(io.RawIOBase):
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def _find_codec(file: BinaryIO) -> tuple[str, int]:
    """The encoding, and how long its mark is."""
    file.seek(0)
    head = file.read(64)
    for mark, codec in _MARKS:
        if head.startswith(mark):
            if codec is None:
                raise UnreadableText(1, "the file is UTF-32", remedy=_SAVE_AS)
            return codec, len(mark)
    if head and b"\0" in head and (not any(head[1::2]) or not any(head[::2])):
        raise UnreadableText(1, "the file looks like UTF-16 without a byte order mark", remedy=_SAVE_AS)
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UnreadableText(1, "the file is a spreadsheet, not text", remedy="export it as CSV (UTF-8)")
    if head.startswith(b"\x1f\x8b"):
        raise UnreadableText(1, "the file is compressed", remedy="unpack it first: gunzip -c FILE | receiver … -")
    return "utf-8", 0


def _find_undecodable(file: BinaryIO, codec: str, skipped: int) -> UnreadableText:
    """Where the file has bytes that are not in its encoding: it is read once more, and lines and bytes are counted."""
    file.seek(skipped)
    decoder, newlines = codecs.getincrementaldecoder(codec)(), io.IncrementalNewlineDecoder(None, translate=True)
    line, before = 1, 0  # before: bytes of the line so far
    while True:
        piece = file.read(_CHUNK)
        bad: int | None = None
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            text, bad = error.object[: error.start].decode(codec), error.object[error.start]
        text = newlines.decode(text, final=bad is not None)
        line += text.count("\n")
        last = text.rpartition("\n")[2]
        before = len(last.encode(codec)) + (0 if "\n" in text else before)
        if bad is not None:
            name = "UTF-8" if codec == "utf-8" else "UTF-16"
            problem = f"byte {before + 1:,} of the line (0x{bad:02x}) is not {name}"
            return UnreadableText(line, problem, remedy=_SAVE_AS)
        if not piece:  # it was changed meanwhile
            return UnreadableText(line, "the file changed while it was read", remedy="repeat the command")
