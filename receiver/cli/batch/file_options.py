"""What the options of `receiver submit batch` say of the file: what holds for all rows, and whether each is a chain."""

import click
from msgspec import Struct

from receiver.cli.batch.chain_rows import find_missing_columns, read_chain_defaults
from receiver.cli.batch.columns import PROMPT, fold_name
from receiver.cli.batch.read_file import Fault, FileShape
from receiver.cli.batch.rows import RowDefaults, read_defaults, resolve_field
from receiver.cli.submit.chain_file import ChainFile, read_chain
from receiver.cli.submit.chain_input import read_chain_content, refuse_faults
from receiver.providers import models


class FileOptions(Struct, frozen=True):
    """What holds for all rows; with `lines_field`, each line is that parameter, or that value of the `chain`."""

    defaults: RowDefaults
    lines_field: str | None = None
    chain: ChainFile | None = None

    @property
    def uses(self) -> tuple[str, ...] | None:
        """The names that the chain uses, if there is one."""
        return None if self.chain is None else self.chain.names

    def find_missing_columns(self, shape: FileShape) -> list[Fault]:
        """What the chain uses and neither the file nor the options have."""
        return [] if self.chain is None else list(find_missing_columns(shape, self.chain, self.defaults))


def read_file_options(
    model: str | None, shared: tuple[str, ...], *, lines: bool, field: str | None, chain_path: str | None, path: str
) -> FileOptions:
    """What the options say of the file `path`. Raises UsageError, or ends the command if the chain's file is wrong."""
    if field is not None and not lines:
        raise click.UsageError("--field says what each line is: give --lines too")
    try:
        if chain_path is not None:
            return _read_chain_options(model, shared, lines=lines, field=field, chain_path=chain_path, path=path)
        defaults = read_defaults(model, shared)
        if not lines:
            return FileOptions(defaults)
        if defaults.model is None:
            raise click.UsageError(f"--lines needs --model: {', '.join(map(models.short_model_name, models.MODELS))}")
        return FileOptions(
            defaults, resolve_field(field or (PROMPT if models.prompt_param(defaults.model) else "")).name
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _read_chain_options(
    model: str | None, shared: tuple[str, ...], *, lines: bool, field: str | None, chain_path: str, path: str
) -> FileOptions:
    if model is not None:
        raise click.UsageError("--chain says the model of each step: leave --model out")
    if chain_path == "-" == path:
        raise click.UsageError("only one of the files can be standard input")
    chain, faults = read_chain(read_chain_content(chain_path))
    refuse_faults("standard input" if chain_path == "-" else chain_path, faults)
    defaults = read_chain_defaults(shared, chain)
    return FileOptions(defaults, _find_field(chain, defaults, field) if lines else None, chain)


def _find_field(chain: ChainFile, defaults: RowDefaults, field: str | None) -> str:
    """What each line is: what `--field` says, or the only value that nothing else says."""
    open_names = [it for it in chain.names if it not in defaults.values]
    if field is None and len(open_names) == 1:
        return open_names[0]
    found = [it for it in chain.names if field is not None and fold_name(it) == fold_name(field)]
    if not found:
        raise click.UsageError(f"--field: say what each line is: {', '.join(open_names) or 'the chain uses no values'}")
    return found[0]
