"""Waits for the end of a batch, and shows on standard error how far it is."""

import time

from receiver.cli.batch.batch_text import (
    PICKS_COMMAND,
    describe_batch,
    go_on_command,
    is_over,
    is_paused,
    is_stuck,
    is_to_pick,
    progress_text,
)
from receiver.cli.batch.patience import Patience
from receiver.cli.batch.progress import CLEARED, format_bar, is_terminal
from receiver.cli.output import pluralize, safe_line
from receiver.cli.streams import note
from receiver.client.batch_schemas import BatchView
from receiver.client.client import Client
from receiver.core.errors import ApiError
from receiver.core.types import PauseCause

LOOK_S = 1.0  # between two looks
_ENDING_CAUSES = (PauseCause.BUDGET, PauseCause.FAILURES)
_STEPS = 10  # lines between begin and end where there is no terminal
_UNSURE = (
    "it is not known whether the provider took them, so they wait for a callback or for you; see `receiver batch show"
)
_PICKS = f"all that is left waits for a person who picks: `{PICKS_COMMAND}`"


def await_batch(client: Client, name: str) -> BatchView:
    """The batch at its end; or as soon as nothing is in hand, if it was paused by its budget or its failures: only a
    person can end that."""
    see = f"`receiver batch show {safe_line(name)}`"
    moving, patience, said, stuck, paused = is_terminal(), Patience(met=True), "", False, ""
    picks = False
    try:
        while True:
            batch = patience.ask(lambda: client.get_batch(name))
            if is_over(batch):
                break
            total, ended = batch.counts.total, batch.counts.ended
            command = go_on_command(batch) if is_paused(batch) else ""
            if command and command != paused:
                note(f"{CLEARED if moving else ''}receiver: the batch is paused; `{command}` lets it go on")
            paused = command
            if command and batch.paused_by in _ENDING_CAUSES and not (batch.counts.submitting + batch.counts.waiting):
                note(f"{CLEARED if moving else ''}receiver: nothing is in hand, so this does not wait any longer")
                break
            if is_stuck(batch) and not stuck:
                stuck = True
                what = pluralize(batch.counts.unsure, "task")
                note(f"{CLEARED if moving else ''}receiver: {what} left, and unsure: {_UNSURE} {safe_line(name)}`")
            if is_to_pick(batch) and not picks:
                note(f"{CLEARED if moving else ''}receiver: {_PICKS}")
            picks = is_to_pick(batch)
            if moving:
                note(f"{CLEARED}{format_bar(ended, total)}  {progress_text(batch)}", nl=False)
            else:  # a line only for what a person would want to know
                news = f"{_STEPS * ended // max(total, 1)} {batch.paused_at}"
                if news != said:
                    note(progress_text(batch))
                said = news
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        goes_on = f"the batch is paused; `{paused}` lets it go on" if paused else "it goes on without you"
        note(f"\nreceiver: {goes_on}; see {see}")
        raise
    except ApiError:
        stands = "is paused" if paused else "goes on"
        note(f"{CLEARED if moving else ''}receiver: the batch {stands}: {see}")
        raise
    note(CLEARED if moving else "", nl=False)
    note(describe_batch(batch))
    return batch
