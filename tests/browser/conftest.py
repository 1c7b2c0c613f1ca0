"""One browser for all tests of this folder; they skip where there is none."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from kit.browser import FullService, find_chromium, full_service, running_chromium

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """One worker runs them all, so that there is one browser; without Chromium none does.

    pytest-xdist 3.8 does not group under pytest 9.2: then each worker has a browser and a service of its own.
    """
    for item in items:
        if HERE in item.path.parents:
            if config.pluginmanager.hasplugin("xdist.plugin"):
                item.add_marker(pytest.mark.xdist_group("browser"))
            if find_chromium() is None:
                item.add_marker(pytest.mark.skip("Debian's chromium is not on this machine"))


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with running_chromium() as started:
        yield started


@pytest.fixture(scope="session")
async def full(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FullService]:
    """One service with everything in it, for the tests that change nothing."""
    async with full_service(browser, tmp_path_factory.mktemp("full")) as service:
        yield service
