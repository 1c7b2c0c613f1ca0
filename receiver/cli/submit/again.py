"""`receiver submit again`: another task like an earlier one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from receiver.cli.chain_text import find_step
from receiver.cli.connect import resolve_ref, with_client
from receiver.cli.output import pluralize, safe_line
from receiver.cli.streams import note
from receiver.cli.submit import sending
from receiver.cli.submit.option_texts import explain_in_options, read_pairs
from receiver.cli.submit.sending import Sending, strip_option, submit_once, tell_cost
from receiver.client.client import Client
from receiver.client.schemas import AgainRequest, TaskView
from receiver.core.errors import RequestRefused
from receiver.providers import models


@click.command(short_help="Another task like an earlier one.")
@click.argument("ref")
@click.option("--prompt", metavar="T", callback=strip_option, help="Another prompt.")
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another parameter, called as the options of its model are; NAME= leaves it out. May be repeated.",
)
@click.option("--with-children", is_flag=True, help="Submit again, too, whatever goes on from it.")
@click.option("--dry-run", is_flag=True, help="Say how many tasks that makes and what they may cost; submit none.")
@click.option("--label", metavar="L", help="Another label.")
@sending.permutations_option
@sending.anyway_option
@sending.sending_options
@with_client
def again(
    client: Client,
    /,
    *,
    ref: str,
    prompt: str | None,
    pairs: tuple[str, ...],
    with_children: bool,
    dry_run: bool,
    label: str | None,
    allow_permutations: bool,
    anyway: bool,
    **given: Any,
) -> None:
    """Submit another task like REF, changed if you like. It is paid for like any other.

    \b
    For example:
      receiver submit again hero --set scale=2 --label "hero, wider"
    """
    earlier = resolve_ref(client, ref, chains="first")
    allowed = {"allow_permutations": allow_permutations, "anyway": anyway}
    task = client.get_task(earlier) if pairs or with_children or dry_run else None
    changes = _read_changes(task, prompt, pairs, allowed) if task is not None and pairs else {}
    asked = AgainRequest(
        prompt=prompt,
        params=changes,
        label=label,
        **allowed,
        with_children=with_children,
    )

    if task is not None and (with_children or dry_run):
        counts = _count_models(client, task, with_children=with_children)
        tell_cost(client, counts)
        if dry_run:
            count = sum(counts.values())
            return note(f"receiver: {pluralize(count, 'task')} would be submitted; nothing was sent")

    def send(key: str) -> TaskView:
        task = client.submit_again(earlier, asked, key)
        if label is None and task.label:
            name = safe_line(task.label)
            note(f"receiver: several tasks are called {name!r} now: use their refs, and name the next one with --label")
        if with_children and task.chain is not None and (count := sum(counts.values()) - 1):
            note(f"receiver: {pluralize(count, 'task')} {'goes' if count == 1 else 'go'} on from it")
        return task

    return submit_once(client, send, Sending(**given))


def _count_models(client: Client, task: TaskView, *, with_children: bool) -> Counter[str]:
    """How many tasks of each model will be made: of those that a person picked pictures for, one for each step, because
    pictures of the new task are picked once more."""
    counts = Counter({task.model or "": 1})
    chain = client.get_chain(task.ref) if with_children and task.chain is not None else None
    top = None if chain is None else find_step(chain, task.ref)
    places = [] if top is None else [top]
    while places:
        picked = set[tuple[str | None, str | None]]()
        for child in places.pop().children:
            step = (child.step, child.model)
            by_person = child.image_no is None or child.picked_by is not None
            if child.model is None or (by_person and step in picked):
                continue
            picked |= {step} if by_person else set()
            counts[child.model] += 1
            places.append(child)
    return counts


def _read_changes(
    task: TaskView, prompt: str | None, pairs: Sequence[str], allowed: Mapping[str, bool]
) -> dict[str, Any]:
    """What `--set` says, checked with what stays as it is. Raises UsageError."""
    model = models.MODELS.get(task.model or "")
    changes = read_pairs(pairs, model, "--set")
    if model is None:
        return changes
    params = {**task.params, **changes}
    if prompt is not None and model.prompt_param is not None:
        params[model.prompt_param] = prompt
    fed = task.chain is not None and model.feed is not None and not set(model.feed.names) & set(params)
    try:
        models.check_params(model.name, params, **allowed, fed=fed)
    except RequestRefused as refused:
        raise click.UsageError(explain_in_options(refused, model)) from None
    return changes
