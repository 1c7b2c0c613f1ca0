"""What a task, a lane or the whole queue waits for, as a person reads it."""

from receiver.cli.output import short_time
from receiver.client.queue_schemas import QueuedLane, QueueView
from receiver.client.schemas import TaskView
from receiver.core.queue_waits import describe_wait


def wait_words(why: str, view: TaskView | QueueView | QueuedLane) -> str:
    """The reason `why` in words, with since when, until when and what else the view says of it."""
    since = short_time(view.waits_since) if view.waits_since else None
    until = short_time(view.waits_until) if view.waits_until else None
    return describe_wait(why, since, until, view.waits_detail)
