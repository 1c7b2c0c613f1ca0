"""When the next try or poll is due: backoff, jitter, Retry-After. Pure functions of counts, times and a random number.

Every span is in milliseconds. `jitter` is a random number in [0, 1), passed in so that tests can choose it.
"""

from collections.abc import Sequence

MINUTE = 60_000
HINT_LADDER = (0, 2_000, 5_000, 15_000, 60_000)  # after a hint: at once, then after these gaps, then normal ones
UNSURE_MOST = 15 * MINUTE  # an unsure submission holds its place no longer than this
DOWN_BACKOFF = (1_000, 2_000, 5_000, 15_000, 30_000, MINUTE)  # between probes of a provider that cannot be reached
BUSY_AGAIN = 1_000  # before a task that it was too busy for is submitted again; the others go on
PROBES = (MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE, 15 * MINUTE)  # while a key or balance is refused; after crashes
RETRY_AFTER_SHORT = 5_000  # one that is about a single request
RETRY_AFTER_MOST = 10 * MINUTE  # the longest Retry-After of a provider that we obey
GAP_GROWTH = 1.6
REWIND_LEAST = 5_000  # a smaller step is a normal correction of the clock
HISTORY_LEAST = 20  # tasks of a model before its own durations are used
HISTORY_MOST = 500
EXPECTED_LEAST = 30_000


def expected_duration(durations: Sequence[int], *, first: int, most: int) -> int:
    """How long a task of a model may take: 1.5 times the 0.99 quantile of `durations`, those of its last 500 tasks that
    accepted callbacks settled. `first` if there are fewer than 20. At least 30 s, at most `most`."""
    if len(durations) < HISTORY_LEAST:
        return min(first, most)
    ranked = sorted(durations)
    quantile = ranked[int(0.99 * len(ranked))]
    return int(min(max(1.5 * quantile, EXPECTED_LEAST), most))


def poll_gap(step: int, *, first: int, most: int, jitter: float) -> int:
    """The wait before poll number `step` (0: the first): grows by 1.6 up to `most`, ±10 % jitter."""
    return add_jitter(min(first * GAP_GROWTH ** min(step, 40), most), jitter)


def hint_gap(step: int) -> int | None:
    """The wait before the hint's poll number `step`, or None when there are no more."""
    return HINT_LADDER[step] if step < len(HINT_LADDER) else None


def busy_gap(in_a_row: int, retry_after: int | None, *, too_many: bool) -> int:
    """How long nothing is submitted after the provider was busy `in_a_row` (≥ 1) times.

    The first time, only the task itself waits, and the next one shows whether the others are taken, unless the provider
    asks for more than a few seconds. After a 429 (`too_many`) the rest is not as long as when the provider is in need.
    """
    if in_a_row == 1 and (retry_after or 0) <= RETRY_AFTER_SHORT:
        return 0
    if retry_after:
        return min(retry_after, RETRY_AFTER_MOST)
    return DOWN_BACKOFF[min(in_a_row - 2, 2 if too_many else len(DOWN_BACKOFF) - 1)]


def busy_again_gap(tries: int, *, jitter: float) -> int:
    """How much longer than the others a task waits that the provider was too busy for `tries` times: 1 s, then twice as
    long each time, up to a minute. It keeps its turn, so without that it would be tried before all others."""
    return add_jitter(min(BUSY_AGAIN << max(0, min(tries, 10) - 1), MINUTE), jitter)


def down_gap(failures: int, *, jitter: float) -> int:
    """The wait before the next probe after `failures` (≥ 1) requests in a row that could not be sent."""
    return add_jitter(DOWN_BACKOFF[min(failures, len(DOWN_BACKOFF)) - 1], jitter)


def notify_gap(schedule: Sequence[int], tries: int, *, jitter: float) -> int | None:
    """The wait after failure number `tries` (≥ 1) of a send, with up to 20 % added; None when tries are used up."""
    if tries > len(schedule):
        return None
    return int(schedule[tries - 1] * (1 + 0.2 * jitter))


def probe_gap(step: int) -> int:
    """The wait before probe number `step` (0: the first) of a provider that refuses our key, or of a send that may be
    what ends the process: so a row of crashes or kills within minutes costs no innocent one its life."""
    return PROBES[min(step, len(PROBES) - 1)]


def unsure_place(expected_ms: int) -> int:
    """How long an unsure submission holds a place in the provider's concurrency."""
    return min(3 * expected_ms, UNSURE_MOST)


def add_jitter(span: float, jitter: float) -> int:
    """`span` with ±10 %."""
    return int(span * (0.9 + 0.2 * jitter))


class ClockRewind:
    """Detects that the clock was set back. The first call always says so: before it, nothing is known.

    It keeps saying so until `mark_handled`, because what has to be done about it may fail or have to wait.
    """

    def __init__(self) -> None:
        self._latest: int | None = None

    def __call__(self, now: int) -> bool:
        """Whether the clock was set back, now that it shows `now`."""
        if self._latest is None or now < self._latest - REWIND_LEAST:
            return True
        self._latest = now
        return False

    def mark_handled(self, now: int) -> None:
        """The rewind was dealt with: compare with `now` from here on."""
        self._latest = now


def is_paused(until: int, now: int, most: int) -> bool:
    """Whether a pause until `until` is in force. One longer than `most` was set before the clock was set back."""
    return now < until <= now + most
