"""The folder of the pictures: processes over one database that keep them in different ones are warned."""

import logging
from pathlib import Path

import pytest

from receiver.core.errors import StoreUnavailable
from receiver.pictures.shared_folder import NAME_FILE, warn_of_other_folder
from receiver.store import Store

pytestmark = pytest.mark.anyio


@pytest.fixture
def shared(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that says that others use its database too."""
    monkeypatch.setattr(store, "shared", True, raising=False)
    return store


async def test_a_database_of_one_process_is_not_asked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "shared", False, raising=False)
    assert not await warn_of_other_folder(store, tmp_path / "images")
    assert not (tmp_path / "images").exists()


async def test_processes_that_share_the_folder_agree(
    shared: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert not await warn_of_other_folder(shared, tmp_path / "images")
    assert caplog.records == []
    assert [it.name for it in (tmp_path / "images").iterdir()] == [NAME_FILE]
    assert (tmp_path / "images" / NAME_FILE).stat().st_mode & 0o077 == 0


async def test_a_process_that_is_somewhere_else_is_warned_once(
    shared: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At its next start, that folder is the one that was used last."""
    assert not await warn_of_other_folder(shared, tmp_path / "a")
    assert await warn_of_other_folder(shared, tmp_path / "b")
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{tmp_path}/b is not the directory in which ")
    assert not await warn_of_other_folder(shared, tmp_path / "b")


@pytest.mark.parametrize(
    "content", [b"", b"x" * 32, b"0" * 1000, b"\xff" * 32], ids=["empty", "words", "long", "bytes"]
)
async def test_a_file_that_is_not_ours_is_reported_and_stops_nothing(
    content: bytes, shared: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / NAME_FILE).write_bytes(content)
    assert not await warn_of_other_folder(shared, tmp_path)
    assert "could not be found out" in caplog.text
    assert (tmp_path / NAME_FILE).read_bytes() == content


async def test_a_folder_that_cannot_be_made_and_a_database_that_fails_stop_nothing(
    shared: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    assert not await warn_of_other_folder(shared, tmp_path / "file" / "images")

    def fails() -> None:
        raise StoreUnavailable("the database is restarting")

    monkeypatch.setattr(shared, "write", fails)
    assert not await warn_of_other_folder(shared, tmp_path / "images")
    assert len(caplog.records) == 2
