"""What every test may ask for: the one event loop we run on, and a store in a temporary file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.store import Store, open_store


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "r.db")
    yield opened
    await opened.close()
