"""The file of a chain as the commands read it, and how they say what is wrong with it."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from receiver.cli.main import WRONG
from receiver.cli.output import safe_text
from receiver.cli.streams import note
from receiver.cli.submit.chain_file import FILE_MOST, ChainFault

_TEXT_MOST = 1_000


def read_chain_content(path: str) -> bytes:
    """What is in the file, or on standard input for `-`. Raises UsageError."""
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if path == "-" else Path(path).open("rb") as source:
            content = source.read(FILE_MOST + 1)
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > FILE_MOST:
        raise click.UsageError(f"{path} is larger than {FILE_MOST >> 20} MiB: it is not the file of a chain")
    return content


def show_faults(title: str, faults: Sequence[ChainFault]) -> None:
    """Say what is wrong with a chain, a line each."""
    for fault in faults:
        text = safe_text(f"{title}: {fault}").replace("\n", " ")
        note(text[:_TEXT_MOST])


def refuse_faults(title: str, faults: Sequence[ChainFault]) -> None:
    """Say what is wrong with a chain, and end the command if anything is."""
    if not faults:
        return
    show_faults(title, faults)
    what = "1 thing is" if len(faults) == 1 else f"{len(faults)} things are"
    note(f"receiver: {what} wrong; nothing was sent")
    raise click.exceptions.Exit(WRONG)
