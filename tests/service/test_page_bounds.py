"""Lists are bounded in bytes, and so is what is held for readers that do not read; slow but steady ones are not cut."""

import asyncio
import socket
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kit.fakes import a_task, elapse, put
from kit.live_service import until
from kit.web import BEARER, Served, Wire, served
from receiver.core.types import Image, TaskState
from receiver.web.api import present
from receiver.web.api.present import PAGE_BYTES, views_that_fit
from receiver.web.http.connection_limits import READ_RATE_LEAST, BoundedProtocol
from receiver.web.responses import PIECE

pytestmark = pytest.mark.anyio

TASKS, LINKS = 200, 60
LINK = f"https://pics.example/{'x' * 3_900}"
ONE = LINKS * len(LINK)  # bytes of a task's links, more or less
LONG = "300"
UNREAD = 6
KERNEL = 4096  # bytes that a socket of the tests holds, so that what waits does so in the service


async def fill(web: Served) -> list[str]:
    """Tasks with as many long links as a body can bring; their refs, the newest first."""
    tasks = [a_task(TaskState.COMPLETED, task_id=None) for _ in range(TASKS)]
    await put(web.parts.store, *tasks)
    for task in tasks:
        async with web.parts.store.write() as tx:
            await tx.tasks.add_images([(task.ref, Image(number, f"{LINK}{number}")) for number in range(LINKS)])
    return sorted((it.ref for it in tasks), reverse=True)


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, body_timeout=LONG) as web:
        yield web


async def test_a_page_is_bounded_in_bytes_and_its_cursor_misses_nothing(web: Served) -> None:
    """Two hundred such tasks were a page of 46 MiB."""
    refs, found, cursor = await fill(web), [], ""
    while cursor is not None:
        answer = await web.client.get(f"/api/v1/tasks?limit=200{cursor and f'&cursor={cursor}'}")
        page = answer.json()
        assert len(answer.content) <= PAGE_BYTES + 1000
        assert len(page["tasks"]) >= PAGE_BYTES // (2 * ONE)
        assert all(len(it["images"]) == LINKS for it in page["tasks"])
        found += [it["ref"] for it in page["tasks"]]
        cursor = page["next"]
    assert found == refs


@pytest.mark.parametrize(
    ("sizes", "fit"), [([], 0), ([99], 1), ([5, 5], 1), ([3, 3, 3], 3), ([1] * 200, 9), ([3, 99], 1)]
)
async def test_as_many_views_as_fit_and_at_least_one(sizes: list[int], fit: int) -> None:
    made: list[int] = []

    async def make(some: list[int]) -> list[str]:
        made.extend(some)
        return ["x" * (size - 2) if size > 2 else 7 for size in some]  # type: ignore[misc]  # with its quotes

    assert len(await views_that_fit(sizes, make, 9)) == fit
    assert len(made) <= fit + present._TURN_FIRST + present._TURN_MOST


async def test_views_are_made_a_few_at_a_time(web: Served) -> None:
    """Not all of a page, only to show the first of them."""
    made: list[int] = []

    async def make(some: list[int]) -> list[str]:
        made.extend(some)
        return ["x" * 300_000 for _ in some]

    assert len(await views_that_fit(list(range(200)), make)) == 3
    assert len(made) == 4


# Readers


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[BoundedProtocol]:
    """Every connection of the service, each with a small buffer in the kernel."""
    found: list[BoundedProtocol] = []
    begun = BoundedProtocol.connection_made

    def noted(self: BoundedProtocol, transport: asyncio.Transport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL)
        found.append(self)
        begun(self, transport)

    monkeypatch.setattr(BoundedProtocol, "connection_made", noted)
    return found


async def asked(web: Served, path: str) -> Wire:
    """A connection that has asked and does not read."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", web.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=KERNEL)
    wire = Wire(reader, writer)
    await wire.send(f"GET {path} HTTP/1.1", f"Authorization: {BEARER['Authorization']}")
    return wire


async def test_six_that_do_not_read_hold_little_memory(web: Served, connections: list[BoundedProtocol]) -> None:
    """They held 574 MB. Now each holds a page, and of it one piece at a time is in the transport."""
    await fill(web)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        wires = [await asked(web, "/api/v1/tasks?limit=200") for _ in range(UNREAD)]

        async def stalled() -> bool:
            return len(connections) == UNREAD and all(it.flow.write_paused for it in connections)

        await until(stalled)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held - before < UNREAD * 3 * PAGE_BYTES
    assert all(it.transport.get_write_buffer_size() <= PIECE + 1000 for it in connections)
    for wire in wires:
        wire.writer.transport.abort()


async def test_changes_are_streamed_a_piece_at_a_time_too(web: Served, connections: list[BoundedProtocol]) -> None:
    wire = await asked(web, "/api/v1/stream")
    assert b": the changes" in await wire.reader.readuntil(b"follow")
    await fill(web)

    async def stalled() -> bool:
        return connections[0].flow.write_paused

    await until(stalled)
    assert connections[0].transport.get_write_buffer_size() <= PIECE + 1000
    wire.writer.transport.abort()


async def test_an_answer_in_pieces_is_whole(web: Served, connections: list[BoundedProtocol]) -> None:
    refs = await fill(web)
    page = msgspec.json.decode((await web.client.get("/api/v1/tasks?limit=200")).content)
    assert [it["ref"] for it in page["tasks"]] == refs[: len(page["tasks"])]
    head = await web.client.request("HEAD", "/api/v1/tasks?limit=200")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.usefixtures("idle_s")
async def test_a_slow_reader_is_cut_only_when_it_takes_too_little(
    web: Served, connections: list[BoundedProtocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline begins anew with progress; a few bytes now and then are none."""
    await fill(web)
    wire = await asked(web, "/api/v1/tasks?limit=200")

    async def stalled() -> bool:
        return bool(connections) and connections[0].flow.write_paused

    await until(stalled)
    [connection] = connections
    left = 10 * PAGE_BYTES
    monkeypatch.setattr(BoundedProtocol, "_untaken_bytes", lambda self: left)
    connection.resume_writing()
    connection.pause_writing()
    for _ in range(3):
        left -= int(READ_RATE_LEAST * float(LONG))
        await elapse(float(LONG))
        assert not connection.transport.is_closing()
    left -= int(READ_RATE_LEAST * float(LONG)) - 1
    await elapse(float(LONG))
    assert connection.transport.is_closing()
    wire.writer.transport.abort()


async def test_what_the_peer_has_not_taken_is_counted_in_the_kernel_too(
    web: Served, connections: list[BoundedProtocol]
) -> None:
    """The transport is empty long before the peer has read what was sent."""
    await fill(web)
    wire = await asked(web, "/api/v1/tasks?limit=200")

    async def stalled() -> bool:
        return bool(connections) and connections[0].flow.write_paused

    await until(stalled)
    [connection] = connections
    before: Any = connection._untaken_bytes()
    assert before > connection.transport.get_write_buffer_size()
    while connection._untaken_bytes() == before:
        await wire.reader.read(KERNEL)
    wire.writer.transport.abort()
