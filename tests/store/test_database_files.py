"""The database's files: links in their places are refused or followed as they should be, a removed lock is noticed."""

import os
from pathlib import Path

import pytest

from kit.fakes import a_task, put
from receiver.atomic_files import draft_file
from receiver.core.errors import CorruptDatabase, StoreUnavailable, Unwritable
from receiver.store import open_store
from receiver.store.sqlite.engine import SqliteStore

pytestmark = pytest.mark.anyio


async def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Root would give what it leads to to the database's owner."""
    (tmp_path / "others").write_text("theirs")
    (tmp_path / "r.db.lock").symlink_to("others")
    with pytest.raises(StoreUnavailable, match="cannot open"):
        await open_store(tmp_path / "r.db")


@pytest.mark.parametrize("way", ["symbolic", "hard"])
def test_a_draft_that_is_a_link_is_not_emptied(tmp_path: Path, way: str) -> None:
    """Root would write the database over what it leads to."""
    (tmp_path / "others").write_text("theirs")
    part = tmp_path / "backup.db.part"
    part.symlink_to("others") if way == "symbolic" else os.link(tmp_path / "others", part)
    with pytest.raises((OSError, Unwritable)), draft_file(tmp_path / "backup.db"):
        pass
    assert (tmp_path / "others").read_text() == "theirs"


async def test_a_database_that_is_a_link_is_served(tmp_path: Path) -> None:
    """Its other files are where it is, not where the link is."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "r.db").symlink_to("disk/r.db")
    store = await open_store(tmp_path / "r.db")
    await put(store, a_task())
    await put(store, a_task(task_id=None))
    await store.close()
    assert {"r.db", "r.db.lock"} <= {it.name for it in (tmp_path / "disk").iterdir()}


@pytest.mark.sqlite_only
async def test_a_lock_that_is_taken_away_is_noticed(store: SqliteStore, tmp_path: Path) -> None:
    """Another process could begin beside this one, and tell everything twice."""
    (tmp_path / "r.db.lock").unlink()
    with pytest.raises(CorruptDatabase, match="removed or replaced"):
        await put(store, a_task())
    assert store.fault is not None
