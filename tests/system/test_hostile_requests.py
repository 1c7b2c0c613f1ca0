"""The corpus of bad requests, sent to one running service: each case gets its answer, and the service stays well."""

import asyncio
import contextlib
import re
import time
from pathlib import Path

import pytest
from msgspec import Struct

from kit.fakes import a_ref
from kit.hostile_requests import BOMB, MAX_BODY, REQUESTS, Case, bodies, post
from kit.live_service import PATIENCE_S, SECRET, Service, serving
from kit.web import callback_path, served, wired
from receiver.tokens import Ring, new_ref

pytestmark = pytest.mark.anyio

AT_ONCE = 4
GROWTH_MOST = 32 * 1024 * 1024  # bytes


class Got(Struct, frozen=True):
    """What came of a case."""

    statuses: tuple[int, ...]
    verdict: str | None = None


async def a_path(service: Service, task_id: str | None) -> str:
    """A callback URL's path: minted offline, or by the service for a task with an id."""
    if task_id is None:
        return f"/callbacks/{Ring([SECRET]).token(new_ref(time.time_ns() // 1_000_000))}"
    answer = await service.http.post("/api/v1/callback-urls", json={"task_id": task_id})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["callback_url"]).removeprefix(service.url)


async def sent(service: Service, case: Case) -> Got:
    """Send a case over a connection of its own, and read until the other side ends it."""
    path = await a_path(service, case.task_id)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    answered = b""
    with contextlib.suppress(ConnectionError):
        writer.write(case.sent.replace(b"$PATH", path.encode()))
        if case.half:
            writer.write_eof()
        while more := await asyncio.wait_for(reader.read(65536), PATIENCE_S):
            answered += more
    writer.close()
    verdicts = re.findall(rb'"verdict":"(\w+)"', answered)
    statuses = tuple(int(it) for it in re.findall(rb"HTTP/1\.1 ([2-9]\d\d) ", answered))
    return Got(statuses, verdicts[-1].decode() if verdicts else None)


def resident(service: Service) -> int:
    """The service's resident memory in bytes."""
    text = Path(f"/proc/{service.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024


@pytest.mark.parametrize("patience", ["300", "2"])
async def test_every_case_gets_its_answer_and_the_service_does_not_suffer(tmp_path: Path, patience: str) -> None:
    """No 500, no traceback, no end, no memory; and honest callbacks are answered as before.

    Those that end with the service's patience are sent to one that has little, the others to one that has much.
    """
    cases = [it for it in (*bodies(), *REQUESTS) if it.unfinished == (patience == "2")]
    honest = Case("honest", post(b'{"status":"processing"}'), verdict="hint")
    settings = {"MAX_BODY": str(MAX_BODY), "BODY_TIMEOUT": patience}
    got: dict[str, Got] = {}
    async with serving(tmp_path, "http://127.0.0.1:9/nobody", **settings) as service:
        assert await sent(service, honest) == Got((200,), "hint")
        assert (await service.http.get("/api/v1/tasks")).status_code == 200  # what it loads for the API is not growth
        before = resident(service)
        room = asyncio.Semaphore(AT_ONCE)

        async def one(case: Case) -> None:
            async with room:
                got[case.name] = await sent(service, case)

        await asyncio.gather(*(one(case) for case in cases))
        assert await sent(service, honest) == Got((200,), "hint")
        growth = resident(service) - before
    assert got == {case.name: Got(case.statuses, case.verdict) for case in cases}
    assert "Traceback" not in (tmp_path / "service.log").read_text()
    assert growth < GROWTH_MOST


def test_the_corpus_is_large_and_every_case_has_a_name_of_its_own() -> None:
    """Else one would hide the answer of another."""
    cases = [*bodies(), *REQUESTS]
    assert len({it.name for it in cases}) == len(cases) > 250


async def test_what_is_compressed_is_kept_as_it_came(tmp_path: Path) -> None:
    """Unpacked it would be 32 megabytes."""
    async with served(tmp_path) as web:
        path = callback_path(web.parts, a_ref())
        answer = await web.client.post(path, content=BOMB, headers={"Content-Encoding": "gzip"})
        [kept] = await web.parts.store.callbacks.page()
        assert (answer.status_code, kept.size) == (200, len(BOMB))


async def test_a_connection_that_offered_an_upgrade_goes_on_without(tmp_path: Path) -> None:
    """Java's own client offers HTTP/2 in its first request, and then keeps the connection."""
    async with served(tmp_path) as web, wired(web.port) as wire:
        for _ in range(3):
            lines = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
            head = f"POST {callback_path(web.parts, a_ref())} HTTP/1.1"
            await wire.send(head, *lines, "Content-Length: 2", body=b"[]")
            assert (await wire.answer())[0] == 200
