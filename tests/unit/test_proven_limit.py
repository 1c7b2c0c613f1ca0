"""How many tasks may be in hand at once, by what the provider took and refused; and a simulation of five hundred."""

import heapq
import random
from collections.abc import Callable
from itertools import count

import pytest
from msgspec import Struct

from receiver.core.proven_limit import PROBE_GAPS, PROVEN_MS, ProvenLimit
from receiver.core.schedule import BUSY_AGAIN, busy_gap

NOW = 1_700_000_000_000
SECOND = 1_000
TEN = ProvenLimit(10)


def held(limit: ProvenLimit, in_hand: int, now: int = NOW) -> ProvenLimit:
    """The limit after so many were taken one after the other."""
    for place in range(1, in_hand + 1):
        limit = limit.taken(place, now)
    return limit


def test_a_limit_is_a_value_that_begins_without_a_history() -> None:
    assert ProvenLimit(10) == ProvenLimit(10, None, 0, 0, 0, 0, 0, 0, 0)
    with pytest.raises(AttributeError):
        TEN.ceiling = 1  # type: ignore[misc]


def test_one_above_the_limit_is_tried_after_five_seconds_and_ten_minutes_at_most() -> None:
    assert [gap // SECOND for gap in PROBE_GAPS] == [5, 30, 60, 120, 240, 600]
    assert PROBE_GAPS[1] == 30_000
    assert PROVEN_MS == 600_000


def test_until_something_is_refused_all_places_are_free() -> None:
    assert (TEN.places(NOW), TEN.next_probe(NOW)) == (10, None)
    assert held(TEN, 7).places(NOW) == 10


def test_a_429_with_as_many_in_hand_as_ever_is_the_limit_and_one_more_is_tried_in_growing_gaps() -> None:
    limit, at = held(TEN, 6), NOW
    for gap in (*PROBE_GAPS, PROBE_GAPS[-1]):
        limit = limit.refused(6, sent_at=at, now=at + 1)
        assert limit.refused(6, sent_at=at, now=at + 2) == limit, "the others that were under way say nothing new"
        assert (limit.places(at + gap), limit.places(at + 1 + gap), limit.next_probe(at + 1)) == (6, 7, at + 1 + gap)
        at += 1 + gap
        assert limit.next_probe(at) is None


def test_a_429_to_a_request_that_was_sent_when_the_limit_was_lowered_says_nothing_new() -> None:
    limit = held(TEN, 6).refused(6, sent_at=NOW, now=NOW + 1)
    assert limit.refused(5, sent_at=NOW + 1, now=NOW + 2) == limit
    assert limit.refused(5, sent_at=NOW + 2, now=NOW + 2) != limit
    assert limit.refused(5, sent_at=NOW - 9, now=NOW - 8) != limit, "it was lowered by a clock that was ahead"


def test_a_probe_that_is_refused_while_one_has_just_ended_is_tried_again_later() -> None:
    limit = held(TEN, 6).refused(6, sent_at=NOW, now=NOW + 1)
    at = NOW + 1 + PROBE_GAPS[0]
    again = limit.refused(5, sent_at=at, now=at)
    assert (again.places(at), again.next_probe(at)) == (6, at + PROBE_GAPS[1])
    at += PROBE_GAPS[1]
    third = again.taken(6, at).refused(5, sent_at=at, now=at)
    assert third.next_probe(at) == at + PROBE_GAPS[2]


def test_a_limit_that_was_guessed_is_believed_once_two_probes_were_refused() -> None:
    limit, at = held(TEN, 10), NOW
    for _ in range(3):
        limit, at = limit.refused(3, sent_at=at, now=at), at + 1
    assert limit.proven == 10, "a guess"
    at += PROBE_GAPS[0]
    once = limit.taken(3, at).refused(2, sent_at=at, now=at)
    assert (once.proven, once.probes) == (10, 1)
    at += PROBE_GAPS[1]
    twice = once.taken(3, at).refused(2, sent_at=at, now=at)
    assert (twice.proven, twice.ceiling, twice.probes) == (3, 3, 2)


def test_what_was_proven_is_the_most_and_lasts_from_the_last_time_it_was_reached() -> None:
    limit = held(TEN, 4)
    assert (limit.taken(3, NOW + 5).proven, limit.taken(3, NOW + 5).proven_at) == (4, NOW)
    assert limit.taken(4, NOW + 5).proven_at == NOW + 5
    forgotten = limit.taken(2, NOW + PROVEN_MS)
    assert (forgotten.proven, forgotten.proven_at) == (2, NOW + PROVEN_MS)
    raised = limit.refused(4, sent_at=NOW, now=NOW + 1).taken(10, NOW + 2)
    assert (raised.ceiling, raised.probes, raised.probe_at, raised.streak) == (None, 0, 0, 1)


def test_one_taken_above_the_limit_raises_it_and_at_what_was_configured_there_is_none() -> None:
    limit = held(ProvenLimit(4), 2).refused(2, sent_at=NOW, now=NOW + 1)
    raised = limit.taken(3, NOW + 5_001)
    assert (raised.places(NOW + 5_002), raised.next_probe(NOW + 5_002)) == (3, NOW + 10_001)
    assert raised.taken(4, NOW + 10_002).places(NOW + 10_002) == 4


def test_a_429_with_fewer_in_hand_than_before_is_about_the_rate_until_it_is_the_third_in_a_row() -> None:
    limit = held(TEN, 10)
    once = limit.refused(4, sent_at=NOW, now=NOW + 1)
    twice = once.refused(4, sent_at=NOW + 2, now=NOW + 3)
    assert (once.places(NOW), twice.places(NOW)) == (10, 10)
    assert twice.taken(5, NOW + 4).refused(4, sent_at=NOW + 5, now=NOW + 6).places(NOW + 6) == 10
    assert twice.refused(4, sent_at=NOW + 4, now=NOW + 5).places(NOW + 6) == 4


def test_after_ten_minutes_what_was_proven_is_forgotten() -> None:
    limit = held(TEN, 10)
    assert limit.refused(4, sent_at=NOW, now=NOW + PROVEN_MS - 1).places(NOW + PROVEN_MS) == 10
    assert limit.refused(4, sent_at=NOW, now=NOW + PROVEN_MS).places(NOW + PROVEN_MS) == 4


def test_a_limit_that_was_only_guessed_is_tried_as_soon_as_as_many_were_taken_in_a_row() -> None:
    limit = held(TEN, 10)
    for step in range(3):
        limit = limit.refused(3, sent_at=NOW + step, now=NOW + step)
    assert limit.places(NOW + 9) == 3
    assert held(limit, 2, NOW + 9).places(NOW + 9) == 3
    assert held(limit, 3, NOW + 9).places(NOW + 9) == 4


def test_with_nothing_in_hand_a_429_is_never_about_the_limit() -> None:
    limit = TEN
    for step in range(9):
        limit = limit.refused(0, sent_at=NOW + step, now=NOW + step)
    assert limit.places(NOW + 9) == 10


def test_a_clock_that_was_set_back_does_no_harm() -> None:
    limit = held(TEN, 2).refused(2, sent_at=NOW - 1, now=NOW)
    assert limit.places(NOW) == 2
    assert limit.places(NOW - PROBE_GAPS[-1]) == 3, "the probe is not as far ahead as that"


# -- five hundred tasks of a second, ten at a time --


class Run(Struct):
    seconds: float
    refused: int


def simulate(limit_at: Callable[[float], int], *, chance: float = 0.0, retry_after: int = SECOND, seed: int = 0) -> Run:
    """Let the limit and the rests decide over a provider that takes `limit_at(seconds)` at once, and refuses some."""
    luck = random.Random(seed)  # noqa: S311 - chance, not a secret
    numbers = count()
    now, busy_until, in_a_row, refused, ended, held_now, under_way = NOW, 0, 0, 0, 0, 0, 0
    limit, queue = TEN, [(turn, 0) for turn in range(500)]
    events: list[tuple[int, int, str, tuple[int, int]]] = []

    def at(time: int, what: str, of: tuple[int, int] = (0, 0)) -> None:
        heapq.heappush(events, (time, next(numbers), what, of))

    at(now, "look")
    while ended < 500:
        now, _, what, (turn, sent_at) = heapq.heappop(events)
        if what == "ended":
            held_now, ended = held_now - 1, ended + 1
        elif what == "answer":
            under_way -= 1
            if held_now < limit_at((now - NOW) / 1_000) and luck.random() >= chance:
                held_now, in_a_row, busy_until = held_now + 1, 0, 0
                limit = limit.taken(held_now, now)
                at(now + SECOND, "ended")
            else:
                refused, in_a_row = refused + 1, in_a_row + 1
                limit = limit.refused(held_now, sent_at=sent_at, now=now)
                rest = busy_gap(in_a_row, retry_after, too_many=True)
                busy_until = max(busy_until, now + rest)
                queue = sorted([*queue, (turn, now + max(rest, retry_after) + BUSY_AGAIN)])
        while now >= busy_until and held_now + under_way < limit.places(now):
            found = next((it for it in queue if it[1] <= now), None)
            if found is None:
                break
            queue.remove(found)
            under_way += 1
            at(now + 20, "answer", (found[0], now))
        at(min([it for it in (busy_until, limit.next_probe(now) or 0) if it > now], default=now + 250), "look")
    return Run((now - NOW) / 1_000, refused)


@pytest.mark.parametrize("seed", range(6))
def test_random_refusals_cost_little(seed: int) -> None:
    """Halving at every refusal, 500 tasks took 521 seconds; without a refusal 51."""
    assert simulate(lambda _: 99, chance=0.1, seed=seed).seconds < 75


@pytest.mark.parametrize(("limit", "seconds", "refused"), [(6, 91, 8), (3, 184, 10)])
def test_a_true_limit_is_found_and_kept(limit: int, seconds: int, refused: int) -> None:
    run = simulate(lambda _: limit)
    assert run.seconds < seconds
    assert run.refused <= refused


def test_a_limit_that_is_lowered_or_raised_is_followed() -> None:
    lowered = simulate(lambda at: 10 if at < 20 else 4)
    assert lowered.seconds < 107
    assert lowered.refused <= 16
    assert simulate(lambda at: 4 if at < 20 else 10).seconds < 90


def test_what_is_refused_at_the_most_that_was_ever_in_hand_proves_it_again() -> None:
    """So ten minutes later one fewer is still less than what is proven, and its refusal is about the rate."""
    limit, at = held(TEN, 6), NOW + PROVEN_MS - 1
    limit = limit.refused(6, sent_at=at, now=at)
    at += PROVEN_MS - 1
    assert limit.refused(5, sent_at=at, now=at).places(at) == 6


def test_a_limit_that_is_refused_again_while_no_more_is_tried_stays_a_guess() -> None:
    """Five in a row are taken there, so one more is tried at once; else that would wait for two minutes."""
    at = NOW + 1
    limit = ProvenLimit(10, ceiling=5, proven=8, proven_at=NOW, lowered_at=NOW, probe_at=at + PROBE_GAPS[1])
    for _ in range(3):
        limit = limit.refused(5, sent_at=at, now=at)
    for taken in range(5):
        assert limit.places(at) == 5, taken
        limit = limit.taken(5, at)
    assert limit.places(at) == 6


def test_a_refusal_of_the_rate_begins_the_row_of_the_taken_anew() -> None:
    at = NOW + 1
    limit = ProvenLimit(10, ceiling=3, proven=8, proven_at=NOW, lowered_at=NOW, probe_at=at + PROBE_GAPS[1])
    limit = limit.taken(3, at).taken(3, at).refused(3, sent_at=at, now=at)
    for places in (3, 3, 3, 4):
        assert limit.places(at) == places
        limit = limit.taken(3, at)
