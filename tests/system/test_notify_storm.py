"""The way out under fire, with nothing faked: sinks that fail in every way, and a process that is killed on the way."""

import asyncio
import contextlib
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kit.dying_outbox import POINTS
from kit.fakes import a_ref, owe, steady
from kit.live_service import PATIENCE_S, Sink, free_port, sinking, until
from kit.programs import Programs
from receiver.clocks import wall_clock
from receiver.core.types import Notice, NoticeEvent, Policy, Report, Target
from receiver.notify.dispatch import NoticeDispatcher
from receiver.notify.messages.message import NoLinks
from receiver.notify.senders.sender import AppriseSender
from receiver.service import worker
from receiver.store import Store, open_store
from receiver.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

TIMEOUT_S = 1.0
SCHEDULE_MS = [200, 400, 800, 1_600, *[3_200] * 100]
TROUBLE_S = 3.0  # less than the schedule, on the slowest machine
EACH = 20  # notices of a target


class BadSink:
    """A json:// target's other end that hangs or drips until it is well; then it answers as it should."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.port = free_port()
        self.got: list[str] = []
        self.well = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen; until then connections are refused."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)  # at once: a task that is cancelled before it began closes nothing
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            body = await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
            if self.well.is_set():
                self.got.append(json.loads(body)["title"])
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            elif self.how == "fails":
                writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            elif self.how == "drips":
                while not self.well.is_set():
                    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: "[:1])
                    await writer.drain()
                    await asyncio.sleep(0.05)
            else:
                await self.well.wait()


@contextlib.asynccontextmanager
async def sending(store: Store, *targets: Target) -> AsyncIterator[None]:
    """The loop over these targets, through Apprise."""
    sender = AppriseSender(timeout_s=TIMEOUT_S)
    notify = NoticeDispatcher(
        store,
        sender,
        Policy(targets=targets),
        wall_clock,
        schedule_ms=SCHEDULE_MS,
        timeout_ms=round(TIMEOUT_S * 1000),
        links=NoLinks(),
        metrics=Metrics(),
        watch=steady(wall_clock),
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run_loops([notify], store, wall_clock, stop))
        try:
            yield
        finally:
            stop.set()
    await notify.close()
    await sender.close()


def a_told(target: str, label: str) -> Notice:
    """A notice that is due now, of a task with this label."""
    now, ref = wall_clock(), a_ref()
    report = Report(event=NoticeEvent.COMPLETED, ref=ref, label=label)
    return Notice(target=target, event=report.event, report=report, created_at=now, due_at=now, ref=ref)


async def test_every_notice_arrives_once_the_bad_times_are_over_and_the_healthy_target_never_waits(
    store: Store,
) -> None:
    """500, refused connections, hanging, dripping, for less than the schedule: nothing is lost, nobody else is slow."""
    bad = {how: BadSink(how) for how in ("fails", "refuses", "hangs", "drips")}
    async with contextlib.AsyncExitStack() as stack:
        healthy = await stack.enter_async_context(sinking())
        for how, sink in bad.items():
            stack.callback(sink.close)
            if how != "refuses":
                await sink.open()
        targets = [Target(name=how, url=f"json://127.0.0.1:{sink.port}/") for how, sink in bad.items()]
        targets.append(Target(name="healthy", url=healthy.url, on=frozenset({NoticeEvent.COMPLETED})))
        await stack.enter_async_context(sending(store, *targets))
        await owe(store, a_told("healthy", "warm"))  # with the first message Apprise is loaded
        await until(lambda: some_told(healthy))
        for number in range(EACH):
            await owe(store, *(a_told(target.name, f"task-{number}-") for target in targets))
            await asyncio.sleep(TROUBLE_S / EACH)

        async def healthy_has_all() -> bool:
            return {it.state for it in await store.notices.page(limit=1000) if it.target == "healthy"} == {"sent"}

        await until(healthy_has_all)
        assert not any(sink.got for sink in bad.values()), "it had to wait for the others"
        await bad["refuses"].open()
        for sink in bad.values():
            sink.well.set()

        async def all_sent() -> bool:
            left = [it for it in await store.notices.page(limit=1000) if it.state != "sent"]
            return not left or any(it.state == "dead" for it in left)

        await until(all_sent)
        found = await store.notices.page(limit=1000)
    assert Counter(it.state.value for it in found if it.event is NoticeEvent.COMPLETED) == {"sent": 5 * EACH + 1}
    for sink in bad.values():
        for number in range(EACH):
            assert any(f"task-{number}-" in title for title in sink.got)


async def some_told(sink: Sink) -> bool:
    return bool(sink.got)


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_while_sending_or_digesting_loses_nothing_and_repeats_one_send_a_target(
    tmp_path: Path, programs: Programs, point: str, nth: int
) -> None:
    """Two targets; each gets a first message and a digest, some of which were under way when the process died."""
    labels = [f"task-{number}-" for number in range(8)]
    database = tmp_path / "r.db"
    store = await open_store(database)
    await owe(store, *(a_told(target, label) for label in labels for target in ("t0", "t1")))
    await store.close()
    async with sinking() as first, sinking() as second:
        for fuse in ((point, str(nth)), ("-", "1")):
            async with asyncio.timeout(PATIENCE_S):
                ended = await programs.run("kit.dying_outbox", str(database), *fuse, first.url, second.url)
            assert ended == (0 if fuse[0] == "-" else -signal.SIGKILL)
        for sink in (first, second):
            messages = [f"{got['title']} {got['message']}" for got in sink.got]
            told = Counter(label for label in labels for message in messages if label in message)
            assert set(told) == set(labels)
            assert len(messages) - len(set(messages)) <= 1, "at most the one that was under way is repeated"
            assert all(count <= 2 for count in told.values())
    store = await open_store(database)
    assert {it.state.value for it in await store.notices.page(limit=100)} == {"sent"}
    await store.close()
