"""Chains with nothing faked: handed in at once, they run by themselves to their pings, with one pick by a person."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kit.live_service import Service, Sink, serving, sinking, until
from receiver import sandbox
from receiver.sandbox import Sandbox, SandboxOptions

pytestmark = pytest.mark.anyio

MAKE = {"model": "midjourney_diffusion", "params": {"text": "a lighthouse --ar 3:2 --v 7"}}
WIDE = {"model": "midjourney_outpaint", "params": {"scale": 1.5}}
BIG = {"model": "midjourney_upscale", "params": {"type": "standard"}}
ROWS = 20


@asynccontextmanager
async def line(folder: Path) -> AsyncIterator[tuple[Service, Sandbox, Sink]]:
    """Service, provider and sink, connected."""
    async with sandbox.open_sandbox(SandboxOptions(latency_s=0.1, seed=1)) as provider, sinking() as sink:
        settings = {"NOTIFY_URLS": sink.url, "SWEEP_FIRST": "60"}
        async with serving(folder, provider.url + "/model/v1/generation", **settings) as service:
            yield service, provider, sink


async def hand_in(service: Service, tasks: list[dict[str, Any]], **more: Any) -> list[str]:
    """The refs of the tasks that one call makes."""
    answer = await service.http.post("/api/v1/tasks/batch", json={"tasks": tasks, **more})
    assert all(it["status"] == 202 for it in answer.json()), answer.text
    return [it["task"]["ref"] for it in answer.json()]


def a_chain(image_no: int | str, **more: Any) -> list[dict[str, Any]]:
    """Make four, widen one, enlarge one of these."""
    return [
        {**MAKE, **more, "name": "make"},
        {**WIDE, **more, "name": "wide", "wait_for": {"name": "make", "image_no": image_no}},
        {**BIG, **more, "name": "big", "wait_for": {"name": "wide", "image_no": 3}},
    ]


async def test_a_chain_runs_from_its_prompt_to_its_ping_with_a_pick_from_the_message(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider, sink):
        make, wide, big = await hand_in(service, a_chain("pick", label="hero"))

        async def asked() -> list[dict[str, Any]]:
            return sink.got

        [ping] = await until(asked)
        assert (ping["ref"], ping["event"], ping["picks"]) == (make, "completed", 1)
        link = next(word for word in ping["message"].split() if "/pick/" in word)
        stranger = {"Authorization": ""}  # the link needs no login
        looks = [await service.http.get(link, headers=stranger) for _ in range(100)]
        assert {it.status_code for it in looks} == {200}
        assert (await service.task(wide))["held_by"] == "pick", "who only looks picks nothing"
        picks = await asyncio.gather(*(service.http.post(link, headers=stranger) for _ in range(8)))
        assert sorted(it.status_code for it in picks) == [200, *[409] * 7]
        await service.settled(big)
        assert [it["ref"] for it in sink.got] == [make, big], "the step between is silent"
        assert len(provider.book.submissions) == 3
        tree = (await service.got(f"tasks/{wide}/chain"))["steps"][0]
        assert (tree["ref"], tree["children"][0]["image_no"], tree["children"][0]["picked_by"]) == (make, 0, "link")
        parent, child = await service.task(make), await service.task(wide)
        assert child["params"] == {"jobId": parent["images"][0]["job_id"], "imageNo": 0, "scale": 1.5}


async def test_rows_of_a_batch_run_as_chains_and_are_reported_together(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider, sink):
        assert (await service.http.post("/api/v1/batches", json={"name": "rows"})).status_code == 200
        for row in range(ROWS):
            steps = [{**it, "row_key": f"{row}.{it['name']}"} for it in a_chain(row % 4, line=row + 2)]
            await hand_in(service, steps, batch="rows")
            await hand_in(service, steps, batch="rows")  # as after a lost answer
        await service.http.post("/api/v1/batches/rows/close")

        async def asked() -> list[dict[str, Any]]:
            return sink.got

        [ping] = await until(asked)
        assert (ping["event"], ping["batch"]) == ("batch", "rows")
        assert (await service.got("batches/rows"))["counts"]["completed"] == 3 * ROWS
        assert len(provider.book.submissions) == 3 * ROWS
        assert len(sink.got) == 1


async def test_what_goes_on_from_a_task_that_ended_long_ago_goes_at_once(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider, _):
        [make] = await hand_in(service, [{**MAKE, "name": "make"}])
        await service.settled(make)
        wide = {**WIDE, "wait_for": {"ref": make, "image_no": "all"}}
        answer = await service.http.post("/api/v1/tasks", json=wide)
        for ref in (answer.json()["ref"], *answer.json()["siblings"]):
            await service.settled(ref)
        assert len(provider.book.submissions) == 5
