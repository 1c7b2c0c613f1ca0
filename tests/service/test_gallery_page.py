"""The gallery and the pages of batches, as a browser gets them."""

import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import NOW, a_task
from kit.pages import logged_in, post_form
from kit.web import Served, near
from receiver.core.types import ArchiveState, Image, ImageCopy, Task, TaskError, TaskState
from receiver.tokens import new_ref

pytestmark = pytest.mark.anyio

HOSTILE = '<script>alert(1)</script> \u202eevil\u202c \U0001f3d4 & "quotes" \''
HTML = {"Accept": "text/html"}


def ref(number: int) -> str:
    return new_ref(NOW - 100_000 + number, bytes([0, 0, 0, 0, 0, 0, 0, 0, number // 256, number % 256]))


def made(number: int, state: TaskState = TaskState.COMPLETED, **more: Any) -> Task:
    settled = NOW - 1000 if state.is_final or state is TaskState.LOST else None
    return replace(
        a_task(task_id=None),
        ref=ref(number),
        created_at=NOW - 100_000 + number,
        label=f"task {number}",
        state=state,
        settled_at=settled,
        poll_at=None,
        **more,
    )


async def put(web: Served, tasks: list[Task], *, pictures: int = 0) -> None:
    async with web.parts.store.write() as tx:
        await tx.tasks.insert(tasks)
        for task in tasks if pictures else ():
            await tx.tasks.add_images([(task.ref, Image(it, f"https://p.example/{it}.png")) for it in range(pictures)])
            await tx.copies.upsert(
                (
                    task.ref,
                    ImageCopy(it, file=f"{it}.png", media_type="image/png", width=8, height=8, small=f"{it}.small.jpg"),
                )
                for it in range(pictures)
            )


async def page(web: Served, path: str = "/") -> str:
    async with logged_in(web) as browser:
        answer = await browser.get(path, headers=HTML)
        assert answer.status_code == 200, answer.text
        return answer.text


def titles(html: str) -> list[str]:
    return re.findall(r"<h2>(?:<a[^>]*>)?<bdi>(.*?)</bdi>", html)


async def test_nobody_sees_anything_without_a_login(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await put(web, [made(1)])
        web.client.headers.pop("Authorization")
        for path in ("/", f"/tasks/{ref(1)}", "/tasks/nobody", "/batches/none", "/callbacks", "/notices", "/status"):
            answer = await web.client.get(path, headers=HTML)
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/login")
            assert "task 1" not in answer.text


async def test_a_program_that_asks_for_the_root_gets_json_as_before(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        assert (await web.client.get("/")).json()["service"] == "receiver"
        unknown = await web.client.get("/nothing-here")
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")


async def test_without_a_task_the_gallery_says_what_is_missing(tmp_path: Path) -> None:
    async with near(tmp_path, targets="") as web:
        first = await page(web)
        assert "Nothing here yet" in first
        assert "Nobody is told" in first
        assert "receiver submit diffusion" in first


async def test_the_newest_is_first_and_older_ones_are_a_page_further(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await put(web, [made(number) for number in range(130)], pictures=1)
        first = await page(web)
        assert titles(first) == [f"task {number}" for number in range(129, 69, -1)]
        older = re.search(r'href="(/\?[^"]*)" rel="next"', first)
        assert older is not None
        second = await page(web, older[1].replace("&amp;", "&"))
        assert titles(second) == [f"task {number}" for number in range(69, 9, -1)]
        assert "To the newest" in second


async def test_the_chips_filter_and_combine_with_words_model_and_label(tmp_path: Path) -> None:
    tasks = [
        made(1, prompt="a red kite"),
        made(2, TaskState.FAILED, prompt="a red boat", error=TaskError("1", "the filter stopped it")),
        made(3, TaskState.WAITING, model="midjourney_upscale"),
    ]
    async with near(tmp_path) as web:
        await put(web, tasks, pictures=1)
        for query, expected in [
            ("show=failed", ["task 2"]),
            ("show=completed", ["task 1"]),
            ("show=underway", ["task 3"]),
            ("q=red", ["task 2", "task 1"]),
            ("q=red&show=failed", ["task 2"]),
            ("q=ki", ["task 1"]),
            ("model=midjourney_upscale", ["task 3"]),
            ("label=task+2", ["task 2"]),
        ]:
            assert titles(await page(web, f"/?{query}")) == expected, query
        assert "Under way <b>1</b>" in await page(web)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("show=failed", "No task has failed."),
        ("show=needs", "No task waits for you."),
        ("q=blood-red", "Nothing matches “blood-red”."),
        ("model=unknown", "Nothing is like that."),
        ("label=%00%ff", "Nothing is like that."),
        ("show=nonsense", "There is no such list."),
        ("before=nonsense", "This page of the list is no longer there."),
        (f"before={ref(0)}", "This page of the list is no longer there."),
        ("q=%22%29+OR+%2A%3A", "Nothing matches"),
        ("q=" + "x" * 5000, "Nothing matches"),
    ],
)
async def test_what_finds_nothing_says_so(tmp_path: Path, query: str, text: str) -> None:
    async with near(tmp_path) as web:
        await put(web, [made(1)])
        shown = await page(web, f"/?{query}")
        assert text in shown
        assert titles(shown) == []


async def test_words_from_outside_are_only_text(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await put(
            web,
            [
                replace(made(1, TaskState.FAILED, error=TaskError("1", HOSTILE), prompt=HOSTILE), label=HOSTILE),
                replace(made(2, TaskState.WAITING, prompt=HOSTILE * 100), label=None),
            ],
        )
        shown = await page(web, "/?q=%3Cscript%3E")
        for text in (await page(web), shown):
            assert "<script>alert" not in text
            assert "\u202e" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt; evil" in await page(web)


async def test_every_page_has_the_headers_of_a_page(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as browser:
        for path in ("/", "/nothing-here", "/batches/none", "/logout"):
            answer = await browser.get(path, headers=HTML)
            assert answer.headers["content-security-policy"].startswith("default-src 'self'; base-uri 'none'"), path
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "<script>" not in answer.text
            assert "style=" not in answer.text


async def test_pages_that_are_not_there_say_so_in_the_frame(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as browser:
        for path, text in [("/nothing-here", "There is no such page."), ("/batches/none", "There is no such batch")]:
            answer = await browser.get(path, headers=HTML)
            assert answer.status_code == 404
            assert text in answer.text
            assert 'aria-label="Pages"' in answer.text


async def test_style_and_script_are_kept_for_a_year(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        shown = await page(web)
        for pattern in (r'href="(/static/app\.[0-9a-f]{12}\.css)"', r'src="(/static/app\.[0-9a-f]{12}\.js)"'):
            found = re.search(pattern, shown)
            assert found is not None
            answer = await web.client.get(found[1])
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
        assert (await web.client.get("/static/app.000000000000.css")).status_code == 404


async def open_batch(web: Served, name: str, **states: int) -> None:
    """A batch with so many rows in each state."""
    made_ = await web.client.post("/api/v1/batches", json={"name": name})
    assert made_.status_code == 200, made_.text
    lane = await web.parts.store.lanes.find_batch(name)
    assert lane is not None
    tasks, line = [], 0
    for state, count in states.items():
        for _ in range(count):
            line += 1
            error = TaskError("1", "the filter stopped the prompt") if state == "failed" else None
            tasks.append(made(1000 + line, TaskState(state), lane=lane.id, turn=line, error=error, due_at=None))
    await put(web, tasks, pictures=1)


async def test_a_batch_is_one_card_and_its_page_shows_what_failed_first(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await put(web, [made(1)], pictures=1)
        await open_batch(web, "posters.csv", completed=3, failed=2, waiting=1)
        gallery = await page(web)
        assert titles(gallery) == ["posters.csv", "task 1"]
        assert "3 completed" in gallery
        assert "2 failed" in gallery
        shown = await page(web, "/batches/posters.csv")
        assert "5 of 6" in shown
        assert "2 × <bdi>the filter stopped the prompt</bdi>" in shown
        assert shown.index('id="failed"') < shown.index('id="under-way"') < shown.index('id="completed"')
        assert "Submit the 2 failed again" in shown


async def test_a_batch_under_way_stands_before_one_that_has_just_ended(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await open_batch(web, "under way", waiting=1)
        await open_batch(web, "over")
        assert (await web.client.post("/api/v1/batches/over/close")).status_code == 200
        assert titles(await page(web)) == ["under way", "over"]


async def test_a_batch_is_paused_and_goes_on_by_its_buttons(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await open_batch(web, "a & b", waiting=1, queued=2)
        async with logged_in(web) as browser:
            for act, done, word in [
                ("pause", "paused", "Go on"),
                ("resume", "resumed", "Pause"),
                ("cancel", "cancelled", ""),
            ]:
                answer = await post_form(browser, f"/batches/a%20%26%20b/{act}")
                assert answer.status_code == 303, answer.text
                assert answer.headers["location"] == f"/batches/a%20%26%20b?done={done}#done"
                shown = (await browser.get(answer.headers["location"])).text
                assert word in shown
                assert 'id="done"' in shown
        lane = await web.parts.store.lanes.find_batch("a & b")
        assert lane is not None
        assert (await web.parts.store.batch_rows.count_states(lane.id))[TaskState.CANCELLED] == 2


async def test_what_a_batch_refuses_is_said_on_its_page(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await open_batch(web, "done", completed=1)
        assert (await web.client.post("/api/v1/batches/done/close")).status_code == 200
        async with logged_in(web) as browser:
            answer = await post_form(browser, "/batches/done/pause")
            assert answer.status_code == 409
            assert 'role="alert"' in answer.text


async def test_pictures_that_are_not_fetched_yet_are_fields(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await put(web, [made(1, archive=ArchiveState.DUE)])
        async with web.parts.store.write() as tx:
            await tx.tasks.add_images([(ref(1), Image(it, f"https://p.example/{it}.png")) for it in range(4)])
        shown = await page(web)
        assert "4 of 4 pictures being fetched" in shown
        assert "<img" not in shown
