"""The parts of the service over PostgreSQL, beside other processes: whose clock, what a start does, what a role has."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from kit.fakes import NOW, SECOND, Clock, FakeSender, a_task, put
from kit.live_service import until
from kit.web import BEARER, SECRET, TOKEN, serving
from receiver import __version__, config
from receiver.clocks import wall_clock
from receiver.core.types import TaskState
from receiver.pictures.shared_folder import NAME_FILE
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.service import wiring, worker
from receiver.service.roles import ServiceRole
from receiver.service.wiring import ServiceParts, open_parts, open_pruner
from receiver.web.app import create_app
from receiver.web.health import COUNTED_MS

pytestmark = pytest.mark.anyio
TARGETS = '[targets.slack]\nurl = "json://127.0.0.1:9/a"\n[targets.mail]\nurl = "json://127.0.0.1:9/b"\n'


def settings(folder: Path, url: str, **more: str) -> config.Settings:
    file = folder / "receiver.toml"
    file.write_text(TARGETS)
    given = {
        "DATABASE_URL": url,
        "STATE_DIR": str(folder / "shared"),
        "SECRET_KEYS": SECRET,
        "API_TOKENS": TOKEN,
        "PROVIDER_URL": "http://127.0.0.1:9/generation",
        "POOL": "2",
        **more,
    }
    return config.load_settings({f"RECEIVER_{name}": text for name, text in given.items()}, file)


@contextlib.asynccontextmanager
async def opened(
    folder: Path,
    url: str,
    role: ServiceRole = ServiceRole.ALL,
    clock: Clock | None = None,
    **more: str,
) -> AsyncIterator[ServiceParts]:
    loaded = settings(folder, url, **more)
    async with open_parts(loaded, role=role, sender=FakeSender(), clock=clock or wall_clock) as parts:
        yield parts


@contextlib.asynccontextmanager
async def asking(parts: ServiceParts) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://receiver", headers=BEARER) as client:
        yield client


async def test_all_go_by_the_clock_of_the_database(tmp_path: Path, postgres_url: str) -> None:
    """However wrong the machine's is; what is stored of another machine's clock says nothing here."""
    async with opened(tmp_path, postgres_url) as parts:
        assert parts.clock == parts.store.clock
        connection = await asyncpg.connect(postgres_url)
        theirs = await connection.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        await connection.close()
        assert abs(parts.clock() - theirs) < 60 * SECOND
        assert parts.prune._watch.check.leaps == 0
        assert parts.prune._watch.trusted_now() is not None
    async with opened(tmp_path, postgres_url, clock=Clock()) as parts:
        assert parts.clock() == NOW


async def test_a_process_says_what_it_is(tmp_path: Path, postgres_url: str) -> None:
    async with opened(tmp_path, postgres_url, ServiceRole.WORKER) as parts:

        async def seen() -> bool:
            return bool(await parts.store.processes())

        await until(seen)
        [process] = await parts.store.processes()
        assert (process.role, process.version, set(process.targets)) == ("worker", __version__, {"slack", "mail"})


async def test_ten_starts_at_once_on_an_empty_database(
    tmp_path: Path, fresh_postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        starts = [stack.enter_async_context(opened(tmp_path, fresh_postgres_url)) for _ in range(10)]
        parts = await asyncio.gather(*starts)
        assert await parts[0].store.gates.paused(DEFAULT_PROVIDER) is None
        assert [it.name for it in (tmp_path / "shared" / "images").iterdir()] == [NAME_FILE]
    warned = [it.getMessage() for it in caplog.records if it.levelname in ("WARNING", "ERROR")]
    assert [it for it in warned if "=off, so what was answered" not in it] == []  # the cluster is in a hurry


async def test_a_database_that_was_copied_submits_nothing_at_first(tmp_path: Path, postgres_url: str) -> None:
    """And ten processes that find it so say it once."""
    async with opened(tmp_path, postgres_url) as parts:
        if await parts.store.identity() is None:
            pytest.skip("this role may not ask what names the database")
        async with parts.store.write() as tx:
            await tx.gates.serve_on("another database")
    async with opened(tmp_path, postgres_url), opened(tmp_path, postgres_url) as parts:
        assert await parts.store.gates.paused(DEFAULT_PROVIDER) is not None
        assert dict(await parts.store.notices.count_by_state()) == {"due": 2}  # one for each target


async def test_a_process_with_other_pictures_is_warned(
    tmp_path: Path, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path, postgres_url), opened(tmp_path, postgres_url, STATE_DIR=str(tmp_path / "other")):
        pass
    [warned] = [it.getMessage() for it in caplog.records if it.name == "receiver.pictures.shared_folder"]
    assert warned.startswith(f"{tmp_path}/other/images is not the directory")


async def test_a_pruner_beside_others_leaves_them_room(tmp_path: Path, postgres_url: str) -> None:
    async with opened(tmp_path, postgres_url) as parts, open_pruner(settings(tmp_path, postgres_url)) as pruner:
        await pruner.run_full_pass()
        assert not pruner._alone
        assert pruner.removed == {}
        assert parts.prune.keep == pruner.keep


class Shared:
    """As much of a store as says whether others use its database."""

    def __init__(self, shared: bool) -> None:
        self.shared = shared


@pytest.mark.parametrize(
    ("given", "shared", "width"), [("", False, None), ("", True, 8), ("5", False, 5), ("40", True, 40)]
)
def test_how_many_messages_are_sent_at_once(given: str, shared: bool, width: int | None, tmp_path: Path) -> None:
    (tmp_path / "receiver.toml").touch()
    loaded = config.load_settings({"RECEIVER_SENDERS": given}, tmp_path / "receiver.toml")
    store = Shared(shared)
    assert wiring.choose_senders(loaded, store) == width  # type: ignore[arg-type]  # as much as is used


def test_one_process_of_many_looks_for_work_at_its_own_times() -> None:
    for shared, jitter, seconds in ((False, 0.0, 30.0), (True, 0.0, 36.0), (True, 0.5, 45.0), (True, 1.0, 54.0)):
        store = Shared(shared)
        assert worker.choose_interval_s(store, jitter) == pytest.approx(seconds)  # type: ignore[arg-type]


async def test_readiness_shows_whether_others_are_heard_and_does_not_depend_on_it(
    tmp_path: Path, postgres_url: str
) -> None:
    async with opened(tmp_path, postgres_url, ServiceRole.WEB) as parts, asking(parts) as client:

        async def listening() -> bool:
            return bool(parts.store.listening)

        await until(listening)
        assert (await client.get("/readyz")).json() == {"status": "ready", "listening": True}
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        parts.store._presence.listening = False  # type: ignore[attr-defined]
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ready", "listening": False})


async def test_a_web_says_that_it_does_not_prune(tmp_path: Path, postgres_url: str) -> None:
    async with opened(tmp_path, postgres_url, ServiceRole.WEB) as parts, asking(parts) as client:
        answer = await client.post("/api/v1/prune")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "no_worker")
        assert "run `receiver prune`" in answer.json()["error"]["message"]
    async with opened(tmp_path, postgres_url) as parts, asking(parts) as client:
        assert (await client.post("/api/v1/prune")).status_code == 202


async def test_the_rows_are_counted_once_in_five_seconds(tmp_path: Path, postgres_url: str) -> None:
    """Each of many processes is asked for its metrics, and all would count the same rows."""
    clock = Clock()
    async with opened(tmp_path, postgres_url, clock=clock) as parts, asking(parts) as client:
        line = 'receiver_queue_depth{queue="queued"} '

        async def queued() -> str:
            text = (await client.get("/metrics")).text
            return next(it.removeprefix(line) for it in text.splitlines() if it.startswith(line))

        assert await queued() == "0.0"
        await put(parts.store, a_task(TaskState.QUEUED))
        clock.forward(COUNTED_MS - 1)
        assert await queued() == "0.0"
        clock.forward(1)
        assert await queued() == "1.0"


async def test_a_worker_listens_for_health_and_metrics_alone(tmp_path: Path, postgres_url: str) -> None:
    """By its own server, so that the fast path of callbacks is closed too."""
    async with opened(tmp_path, postgres_url, ServiceRole.WORKER) as parts, serving(parts) as web:
        assert (await web.client.get("/readyz")).status_code == 200
        assert (await web.client.get("/metrics")).status_code == 200
        path = f"/callbacks/{parts.ring.token('0199d0a0-0000-7000-8000-000000000001')}"
        for asked in (path, "/api/v1/tasks", "/", "/login"):
            answer = await web.client.post(asked, content=b"{}")
            assert (asked, answer.status_code) == (asked, 404)
        assert dict(await parts.store.tasks.count_by_state()) == {}
