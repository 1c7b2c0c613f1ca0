"""`receiver url`: a callback URL for a submission that your own code makes."""

from pathlib import Path

import click

from receiver.cli.connect import connect, resolve_ref, with_client
from receiver.cli.output import config_option, echo_json, json_option, safe_line, safe_text
from receiver.cli.streams import echo, report_done
from receiver.client.client import Client


@click.group(invoke_without_command=True)
@click.option("--label", metavar="L", help="A name of your own for it.")
@click.option("--model", metavar="M", help="The model that you submit to.")
@click.option("--task-id", metavar="ID", help="The provider's id, if it is known already.")
@config_option
@json_option
@click.pass_context
def url(
    ctx: click.Context, *, label: str | None, model: str | None, task_id: str | None, file: Path | None, as_json: bool
) -> None:
    """Mint a callback URL for a submission of your own, and print it. The URL is a secret."""
    if ctx.invoked_subcommand is not None:
        if label or model or task_id or file or as_json:
            raise click.UsageError(f"give options after {ctx.invoked_subcommand}")
        return
    with connect(file) as client:
        minted = client.mint_url(label=label, model=model, task_id=task_id)
        ref = safe_line(minted.ref)
        with report_done(f"the callback URL of {ref} was made: if nobody has it, `receiver url discard {ref}`"):
            echo_json(minted) if as_json else echo(safe_text(minted.callback_url))


@url.command(short_help="Give up a callback URL that was not used.")
@click.argument("ref")
@json_option
@with_client
def discard(client: Client, *, ref: str, as_json: bool) -> None:
    """Give up a callback URL that was not used, so that its task is not reported as lost."""
    task = client.discard_url(resolve_ref(client, ref))
    echo_json(task) if as_json else echo(f"{safe_line(task.ref)}  {safe_line(task.state)}  discarded")
