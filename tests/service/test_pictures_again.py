"""`receiver tasks pictures --again`, and what the API and the commands call the kinds of files that we keep."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import Result

from kit.archive_loop import Site, answer, png
from kit.archive_loop import serving as site_serving
from kit.fakes import Clock
from kit.live_service import PATIENCE_S
from kit.web import DONE, Served, callback_path, command, completed, minted, problem, served
from receiver.core.types import ArchiveState, ImageCopy
from receiver.pictures.archive import SPACING_MS

pytestmark = pytest.mark.anyio


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with site_serving(pictures=1) as serves:
        yield serves


async def ended(web: Served, *links: str) -> str:
    """The ref of a task that has completed with these links."""
    ref = await minted(web.client, task_id="prov-1", model="midjourney_outpaint")
    content = [{"type": "image", "url": link} for link in links]
    answered = await web.client.post(callback_path(web.parts, ref), json={**DONE, "output": [{"content": content}]})
    assert answered.json()["verdict"] == "accepted"
    return ref


async def round_of(web: Served, clock: Clock) -> None:
    """One round of the archive, whoever is due."""
    clock.forward(SPACING_MS)
    task = await web.parts.archive.claim()
    assert task is not None
    await web.parts.archive.carry_out(task)


async def test_again_fetches_what_was_missed_and_saves_all_of_it(tmp_path: Path, site: Site) -> None:
    """The files that are here already stay as they are."""
    site.at["/1.png"] = [answer(b"", 410), answer(png(1))]
    clock = Clock()
    async with served(tmp_path, clock=clock, fetch_allow="127.0.0.1") as web:
        ref = await ended(web, site.link("/0.png"), site.link("/1.png"))
        await round_of(web, clock)
        before = await command(web, "tasks", "pictures", ref, str(tmp_path / "pics"))
        shown = await command(web, "tasks", "show", ref)
        again = await _again(web, clock, ref, tmp_path)

    names = [str(tmp_path / "pics" / f"{ref[:18]}-{number}.png") for number in range(2)]
    assert (before.exit_code, before.stdout.split()) == (1, names[:1])
    assert "picture 1: not kept: 127.0.0.1 answered HTTP 410" in before.stderr
    assert f"receiver tasks pictures --again {ref}" in shown.stdout
    waiting = "the service is fetching its pictures; waiting up to 90 s\n"
    assert (again.exit_code, again.stdout.split(), again.stderr) == (0, names, waiting)
    assert (tmp_path / "pics" / names[1]).read_bytes() == png(1)


async def _again(web: Served, clock: Clock, ref: str, folder: Path) -> Result:
    """The command, beside one round of the archive."""
    with contextlib.closing(web.parts.store.open_listener()) as listener:
        asked = asyncio.create_task(command(web, "tasks", "pictures", "--again", ref, str(folder / "pics")))
        while (await web.parts.store.tasks.get([ref]))[ref].archive is not ArchiveState.DUE:
            await listener.take_refs(PATIENCE_S)
    await round_of(web, clock)
    return await asked


async def test_the_api_fetches_again_and_refuses_what_it_cannot(tmp_path: Path, site: Site) -> None:
    site.at["/1.png"] = answer(b"", 410)
    clock = Clock()
    async with served(tmp_path, clock=clock, fetch_allow="127.0.0.1") as web:
        ref = await ended(web, site.link("/1.png"))
        await round_of(web, clock)
        path = f"/api/v1/tasks/{ref}/pictures"
        again = await web.client.post(path)
        assert again.status_code == 202
        [image] = again.json()["images"]
        assert (image["archive"], image["archive_at"], image["archive_error"]) == (ArchiveState.DUE, None, None)
        waiting = await minted(web.client)
        assert problem(await web.client.post(f"/api/v1/tasks/{waiting}/pictures")) == (409, "no_pictures", None)
        assert problem(await web.client.post("/api/v1/tasks/nobody/pictures")) == (404, "not_found", None)


@pytest.mark.parametrize(
    ("file", "media", "says"),
    [
        ("0.svg", "image/svg+xml", "kept as SVG drawing"),
        ("0.mp4", "video/mp4", "kept as MP4 video"),
        ("0.heic", "image/heic", "kept as HEIC picture"),
        ("0.png", "image/png", "kept"),
    ],
)
async def test_a_file_is_called_what_it_is(tmp_path: Path, file: str, media: str, says: str) -> None:
    async with served(tmp_path) as web:
        ref = await completed(web)
        async with web.parts.store.write() as tx:
            await tx.copies.upsert([(ref, ImageCopy(0, file=file, size=4, media_type=media))])
        [image] = (await web.client.get(f"/api/v1/tasks/{ref}")).json()["images"]
        shown = await command(web, "tasks", "show", ref)
    assert (image["media_type"], image["archived"]) == (media, f"/images/{ref}/{file}")
    assert f"  {says}\n" in shown.stdout


async def test_a_drawing_that_may_hold_scripts_is_only_ever_a_download(tmp_path: Path) -> None:
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    async with served(tmp_path) as web:
        ref = await completed(web)
        await web.parts.files.save_file(ref, "0.svg", svg)
        shown = await web.client.get(f"/images/{ref}/0.svg")
        part = await web.client.get(f"/images/{ref}/0.svg", headers={"Range": "bytes=0-3"})
        saved = await _saved(web, ref, tmp_path)
    assert shown.content == svg
    for it in (shown, part):
        assert it.headers["content-type"] == "application/octet-stream"
        assert it.headers["content-disposition"] == f'attachment; filename="{ref}-0.svg"'
        assert it.headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert it.headers["x-content-type-options"] == "nosniff"
    assert saved.read_bytes() == svg


async def _saved(web: Served, ref: str, folder: Path) -> Path:
    async with web.parts.store.write() as tx:
        await tx.copies.upsert([(ref, ImageCopy(0, file="0.svg", size=4, media_type="image/svg+xml"))])
    saved = await command(web, "tasks", "pictures", ref, str(folder / "pics"))
    assert saved.exit_code == 0, saved.stderr
    return Path(saved.stdout.strip())
