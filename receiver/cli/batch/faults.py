"""What is wrong with a batch's file, told as it is found: `rows.csv:17: scale: 3 must be …`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from receiver.cli.batch.read_file import Fault
from receiver.cli.output import pluralize, safe_line, safe_text
from receiver.cli.streams import describe_os_error, note

SHOWN_MOST = 50


class FaultReport:
    """Shows the first faults on standard error, counts all, and writes all into a file if there is one.

    `lines` are those whose rows are not to be sent although they can be read.
    """

    def __init__(self, name: str, file: IO[str] | None = None) -> None:
        self.name = name
        self._file = file
        self.count = 0
        self.lines: set[int] = set()

    def add(self, fault: Fault) -> None:
        """Report a fault."""
        text = f"{self.name}:{fault.line}: {safe_text(fault.text)}".replace("\n", " ")
        self.count += 1
        if self.count <= SHOWN_MOST:
            note(safe_line(text) if len(text) < 200 else text[:1_000])
        if self._file is not None:
            try:
                self._file.write(f"{text}\n")
            except OSError as error:
                raise click.ClickException(f"nothing was sent: cannot write the errors: {error.strerror}") from None

    def summarize(self, rows: int) -> str:
        """How many rows are wrong, of how many, and where to see the rest."""
        total = rows + self.count
        wrong = f"{self.count:,} of {pluralize(total, 'row')} {'is' if self.count == 1 else 'are'} wrong"
        if self.count <= SHOWN_MOST:
            return wrong
        return f"{wrong}, {SHOWN_MOST} are shown" + ("" if self._file else " (--errors FILE writes all)")


@contextlib.contextmanager
def open_report(name: str, errors: Path | None) -> Iterator[FaultReport]:
    """A report on the file `name`, whose faults go to the file `errors` too. Without faults that becomes empty."""
    if errors is None:
        yield FaultReport(name)
        return
    try:
        file = errors.open("w", encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"cannot write the errors into {describe_os_error(error)}") from None
    with file:
        yield FaultReport(name, file)
