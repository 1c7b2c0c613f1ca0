"""`/live` and `/cards` as a browser meets them."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from kit.fakes import NOW, a_ref, a_task, put
from kit.pages import form_token, logged_in, session_cookie
from kit.web import OUTPAINT, Served, near, served, wired
from receiver.core.types import LanePriority, QueueLane, TaskState
from receiver.web.pages.gallery import live, live_feed
from receiver.web.pages.page import TOKEN_FIELD

pytestmark = pytest.mark.anyio


async def blocks(answer: httpx.Response) -> AsyncIterator[str]:
    """What a stream says, block by block."""
    text = ""
    async for piece in answer.aiter_text():
        text += piece
        while "\n\n" in text:
            block, _, text = text.partition("\n\n")
            yield block


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, dict[str, str]]]:
    async for block in blocks(answer):
        if not block.startswith(":"):
            kind, data = block.split("\n")
            yield kind.removeprefix("event: "), msgspec.json.decode(data.removeprefix("data: "))


async def begun(answer: httpx.Response) -> AsyncIterator[str]:
    """The blocks of a stream, once it listens."""
    told = blocks(answer)
    assert (await anext(told)).startswith(": the changes")
    return told


async def submitted(web: Served) -> str:
    return str((await web.client.post("/api/v1/tasks", json=OUTPAINT)).json()["ref"])


# -- the stream --


async def test_a_task_that_changes_is_named_with_its_state(tmp_path: Path) -> None:
    async with served(tmp_path) as web, logged_in(web) as client, client.stream("GET", "/live") as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        told = await begun(answer)
        ref = await submitted(web)
        assert await anext(told) == f'event: task\ndata: {{"ref":"{ref}","state":"queued"}}'
        await web.client.post(f"/api/v1/tasks/{ref}/cancel")
        assert await anext(told) == f'event: task\ndata: {{"ref":"{ref}","state":"cancelled"}}'


@pytest.mark.parametrize("path", ["/live", "/cards"])
async def test_without_a_session_it_is_the_login(tmp_path: Path, path: str) -> None:
    """An API token opens the API's own stream; what is for pages wants a cookie."""
    async with near(tmp_path) as web:
        answer = await web.client.get(path, headers={"Cookie": "receiver_session=1.2.a.b"})
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login")


async def test_streams_are_bounded_and_a_closed_one_gives_its_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "READERS_MOST", 1)
    async with served(tmp_path) as web, logged_in(web) as client:
        async with wired(web.port) as wire:
            await wire.send("GET /live HTTP/1.1", f"Cookie: {await session_cookie(web)}")
            await wire.reader.readuntil(b": the changes")
            refused = await client.get("/live")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
        while True:  # until the server has seen that the connection is gone
            async with client.stream("GET", "/live") as answer:
                if answer.status_code == 200:
                    break


async def test_a_quiet_stream_is_kept_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KEEP_ALIVE_S", 0.01)
    async with served(tmp_path) as web, logged_in(web) as client, client.stream("GET", "/live") as answer:
        told = await begun(answer)
        assert [await anext(told) for _ in range(3)] == [": still here"] * 3


async def test_a_stream_ends_when_its_session_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KEEP_ALIVE_S", 0.01)
    async with served(tmp_path) as web, logged_in(web) as client, client.stream("GET", "/live") as answer:
        told = await begun(answer)
        logged_out = await client.post("/logout", data=await _everywhere(client))
        assert logged_out.status_code == 303
        assert {block async for block in told} <= {": still here"}


async def test_a_busy_stream_looks_at_its_session_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KEEP_ALIVE_S", 0)
    monkeypatch.setattr(live_feed, "FOLD_S", 0)
    async with served(tmp_path) as web, logged_in(web) as client, client.stream("GET", "/live") as answer:
        told = await begun(answer)
        await client.post("/logout", data=await _everywhere(client))
        ended = False
        while not ended:
            await submitted(web)
            ended = await anext(told, None) is None


async def _everywhere(client: httpx.AsyncClient) -> dict[str, str]:
    return {TOKEN_FIELD: await form_token(client, "/logout"), "everywhere": "1"}


async def test_streams_end_when_the_service_stops(tmp_path: Path) -> None:
    async with served(tmp_path) as web, logged_in(web) as client, client.stream("GET", "/live") as answer:
        told = await begun(answer)
        web.stop.set()
        assert [block async for block in told if not block.startswith(":")] == []
        await web.ended()


# -- the cards --


def _refs(html: str) -> list[str]:
    return [it.partition('"')[0] for it in html.split('data-ref="')[1:]]


async def test_the_cards_are_those_of_the_refs_that_exist(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as client:
        first, second, third = (a_task(TaskState.QUEUED, label=name) for name in ("one", "two", "three"))
        await put(web.parts.store, first, second, third)
        asked = {"ref": [first.ref, third.ref, a_ref(), "no-batch", "x" * 500]}
        answer = await client.get("/cards", params=asked)
        assert (answer.status_code, sorted(_refs(answer.text))) == (200, sorted([first.ref, third.ref]))
        assert "three" in answer.text
        assert "<html" not in answer.text
        assert answer.headers["cache-control"] == "no-store"


async def test_at_most_sixty_are_asked_for_at_once(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as client:
        tasks = [a_task(TaskState.QUEUED) for _ in range(70)]
        await put(web.parts.store, *tasks)
        assert len(_refs((await client.get("/cards", params={"ref": [it.ref for it in tasks]})).text)) == 60
        assert len(_refs((await client.get("/cards", params={"since": tasks[0].ref})).text)) == 60


async def test_what_is_newer_than_a_ref_comes_too_and_of_a_batch_its_card(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as client:
        store = web.parts.store
        async with store.write() as tx:
            batch = QueueLane(id=0, name="posters, a.csv", priority=LanePriority.NORMAL, batch=True, created_at=NOW)
            await tx.lanes.insert(batch)
        lane = (await store.lanes.by_name([batch.name]))[batch.name].id
        old, new = a_task(TaskState.QUEUED), a_task(TaskState.QUEUED)
        await put(store, old, new, a_task(TaskState.QUEUED, lane=lane, turn=1), a_task(TaskState.QUEUED, lane=lane))
        assert _refs((await client.get("/cards", params={"since": old.ref})).text) == [batch.name, new.ref]
        assert _refs((await client.get("/cards", params={"ref": batch.name})).text) == [batch.name]


@pytest.mark.parametrize("query", ["", "?ref=", "?since=nonsense", "?ref=%00&ref=%ff", "?since=" + "9" * 9999])
async def test_nonsense_gives_no_cards(tmp_path: Path, query: str) -> None:
    async with near(tmp_path) as web, logged_in(web) as client:
        await put(web.parts.store, a_task(TaskState.QUEUED))
        answer = await client.get(f"/cards{query}")
        assert (answer.status_code, _refs(answer.text)) == (200, [])
