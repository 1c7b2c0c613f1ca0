"""What is counted, under names that dashboards hold on to; nothing global.

Counting is plain arithmetic, for it is in every callback's way. Prometheus' library only writes the text: it is
imported when that is first asked for, since a start would wait for it as long as for the database.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

from receiver.model import Heard, Send, Task

if TYPE_CHECKING:
    from prometheus_client import Metric

MEDIA_TYPE = "text/plain; version=1.0.0; charset=utf-8"  # of `text`
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)
_BOUNDS = (*map(str, _SECONDS), "+Inf")


class Spread:
    """A histogram over `_SECONDS`: how often something took how long."""

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS)  # of each bucket by itself
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """It took so long once more."""
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.total_s += seconds


class Metrics:
    """The counters of this process. Counts are made after the commit that they tell of, on the event loop's thread."""

    def __init__(self) -> None:
        self._callbacks: Counter[tuple[str, ...]] = Counter()
        self._tasks: Counter[tuple[str, ...]] = Counter()
        self._notices: Counter[tuple[str, ...]] = Counter()
        self._polls: Counter[tuple[str, ...]] = Counter()
        self.callback_seconds = Spread()
        self._notice_seconds = Spread()

    def called(self, verdicts: Iterable[str]) -> None:
        """Callbacks were stored, or refused as `foreign`."""
        for verdict in verdicts:
            self._callbacks[(verdict,)] += 1

    def settled(self, tasks: Iterable[Task]) -> None:
        """These tasks ended."""
        for task in tasks:
            self._tasks[task.state.value, task.settled_by.value if task.settled_by else ""] += 1

    def polled(self, heard: Heard) -> None:
        """The provider was asked."""
        self._polls[(heard.value,)] += 1

    def noticed(self, send: Send, state: str, now: int) -> None:
        """A send came to a result: `sent`, `failed` (it is tried again) or `dead`."""
        self._notices[send.target, state] += len(send.notices)
        if state == "sent":
            for notice in send.notices:
                self._notice_seconds.observe(max(0, now - notice.created_at) / 1000)

    def text(self, depths: Iterable[tuple[str, int]]) -> bytes:
        """All of it in Prometheus' text format, with the depth of each queue as it is now."""
        from prometheus_client import core, generate_latest

        def counter(name: str, told: str, labels: tuple[str, ...], counts: Mapping[tuple[str, ...], int]) -> "Metric":
            family = core.CounterMetricFamily(name, told, labels=labels)
            for values, count in counts.items():
                family.add_metric(values, count)
            return family

        def histogram(name: str, told: str, spread: Spread) -> "Metric":
            buckets = list(zip(_BOUNDS, accumulate(spread.counts), strict=True))
            return core.HistogramMetricFamily(name, told, buckets=buckets, sum_value=spread.total_s)

        waiting = core.GaugeMetricFamily("receiver_queue_depth", "What waits.", labels=("queue",))
        for queue, depth in depths:
            waiting.add_metric((queue,), depth)
        families = [
            counter("receiver_callbacks", "Callbacks by verdict.", ("verdict",), self._callbacks),
            counter("receiver_tasks", "Tasks that ended.", ("state", "settled_by"), self._tasks),
            counter("receiver_notices", "Notices by result.", ("target", "state"), self._notices),
            counter("receiver_polls", "Questions to the provider by result.", ("result",), self._polls),
            histogram("receiver_callback_seconds", "Body received to answer.", self.callback_seconds),
            histogram("receiver_notice_seconds", "Settled to sent.", self._notice_seconds),
            waiting,
        ]
        registry = core.CollectorRegistry()
        registry.register(_Collected(families))
        return generate_latest(registry)


class _Collected:
    """What is asked for its families by a registry of Prometheus' library."""

    def __init__(self, families: "list[Metric]") -> None:
        self._families = families

    def collect(self) -> "list[Metric]":
        return self._families
