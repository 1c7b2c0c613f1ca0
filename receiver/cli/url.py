"""`receiver url`: a callback URL for a submission that your own code makes."""

import click

from receiver.cli.connect import with_client
from receiver.cli.output import echo_json, json_option, safe_text
from receiver.client.client import Client


@click.command()
@click.option("--label", metavar="L", help="A name that you will know it by.")
@click.option("--model", metavar="M", help="What you submit it to.")
@click.option("--task-id", metavar="ID", help="The provider's id, if it is known already.")
@json_option
@with_client
def url(client: Client, *, label: str | None, model: str | None, task_id: str | None, as_json: bool) -> None:
    """Mint a callback URL for your own submitter; prints it, one line. The URL is a secret."""
    minted = client.mint_url(label=label, model=model, task_id=task_id)
    echo_json(minted) if as_json else click.echo(safe_text(minted.callback_url))
