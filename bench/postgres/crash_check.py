"""Checks what must be true after the kills, against the PostgreSQL database itself and what reached the outside.

It uses none of the product's code, only the names of its tables, so that the product cannot hide its own mistakes.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from bench.postgres.sinks import CountedPing

Ask = Callable[[str], list[list[str]]]
"""Runs one SELECT and gives its rows as text."""


class CrashEvidence(Struct, frozen=True, kw_only=True):
    """What was seen outside: callbacks answered 200 (ref, SHA-256), submissions answered 202 (ref to label), what the
    provider took (how often, by label), what the targets got."""

    answered: frozenset[tuple[str, str]]
    accepted: Mapping[str, str]
    taken: Mapping[str, int]
    pings: tuple[CountedPing, ...]
    overlaps: tuple[str, ...]


class PostgresFindings(Struct, frozen=True, kw_only=True):
    """The counts, and one line for each way in which the promise was broken (empty: it was kept)."""

    answered: int  # callbacks that were answered 200
    accepted: int  # submissions that were answered 202
    settled: int  # tasks completed
    notified: int  # of these, with their one notice sent, and seen by its target
    repeats: int  # pings beyond the first about the same task
    unsure: int  # tasks that a person had to decide
    broken: tuple[str, ...]


def check_promises(ask: Ask, seen: CrashEvidence, unsure: int) -> PostgresFindings:
    """Check the database after the outbox ran empty."""
    kept = {
        (ref, digest) for ref, digest in ask("SELECT ref, encode(digest, 'hex') FROM callbacks WHERE body IS NOT NULL")
    }
    states = {ref: (state, label) for ref, state, label in ask("SELECT ref, state, coalesce(label, '') FROM tasks")}
    sent = defaultdict(list)
    for ref, state in ask("SELECT ref, state FROM notices WHERE event = 'completed'"):
        sent[ref].append(state)
    verdicts = {
        verdict: int(count) for verdict, count in ask("SELECT verdict, count(*) FROM callbacks GROUP BY verdict")
    }
    times = _count_labels(seen.pings)
    settled = {ref for ref, (state, _) in states.items() if state == "completed"}
    notified = {ref for ref in settled if sent[ref] == ["sent"] and times[states[ref][1]]}
    called = {ref for ref, _ in seen.answered}
    labels_settled = {states[ref][1] for ref in settled}
    counts = {
        "answered 200, but not in the database": len(seen.answered - kept),
        "answered 200, but its task is not settled": len(called - settled),
        "answered 202, but its task is not in the database": len(set(seen.accepted) - set(states)),
        "not ended": sum(state != "completed" for state, _ in states.values()),
        "settled, but its one notice was not sent and received": len(settled - notified),
        "reported, but not settled": len(set(times) - labels_settled),
        "taken by the provider more than once": sum(count > 1 for count in seen.taken.values()),
        "callbacks stored that were not understood": verdicts.get("unparsed", 0),
        "messages to one target under way at once": len(seen.overlaps),
    }
    return PostgresFindings(
        answered=len(seen.answered),
        accepted=len(seen.accepted),
        settled=len(settled),
        notified=len(notified),
        repeats=sum(times.values()) - len(times),
        unsure=unsure,
        broken=tuple(f"{what}: {count:d}" for what, count in counts.items() if count),
    )


def _count_labels(pings: Iterable[CountedPing]) -> Counter[str]:
    return Counter(label for ping in pings for label in ping.labels)
