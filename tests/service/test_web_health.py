"""Health, readiness, metrics; how `serve` listens and how it ends."""

import asyncio
import json
import socket
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

from kit.fakes import MINUTE, Clock, a_notice, a_ref, a_task, busy, impatient, owe, put
from kit.web import BEARER, FullDisk, callback_path, opened, problem, served, serving, wired
from receiver.core.errors import SettingsError, StoreUnavailable
from receiver.core.types import NoticeState, TaskState
from receiver.web.app import create_app, serve
from receiver.web.http.server import bind_socket, inherit_socket

pytestmark = pytest.mark.anyio


class Doubtful:
    """A store whose probe counts and waits, as a disk that hangs does."""

    fault: str | None = None
    listening: bool | None = None
    shared = False

    def __init__(self) -> None:
        self.probes = 0
        self.answers = asyncio.Event()
        self.found: str | None = None

    async def probe(self) -> str | None:
        self.probes += 1
        await self.answers.wait()
        return self.found


def asking(app: object) -> httpx.AsyncClient:
    """A client of the application without a socket."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://receiver")


async def test_healthz_needs_no_token_and_no_store(tmp_path: Path) -> None:
    async with opened(tmp_path) as parts, asking(create_app(replace(parts, store=None))) as client:
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_the_root_says_what_this_is_and_where_the_api_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as parts, asking(create_app(parts)) as client:
        assert (await client.get("/")).json()["api"] == "/api/v1"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_the_checks_are_only_asked_for(path: str, tmp_path: Path) -> None:
    """HEAD is a GET without its body; any other method is refused in the shape of every refusal."""
    async with served(tmp_path) as web:
        head, post = await web.client.head(path), await web.client.post(path)
        assert (head.status_code, head.headers["cache-control"], head.content) == (200, "no-store", b"")
        assert problem(post) == (405, "method_not_allowed", None)


async def test_a_check_that_breaks_is_a_500_in_the_shape_of_every_refusal(tmp_path: Path) -> None:
    """And its error is raised, for the server to log."""
    store = Doubtful()
    async with opened(tmp_path) as parts, asking(create_app(replace(parts, store=store))) as client:
        store.answers.set()
        store.probe = None  # type: ignore[assignment,method-assign]
        assert problem(await client.get("/readyz")) == (500, "internal_error", None)


async def test_ready_while_commits_go_through(tmp_path: Path) -> None:
    async with opened(tmp_path) as parts, asking(create_app(parts)) as client:
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_unready_with_the_reason_while_commits_fail_and_ready_again_afterwards(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock) as parts, asking(create_app(parts)) as client:
        await impatient(parts.store)
        with busy(tmp_path / "receiver.db"):
            answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "unready")
        assert "another process holds the database" in answer.json()["why"]
        clock.forward(MINUTE)
        assert (await client.get("/readyz")).status_code == 200


async def test_a_commit_that_failed_since_the_last_probe_is_unready(tmp_path: Path) -> None:
    async with opened(tmp_path) as parts, asking(create_app(parts)) as client:
        assert (await client.get("/readyz")).status_code == 200
        await impatient(parts.store)
        with busy(tmp_path / "receiver.db"), pytest.raises(StoreUnavailable):
            await put(parts.store, a_task())
        assert (await client.get("/readyz")).status_code == 503


async def test_the_store_is_probed_once_in_ten_seconds_however_many_ask(tmp_path: Path) -> None:
    clock, store = Clock(), Doubtful()
    async with opened(tmp_path, clock=clock) as parts, asking(create_app(replace(parts, store=store))) as client:
        store.answers.set()
        answers = await asyncio.gather(*(client.get("/readyz") for _ in range(5)))
        clock.forward(9_999)
        answers.append(await client.get("/readyz"))
        assert ({it.status_code for it in answers}, store.probes) == ({200}, 1)
        clock.forward(1)
        await client.get("/readyz")
        assert store.probes == 2


async def test_a_store_that_does_not_answer_is_unready_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not asked again while it still owes an answer."""
    monkeypatch.setattr("receiver.web.health.PROBE_MOST_S", 0.01)
    clock, store = Clock(), Doubtful()
    async with opened(tmp_path, clock=clock) as parts, asking(create_app(replace(parts, store=store))) as client:
        for _ in range(2):
            assert (await client.get("/readyz")).json()["why"] == "the database does not answer"
            clock.forward(MINUTE)
        assert store.probes == 1
        store.answers.set()


async def test_unready_as_soon_as_the_service_drains_while_callbacks_are_still_answered(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        web.draining.set()
        assert (await web.client.get("/readyz")).json() == {"status": "unready", "why": "the service is stopping"}
        assert (await web.client.post(callback_path(web.parts, a_ref()), content=b"{}")).status_code == 200


async def test_metrics_want_a_token(tmp_path: Path) -> None:
    async with opened(tmp_path) as parts, asking(create_app(parts)) as client:
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/metrics", headers=BEARER)).status_code == 200


async def test_metrics_tell_the_depth_of_every_queue(tmp_path: Path) -> None:
    async with opened(tmp_path) as parts, asking(create_app(parts)) as client:
        await put(parts.store, a_task(TaskState.QUEUED), a_task(), a_task(task_id="job-2"))
        await owe(parts.store, a_notice(), a_notice(state=NoticeState.DEAD))
        answer = await client.get("/metrics", headers=BEARER)
        lines = answer.text.splitlines()
        assert answer.headers["content-type"].startswith("text/plain")
        for queue, depth in {"ingest": 0, "queued": 1, "submitting": 0, "waiting": 2}.items():
            assert f'receiver_queue_depth{{queue="{queue}"}} {depth:.1f}' in lines
        for state, depth in {"due": 1, "sending": 0, "held": 0, "dead": 1}.items():
            assert f'receiver_queue_depth{{queue="notices_{state}"}} {depth:.1f}' in lines


async def test_metrics_tell_sizes_room_and_readiness(tmp_path: Path) -> None:
    """What an alert needs that comes before the trouble."""
    async with opened(tmp_path) as parts, asking(create_app(parts)) as client:
        await put(parts.store, a_task())
        lines = (await client.get("/metrics", headers=BEARER)).text.splitlines()
        told = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        assert float(told["receiver_ready"]) == 1
        assert 0 < float(told["receiver_disk_free_bytes"]) < float(told["receiver_disk_size_bytes"])
        assert float(told['receiver_database_bytes{file="database"}']) == (tmp_path / "receiver.db").stat().st_size
        assert float(told['receiver_database_bytes{file="log"}']) > 0


async def test_metrics_are_told_though_the_database_does_not_answer(tmp_path: Path) -> None:
    """The counters need none; what it would have told is left out, and it is not ready."""

    async def hangs() -> None:
        raise StoreUnavailable("the query took longer than it may")

    async with opened(tmp_path) as parts, asking(create_app(parts)) as client:
        parts.store.tasks.count_by_state = hangs  # type: ignore[assignment,method-assign]
        lines = (await client.get("/metrics", headers=BEARER)).text.splitlines()
        assert "receiver_ready 0.0" in lines
        assert 'receiver_callbacks_total{verdict="accepted"} 0.0' in lines
        assert not [line for line in lines if 'queue="waiting"' in line]


async def test_a_port_in_use_is_one_line_that_names_the_setting(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        with pytest.raises(SettingsError, match=f"^RECEIVER_PORT: {web.port} is already in use on 127.0.0.1; .*$"):
            await serve(
                web.parts, host="127.0.0.1", port=web.port, stop=asyncio.Event(), ready=lambda port: pytest.fail("no")
            )


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "x" * 300])
def test_a_host_that_is_not_ours_is_one_line_that_names_the_setting(host: str) -> None:
    with pytest.raises(SettingsError, match=r"RECEIVER_HOST: .* is not an address of this machine"):
        bind_socket(host, 0)


@pytest.mark.parametrize("what", ["nothing", "a file", "a datagram socket"])
def test_a_descriptor_that_is_no_stream_socket_is_refused(what: str, tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams, (tmp_path / "file").open("w") as file:
        fd = {"nothing": 9999, "a file": file.fileno(), "a datagram socket": datagrams.fileno()}[what]
        with pytest.raises(SettingsError, match=f"--fd {fd} is not a listening stream socket"):
            inherit_socket(fd)


async def test_a_client_that_connected_before_the_start_is_answered(tmp_path: Path) -> None:
    """What systemd's socket activation promises."""
    inherited = socket.create_server(("127.0.0.1", 0))
    port = inherited.getsockname()[1]
    stop = asyncio.Event()
    async with opened(tmp_path) as parts, wired(port) as wire:
        await wire.send("GET /healthz HTTP/1.1")
        told: list[int] = []
        listener = inherit_socket(inherited.detach())
        running = asyncio.create_task(serve(parts, listener=listener, stop=stop, ready=told.append))
        status, _, body = await wire.answer()
        assert (status, json.loads(body), told) == (200, {"status": "ok"}, [port])
        stop.set()
        await running


@pytest.mark.parametrize("inherited", [False, True])
async def test_answers_are_not_held_back_by_nagle(inherited: bool) -> None:
    """asyncio sets TCP_NODELAY only where the listening socket says that it is TCP."""
    listener = (
        inherit_socket(socket.create_server(("127.0.0.1", 0)).detach()) if inherited else bind_socket("127.0.0.1", 0)
    )
    no_delay: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        no_delay.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(taken, sock=listener), wired(listener.getsockname()[1]):
        assert await no_delay


async def test_a_stop_lets_the_request_in_flight_finish_and_closes_the_listener(tmp_path: Path) -> None:
    class Slow(FullDisk):
        begun = asyncio.Event()
        may_end = asyncio.Event()

        async def receive_callback(self, ref: str, body: bytes, headers: bytes) -> None:
            self.begun.set()
            await self.may_end.wait()
            await super().receive_callback(ref, body, headers)

    slow = Slow()
    async with opened(tmp_path) as parts, serving(replace(parts, ingest=slow)) as web:
        asked = asyncio.create_task(web.client.post(callback_path(parts, a_ref()), content=b"{}"))
        await slow.begun.wait()
        async with wired(web.port) as idle:
            web.stop.set()
            assert await idle.closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", web.port)
        slow.may_end.set()
        assert (await asked).status_code == 503
        await web.ended()


async def test_a_cancelled_web_gives_its_port_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as parts:
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(
            serve(parts, host="127.0.0.1", port=0, stop=asyncio.Event(), ready=port.set_result)
        )
        found = await port
        running.cancel()
        await asyncio.wait({running})
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", found)
