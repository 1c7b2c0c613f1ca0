"""Creates a database with a history: finished tasks with everything that belongs to them, written in pure SQL.

Only for measurements of growth, here and in the tests: a million tasks through the service would take many minutes. The
rows look as the service leaves them: one callback of 1 KB, one picture, one notice sent in one attempt.
"""

import asyncio
import contextlib
import random
import sqlite3
import threading
from itertools import accumulate
from pathlib import Path

from receiver.store import open_store
from receiver.store.migrations.steps import load_migrations

BORN = 1_790_000_000_000  # milliseconds; from then on a task every ten seconds
APART_MS = 10_000
MODEL = "midjourney_outpaint"

# Refs sort by time, as UUIDv7 do; the provider's ids do not.
_PAST = """
INSERT INTO past
WITH RECURSIVE n (i, at) AS (SELECT 0, :born UNION ALL SELECT i + 1, at + :apart FROM n WHERE i < :count - 1)
SELECT i, printf('%08x-%04x-7000-8000-%012x', at >> 16, at & 65535, i), at FROM n
"""
_ROWS = """
INSERT INTO tasks (
    ref, created_at, provider, origin, label, poll_only, params, state, task_id, model, unsure, confirmed, settled_by,
    submitted_at, settled_at, called_at, pictures, tries, claim, polls, poll_step, kept, kept_bytes
) SELECT ref, at, 'vtrix', 'submitted', 'label-' || (i % 100), 0, cast('{"jobId":"5a5a5a5a","scale":1.5}' AS BLOB),
    iif(i % 20, 'completed', 'failed'), lower(hex(randomblob(10))), 'midjourney_outpaint', 0, 1, 'callback',
    at, at + 60000, at + 60000, lower(hex(randomblob(16))), 0, 1, 0, 0, 1, 1024 FROM past;
UPDATE tasks SET prompt = (SELECT prompt FROM prompts WHERE id = tasks.rowid % (SELECT count(*) FROM prompts))
    WHERE EXISTS (SELECT 1 FROM prompts);
INSERT INTO images (ref, image_no, type, url)
    SELECT ref, 0, 'image', 'https://cdn.example.com/pictures/' || i || '.png' FROM past;
INSERT INTO callbacks (ref, received_at, verdict, size, digest, headers, body)
    SELECT ref, at + 60000, 'accepted', 1024, randomblob(32), x'7b7d', zeroblob(1024) FROM past;
INSERT INTO sends (target, state, created_at, due_at, tries, claims, claim)
    SELECT 'bench', 'sent', at + 60000, at + 60000, 0, 0, 1 FROM past;
INSERT INTO notices (ref, target, event, created_at, due_at, state, send_id, attempts, sent_at, report)
    SELECT ref, 'bench', 'completed', at + 60000, at + 60000, 'sent', i + 1, 1, at + 61000,
    '{"event":"completed","images":[{"image_no":0,"url":"https://cdn.example.com/pictures/0.png"}]}' FROM past;
INSERT INTO attempts (send_id, at, duration_ms) SELECT i + 1, at + 61000, 300 FROM past;
"""


# As a new database fills it, which takes longer one by one.
_SEARCH = """
INSERT INTO searched (ref) SELECT ref FROM tasks ORDER BY ref;
INSERT INTO search (search) VALUES ('rebuild');
"""
_SYLLABLES = [f"{first}{then}" for first in "bdklmrstvw" for then in "aeiou"]


def make_history(path: Path, count: int, *, schema: int | None = None, prompts: int = 0) -> None:
    """Create a database with `count` (≥ 1) finished tasks; its next task would be created at `time_after(count)`.

    With `schema` it has the schema of the version that knew that many migrations; with `prompts`, the tasks have as
    many different ones.
    """
    if schema is None:
        _make_empty(path)
    else:
        _make_old(path, schema)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -500000;")
        raw.execute("CREATE TEMP TABLE past (i INTEGER PRIMARY KEY, ref TEXT, at INTEGER)")
        raw.execute(_PAST, {"born": BORN, "apart": APART_MS, "count": count})
        raw.execute("CREATE TEMP TABLE prompts (id INTEGER PRIMARY KEY, prompt TEXT)")
        raw.executemany("INSERT INTO prompts (id, prompt) VALUES (?, ?)", enumerate(make_prompts(prompts)))
        made = raw.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
        ).fetchall()
        drops = "".join(f"DROP {kind} {name};" for kind, name, _ in made)
        makes = ";".join(sql for *_, sql in made)  # sorting is faster than inserting in random order
        search = _SEARCH if any(kind == "trigger" for kind, *_ in made) else ""
        raw.executescript(f"{drops} BEGIN; {_ROWS} {search} {makes}; COMMIT;")
        raw.execute("PRAGMA journal_mode = WAL")
    raw.close()


def make_prompts(count: int) -> list[str]:
    """Prompts of 8 to 45 words, of which a few are frequent and most are rare; always the same ones."""
    chance = random.Random(1)
    made = ("".join(chance.choices(_SYLLABLES, k=chance.choice((1, 2, 2, 3, 3, 4)))) for _ in range(20_000))
    words = list(dict.fromkeys(made))
    weights = list(accumulate(1 / (place + 3) for place, _ in enumerate(words)))
    return [" ".join(chance.choices(words, cum_weights=weights, k=chance.randint(8, 45))) for _ in range(count)]


def time_after(count: int) -> int:
    """When the next task after `count` tasks is created, in milliseconds."""
    return BORN + count * APART_MS


def _make_old(path: Path, schema: int) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA auto_vacuum = INCREMENTAL")
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute(
            "CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL,"
            " probed_at INTEGER NOT NULL DEFAULT 0) STRICT"
        )
        for step in load_migrations("sqlite")[:schema]:
            raw.executescript(step.sql)
            raw.execute("INSERT INTO migrations (number, name) VALUES (?, ?)", (step.number, step.name))
    raw.close()


def _make_empty(path: Path) -> None:
    """Let the store create an empty database; in a thread, because the caller may run an event loop."""

    async def open_and_close() -> None:
        await (await open_store(path)).close()

    thread = threading.Thread(target=lambda: asyncio.run(open_and_close()))
    thread.start()
    thread.join()
