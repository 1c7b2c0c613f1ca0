"""Rows of which each is a whole chain: its steps are those of a file, and its columns what the names there stand for.
Pure."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from msgspec.structs import replace

from receiver.cli.batch.columns import fold_name
from receiver.cli.batch.read_file import Fault, FileKind, FileShape, Record
from receiver.cli.batch.rows import OwnColumns, Row, RowDefaults, read_own_columns
from receiver.cli.submit.chain_file import ChainFile
from receiver.cli.submit.chain_tasks import fill_chain
from receiver.client.schemas import CHAIN_KEY_MOST, NewTask
from receiver.providers import models


def read_chain_defaults(pairs: Sequence[str], chain: ChainFile) -> RowDefaults:
    """What `--set NAME=VALUE` says of all rows. Raises ValueError, with a sentence, if it cannot be right."""
    values: dict[str, Any] = {}
    known = {fold_name(it): it for it in chain.names}
    for pair in pairs:
        name, given, value = pair.partition("=")
        folded = fold_name(name)
        if not given or not folded:
            raise ValueError(f"--set {pair[:80]}: write NAME=VALUE")
        if folded not in known:
            near = get_close_matches(folded[:64], known, n=1)
            more = f" (did you mean {known[near[0]]}?)" if near else ""
            raise ValueError(f"--set {name.strip()[:64]}: the chain has no ${{{name.strip()[:64]}}}{more}")
        values[known[folded]] = value.strip()
    return RowDefaults(values=values)


def find_missing_columns(shape: FileShape, chain: ChainFile, defaults: RowDefaults) -> Iterator[Fault]:
    """What the chain uses and the file has not. A file of JSON may say it in each row."""
    if shape.kind is FileKind.JSONL:
        return
    there = {fold_name(it.title) for it in shape.columns} | {fold_name(it) for it in defaults.values}
    for name in chain.names:
        if fold_name(name) not in there:
            how = f"add the column, or say --set {name}=VALUE"
            yield Fault(shape.header_line or 1, f"the chain uses ${{{name}}}, and the file has no such column: {how}")


def build_chain(record: Record, defaults: RowDefaults, chain: ChainFile, shape: FileShape) -> list[Row] | list[Fault]:
    """A row for each step, the first one first; or all that is wrong with them."""
    own, wrong = read_own_columns(record.values)
    if own.key is not None and len(own.key) > CHAIN_KEY_MOST:
        wrong.append(f"key: it is longer than {CHAIN_KEY_MOST} characters")
    used = {fold_name(it): it for it in chain.names}
    values: dict[str, Any] = {used[folded]: None for it in shape.columns if (folded := fold_name(it.title)) in used}
    values |= defaults.values
    values |= {used[fold_name(name)]: it for name, it in record.values.items() if fold_name(name) in used}
    filled, faults = fill_chain(chain, values)
    if wrong or faults:
        return [Fault(record.line, text) for text in (*wrong, *map(str, faults))]
    return [_make_row(record.line, task, own) for task in filled.tasks]


def _make_row(line: int, task: NewTask, own: OwnColumns) -> Row:
    params = models.check_params(
        task.model,
        task.params,
        allow_permutations=task.allow_permutations,
        anyway=task.anyway,
        fed=task.wait_for is not None,
    )
    row = replace(
        task,
        label=own.label or task.label,
        targets=own.targets or task.targets,
        poll_only=task.poll_only or own.poll_only,
        line=line,
    )
    key = None if own.key is None else f"{own.key}#{task.name}"
    return Row(line, row, params, key, own.extras, own.priority)
