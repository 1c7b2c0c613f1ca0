"""Every declared model with nothing faked: submitted to a real service, made by the sandbox, archived, and saved."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from PIL import Image

from kit.live_service import TOKEN, Service, Sink, serving, sinking, until
from kit.model_params import good_params
from receiver import sandbox
from receiver.cli.main import cli
from receiver.providers.models import MODELS, short_model_name
from receiver.sandbox import CallbackBody, Sandbox, SandboxOptions, media
from receiver.sandbox.drawing.picture import Picture

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = media.draw_file

    def draw_small(picture: Picture, number: int) -> bytes:
        return draw(replace(picture, pixels=96), number)

    monkeypatch.setattr(media, "draw_file", draw_small)


@asynccontextmanager
async def line(folder: Path, **options: Any) -> AsyncIterator[tuple[Service, Sandbox, Sink]]:
    """Service, provider and sink, connected; the service may fetch pictures from loopback."""
    async with sandbox.open_sandbox(SandboxOptions(latency_s=0.1, **options)) as provider, sinking() as sink:
        settings = {"NOTIFY_URLS": sink.url, "SWEEP_FIRST": "60", "FETCH_ALLOW": "127.0.0.1", "PICTURE_WAIT": "300"}
        async with serving(folder, provider.url + "/model/v1/generation", **settings) as service:
            yield service, provider, sink


async def submit(service: Service, model: str, params: dict[str, Any]) -> str:
    body = {"model": model, "params": params, "label": short_model_name(model)}
    answer = await service.http.post("/api/v1/tasks", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["ref"])


async def archived(service: Service, ref: str) -> dict[str, Any]:
    """The task, once its results are kept."""

    async def is_kept() -> dict[str, Any] | None:
        task = await service.settled(ref)
        return task if all(image["archive"] == "done" for image in task["images"]) else None

    return dict(await until(is_kept))


async def test_every_model_reaches_its_end_and_the_archive(tmp_path: Path) -> None:
    async with line(tmp_path, body=CallbackBody.MIXED) as (service, provider, sink):
        source = f"{provider.url}/pictures/of-nobody/0.png"
        refs = {name: await submit(service, name, good_params(name, urls=source)) for name in MODELS}
        for name, model in MODELS.items():
            task = await archived(service, refs[name])
            assert (task["state"], task["confirmed"]) == ("completed", True)
            assert len(task["images"]) == model.makes
            assert {image["type"] for image in task["images"]} == {model.media}
            kind = "video/mp4" if model.media == "video" else "image/png"
            assert {image["media_type"] for image in task["images"]} == {kind}
            assert all(image["job_id"] for image in task["images"])
            for image in task["images"]:
                file = await service.http.get(image["archived"])
                assert file.headers["content-type"] == kind
        noun = {"image": "picture", "video": "video"}
        for ping in sink.got:
            model = MODELS[ping["model"]]
            count = f"{model.makes} {noun[model.media]}{'s' if model.makes > 1 else ''}"
            assert ping["title"] == f"✓ {ping['label']} — {count}"
        assert len(sink.got) == len(MODELS)
        assert provider.book.submitted == len(MODELS)


async def test_a_chain_of_videos_is_saved_as_videos(tmp_path: Path) -> None:
    async with line(tmp_path, strict=True) as (service, provider, _):
        made = await archived(service, await submit(service, "midjourney_diffusion", {"text": "a boat --ar 16:9"}))
        film = await archived(
            service,
            await submit(service, "midjourney_video_diffusion", {"jobId": made["images"][2]["job_id"], "imageNo": 2}),
        )
        large = await archived(
            service,
            await submit(service, "midjourney_video_upscale", {"jobId": film["images"][1]["job_id"], "videoNo": 1}),
        )
        assert {task.pictures[0].scene for task in provider.book.tasks[1:]} == {
            provider.book.tasks[0].pictures[2].scene
        }
        into = tmp_path / "saved"
        env = {"RECEIVER_SERVER": service.url, "RECEIVER_API_TOKEN": TOKEN}
        for task, count in ((film, 4), (large, 1)):
            command = ("tasks", "pictures", task["ref"], str(into))
            result = await asyncio.to_thread(CliRunner().invoke, cli, command, env=env)
            assert result.exit_code == 0, result.output
            paths = [Path(line) for line in result.stdout.splitlines()]
            assert [path.name[-6:] for path in paths] == [f"-{number}.mp4" for number in range(count)]
            assert all(path.read_bytes()[4:8] == b"ftyp" for path in paths)


async def test_the_one_picture_of_an_upscale_is_its_whole_sheet(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, _, sink):
        ref = await submit(service, "midjourney_upscale", good_params("midjourney_upscale"))
        task = await archived(service, ref)

        async def drawn() -> bytes | None:
            sheet = await service.http.get(f"/images/{ref}/sheet.jpg")
            return sheet.content if sheet.status_code == 200 else None

        sheet = await until(drawn)
        with (
            Image.open(io.BytesIO(sheet)) as shown,
            Image.open(io.BytesIO((await service.http.get(task["images"][0]["archived"])).content)) as kept,
        ):
            assert shown.size == kept.size
        assert [ping["title"] for ping in sink.got] == ["✓ upscale — 1 picture"]


async def test_videos_have_no_sheet_and_their_ping_does_not_miss_one(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, _, sink):
        ref = await submit(service, "midjourney_video_diffusion", {"prompt": "waves"})
        await archived(service, ref)
        assert (await service.http.get(f"/images/{ref}/sheet.jpg")).status_code == 404
        [ping] = sink.got
        assert ping["title"] == "✓ video_diffusion — 4 videos"
        assert "contact sheet" not in ping["message"].lower()
