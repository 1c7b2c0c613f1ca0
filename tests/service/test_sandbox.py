"""The provider's stand-in: the protocol that the official CLI expects, and mischief exactly as ordered."""

import asyncio
import io
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from PIL import Image

from kit.live_service import PATIENCE_S
from receiver.sandbox import CallbackBody, Fate, Sandbox, SandboxOptions, open_sandbox, serve_sandbox
from receiver.sandbox.fates import draw_fate
from receiver.sandbox.tasks import TaskBook, new_task_id

pytestmark = pytest.mark.anyio

KEY = {"Authorization": "Bearer sandbox-key"}
PARAMS: dict[str, object] = {"jobId": "a-job", "imageNo": 1, "scale": 1.5}


class Inbox:
    """A receiver on a port of its own that keeps every body and answers as told, 200 when not told."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.arrived = asyncio.Event()
        self.url = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        assert length is not None
        self.bodies.append(json.loads(await reader.readexactly(int(length[1]))))
        self.arrived.set()
        status = self.answers.pop(0) if self.answers else 200
        location = f"Location: {self.url}/elsewhere\r\n" if 300 <= status < 400 else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{location}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def inbox() -> AsyncIterator[Inbox]:
    box = Inbox()
    async with await asyncio.start_server(box.take, "127.0.0.1", 0) as server:
        box.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        yield box


@asynccontextmanager
async def sandboxed(*script: Fate, **options: Any) -> AsyncIterator[tuple[Sandbox, httpx.AsyncClient]]:
    defaults: dict[str, Any] = {"latency_s": 0.0, "callback_retry_s": (0.0, 0.0, 0.0), "script": script}
    chosen = SandboxOptions(**(defaults | options))
    async with (
        open_sandbox(chosen) as sandbox,
        httpx.AsyncClient(base_url=sandbox.url, trust_env=False, timeout=PATIENCE_S) as client,
    ):
        yield sandbox, client


async def submit(client: httpx.AsyncClient, callback: str | None = None, **changes: object) -> httpx.Response:
    params = PARAMS | changes | ({"callback": callback} if callback else {})
    body = {"model": "midjourney_outpaint", "input": [{"params": params}]}
    return await client.post("/model/v1/generation", json=body, headers=KEY)


async def poll(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    answer = await client.get(f"/model/v1/generation/task/{task_id}", headers=KEY)
    assert answer.status_code == 200
    return dict(answer.json())


async def test_a_submission_is_answered_with_the_task_object_without_its_result() -> None:
    async with sandboxed(latency_s=3600) as (_, client):
        answer = await submit(client)
        task = answer.json()
        assert answer.status_code == 200
        assert re.fullmatch("[0-9a-z]{20}", task["id"])
        assert (task["model"], task["status"]) == ("midjourney_outpaint", "in_progress")
        assert isinstance(task["created_at"], int)
        assert "output" not in task
        assert 0 <= (await poll(client, task["id"]))["progress"] < 1


async def test_a_completed_task_has_four_pictures_of_one_job() -> None:
    async with sandboxed() as (sandbox, client):
        task_id = (await submit(client)).json()["id"]
        await sandbox.wait_until_idle()
        task = await poll(client, task_id)
        content = task["output"][0]["content"]
        assert task["status"] == "completed"
        assert "progress" not in task
        assert [item["type"] for item in content] == ["image"] * 4
        assert len({item["url"] for item in content}) == len({item["id"] for item in content}) == 4
        assert len({item["jobId"] for item in content} | {task_id}) == 2
        assert task["usage"] == {"cost": "0.05", "discount": 1}
        picture = await client.get(content[3]["url"])
        assert picture.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(picture.content)) as image:
            assert image.size == (1024, 1024)
        assert (await client.get(content[3]["url"].replace("/3.png", "/4.png"))).status_code == 404


async def test_a_failed_task_has_the_documented_error_and_no_pictures() -> None:
    async with sandboxed(Fate.FAILS) as (sandbox, client):
        task_id = (await submit(client)).json()["id"]
        await sandbox.wait_until_idle()
        task = await poll(client, task_id)
        assert (task["status"], task["error"]["code"]) == ("failed", 4007098)
        assert "output" not in task
        assert (await client.get(f"/pictures/{task_id}/0.png")).status_code == 404


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"jobId": ""}, 4007001),
        ({"imageNo": None}, 4007002),
        ({"imageNo": 4}, 4007003),
        ({"scale": None}, 4007004),
        ({"scale": 3}, 4007005),
        ({"callback": "ftp://example.org/"}, 4007006),
        ({"callback": 7}, 4007006),
    ],
)
async def test_parameter_faults_have_the_documented_codes(changes: dict[str, Any], code: int) -> None:
    async with sandboxed() as (sandbox, client):
        answer = await submit(client, **changes)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == code
        assert answer.json()["error"]["error_message"]
        assert sandbox.book.tasks == []


async def test_the_gateways_refusals_say_message_in_words() -> None:
    """The official CLI reads `message` of any answer from 400 on."""
    async with sandboxed() as (_, client):
        path = "/model/v1/generation"
        sound = {"model": "midjourney_outpaint", "input": [{"params": PARAMS}]}
        answers = [
            await client.post(path, json=sound),
            await client.post(path, json=sound, headers={"Authorization": "Basic c2FuZGJveDprZXk="}),
            await client.get(f"{path}/task/x"),
            await client.post(path, content=b"{", headers=KEY),
            await client.post(path, content=b"[" * 100_000, headers=KEY),
            await client.post(path, content=b'"\xff"', headers=KEY),
            await client.post(path, json={"model": "midjourney_outpaint", "input": []}, headers=KEY),
            await client.post(path, json=sound | {"model": "x"}, headers=KEY),
            await client.get(f"{path}/task/x", headers=KEY),
        ]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 400, 400, 400, 400, 404, 404]
        assert all(isinstance(answer.json()["message"], str) for answer in answers)


async def test_rejections_take_nothing() -> None:
    async with sandboxed(Fate.BUSY, Fate.UNAVAILABLE, Fate.REFUSED) as (sandbox, client):
        busy, unavailable, refused = [await submit(client) for _ in range(3)]
        assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
        assert (unavailable.status_code, unavailable.json()["error"]["code"]) == (503, 4007099)
        assert refused.status_code == 200
        assert "id" not in refused.json()
        assert refused.json()["error"]["error_message"]
        assert sandbox.book.tasks == []


async def test_one_callback_comes_and_is_the_task_object() -> None:
    async with inbox() as box, sandboxed() as (sandbox, client):
        task_id = (await submit(client, box.url)).json()["id"]
        await sandbox.wait_until_idle()
        assert box.bodies == [await poll(client, task_id)]


@pytest.mark.parametrize("fate", [Fate.COMPLETES, Fate.FAILS])
async def test_a_job_body_has_a_numeric_status_and_another_id(fate: Fate) -> None:
    async with inbox() as box, sandboxed(fate, body=CallbackBody.JOB) as (sandbox, client):
        task_id = (await submit(client, box.url)).json()["id"]
        await sandbox.wait_until_idle()
        [job] = box.bodies
        assert set(job) == {"id", "status", "comment", "urls"}
        assert job["id"] != task_id
        assert (job["status"], len(job["urls"])) == ((2, 4) if fate is Fate.COMPLETES else (3, 0))


@pytest.mark.parametrize("fate", [Fate.COMPLETES, Fate.FAILS])
async def test_a_wrapped_body_carries_an_error_even_in_success(fate: Fate) -> None:
    async with inbox() as box, sandboxed(fate, body=CallbackBody.WRAPPED) as (sandbox, client):
        await submit(client, box.url)
        await sandbox.wait_until_idle()
        [envelope] = box.bodies
        assert isinstance(envelope["timestamp"], int)
        data = envelope["data"]
        expected = ("completed", 4, True) if fate is Fate.COMPLETES else ("failed", 0, False)
        assert (data["status"], len(data["output"]["image_urls"]), data["error"]["code"] == 0) == expected


async def test_a_dropped_callback_never_comes() -> None:
    async with inbox() as box, sandboxed(Fate.DROPPED) as (sandbox, client):
        task_id = (await submit(client, box.url)).json()["id"]
        await sandbox.wait_until_idle()
        assert (box.bodies, sandbox.courier.posted) == ([], 0)
        assert (await poll(client, task_id))["status"] == "completed"


async def test_a_duplicated_callback_comes_twice_the_same() -> None:
    async with inbox() as box, sandboxed(Fate.DUPLICATED) as (sandbox, client):
        await submit(client, box.url)
        await sandbox.wait_until_idle()
        assert len(box.bodies) == 2
        assert box.bodies[0] == box.bodies[1]


async def test_an_early_callback_comes_before_the_answer() -> None:
    async with inbox() as box, sandboxed(Fate.EARLY, latency_s=3600) as (_, client):
        answer = await submit(client, box.url)
        assert [body["status"] for body in box.bodies] == ["completed"]  # already here when the answer is
        assert answer.json()["status"] == "in_progress"
        assert box.bodies[0]["id"] == answer.json()["id"]


async def test_reordered_callbacks_overtake_and_progress_follows_the_end() -> None:
    async with inbox() as box, sandboxed(reorder=True, hold_s=60) as (sandbox, client):
        first = (await submit(client, box.url)).json()["id"]
        second = (await submit(client, box.url)).json()["id"]
        await sandbox.wait_until_idle()
        ends = [body["id"] for body in box.bodies if body["status"] == "completed"]
        assert ends == [second, first]
        for task_id in (first, second):
            told = [body["status"] for body in box.bodies if body["id"] == task_id]
            assert told == ["completed", "in_progress"]


async def test_a_reordered_callback_that_nobody_overtakes_still_comes() -> None:
    async with inbox() as box, sandboxed(reorder=True, hold_s=0) as (sandbox, client):
        await submit(client, box.url)
        await sandbox.wait_until_idle()
        assert [body["status"] for body in box.bodies] == ["completed", "in_progress"]


@pytest.mark.parametrize(("answers", "posts"), [([500, 404], 3), ([307], 2), ([500] * 9, 4), ([204], 1)])
async def test_a_callback_is_tried_again_until_2xx_three_times_at_most(answers: list[int], posts: int) -> None:
    """A redirect is not followed: it counts as a failure."""
    async with inbox() as box, sandboxed() as (sandbox, client):
        box.answers = answers
        await submit(client, box.url)
        await sandbox.wait_until_idle()
        assert (len(box.bodies), sandbox.courier.posted) == (posts, posts)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", f"http://{'a' * 70}.invalid/"])
async def test_an_unreachable_callback_harms_nobody(url: str) -> None:
    async with sandboxed() as (sandbox, client):
        task_id = (await submit(client, url)).json()["id"]
        await sandbox.wait_until_idle()
        assert sandbox.courier.posted == 4
        assert (await poll(client, task_id))["status"] == "completed"
        assert (await submit(client)).status_code == 200


async def test_a_slow_answer_hangs_though_the_task_was_taken() -> None:
    async with inbox() as box, sandboxed(Fate.SLOW) as (sandbox, client):
        asked = asyncio.create_task(submit(client, box.url))
        await box.arrived.wait()
        assert not asked.done()
        sandbox.stopping.set()  # stands for the 40 s that nobody waits in a test
        assert (await asked).status_code == 200


async def test_a_cut_answer_is_nobodys_json_though_the_task_was_taken() -> None:
    async with sandboxed(Fate.CUT) as (sandbox, client):
        assert (await submit(client)).status_code == 502
        assert len(sandbox.book.tasks) == 1


async def test_a_stalled_task_never_ends() -> None:
    async with inbox() as box, sandboxed(Fate.STALLS) as (sandbox, client):
        task_id = (await submit(client, box.url)).json()["id"]
        await sandbox.wait_until_idle()
        assert (await poll(client, task_id))["status"] == "in_progress"
        assert box.bodies == []


async def test_it_counts_what_it_was_asked_and_keeps_the_key_out_of_reprs() -> None:
    async with sandboxed() as (sandbox, client):
        await submit(client, scale=9)
        task_id = (await submit(client)).json()["id"]
        assert (sandbox.book.submitted, sandbox.book.polled) == (1, 0)
        await poll(client, task_id)
        assert (sandbox.book.polled, sandbox.book.poll_count(task_id), sandbox.book.poll_count("x")) == (1, 1, 0)
        refused, taken = sandbox.book.submissions
        assert (refused.status, taken.status) == (400, 200)
        assert taken.authorization == KEY["Authorization"]
        assert json.loads(taken.body)["input"][0]["params"] == PARAMS
        assert "sandbox-key" not in repr(sandbox.book.submissions)


async def test_it_takes_the_end_though_tasks_are_unfinished() -> None:
    """Leaving the context ends a task that has an hour to go, and the port is free again."""
    async with sandboxed(latency_s=3600) as (sandbox, client):
        await submit(client)
        port = int(sandbox.url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_serve_tells_its_url_and_ends_on_sigterm() -> None:
    def ready(url: str) -> None:
        told.append(url)
        os.kill(os.getpid(), signal.SIGTERM)

    told: list[str] = []
    await serve_sandbox(SandboxOptions(), port=0, ready=ready)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", told[0])


async def test_a_taken_port_is_told_as_oserror() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await serve_sandbox(SandboxOptions(), port=taken.getsockname()[1])


def test_the_same_seed_draws_the_same_fates() -> None:
    mischief = SandboxOptions(
        seed=7, fail=0.3, drop=0.3, duplicate=0.3, early=0.3, reject=0.3, slow=0.3, body=CallbackBody.MIXED
    )
    drawn = [draw_fate(mischief, number) for number in range(200)]
    assert drawn == [draw_fate(mischief, number) for number in range(200)]
    assert drawn != [
        draw_fate(SandboxOptions(seed=8, fail=0.3, body=CallbackBody.MIXED), number) for number in range(200)
    ]
    for fate in (Fate.FAILS, Fate.DROPPED, Fate.DUPLICATED, Fate.EARLY, Fate.SLOW):
        assert 30 <= sum(fate in one.fate for one in drawn) <= 90
    assert 30 <= sum(bool(one.fate & (Fate.BUSY | Fate.UNAVAILABLE)) for one in drawn) <= 90
    assert {one.body for one in drawn} == {CallbackBody.TASK, CallbackBody.JOB, CallbackBody.WRAPPED}


def test_by_default_nothing_goes_wrong() -> None:
    assert {draw_fate(SandboxOptions(), number).fate for number in range(200)} == {Fate.COMPLETES}


def test_a_certainty_is_certain_and_the_latency_stays_near_its_mean() -> None:
    drawn = [draw_fate(SandboxOptions(fail=1, latency_s=10), number) for number in range(200)]
    assert all(Fate.FAILS in one.fate and 5 <= one.latency_s <= 15 for one in drawn)


@pytest.mark.parametrize("options", [{"fail": 1.1}, {"drop": -0.1}, {"early": float("nan")}, {"latency_s": -1}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options)).removesuffix("_s")):
        SandboxOptions(**options)


async def test_the_book_forgets_the_oldest() -> None:
    async with sandboxed() as (sandbox, client):
        for _ in range(3):
            await submit(client)
        await sandbox.wait_until_idle()
        made, book = sandbox.book.tasks, TaskBook(most=2)
    for task in made:
        book.add(task)
        book.record_poll(task.id)
    assert book.tasks == made[1:]
    assert book.poll_count(made[0].id) == 0
    book.end_task(made[0], 1)
    assert book.get(made[0].id) is None


def test_ids_never_repeat() -> None:
    assert len({new_task_id(1_800_000_000) for _ in range(1_000)}) == 1_000
