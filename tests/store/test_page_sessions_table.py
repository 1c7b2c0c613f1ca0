"""The generation of the pages' sessions: it stays over restarts, and no restored database brings an old one back."""

from pathlib import Path

import pytest

from kit.fakes import NOW
from kit.state_folder import Place
from receiver.store import Store, open_store

pytestmark = pytest.mark.anyio


async def begin(store: Store, generation: str) -> None:
    async with store.write() as tx:
        await tx.sessions.begin_generation(generation, NOW)


async def test_a_new_database_has_a_first_generation_and_each_next_one_replaces_it(store: Store) -> None:
    found = [await store.sessions.generation()]
    for name in ("second", "third"):
        await begin(store, name)
        found.append(await store.sessions.generation())
    assert found == ["first", "second", "third"]


async def test_a_restored_database_begins_a_generation_of_its_own(tmp_path: Path) -> None:
    """Else whoever logged out everywhere after the backup would be logged in again."""
    place, found = Place(tmp_path), []
    await place.filled()
    place.back_up()
    for _ in range(2):
        place.restore()
        store = await open_store(place.database)
        found.append(await store.sessions.generation())
        await begin(store, "ended")
        await store.close()
    assert len({*found, "first", "ended"}) == 4
