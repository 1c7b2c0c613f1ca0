"""`receiver submit again`: another task like an earlier one."""

from typing import Any

import click

from receiver.cli.connect import resolve_ref, with_client
from receiver.cli.output import safe_line
from receiver.cli.streams import note
from receiver.cli.submit import sending
from receiver.cli.submit.sending import Sending, strip_option, submit_once
from receiver.client.client import Client
from receiver.client.schemas import AgainRequest, TaskView


@click.command(short_help="Another task like an earlier one.")
@click.argument("ref")
@click.option("--prompt", metavar="T", callback=strip_option, help="Another prompt.")
@click.option("--label", metavar="L", help="Another label.")
@sending.permutations_option
@sending.sending_options
@with_client
def again(
    client: Client, /, *, ref: str, prompt: str | None, label: str | None, allow_permutations: bool, **given: Any
) -> None:
    """Submit another task like REF, changed if you like. It is paid for like any other."""
    earlier = resolve_ref(client, ref)
    asked = AgainRequest(prompt=prompt, label=label, allow_permutations=allow_permutations)

    def send(key: str) -> TaskView:
        task = client.submit_again(earlier, asked, key)
        if label is None and task.label:
            name = safe_line(task.label)
            note(f"receiver: several tasks are called {name!r} now: use their refs, and name the next one with --label")
        return task

    submit_once(client, send, Sending(**given))
