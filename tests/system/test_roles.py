"""Several processes over one PostgreSQL: what a web and a worker each do, and a start before its database is there."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from kit.commands import RECEIVER, environment
from kit.live_service import PATIENCE_S, SECRET, TOKEN, Service, free_port, sinking, until
from kit.postgres_cluster import PASSWORD, PostgresCluster, missing, own_cluster
from receiver import __version__, sandbox
from receiver.sandbox import SandboxOptions

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def process(folder: Path, url: str, role: str, provider: str, **settings: str) -> AsyncIterator[Service]:
    """A process in a role, ready; its pictures are in the folder that all share."""
    own = folder / role
    own.mkdir()
    service = Service(own, provider, DATABASE_URL=url, STATE_DIR=str(folder / "shared"), **settings)
    try:
        await service.start("-m", "receiver", "serve", "--role", role)
        yield service
    finally:
        await service.stop()
        await service.http.aclose()


async def asked_doctor(service: Service) -> str:
    """What the doctor says last of the database, where that service runs."""
    running = await asyncio.create_subprocess_exec(
        *RECEIVER, "doctor", "--json", env=service.env, cwd=service.folder, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(running.communicate(), PATIENCE_S)
    found = [it for it in json.loads(said) if it["check"] == "database"]
    assert {it["result"] for it in found} <= {"ok", "warning"}, found
    return str(found[-1]["text"])


async def test_a_web_and_a_worker_do_the_whole_job_together(tmp_path: Path, postgres_url: str) -> None:
    async with sandbox.open_sandbox(SandboxOptions()) as provider, sinking() as sink:
        upstream, told = f"{provider.url}/model/v1/generation", {"NOTIFY_URLS": sink.url}
        async with (
            process(tmp_path, postgres_url, "web", upstream, **told) as web,
            process(tmp_path, postgres_url, "worker", upstream, PUBLIC_URL=web.url, **told) as worker,
        ):
            ref = await web.submit("together")
            task = await web.settled(ref)
            assert (task["state"], task["settled_by"]) == ("completed", "callback")
            assert len(sink.got) == 1
            for path, status in {"/healthz": 200, "/readyz": 200, "/metrics": 200}.items():
                assert (await worker.http.get(path)).status_code == status
            assert (await worker.http.get("/readyz")).json() == {"status": "ready", "listening": True}
            bare = httpx.AsyncClient(base_url=worker.url, trust_env=False)
            async with bare:
                assert (await bare.get("/metrics")).status_code == 401
                assert (await bare.post("/healthz")).status_code == 405
            for path in (
                "/",
                "/api/v1/tasks",
                f"/api/v1/tasks/{ref}",
                "/callbacks/1",
                "/login",
                "/doctor/0123456789abcdef",
            ):
                refused = await worker.http.get(path)
                assert (path, refused.status_code, refused.json()["error"]["code"]) == (path, 404, "not_found")
            same = f"processes: 1 web, 1 worker; all of version {__version__}, with the same targets"
            assert await asked_doctor(web) == same
            callback = await web.http.post("/api/v1/callback-urls", json={})
            path = httpx.URL(callback.json()["callback_url"]).path
            assert (await worker.http.post(path, content=b"{}")).status_code == 404
            assert (await web.http.post(path, content=b"{}")).status_code == 200
            assert await web.stop() == 0
            assert await worker.stop() == 0
    for role in ("web", "worker"):
        lines = (tmp_path / role / "service.log").read_text()
        assert f'"{role}, listening on http://127.0.0.1:' in lines
        assert PASSWORD not in lines
        assert '"level": "error"' not in lines


async def test_a_web_alone_runs_no_loop(tmp_path: Path, postgres_url: str) -> None:
    """Nothing is submitted until a worker comes; then it is, though nobody wakes it."""
    async with sandbox.open_sandbox(SandboxOptions()) as provider:
        upstream = f"{provider.url}/model/v1/generation"
        async with process(tmp_path, postgres_url, "web", upstream) as web:
            ref = await web.submit("waits")
            assert (await web.task(ref))["state"] == "queued"
            async with process(tmp_path, postgres_url, "worker", upstream, PUBLIC_URL=web.url):
                await until(lambda: _has_state(web, ref, "completed"))


async def _has_state(service: Service, ref: str, state: str) -> bool:
    return bool((await service.task(ref))["state"] == state)


# A start before its database


@contextlib.asynccontextmanager
async def starting(
    folder: Path, url: str, role: str = "all"
) -> AsyncIterator[tuple[Service, "asyncio.subprocess.Process"]]:
    """A process that is started and nothing more."""
    service = Service(folder, "http://127.0.0.1:9", DATABASE_URL=url, STATE_DIR=str(folder / "shared"))
    with (folder / "service.log").open("ab") as log:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "receiver", "serve", "--role", role, env=service.env, stdout=log, stderr=log
        )
    try:
        yield service, running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()
        await running.wait()
        await service.http.aclose()


async def _asked(service: Service, path: str) -> httpx.Response | None:
    with contextlib.suppress(httpx.TransportError):
        return await service.http.get(path)
    return None


@pytest.mark.parametrize("role", ["all", "worker"])
async def test_a_start_before_its_database_answers_and_goes_on_once_it_is_there(role: str, tmp_path: Path) -> None:
    if why := missing():
        pytest.skip(why)
    with own_cluster() as cluster:
        url = cluster.url(cluster.make_database())
        cluster.stop()
        async with starting(tmp_path, url, role) as (service, running):
            healthy = await until(lambda: _asked(service, "/healthz"))
            assert (healthy.status_code, healthy.json()) == (200, {"status": "ok"})

            async def why_not() -> httpx.Response | None:
                answer = await _asked(service, "/readyz")
                return answer if answer is not None and "cannot be reached" in answer.text else None

            unready = await until(why_not)
            assert (unready.status_code, unready.json()["status"]) == (503, "unready")
            refused = await service.http.post("/callbacks/whatever", content=b"{}")
            assert (refused.status_code, refused.headers["connection"]) == (503, "close")
            assert int(refused.headers["retry-after"]) > 0
            cluster.start()

            async def ready() -> bool:
                answer = await _asked(service, "/readyz")
                return answer is not None and answer.status_code == 200

            await until(ready)
            running.send_signal(signal.SIGTERM)
            assert await running.wait() == 0
    log = (tmp_path / "service.log").read_text()
    assert log.count("trying again for up to 60 seconds") == 1
    assert PASSWORD not in log


async def test_a_stop_ends_the_wait_for_a_database_at_once(tmp_path: Path) -> None:
    async with starting(tmp_path, f"postgresql://u:p@127.0.0.1:{free_port()}/r") as (service, running):
        await until(lambda: _asked(service, "/healthz"))
        running.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.wait(), PATIENCE_S) == 0
    assert '"msg": "stopped"' in (tmp_path / "service.log").read_text()


async def ended(folder: Path, url: str) -> tuple[int, str]:
    """The status of a start that fails by itself, and the one line that it says."""
    env = environment(DATABASE_URL=url, STATE_DIR=str(folder / "shared"), SECRET_KEYS=SECRET, API_TOKENS=TOKEN)
    running = await asyncio.create_subprocess_exec(
        *RECEIVER, "serve", "--port", "0", env=env, cwd=folder, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(running.communicate(), PATIENCE_S)
    assert running.returncode is not None
    [line] = said.decode().splitlines()
    return running.returncode, line


async def test_what_time_does_not_mend_ends_the_start_in_one_line(postgres: PostgresCluster, tmp_path: Path) -> None:
    name = postgres.make_database()
    strangers = postgres.make_database(owner="postgres")
    try:
        status, line = await ended(tmp_path, postgres.url(name, password="wr0ng-Passw0rd"))
        assert status == 2
        assert "refuses the user's password" in line
        assert "wr0ng" not in line
        status, line = await ended(tmp_path, postgres.url("none_of_this_name"))
        assert status == 2
        assert "no database of this name" in line
        status, line = await ended(tmp_path, postgres.url(strangers))
        assert status in (1, 2)
        assert "may not" in line
        postgres.execute("CREATE TABLE migrations (number bigint, name text, oldest bigint)", name)
        postgres.execute(
            "ALTER TABLE migrations OWNER TO receiver; INSERT INTO migrations VALUES (999, 'x', 999)", name
        )
        status, line = await ended(tmp_path, postgres.url(name))
        assert status == 2
        assert "install the newer version" in line
    finally:
        postgres.drop_database(name)
        postgres.drop_database(strangers)
