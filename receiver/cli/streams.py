"""Standard output and standard error: what cannot be written is one line, and never costs what was done.

A full disk, a reader that left, a stream that is closed and a terminal that cannot show a character are normal here.
"""

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import IO

import click

from receiver.core.errors import ReceiverError

_PLAIN = str.maketrans(
    {"–": "-", "—": "-", "…": "...", "“": '"', "”": '"', "’": "'", "×": "x", "·": "*", "→": "->", "≤": "<=", "≥": ">="}
)  # for terminals that have only some of our characters
_HANDLER = "receiver.plain"


class OutputLost(ReceiverError):
    """Standard output cannot be written. `silent`: its reader left, as `head` does, and nothing else is to be said."""

    def __init__(self, why: str, done: str | None = None, *, reader_left: bool = False) -> None:
        super().__init__(f"cannot write to standard output: {why}", remedy=done)
        self.why = why
        self.reader_left = reader_left
        self.silent = reader_left and done is None


def echo(text: str | bytes = "", *, nl: bool = True) -> None:
    """Write a result to standard output. Raises OutputLost if that cannot be done."""
    if sys.stdout is None:  # as after `>&-`
        raise OutputLost("it is closed")
    try:
        click.echo(text, nl=nl)
    except (OSError, ValueError) as error:
        raise _output_lost(error) from None


def note(text: str = "", *, nl: bool = True) -> None:
    """Write to standard error what a person may want to know. If that cannot be done, nothing happens."""
    try:
        click.echo(text, nl=nl, err=True)
    except (OSError, ValueError):
        _discard(sys.stderr)


@contextlib.contextmanager
def report_done(done: str) -> Iterator[None]:
    """Whatever goes wrong in this block, `done` is said on standard error: it happened, and is not yet known."""
    try:
        yield
    except OutputLost as lost:
        raise OutputLost(lost.why, done, reader_left=lost.reader_left) from None
    except BaseException:
        note(f"receiver: {done}")
        raise


def prepare_streams() -> None:
    """Have both streams spell what their encoding lacks, instead of raising UnicodeEncodeError."""
    codecs.register_error(_HANDLER, _spell_plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):  # something is in its buffer that cannot be written
                stream.reconfigure(errors=_HANDLER)


def discard_output() -> None:
    """Give up standard output, so that the interpreter does not try again at its end, and complain."""
    _discard(sys.stdout)


def takes_only_some_characters() -> bool:
    """Whether standard output has an encoding that lacks characters."""
    name = getattr(sys.stdout, "encoding", None) or "utf-8"
    return codecs.lookup(name).name not in ("utf-8", "utf-16", "utf-32")


def describe_os_error(error: OSError) -> str:
    """An error of the system in a line: what it was about, and why."""
    why = error.strerror or type(error).__name__
    about = error.filename if isinstance(error.filename, str) else None
    return f"{about}: {why}" if about else f"a file or stream cannot be used: {why}"


def _output_lost(error: Exception) -> OutputLost:
    if not isinstance(error, OSError):
        return OutputLost("it is closed")
    return OutputLost(error.strerror or type(error).__name__, reader_left=error.errno == errno.EPIPE)


def _spell_plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    spelt = "".join(it if it.isascii() else it.encode("ascii", "backslashreplace").decode() for it in _plain(lacking))
    return spelt, error.end


def _plain(text: str) -> str:
    return text.translate(_PLAIN)


def _discard(stream: IO[str] | None) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # None, or no real file
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())  # type: ignore[union-attr]  # suppressed above
        finally:
            os.close(null)
