"""From a callback's answer to its message, where one process settles and another sends; and what idling costs.

The same pace over one process that does both says what the call between processes adds. An idle worker's statements are
counted in the server's own log.
"""

import asyncio
import re
import statistics
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace

from bench.load import post_request
from bench.postgres.balancer import Balancer
from bench.postgres.cluster import PostgresCluster, fill_database, open_cluster
from bench.postgres.fleet import FleetSettings, open_fleet
from bench.postgres.sinks import CountingSinks, open_counting_sinks
from bench.samples import KEY, TableRow, completed_body, waiting_tasks
from receiver.tokens import Ring

TARGETS = tuple(f"quick{number}" for number in range(8))
PER_SECOND = 10
MESSAGES = 120
FIRST = 16  # not counted: they load Apprise
ADDED_MOST_MS = 120
SETTLE_S = 15.0
IDLE_S = 60.0  # two rounds of every loop
QUERIES_MOST = 1.0
PATIENCE_S = 60.0
_STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (?!BEGIN|COMMIT)(.{0,40})")


async def measure_waits(folder: Path, cluster: PostgresCluster, *, together: bool) -> list[float]:
    """Milliseconds from answers to messages; `together`: one process does both."""
    database = await asyncio.to_thread(cluster.make_database)
    tasks = [
        replace(task, label=f"quick-{number}-of", targets=(TARGETS[number % len(TARGETS)],))
        for number, task in enumerate(waiting_tasks(MESSAGES))
    ]
    await fill_database(cluster.url(database), tasks)
    async with open_counting_sinks(0, r"\bquick-\d+-of\b") as sinks:
        settings = FleetSettings(
            folder=folder,
            database_url=cluster.url(database),
            public_url="http://127.0.0.1:9",
            sink_port=sinks.port,
            targets=TARGETS,
            more={"PICTURE_WAIT": "0"},
        )
        ring, balancer, answered = Ring([KEY]), Balancer(), dict[str, float]()
        roles = {"both": 1} if together else {"webs": 1, "workers": 1}
        async with open_fleet(settings, **roles) as [web, *_]:
            balancer.ports = [web.port]
            for number, task in enumerate(tasks):
                request = post_request(f"/callbacks/{ring.token(task.ref)}", completed_body(task.task_id or ""))
                status, _ = await balancer.forward(request)
                if status != 200:
                    raise SystemExit(f"a callback was answered {status}")
                answered[task.label or ""] = time.monotonic()
                if number < FIRST:
                    await _wait_for(sinks, number + 1)
                else:
                    await asyncio.sleep(1 / PER_SECOND)
            await _wait_for(sinks, MESSAGES)
    await asyncio.to_thread(cluster.drop_database, database)
    came = {label: ping.at for ping in sinks.pings for label in ping.labels}
    return [max(0.0, came[label] - at) * 1000 for label, at in list(answered.items())[FIRST:]]


async def _wait_for(sinks: CountingSinks, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(sinks.pings) < count:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.002)


async def count_idle(folder: Path) -> tuple[float, dict[str, int]]:
    """Statements a second of a worker that has nothing to do, and which."""
    with open_cluster({"log_statement": "all"}) as cluster:
        database = await asyncio.to_thread(cluster.make_database)
        settings = FleetSettings(
            folder=folder,
            database_url=cluster.url(database),
            public_url="http://127.0.0.1:9",
            sink_port=9,
            targets=TARGETS,
            more={"PROVIDER_URL": "http://127.0.0.1:9", "PROVIDER_KEY": "bench-only-provider-key"},
        )
        async with open_fleet(settings, workers=1):
            await asyncio.sleep(SETTLE_S)
            before, began = cluster.log.stat().st_size, time.monotonic()
            await asyncio.sleep(IDLE_S)
            took = time.monotonic() - began
            text = cluster.log.read_bytes()[before:].decode(errors="replace")
    found: dict[str, int] = {}
    for match in _STATEMENT.finditer(text):
        found[match[1]] = found.get(match[1], 0) + 1
    return sum(found.values()) / took, found


def message_rows(cluster: PostgresCluster) -> list[TableRow]:
    """The lines of the table."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        folders = [Path(name).resolve() / it for it in ("apart", "together", "idle")]
        for folder in folders:
            folder.mkdir()
        apart = statistics.quantiles(asyncio.run(measure_waits(folders[0], cluster, together=False)), n=20)
        together = statistics.quantiles(asyncio.run(measure_waits(folders[1], cluster, together=True)), n=20)
        idle, statements = asyncio.run(count_idle(folders[2]))
    often = sorted(statements.items(), key=lambda it: -it[1])[:4]
    most = ", ".join(f"{count} {text}" for text, count in often)
    return [
        (
            "answer to message, a web settles and a worker sends: added at p95",
            f"{apart[18] - together[18]:.0f} ms",
            f"at most {ADDED_MOST_MS}; p50 {apart[9]:.0f}, p95 {apart[18]:.0f} ms beside {together[9]:.0f} and "
            f"{together[18]:.0f} in one process",
        ),
        ("an idle worker", f"{idle:.2f} statements / s", f"at most {QUERIES_MOST:.0f}; {most} in {IDLE_S:.0f} s"),
    ]
