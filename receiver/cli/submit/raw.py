"""`receiver submit raw`: a model that is not declared here, with parameters that nobody checks."""

from typing import Any

import click
from msgspec.structs import replace

from receiver.cli.connect import with_client
from receiver.cli.streams import note
from receiver.cli.submit import sending
from receiver.cli.submit.option_texts import read_pairs
from receiver.cli.submit.sending import Sending, submit_once
from receiver.client.client import Client
from receiver.client.schemas import NewTask
from receiver.core.errors import RequestRefused
from receiver.providers import models


@click.command(short_help="A model that receiver does not know, unchecked.")
@click.argument("model", metavar="NAME")
@sending.param_option
@sending.label_option
@sending.target_option
@sending.poll_only_option
@sending.priority_option
@sending.sending_options
@with_client
def raw(
    client: Client,
    /,
    *,
    model: str,
    pairs: tuple[str, ...],
    label: str | None,
    targets: tuple[str, ...],
    poll_only: bool,
    priority: str | None,
    **given: Any,
) -> None:
    """Submit a task of a model that receiver does not know. NAME is what the provider calls it.

    Nothing is checked: the parameters are sent as you give them. The service adds only the callback.

    \b
    For example:
      receiver submit raw midjourney_shorten --param "prompt=a lighthouse" --param count=2
    """
    if (known := models.full_model_name(model)) in models.MODELS:
        command = f"receiver submit {models.command_name(known)}"
        raise click.UsageError(f"{model} is a model that receiver knows: use `{command}`, perhaps with --anyway")
    params = {name: value for name, value in read_pairs(pairs).items() if value is not None}
    try:
        models.check_params(model, params, anyway=True)
    except RequestRefused as refused:
        raise click.UsageError(str(refused)) from None
    hints = models.param_hints(model, params)
    for hint in hints:
        note(f"receiver: tip: {hint}")
    asked = NewTask(
        model=model,
        params=params,
        label=label,
        targets=targets or None,
        poll_only=poll_only,
        anyway=True,
        priority=priority,
    )
    submit_once(client, lambda key: client.create_task(replace(asked, idempotency_key=key)), Sending(**given), hints)
