"""What the sandbox can rehearse beyond the everyday: refusals, gateways, odd bodies, odd pictures; what it reports."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from kit.listening import listening
from kit.live_service import PATIENCE_S
from kit.provider_server import hang
from receiver.sandbox import CallbackBody, Fate, PictureCoding, Sandbox, SandboxOptions, media, open_sandbox
from receiver.sandbox.fates import draw_coding, draw_fate, refuses_poll

pytestmark = pytest.mark.anyio

KEY = {"Authorization": "Bearer sandbox-key"}
PARAMS: dict[str, object] = {"jobId": "a-job", "imageNo": 1, "scale": 1.5}
PNG = b"\x89PNG"


class Inbox:
    """A receiver that keeps each callback's headers and body, and answers with a status."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().strip().split("\r\n")[1:]
        headers = dict(line.split(": ", 1) for line in lines)
        self.got.append((headers, await reader.readexactly(int(headers["content-length"]))))
        writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def inbox(status: int = 200) -> AsyncIterator[Inbox]:
    box = Inbox(status)
    async with listening(box.take) as port:
        box.url = f"http://127.0.0.1:{port}/callbacks/a-secret-token"
        yield box


class Rehearsal:
    """A sandbox, a client of it, and the lines that it reported."""

    def __init__(self, sandbox: Sandbox, client: httpx.AsyncClient, lines: list[str]) -> None:
        self.sandbox = sandbox
        self.client = client
        self.lines = lines

    async def submit(self, callback: str | None = None, **changes: object) -> httpx.Response:
        params = PARAMS | changes | ({"callback": callback} if callback else {})
        body = {"model": "midjourney_outpaint", "input": [{"params": params}]}
        return await self.client.post("/model/v1/generation", json=body, headers=KEY)

    async def ended(self, callback: str | None = None) -> str:
        """The id of a task that has ended."""
        task_id = str((await self.submit(callback)).json()["id"])
        await self.sandbox.wait_until_idle()
        return task_id


@asynccontextmanager
async def rehearsing(*script: Fate, clock: Any = None, **options: Any) -> AsyncIterator[Rehearsal]:
    lines: list[str] = []
    defaults: dict[str, Any] = {"latency_s": 0.0, "callback_retry_s": (0.0,), "script": script}
    more = {"clock": clock} if clock else {}
    async with (
        open_sandbox(SandboxOptions(**(defaults | options)), report=lines.append, **more) as sandbox,
        httpx.AsyncClient(base_url=sandbox.url, trust_env=False, timeout=PATIENCE_S) as client,
    ):
        yield Rehearsal(sandbox, client, lines)


# Submissions


async def test_no_more_are_taken_at_once_than_the_limit_and_one_that_ended_makes_room() -> None:
    async with rehearsing(latency_s=600, limit=2) as rig:
        answers = [await rig.submit() for _ in range(3)]
        assert [(it.status_code, it.headers.get("retry-after")) for it in answers] == [
            (200, None),
            (200, None),
            (429, "1"),
        ]
    async with rehearsing(limit=1) as rig:
        assert [await rig.ended(), await rig.ended()] == [it.id for it in rig.sandbox.book.tasks]
    with pytest.raises(ValueError, match="limit must be at least 1"):
        SandboxOptions(limit=0)


async def test_a_refused_key_is_refused_for_submissions_and_polls() -> None:
    async with rehearsing(refuse_key=1) as rig:
        polled = await rig.client.get("/model/v1/generation/task/x", headers=KEY)
        assert [(await rig.submit()).status_code, polled.status_code] == [401, 401]
        assert rig.sandbox.book.tasks == []
        assert rig.lines == ["submission 1: 401, refused, as for a wrong key"]


async def test_a_refused_prompt_is_refused_whenever_it_comes_and_others_are_not() -> None:
    async with rehearsing(refuse_prompt=0.5) as rig:
        answers = {
            prompt: [(await rig.submit(remixPrompt=prompt)).status_code for _ in range(3)]
            for prompt in map(str, range(20))
        }
    assert {tuple(it) for it in answers.values()} == {(200,) * 3, (403,) * 3}


async def test_a_refused_prompt_says_so_in_the_upstream_s_words() -> None:
    async with rehearsing(Fate.BAD_PROMPT) as rig:
        answer = await rig.submit()
        assert (answer.status_code, answer.json()["reason"]) == (403, "Msg_Sensitive")
        assert rig.sandbox.book.tasks == []
        assert rig.lines == ["submission 1: 403, refused for its prompt"]


async def test_a_gateway_answers_503_in_its_own_words_though_the_task_was_taken() -> None:
    async with inbox() as box, rehearsing(gateway=1) as rig:
        answer = await rig.submit(box.url)
        await rig.sandbox.wait_until_idle()
        assert (answer.status_code, answer.json()) == (503, {"message": "Service Unavailable"})
        [task] = rig.sandbox.book.tasks
        assert [json.loads(body)["id"] for _, body in box.got] == [task.id]
        assert rig.lines[0] == f"submission 1: 503, task {task.id} taken, but the answer is a gateway's 503"


async def test_a_task_can_be_taken_with_201() -> None:
    async with rehearsing(created=1) as rig:
        answer = await rig.submit()
        assert answer.status_code == 201
        assert answer.json()["id"] == rig.sandbox.book.tasks[0].id


async def test_a_task_that_never_ends_stays_in_progress() -> None:
    async with inbox() as box, rehearsing(stall=1) as rig:
        task_id = await rig.ended(box.url)
        polled = await rig.client.get(f"/model/v1/generation/task/{task_id}", headers=KEY)
        assert (polled.json()["status"], box.got) == ("in_progress", [])
        assert rig.lines == [f"submission 1: 200, task {task_id} taken, it never ends"]


# Callbacks


@pytest.mark.parametrize("body", [CallbackBody.TEXT, CallbackBody.FORM, CallbackBody.UNKNOWN, CallbackBody.GZIP])
async def test_callbacks_come_in_other_shapes(body: CallbackBody) -> None:
    async with inbox() as box, rehearsing(body=body) as rig:
        task_id = await rig.ended(box.url)
        [(headers, content)] = box.got
        polled = (await rig.client.get(f"/model/v1/generation/task/{task_id}", headers=KEY)).json()
    match body:
        case CallbackBody.TEXT:
            assert json.loads(content) == polled | {"output": polled["output"][0]["content"][0]["url"]}
        case CallbackBody.FORM:
            assert headers["content-type"] == "application/x-www-form-urlencoded"
            assert json.loads(parse_qs(content.decode())["payload"][0]) == polled
        case CallbackBody.UNKNOWN:
            assert json.loads(content) == polled | {"status": "archived"}
        case _:
            assert headers["content-encoding"] == "gzip"
            assert json.loads(gzip.decompress(content)) == polled


@pytest.mark.parametrize("body", [CallbackBody.TEXT, CallbackBody.UNKNOWN])
async def test_a_failed_task_has_a_callback_in_these_shapes_too(body: CallbackBody) -> None:
    async with inbox() as box, rehearsing(Fate.FAILS, body=body) as rig:
        await rig.ended(box.url)
        assert "output" not in json.loads(box.got[0][1])


# Pictures


async def test_pictures_that_come_late_are_404_first() -> None:
    now = [1_000.0]
    async with rehearsing(late_pictures_s=8, clock=lambda: now[0]) as rig:
        task_id = await rig.ended()
        statuses = []
        for now[0] in (1_000.0, 1_007.9, 1_008.0):
            statuses.append((await rig.client.get(f"/pictures/{task_id}/0.png")).status_code)
    assert statuses == [404, 404, 200]


@pytest.mark.parametrize(
    ("coding", "named", "packed"),
    [
        (PictureCoding.PLAIN, [None] * 4, False),
        (PictureCoding.BOGUS, ["aws-chunked", "binary", "UTF-8", "none"], False),
        (PictureCoding.NAMED, ["gzip"] * 4, False),
        (PictureCoding.GZIP, ["gzip"] * 4, True),
        (PictureCoding.TWICE, ["gzip, aws-chunked"] * 4, True),
    ],
)
async def test_pictures_come_with_odd_codings(
    monkeypatch: pytest.MonkeyPatch, coding: PictureCoding, named: list[str | None], *, packed: bool
) -> None:
    monkeypatch.setattr(media, "draw_file", lambda picture, number: PNG)
    async with rehearsing(picture_coding=coding) as rig:
        task_id = await rig.ended()
        for number, name in enumerate(named):
            async with rig.client.stream("GET", f"/pictures/{task_id}/{number}.png") as answer:
                content = b"".join([chunk async for chunk in answer.aiter_raw()])
            assert answer.headers.get("content-encoding") == name
            assert (gzip.decompress(content) if packed else content).startswith(PNG)


# What is reported


async def test_a_delivered_callback_is_reported_without_its_token() -> None:
    async with inbox() as box, rehearsing() as rig:
        task_id = await rig.ended(box.url)
        origin = box.url.removesuffix("/callbacks/a-secret-token")
    assert rig.lines == [
        f"submission 1: 200, task {task_id} taken",
        f"callback of {task_id} to {origin}: delivered, answered 200",
    ]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (404, "answered 404: the receiver does not know this URL (was it made with other SECRET_KEYS?)"),
        (503, "answered 503"),
        (307, "answered 307, a redirect, which is not followed"),
    ],
)
async def test_a_callback_that_is_not_delivered_says_why(status: int, why: str) -> None:
    async with inbox(status) as box, rehearsing() as rig:
        await rig.ended(box.url)
    first, last = (line.partition(": not delivered, ")[2] for line in rig.lines[1:])
    assert (first, last) == (f"{why}; tried again in 0 s", f"{why}; given up")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (
            "http://127.0.0.1:1/callbacks/a-secret-token",
            "to http://127.0.0.1:1: not delivered, no connection; given up",
        ),
        (f"http://{'a' * 70}.invalid/x", "; given up"),
    ],
)
async def test_a_callback_that_reaches_nobody_says_why(url: str, why: str) -> None:
    async with rehearsing() as rig:
        await rig.ended(url)
    assert rig.lines[-1].endswith(why)
    assert not any("secret" in line or not line.isascii() for line in rig.lines)


async def test_a_receiver_that_does_not_answer_is_named_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.sandbox.callbacks._TIMEOUT_S", 0.05)

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hang(reader, writer)
        writer.close()

    async with listening(wait) as port, rehearsing(callback_retry_s=()) as rig:
        await rig.ended(f"http://127.0.0.1:{port}/")
    assert rig.lines[-1].endswith("not delivered, no answer within 0.05 s; given up")


async def test_what_is_lost_or_refused_on_purpose_is_reported_as_that() -> None:
    async with inbox() as box, rehearsing(Fate.DROPPED, Fate.BUSY) as rig:
        task_id = await rig.ended(box.url)
        await rig.submit()
        await rig.submit(scale=9)
        await rig.client.post("/model/v1/generation", content=b"{")
        await rig.submit()
        await rig.sandbox.wait_until_idle()
    assert rig.lines[:2] == [
        f"submission 1: 200, task {task_id} taken, its callback is lost",
        f"callback of {task_id} to {box.url.removesuffix('/callbacks/a-secret-token')}: not delivered, lost on purpose",
    ]
    assert rig.lines[2] == "submission 2: 429, not taken: too many at once"
    assert rig.lines[3].startswith("submission 3: 400, refused, scale must be")
    assert rig.lines[4] == "submission 4: 401, there is no key"
    assert rig.lines[5].endswith("taken, it names no callback")


# Chance


def test_the_same_seed_draws_the_same_and_what_is_new_changes_nothing_else() -> None:
    new: dict[str, Any] = {"refuse_key": 0.3, "gateway": 0.3, "created": 0.3, "stall": 0.3}
    drawn = [draw_fate(SandboxOptions(seed=7, fail=0.3, **new), number) for number in range(200)]
    assert drawn == [draw_fate(SandboxOptions(seed=7, fail=0.3, **new), number) for number in range(200)]
    old = [draw_fate(SandboxOptions(seed=7, fail=0.3), number) for number in range(200)]
    assert [it.latency_s for it in drawn] == [it.latency_s for it in old]
    assert [it.fate & Fate.FAILS for it in drawn] == [it.fate & Fate.FAILS for it in old]
    for fate in (Fate.BAD_KEY, Fate.GATEWAY, Fate.CREATED, Fate.STALLS):
        assert 30 <= sum(fate in one.fate for one in drawn) <= 90
    assert 30 <= sum(refuses_poll(SandboxOptions(refuse_key=0.3), number) for number in range(200)) <= 90
    mixed = SandboxOptions(picture_coding=PictureCoding.MIXED)
    assert {draw_coding(mixed, "a-task", number) for number in range(50)} == {*PictureCoding} - {PictureCoding.MIXED}


@pytest.mark.parametrize(
    "options", [{"refuse_key": 1.1}, {"gateway": -0.1}, {"stall": float("nan")}, {"late_pictures_s": -1}]
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options)).removesuffix("_s")):
        SandboxOptions(**options)
