"""`receiver submit chain`: the steps of a file, all at once. The service lets each go on from the one before."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from msgspec import Struct
from msgspec.structs import replace

from receiver.cli.batch.columns import fold_name
from receiver.cli.connect import connect, resolve_ref
from receiver.cli.main import FAILED
from receiver.cli.output import (
    config_option,
    echo_json,
    pluralize,
    prepare_folder,
    safe_line,
)
from receiver.cli.streams import echo, note, report_done
from receiver.cli.submit import sending
from receiver.cli.submit.chain_file import ChainFault, ChainFile, read_chain
from receiver.cli.submit.chain_input import read_chain_content, refuse_faults, show_faults
from receiver.cli.submit.chain_tasks import ChainTasks, fill_chain
from receiver.cli.submit.chain_values import suggest_name
from receiver.cli.submit.sending import Sending, await_all, send_once, tell_cost
from receiver.client.client import Client, new_idempotency_key
from receiver.client.schemas import CHAIN_KEY_MOST, BatchItem, NewTask, TaskView, WaitFor
from receiver.core.errors import ApiError

_REFUSED_WITH_OTHERS = "chain_refused"


class _Asked(Struct, frozen=True):
    """What the options say of all steps."""

    label: str | None
    targets: tuple[str, ...]
    poll_only: bool
    anyway: bool
    priority: str | None
    dry_run: bool


@click.command(short_help="Steps from a file, each going on from another.")
@click.argument("path", metavar="FILE")
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="What ${NAME} stands for in the file.")
@click.option("--dry-run", is_flag=True, help="Check everything, also with the service, and submit nothing.")
@click.option("--label", metavar="L", help="A name of your own, instead of the file's.")
@sending.target_option
@sending.poll_only_option
@sending.anyway_option
@sending.priority_option
@sending.sending_options
@config_option
def chain(path: str, *, pairs: tuple[str, ...], file: Path | None, **given: Any) -> None:
    """Submit the steps of FILE, and print the ref of the first. FILE may be - for standard input.

    The service does the rest: as soon as a step is completed, those that go on from it are submitted. All steps are
    checked first; if anything is wrong, nothing is sent, and the exit status is 2.

    \b
    For example:
      receiver submit chain extend.toml --set prompt="a lighthouse"

    \b
    # extend.toml
    label = "lighthouse"
    [[step]]
    name = "make"
    model = "diffusion"
    params = { prompt = "${prompt} --ar 3:2" }
    [[step]]
    name = "wide"
    model = "outpaint"
    after = "make"
    image_no = "pick"      # you pick; or 0 to 3, [0, 2], "all"
    params = { scale = 1.5 }

    Names and words are those of `receiver submit MODEL --help`. $$ is a dollar. A step may also have label, targets,
    ping (true: notify when it completes, though others go on from it), anyway, allow_permutations and poll_only; and
    the first one `from`, a task of yours to go on from.
    """
    how = Sending(**{name: given.pop(name) for name in ("key", "wait", "folder", "as_json")})
    asked = _Asked(**given)
    if how.key is not None and len(how.key) > CHAIN_KEY_MOST:
        raise click.UsageError(f"--idempotency-key: it is longer than {CHAIN_KEY_MOST} characters")
    title = "standard input" if path == "-" else path
    content, faults = read_chain(read_chain_content(path))
    if asked.label is not None:
        steps = tuple(replace(it, label=asked.label.replace("$", "$$")) for it in content.steps)
        content = replace(content, steps=steps)
    values = _read_values(pairs, content, faults)
    filled, wrong = fill_chain(_with_options(content, asked), values)
    faults += wrong
    refuse_faults(title, content.sort_faults(faults))
    for hint in filled.hints:
        note(f"receiver: tip: {hint}")
    with connect(file) as client:
        _submit(client, title, filled, asked, how)


def _read_values(pairs: Sequence[str], content: ChainFile, faults: list[ChainFault]) -> dict[str, str]:
    values: dict[str, str] = {}
    needed = set(map(fold_name, content.names))
    for pair in pairs:
        name, given, value = pair.partition("=")
        name = name.strip()
        if not given or not name:
            raise click.UsageError(f"--set {pair[:80]}: write NAME=VALUE")
        if name in values:
            raise click.UsageError(f"--set {name}: it is given twice")
        if fold_name(name) in needed:
            values[name] = value
            continue
        if not content.steps:  # of which it is not known what they use
            continue
        uses = suggest_name(name, dict.fromkeys(content.names)) if needed else ""
        faults.append(ChainFault(None, f"--set {name}: the file has no ${{{name}}}{uses}"))
    return values


def _with_options(content: ChainFile, asked: _Asked) -> ChainFile:
    """The chain with what the command line says of all its steps."""
    steps = tuple(
        replace(
            it,
            targets=asked.targets or it.targets,
            poll_only=it.poll_only or asked.poll_only,
            anyway=it.anyway or asked.anyway,
        )
        for it in content.steps
    )
    return replace(content, steps=steps)


def _submit(client: Client, title: str, filled: ChainTasks, asked: _Asked, how: Sending) -> None:
    tasks = [_find_source(client, replace(it, priority=asked.priority)) for it in filled.tasks]
    total = sum(filled.counts.values())
    if asked.dry_run:
        _refuse_faults(title, tasks, client.check_tasks(tasks))
        tell_cost(client, filled.model_counts)
        note(f"receiver: {pluralize(total, 'task')} can be submitted; nothing was sent")
        return
    if how.folder is not None:
        prepare_folder(how.folder)
    tell_cost(client, filled.model_counts)
    items = send_once(lambda key: client.create_batch(_keyed(tasks, key)), how.key or new_idempotency_key())
    _refuse_faults(title, tasks, items)
    made = [it.task for it in items if it.task is not None]
    _tell_warnings(tasks, made, filled.hints)
    root = made[0]
    done = report_done(f"{safe_line(root.ref)} and what goes on from it were submitted")
    good = True
    if not how.as_json:
        with done:
            echo(safe_line(root.ref))
    with done if how.as_json else contextlib.nullcontext():
        if how.wait or how.folder is not None:
            every = [ref for task in made for ref in (task.ref, *task.siblings)]
            made, good = await_all(client, map(client.get_task, every), how)
        if how.as_json:
            echo_json(made)
    if not good:
        raise click.exceptions.Exit(FAILED)


def _keyed(tasks: Sequence[NewTask], key: str) -> list[NewTask]:
    return [replace(it, idempotency_key=f"{key}#{it.name}") for it in tasks]


def _find_source(client: Client, task: NewTask) -> NewTask:
    """The task with the ref of the one that it goes on from, which the file may name by its label, or a part of it."""
    wait = task.wait_for
    if not isinstance(wait, WaitFor) or wait.ref is None:
        return task
    return replace(task, wait_for=replace(wait, ref=resolve_ref(client, wait.ref, chains="first")))


def _tell_warnings(tasks: Sequence[NewTask], made: Sequence[TaskView], said: Sequence[str]) -> None:
    for asked, task in zip(tasks, made, strict=False):
        for warning in task.warnings:
            text = f"step {asked.name}: {safe_line(warning)}"
            if text not in said and not any(warning in it for it in said):
                note(f"receiver: tip: {text}")


def _refuse_faults(title: str, tasks: Sequence[NewTask], items: Sequence[BatchItem]) -> None:
    """Say which steps the service refuses, if it does."""
    if len(items) != len(tasks):
        problem = f"the service answered for {len(items)} of {len(tasks)} steps"
        raise ApiError(502, "no_api", problem, remedy="check RECEIVER_SERVER")
    refused = [(task, it.error) for task, it in zip(tasks, items, strict=True) if it.error is not None]
    own = [(task, it) for task, it in refused if it.code != _REFUSED_WITH_OTHERS] or refused
    if not own:
        return
    texts = [it.message.replace("submit it `anyway`", "say anyway = true at the step") for _, it in own]
    show_faults(title, [ChainFault(task.name, text) for (task, _), text in zip(own, texts, strict=True)])
    steps = f"{pluralize(len(own), 'step')} {'was' if len(own) == 1 else 'were'}"
    raise click.ClickException(f"{steps} refused by the service; nothing was submitted")
