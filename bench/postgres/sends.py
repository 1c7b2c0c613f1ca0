"""What workers add: slow targets told by one process and by four, one message at a time to each target.

Every target takes 0.3 s for a message, and a process sends eight at once. Messages are counted over some seconds once
each process has sent its first ones, which load Apprise.
"""

import asyncio
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.postgres.cluster import PostgresCluster, database_place
from bench.postgres.fleet import FleetSettings, open_fleet
from bench.postgres.sinks import CountingSinks, open_counting_sinks
from bench.samples import TableRow
from receiver.core.types import Image, Notice, NoticeEvent, Report
from receiver.store import open_store
from receiver.tokens import new_ref

TARGETS = tuple(f"slow{number}" for number in range(64))
NOTICES_EACH = 45
DELAY_S = 0.3
SENDERS = 8
COUNTED_S = 8.0
PATIENCE_S = 120.0
WORKERS = 4
ALTERNATIONS = 2
TIMES_LEAST = 2.5


async def fill_notices(url: str) -> None:
    """Due notices for every target."""
    now = time.time_ns() // 1_000_000
    store = await open_store(database_place(url))
    try:
        for turn in range(NOTICES_EACH):
            async with store.write() as tx:
                await tx.notices.insert([_notice(now, turn, target) for target in TARGETS])
    finally:
        await store.close()


def _notice(now: int, turn: int, target: str) -> Notice:
    ref = new_ref(now)
    report = Report(
        event=NoticeEvent.COMPLETED,
        ref=ref,
        label=f"slow-{turn}-of",
        model="midjourney_outpaint",
        prompt="a house by the sea, in the light of late summer",
        images=(Image(0, "https://cdn.example.com/pictures/0.png"),),
    )
    return Notice(target=target, event=report.event, report=report, created_at=now, due_at=now, ref=ref)


async def measure_workers(folder: Path, cluster: PostgresCluster, workers: int) -> float:
    """Messages a second with so many workers."""
    database = await asyncio.to_thread(cluster.make_database)
    url = cluster.url(database)
    await fill_notices(url)
    async with open_counting_sinks(DELAY_S, r"\bslow-\d+-of\b") as sinks:
        settings = FleetSettings(
            folder=folder,
            database_url=url,
            public_url="http://127.0.0.1:9",
            sink_port=sinks.port,
            targets=TARGETS,
            more={"SENDERS": str(SENDERS), "PICTURE_WAIT": "0"},
        )
        async with open_fleet(settings, workers=workers):
            async with asyncio.timeout(PATIENCE_S):
                while not _all_send(sinks, workers):  # noqa: ASYNC110 - of other processes
                    await asyncio.sleep(0.05)
            before, began = len(sinks.pings), time.monotonic()
            await asyncio.sleep(COUNTED_S)
            rate = (len(sinks.pings) - before) / (time.monotonic() - began)
            left = len(TARGETS) * NOTICES_EACH - len(sinks.pings)
        if left < len(TARGETS):
            raise SystemExit(f"only {left} messages were left: there are too few for this machine")
        if sinks.overlaps:
            raise SystemExit(f"a target had two messages under way at once: {sinks.overlaps[0]}")
    await asyncio.to_thread(cluster.drop_database, database)
    return rate


def _all_send(sinks: CountingSinks, workers: int) -> bool:
    times = Counter(ping.process for ping in sinks.pings)
    return len(times) == workers and min(times.values()) >= SENDERS


def _new_folder(parent: str, name: str) -> Path:
    folder = Path(parent).resolve() / name
    folder.mkdir()
    return folder


def send_rows(cluster: PostgresCluster) -> list[TableRow]:
    """The lines of the table."""
    ones, fours = [], []
    with tempfile.TemporaryDirectory(dir=".") as name:
        for number in range(ALTERNATIONS):
            ones.append(asyncio.run(measure_workers(_new_folder(name, f"one.{number}"), cluster, 1)))
            fours.append(asyncio.run(measure_workers(_new_folder(name, f"four.{number}"), cluster, WORKERS)))
    times = [four / one for one, four in zip(ones, fours, strict=True)]
    return [
        (
            f"{WORKERS} workers of 1: {len(TARGETS)} targets of {DELAY_S} s, {SENDERS} senders each",
            f"{statistics.median(times):.2f}",
            f"at least {TIMES_LEAST}; {min(times):.2f} to {max(times):.2f}; {statistics.median(fours):.0f} / s beside "
            f"{statistics.median(ones):.0f}, never two at once to a target",
        )
    ]
