"""Tests of the store run over both databases. One that is about SQLite's file opens it by itself, or is marked
`sqlite_only`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kit.new_database import place_database
from receiver.store import PostgresPlace, Store, open_store


@pytest.fixture(params=["sqlite", "postgres"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    place: Path | PostgresPlace
    if request.param == "sqlite":
        place = await place_database(tmp_path / "r.db")
    else:
        place = PostgresPlace(url=request.getfixturevalue("postgres_url"), pool=4)
        monkeypatch.setattr("receiver.store.postgres.connection.READ_MOST_S", 3600.0)  # the machine may be busy
    opened = await open_store(place)
    yield opened
    await opened.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the other database where a test is about SQLite."""
    items[:] = [it for it in items if not (it.get_closest_marker("sqlite_only") and _runs_over(it) == "postgres")]


def _runs_over(item: pytest.Item) -> object:
    call = getattr(item, "callspec", None)
    return None if call is None else call.params.get("store")
