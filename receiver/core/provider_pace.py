"""How fast a provider may be asked: its rate limit (429), and the circuit breakers for a key that it refuses and for a
provider that cannot be reached. Pure.

`ProviderPace` is a value; `after` makes the next one from what an answer says. Submit and sweep each keep one.
Times are milliseconds UTC. A pause that ends later than any can was set before the clock was set back, and counts as
over.
"""

from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.schedule import (
    DOWN_BACKOFF,
    PROBES,
    RETRY_AFTER_MOST,
    down_gap,
    is_paused,
    probe_gap,
)

SPACING_MOST_MS = 30_000
_DOWN_MOST_MS = 2 * DOWN_BACKOFF[-1]  # longer than any gap, and than a probe may take


class Signal(Enum):
    """What an answer says about the pace."""

    FINE = "fine"  # the provider worked on the request
    BUSY = "busy"  # 429, or its own "not available"
    UNAUTHORIZED = "unauthorized"  # our key or our balance is refused
    NOT_SENT = "not_sent"  # not one byte of the request left
    NOTHING = "nothing"


class ProviderPace(Struct, frozen=True):
    """How far apart requests start (`spacing_ms`), and until when none may.

    A 429 doubles the spacing, once for all requests that were under way together; each good answer halves it. How many
    may be under way is `ProvenLimit`'s to say. A refused key opens the circuit breaker: after 1, 2, 4, 8 and
    15 minutes a single request probes. So does a request that could not be sent: a single one probes after 1, 2, 5, 15,
    30 and 60 seconds, so that a provider that is down costs the others nothing.
    """

    spacing_least_ms: int = 0
    retry_after_most_ms: int = RETRY_AFTER_MOST
    spacing_ms: int = 0
    slowed_at: int = 0  # when the spacing was last doubled
    busy_until: int = 0
    busy_in_a_row: int = 0
    refusals: int = 0  # in a row
    refused_at: int = 0
    refused_since: int = 0  # when the breaker opened
    unauthorized: bool = False  # the breaker is open: only probes go out
    unauthorized_until: int = 0
    failures: int = 0  # requests in a row that could not be sent
    failed_at: int = 0
    down_since: int = 0  # when the first of them failed
    down_until: int = 0

    @property
    def spacing(self) -> int:
        """Milliseconds between the starts of two requests."""
        return max(self.spacing_ms, self.spacing_least_ms)

    def is_busy(self, now: int) -> bool:
        """Whether the provider asked for a rest that is not over yet."""
        return is_paused(self.busy_until, now, max(self.retry_after_most_ms, SPACING_MOST_MS))

    def is_unauthorized(self, now: int) -> bool:
        """Whether the breaker is open and no probe is due."""
        return is_paused(self.unauthorized_until, now, PROBES[-1])

    def is_down(self, now: int) -> bool:
        """Whether the last request could not be sent and no probe is due."""
        return self.failures > 0 and is_paused(self.down_until, now, _DOWN_MOST_MS)

    def paused_until(self, now: int) -> int | None:
        """When the pause in force at `now` ends, or None."""
        ends = [self.busy_until] if self.is_busy(now) else []
        ends += [self.unauthorized_until] if self.is_unauthorized(now) else []
        ends += [self.down_until] if self.is_down(now) else []
        return max(ends, default=None)

    def probing(self, now: int, answer_within_ms: int) -> "ProviderPace":
        """The pace while one request probes the key: the next waits for its answer, at most `answer_within_ms`."""
        return replace(self, unauthorized=True, unauthorized_until=now + answer_within_ms)

    def probing_again(self, now: int, answer_within_ms: int) -> "ProviderPace":
        """The pace while one request probes whether the provider can be reached again."""
        return replace(self, down_until=now + answer_within_ms)

    def after(
        self, signal: Signal, *, sent_at: int, now: int, retry_after_ms: int | None = None, jitter: float = 0.5
    ) -> "ProviderPace":
        """The pace after the answer to a request that went out at `sent_at`."""
        if signal is Signal.NOT_SENT:
            return self._failed(sent_at, now, jitter)
        reached = (
            replace(self, failures=0, down_until=0, down_since=0)
            if self.failures and sent_at > self.failed_at
            else self
        )
        return reached._after_answer(signal, sent_at, now, retry_after_ms)

    def _after_answer(self, signal: Signal, sent_at: int, now: int, retry_after_ms: int | None) -> "ProviderPace":
        match signal:
            case Signal.UNAUTHORIZED:
                return self._refused(sent_at, now)
            case Signal.BUSY:
                return self._slowed(sent_at, now, retry_after_ms or 0)
            case Signal.FINE if not any(sent_at <= at <= now for at in (self.refused_at, self.slowed_at)):
                # a refusal that came in the meantime is newer and wins
                spacing_ms = max(self.spacing // 2, self.spacing_least_ms)
                return replace(
                    self,
                    unauthorized=False,
                    refusals=0,
                    unauthorized_until=0,
                    refused_since=0,
                    busy_until=0,
                    busy_in_a_row=0,
                    spacing_ms=spacing_ms,
                )
        return self

    def _failed(self, sent_at: int, now: int, jitter: float) -> "ProviderPace":
        if self.failures and sent_at <= self.failed_at <= now:
            return self
        failures = self.failures + 1
        return replace(
            self,
            failures=failures,
            failed_at=now,
            down_since=self.down_since if self.failures else now,
            down_until=now + down_gap(failures, jitter=jitter),
        )

    def _refused(self, sent_at: int, now: int) -> "ProviderPace":
        if sent_at <= self.refused_at:
            return replace(self, unauthorized=True)
        return replace(
            self,
            unauthorized=True,
            unauthorized_until=now + probe_gap(self.refusals),
            refusals=self.refusals + 1,
            refused_at=now,
            refused_since=self.refused_since or now,
        )

    def _slowed(self, sent_at: int, now: int, retry_after_ms: int) -> "ProviderPace":
        rest_ms = min(retry_after_ms, self.retry_after_most_ms)
        pace = replace(self, busy_in_a_row=self.busy_in_a_row + 1)
        if sent_at > self.slowed_at:
            spacing_ms = min(self.spacing * 2, SPACING_MOST_MS)
            pace = replace(pace, slowed_at=now, spacing_ms=spacing_ms)
        return replace(pace, busy_until=max(self.busy_until, now + max(rest_ms, pace.spacing)))
