"""What is wrong with a batch's file, told as it is found: `rows.csv:17: scale: 3 must be …`."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click
from msgspec import Struct

from receiver.cli.batch.read_file import Fault
from receiver.cli.output import pluralize, safe_line, safe_text
from receiver.cli.streams import describe_os_error, note

SHOWN_MOST = 50  # lines
ALIKE_MOST = 5  # faults of one kind that have a line each
_LINES_MOST = 3  # that are named of a kind
_TEXT_MOST = 1_000
_VALUE = re.compile(r"'[^']*'|\"[^\"]*\"|[-+]?[0-9][0-9.,]*")  # what differs between faults of one kind


class _Kind(Struct):
    """Faults that differ only in the values that they name: how many, the first few, and on which lines."""

    first: list[Fault] = []
    count: int = 0


class FaultReport:
    """Counts the wrong rows, shows on standard error what is wrong, and writes all into a file if there is one.

    More than a few of one kind are one line. So they are shown when all of a pass are known: by `summarize`, or
    `show`. `lines` are those whose rows are not to be sent although they can be read; after the line `ended_at`, none
    was read. A fault that cannot be written ends the command, unless that `may_fail`: rows are being sent.
    """

    def __init__(self, name: str, file: IO[str] | None = None) -> None:
        self.name = name
        self._file = file
        self._kinds: dict[str, _Kind] = {}
        self._shown_lines = self._told = self._faults = 0
        self._last_line: int | None = None
        self.count = 0  # of rows: all faults of one are added together
        self.lines: set[int] = set()
        self.ended_at: int | None = None
        self.may_fail = False

    def add(self, fault: Fault) -> None:
        """Report a fault."""
        self._faults += 1
        self.count += fault.line != self._last_line
        self._last_line = fault.line
        if fault.ends:
            self.ended_at = fault.line
        kind = _VALUE.sub("", fault.text)
        if kind in self._kinds or len(self._kinds) < SHOWN_MOST:
            found = self._kinds.setdefault(kind, _Kind())
            found.count += 1
            if found.count <= ALIKE_MOST:
                found.first.append(fault)
        if self._file is not None:
            try:
                self._file.write(f"{self._text(str(fault.line), fault.text)}\n")
            except OSError as error:
                problem = f"cannot write the errors into {safe_line(self._file.name)}: {error.strerror}"
                if not self.may_fail:
                    raise click.ClickException(problem) from None
                note(f"receiver: {problem}")
                self._file = None

    def show(self) -> None:
        """Show what was added since the last time."""
        few = [it for kind in self._kinds.values() if kind.count <= ALIKE_MOST for it in kind.first]
        for fault in sorted(few, key=lambda it: it.line):
            self._say(self._text(str(fault.line), fault.text), 1)
        for kind in self._kinds.values():
            if kind.count > ALIKE_MOST:
                where = ", ".join(str(it.line) for it in kind.first[:_LINES_MOST])
                text = self._text(f" {kind.count:,} rows", kind.first[0].text)
                self._say(f"{text[:_TEXT_MOST]} (lines {where} …)", kind.count)
        self._kinds.clear()

    def _say(self, text: str, faults: int) -> None:
        if self._shown_lines < SHOWN_MOST:
            note(safe_line(text) if len(text) < 200 else text[:_TEXT_MOST])
            self._shown_lines += 1
            self._told += faults

    def _text(self, where: str, text: str) -> str:
        return f"{self.name}:{where}: {safe_text(text)}".replace("\n", " ")

    def summarize(self, rows: int) -> str:
        """Show the faults; how many rows are wrong, of how many, and where to see the rest."""
        self.show()
        total = rows + self.count
        wrong = f"{self.count:,} of {pluralize(total, 'row')} {'is' if self.count == 1 else 'are'} wrong"
        if self._shown_lines == self._faults:
            return wrong
        which = "" if self._faults == self.count else f" of {self._faults:,} faults"
        part = f", {self._told:,}{which} are shown" if self._told < self._faults else ""
        return f"{wrong}{part}" + ("" if self._file else " (--errors FILE writes all)")


@contextlib.contextmanager
def open_report(name: str, errors: Path | None) -> Iterator[FaultReport]:
    """A report on the file `name`, whose faults go to the file `errors` too. Without faults that becomes empty."""
    if errors is None:
        with _showing(FaultReport(name)) as report:
            yield report
        return
    try:
        file = errors.open("w", encoding="utf-8", buffering=1)  # so that a full disk is met at once
    except OSError as error:
        raise click.UsageError(f"cannot write the errors into {describe_os_error(error)}") from None
    try:
        with _showing(FaultReport(name, file)) as report:
            yield report
    finally:
        with contextlib.suppress(OSError):  # of a line that could not be written, which was said
            file.close()


@contextlib.contextmanager
def _showing(report: FaultReport) -> Iterator[FaultReport]:
    """Whatever ends the command, the faults that were found are shown."""
    try:
        yield report
    finally:
        report.show()
