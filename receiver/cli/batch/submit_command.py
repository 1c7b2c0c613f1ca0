"""`receiver submit batch`: checks a whole file, then sends its rows under a name that resumes it."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from receiver.cli.batch.after_restore import ask_after_restore
from receiver.cli.batch.check import (
    BatchFile,
    FileCheck,
    ServiceCheck,
    check_file,
    check_with_service,
    find_batch,
    good_rows,
)
from receiver.cli.batch.cost_options import Dollars, confirm_options
from receiver.cli.batch.earlier import about_text, describe_choices, describe_earlier, name_batches, repeat_command
from receiver.cli.batch.end import await_results
from receiver.cli.batch.estimate import CostQuestion, ask_about_cost, read_costs
from receiver.cli.batch.faults import FaultReport, open_report
from receiver.cli.batch.file_options import read_file_options
from receiver.cli.batch.patience import Patience
from receiver.cli.batch.read_file import find_shape
from receiver.cli.batch.results import ResultsFile
from receiver.cli.batch.send import report_gone, send_rows
from receiver.cli.batch.sent_rows import SentRows
from receiver.cli.batch.submit_notes import other_budget, say_dry_run, say_ignored, say_sent, say_sent_before
from receiver.cli.batch.text_lines import open_input
from receiver.cli.connect import connect
from receiver.cli.main import FAILED, WRONG
from receiver.cli.output import config_option, pluralize, safe_line, safe_text
from receiver.cli.streams import echo, note, report_done
from receiver.client.batch_schemas import PRIORITIES, BatchView, NewBatch
from receiver.client.client import Client
from receiver.core.batches import check_name
from receiver.core.errors import ReceiverError, RequestRefused, SettingsError
from receiver.core.types import FIXED_LANES


class _Asked(Struct, frozen=True):
    """What the options say of the batch, the check and the wait."""

    name: str | None
    priority: str | None
    label: str | None
    targets: tuple[str, ...]
    each: bool
    budget: str | None
    reopen: bool
    only_new: bool
    skip_invalid: bool
    dry_run: bool
    confirm_over: str
    yes: bool
    wait: bool
    results: Path | None


class _Stage:
    """Whether anything may have been sent yet."""

    sending = False


class _NotSent(Exception):
    """The batch cannot be sent as it is. The text says why, and what to do."""


@click.command(short_help="Submit every row of a CSV or JSON Lines file.")
@click.argument("path", metavar="FILE")
@click.option("--name", metavar="NAME", help="The batch's name; by default made of the file's name and its rows.")
@click.option("--model", metavar="M", help="The model of rows that name none.")
@click.option("--set", "shared", multiple=True, metavar="NAME=VALUE", help="A value for rows that have none there.")
@click.option("--lines", is_flag=True, help="Each line is one prompt (or --field), not CSV or JSON.")
@click.option("--field", metavar="NAME", help="With --lines: what each line is.")
@click.option(
    "--chain", "chain_path", metavar="PATH", help="Each row is a chain with the steps of this file; see `submit chain`."
)
@click.option("--skip-invalid", is_flag=True, help="Send the other rows if some are wrong.")
@click.option(
    "--errors", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH", help="Write all faults here."
)
@click.option("--dry-run", is_flag=True, help="Check all rows, and send none.")
@confirm_options
@click.option("--priority", type=click.Choice(PRIORITIES), help="Low by default: single tasks go first.")
@click.option("--label", metavar="L", help="A label for the batch.")
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Notify only this target; may be repeated.")
@click.option("--each", is_flag=True, help="Notify about each task too, not only at the end.")
@click.option("--budget", type=Dollars(), metavar="USD", help="Pause the batch before it costs more.")
@click.option("--reopen", is_flag=True, help="Add rows to a batch that is closed.")
@click.option("--only-new", is_flag=True, help="Leave out rows that another batch has.")
@click.option("--wait", is_flag=True, help="Wait for its end; exit status 1 unless every task is completed.")
@click.option("--results", type=ResultsFile(), metavar="PATH", help="Wait, and write the results: .csv or .jsonl.")
@config_option
def batch(
    path: str,
    *,
    file: Path | None,
    model: str | None,
    shared: tuple[str, ...],
    lines: bool,
    field: str | None,
    chain_path: str | None,
    errors: Path | None,
    **given: Any,
) -> None:
    """Submit every row of FILE, and print the name of the batch. FILE may be - for standard input.

    All rows are checked first; if one is wrong, none is sent, and the exit status is 2. The same command again goes on
    where it stopped: a row that was sent is never sent again, unless --name makes another batch.

    A CSV file begins with the names of its columns: model, the model's parameters, and perhaps label, target, key,
    poll_only, allow_permutations, anyway. Columns that begin with x- are yours, and come back with --results.

    A row may go on from a task, with its ref in the column from, or from a row above it, whose name it has in the
    column after; image_no then says from which picture: 0 to 3, several, all or pick. With --chain, each row is a whole
    chain, and its columns say what ${NAME} in the steps stands for.
    """
    asked = _Asked(**given)
    options = read_file_options(model, shared, lines=lines, field=field, chain_path=chain_path, path=path)
    if asked.name is not None:
        _check_name(asked.name)
    _check_outputs(path, errors, asked.results)
    stage = _Stage()
    with open_input(path) as content, open_report(_shown(path), errors) as report, SentRows() as sent:
        try:
            shape = find_shape(content, options.lines_field, options.uses)
            missing = shape if isinstance(shape, list) else options.find_missing_columns(shape)
            if isinstance(shape, list) or missing:
                for fault in missing:
                    report.add(fault)
                report.show()
                raise _NotSent("nothing was sent")
            source = BatchFile(path, _shown(path), content, shape, options.defaults, options.chain)
            check = _check_here(source, report, asked)
            with connect(file) as client:
                _submit(client, source, check, report, sent, asked, stage)
        except _NotSent as why:
            note(f"receiver: {safe_text(str(why))}")
            raise click.exceptions.Exit(WRONG) from None
        except (click.UsageError, SettingsError):
            raise
        except (KeyboardInterrupt, click.Abort):
            if not stage.sending:
                note("\nreceiver: nothing was sent")
            raise
        except (ReceiverError, click.ClickException) as error:
            if stage.sending:
                raise
            note(f"receiver: {safe_text(' '.join(str(error).split()))}; nothing was sent")
            raise click.exceptions.Exit(WRONG) from None


def _check_name(name: str) -> None:
    if name in FIXED_LANES:
        raise click.BadParameter(f"{name} is the name of a priority", param_hint="--name")
    try:
        check_name(name)
    except RequestRefused as refused:
        raise click.BadParameter(refused.problem, param_hint="--name") from None


def _check_outputs(path: str, errors: Path | None, results: Path | None) -> None:
    """Raises UsageError if a file is to be written over the rows, or over the other one."""
    outputs = [(option, it) for option, it in (("--errors", errors), ("--results", results)) if it is not None]
    for option, it in outputs:
        if path != "-" and _is_same_file(it, Path(path)):
            raise click.UsageError(f"{option} {it} is the file of the rows itself: name another file")
    if len(outputs) == 2 and (errors == results or _is_same_file(outputs[0][1], outputs[1][1])):
        raise click.UsageError(f"--errors and --results name the same file, {errors}: name two")


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one is not there
        return False


def _check_here(source: BatchFile, report: FaultReport, asked: _Asked) -> FileCheck:
    check = check_file(source, report)
    if report.count and not asked.skip_invalid:
        raise _NotSent(f"{report.summarize(source.count_rows(check.rows))}; nothing was sent")
    if report.ended_at is not None:
        report.show()
        why = f"the rows after line {report.ended_at:,} were not read, and --skip-invalid leaves out only what was"
        raise _NotSent(f"{why}; nothing was sent")
    if not check.rows:
        raise _NotSent(f"{report.summarize(0) if report.count else f'{source.title} has no rows'}; nothing was sent")
    return check


def _submit(
    client: Client,
    source: BatchFile,
    check: FileCheck,
    report: FaultReport,
    sent: SentRows,
    asked: _Asked,
    stage: _Stage,
) -> None:
    name = asked.name or check.name
    before = find_batch(client, name)
    checked = check_with_service(client, source, name, report, sent, check.rows, only_new=asked.only_new)
    rows = checked.rows
    if report.count and (not asked.skip_invalid or not (rows or checked.elsewhere)):
        raise _NotSent(f"{report.summarize(source.count_rows(rows))}; nothing was sent")
    report.show()
    if checked.elsewhere and asked.name is None and not asked.only_new:
        _refuse_earlier(client, checked, name, before, source)
    known, whole = len(sent), len(sent) == rows
    if before is not None and not whole:
        _refuse_closed(client, before, checked.new, asked, source.unit)
        _refuse_budget(before, asked)
    if checked.elsewhere:
        _say_earlier(checked, source, asked)
    if not rows:  # all were left out
        return
    if before is None:
        settled, reads_input = asked.yes or asked.dry_run, source.path == "-"
        if (refusal := ask_after_restore(client, source.title, settled=settled, reads_input=reads_input)) is not None:
            raise _NotSent(refusal)
    _ask_about_cost(client, checked.new, asked, reads_input=source.path == "-")
    if asked.dry_run:
        say_dry_run(name, source.count_rows(rows - known), source.count_rows(known), report.count)
        return
    if before is not None and whole:
        complete = True
        view = before if before.closed_at else _close(client, name)
        stage.sending = True
    else:
        _open(client, name, check.priority, asked)
        stage.sending = report.may_fail = True
        view, complete = _send(client, source, name, rows, report, sent)
    done = report_done(f"the rows are in the batch {safe_line(name)}")
    with done:
        echo(safe_line(name))
    if whole:
        say_sent_before(view, source.count_rows(rows))
    if before is not None:
        say_ignored(before, asked.budget, asked.priority)
    if known:
        report_gone(client, view, sent, source.unit)
    good = complete and (report.count == 0 or asked.skip_invalid)
    if asked.wait or asked.results is not None:
        good &= await_results(client, name, sent, asked.results, delimiter=source.shape.delimiter)
    if not good:
        raise click.exceptions.Exit(FAILED)


def _ask_about_cost(client: Client, new: dict[str, int], asked: _Asked, *, reads_input: bool) -> None:
    """Say what the new rows will cost, and ask if that is much. Raises _NotSent if they may not be sent."""
    budget = None if asked.budget is None else Decimal(asked.budget)
    question = CostQuestion(Decimal(asked.confirm_over), asked.yes, asked.dry_run, budget, reads_input)
    refusal = ask_about_cost(client, new, question)
    if refusal is not None:
        raise _NotSent(refusal)


def _refuse_earlier(
    client: Client, check: ServiceCheck, name: str, before: BatchView | None, source: BatchFile
) -> None:
    """Other batches have rows of the file. Raises _NotSent, with the commands that send the others, or all once more
    under another name."""
    other = find_batch(client, next(iter(check.elsewhere))) if len(check.elsewhere) == 1 else None
    choices = describe_choices(check, name, before, other, read_costs(client))
    earlier = describe_earlier(check.elsewhere, check.rows, source.title, source.unit)
    raise _NotSent(f"{earlier}; nothing was sent\n{choices}")


def _say_earlier(check: ServiceCheck, source: BatchFile, asked: _Asked) -> None:
    """Say of rows that other batches have what the options want: to leave them out, or to pay for them once more."""
    sent = sum(check.elsewhere.values())
    if asked.only_new:
        end = "and are left out" if check.rows else "nothing was sent"
        text = describe_earlier(check.elsewhere, check.rows + sent + check.cut_off, source.title, source.unit)
        note(f"receiver: {text}{', ' if check.rows else '; '}{end}")
        if check.cut_off:
            more = f"{pluralize(check.cut_off, source.unit)} {'goes' if check.cut_off == 1 else 'go'} on from these"
            note(f"receiver: {more}, and {'is' if check.cut_off == 1 else 'are'} left out, too")
    else:
        once_more = "would be" if asked.dry_run else "is" if sent == 1 else "are"
        rows = f"{pluralize(sent, source.unit)} that {'was' if sent == 1 else 'were'} sent before"
        note(f"receiver: {rows}, {name_batches(check.elsewhere)}, {once_more} sent once more, as --name says")


def _refuse_closed(client: Client, before: BatchView, new: dict[str, int], asked: _Asked, unit: str) -> None:
    """Raises _NotSent if the batch takes no rows, and nothing says that it is to be opened again."""
    if before.closed_at is None or asked.reopen:
        return
    count, why = sum(new.values()), f" ({safe_line(before.closed_why)})" if before.closed_why else ""
    rows = f"{pluralize(count, unit)} of the file {'is' if count == 1 else 'are'} not in it"
    again = repeat_command(*(("--name", asked.name) if asked.name is not None else ()), "--reopen")
    how = f"to add {'it' if count == 1 else 'them'} ({about_text(new, read_costs(client))}): {again}"
    raise _NotSent(f"the batch {safe_line(before.name)} is closed{why}, and {rows}; nothing was sent\n  {how}")


def _refuse_budget(before: BatchView, asked: _Asked) -> None:
    """Raises _NotSent if the batch has another budget than the options say: rows would be paid for that the user did
    not mean to pay for."""
    if (other := other_budget(before, asked.budget)) is not None:
        raise _NotSent(f"{other}; nothing was sent")


def _open(client: Client, name: str, priority: str | None, asked: _Asked) -> None:
    new_batch = NewBatch(
        name=name,
        priority=asked.priority or priority or "low",
        label=asked.label,
        targets=asked.targets or None,
        each=asked.each,
        budget=asked.budget,
        reopen=asked.reopen,
    )
    Patience(met=True).ask(lambda: client.open_batch(new_batch))


def _send(
    client: Client, source: BatchFile, name: str, rows: int, report: FaultReport, sent: SentRows
) -> tuple[BatchView, bool]:
    """The batch once all rows were sent, and whether it has all that the service did not refuse."""
    left_out = report.count
    counts = send_rows(client, name, good_rows(source, report.lines), rows, report, sent, source.unit)
    report.show()
    view = _close(client, name)
    say_sent(view, counts, left_out, source.unit)
    return view, not counts.shut_out


def _close(client: Client, name: str) -> BatchView:
    return Patience(met=True).ask(lambda: client.change_batch(name, "close")).batch


def _shown(path: str) -> str:
    return "standard input" if path == "-" else path
