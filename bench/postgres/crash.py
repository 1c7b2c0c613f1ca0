"""`python -m bench.postgres.crash --kills 100`: two webs and two workers over one PostgreSQL, killed again and again.

Callbacks for tasks that wait, and new tasks for a sandbox that calls back, flow through a balancer all the time. Any of
the four processes is killed with SIGKILL at a random moment and started again; now and then the database is restarted
without a word (`immediate`). A task whose submission was cut off is unsure, and asks for a person: the harness looks at
the sandbox's tasks, as a person would at the provider's list. In the end nothing that was answered may be lost, each
task is settled and reported, none was submitted twice, and no target ever had two messages under way at once. The exit
status is 1 if not.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from bench.load import post_request
from bench.posters import CallbackSupply, callback_body, task_id
from bench.postgres.balancer import Balancer, open_balancer
from bench.postgres.cluster import PostgresCluster, fill_database, open_cluster
from bench.postgres.crash_check import CrashEvidence, PostgresFindings, check_promises
from bench.postgres.fleet import TOKEN, FleetProcess, FleetSettings, open_fleet
from bench.postgres.sinks import CountingSinks, open_counting_sinks
from bench.samples import KEY
from receiver.core.types import Task, TaskState
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.sandbox import Sandbox, SandboxOptions, open_sandbox
from receiver.tokens import Ring, new_ref

TARGETS = tuple(f"target{number}" for number in range(24))
LABEL = r"\bkill-\d+-of\b"
POSTERS = 4
SENT_S = 0.05  # how long a target takes for a message
POST_GAP_S = 0.03
SUBMIT_GAP_S = 0.4
UP_S = (0.2, 2.5)  # between two kills
WAIT_MOST_S = 400.0


class CrashPlan(Struct, frozen=True, kw_only=True):
    """How much of what. `hurry`: the leases that the dead leave are ended at the end, in place of a minute's wait."""

    kills: int
    waiting: int  # tasks that wait for their callback from the start
    submitted: int  # tasks that are submitted meanwhile
    seed: int
    restart_every: int = 10  # kills, and then the database goes
    hurry: bool = False


class PostgresCrash:
    """One run: what flows, what is killed, and what was seen."""

    def __init__(
        self, plan: CrashPlan, cluster: PostgresCluster, database: str, sandbox: Sandbox, balancer: Balancer
    ) -> None:
        self.plan = plan
        self.cluster = cluster
        self.database = database
        self.sandbox = sandbox
        self.balancer = balancer
        self.accepted: dict[str, str] = {}
        self.asked: dict[str, str] = {}  # what a person had to say, by ref
        self.ended: list[str] = []  # processes that were not killed, and ended all the same
        self.restarts = 0
        self._luck = random.Random(plan.seed)
        self._stop = asyncio.Event()

    # -- what flows --

    async def post(self, supply: CallbackSupply, refs: list[str]) -> None:
        """Post callbacks of waiting tasks; one that was not answered 200 goes again, as from a persistent provider."""
        ring = Ring([KEY])
        while not self._stop.is_set() and (posted := supply.next_callback()) is not None:
            path = f"/callbacks/{ring.token(refs[posted[0]])}"
            status, _ = await self.balancer.forward(post_request(path, callback_body(posted)))
            if status == 200:
                supply.record_answered(posted)
            else:
                supply.put_back(posted)
            await asyncio.sleep(POST_GAP_S)

    async def submit(self) -> None:
        """Submit one task after another; one that was not answered 202 goes again under its Idempotency-Key."""
        for number in range(self.plan.submitted):
            label = f"kill-{self.plan.waiting + number}-of"
            asked = {
                "model": "midjourney_outpaint",
                "params": {"jobId": "a-job", "imageNo": number % 4, "scale": 1.5, "remixPrompt": label},
                "label": label,
                "targets": [TARGETS[number % len(TARGETS)]],
            }
            while True:
                status, answer = await self.call("POST", "/api/v1/tasks", asked, key=label)
                if status == 202:
                    break
                if status not in (502, 503):
                    raise RuntimeError(f"a submission was answered {status}: {answer!r}")
                await asyncio.sleep(0.05)
            self.accepted[str(json.loads(answer)["ref"])] = label
            await asyncio.sleep(SUBMIT_GAP_S)

    async def call(self, method: str, path: str, body: object = None, *, key: str | None = None) -> tuple[int, bytes]:
        """Call the API through the balancer."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Authorization: Bearer {TOKEN}"]
        lines += [f"Content-Length: {len(content)}", "Content-Type: application/json"] if body is not None else []
        lines += [f"Idempotency-Key: {key}"] if key is not None else []
        return await self.balancer.forward("\r\n".join(lines).encode() + b"\r\n\r\n" + content)

    # -- what goes wrong --

    async def kill_repeatedly(self, fleet: list[FleetProcess]) -> None:
        """Kill one of them and start it again, and so on; each tenth time the database goes instead of its word."""
        for number in range(1, self.plan.kills + 1):
            await asyncio.sleep(self._luck.uniform(*UP_S))
            process = self._luck.choice(fleet)
            if not process.kill():
                self.ended.append(f"{process.name}, status {process.status}: {process.log_tail()[-600:]}")
            process.start()
            if number % self.plan.restart_every == 0:
                await asyncio.sleep(self._luck.uniform(0, 1.0))
                await asyncio.to_thread(self.cluster.restart, "immediate")
                self.restarts += 1
            if number % 20 == 0:
                print(f"{number} of {self.plan.kills} kills", file=sys.stderr, flush=True)
        for process in fleet:
            if process.status is not None:
                self.ended.append(f"{process.name}, status {process.status}: {process.log_tail()[-600:]}")
                process.start()
        if self.plan.hurry:
            self._end_leases(fleet)
        for process in fleet:
            await process.wait_ready()

    def _end_leases(self, fleet: list[FleetProcess]) -> None:
        """Kill all of them, and let a minute go by, as far as the database knows."""
        for process in fleet:
            process.kill()
        self.cluster.execute(
            "UPDATE sends SET lease_until = 1 WHERE state = 'sending';"
            "UPDATE tasks SET lease_until = 1 WHERE lease_until IS NOT NULL",
            self.database,
        )
        for process in fleet:
            process.start()

    # -- the end --

    async def settle_all(self) -> None:
        """Wait until every task has ended and every notice is sent; decide for a person what is unsure."""
        end, told = time.monotonic() + WAIT_MOST_S, time.monotonic()
        while time.monotonic() < end:
            [(tasks, notices)] = await self._ask(
                "SELECT (SELECT count(*) FROM tasks WHERE state <> 'completed'),"
                " (SELECT count(*) FROM notices WHERE state IN ('due', 'sending', 'held'))"
            )
            if tasks == notices == "0":
                return
            if time.monotonic() > told + 20:
                told = time.monotonic()
                print(f"{tasks} tasks and {notices} notices are open", file=sys.stderr, flush=True)
            await self._answer_for_a_person()
            await asyncio.sleep(0.5)

    async def _ask(self, sql: str) -> list[list[str]]:
        return await asyncio.to_thread(self.cluster.execute, sql, self.database)

    async def _answer_for_a_person(self) -> None:
        rows = await self._ask(
            "SELECT ref, label FROM tasks WHERE unsure = 1 AND state NOT IN ('completed', 'failed') AND label <> ''"
        )
        there = {task.params.get("remixPrompt"): task.id for task in self.sandbox.book.tasks}
        for ref, label in rows:
            if task_known := there.get(label):
                self.asked[ref] = "told its id"
                await self.call("PATCH", f"/api/v1/tasks/{ref}", {"task_id": task_known})
            else:
                self.asked[ref] = "submitted again"
                await self.call("POST", f"/api/v1/tasks/{ref}/resubmit", {})

    def evidence(self, sinks: CountingSinks) -> CrashEvidence:
        """What was seen outside."""
        return CrashEvidence(
            answered=frozenset(self.balancer.answered),
            accepted=self.accepted,
            taken=Counter(str(task.params.get("remixPrompt")) for task in self.sandbox.book.tasks),
            pings=tuple(sinks.pings),
            overlaps=tuple(sinks.overlaps),
        )

    def stop(self) -> None:
        """End the posters."""
        self._stop.set()


class CrashReport(Struct, frozen=True):
    """What was done, and what was found."""

    kills: int
    restarts: int
    took_s: float
    asked: dict[str, int]
    others: dict[int, int]
    log_lines: dict[str, int]  # errors that the processes logged
    findings: PostgresFindings

    def table_rows(self) -> list[tuple[str, str, str]]:
        """The lines of the table."""
        found = self.findings
        return [
            ("kills", f"{self.kills:,}", f"and {self.restarts} restarts of the database, in {self.took_s:.0f} s"),
            ("callbacks answered 200", f"{found.answered:,}", f"other answers: {self.others}"),
            ("submissions answered 202", f"{found.accepted:,}", f"for a person: {self.asked}"),
            ("tasks settled", f"{found.settled:,}", f"{found.settled - found.notified:,} without notice"),
            ("pings sent again", f"{found.repeats:,}", f"over {len(TARGETS)} targets"),
        ]


async def _fill_waiting(url: str, count: int) -> list[str]:
    """Migrate the database, add tasks that wait for their callback, and return their refs."""
    now = time.time_ns() // 1_000_000
    tasks = [
        Task(
            ref=new_ref(now),
            created_at=now,
            provider=DEFAULT_PROVIDER,
            state=TaskState.WAITING,
            task_id=task_id(number),
            label=f"kill-{number}-of",
            targets=(TARGETS[number % len(TARGETS)],),
            model="midjourney_outpaint",
            submitted_at=now,
            poll_at=now + 86_400_000,
        )
        for number in range(count)
    ]
    await fill_database(url, tasks)
    return [task.ref for task in tasks]


@contextlib.asynccontextmanager
async def _open_run(
    folder: Path, cluster: PostgresCluster, plan: CrashPlan
) -> AsyncIterator[tuple[PostgresCrash, CountingSinks, FleetSettings]]:
    database = await asyncio.to_thread(cluster.make_database)
    options = SandboxOptions(
        latency_s=1.0, seed=plan.seed, reject=0.05, drop=0.05, images=1, callback_retry_s=(0.2,) * 5_000
    )
    async with (
        open_sandbox(options) as sandbox,
        open_counting_sinks(SENT_S, LABEL) as sinks,
        open_balancer() as balancer,
    ):
        settings = FleetSettings(
            folder=folder,
            database_url=cluster.url(database),
            public_url=f"http://127.0.0.1:{balancer.port}",
            sink_port=sinks.port,
            targets=TARGETS,
            more={
                "PROVIDER_URL": f"{sandbox.url}/model/v1/generation",
                "PROVIDER_KEY": "bench-only-provider-key",
                "SWEEP_FIRST": "3",
                "SWEEP_MAX": "5",
                "CONFIRM_WITHIN": "20",
                "PICTURE_WAIT": "0",
            },
        )
        yield PostgresCrash(plan, cluster, database, sandbox, balancer), sinks, settings


async def run_crashes(folder: Path, cluster: PostgresCluster, plan: CrashPlan) -> CrashReport:
    """Run the whole harness in `folder`, over a new database of this cluster."""
    async with _open_run(folder, cluster, plan) as (run, sinks, settings):
        refs = await _fill_waiting(settings.database_url, plan.waiting)
        supply = CallbackSupply(range(plan.waiting))
        async with open_fleet(settings, webs=2, workers=2) as fleet:
            run.balancer.ports = [process.port for process in fleet if process.role == "web"]
            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                posters = [group.create_task(run.post(supply, refs)) for _ in range(POSTERS)]
                submitting = group.create_task(run.submit())
                await run.kill_repeatedly(fleet)
                await submitting
                await asyncio.wait(posters, timeout=WAIT_MOST_S)
                run.stop()
            await run.settle_all()
            statuses = {process.name: await process.stop() for process in fleet}
        run.ended += [f"{name}: status {status} after SIGTERM" for name, status in statuses.items() if status]
        took_s = time.monotonic() - began
        found = check_promises(lambda sql: cluster.execute(sql, run.database), run.evidence(sinks), len(run.asked))
        broken = (*found.broken, *run.ended, *sinks.overlaps[:5])
        return CrashReport(
            plan.kills,
            run.restarts,
            took_s,
            dict(Counter(run.asked.values())),
            dict(run.balancer.others),
            _count_errors(fleet),
            replace(found, broken=broken),
        )


def _count_errors(fleet: list[FleetProcess]) -> dict[str, int]:
    """The errors in the processes' logs, by action and text."""
    found: Counter[str] = Counter()
    for process in fleet:
        for line in process.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry.get("level") in ("error", "critical"):
                    trace = str(entry.get("trace") or "").strip().splitlines()
                    found[f"{process.role} {entry.get('action')}: {entry.get('msg')} {' / '.join(trace[-3:])}"] += 1
    return dict(found)


def main() -> None:
    """Run, print the table, and exit with what was broken."""
    arguments = argparse.ArgumentParser(prog="python -m bench.postgres.crash", description=__doc__)
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument("--waiting", type=int, default=1_000, help="tasks that wait for callbacks")
    arguments.add_argument("--submitted", type=int, default=300, help="tasks that are submitted")
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    plan = CrashPlan(kills=given.kills, waiting=given.waiting, submitted=given.submitted, seed=given.seed)
    with tempfile.TemporaryDirectory(dir=".", prefix="crash-") as name, open_cluster() as cluster:
        report = asyncio.run(run_crashes(Path(name).resolve(), cluster, plan))
    for row in report.table_rows():
        print(f"| {' | '.join(row)} |")
    for line, count in report.log_lines.items():
        print(f"logged {count} times: {line}")
    if report.findings.broken:
        sys.exit("\n".join(report.findings.broken))


if __name__ == "__main__":
    main()
