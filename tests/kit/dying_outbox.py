"""The outbox emptied by a process that kills itself: `kit.dying_outbox DATABASE POINT NTH URL…` of `kit.programs`.

It sends what is due to targets `t0`, `t1`, … with a short digest, through Apprise, and ends when nothing is left. At
the point, when it comes there for the NTH time, it dies as if the power went; with `-` it does not. Points:

claimed         a send is claimed, nothing of it is sent
sent            it is sent, and that is not recorded
before-commit   a transaction's rows are written, not committed
after-commit    they are committed, and nobody has acted on it
"""

import asyncio
from pathlib import Path

from kit.dying import DyingSender, Fuse
from kit.fakes import steady
from receiver.clocks import wall_clock
from receiver.core.types import Policy, Target
from receiver.notify.dispatch import NoticeDispatcher
from receiver.notify.messages.message import NoLinks
from receiver.service import worker
from receiver.store import Topic, open_store
from receiver.store.sqlite.engine import SqliteConnection
from receiver.telemetry.metrics import Metrics

POINTS = ("claimed", "sent", "before-commit", "after-commit")
DIGEST_MS = 300


def wrap_commits(fuse: Fuse) -> None:
    """Die around a commit that changes notices."""
    commit = SqliteConnection.commit

    async def dying_commit(self: SqliteConnection) -> bool:
        if self.touched:
            await self.fetch_rows("SELECT 1")  # whatever was put off is written now
            fuse.at("before-commit")
        committed = await commit(self)
        if self.touched:
            fuse.at("after-commit")
        return committed

    SqliteConnection.commit = dying_commit  # type: ignore[method-assign]  # the harness's own wrapping


async def main(path: Path, fuse: Fuse, urls: list[str]) -> None:
    """Send until nothing is left, or the fuse has burnt."""
    targets = tuple(Target(name=f"t{number}", url=url, digest_ms=DIGEST_MS) for number, url in enumerate(urls))
    store = await open_store(path)
    wrap_commits(fuse)
    notify = NoticeDispatcher(
        store,
        DyingSender(fuse),
        Policy(targets=targets),
        wall_clock,
        schedule_ms=[100] * 20,
        timeout_ms=30_000,
        links=NoLinks(),
        metrics=Metrics(),
        watch=steady(wall_clock),
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run_loops([notify], store, wall_clock, stop))
        while {state for state, _ in await store.notices.count_by_state()} & {"due", "held", "sending"}:
            await store.wait_for_wake(Topic.NOTIFY, store.wake_count(Topic.NOTIFY), 0.05)
        stop.set()
    await notify.close()
    await store.close()


def prepare() -> None:
    """Load what each process would load with its first message."""
    import apprise

    apprise.Apprise().add("json://127.0.0.1")


def run(words: list[str]) -> None:
    database, point, nth, *urls = words
    asyncio.run(main(Path(database), Fuse(point, int(nth)), urls))
