"""`receiver submit again`: another task like an earlier one."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from receiver.cli.connect import resolve_ref, with_client
from receiver.cli.output import pluralize, safe_line
from receiver.cli.streams import note
from receiver.cli.submit import sending
from receiver.cli.submit.option_texts import explain_in_options, read_pairs
from receiver.cli.submit.sending import Sending, strip_option, submit_once
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
    changes = _read_changes(client.get_task(earlier), prompt, pairs, allowed) if pairs else {}
    asked = AgainRequest(
        prompt=prompt,
        params=changes,
        label=label,
        **allowed,
        with_children=with_children,
    )

    def send(key: str) -> TaskView:
        task = client.submit_again(earlier, asked, key)
        if label is None and task.label:
            name = safe_line(task.label)
            note(f"receiver: several tasks are called {name!r} now: use their refs, and name the next one with --label")
        if with_children and task.chain is not None:
            count = task.chain.children
            note(f"receiver: {pluralize(count, 'task')} {'goes' if count == 1 else 'go'} on from it")
        return task

    submit_once(client, send, Sending(**given))


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
