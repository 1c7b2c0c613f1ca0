"""Waits for the end of a batch that was submitted, and writes what became of its rows."""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from receiver.cli.batch.batch_text import is_good, is_over
from receiver.cli.batch.follow import await_batch
from receiver.cli.batch.results import write_results
from receiver.cli.batch.sent_rows import SentRows
from receiver.cli.output import pluralize, safe_line
from receiver.cli.streams import note
from receiver.client.client import Client
from receiver.core.errors import ApiError


def await_results(client: Client, name: str, sent: SentRows, results: Path | None, *, delimiter: str) -> bool:
    """Wait for the end, and write the results. Whether every task was completed."""
    try:
        view = await_batch(client, name)
    except (KeyboardInterrupt, ApiError):
        if results is not None:
            note(f"receiver: {results} is not written; the same command waits again, and writes it")
        raise
    if results is not None:
        with _explain_results(name):
            count = write_results(results, client.stream_results(name), sent, delimiter=delimiter)
        note(f"receiver: {pluralize(count, 'result')} in {results}")
    return is_good(view) and is_over(view)


@contextlib.contextmanager
def _explain_results(name: str) -> Iterator[None]:
    where = f"`receiver batch results {shlex.quote(safe_line(name))}` prints the results"
    try:
        yield
    except click.ClickException as error:
        raise click.ClickException(f"{error.message}; {where}") from None
    except ApiError as error:
        raise ApiError(error.status, error.code, error.problem, error.field, remedy=where) from None
