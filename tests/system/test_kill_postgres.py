"""The crash harness over PostgreSQL in short, and that it would see what it looks for; in full it is
`python -m bench.postgres.crash`."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.postgres.crash import CrashPlan, run_crashes
from bench.postgres.crash_check import CrashEvidence, PostgresFindings, check_promises
from bench.postgres.sinks import CountedPing
from kit.postgres_cluster import missing, own_cluster

pytestmark = pytest.mark.anyio


async def test_what_was_answered_survives_kills_of_webs_workers_and_the_database(tmp_path: Path) -> None:
    """Two webs and two workers, killed at random, and the database with them: nothing lost, nothing twice."""
    if why := missing():
        pytest.skip(why)
    with own_cluster() as cluster:
        plan = CrashPlan(kills=6, restart_every=3, waiting=24, submitted=10, seed=7, hurry=True)
        report = await run_crashes(tmp_path, cluster, plan)
    found = report.findings
    assert found.broken == ()
    assert (report.kills, report.restarts, found.accepted) == (6, 2, 10)
    assert found.answered >= 24 * 10 - 10
    assert found.settled == found.notified == 34


SEEN = CrashEvidence(
    answered=frozenset({("a", "01"), ("b", "02")}),
    accepted={"b": "kill-1-of"},
    taken={"kill-1-of": 1},
    pings=(CountedPing("t0", "worker0", 1, ("kill-0-of",), 0.0), CountedPing("t0", "worker1", 2, ("kill-1-of",), 1.0)),
    overlaps=(),
)
ROWS = {
    "callbacks": [["a", "01"], ["b", "02"]],
    "tasks": [["a", "completed", "kill-0-of"], ["b", "completed", "kill-1-of"]],
    "notices": [["a", "sent"], ["b", "sent"]],
    "verdicts": [["accepted", "2"]],
}


def checked(rows: dict[str, list[list[str]]], seen: CrashEvidence = SEEN) -> PostgresFindings:
    """The check of a sound end, after a change to it."""
    stored = ROWS | rows

    def ask(sql: str) -> list[list[str]]:
        if "GROUP BY verdict" in sql:
            return stored["verdicts"]
        return next(found for table, found in stored.items() if f" FROM {table}" in sql)

    return check_promises(ask, seen, 0)


def test_a_sound_end_is_found_sound() -> None:
    """A message may come again after a kill."""
    found = checked({}, replace(SEEN, pings=(*SEEN.pings, SEEN.pings[0])))
    assert (found.broken, found.answered, found.settled, found.notified, found.repeats) == ((), 2, 2, 2, 1)


@pytest.mark.parametrize(
    ("rows", "broken"),
    [
        ({"callbacks": [["a", "01"]]}, ["answered 200, but not in the database: 1"]),
        (
            {"tasks": [["a", "waiting", "kill-0-of"], *ROWS["tasks"][1:]]},
            ["answered 200, but its task is not settled: 1", "not ended: 1", "reported, but not settled: 1"],
        ),
        ({"notices": [["a", "sent"]]}, ["settled, but its one notice was not sent and received: 1"]),
        ({"notices": [["a", "due"], ["b", "sent"]]}, ["settled, but its one notice was not sent and received: 1"]),
        ({"notices": [["a", "sent"], *ROWS["notices"]]}, ["settled, but its one notice was not sent and received: 1"]),
        ({"verdicts": [["accepted", "2"], ["unparsed", "1"]]}, ["callbacks stored that were not understood: 1"]),
    ],
)
def test_what_the_database_lost_is_found(rows: dict[str, list[list[str]]], broken: list[str]) -> None:
    assert list(checked(rows).broken) == broken


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"taken": {"kill-1-of": 2}}, "taken by the provider more than once: 1"),
        ({"overlaps": ("t0: worker0 beside 1 more",)}, "messages to one target under way at once: 1"),
        ({"pings": SEEN.pings[:1]}, "settled, but its one notice was not sent and received: 1"),
        ({"accepted": {"c": "kill-2-of"}}, "answered 202, but its task is not in the database: 1"),
    ],
)
def test_what_was_seen_outside_and_should_not_be_is_found(change: dict[str, Iterable[str]], broken: str) -> None:
    assert list(checked({}, replace(SEEN, **change)).broken) == [broken]
