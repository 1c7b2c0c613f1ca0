"""The types of our HTTP API that are about submitting as a whole. Times are RFC 3339."""

from msgspec import Struct

from receiver.client.batch_schemas import Priority
from receiver.client.schemas import Count, Time


class QueuedLane(Struct, frozen=True):
    """Tasks that are submitted one after the other: those of a batch, or the single ones of a priority. `waits_for` is
    what the next of them waits for, as in a task."""

    name: str
    batch: bool
    priority: Priority
    queued: Count
    paused_at: Time | None = None
    paused_why: str | None = None
    paused_by: str | None = None
    waits_for: str | None = None
    waits_since: Time | None = None
    waits_until: Time | None = None
    waits_detail: str | None = None


class QueueView(Struct, frozen=True):
    """How submitting stands. `in_hand` of `places` are taken, where `concurrency` are configured; fewer are used while
    the provider refuses more, and one more is tried at `more_at`. `waits_for` is what a task that came now would wait
    for, as in a task. `lanes` are those with queued tasks, in the order in which they are served. For a week after the
    database was restored, `restored_at` says so, and `restored_from` of when the backup was, if that is known."""

    paused_at: Time | None
    in_hand: Count
    places: Count
    concurrency: Count
    more_at: Time | None
    waits_for: str | None
    waits_since: Time | None
    waits_until: Time | None
    waits_detail: str | None
    lanes: list[QueuedLane]
    restored_at: Time | None = None
    restored_from: Time | None = None
