"""What a restart of the database costs: callbacks flow, the server is ended and started again.

A web answers callbacks of persistent posters, which send again what was not answered 200. Counted are those that were
answered and are not in the database, those that were stored as not understood, and the seconds from when the server
takes connections again to the next callback that is answered 200.
"""

import asyncio
import tempfile
import time
from pathlib import Path

from bench.load import post_request
from bench.postgres.balancer import Balancer
from bench.postgres.cluster import PostgresCluster, StopMode, fill_database
from bench.postgres.fleet import FleetSettings, open_fleet
from bench.samples import KEY, TableRow, completed_body, waiting_tasks
from receiver.core.types import Task
from receiver.tokens import Ring

MODES: tuple[StopMode, ...] = ("fast", "immediate", "killed")
TASKS = 20_000
POSTERS = 16
APART_S = 3.0
DOWN_S = 0.5
GAP_MOST_S = 3.0


async def _post_callbacks(balancer: Balancer, tasks: list[Task], times: list[float], stop: asyncio.Event) -> None:
    """Post them one after another until `stop`; `times` gets when each was answered 200."""
    ring = Ring([KEY])
    while tasks and not stop.is_set():
        task = tasks.pop()
        request = post_request(f"/callbacks/{ring.token(task.ref)}", completed_body(task.task_id or ""))
        status = 0
        while status != 200 and not stop.is_set():
            status, _ = await balancer.forward(request)
            if status == 200:
                times.append(time.monotonic())
            else:
                await asyncio.sleep(0.02)


async def measure_restarts(folder: Path, cluster: PostgresCluster) -> tuple[int, int, int, list[float]]:
    """Callbacks answered 200, those of them that are lost, those stored as not understood, and the gaps."""
    database = await asyncio.to_thread(cluster.make_database)
    tasks = waiting_tasks(TASKS)
    await fill_database(cluster.url(database), tasks)
    settings = FleetSettings(
        folder=folder,
        database_url=cluster.url(database),
        public_url="http://127.0.0.1:9",
        sink_port=9,
        targets=("off",),
    )
    balancer, times, gaps, stop = Balancer(), list[float](), list[float](), asyncio.Event()
    async with open_fleet(settings, webs=1) as [web], asyncio.TaskGroup() as group:
        balancer.ports = [web.port]
        for _ in range(POSTERS):
            group.create_task(_post_callbacks(balancer, tasks, times, stop))
        for mode in MODES:
            await asyncio.sleep(APART_S)
            await asyncio.to_thread(cluster.stop, mode)
            await asyncio.sleep(DOWN_S)
            await asyncio.to_thread(cluster.start)
            accepts = time.monotonic()
            while not times or times[-1] < accepts:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.005)
            gaps.append(next(at for at in times if at >= accepts) - accepts)
        await asyncio.sleep(APART_S)
        stop.set()
    ask = cluster.execute
    kept = {(ref, digest) for ref, digest in ask("SELECT ref, encode(digest, 'hex') FROM callbacks", database)}
    [[misjudged]] = ask("SELECT count(*) FROM callbacks WHERE verdict = 'unparsed'", database)
    open_ = {ref for [ref] in ask("SELECT ref FROM tasks WHERE state <> 'completed'", database)}
    lost = {it for it in balancer.answered if it not in kept or it[0] in open_}
    cluster.drop_database(database)
    return len(balancer.answered), len(lost), int(misjudged), gaps


def restart_rows(cluster: PostgresCluster) -> list[TableRow]:
    """The lines of the table."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        answered, lost, misjudged, gaps = asyncio.run(measure_restarts(Path(name).resolve(), cluster))
    return [
        (
            f"the database restarted under load ({', '.join(MODES)}): lost, misjudged",
            f"{lost}, {misjudged}",
            f"0, 0; of {answered:,} answered 200",
        ),
        (
            "the longest gap after it accepts again",
            f"{max(gaps):.2f} s",
            f"at most {GAP_MOST_S:.0f} s; {', '.join(f'{gap:.2f}' for gap in gaps)}",
        ),
    ]
