"""Pass 1: every row of a batch's file is checked before the first is sent, here and then by the service."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import BinaryIO

import msgspec
from msgspec import Struct

from receiver.cli.batch.chain_rows import build_chain
from receiver.cli.batch.differences import Differences
from receiver.cli.batch.faults import FaultReport
from receiver.cli.batch.keys import RowKeys
from receiver.cli.batch.patience import Patience
from receiver.cli.batch.progress import ProgressLine
from receiver.cli.batch.read_file import Fault, FileShape, read_records
from receiver.cli.batch.refusal_text import explain_refusal
from receiver.cli.batch.row_chains import KeyedRow, RowChains
from receiver.cli.batch.rows import Row, RowDefaults, build_row
from receiver.cli.batch.sent_rows import SentRows
from receiver.cli.streams import note
from receiver.cli.submit.chain_file import ChainFile
from receiver.client.batch_schemas import BATCH_TASKS_MOST, BatchView
from receiver.client.client import Client
from receiver.client.schemas import BatchItem, NewTask
from receiver.core.errors import ApiError
from receiver.providers import models

CALL_BYTES = 900_000  # of a call's body; the service takes 1 MiB
_TIPS_MOST = 5
_CLOSED = "batch_closed"


class BatchFile(Struct, frozen=True):
    """A file that can be read again and again, and how. `path` is how the user named it, `title` how errors do. With a
    `chain`, each row is one."""

    path: str
    title: str
    file: BinaryIO
    shape: FileShape
    defaults: RowDefaults
    chain: ChainFile | None = None

    def count_rows(self, items: int) -> int:
        """How many rows so many items of the API are: of a chain, each step is one."""
        return items // len(self.chain.steps) if self.chain is not None else items

    @property
    def unit(self) -> str:
        """What items of the API are called, where some of a row's may be meant."""
        return "task" if self.chain is not None else "row"


class FileCheck(Struct, frozen=True):
    """What a file has: how many good rows, of which models, and the name and priority that follow from them."""

    rows: int
    name: str
    models: dict[str, int]
    priority: str | None


class ServiceCheck(Struct, frozen=True):
    """How many rows the service would take, and of these how many of each model are not in the batch yet.

    `elsewhere` are other batches, with how many rows each has that this one has not; `nowhere` is how many rows of each
    model no batch has. `cut_off` rows are new, and left out because they go on from one that is left out.
    """

    rows: int
    new: dict[str, int]
    elsewhere: dict[str, int] = {}
    nowhere: dict[str, int] = {}
    cut_off: int = 0


def keyed_rows(source: BatchFile, keys: RowKeys) -> Iterator[KeyedRow | Fault]:
    """The rows of a file, the same each time."""
    chains = RowChains(keys)
    for record in read_records(source.file, source.shape):
        if isinstance(record, Fault):
            chains.place_wrong(record.line, {})
            yield record
            continue
        if source.chain is not None:
            yield from _place_chain(build_chain(record, source.defaults, source.chain, source.shape), chains)
            continue
        row = build_row(record, source.defaults)
        if isinstance(row, list):
            chains.place_wrong(record.line, record.values)
            yield from row
            continue
        placed = chains.place(row)
        if isinstance(placed, list):
            yield from placed
        else:
            yield placed


def _place_chain(rows: list[Row] | list[Fault], chains: RowChains) -> Iterator[KeyedRow | Fault]:
    """All steps of a row, or what is wrong with the first of them that is."""
    placed: list[KeyedRow] = []
    for row in rows:
        found = [row] if isinstance(row, Fault) else chains.place(row)
        if isinstance(found, list):
            yield from found
            if not isinstance(row, Fault):
                return
        else:
            placed.append(found)
    yield from placed


def good_rows(source: BatchFile, skipped: set[int]) -> Iterator[KeyedRow]:
    """The rows that are not wrong, and not on the lines `skipped`."""
    for it in keyed_rows(source, RowKeys()):
        if isinstance(it, KeyedRow) and it.row.line not in skipped:
            yield it


def check_file(source: BatchFile, report: FaultReport) -> FileCheck:
    """Check every row here."""
    keys, counts, tips, rows = RowKeys(), Counter[str](), 0, 0
    priority: tuple[str, int] | None = None
    said = set[str]()
    for it in keyed_rows(source, keys):
        if isinstance(it, Fault):
            report.add(it)
            continue
        if (asked := it.row.priority) is not None:
            priority = priority or (asked, it.row.line)
            if asked != priority[0]:
                what = f"a batch has one priority, and line {priority[1]} says {priority[0]}"
                report.add(Fault(it.row.line, f"priority: {what}"))
                report.lines.add(it.row.line)
                continue
        rows += 1
        counts[it.row.task.model] += it.copies
        for hint in (*models.param_hints(it.row.task.model, it.row.task.params), *it.hints):
            tips += 1
            if len(said) < _TIPS_MOST and hint not in said:
                said.add(hint)
                note(f"{source.title}:{it.row.line}: tip: {hint}")
    if tips > len(said):
        note(f"receiver: {tips - len(said):,} more tips like these are not shown")
    return FileCheck(rows, keys.batch_name(source.path), dict(counts), priority and priority[0])


def chunk_rows(rows: Iterable[KeyedRow]) -> Iterator[list[KeyedRow]]:
    """As many rows as one call takes, in order."""
    chunk: list[KeyedRow] = []
    size, names = 0, set[str]()
    for chain in _group_chains(rows):
        length = sum(len(msgspec.json.encode(it.to_task())) + 1 for it in chain)
        own = {it.row.task.name for it in chain if it.row.task.name is not None}
        full = len(chunk) + len(chain) > BATCH_TASKS_MOST or size + length > CALL_BYTES
        if chunk and (full or names & own):  # a call knows each name once
            yield chunk
            chunk, size, names = [], 0, set()
        chunk += chain
        size += length
        names |= own
    if chunk:
        yield chunk


def _group_chains(rows: Iterable[KeyedRow]) -> Iterator[list[KeyedRow]]:
    """The rows that have to be sent together: those that go on from one another."""
    chain: list[KeyedRow] = []
    for it in rows:
        if chain and it.row.after is None:
            yield chain
            chain = []
        chain.append(it)
    if chain:
        yield chain


def match_items(chunk: Sequence[KeyedRow], items: Sequence[BatchItem]) -> Iterator[tuple[KeyedRow, BatchItem]]:
    """Each row with what the service says of it. Raises ApiError if these are not as many."""
    if len(items) != len(chunk):
        problem = f"the service answered for {len(items)} of {len(chunk)} rows"
        raise ApiError(502, "no_api", problem, remedy="check RECEIVER_SERVER")
    return zip(chunk, items, strict=True)


def is_shut_out(item: BatchItem) -> bool:
    """Whether a row is not taken because the batch is closed."""
    return item.error is not None and item.error.code == _CLOSED


def item_fault(keyed: KeyedRow, item: BatchItem) -> Fault | None:
    """Why the service refuses a row; None if it takes it, or would if the batch were open."""
    if (item.error is None and item.status < 300) or is_shut_out(item):
        return None
    if item.error is None:
        return Fault(keyed.row.line, f"the service answers HTTP {item.status}")
    return Fault(keyed.row.line, explain_refusal(item.error.code, item.error.message, item.error.field))


def ask_service(
    rows: Iterable[KeyedRow],
    ask: Callable[[list[NewTask]], list[BatchItem]],
    patience: Patience,
    progress: ProgressLine,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[KeyedRow, BatchItem, Fault | None]]:
    """Each row with what the service says of it, and why it refuses it if it does; after a call, `stop` may end it."""
    for chunk in chunk_rows(rows):
        tasks = [it.to_task() for it in chunk]
        items = patience.ask(lambda: ask(tasks))  # noqa: B023 - called at once
        for keyed, item in match_items(chunk, items):
            if (fault := item_fault(keyed, item)) is not None:
                progress.clear()
            yield keyed, item, fault
        progress.advance(len(chunk))
        if stop():
            return


def find_batch(client: Client, name: str) -> BatchView | None:
    """The batch of this name, if there is one."""
    try:
        return client.get_batch(name)
    except ApiError as error:
        if error.status == 404 and error.code == "not_found":
            return None
        raise


def check_with_service(
    client: Client, source: BatchFile, name: str, report: FaultReport, sent: SentRows, rows: int, *, only_new: bool
) -> ServiceCheck:
    """Have the service check every row, and note those that the batch `name` has already.

    With `only_new`, rows that another batch has are left out.
    """
    patience, good, differences = Patience(), 0, Differences(source.title)
    new, elsewhere, nowhere = Counter[str](), Counter[str](), Counter[str]()
    cut_off, left_out = 0, set[str]()
    with ProgressLine("checked", rows) as progress:
        good_ones = good_rows(source, report.lines)
        for keyed, item, fault in ask_service(good_ones, partial(client.check_rows, name), patience, progress):
            if fault is not None:
                report.add(fault)
                report.lines.add(fault.line)
                continue
            after = keyed.row.after
            if after is None:  # a chain begins
                left_out = set()
            if item.sent_in is not None:
                elsewhere[item.sent_in] += 1
            is_cut = (
                item.sent_in is None and not item.replayed and (keyed.row.line in report.lines or after in left_out)
            )
            if is_cut or (only_new and item.sent_in is not None):
                report.lines.add(keyed.row.line)
                left_out.add(keyed.row.task.name or "")
                cut_off += is_cut
                continue
            good += 1
            if item.replayed and item.task is not None:
                sent.add(item.task, keyed.row)
                differences.compare(keyed.row, item.task)
                continue
            new[keyed.row.task.model] += keyed.copies
            nowhere[keyed.row.task.model] += keyed.copies if item.sent_in is None else 0
    differences.close()
    return ServiceCheck(good, dict(new), dict(elsewhere.most_common()), dict(+nowhere), cut_off)
