"""The calls with which a person lets a chain go on: pick and release."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from kit.chains import a_child, pictures
from kit.fakes import a_task, got, put
from kit.web import TOKEN, Served, near, problem, served
from receiver.client.client import Client
from receiver.core.decide import settle_task
from receiver.core.errors import ApiError
from receiver.core.types import Ending, HoldReason, Outcome, OutcomeShape, OutcomeSource, Task
from receiver.tasks.settle import TaskBatch
from receiver.web.api.openapi import BASE as API

pytestmark = pytest.mark.anyio


async def post(web: Served, path: str, **body: Any) -> httpx.Response:
    return await web.client.post(f"{API}{path}", json=body)


async def completed(web: Served, **more: Any) -> tuple[Task, Task]:
    """A task that has completed, and one that waits for a pick of its pictures, or for the end to be certain."""
    root = a_task(task_id=None, label="make")
    root = a_task(task_id=None, label="make", root=root.ref, ref=root.ref)
    child = a_child(root, None)
    await put(web.parts.store, root, child)
    said = Outcome(ending=Ending.COMPLETED, shape=OutcomeShape.TASK, status="completed", images=pictures())
    async with web.parts.store.write() as tx:
        batch = await TaskBatch.read_tasks(tx, [root.ref], web.parts.policy, web.parts.clock())
        made = settle_task(batch.tasks[root.ref], said, OutcomeSource.POLL, web.parts.policy, web.parts.clock(), **more)
        batch.apply_decision(root.ref, made)
        await batch.write_back()
    while await web.parts.follow.claim() == "follow":
        pass
    return root, child


async def test_a_picture_is_picked_for_a_task_or_for_all_that_wait_for_it(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        root, child = await completed(web)
        shown = (await web.client.get(f"{API}/tasks/{child.ref}")).json()
        assert (shown["held_by"], shown["waits_for"]) == ("pick", "pick")
        answer = await post(web, f"/tasks/{child.ref}/pick", image_no=2)
        assert answer.status_code == 200
        [task] = answer.json()["tasks"]
        assert (task["ref"], task["state"], task["held_by"]) == (child.ref, "queued", None)
        assert task["params"]["imageNo"] == 2
        assert (task["chain"]["image_no"], task["chain"]["picked_by"]) == (2, "api")
        again = await post(web, f"/tasks/{root.ref}/pick", image_no=2)
        assert problem(again) == (409, "picked", None)

        root, child = await completed(web)
        tasks = (await post(web, f"/tasks/{root.ref}/pick", image_no=[0, 3])).json()["tasks"]
        assert [it["params"]["imageNo"] for it in tasks] == [0, 3]
        assert len({it["ref"] for it in tasks}) == 2


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "image_no"),
        ({"image_no": []}, 422, "image_no"),
        ({"image_no": "all"}, 422, "image_no"),
        ({"image_no": -1}, 422, "image_no"),
        ({"image_no": 9}, 422, "image_no"),
        ({"image_no": 0, "job_id": "a b"}, 422, "job_id"),
        ({"image_no": [0, 1], "job_id": "a"}, 422, "job_id"),
        ({"image_no": 0, "picture": 1}, 422, "picture"),
    ],
)
async def test_a_pick_that_cannot_be_is_refused_and_changes_nothing(
    tmp_path: Path, body: dict[str, Any], status: int, field: str
) -> None:
    async with near(tmp_path) as web:
        _, child = await completed(web)
        answer = await post(web, f"/tasks/{child.ref}/pick", **body)
        assert (answer.status_code, answer.json()["error"]["field"]) == (status, field)
        assert (await got(web.parts.store, child.ref)).held_by is HoldReason.PICK


async def test_what_waits_for_an_unconfirmed_end_is_released(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        root, child = await completed(web, unconfirmed="nothing confirms it")
        assert (await got(web.parts.store, child.ref)).held_by is HoldReason.PARENT
        answer = await post(web, f"/tasks/{root.ref}/release")
        assert (answer.status_code, answer.json()["ref"]) == (200, root.ref)
        await web.parts.follow.claim()
        assert (await got(web.parts.store, child.ref)).held_by is HoldReason.PICK
        for ref in ("0" * 36, "nothing"):
            assert problem(await post(web, f"/tasks/{ref}/release")) == (404, "not_found", None)
            assert problem(await post(web, f"/tasks/{ref}/pick", image_no=0)) == (404, "not_found", None)


async def test_the_client_picks_and_releases(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        root, child = await completed(web, unconfirmed="nothing confirms it")

        def ask(client: Client) -> None:
            assert client.release_children(root.ref).ref == root.ref
            with pytest.raises(ApiError, match="ended unconfirmed"):
                client.pick_picture(child.ref, 0)

        def pick(client: Client) -> None:
            assert [it.params["jobId"] for it in client.pick_picture(root.ref, [1, 0])] == ["job of 1", "job of 0"]
            with pytest.raises(ApiError) as caught:
                client.pick_picture(child.ref, 3, job_id="mine")
            assert caught.value.code == "picked"

        def using(act: Any) -> None:
            with Client(f"http://127.0.0.1:{web.port}", TOKEN) as client:
                act(client)

        await asyncio.to_thread(using, ask)
        await web.parts.follow.claim()
        await asyncio.to_thread(using, pick)


async def test_what_is_held_in_a_chain_is_counted_by_what_it_waits_for(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        _, child = await completed(web)
        await put(web.parts.store, a_child(child), a_child(child))
        text = (await web.client.get("/metrics")).text
        for why, count in (("pick", 1), ("parent", 2), ("person", 0), ("turn", 0)):
            assert f'receiver_queued_tasks{{waits_for="{why}"}} {count}.0' in text
