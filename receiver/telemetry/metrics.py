"""The service's metrics for Prometheus, under names that dashboards rely on. There is no global state.

Counting is plain arithmetic, because every callback waits for it. Prometheus' library only writes the text, and is
imported when that is first asked for: importing it takes as long as opening the database.
"""

import platform
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate, product
from typing import TYPE_CHECKING

from msgspec import Struct

from receiver import __version__
from receiver.core.money import NANO, to_nano
from receiver.core.types import ArchiveState, OutcomeSource, PollResult, Send, SubmitResult, Task, TaskState, Verdict

if TYPE_CHECKING:
    from prometheus_client import Metric

MEDIA_TYPE = "text/plain; version=1.0.0; charset=utf-8"  # of `Metrics.render_text`
FOREIGN = "foreign"  # counted beside the verdicts: a callback whose token is not ours
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)
_BOUNDS = (*map(str, _SECONDS), "+Inf")
_ENDS = (TaskState.COMPLETED, TaskState.FAILED, TaskState.LOST, TaskState.CANCELLED)
_NOTICED = ("sent", "failed", "dead")
_MODELS_MOST = 50  # of a metric's label: names in callbacks may be anything
_OTHER = "other"

Rows = Mapping[tuple[str, ...], float | None]
"""Values of a gauge by the values of its labels."""


class GaugeValues(Struct, frozen=True, kw_only=True):
    """The state at this moment. Sizes are in bytes; None, or a missing queue, means that it could not be read."""

    depths: Iterable[tuple[str, int]] = ()  # of each queue
    waits: Iterable[tuple[str, int]] = ()  # queued tasks, by what they wait for
    ready: bool = True
    disk_free: int | None = None
    disk_size: int | None = None
    database: int | None = None
    database_log: int | None = None
    reserved_usd: float | None = None  # for the tasks in hand


class SecondsHistogram:
    """A histogram of durations, with the buckets `_SECONDS`."""

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS)  # per bucket, not cumulative
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.total_s += seconds


class Metrics:
    """The counters of this process. Call them after the commit of what they count, on the event loop's thread.

    All counters, including those of the named `targets`, exist with 0 from the start: if one first appeared as 1, an
    alert rule could not see that it grew.
    """

    def __init__(self, targets: Iterable[str] = ()) -> None:
        self._callbacks = _zero_counts([*Verdict, FOREIGN])
        self._tasks = _zero_counts(_ENDS, (*OutcomeSource, ""))  # "": nobody settled it, it is lost
        self._notices = _zero_counts(targets, _NOTICED)
        self._submissions = _zero_counts(SubmitResult)
        self._polls = _zero_counts(PollResult)
        self._archived = _zero_counts((ArchiveState.DONE, ArchiveState.FAILED))
        self._clock_leaps = _zero_counts()
        self._costs: dict[tuple[str, ...], float] = {}
        self.callback_seconds = SecondsHistogram()
        self._notice_seconds = SecondsHistogram()

    def count_callbacks(self, verdicts: Iterable[str]) -> None:
        """Count callbacks that were stored, or refused as `FOREIGN`."""
        for verdict in verdicts:
            self._callbacks[(verdict,)] += 1

    def count_settled(self, tasks: Iterable[Task]) -> None:
        """Count tasks that ended."""
        for task in tasks:
            self._tasks[task.state, task.settled_by or ""] += 1
            if task.usage is not None and (cost := to_nano(task.usage.cost)):
                model = (task.model or _OTHER,)
                if model not in self._costs and len(self._costs) >= _MODELS_MOST:
                    model = (_OTHER,)
                self._costs[model] = self._costs.get(model, 0.0) + cost / NANO

    def count_submission(self, taken: SubmitResult) -> None:
        """Count a submission, by what its answer means."""
        self._submissions[(taken.value,)] += 1

    def count_poll(self, heard: PollResult) -> None:
        """Count a poll, by what its reply means."""
        self._polls[(heard.value,)] += 1

    def count_archived(self, end: ArchiveState) -> None:
        """Count a task whose archiving ended: `done`, or `failed` if not one picture could be kept."""
        self._archived[(end.value,)] += 1

    def count_clock_leaps(self, count: int) -> None:
        """Count leaps of the wall clock."""
        self._clock_leaps[()] += count

    def count_send(self, send: Send, state: str, now: int) -> None:
        """Count a send's notices by its result: `sent`, `failed` (it will be tried again) or `dead`."""
        self._notices[send.target, state] += len(send.notices)
        if state == "sent":
            for notice in send.notices:
                self._notice_seconds.observe(max(0, now - notice.created_at) / 1000)

    def render_text(self, now: GaugeValues) -> bytes:
        """All metrics in Prometheus' text format, with the state `now` and what the process uses."""
        from prometheus_client import core, generate_latest
        from prometheus_client.process_collector import ProcessCollector

        def counter_family(
            name: str, help_text: str, labels: tuple[str, ...], counts: Mapping[tuple[str, ...], float]
        ) -> "Metric":
            family = core.CounterMetricFamily(name, help_text, labels=labels)
            for values, count in counts.items():
                family.add_metric(values, count)
            return family

        def histogram_family(name: str, help_text: str, spread: SecondsHistogram) -> "Metric":
            buckets = list(zip(_BOUNDS, accumulate(spread.counts), strict=True))
            return core.HistogramMetricFamily(name, help_text, buckets=buckets, sum_value=spread.total_s)

        def gauge_family(name: str, help_text: str, rows: Rows, *labels: str) -> "Metric":
            family = core.GaugeMetricFamily(name, help_text, labels=labels)
            for values, value in rows.items():
                if value is not None:
                    family.add_metric(values, value)
            return family

        depths: Rows = {(queue,): depth for queue, depth in now.depths}
        waits: Rows = {(why,): count for why, count in now.waits}
        sizes: Rows = {("database",): now.database, ("log",): now.database_log}
        made: Rows = {(__version__, platform.python_version()): 1}
        families = [
            counter_family("receiver_callbacks", "Callbacks by verdict.", ("verdict",), self._callbacks),
            counter_family("receiver_tasks", "Tasks that ended.", ("state", "settled_by"), self._tasks),
            counter_family("receiver_notices", "Notices by result.", ("target", "state"), self._notices),
            counter_family(
                "receiver_submissions", "Submissions by what the answer means.", ("result",), self._submissions
            ),
            counter_family("receiver_polls", "Polls by result.", ("result",), self._polls),
            counter_family(
                "receiver_archived", "Tasks whose pictures were kept, or could not be.", ("state",), self._archived
            ),
            counter_family("receiver_cost_usd", "What ended tasks cost, in USD.", ("model",), self._costs),
            counter_family("receiver_clock_leaps", "Leaps of the wall clock.", (), self._clock_leaps),
            histogram_family(
                "receiver_callback_seconds", "From a callback's body to its answer.", self.callback_seconds
            ),
            histogram_family("receiver_notice_seconds", "From a task's end to its message.", self._notice_seconds),
            gauge_family("receiver_queue_depth", "Items that wait, by queue.", depths, "queue"),
            gauge_family("receiver_queued_tasks", "Queued tasks, by what they wait for.", waits, "waits_for"),
            gauge_family("receiver_reserved_usd", "What the tasks in hand may cost, in USD.", {(): now.reserved_usd}),
            gauge_family("receiver_ready", "1: the last commit succeeded and nothing stops.", {(): now.ready}),
            gauge_family("receiver_disk_free_bytes", "Free space on the disk of the database.", {(): now.disk_free}),
            gauge_family("receiver_disk_size_bytes", "Size of the disk of the database.", {(): now.disk_size}),
            gauge_family("receiver_database_bytes", "The database and its write-ahead log.", sizes, "file"),
            gauge_family("receiver_build_info", "The running version.", made, "version", "python"),
        ]
        registry = core.CollectorRegistry()
        registry.register(_FamilyCollector(families))
        ProcessCollector(registry=registry)
        return generate_latest(registry)


class _FamilyCollector:
    """Hands ready-made families to a registry of Prometheus' library."""

    def __init__(self, families: "list[Metric]") -> None:
        self._families = families

    def collect(self) -> "list[Metric]":
        return self._families


def _zero_counts(*labels: Iterable[str]) -> Counter[tuple[str, ...]]:
    """A count of 0 for every combination of the labels' values."""
    return Counter(dict.fromkeys(product(*([str(it) for it in values] for values in labels)), 0))
