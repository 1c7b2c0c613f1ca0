"""`receiver url`: a callback URL for a submission that your own code makes."""

import click

from receiver.cli.connect import with_client
from receiver.cli.output import echo_json, json_option, safe_line, safe_text
from receiver.cli.streams import echo, report_done
from receiver.client.client import Client


@click.command()
@click.option("--label", metavar="L", help="A name of your own for it.")
@click.option("--model", metavar="M", help="The model that you submit to.")
@click.option("--task-id", metavar="ID", help="The provider's id, if it is known already.")
@json_option
@with_client
def url(client: Client, *, label: str | None, model: str | None, task_id: str | None, as_json: bool) -> None:
    """Mint a callback URL for a submission of your own, and print it. The URL is a secret."""
    minted = client.mint_url(label=label, model=model, task_id=task_id)
    ref = safe_line(minted.ref)
    with report_done(f"the callback URL of {ref} was made: if nobody has it, `receiver url discard {ref}`"):
        echo_json(minted) if as_json else echo(safe_text(minted.callback_url))
