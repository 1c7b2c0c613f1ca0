"""What is counted, under names that dashboards hold on to; one registry a process, nothing global."""

from collections import Counter as TallyOf
from collections.abc import Iterable
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from receiver.model import Heard, Send, Task

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600)


class Metrics:
    """The counters of this process. Counts are made after the commit that they tell of."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        on = self._registry
        callbacks = Counter("receiver_callbacks", "Callbacks by verdict.", ["verdict"], registry=on)
        self._callbacks = lru_cache(maxsize=None)(callbacks.labels)  # finding a child by its label is dear
        tasks = Counter("receiver_tasks", "Tasks that ended.", ["state", "settled_by"], registry=on)
        self._tasks = lru_cache(maxsize=None)(tasks.labels)
        self._notices = Counter("receiver_notices", "Notices by result.", ["target", "state"], registry=on)
        self._polls = Counter("receiver_polls", "Questions to the provider by result.", ["result"], registry=on)
        self.callback_seconds = Histogram(
            "receiver_callback_seconds", "Body received to answer.", buckets=_SECONDS, registry=on
        )
        self._notice_seconds = Histogram("receiver_notice_seconds", "Settled to sent.", buckets=_SECONDS, registry=on)
        self._depth = Gauge("receiver_queue_depth", "What waits.", ["queue"], registry=on)

    def called(self, verdicts: Iterable[str]) -> None:
        """Callbacks were stored, or refused as `foreign`."""
        for verdict, count in TallyOf(verdicts).items():
            self._callbacks(verdict).inc(count)

    def settled(self, tasks: Iterable[Task]) -> None:
        """These tasks ended."""
        ends = TallyOf((task.state.value, task.settled_by.value if task.settled_by else "") for task in tasks)
        for (state, settled_by), count in ends.items():
            self._tasks(state, settled_by).inc(count)

    def polled(self, heard: Heard) -> None:
        """The provider was asked."""
        self._polls.labels(heard.value).inc()

    def noticed(self, send: Send, state: str, now: int) -> None:
        """A send came to a result: `sent`, `failed` (it is tried again) or `dead`."""
        self._notices.labels(send.target, state).inc(len(send.notices))
        if state == "sent":
            for notice in send.notices:
                self._notice_seconds.observe(max(0, now - notice.created_at) / 1000)

    def text(self, depths: Iterable[tuple[str, int]]) -> bytes:
        """All of it in Prometheus' text format, with the depth of each queue as it is now."""
        self._depth.clear()
        for queue, depth in depths:
            self._depth.labels(queue).set(depth)
        return generate_latest(self._registry)
