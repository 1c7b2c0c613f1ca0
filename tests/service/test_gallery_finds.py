"""What else the gallery's search leads to, a ref or a batch's name, and the page of all batches."""

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

from kit.fakes import NOW, a_task
from kit.pages import logged_in as logged_in_anywhere
from kit.web import Served, near
from receiver.core.types import TaskError, TaskState
from receiver.tokens import new_ref

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def logged_in(web: Served) -> AsyncIterator[httpx.AsyncClient]:
    """A browser, which asks for pages."""
    async with logged_in_anywhere(web) as browser:
        browser.headers["Accept"] = "text/html"
        yield browser


def ref(number: int, at: int = NOW) -> str:
    return new_ref(at, number.to_bytes(10, "big"))


async def put(web: Served, *refs: str, prompt: str = "a kite") -> None:
    async with web.parts.store.write() as tx:
        await tx.tasks.insert([replace(a_task(task_id=None), ref=it, prompt=prompt) for it in refs])


async def open_batches(web: Served, names: Sequence[str]) -> None:
    for name in names:
        assert (await web.client.post("/api/v1/batches", json={"name": name})).status_code == 200


def titles(page: str) -> list[str]:
    return re.findall(r"<h2>(?:<a[^>]*>)?<bdi>(.*?)</bdi>", page)


async def test_a_ref_whole_or_in_part_leads_to_its_task(tmp_path: Path) -> None:
    one, *others = ref(0xABCDEF), ref(2), ref(3)
    async with near(tmp_path) as web, logged_in(web) as browser:
        await put(web, one, *others)
        for typed in (one, one.upper(), one[-8:], f"…{one[-8:]}"):
            answer = await browser.get("/", params={"q": typed})
            assert answer.headers.get("location") == f"/tasks/{one}", typed
        shared = await browser.get("/", params={"q": one[:8]})
        assert re.findall(r'data-ref="([^"]*)"', shared.text) == [one, others[1], others[0]]
        assert "Nothing matches" in (await browser.get("/", params={"q": "abcabcab"})).text


async def test_a_word_that_might_be_a_ref_stays_a_word(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as browser:
        await put(web, "01900000-0000-7000-8000-000000facade")
        await put(web, ref(1), prompt="the facade of a house")
        found = await browser.get("/", params={"q": "facade"})
        assert re.findall(r'data-ref="([^"]*)"', found.text) == [ref(1)]


async def test_the_beginning_of_a_batchs_name_finds_it(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as browser:
        await put(web, ref(1), prompt="posters of a kite")
        await open_batches(web, ["posters.csv", "posters-2.csv", "others"])
        shown = (await browser.get("/", params={"q": "posters"})).text
        assert titles(shown) == ["posters-2.csv", "posters.csv", "posters of a kite"]
        assert titles((await browser.get("/", params={"q": "posters", "show": "failed"})).text) == []
        assert titles((await browser.get("/", params={"q": "poster_"})).text) == ["posters of a kite"], "no wildcard"


async def test_all_batches_are_a_page_that_the_chips_lead_to(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as browser:
        await put(web, ref(1))
        assert 'href="/batches"' not in (await browser.get("/")).text
        assert "No batch was handed in yet." in (await browser.get("/batches")).text
        names = [f"batch {number:02}" for number in range(45)]
        await open_batches(web, names)
        assert '<a href="/batches">Batches</a>' in (await browser.get("/")).text
        seen, path = list[str](), "/batches"
        while path:
            page = (await browser.get(path)).text
            assert len(titles(page)) <= 20
            seen += titles(page)
            older = re.search(r'href="([^"]*)" rel="next"', page)
            path = older[1] if older else ""
        assert seen == names[::-1]
        for nonsense in ("x", "-1", "9" * 40):
            assert "no longer there" in (await browser.get("/batches", params={"before": nonsense})).text


async def test_the_bar_of_a_batch_shows_what_failed(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as browser:
        await open_batches(web, ["posters"])
        lane = await web.parts.store.lanes.find_batch("posters")
        assert lane is not None
        states = [TaskState.COMPLETED] * 5 + [TaskState.FAILED] * 3 + [TaskState.CANCELLED] + [TaskState.WAITING]
        async with web.parts.store.write() as tx:
            await tx.tasks.insert(
                replace(a_task(state, task_id=None), ref=ref(line), lane=lane.id, turn=line, error=TaskError("1", "no"))
                for line, state in enumerate(states, start=1)
            )
        for path in ("/", "/batches/posters"):
            [bar] = re.findall(r'<svg class="bar".*?</svg>', (await browser.get(path)).text)
            assert 'viewBox="0 0 10 1"' in bar
            assert 'aria-label="Progress of posters: 9 of 10 have ended, 3 failed, 1 cancelled"' in bar
            assert re.findall(r'<rect class="(\w+)" x="(\d+)" width="(\d+)"', bar) == [
                ("completed", "0", "5"),
                ("bad", "5", "3"),
                ("off", "8", "1"),
            ]
