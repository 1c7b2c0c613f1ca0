"""Waits for what a person waits for: the end of a task, and its pictures. Shows on standard error how far it is."""

import sys
import time

from receiver.cli.output import safe_line
from receiver.cli.streams import note
from receiver.cli.task_text import describe_task, under_way
from receiver.client.client import Client
from receiver.client.schemas import TaskView
from receiver.core.errors import ApiError
from receiver.core.types import ArchiveState, TaskState

PICTURES_S = 90.0  # a round of the service's fetches for a minute at most, and then draws
CONNECTION_LOST = "connection lost, reconnecting"
_CLEARED = "\r\x1b[K"  # a terminal's line
GAP_S, GAP_MOST_S = 0.2, 2.0  # between two looks


def await_end(client: Client, task: TaskView, *, saving: bool = False) -> TaskView:
    """The task at its end, once its pictures are kept as far as possible. On a terminal, one line changes.

    `saving`: the caller saves the pictures, so how to do that is not said.
    """
    moving, said = sys.stderr.isatty() if sys.stderr else False, ""
    see = f"`receiver tasks show {safe_line(task.ref)}`"

    def report_lost() -> None:
        nonlocal said
        said = ""  # so that its state is shown once it is known again
        note(f"{_CLEARED if moving else ''}{CONNECTION_LOST}")

    try:
        for task in client.follow_task(task.ref, lost=report_lost):  # noqa: B020 - the task as it is now
            line = f"{_step_of(task)}{under_way(task)}"
            if line != said:
                note(f"{_CLEARED}{line}" if moving else line, nl=not moving)
                said = line
        note(_CLEARED if moving else "", nl=False)
        if task.state == TaskState.COMPLETED:
            task = await_pictures(client, task)
    except KeyboardInterrupt:
        note(f"\nreceiver: it goes on without you; see {see}")
        raise
    except ApiError:
        note(f"receiver: the task goes on: {see}")
        raise
    note(describe_task(task, saving=saving))
    return task


def _step_of(task: TaskView) -> str:
    """Which step of its chain it is, so that one is told from the other."""
    return f"{safe_line(task.chain.step)}: " if task.chain is not None and task.chain.step else ""


def await_pictures(client: Client, task: TaskView) -> TaskView:
    """The task once none of its pictures is being fetched, or after a while.

    One that could not be fetched at once is not waited for: it may take hours until it is tried again.
    """
    until, gap_s = time.monotonic() + PICTURES_S, GAP_S
    if _is_fetching(task):
        note(f"the service is fetching its pictures; waiting up to {PICTURES_S:.0f} s")
    while _is_fetching(task) and time.monotonic() < until:
        time.sleep(gap_s)
        gap_s = min(gap_s * 1.5, GAP_MOST_S)
        task = client.try_get_task(task.ref) or task
    return task


def _is_fetching(task: TaskView) -> bool:
    return any(it.archive == ArchiveState.DUE and it.archive_at is None for it in task.images)
