"""The index of words: what is typed, what it finds, and that it follows the tasks through changes, retention, backups
and upgrades."""

import sqlite3
import unicodedata
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from bench.history import make_history
from kit.fakes import NOW, a_task
from receiver.core.errors import StoreError
from receiver.core.types import Task, TaskState
from receiver.store import Store, open_store
from receiver.store.sqlite import engine
from receiver.store.sqlite.backup import copy_database, verify_database
from receiver.store.sqlite.dialect import SqliteDialect
from receiver.store.tables.search_words import INDEXED_MOST, SEARCH_MOST, beginnings_of, has_words, split_words

pytestmark = pytest.mark.anyio

TOKENIZE = "tokenize = 'unicode61 remove_diacritics 2', detail = none, prefix = '1 2 3 4 5 6 7 8 9 10'"


async def add(store: Store, *texts: tuple[str | None, str | None]) -> list[Task]:
    """Completed tasks with these labels and prompts, the oldest first."""
    tasks = [
        replace(a_task(task_id=None), label=label, prompt=prompt, state=TaskState.COMPLETED) for label, prompt in texts
    ]
    async with store.write() as tx:
        await tx.tasks.insert(tasks)
    return tasks


async def find(store: Store, words: str) -> list[str]:
    return [it.ref for it in (await store.gallery.page(words=words, now=NOW)).tasks]


# -- what is typed --


def expression_for(typed: str) -> str | None:
    """What the index of words is asked for that."""
    beginnings = beginnings_of(typed)
    return SqliteDialect().words_expression(beginnings) if beginnings else None


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("", None),
        ("  \t\n", None),
        ("!?.,-–—()[]{}*^:+\"'", None),
        ("hero", '"hero"*'),
        ("blood-red", '"blood"* AND "red"*'),
        ("Big RED", '"big"* AND "red"*'),
        ("a ab abc", '"abc"*'),  # what begins with the longest begins with the others
        ("red red", '"red"*'),
        ('"red" OR NOT (prompt:blue*)', '"blue"* AND "not"* AND "or"* AND "prompt"* AND "red"*'),
        ("NEAR(a b, 2)", '"2"* AND "a"* AND "b"* AND "near"*'),
        ("photorealistic", '"photoreali"*'),
        ("50 %", '"50"*'),
        ("cafe\N{COMBINING ACUTE ACCENT}", '"café"*'),
        ("x\N{COMBINING MACRON}y", '"xy"*'),
        ("日本 橋", '"日本"* AND "橋"*'),
    ],
)
def test_what_is_typed_becomes_quoted_beginnings(typed: str, expected: str | None) -> None:
    assert expression_for(typed) == expected


def test_only_the_first_hundred_characters_count() -> None:
    assert split_words("a" * (SEARCH_MOST + 50)) == ["a" * SEARCH_MOST]
    assert split_words(" " * SEARCH_MOST + "hero") == []


@given(st.text(max_size=120))
@example('"*')
@example("\0 a\0b")
@example("AND OR NOT NEAR")
@example("\u19b0 \u1cf2a")
def test_whatever_is_typed_is_no_syntax(typed: str) -> None:
    expression = expression_for(typed)
    with closing(sqlite3.connect(":memory:")) as raw:
        raw.execute(f"CREATE VIRTUAL TABLE words USING fts5 (text, {TOKENIZE})")
        raw.execute("INSERT INTO words (text) VALUES (?)", (unicodedata.normalize("NFC", typed[:SEARCH_MOST]),))
        if expression is not None:
            raw.execute("SELECT rowid FROM words WHERE words MATCH ?", (expression,)).fetchall()
            assert all(len(it) <= INDEXED_MOST + 3 for it in expression.split(" AND "))


def test_each_letter_of_python_s_is_one_of_the_index() -> None:
    letters = [it for it in map(chr, range(0x80, 0x11_0000)) if it.isalnum() and split_words(f"aa{it}bb")]
    whole = [it for it in letters if split_words(f"aa{it}bb") == [f"aa{it}bb"]]
    with closing(sqlite3.connect(":memory:")) as raw:
        raw.execute(f"CREATE VIRTUAL TABLE words USING fts5 (text, {TOKENIZE})")
        raw.execute("CREATE VIRTUAL TABLE terms USING fts5vocab (words, 'instance')")
        raw.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", [(ord(it), f"aa{it}bb") for it in whole])
        split = raw.execute("SELECT doc FROM terms GROUP BY doc HAVING count(*) > 1").fetchall()
    assert len(whole) > 100_000
    assert split == []


LATIN = st.text(alphabet='abcABC01éÜñçß -.,_"', max_size=20)


@given(LATIN, st.none() | LATIN, LATIN)
@example("bloodreddish", None, "blood-reddish, bloodreddi")
def test_texts_that_are_read_are_judged_as_the_index_judges_them(typed: str, label: str | None, prompt: str) -> None:
    expression = expression_for(typed)
    with closing(sqlite3.connect(":memory:")) as raw:
        raw.execute(f"CREATE VIRTUAL TABLE words USING fts5 (label, prompt, {TOKENIZE})")
        raw.execute("INSERT INTO words (label, prompt) VALUES (?, ?)", (label, prompt))
        if expression is not None:
            found = raw.execute("SELECT rowid FROM words WHERE words MATCH ?", (expression,)).fetchall()
            assert has_words(typed, label, prompt) is bool(found)


# -- what is found --


async def test_words_of_label_and_prompt_are_found_by_their_beginnings(store: Store) -> None:
    hero, river, bare = await add(store, ("Hero 12", "a Blood-red sun"), (None, "River of élan, at dawn"), (None, None))
    assert await find(store, "hero sun") == [hero.ref]
    assert await find(store, "blo red") == [hero.ref]
    assert await find(store, "ELAN riv") == [river.ref]
    assert await find(store, "élan") == [river.ref]
    assert await find(store, "12") == [hero.ref]
    assert await find(store, "a") == [river.ref, hero.ref]
    assert await find(store, "un") == []
    assert await find(store, "?!") == [bare.ref, river.ref, hero.ref], "nothing is searched for"


async def test_a_long_word_is_found_by_its_first_ten_letters(store: Store) -> None:
    [task] = await add(store, (None, "photorealistic"))
    assert await find(store, "photorealistic") == [task.ref]
    assert await find(store, "photorealism") == [task.ref]
    assert await find(store, "photoreo") == []


async def test_a_changed_label_and_prompt_are_found_and_the_old_ones_are_not(store: Store) -> None:
    task, unnamed = await add(store, ("hero", "red sun"), (None, None))
    async with store.write() as tx:
        await tx.tasks.update([(task, replace(task, label="villain"))])
        await tx.tasks.update([(unnamed, replace(unnamed, prompt="green moon"))])
    assert await find(store, "hero") == []
    assert await find(store, "villain red") == [task.ref]
    assert await find(store, "moon") == [unnamed.ref]
    changed = replace(task, label="villain")
    async with store.write() as tx:
        await tx.tasks.update([(changed, replace(changed, label=None, prompt=None))])
    assert await find(store, "red") == []


@pytest.mark.sqlite_only
async def test_a_change_of_something_else_leaves_the_index_alone(store: Store, tmp_path: Path) -> None:
    [task] = await add(store, ("hero", "red sun"))
    with closing(sqlite3.connect(tmp_path / "r.db")) as raw:
        before = raw.execute("SELECT id, block FROM search_data ORDER BY id").fetchall()
        async with store.write() as tx:
            await tx.tasks.update([(task, replace(task, state=TaskState.FAILED, progress=0.5))])
        assert raw.execute("SELECT id, block FROM search_data ORDER BY id").fetchall() == before
    assert await find(store, "hero") == [task.ref]


@pytest.mark.sqlite_only
async def test_removed_tasks_are_not_found_and_leave_nothing(store: Store, tmp_path: Path) -> None:
    gone, stays = await add(store, ("hero", "red sun"), ("hero", "moon"))
    async with store.write() as tx:
        await tx.pruning.drop_tasks([gone.ref], NOW, 1000)
    assert await find(store, "hero") == [stays.ref]
    assert await find(store, "red") == []
    with closing(sqlite3.connect(tmp_path / "r.db", isolation_level=None)) as raw:
        assert raw.execute("SELECT ref FROM searched").fetchall() == [(stays.ref,)]
        raw.execute("INSERT INTO search (search, rank) VALUES ('integrity-check', 1)")


async def test_what_is_rolled_back_is_not_found(store: Store) -> None:
    async def fail() -> None:
        async with store.write() as tx:
            await tx.tasks.insert([replace(a_task(), label="hero")])
            await tx.tasks.get(["flush"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await find(store, "hero") == []


# -- other databases --


@pytest.mark.sqlite_only
async def test_a_backup_is_searched_as_the_database_was(store: Store, tmp_path: Path) -> None:
    tasks = await add(store, *[("hero", f"number{place}") for place in range(20)])
    async with store.write() as tx:  # gaps, which a compacted copy may close
        await tx.pruning.drop_tasks([it.ref for it in tasks[::2]], NOW, 1000)
    copy = tmp_path / "copy.db"
    copy.touch()
    copy_database(tmp_path / "r.db", copy, {})
    restored = await open_store(copy)
    try:
        assert await find(restored, "hero") == [it.ref for it in tasks[:0:-2]]
        assert await find(restored, "number13") == [tasks[13].ref]
        async with restored.write() as tx:
            await tx.pruning.drop_tasks([tasks[13].ref], NOW, 1000)
        assert await find(restored, "number13") == []
    finally:
        await restored.close()


@pytest.mark.parametrize(
    "change",
    [
        "DROP TRIGGER search_delete; CREATE TRIGGER search_delete AFTER DELETE ON tasks BEGIN DELETE FROM lanes; END",
        "DROP VIEW search_texts; CREATE VIEW search_texts (id, label, prompt) AS SELECT 1, key, ref FROM idempotency",
    ],
    ids=["trigger", "view"],
)
async def test_a_backup_whose_trigger_does_something_else_is_refused(tmp_path: Path, change: str) -> None:
    await (await open_store(tmp_path / "r.db")).close()
    with closing(sqlite3.connect(tmp_path / "r.db")) as raw:
        raw.executescript(change)
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with pytest.raises(StoreError, match="is missing or was changed"):
        verify_database(tmp_path / "r.db")


async def test_an_upgrade_fills_the_index(tmp_path: Path) -> None:
    make_history(tmp_path / "old.db", 30, schema=15, prompts=7)
    upgraded = await open_store(tmp_path / "old.db")
    try:
        [newest, *_] = (await upgraded.gallery.page(now=NOW)).tasks
        assert newest.label == "label-29"
        assert await find(upgraded, "label 29") == [newest.ref]
        found = await find(upgraded, " ".join((newest.prompt or "").split()[:3]))
        assert newest.ref in found
        assert len(await find(upgraded, "label")) == 30
    finally:
        await upgraded.close()


async def test_without_the_module_a_start_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_SEARCH_MODULE", "fts99")
    with pytest.raises(StoreError, match="was built without FTS99") as caught:
        await open_store(tmp_path / "r.db")
    assert caught.value.remedy is not None
