"""The doctor's judgement of a PostgreSQL database, and of the processes that share it."""

import pytest
from msgspec.structs import replace

from receiver.core.errors import NewerSchema
from receiver.store.postgres.inspect import PostgresInspection
from receiver.store.postgres.place import PostgresPlace
from receiver.store.process_row import ProcessRow
from receiver.upkeep.doctor.findings import CheckResult, Finding
from receiver.upkeep.doctor.postgres import check_processes, judge_postgres

PLACE = PostgresPlace(url="postgresql://u:p@db.test/r", pool=6, targets=("team",))
NAMED = "db.test:5432/r"
WEB = ProcessRow("1", "web", "a", "1.0", 21, ("team",), 0, 0)
WORKER = replace(WEB, id="2", role="worker", host="b")
GOOD = PostgresInspection(
    version=150_018,
    encoding="UTF8",
    in_recovery=False,
    fsync=True,
    full_page_writes=True,
    standby_names="",
    synchronous_replicas=0,
    connections_most=97,
    connections=20,
    size=12 << 20,
    idle_s=None,
    transaction_s=None,
    schema=21,
    processes=(WEB, WORKER),
    heard=True,
)


def judged(place: PostgresPlace = PLACE, **found: object) -> list[Finding]:
    return list(judge_postgres(replace(GOOD, **found), NAMED, place))


def wrong(place: PostgresPlace = PLACE, **found: object) -> Finding:
    """The one finding that is not ok."""
    [finding] = [it for it in judged(place, **found) if it.result is not CheckResult.OK]
    return finding


def test_a_good_one_says_what_it_is_and_what_the_promise_is_worth() -> None:
    found = judged()
    assert {it.result for it in found} == {CheckResult.OK}
    texts = [it.text for it in found]
    assert texts[0] == "db.test:5432/r, PostgreSQL 15.18, 12.0 MiB; schema 21"
    assert texts[1].startswith("no synchronous replica: what is answered is on the disk of one machine")
    assert texts[2] == "2 processes with POOL 6 may need 18 connections, of 97"
    assert texts[3:] == [
        "processes hear each other",
        "processes: 1 web, 1 worker; all of version 1.0, with the same targets",
    ]


def test_a_new_database_and_one_that_is_to_be_migrated() -> None:
    assert judged(schema=0, missing=1, processes=())[0].text.endswith("no tables yet; the first start creates them")
    assert judged(missing=1)[0].text.endswith("schema 21; the next start runs 1 migration")
    assert judged(missing=2)[0].text.endswith("schema 21; the next start runs 2 migrations")
    assert judged(processes=())[-1].text == "no process uses the database now"


@pytest.mark.parametrize(
    ("found", "text", "remedy"),
    [
        ({"in_recovery": True}, "is a replica or in recovery", "name the primary"),
        ({"encoding": "LATIN1"}, "has the encoding LATIN1", "ENCODING 'UTF8'"),
        ({"moving": True}, "is being moved into", "`receiver migrate --to`"),
        ({"newer": NewerSchema("it has schema 99", remedy="install it")}, "it has schema 99", "install it"),
        ({"standby_names": "ANY 1 (a, b)"}, "none is connected: no callback can be stored", "start the replica"),
    ],
    ids=["replica", "encoding", "moving", "newer", "no standby"],
)
def test_what_keeps_it_from_storing_is_a_failure(found: dict[str, object], text: str, remedy: str) -> None:
    finding = wrong(PLACE, **found)
    assert finding.result is CheckResult.FAILED
    assert text in finding.text
    assert remedy in (finding.remedy or "")


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"version": 130_004}, "PostgreSQL 13.4 is older than 14"),
        ({"fsync": False}, "fsync is off: a power cut may lose"),
        ({"fsync": False, "full_page_writes": False}, "fsync and full_page_writes are off"),
        ({"connections_most": 17}, "may need 18 connections, and the server has 17 for them"),
        ({"connections": 95}, "95 of 97 connections to the server are in use"),
        ({"heard": False}, "a pooler such as pgbouncer stands before the database"),
        ({"idle_s": 120.0}, "idle in a transaction for 2 minutes"),
        ({"transaction_s": 3 * 3600.0}, "a transaction is 3 hours old"),
    ],
    ids=["version", "fsync", "both", "too few", "in use", "pooler", "idle", "old"],
)
def test_what_works_but_not_well_is_a_warning(found: dict[str, object], text: str) -> None:
    finding = wrong(PLACE, **found)
    assert finding.result is CheckResult.WARNING
    assert text in finding.text
    assert finding.remedy


def test_limits_that_are_just_met_are_no_warning() -> None:
    found = judged(version=140_000, connections_most=18, connections=16, idle_s=60.0, transaction_s=900.0)
    assert {it.result for it in found} == {CheckResult.OK}


def test_a_synchronous_replica_is_named_also_if_it_may_not_be_seen() -> None:
    for count in (1, None):
        found = judged(standby_names="ANY 1 (a, b)", synchronous_replicas=count)
        assert found[1].text == "commits wait for a synchronous replica (ANY 1 (a, b))"


def test_a_listen_url_that_hears_nothing_is_told_apart() -> None:
    place = PostgresPlace(
        url="postgresql://u:p@pooler.test/r", listen_url="postgresql://u:p@db.test/r", targets=("team",)
    )
    assert "DATABASE_LISTEN_URL leads to a pooler" in wrong(place, heard=False).text


def processes(*found: ProcessRow, targets: tuple[str, ...] = ("team",)) -> list[str]:
    return [it.text for it in check_processes(found, targets) if it.result is CheckResult.WARNING]


def test_processes_that_do_not_agree_are_named() -> None:
    newer = replace(WORKER, host="c", version="2.0", schema=22)
    assert processes(WEB, WORKER, newer) == [
        "processes differ in their version: 1.0: web on a, worker on b; 2.0: worker on c",
        "processes differ in their schema: 21: web on a, worker on b; 22: worker on c",
    ]
    assert processes(WEB, replace(WORKER, targets=("team", "new"))) == [
        "the target new is missing in web on a",
    ]
    assert processes(WEB, WORKER, targets=()) == ["the target team is missing in the settings here"]
    several = [replace(WORKER, host=f"h{number}", targets=()) for number in range(7)]
    [text] = processes(WEB, *several, *several)
    assert text == (
        "the target team is missing in worker on h0 (2), worker on h1 (2), worker on h2 (2), worker on h3 (2), "
        "worker on h4 (2) and 2 more"
    )


def test_a_role_that_nobody_plays_is_missed() -> None:
    assert processes(WEB) == ["no worker runs: nothing is submitted, polled or sent"]
    assert processes(WORKER) == ["no web runs: callbacks are not answered"]
    assert processes(replace(WEB, role="all")) == []
