"""Every declared model at the sandbox, asked as the provider's own client asks: the shapes it sends and the types it
reads. Each limit is refused there as it is here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from kit.live_service import PATIENCE_S
from kit.model_params import good_params, limits
from receiver.core.errors import RequestRefused
from receiver.providers.declarations import Model
from receiver.providers.models import MODELS, short_model_name
from receiver.providers.vtrix.bodies import parse_body
from receiver.sandbox import CallbackBody, Fate, Sandbox, SandboxOptions, media, open_sandbox
from receiver.sandbox.callbacks import build_callback
from receiver.sandbox.drawing.picture import Picture

pytestmark = pytest.mark.anyio

PATH = "/model/v1/generation"
DIFFUSION, UPSCALE = "midjourney_diffusion", "midjourney_upscale"


class Content(Struct):
    """What the client reads of a result; other fields are ignored."""

    type: str
    url: str
    duration: str = ""
    id: str = ""
    img_id: int = 0
    jobId: str = ""  # noqa: N815 - the newer client's


class Output(Struct):
    content: list[Content]


class Usage(Struct):
    cost: str
    quantity: int = 0
    unit_price: str = ""


class Status(Struct):
    """A task as the client reads it."""

    id: str
    status: str
    model: str
    created_at: int
    output: list[Output] = []
    progress: float = 0.0
    usage: Usage | None = None


class Client:
    """Speaks as the provider's own client does: parameters as JSON values of their types, no callback, polls."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def submit(self, model: str, params: dict[str, Any]) -> httpx.Response:
        return await self.http.post(PATH, json={"model": model, "input": [{"params": params}]})

    async def poll(self, task_id: str) -> Status:
        return msgspec.json.decode((await self.http.get(f"{PATH}/task/{task_id}")).content, type=Status)

    async def run(self, sandbox: Sandbox, model: str, params: dict[str, Any]) -> Status:
        answer = await self.submit(model, params)
        assert answer.status_code == 200, answer.text
        task = msgspec.json.decode(answer.content, type=Status)
        assert (task.status, task.model) == ("in_progress", model)
        await sandbox.wait_until_idle()
        return await self.poll(task.id)


@asynccontextmanager
async def asking(**options: Any) -> AsyncIterator[tuple[Sandbox, Client]]:
    headers = {"Authorization": "Bearer k", "User-Agent": "vtrix-cli/1.0.1", "X-Source": "cli"}
    async with (
        open_sandbox(SandboxOptions(latency_s=0.0, **options)) as sandbox,
        httpx.AsyncClient(base_url=sandbox.url, headers=headers, trust_env=False, timeout=PATIENCE_S) as http,
    ):
        yield sandbox, Client(http)


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = media.draw_file

    def draw_small(picture: Picture, number: int) -> bytes:
        return draw(replace(picture, pixels=64), number)

    monkeypatch.setattr(media, "draw_file", draw_small)


@pytest.mark.parametrize("optional", [False, True], ids=["required", "all"])
async def test_every_model_runs_to_its_end(*, optional: bool) -> None:
    async with asking() as (sandbox, client):
        for name, model in MODELS.items():
            task = await client.run(sandbox, name, good_params(name, optional=optional))
            assert task.status == "completed"
            assert task.usage is not None
            [output] = task.output
            assert len(output.content) == model.makes
            assert {it.type for it in output.content} == {model.media}
            assert all(it.jobId and it.id.startswith(it.jobId) for it in output.content)
            for item in output.content:
                file = await client.http.get(item.url)
                kind = ("video/mp4", b"ftyp") if model.media == "video" else ("image/png", b"PNG")
                assert file.headers["content-type"] == kind[0]
                assert kind[1] in file.content[:8]


async def test_each_limit_is_refused_with_400_and_the_providers_code() -> None:
    async with asking(strict=True) as (_, client):
        for name, model in MODELS.items():
            for field in model.fields:
                for value, _within in limits(field):
                    params = good_params(name, optional=True) | {field.name: value}
                    if (refused := refusal_of(model, params)) is None:
                        continue
                    answer = await client.submit(name, params)
                    code = int(refused.code) if refused.code.isdecimal() else 400
                    assert answer.status_code == 400
                    assert answer.json()["error"] == {"code": code, "error_message": refused.problem}


def refusal_of(model: Model, params: dict[str, Any]) -> RequestRefused | None:
    """What we say to these parameters."""
    try:
        model.parse_params(params)
    except RequestRefused as refused:
        return refused
    return None


async def test_what_only_the_upstream_states_is_taken_unless_it_is_strict() -> None:
    params = good_params("midjourney_pan") | {"scale": 9.0}
    async with asking() as (_, client):
        assert (await client.submit("midjourney_pan", params)).status_code == 200
    async with asking(strict=True) as (_, client):
        answer = await client.submit("midjourney_pan", params)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)


async def test_a_chain_goes_on_from_the_pictures_that_it_names() -> None:
    async with asking(strict=True) as (sandbox, client):
        made = await client.run(sandbox, DIFFUSION, {"text": "a lighthouse --v 7"})
        [job_id] = {it.jobId for it in made.output[0].content}
        wide = await client.run(sandbox, "midjourney_outpaint", {"jobId": job_id, "imageNo": 2, "scale": 1.5})
        big = await client.run(sandbox, UPSCALE, {"jobId": wide.output[0].content[0].jobId, "imageNo": 3, "type": 0})
        oil = await client.run(
            sandbox, "midjourney_retexture", {"imgUrl": big.output[0].content[0].url, "remixPrompt": "a sketch"}
        )
        scenes = [[picture.scene for picture in task.pictures] for task in sandbox.book.tasks]
        assert scenes[1:] == [[scenes[0][2]] * 4, [scenes[0][2]], [scenes[0][2]] * 4]
        assert oil.output[0].content[0].url != big.output[0].content[0].url


async def test_a_strict_sandbox_refuses_what_the_upstream_does() -> None:
    async with asking(strict=True) as (sandbox, client):
        made = await client.run(sandbox, DIFFUSION, {"text": "a bird --v 7"})
        job = {"jobId": made.output[0].content[0].jobId}
        big = await client.run(sandbox, UPSCALE, {**job, "imageNo": 0, "type": 0})
        refusals = [
            await client.submit(UPSCALE, {"jobId": "a-strangers-job", "imageNo": 0, "type": 0}),
            await client.submit(UPSCALE, {"jobId": made.id, "imageNo": 0, "type": 0}),  # the task's id
            await client.submit(UPSCALE, {"jobId": big.output[0].content[0].jobId, "imageNo": 1, "type": 0}),
            await client.submit(UPSCALE, {"jobId": big.output[0].content[0].jobId, "imageNo": 0, "type": 0}),
            await client.submit("midjourney_enhance", {**job, "imageNo": 0}),
            await client.submit("midjourney_extend_video", {**job, "videoNo": 0}),
        ]
        assert [it.status_code for it in refusals] == [404, 404, 400, 405, 405, 405]
        assert refusals[3].json() == {
            "code": 405,
            "message": "its picture has been enlarged already",
            "reason": "Not_Support",
        }
        assert len(sandbox.book.tasks) == 2


async def test_a_video_is_extended_four_times() -> None:
    async with asking(strict=True) as (sandbox, client):
        film = await client.run(sandbox, "midjourney_video_diffusion", {"prompt": "waves --bs 1"})
        assert [(it.type, it.duration) for it in film.output[0].content] == [("video", "3")]
        for seconds in (5, 7, 9, 11):
            again = {"jobId": film.output[0].content[0].jobId, "videoNo": 0}
            film = await client.run(sandbox, "midjourney_extend_video", again)
            assert film.output[0].content[0].duration == str(seconds)
        again = {"jobId": film.output[0].content[0].jobId, "videoNo": 0}
        assert (await client.submit("midjourney_extend_video", again)).status_code == 405
        large = await client.run(sandbox, "midjourney_video_upscale", again)
        assert len(large.output[0].content) == 1


@pytest.mark.parametrize("count", [0, 1, 5])
async def test_other_numbers_of_results_can_be_ordered(count: int) -> None:
    async with asking(images=count) as (sandbox, client):
        made = await client.run(sandbox, DIFFUSION, {"text": "a bird"})
        assert len(made.output[0].content) == count
        last = f"/pictures/{made.id}/{count}.png"
        assert (await client.http.get(last)).status_code == 404


async def test_results_may_come_without_the_job() -> None:
    async with asking(no_job_id=True) as (sandbox, client):
        made = await client.run(sandbox, DIFFUSION, {"text": "a bird"})
        assert {(it.jobId, it.id) for it in made.output[0].content} == {("", "")}


@pytest.mark.parametrize("name", [DIFFUSION, UPSCALE, "midjourney_video_diffusion", "midjourney_video_upscale"])
@pytest.mark.parametrize("body", [CallbackBody.TASK, CallbackBody.JOB, CallbackBody.WRAPPED])
async def test_each_shape_of_callback_has_all_results_and_their_kind(name: str, body: CallbackBody) -> None:
    async with asking(body=body) as (sandbox, client):
        await client.run(sandbox, name, good_params(name))
        [task] = sandbox.book.tasks
    outcome = parse_body(build_callback(task, 0).body)
    assert outcome is not None
    assert [it.url for it in outcome.images] == task.picture_urls
    assert {it.type for it in outcome.images} == {MODELS[name].media}


@pytest.mark.parametrize(("text", "cost"), [("a bird", "0.05"), ("a bird --hd", "0.075"), ("a bird --turbo", "0.1")])
async def test_flags_that_cost_more_cost_more(text: str, cost: str) -> None:
    async with asking() as (sandbox, client):
        made = await client.run(sandbox, DIFFUSION, {"text": text})
        assert made.usage == Usage(cost)


@pytest.mark.parametrize("name", ["0.mp4", "4.png", "grid.png", "0.PNG", "-1.png", "0.png.png", "０.png"])
async def test_other_files_are_not_there(name: str) -> None:
    async with asking() as (sandbox, client):
        made = await client.run(sandbox, DIFFUSION, {"text": "a bird"})
        assert (await client.http.get(f"/pictures/{made.id}/{name}")).status_code == 404
        assert (await client.http.get(f"/pictures/{made.id}/0.png")).status_code == 200


async def test_a_failed_task_of_each_model_says_so_with_a_code() -> None:
    async with asking(script=(Fate.FAILS,) * len(MODELS)) as (sandbox, client):
        for name in MODELS:
            task = await client.submit(name, good_params(name))
            await sandbox.wait_until_idle()
            ended = (await client.http.get(f"{PATH}/task/{task.json()['id']}")).json()
            assert ended["status"] == "failed", short_model_name(name)
            assert ended["error"]["code"] % 1_000 == 98
