"""Many queued tasks in one line, for `receiver tasks watch`: how many there are, whose, and what the next waits for."""

from collections.abc import Collection, Sequence

from msgspec import Struct

from receiver.cli.output import pluralize, safe_line
from receiver.cli.wait_text import wait_words
from receiver.client.client import Client
from receiver.client.queue_schemas import QueuedLane, QueueView
from receiver.client.schemas import TaskView
from receiver.core.errors import ApiError
from receiver.core.queue_waits import QueueReason
from receiver.core.types import TaskState

SINGLY_MOST = 10  # queued tasks that have a line each
_IN_TURN = (None, QueueReason.TURN, QueueReason.ROOM)  # which change all the time
_LANES_MOST = 3  # that are named


class QueuedFold(Struct):
    """Leaves out queued tasks that are too many to be shown one by one. `reason` is what was last said of them."""

    reason: tuple[str | None, ...] | None = None

    def fold(
        self, client: Client, tasks: Sequence[TaskView], shown: Collection[str]
    ) -> tuple[list[TaskView], str | None]:
        """What of these tasks to show one by one, and a line for the others, if it says something new. Those `shown`
        before stay."""
        queued = {it.ref for it in tasks if it.state == TaskState.QUEUED and it.ref not in shown}
        if not queued or (self.reason is None and len(queued) <= SINGLY_MOST):
            self.reason = None
            return list(tasks), None
        kept = [it for it in tasks if it.ref not in queued]
        try:
            view = client.show_queue()
        except ApiError:  # it is away, or an older one
            said, self.reason = self.reason, self.reason or ()
            return kept, f"+ {len(queued)} queued" if said is None else None
        why = None if view.waits_for in _IN_TURN else view.waits_for
        reason = (why, *(it.name for it in view.lanes if it.paused_at))
        said, self.reason = self.reason, reason
        return kept, None if said == reason else describe_queued(view, len(queued))


def describe_queued(view: QueueView, least: int) -> str:
    """`+ 480 queued: 475 of rows-3fa92c, 5 single tasks; the next waits: …`. There are `least` at any rate."""
    total = max(least, sum(lane.queued for lane in view.lanes))
    named = [_describe_lane(lane) for lane in view.lanes[:_LANES_MOST]]
    if rest := sum(lane.queued for lane in view.lanes[_LANES_MOST:]):
        named.append(f"{rest:,} others")
    words = f"+ {total:,} queued{': ' if named else ''}{', '.join(named)}"
    if view.waits_for not in (None, QueueReason.TURN):
        words += f"; the next waits: {wait_words(view.waits_for or '', view)}"
    return safe_line(words)


def _describe_lane(lane: QueuedLane) -> str:
    paused = " (paused)" if lane.paused_at else ""
    return (
        f"{lane.queued:,} of {lane.name}{paused}" if lane.batch else f"{pluralize(lane.queued, 'single task')}{paused}"
    )
