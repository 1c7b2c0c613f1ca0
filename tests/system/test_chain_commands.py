"""Chains with nothing faked: they run by themselves; killed and repeated, nothing is submitted twice."""

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

CHAIN = """
label = "pier"
[[step]]
name = "make"
model = "diffusion"
params = { prompt = "${prompt}" }
[[step]]
name = "wide"
model = "outpaint"
after = "make"
image_no = [0, 2]
params = { scale = 1.5 }
[[step]]
name = "big"
model = "upscale"
after = "wide"
image_no = 1
params = { type = "creative" }
"""


@asynccontextmanager
async def line(folder: Path, **options: Any) -> AsyncIterator[tuple[Service, Sandbox]]:
    (folder / "auto.toml").write_text(CHAIN)
    async with (
        sandbox.open_sandbox(SandboxOptions(latency_s=0.01, seed=1, **options)) as provider,
        serving(folder, provider.url + "/model/v1/generation", PROVIDER_CONCURRENCY="50") as service,
    ):
        yield service, provider


async def start(service: Service, *args: str) -> asyncio.subprocess.Process:
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


def submitted(provider: Sandbox) -> list[tuple[str, dict[str, Any]]]:
    """Each submission that the provider got: its model and its parameters."""
    bodies = [json.loads(it.body) for it in provider.book.submissions]
    return [(body["model"].removeprefix("midjourney_"), body["input"][0]["params"]) for body in bodies]


async def chain_of(service: Service, ref: str) -> dict[str, Any]:
    return await service.got(f"tasks/{ref}/chain")


async def test_a_chain_from_a_file_runs_by_itself_to_its_end(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider):
        status, out, err = await run(service, "submit", "chain", "auto.toml", "--set", "prompt=a pier", "--wait")
        assert status == 0, err
        chain = await chain_of(service, out.strip())
        assert (chain["tasks"], chain["root"]) == (5, out.strip())
        assert Counter(model for model, _ in submitted(provider)) == {"diffusion": 1, "outpaint": 2, "upscale": 2}
        root = await service.task(out.strip())
        jobs = {image["image_no"]: image["job_id"] for image in root["images"]}
        wide = [params for model, params in submitted(provider) if model == "outpaint"]
        assert {(it["jobId"], it["imageNo"]) for it in wide} == {(jobs[0], 0), (jobs[2], 2)}


async def test_the_same_command_under_its_key_submits_nothing_more(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider):
        args = ("submit", "chain", "auto.toml", "--set", "prompt=x", "--idempotency-key", "k", "--wait")
        first, again = await run(service, *args), await run(service, *args)
        assert (first[0], again[0], first[1]) == (0, 0, again[1])
        assert len(submitted(provider)) == 5


async def test_a_chain_that_failed_at_its_beginning_is_made_once_more_with_all_that_follows(tmp_path: Path) -> None:
    async with line(tmp_path, fail=1.0) as (service, provider):
        status, out, _ = await run(service, "submit", "chain", "auto.toml", "--set", "prompt=x", "--wait")
        assert status == 1
        ref = out.strip()
        assert [it["state"] for it in (await chain_of(service, ref))["steps"][0]["children"]] == ["cancelled"] * 2
        status, out, err = await run(service, "submit", "again", ref, "--with-children", "--set", "prompt=y")
        assert (status, "4 tasks go on from it" in err) == (0, True)
        assert (await chain_of(service, out.strip()))["tasks"] == 5
        assert Counter(model for model, _ in submitted(provider))["outpaint"] == 0


async def test_twenty_chains_killed_and_repeated_are_each_submitted_once(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider):
        (tmp_path / "rows.csv").write_text("prompt,label\n" + "".join(f"p{it},L{it}\n" for it in range(20)))
        args = ("submit", "batch", "rows.csv", "--chain", "auto.toml")

        async def has_begun() -> bool:
            found = (await service.got("batches"))["batches"]
            return any(sum(it["counts"].values()) for it in found)

        for _ in range(2):
            killed = await start(service, *args)
            await until(has_begun)
            killed.send_signal(signal.SIGKILL)
            await killed.communicate()
        status, _, err = await run(service, *args, "--results", "out.csv")
        assert status == 0, err
        sent = submitted(provider)
        assert Counter(model for model, _ in sent) == {"diffusion": 20, "outpaint": 40, "upscale": 40}
        assert Counter(params["text"] for model, params in sent if model == "diffusion") == {
            f"p{number}": 1 for number in range(20)
        }
        jobs = Counter((model, params["jobId"], params["imageNo"]) for model, params in sent if "jobId" in params)
        assert set(jobs.values()) == {1}
        with (tmp_path / "out.csv").open(newline="") as file:
            found = Counter((it["line"], it["model"], it["state"]) for it in csv.DictReader(file))
        assert len(found) == 60
        assert {state for _, _, state in found} == {"completed"}


async def test_one_model_after_another_by_label(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider):
        assert (await run(service, "submit", "diffusion", "--prompt", "x --v 7", "--label", "hero"))[0] == 0
        status, out, err = await run(
            service, "submit", "variation", "--after", "hero", "--image-no", "1,3", "--strength", "strong", "--wait"
        )
        assert (status, len(out.splitlines())) == (0, 2), err
        assert {params["type"] for model, params in submitted(provider) if model == "variation"} == {1}
        status, _, err = await run(service, "submit", "enhance", "--after", "hero", "--image-no", "0")
        assert (status, "say --anyway" in err) == (1, True)
        args = ("retexture", "--after", "hero", "--image-no", "0", "--prompt", "y", "--wait")
        assert (await run(service, "submit", *args))[0] == 0
        [(_, params)] = [it for it in submitted(provider) if it[0] == "retexture"]
        assert params["imgUrl"].startswith(provider.url)
