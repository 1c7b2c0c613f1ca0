"""What every test may ask for: the one event loop we run on, a store in a temporary file, a clock and a sender of its
own, and logging as it was."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fakes import Clock, FakeSender

from receiver.store import Store, open_store


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "r.db")
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sender() -> FakeSender:
    return FakeSender()


@pytest.fixture
def logging_put_back() -> Iterator[None]:
    """Logging is the process's; leave it as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
