"""The store of these tests is over PostgreSQL alone."""

from collections.abc import AsyncIterator

import pytest

from receiver.store import PostgresPlace, Store, open_store


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    opened = await open_store(PostgresPlace(url=postgres_url, pool=4))
    yield opened
    await opened.close()
