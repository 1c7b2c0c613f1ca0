"""Pass 2: sends a batch's rows, 100 a call. Each row is taken once, however often it is sent."""

from collections.abc import Iterable, Iterator
from functools import partial

from msgspec import Struct

from receiver.cli.batch.check import ask_service, is_shut_out
from receiver.cli.batch.faults import FaultReport
from receiver.cli.batch.patience import Patience
from receiver.cli.batch.progress import ProgressLine
from receiver.cli.batch.row_chains import KeyedRow
from receiver.cli.batch.sent_rows import SentRows
from receiver.cli.output import pluralize, safe_line
from receiver.cli.streams import note
from receiver.client.batch_schemas import BatchRowResult, BatchView
from receiver.client.client import Client
from receiver.core.errors import ApiError

_GONE_MOST = 10


class SendCounts(Struct):
    """How many rows were sent, and how many tasks they became; how many the batch had before, how many the service
    refused, and how many are not in the batch because it was closed meanwhile."""

    new: int = 0
    tasks: int = 0
    known: int = 0
    refused: int = 0
    shut_out: int = 0


def send_rows(
    client: Client,
    name: str,
    rows: Iterable[KeyedRow],
    total: int,
    report: FaultReport,
    sent: SentRows,
    unit: str = "row",
) -> SendCounts:
    """Send all rows, in order, as long as the batch is open; `unit` is what each is called. Raises ApiError if the
    service stays away, and says how to go on."""
    counts, patience, add = SendCounts(), Patience(met=True), partial(client.add_rows, name)
    with ProgressLine("sent", total) as progress:
        try:
            for keyed, item, fault in ask_service(rows, add, patience, progress, lambda: counts.shut_out > 0):
                if is_shut_out(item):
                    counts.shut_out += 1
                    continue
                if fault is not None:
                    report.add(fault)
                    counts.refused += 1
                    continue
                counts.known += item.replayed
                counts.new += not item.replayed
                if item.task is not None:
                    counts.tasks += 0 if item.replayed else 1 + len(item.task.siblings)
                    sent.add(item.task, keyed.row)
        except KeyboardInterrupt:
            note(f"\nreceiver: {_how_far(name, counts, total, unit)}; the same command sends the rest")
            raise
        except ApiError as error:
            how = (
                f"{_how_far(name, counts, total, unit)}; the same command goes on from there, and sends no {unit} twice"
            )
            remedy = f"{error.remedy}; {how}" if error.remedy else how
            raise ApiError(error.status, error.code, error.problem, error.field, remedy=remedy) from None
    if counts.shut_out:  # and those that were not tried: what is known of them is from the check
        counts.shut_out = total - counts.refused - len(sent)
    return counts


def _how_far(name: str, counts: SendCounts, total: int, unit: str) -> str:
    sent = counts.new + counts.known
    return f"{sent:,} of {pluralize(total, unit)} {'is' if sent == 1 else 'are'} in the batch {safe_line(name)}"


def report_gone(client: Client, batch: BatchView, sent: SentRows, unit: str = "row") -> None:
    """Tell which rows the batch has that are not in the file any more. They are not cancelled."""
    if batch.counts.total <= sent.tasks:
        return
    gone, lines = 0, []
    try:
        for row in _find_gone(client.stream_results(batch.name), sent):
            gone += 1
            lines += [str(row.line)] if gone <= _GONE_MOST else []
    except ApiError as error:
        note(f"receiver: it is not known whether {unit}s were removed from the file: {error.problem}")
        return
    if gone:
        where = f"{'line' if gone == 1 else 'lines'} {', '.join(lines)}{' …' if gone > _GONE_MOST else ''}"
        note(
            f"receiver: {pluralize(gone, unit)} sent before {'is' if gone == 1 else 'are'} not in the file any more "
            f"({where}), and {'goes' if gone == 1 else 'go'} on; `receiver tasks cancel REF` withdraws a queued one"
        )


def _find_gone(rows: Iterable[BatchRowResult], sent: SentRows) -> Iterator[BatchRowResult]:
    """Those that were sent, and are not in the file. `rows` come by line and then by age: a step of a chain that comes
    after the same one of the file is its copy, for another picture that was picked."""
    line, steps = 0, set[str]()
    for row in rows:
        if row.line != line:
            line, steps = row.line, set()
        if row.ref in sent:
            steps |= {row.step} if row.step is not None else set()
        elif row.again_of is None and row.step not in steps:
            yield row
