"""`Download all`: what the archive holds, how it is called, what is missing; and those who go away, or are too many."""

import asyncio
import contextlib
import io
import os
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct
from msgspec.structs import replace

from kit.fakes import NOW
from kit.live_service import PATIENCE_S
from kit.pages import logged_in
from kit.web import Served, near, served, wired
from receiver.core.errors import StoreUnavailable
from receiver.core.types import ArchiveState, Image, ImageCopy, LanePriority, QueueLane, Task, TaskState
from receiver.pictures.share_links import Share, share_token
from receiver.tokens import new_ref
from receiver.web.pages.sharing import downloads
from receiver.web.pages.sharing.zip_answer import DOWNLOADS_MOST, STRANGERS_MOST, safe_stem

pytestmark = pytest.mark.anyio

REF = new_ref(NOW, b"0123456789")
TASK = Task(
    ref=REF,
    created_at=NOW,
    provider="vtrix",
    model="midjourney_outpaint",
    label="hero",
    state=TaskState.COMPLETED,
    submitted_at=NOW,
    settled_at=NOW + 58_000,
)
PATH = f"/tasks/{REF}/pictures.zip"


class Place(Struct, eq=False):
    """A service, and a browser that is logged in."""

    web: Served
    browser: httpx.AsyncClient


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with near(tmp_path) as web, logged_in(web) as browser:
        yield Place(web, browser)


async def put(web: Served, task: Task, *contents: bytes | None, **named: bytes) -> None:
    """A task with these pictures, of which None is missing."""
    async with web.parts.store.write() as tx:
        await tx.tasks.insert([task])
        for number, content in enumerate(contents):
            await tx.tasks.add_images([(task.ref, Image(number, f"https://pics.example/{number}.png"))])
            if content is not None:
                await tx.copies.upsert([(task.ref, ImageCopy(number, file=f"{number}.png", size=len(content)))])
    for number, content in enumerate(contents):
        if content is not None:
            await web.parts.files.save_file(task.ref, f"{number}.png", content)


def unpacked(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        assert opened.testzip() is None
        return {it.filename: opened.read(it) for it in opened.infolist()}


async def test_it_holds_all_pictures_under_their_label(place: Place) -> None:
    pictures = [os.urandom(number * 100_000 + 1) for number in range(4)]
    await put(place.web, TASK, *pictures)

    answer = await place.browser.get(PATH)

    assert unpacked(answer) == {f"hero-{number}.png": it for number, it in enumerate(pictures)}
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == "attachment; filename=\"hero.zip\"; filename*=UTF-8''hero.zip"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["x-accel-buffering"] == "no"


async def test_it_comes_in_small_pieces(place: Place) -> None:
    """However large a picture is."""
    picture = os.urandom(1_000_000)
    await put(place.web, TASK, picture)
    pieces: list[bytes] = []
    cookie = place.browser.headers["cookie"].encode()
    app = place.web.client._transport.app  # type: ignore[attr-defined]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""} if not pieces else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        pieces.append(message.get("body", b""))

    headers = [(b"host", b"receiver"), (b"cookie", cookie)]
    scope = {"type": "http", "method": "GET", "path": PATH, "query_string": b"", "headers": headers}
    await app({**scope, "scheme": "http", "raw_path": PATH.encode(), "root_path": "", "client": None}, receive, send)

    assert sum(map(len, pieces)) > len(picture)
    assert max(map(len, pieces)) <= 64 * 1024


async def test_what_is_missing_is_listed_and_nothing_else(place: Place) -> None:
    """The second was never kept; the file of the fourth vanished from the disk."""
    await put(place.web, TASK, b"first", None, b"third", b"fourth")
    path = place.web.parts.files.find_file(REF, "3.png")
    assert path is not None
    path.unlink()

    answer = await place.browser.get(PATH)

    files = unpacked(answer)
    assert list(files) == ["hero-0.png", "hero-2.png", "MISSING.txt"]
    assert files["MISSING.txt"] == b"hero-1 was not kept.\r\nhero-3.png was not kept.\r\n"
    assert answer.headers["content-length"] == str(len(answer.content))


async def test_what_still_comes_is_said_to_come(place: Place) -> None:
    await put(place.web, replace(TASK, archive=ArchiveState.DUE, archive_at=NOW), b"first", None)

    assert unpacked(await place.browser.get(PATH))["MISSING.txt"] == b"hero-1 is not here yet.\r\n"


async def test_without_any_picture_there_is_no_archive(place: Place) -> None:
    await put(place.web, TASK, None, None)

    answer = await place.browser.get(PATH)
    assert answer.status_code == 404
    assert "None of these pictures is kept here." in answer.text


@pytest.mark.parametrize("ref", ["nobody", new_ref(NOW, b"9876543210"), "%00", "é" * 300])
async def test_an_unknown_task_says_so(place: Place, ref: str) -> None:
    answer = await place.browser.get(f"/tasks/{ref}/pictures.zip")

    assert answer.status_code == 404
    assert "It may have been removed by retention." in answer.text


async def test_without_a_login_there_is_none(place: Place) -> None:
    await put(place.web, TASK, b"first")
    async with httpx.AsyncClient(transport=place.web.client._transport, base_url="http://receiver") as anybody:
        answer = await anybody.get(PATH)

    assert (answer.status_code, answer.content) == (303, b"")
    assert answer.headers["location"].startswith("/login")


async def test_a_look_at_its_head_sends_nothing(place: Place) -> None:
    await put(place.web, TASK, b"first")

    head, whole = await place.browser.head(PATH), await place.browser.get(PATH)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize(
    ("label", "stem"),
    [
        ("hero", "hero"),
        ("Küste – früh", "Küste – früh"),
        ("../../etc/passwd", "etc-passwd"),
        ('a<b>:"c"|?*\\d', "a-b---c-----d"),
        ("\u202egnp.exe", "gnp.exe"),
        ("line\r\nbreak\0", "line break"),
        (".hidden. ", "hidden"),
        ("...", ""),
        ("", ""),
        ("x" * 100, "x" * 59),
        ("😀" * 60, "😀" * 45),
    ],
)
def test_names_are_good_on_every_system(label: str, stem: str) -> None:
    assert safe_stem(label) == stem
    assert len(f"{stem}-9999.webm".encode()) <= 255


async def test_a_name_beyond_ascii_comes_whole(place: Place) -> None:
    await put(place.web, replace(TASK, label="Küste"), b"first")

    answer = await place.browser.get(PATH)

    assert unpacked(answer) == {"Küste-0.png": b"first"}
    disposition = "attachment; filename=\"K-ste.zip\"; filename*=UTF-8''K%C3%BCste.zip"
    assert answer.headers["content-disposition"] == disposition


@pytest.mark.parametrize(
    ("label", "prompt", "name"), [(None, "a lighthouse", "a lighthouse-0.png"), (None, None, "picture-0.png")]
)
async def test_without_a_label_the_prompt_names_it(
    place: Place, label: str | None, prompt: str | None, name: str
) -> None:
    await put(place.web, replace(TASK, label=label, prompt=prompt), b"first")

    assert list(unpacked(await place.browser.get(PATH))) == [name]


# -- a whole batch --


async def put_batch(web: Served, rows: int, **more: Any) -> None:
    async with web.parts.store.write() as tx:
        await tx.lanes.insert(
            QueueLane(id=0, name="posters.csv", batch=True, priority=LanePriority.NORMAL, created_at=NOW)
        )
    lane = await web.parts.store.lanes.find_batch("posters.csv")
    assert lane is not None
    for line in range(1, rows + 1):
        ref = new_ref(NOW + line)
        row = replace(TASK, ref=ref, lane=lane.id, turn=line, label=f"poster {line}", root=None, **more)
        await put(web, row, *(b"x" * line, b"y" * line))


async def test_a_batch_comes_by_line_however_many_pages_it_takes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAGE_OF_TASKS", 3)
    await put_batch(place.web, 10)

    answer = await place.browser.get("/batches/posters.csv/pictures.zip")

    files = unpacked(answer)
    assert len(files) == 20
    assert files["0007-poster 7-1.png"] == b"y" * 7
    assert sorted(files) == list(files)
    assert 'filename="posters.csv.zip"' in answer.headers["content-disposition"]


async def test_rows_that_have_not_completed_are_not_in_it(place: Place) -> None:
    await put_batch(place.web, 2, state=TaskState.FAILED)

    answer = await place.browser.get("/batches/posters.csv/pictures.zip")
    assert answer.status_code == 404
    assert "None of its tasks has completed yet." in answer.text


async def test_two_tasks_of_one_line_have_names_of_their_own(place: Place) -> None:
    await put_batch(place.web, 1)
    lane = await place.web.parts.store.lanes.find_batch("posters.csv")
    assert lane is not None
    for _ in range(2):
        row = replace(TASK, ref=new_ref(NOW + 100), lane=lane.id, turn=1, label="poster 1")
        await put(place.web, row, b"again")

    names = list(unpacked(await place.browser.get("/batches/posters.csv/pictures.zip")))

    assert names == ["0001-poster 1-0.png", "0001-poster 1-1.png", "0001-2-poster 1-0.png", "0001-3-poster 1-0.png"]


async def test_an_unknown_batch_says_so(place: Place) -> None:
    answer = await place.browser.get("/batches/nobody/pictures.zip")

    assert answer.status_code == 404
    assert "There is no such batch" in answer.text


# -- over real connections --


async def test_so_many_at_once_and_whoever_goes_away_makes_room(tmp_path: Path) -> None:
    """Four stop reading halfway: a fifth is refused until one of them is gone. Strangers are three at most."""
    async with served(tmp_path) as web, logged_in(web) as browser:
        await put(web, TASK, *[os.urandom(4 << 20) for _ in range(8)])
        shared = f"/s/{share_token(web.parts.ring, Share(REF, NOW + 86_400_000))}/pictures.zip"

        async def ask(path: str, headers: httpx.Headers | None = None) -> httpx.Response:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{web.port}", headers=headers) as client:
                return await client.get(path)

        async with contextlib.AsyncExitStack() as readers:
            async with contextlib.AsyncExitStack() as first:
                for number in range(DOWNLOADS_MOST):
                    if number == STRANGERS_MOST:
                        assert (await ask(shared)).status_code == 503
                    wire = await (readers if number else first).enter_async_context(wired(web.port))
                    await wire.send(f"GET {PATH} HTTP/1.1", f"Cookie: {browser.headers['cookie']}")
                    assert b"200 OK" in await wire.reader.readuntil(b"\r\n\r\n")
                refused = await ask(PATH, browser.headers)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
                assert "Several downloads are running already." in refused.text
            async with asyncio.timeout(PATIENCE_S):
                while (answer := await ask(PATH, browser.headers)).status_code == 503:
                    pass
            assert len(unpacked(answer)) == 8


async def test_a_file_that_vanishes_on_the_way_leaves_no_archive_that_looks_whole(tmp_path: Path) -> None:
    async with served(tmp_path) as web, logged_in(web) as browser:
        await put(web, TASK, *[os.urandom(4 << 20) for _ in range(8)])
        async with wired(web.port) as wire:
            await wire.send(f"GET {PATH} HTTP/1.1", f"Cookie: {browser.headers['cookie']}")
            head = (await wire.reader.readuntil(b"\r\n\r\n")).decode().lower()
            [promised] = [int(it.partition(": ")[2]) for it in head.split("\r\n") if it.startswith("content-length")]
            last = web.parts.files.find_file(REF, "7.png")
            assert last is not None
            last.unlink()
            rest = await wire.reader.read(-1)

    assert len(rest) < promised


async def test_a_database_that_fails_on_the_way_cuts_the_archive_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(downloads, "PAGE_OF_TASKS", 1)
    async with served(tmp_path) as web, logged_in(web) as browser:
        await put_batch(web, 2)
        found = web.parts.store.copies.by_refs
        answers = [found]

        async def fail_at_last(refs: list[str]) -> Any:
            if not answers:
                raise StoreUnavailable("the disk is full")
            return await answers.pop()(refs)

        monkeypatch.setattr(web.parts.store.copies, "by_refs", fail_at_last)
        async with wired(web.port) as wire:
            await wire.send("GET /batches/posters.csv/pictures.zip HTTP/1.1", f"Cookie: {browser.headers['cookie']}")
            said = await wire.reader.read(-1)

    assert b"0001-poster 1-0.png" in said
    assert b"0002" not in said
    assert not said.endswith(b"0\r\n\r\n")  # a chunk without bytes would say that this is all
    assert "a download was cut off: the disk is full" in caplog.messages
    assert not [it for it in caplog.records if it.exc_info]
