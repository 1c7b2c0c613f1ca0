"""Checks what must be true after the kills, against the database file itself and what reached the targets.

It uses none of the product's code, only the names of its tables, so that the product cannot hide its own mistakes.
"""

import hashlib
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from bench.posters import Posted, callback_body


class ReceivedPing(Struct, frozen=True):
    """One ping that reached a target: the target, the life of the service that sent it, the task's label."""

    target: str
    life: int
    label: str


class CrashFindings(Struct, frozen=True, kw_only=True):
    """The counts, and one line for each way in which the promise was broken (empty: it was kept)."""

    answered: int  # callbacks that were answered 200
    stored: int  # of these, in the database
    settled: int  # tasks completed
    notified: int  # of these, with their one notice sent, and seen by its target
    repeats: int  # pings beyond the first about the same task
    broken: tuple[str, ...]


def check_promises(
    database: Path, answered: Iterable[Posted], refs: Mapping[int, str], pings: Iterable[ReceivedPing]
) -> CrashFindings:
    """Check the database after the outbox ran empty. `refs` has the refs by task number, which is also the label."""
    wanted = {(refs[posted[0]], hashlib.sha256(callback_body(posted)).digest()) for posted in answered}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        integrity = db.execute("PRAGMA integrity_check").fetchall()
        kept = set(db.execute("SELECT ref, digest FROM callbacks WHERE body IS NOT NULL"))
        states = dict(db.execute("SELECT ref, state FROM tasks"))
        labels = dict(db.execute("SELECT ref, label FROM tasks"))
        notices = defaultdict(list)
        for ref, state in db.execute("SELECT ref, state FROM notices"):
            notices[ref].append(state)
    seen = list(pings)
    reached = {it.label for it in seen}
    settled = {ref for ref, state in states.items() if state == "completed"}
    notified = {ref for ref in settled if notices[ref] == ["sent"] and labels[ref] in reached}
    called = {ref for ref, _ in wanted}
    counts = {
        "the database fails its integrity check": integrity != [("ok",)],
        "answered 200, but not in the database": len(wanted - kept),
        "answered 200, but its task is not settled": len(called - settled),
        "in the database, but its task is not settled": len({ref for ref, _ in kept} - settled),
        "settled, but its one notice was not sent and received": len(settled - notified),
        "pinged, but not settled": len(reached - {labels[ref] for ref in settled}),
        **_count_repeats(seen),
    }
    return CrashFindings(
        answered=len(wanted),
        stored=len(wanted & kept),
        settled=len(settled),
        notified=len(notified),
        repeats=len(seen) - len(reached),
        broken=tuple(f"{what}: {count:d}" for what, count in counts.items() if count),
    )


def _count_repeats(pings: Iterable[ReceivedPing]) -> dict[str, int]:
    """Count repeated pings that no kill explains: a ping may only repeat if a kill came before it was recorded.

    A target has one send under way at a time. So no ping comes twice in one life. And of the pings that reached a
    target in one life, at most one comes again in a later life: the one that was under way at the kill.
    """
    lives: dict[tuple[str, str], list[int]] = defaultdict(list)
    for it in pings:
        lives[it.target, it.label].append(it.life)
    in_one_life = sum(len(each) - len(set(each)) for each in lives.values())
    under_way = Counter((target, life) for (target, _), each in lives.items() for life in sorted(set(each))[:-1])
    return {
        "pings that came twice in one life of the service": in_one_life,
        "kills after which a target got more than one ping again": sum(count > 1 for count in under_way.values()),
    }
