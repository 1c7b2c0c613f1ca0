"""A batch that was begun after a backup was made is not known once that was restored: it would be paid for again."""

from receiver.cli.batch.patience import Patience
from receiver.cli.batch.question import ask_person
from receiver.cli.output import short_time
from receiver.cli.streams import note
from receiver.client.client import Client
from receiver.core.errors import ApiError


def ask_after_restore(client: Client, title: str, *, settled: bool, reads_input: bool) -> str | None:
    """If the service's database was restored lately, ask whether the file `title` may be sent as a new batch; why not,
    if so. `settled`: it is only said, because the answer is given, or nothing will be sent."""
    try:
        view = Patience(met=True).ask(client.show_queue)
    except ApiError as error:
        if error.status == 404:  # of an older service
            return None
        raise
    if view.restored_at is None:
        return None
    since = f"a backup of {short_time(view.restored_from)}" if view.restored_from else "a copy of it"
    note(
        f"receiver: the database was restored at {short_time(view.restored_at)} from {since}: if {title} was sent in "
        "between, that is not known, and its rows would be paid for again"
    )
    if settled:
        return None
    if (answer := ask_person("Was it not sent, and shall it be?", reads_input=reads_input)) is None:
        return "say --yes if it was not sent in between; nothing was sent"
    return None if answer else "nothing was sent"
