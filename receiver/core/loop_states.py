"""What the loops that ask the provider have learnt: all of it that must hold for every process over one database. Pure.

A state is read and written back under a lock, so whatever one process finds out holds for all of them at once. What the
settings say (how many at once, how far apart) is this process's own, whatever the others were told.
"""

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.budgets import BudgetWaits
from receiver.core.proven_limit import ProvenLimit
from receiver.core.provider_pace import ProviderPace, Signal
from receiver.core.schedule import busy_gap
from receiver.core.types import SubmitAnswer, SubmitResult

_SIGNALS = {
    SubmitResult.TAKEN: Signal.FINE,
    SubmitResult.REFUSED: Signal.FINE,
    SubmitResult.BUSY: Signal.BUSY,
    SubmitResult.NOT_SENT: Signal.NOT_SENT,
}


class SubmitState(Struct, frozen=True):
    """What the submissions to a provider have taught: how fast they may go, how many it takes, when the newest task was
    sent that it took (0: none yet), and why no more are submitted. `at`: when something of it changed last."""

    pace: ProviderPace
    limit: ProvenLimit
    taken_at: int = 0
    waits: BudgetWaits = BudgetWaits()
    at: int = 0

    def with_settings_of(self, own: "SubmitState") -> "SubmitState":
        """The same under the settings of this process."""
        limit = replace(self.limit, concurrency=own.limit.concurrency)
        return replace(self, pace=_with_settings(self.pace, own.pace), limit=limit)

    def probing(self, now: int, answer_within_ms: int) -> "SubmitState":
        """The state while a request goes out: if the others rest, it is the one that probes."""
        pace = self.pace
        if pace.unauthorized:
            pace = pace.probing(now, answer_within_ms)
        if pace.failures:
            pace = pace.probing_again(now, answer_within_ms)
        return self if pace is self.pace else replace(self, pace=pace)

    def rest_after(self, answer: SubmitAnswer) -> int:
        """How long nothing is submitted after this answer, in milliseconds."""
        if answer.result is not SubmitResult.BUSY:
            return 0
        rest_ms = busy_gap(self.pace.busy_in_a_row + 1, answer.retry_after_ms, too_many=answer.too_many)
        return min(rest_ms, self.pace.retry_after_most_ms)

    def after(
        self, answer: SubmitAnswer, *, all_refused: bool, in_hand: int, sent_at: int, now: int, jitter: float
    ) -> "SubmitState":
        """The state after the answer to a request that went out at `sent_at`, while the provider has `in_hand` without
        its task. `all_refused`: it refuses not only this task."""
        limit, taken_at = self.limit, self.taken_at
        if answer.result is SubmitResult.TAKEN:
            taken_at = sent_at if taken_at > now else max(taken_at, sent_at)
            limit = limit.taken(in_hand + 1, now)
        if answer.result is SubmitResult.BUSY and answer.too_many:
            limit = limit.refused(in_hand, sent_at=sent_at, now=now)
        pace = self.pace.after(
            Signal.UNAUTHORIZED if all_refused else _SIGNALS.get(answer.result, Signal.NOTHING),
            sent_at=sent_at,
            now=now,
            retry_after_ms=self.rest_after(answer),
            jitter=jitter,
        )
        return replace(self, pace=pace, limit=limit, taken_at=taken_at)


class SweepState(Struct, frozen=True):
    """What the polls of a provider have taught: how fast they may go, when the next one may, and when the last ones
    settled a task without a callback in between. `at`: when something of it changed last."""

    pace: ProviderPace
    next_slot: int = 0
    found: tuple[int, ...] = ()
    at: int = 0

    def with_settings_of(self, own: "SweepState") -> "SweepState":
        """The same under the settings of this process."""
        return replace(self, pace=_with_settings(self.pace, own.pace))


def _with_settings(pace: ProviderPace, own: ProviderPace) -> ProviderPace:
    return replace(pace, spacing_least_ms=own.spacing_least_ms, retry_after_most_ms=own.retry_after_most_ms)
