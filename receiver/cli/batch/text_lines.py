"""A batch's file as lines of text, read several times in bounded memory.

UTF-8 with or without a byte order mark, and UTF-16 with one; any kind of line end. What cannot be read says on which
line and byte.
"""

import codecs
import contextlib
import errno
import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

import click

from receiver.core.errors import ReceiverError

LINE_MOST = 1 << 20  # characters
COPIED_MOST = 1 << 30  # bytes of a file
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
    """A copy of the file, or of standard input for `-`, in a file without a name that no other user can open.

    It is read several times, and must be the same each time. Raises UsageError if there is nothing to read.
    """
    name = "standard input" if path == "-" else path
    with tempfile.TemporaryFile() as copy:
        try:
            with _open_source(path) as source:
                _copy_input(source, copy, name)
        except OSError as error:
            why = "the temporary folder is full" if error.errno == errno.ENOSPC else error.strerror
            raise click.UsageError(f"cannot read {name}: {why}") from None
        yield copy


def _open_source(path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
    if path != "-":
        return Path(path).open("rb")
    if (source := getattr(sys.stdin, "buffer", None)) is None:
        raise click.UsageError("standard input is closed")
    return contextlib.nullcontext(source)


def _copy_input(source: IO[bytes], copy: IO[bytes], name: str) -> None:
    while piece := source.read(_CHUNK):
        if copy.tell() + len(piece) > COPIED_MOST:
            raise click.UsageError(f"{name} is larger than {COPIED_MOST >> 20} MiB: split it")
        copy.write(piece)
    copy.flush()


def has_byte_order_mark(file: BinaryIO) -> bool:
    """Whether it begins with one."""
    file.seek(0)
    head = file.read(4)
    return any(head.startswith(mark) for mark, _ in _MARKS)


def read_lines(file: BinaryIO) -> Iterator[str]:
    """Its lines from the beginning, each with `\\n` at its end if it had any line end.

    Raises UnreadableText at the first line that cannot be read, after all lines before it.
    """
    codec, skipped = _find_codec(file)
    file.seek(skipped)
    decoder, newlines = codecs.getincrementaldecoder(codec)(), io.IncrementalNewlineDecoder(None, translate=True)
    number, rest = 0, ""
    while True:
        piece = file.read(_CHUNK)
        bad: int | None = None
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            text, bad = error.object[: error.start].decode(codec), error.object[error.start]
        text = newlines.decode(text, final=bad is not None or not piece)
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            number += 1
            if len(line) >= LINE_MOST:
                raise _too_long(number)
            yield f"{line}\n"
        if len(rest) > LINE_MOST:
            raise _too_long(number + 1)
        if bad is not None:
            name = "UTF-8" if codec == "utf-8" else "UTF-16"
            problem = f"byte {len(rest.encode(codec)) + 1:,} of the line (0x{bad:02x}) is not {name}"
            raise UnreadableText(number + 1, problem, remedy=_SAVE_AS)
        if not piece:
            break
    if rest:
        yield rest


def _too_long(line: int) -> UnreadableText:
    problem = f"the line is longer than {LINE_MOST:,} characters"
    return UnreadableText(line, problem, remedy="this does not look like a file of rows")


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
