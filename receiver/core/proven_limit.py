"""How many tasks a provider takes at once, as far as its answers prove it. Pure.

A 429 means one of two things. If the provider has as many tasks in hand as it ever had, that is our plan's limit: no
more are sent, and one above it is tried from time to time. If it had more before, the 429 is about the rate: the
limit stays, and the task is tried again soon. Three refusals in a row look like a limit that was lowered since; the
first task above it is tried as soon as that many were taken in a row.

`ProvenLimit` is a value; `taken` and `refused` make the next one. Times are milliseconds UTC.
"""

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.schedule import MINUTE, is_paused

PROBE_GAPS = (5_000, 30_000, MINUTE, 2 * MINUTE, 4 * MINUTE, 10 * MINUTE)  # before one above the limit is tried
PROVEN_MS = 10 * MINUTE  # for how long the most that were in hand counts
IN_A_ROW = 3  # refusals without one taken between them


class ProvenLimit(Struct, frozen=True):
    """The tasks that may be in hand at once: `concurrency`, or fewer once the provider refused more."""

    concurrency: int
    ceiling: int | None = None  # what the provider takes; None: it never refused because of it
    proven: int = 0  # the most that it had in hand
    proven_at: int = 0
    in_a_row: int = 0  # refusals
    streak: int = 0  # tasks taken since the last refusal
    lowered_at: int = 0
    probe_at: int = 0  # when one above the ceiling may be tried
    probes: int = 0  # tried in vain at this ceiling

    def places(self, now: int) -> int:
        """How many tasks may be in hand at `now`."""
        if self.ceiling is None:
            return self.concurrency
        return min(self.concurrency, self.ceiling + (0 if self._rests(now) else 1))

    def next_probe(self, now: int) -> int | None:
        """When there will be one place more, if nothing is answered before."""
        return self.probe_at if self.ceiling is not None and self._rests(now) else None

    def taken(self, in_hand: int, now: int) -> "ProvenLimit":
        """The limit after the provider took a task and has `in_hand` now, this one among them."""
        limit = replace(self, in_a_row=0, streak=self.streak + 1)
        if in_hand >= self._proven(now):
            limit = replace(limit, proven=in_hand, proven_at=now)
        if self.ceiling is None:
            return limit
        if in_hand <= self.ceiling:
            guessed = self.ceiling < self._proven(now)
            return replace(limit, probe_at=now) if guessed and limit.streak == self.ceiling else limit
        if in_hand >= self.concurrency:
            return replace(limit, ceiling=None, probes=0, probe_at=0)
        return replace(limit, ceiling=in_hand)._wait_for_probe(0, now)

    def refused(self, in_hand: int, *, sent_at: int, now: int) -> "ProvenLimit":
        """The limit after a 429 to a request that was sent at `sent_at`, while the provider has `in_hand`. One that was
        sent before the limit was lowered says nothing new."""
        if sent_at <= self.lowered_at <= now:
            return self
        in_a_row = self.in_a_row + 1
        if not in_hand or (in_hand < self._proven(now) and in_a_row < IN_A_ROW):  # with none in hand it cannot be full
            limit = replace(self, in_a_row=in_a_row, streak=0)
            if self.ceiling is None or self._rests(now):
                return limit
            if self.probes:  # refused twice at this ceiling: it is the limit
                limit = replace(limit, proven=self.ceiling, proven_at=now)
            return limit._wait_for_probe(self.probes + 1, now)
        again = in_hand == self.ceiling
        limit = self
        if (again and self.probes) or in_hand >= self._proven(now):
            limit = replace(self, proven=in_hand, proven_at=now)
        limit = replace(limit, ceiling=in_hand, in_a_row=in_a_row, streak=0, lowered_at=now)
        return limit._wait_for_probe(self.probes + 1 if again else 0, now)

    def _wait_for_probe(self, probes: int, now: int) -> "ProvenLimit":
        probes = min(probes, len(PROBE_GAPS) - 1)
        return replace(self, probes=probes, probe_at=now + PROBE_GAPS[probes])

    def _proven(self, now: int) -> int:
        return self.proven if self.proven_at <= now < self.proven_at + PROVEN_MS else 0

    def _rests(self, now: int) -> bool:
        return is_paused(self.probe_at, now, PROBE_GAPS[-1])
