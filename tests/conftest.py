"""What every test may ask for: the one event loop we run on, a store in a temporary file, a clock and a sender of its
own, and logging as it was. And what every test gets: no limit of time that a busy machine could meet by itself."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from kit.emptied_database import EmptiedDatabase
from kit.fakes import Clock, FakeSender
from kit.new_database import make_schema, place_database
from kit.postgres_cluster import PostgresCluster, missing
from kit.programs import Programs
from receiver.store import Store, open_store
from receiver.web.http.fast_path import FastPathProtocol

# What a test sets is all that is heard: not the proxy, the platform, the unit or the terminal of whoever runs them all.
_THEIRS = {
    *("PORT", "DATABASE_URL", "DYNO", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC"),
    *("WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "JOURNAL_STREAM", "FORCE_COLOR", "NO_COLOR", "COLUMNS"),
}
for name in list(os.environ):
    ours = name.startswith("RECEIVER_") and name != "RECEIVER_SHOTS"  # where tests/browser puts its pictures
    if ours or name in _THEIRS or name.startswith("PG") or name.lower().endswith("_proxy"):
        del os.environ[name]

# Hypothesis fails an example that takes 200 ms, or one whose making is slow: that is the machine's doing. The same
# examples every time, so that a commit passes or does not; `--hypothesis-profile=default` looks for new ones.
settings.register_profile(
    "ours", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ours")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was logged is handed to the process that prints it as UTF-8, also where a test logs half a character."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _reads_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read may wait for a second before it is refused; here for the machine, however busy it is."""
    monkeypatch.setattr("receiver.store.sqlite.engine.READ_MOST_S", 3600.0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(await place_database(tmp_path / "r.db"))
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A PostgreSQL that is started when the first test asks for it. Others use it afterwards: leave it as it was."""
    if why := missing():
        pytest.skip(why)
    with PostgresCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _emptied_database(postgres: PostgresCluster) -> Iterator[EmptiedDatabase]:
    database = EmptiedDatabase(postgres, make_schema)
    yield database
    database.close()


@pytest.fixture
def postgres_url(_emptied_database: EmptiedDatabase) -> str:
    """A PostgreSQL database as a first start leaves it. Only rows may be changed in it."""
    return _emptied_database.url()


@pytest.fixture
def fresh_postgres_url(postgres: PostgresCluster) -> Iterator[str]:
    """A new PostgreSQL database without any table; removed afterwards."""
    name = postgres.make_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(autouse=True)
def _services_over_postgres(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With SERVICES_OVER=postgres, the services of `kit.web` use PostgreSQL; which is not what every test is about."""
    if os.environ.get("SERVICES_OVER") == "postgres":
        monkeypatch.setattr("kit.web.over", [request.getfixturevalue("postgres_url")])


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    started = Programs()
    yield started
    started.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sender() -> FakeSender:
    return FakeSender()


@pytest.fixture
def idle_s(monkeypatch: pytest.MonkeyPatch) -> float:
    """How long the web keeps an idle connection: uvicorn's five seconds, made a time that no machine takes."""
    span_s, begun = 3000.0, FastPathProtocol.connection_made

    def patient(self: FastPathProtocol, transport: asyncio.Transport) -> None:
        begun(self, transport)
        self.timeout_keep_alive = span_s  # type: ignore[assignment]  # a float does as well

    monkeypatch.setattr(FastPathProtocol, "connection_made", patient)
    return span_s


@pytest.fixture
def logging_put_back() -> Iterator[None]:
    """Logging is the process's; leave it as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Packed bytes go by their length: gzip writes the time into them, and every process must give a test one name."""
    if isinstance(val, bytes) and not (val.isascii() and val.decode().isprintable()):
        return f"{len(val)} bytes"
    return None
