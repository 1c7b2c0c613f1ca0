"""Two processes over one database: what one transaction decides, another may change at the same moment. Over SQLite
there is one process, and its transactions take turns; so there the same tests say what must come out."""

from collections.abc import AsyncIterator

import pytest

from receiver.store import PostgresPlace, Store, open_store


@pytest.fixture
async def other(request: pytest.FixtureRequest, store: Store) -> AsyncIterator[Store]:
    """The store of another process; over SQLite the same one."""
    if not store.shared:
        yield store
        return
    opened = await open_store(PostgresPlace(url=request.getfixturevalue("postgres_url"), pool=4))
    yield opened
    await opened.close()
