"""`python -m bench.batch_crash --rows 500 --kills 20`: a batch whose service is killed again and again.

A file of rows goes through `receiver submit batch --wait` to a sandbox that refuses a tenth of the submissions, loses a
twentieth of the callbacks and fails a twentieth of the tasks. Service and command are killed with SIGKILL at random
moments, the service is started again, and the same command is given again. A task whose submission was cut off is
unsure, and asks for a person: the harness looks at the sandbox's tasks, as a person would at the provider's list, and
tells the id of what is there and submits again what is not. In the end each row must have ended, each must have been
taken at most once, and the batch must have been reported with one message. The exit status is 1 if not.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx

from bench.processes import free_port, wait_for_answer
from bench.samples import KEY
from receiver.sandbox import Sandbox, SandboxOptions, open_sandbox

TOKEN = "bench-only-token-bench-only-token"  # noqa: S105 - only for this harness
UPTIME_S = (0.2, 4.0)  # from ready to the kill
WAIT_MOST_S = 600.0
ENDED = ("completed", "failed", "cancelled", "lost")


class _Harness:
    """The sandbox, a target that counts its messages, the service and the command."""

    def __init__(self, folder: Path, sandbox: Sandbox, sink: int, seed: int) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.luck = random.Random(seed)
        self.port = free_port()
        self.asked: dict[str, str] = {}  # what a person had to say, by ref
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")},
            "RECEIVER_DATABASE_URL": f"sqlite:///{folder}/receiver.db",
            "RECEIVER_SECRET_KEYS": KEY,
            "RECEIVER_API_TOKENS": TOKEN,
            "RECEIVER_PORT": str(self.port),
            "RECEIVER_PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "RECEIVER_PROVIDER_URL": f"{sandbox.url}/model/v1/generation",
            "RECEIVER_PROVIDER_KEY": "bench-only-provider-key",
            "RECEIVER_NOTIFY_URLS": f"json://127.0.0.1:{sink}/batch",
            "RECEIVER_SWEEP_FIRST": "5",
            "RECEIVER_CONFIRM_WITHIN": "20",
            "RECEIVER_SERVER": f"http://127.0.0.1:{self.port}",
            "RECEIVER_API_TOKEN": TOKEN,
        }

    async def start(self, *command: str) -> asyncio.subprocess.Process:
        """Start a command of ours."""
        log = os.open(self.folder / f"{command[0]}.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "receiver", *command, env=self.env, stdout=log, stderr=log
            )
        finally:
            os.close(log)

    async def run(self, kills: int) -> int:
        """Kill the service so often, and then let it end; the exit status of the last command."""
        file = str(self.folder / "rows.csv")
        command = ("submit", "batch", file, "--yes", "--wait", "--results", str(self.folder / "results.jsonl"))
        for _ in range(kills):
            service = await self.start("serve")
            await asyncio.to_thread(wait_for_answer, self.port, "/readyz")
            sent = await self.start(*command)
            await asyncio.sleep(self.luck.uniform(*UPTIME_S))
            for process in (service, sent) if self.luck.random() < 0.5 else (service,):
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGKILL)
            await service.wait()
            with contextlib.suppress(ProcessLookupError):
                sent.kill()
            await sent.wait()
        service = await self.start("serve")
        await asyncio.to_thread(wait_for_answer, self.port, "/readyz")
        try:
            sent = await self.start(*command)
            answering = asyncio.create_task(self._answer_for_a_person())
            status = await asyncio.wait_for(sent.wait(), WAIT_MOST_S)
            answering.cancel()
            return status
        finally:
            await asyncio.sleep(3)  # the message about its end
            service.terminate()
            await service.wait()

    async def _answer_for_a_person(self) -> None:
        """Resolve unsure tasks once nothing else is under way."""
        api = f"http://127.0.0.1:{self.port}/api/v1"
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
            while True:
                await asyncio.sleep(2)
                tasks = [
                    task
                    for state in ("queued", "submitting", "waiting")
                    for task in (await http.get(f"{api}/tasks", params={"state": state, "limit": 100})).json()["tasks"]
                ]
                if not all(it["unsure"] for it in tasks):
                    continue
                there = {task.params.get("remixPrompt"): task.id for task in self.sandbox.book.tasks}
                for task in tasks:
                    task_id = there.get(task["params"]["remixPrompt"])
                    self.asked[task["ref"]] = "told its id" if task_id else "submitted again"
                    if task_id:
                        await http.patch(f"{api}/tasks/{task['ref']}", json={"task_id": task_id})
                    else:
                        await http.post(f"{api}/tasks/{task['ref']}/resubmit")


def _write_rows(path: Path, count: int) -> None:
    lines = [f"midjourney_outpaint,a-job,{row % 4},1.5,picture number {row}" for row in range(count)]
    path.write_text("\n".join(("model,jobId,imageNo,scale,prompt", *lines)) + "\n")


@contextlib.asynccontextmanager
async def _count_messages(messages: list[dict[str, object]]) -> AsyncIterator[int]:
    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("content-length:")[2].split()[0])
            messages.append(json.loads(await reader.readexactly(length)))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _taken_rows(sandbox: Sandbox) -> Counter[str]:
    return Counter(str(task.params.get("remixPrompt")) for task in sandbox.book.tasks)


def _find_faults(folder: Path, rows: int, taken: Counter[str], messages: list[dict[str, object]]) -> Iterator[str]:
    with contextlib.closing(sqlite3.connect(folder / "receiver.db")) as raw:
        states = dict(raw.execute("SELECT state, count(*) FROM tasks WHERE row_key IS NOT NULL GROUP BY state"))
        [(finished,)] = raw.execute("SELECT count(*) FROM lanes WHERE finished_at IS NOT NULL")
    print("states:", states, "| taken:", len(taken), "| messages:", Counter(str(it.get("event")) for it in messages))
    if sum(states.values()) != rows:
        yield f"there are {sum(states.values())} tasks for {rows} rows"
    if open_ := {state: count for state, count in states.items() if state not in ENDED}:
        yield f"not ended: {open_}"
    if twice := [row for row, count in taken.items() if count > 1]:
        yield f"taken more than once: {twice[:5]}, {len(twice)} in all"
    if finished != 1:
        yield f"{finished} batches have finished"
    if (ends := sum(it.get("event") == "batch" for it in messages)) != 1:
        yield f"{ends} messages about the batch's end"


async def crash(rows: int, kills: int, seed: int) -> bool:
    """Run it all; whether nothing was wrong."""
    messages: list[dict[str, object]] = []
    options = SandboxOptions(latency_s=1.0, seed=seed, reject=0.1, drop=0.05, fail=0.05)
    with tempfile.TemporaryDirectory(dir=os.getcwd()) as name:
        async with open_sandbox(options) as sandbox, _count_messages(messages) as sink:
            folder = Path(name)
            _write_rows(folder / "rows.csv", rows)
            began = time.monotonic()
            harness = _Harness(folder, sandbox, sink, seed)
            status = await harness.run(kills)
            print("for a person:", dict(Counter(harness.asked.values())))
            print(f"{rows} rows, {kills} kills: {time.monotonic() - began:.0f} s, the last command's status {status}")
            faults = list(_find_faults(folder, rows, _taken_rows(sandbox), messages))
    for fault in faults:
        print(fault)
    return not faults


def main() -> None:
    """Parse the arguments, run, and end with status 1 if anything was wrong."""
    arguments = argparse.ArgumentParser(prog="python -m bench.batch_crash", description=__doc__)
    arguments.add_argument("--rows", type=int, default=500)
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=1)
    asked = arguments.parse_args()
    sys.exit(0 if asyncio.run(crash(asked.rows, asked.kills, asked.seed)) else 1)


if __name__ == "__main__":
    main()
