"""The crash harness in short, and that it would see what it looks for; in full it is `python -m bench.crash`."""

import contextlib
import hashlib
import sqlite3
from pathlib import Path

import pytest

from bench.crash import POINTS, run_crashes
from bench.crash_check import CrashFindings, ReceivedPing, check_promises
from bench.posters import callback_body
from kit.dying import POINTS as KNOWN


def test_what_was_answered_survives_kills_under_load(tmp_path: Path) -> None:
    """Random kills and each chosen point once, while posters go on: nothing lost, nothing settled without a ping."""
    report = run_crashes(tmp_path, kills=6, rounds=1, tasks=10_000, seed=7)
    found = report.findings
    assert found.broken == ()
    assert found.answered == found.stored > 100
    assert found.settled == found.notified > 10
    assert found.repeats <= (report.random_kills + report.point_kills) * 8


def test_the_chosen_points_exist() -> None:
    assert set(POINTS) < set(KNOWN)


A = ReceivedPing("t0", 1, "0")
B = ReceivedPing("t0", 1, "8")
SOUND = """
CREATE TABLE tasks (ref, state, label); CREATE TABLE callbacks (ref, digest, body); CREATE TABLE notices (ref, state);
INSERT INTO tasks VALUES ('a', 'completed', '0'), ('b', 'completed', '8'), ('c', 'waiting', '16');
INSERT INTO notices VALUES ('a', 'sent'), ('b', 'sent');
"""


def checked(folder: Path, change: str, told: list[ReceivedPing]) -> CrashFindings:
    """The check of a sound database, after a change to it."""
    posted = [(0, 0), (0, 1), (8, 0)]
    refs = {0: "a", 8: "b", 16: "c"}
    with contextlib.closing(sqlite3.connect(folder / "r.db")) as db:
        db.executescript(SOUND)
        rows = [(refs[it[0]], hashlib.sha256(callback_body(it)).digest(), callback_body(it)) for it in posted]
        db.executemany("INSERT INTO callbacks VALUES (?, ?, ?)", rows)
        db.executescript(change)
        db.commit()
    return check_promises(folder / "r.db", posted, refs, told)


@pytest.mark.parametrize("told", [[A, B], [A, B, ReceivedPing("t0", 2, "8"), ReceivedPing("t0", 3, "8")]])
def test_a_sound_end_is_found_sound(tmp_path: Path, told: list[ReceivedPing]) -> None:
    """A ping may come once more for each kill it was under way at."""
    found = checked(tmp_path, "", told)
    assert (found.broken, found.answered, found.stored, found.settled, found.notified) == ((), 3, 3, 2, 2)
    assert found.repeats == len(told) - 2


@pytest.mark.parametrize(
    ("change", "told", "broken"),
    [
        ("DELETE FROM callbacks WHERE rowid = 2", [A, B], "not in the database"),
        ("UPDATE tasks SET state = 'waiting' WHERE ref = 'b'", [A, B], "task is not settled"),
        ("DELETE FROM notices WHERE ref = 'b'", [A, B], "its one notice was not"),
        ("UPDATE notices SET state = 'due' WHERE ref = 'b'", [A, B], "its one notice was not"),
        ("INSERT INTO notices VALUES ('b', 'sent')", [A, B], "its one notice was not"),
        ("", [A], "its one notice was not"),
        ("UPDATE tasks SET state = 'completed' WHERE ref = 'c'", [A, B], "its one notice was not"),
        ("", [A, B, ReceivedPing("t0", 1, "16")], "pinged, but not settled"),
        ("", [A, A, B], "twice in one life"),
        ("", [A, B, ReceivedPing("t0", 2, "0"), ReceivedPing("t0", 2, "8")], "more than one ping again"),
    ],
)
def test_what_is_lost_or_repeated_is_found(tmp_path: Path, change: str, told: list[ReceivedPing], broken: str) -> None:
    assert any(broken in line for line in checked(tmp_path, change, told).broken)
