"""`receiver submit batch` with nothing faked: killed, repeated and twice at once, each row is submitted once."""

import asyncio
import csv
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kit.commands import RECEIVER, environment
from kit.live_service import PATIENCE_S, TOKEN, Service, serving, until
from receiver import sandbox
from receiver.sandbox import Sandbox, SandboxOptions

pytestmark = pytest.mark.anyio

HEADER = "model,jobId,imageNo,scale,label,x-order\n"


def rows(*numbers: int, label: str = "hero") -> str:
    return HEADER + "".join(f"outpaint,job-{number},0,1.5,{label},{number}\n" for number in numbers)


@asynccontextmanager
async def line(folder: Path) -> AsyncIterator[tuple[Service, Sandbox]]:
    options = SandboxOptions(latency_s=0.01, seed=1)
    async with (
        sandbox.open_sandbox(options) as provider,
        serving(folder, provider.url + "/model/v1/generation", PROVIDER_CONCURRENCY="50") as service,
    ):
        yield service, provider


def jobs(provider: Sandbox) -> Counter[str]:
    """How often each row was submitted."""
    bodies = (json.loads(it.body) for it in provider.book.submissions)
    return Counter(body["input"][0]["params"]["jobId"] for body in bodies)


async def start(service: Service, *args: str) -> asyncio.subprocess.Process:
    """Start a command in the service's folder."""
    pipe = asyncio.subprocess.PIPE
    env = environment(SERVER=service.url, API_TOKEN=TOKEN)
    return await asyncio.create_subprocess_exec(
        *RECEIVER, *args, env=env, cwd=service.folder, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )


async def run(service: Service, *args: str) -> tuple[int | None, str, str]:
    """The exit status of a command, and what it wrote."""
    command = await start(service, *args)
    async with asyncio.timeout(PATIENCE_S):
        out, err = await command.communicate()
    return command.returncode, out.decode(), err.decode()


async def batches(service: Service) -> list[dict[str, Any]]:
    return list((await service.got("batches"))["batches"])


async def test_killed_and_repeated_and_twice_at_once_each_row_is_submitted_once(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider):
        (tmp_path / "rows.csv").write_text(rows(*range(700)))
        killed = await start(service, "submit", "batch", "rows.csv")

        async def has_begun() -> bool:
            return any(sum(it["counts"].values()) for it in await batches(service))

        await until(has_begun)
        killed.send_signal(signal.SIGKILL)
        await killed.communicate()
        first, second = await asyncio.gather(
            run(service, "submit", "batch", "rows.csv", "--results", "one.csv"),
            run(service, "submit", "batch", "rows.csv", "--results", "two.csv"),
        )
        assert (first[0], second[0]) == (0, 0), first[2] + second[2]
        assert first[1] == second[1]
        assert jobs(provider) == {f"job-{number}": 1 for number in range(700)}
        for name in ("one.csv", "two.csv"):
            with (tmp_path / name).open(newline="") as file:
                found = list(csv.DictReader(file))
            assert [(it["line"], it["state"], it["x-order"]) for it in found] == [
                (str(number + 2), "completed", str(number)) for number in range(700)
            ]
        [batch] = await batches(service)
        assert first[1] == f"{batch['name']}\n"
        assert (batch["counts"]["completed"], batch["finished_at"] is not None) == (700, True)


async def test_labels_order_and_equal_rows_may_change(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider):
        file = tmp_path / "rows.csv"
        file.write_text(rows(0, 1, 2, 2))
        status, name, _ = await run(service, "submit", "batch", "rows.csv", "--wait")
        assert (status, jobs(provider).total()) == (0, 4)
        file.write_text(rows(2, 1, 0, label="corrected"))
        status, again, err = await run(service, "submit", "batch", "rows.csv", "--wait")
        assert (status, again) == (0, name), err
        assert "rows.csv:2: its label differs from what was sent, hero\n" in err
        assert "1 row sent before is not in the file any more (line 5)" in err
        file.write_text(rows(0, 1, 2, 3))
        status, _, err = await run(service, "submit", "batch", "rows.csv")
        assert status == 2
        assert f"receiver submit batch rows.csv --name {name.strip()} --reopen\n" in err
        assert (await run(service, "submit", "batch", "rows.csv", "--name", name.strip()))[0] == 2
        status, _, err = await run(service, "submit", "batch", "rows.csv", "--name", name.strip(), "--reopen", "--wait")
        assert status == 0, err
        assert jobs(provider) == {"job-0": 1, "job-1": 1, "job-2": 2, "job-3": 1}


async def test_a_fault_anywhere_sends_nothing(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider):
        file = tmp_path / "rows.csv"
        file.write_text(rows(*range(150)) + "outpaint,x,0,3,,\n")
        status, out, err = await run(service, "submit", "batch", "rows.csv")
        assert (status, out) == (2, "")
        assert err.startswith("rows.csv:152: scale: 3 must be a number from 1.1 to 2.0 (004007005)\n")
        file.write_text("target," + rows(1).replace("\n", "\nnobody,", 1))
        status, out, err = await run(service, "submit", "batch", "rows.csv")
        assert (status, out) == (2, "")
        assert err.startswith("rows.csv:2: targets: unknown target 'nobody'")
        assert (await run(service, "submit", "batch", "rows.csv", "--skip-invalid"))[0] == 2
        file.write_text(rows(1))
        status, out, err = await run(service, "submit", "batch", "rows.csv", "--target", "nobody")
        assert (status, out) == (2, "")
        assert "unknown target 'nobody'" in err
        assert (await batches(service), jobs(provider)) == ([], {})


async def test_the_commands_about_batches(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider):
        (tmp_path / "rows.csv").write_text(rows(1, 2))
        assert (await run(service, "queue", "pause"))[0] == 0
        assert (await run(service, "submit", "batch", "rows.csv", "--name", "mine"))[:2] == (0, "mine\n")
        assert (await run(service, "batch", "pause", "mine"))[1].startswith("mine  paused  ")
        assert "to go on: receiver batch resume mine\n" in (await run(service, "batch", "show", "mine"))[1]
        assert (await run(service, "batch", "resume", "mine"))[1].startswith("mine  running  ")
        assert (await run(service, "batch", "cancel", "mine"))[1] == "mine  cancelled  2 tasks withdrawn\n"
        assert (await run(service, "batch", "list"))[1].splitlines()[1].split()[:3] == ["mine", "cancelled", "2"]
        results = (await run(service, "batch", "results", "mine"))[1]
        assert [it["state"] for it in csv.DictReader(results.splitlines())] == ["cancelled"] * 2
        assert (await run(service, "batch", "retry", "mine"))[1] == "mine  running  2 tasks queued again\n"
        assert (await run(service, "queue", "resume"))[0] == 0
        status, out, err = await run(service, "submit", "batch", "rows.csv", "--name", "mine", "--results", "out.jsonl")
        assert (status, out) == (0, "mine\n"), err
        found = [json.loads(it) for it in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert [(it["line"], it["state"], it["x-order"]) for it in found] == [
            (2, "completed", "1"),
            (3, "completed", "2"),
        ]
        assert jobs(provider) == {"job-1": 1, "job-2": 1}
