"""Live: what changes is put in its place, nothing moves under the reader, and the page says when it is not live."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace
from playwright.async_api import Browser, BrowserContext, Request

from kit.browser import Tab, context, log_in
from kit.fakes import NOW, a_ref, a_task, put
from kit.live_service import until
from kit.web import TOKEN, Served, callback_path, served
from receiver.core.types import Task, TaskState
from receiver.web.pages.gallery import live_feed

pytestmark = pytest.mark.anyio

END = {"state": TaskState.CANCELLED, "settled_at": NOW, "due_at": None}
HIDE = "Object.defineProperty(document, 'hidden', { get: () => window.__hidden, configurable: true })"


class Living(Struct, eq=False):
    """A service with thirty queued tasks, and a browser that is logged in to it."""

    web: Served
    profile: BrowserContext
    tasks: list[Task]

    async def tab(self, path: str = "/") -> "LiveTab":
        tab = LiveTab(await self.profile.new_page(), f"http://127.0.0.1:{self.web.port}")
        await tab.open(path)
        await tab.until_text("#live-state", "Live")
        await until(tab.idle)
        return tab

    async def change(self, task: Task, **more: Any) -> None:
        async with self.web.parts.store.write() as tx:
            now = (await tx.tasks.get([task.ref]))[task.ref]
            await tx.tasks.update([(now, replace(now, **more))])

    async def end(self, *tasks: Task) -> None:
        for task in tasks:
            await self.change(task, **END)


class LiveTab(Tab):
    """A tab that counts what its page asks for."""

    def __init__(self, page: Any, url: str) -> None:
        super().__init__(page, url)
        self.asked: list[str] = []
        self.answered = 0
        page.on("request", self._count)
        page.on("requestfinished", self._finish)

    def _count(self, request: Request) -> None:
        if "/cards" in request.url or "/rows" in request.url:
            self.asked.append(request.url)

    def _finish(self, request: Request) -> None:
        self.answered += "/cards" in request.url or "/rows" in request.url

    async def idle(self) -> bool:
        """Whether all that was asked for has come."""
        return self.answered == len(self.asked)

    async def until_ended(self, *tasks: Task) -> None:
        for task in tasks:
            await self.until(f"document.querySelector('[data-ref=\"{task.ref}\"] .tile') !== null")

    async def hide(self, hidden: bool) -> None:
        """Let the page think that it is not looked at, or is again."""
        await self.evaluate(f"{HIDE}; window.__hidden = {str(hidden).lower()};")
        await self.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


@pytest.fixture
async def living(browser: Browser, tmp_path: Path) -> AsyncIterator[Living]:
    async with served(tmp_path) as web, context(browser, now=NOW) as profile:
        tasks = [a_task(TaskState.QUEUED, label=f"task {number}") for number in range(30)]
        await put(web.parts.store, *tasks)
        tab = Tab(await profile.new_page(), f"http://127.0.0.1:{web.port}")
        await log_in(tab, TOKEN)
        await tab.page.close()
        yield Living(web, profile, tasks)


async def test_a_card_is_replaced_in_its_place_and_nothing_moves(living: Living) -> None:
    """Focus and scroll stay, what is new is only counted, and what ended is said."""
    tab = await living.tab()
    first, second, *_ = reversed(living.tasks[:10])
    await tab.page.focus(f"[data-ref='{first.ref}'] a")
    await tab.evaluate("scrollTo(0, 400)")
    before = await tab.evaluate("[scrollY, document.body.scrollHeight, document.querySelectorAll('[data-ref]').length]")
    await tab.evaluate("window.__shift = 0")
    await living.end(first, second)
    await put(living.web.parts.store, a_task(TaskState.QUEUED, label="new one"))
    await tab.until_ended(first, second)
    await tab.until_text("#new", "1 new")
    assert await tab.evaluate("document.activeElement.closest('[data-ref]').dataset.ref") == first.ref
    after = await tab.evaluate("[scrollY, document.body.scrollHeight, document.querySelectorAll('[data-ref]').length]")
    assert after == before
    assert await tab.shifts() == []
    await tab.until("/is cancelled|tasks ended/.test(document.querySelector('#announce').textContent)")
    await tab.page.click("#new")
    await tab.until("document.querySelector('.cards h2').textContent === 'new one'")
    assert tab.wrong == []


async def test_a_card_keeps_its_ratio_while_the_page_is_open(living: Living) -> None:
    tab, task = await living.tab(), living.tasks[5]
    shape = await tab.evaluate(f"document.querySelector('[data-ref=\"{task.ref}\"]').classList[1]")
    await tab.evaluate(f"document.querySelector('[data-ref=\"{task.ref}\"]').classList.replace('{shape}', 'r21')")
    await living.end(task)
    await tab.until_ended(task)
    assert await tab.evaluate(f"document.querySelector('[data-ref=\"{task.ref}\"]').classList[1]") == "r21"


async def test_a_hidden_tab_asks_for_nothing_and_its_title_counts_the_ends(living: Living) -> None:
    tab = await living.tab()
    asked = len(tab.asked)
    await tab.hide(True)
    await living.end(*living.tasks[:3])
    await living.change(living.tasks[4], tries=1)
    await tab.until("document.title === '(3) Gallery · receiver'")
    assert len(tab.asked) == asked
    await tab.hide(False)
    await tab.until_ended(*living.tasks[:3])
    assert await tab.page.title() == "Gallery · receiver"
    assert len(tab.asked) == asked + 1
    assert tab.asked[-1].count("ref=") == 4


async def test_several_tabs_share_one_stream_and_the_next_takes_it_over(living: Living) -> None:
    """A browser opens six connections to a server: with a stream each, the seventh tab would stay empty."""
    tabs = [await living.tab() for _ in range(8)]
    task, other = living.tasks[:2]
    await living.end(task)
    for tab in tabs:
        await tab.until_ended(task)
    await tabs[0].page.close()
    await tabs[1].until_text("#live-state", "Live")
    await living.end(other)
    for tab in tabs[1:]:
        await tab.until_ended(other)


async def test_what_changed_while_the_stream_was_broken_is_caught_up(living: Living) -> None:
    tab, task = await living.tab(), living.tasks[7]
    await living.profile.set_offline(True)
    await tab.page.close()
    await living.profile.set_offline(False)
    page = LiveTab(await living.profile.new_page(), tab.url)
    refuse = True

    async def answer(route: Any) -> None:
        await (route.abort() if refuse else route.continue_())

    await page.page.route("**/live", answer)
    await page.open("/")
    await page.until_text("#live-state", "Not live: connecting again …")
    await living.end(task)
    refuse = False
    await page.until_text("#live-state", "Live")
    await page.until_ended(task)


async def test_a_page_that_missed_something_asks_for_all_that_it_shows(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "WAITING_MOST", 0)
    tab, task = await living.tab(), living.tasks[9]
    await living.end(task)
    await put(living.web.parts.store, a_task(TaskState.QUEUED))
    await tab.until_ended(task)
    await tab.until_text("#new", "1 new")
    assert tab.asked[-1].count("ref=") == len(living.tasks)


async def test_without_a_stream_it_says_so_and_asks_now_and_then(living: Living) -> None:
    """As when a hundred pages are live already. Half a minute is the page's clock's, which the test moves."""
    tab = LiveTab(await living.profile.new_page(), f"http://127.0.0.1:{living.web.port}")
    await tab.page.route("**/live", lambda route: route.fulfill(status=503))
    await tab.page.clock.install(time=NOW)
    await tab.open("/")
    await tab.until_text("#live-state", "Not live: asking every 30 s")
    task = living.tasks[3]
    await living.end(task)
    await put(living.web.parts.store, a_task(TaskState.QUEUED))
    await tab.page.clock.fast_forward(31_000)
    await tab.until_ended(task)
    await tab.until_text("#new", "1 new")
    await tab.page.unroute("**/live")
    await tab.page.clock.fast_forward(31_000)
    await tab.until_text("#live-state", "Live")


async def test_a_page_whose_session_has_ended_says_so(living: Living) -> None:
    tab = LiveTab(await living.profile.new_page(), f"http://127.0.0.1:{living.web.port}")
    await tab.page.route("**/live", lambda route: route.fulfill(status=503))
    await tab.page.clock.install(time=NOW)
    await tab.open("/")
    await tab.until_text("#live-state", "Not live: asking every 30 s")
    await living.profile.clear_cookies()
    await tab.page.clock.fast_forward(31_000)
    await tab.until_text("#live-state", "You are logged out: reload to log in")


async def test_the_page_of_a_task_is_live_in_its_parts_and_leaves_a_form_alone(living: Living) -> None:
    task = living.tasks[6]
    tab = await living.tab(f"/tasks/{task.ref}")
    await tab.evaluate("document.querySelector('h1').dataset.same = '1'")
    await living.end(task)
    await tab.until("document.querySelector('[data-part=state]').textContent.includes('cancelled')")
    assert await tab.evaluate("document.querySelector('h1').dataset.same") == "1"
    assert tab.wrong == []


async def test_what_happened_to_a_task_grows_along_and_its_title_follows(living: Living) -> None:
    task = living.tasks[8]
    tab = await living.tab(f"/tasks/{task.ref}")
    rows = "document.querySelectorAll('[data-part=timeline] > li')"
    assert await tab.page.title() == "task 8, queued · receiver"
    assert await tab.evaluate(f"{rows}.length") == 1
    await tab.evaluate(f"getSelection().selectAllChildren({rows}[0])")
    await living.change(task, state=TaskState.WAITING, submitted_at=NOW, task_id="4711", due_at=None)
    await tab.until(f"{rows}.length === 2")
    await living.end(task)
    await tab.until(f"{rows}.length === 3")
    assert await tab.page.title() == "task 8, cancelled · receiver"
    assert await tab.evaluate("getSelection().toString()") != ""
    assert tab.wrong == []


async def test_the_chain_of_a_task_follows_and_keeps_its_place_while_it_stays(living: Living) -> None:
    root = a_ref()
    parent = a_task(TaskState.COMPLETED, ref=root, root=root, label="parent")
    child = a_task(TaskState.QUEUED, label="child", root=root, parent=root, parent_image=0, depth=1)
    await put(living.web.parts.store, parent, child)
    tab = await living.tab(f"/tasks/{child.ref}")
    await tab.evaluate("document.querySelector('[data-part=chain]').same = true")
    await living.change(child, state=TaskState.WAITING, submitted_at=NOW, task_id="4711", due_at=None)
    await tab.until("document.querySelector('[data-part=state]').textContent.includes('waiting')")
    assert await tab.evaluate("document.querySelector('[data-part=chain]').same") is True
    await living.change(parent, label="renamed")
    await tab.until("document.querySelector('[data-part=chain]').textContent.includes('renamed')")
    assert tab.wrong == []


async def test_the_question_before_a_task_is_submitted_again_says_what_is_true_by_then(living: Living) -> None:
    task = living.tasks[9]
    tab = await living.tab(f"/tasks/{task.ref}")
    await living.change(task, state=TaskState.WAITING, unsure=True, submitted_at=NOW, due_at=None)
    await tab.until("document.querySelector('.acts [popovertarget=resubmit]') !== null")
    await tab.page.click(".acts [popovertarget=resubmit]")
    assert "it is paid twice" in await tab.page.inner_text("#resubmit")
    assert "refused it before" not in await tab.page.inner_text("#resubmit")


async def test_callbacks_that_come_in_are_counted_and_the_list_stays(living: Living) -> None:
    async def call(task: Task, content: bytes) -> None:
        answer = await living.web.client.post(callback_path(living.web.parts, task.ref), content=content)
        assert answer.status_code == 200

    await call(living.tasks[0], b"first")
    tab = await living.tab("/callbacks?verdict=unparsed")
    await call(living.tasks[1], b"second")
    await call(living.tasks[2], b"third")
    await tab.until("/^[12] new$/.test(document.querySelector('#new').textContent)")
    assert await tab.page.locator("[data-ref]").count() == 1
    await tab.until_text("#new", "2 new")
    await tab.page.click("#new")
    await tab.until("document.querySelectorAll('[data-ref]').length === 3")
    assert tab.page.url.endswith("/callbacks?verdict=unparsed")
    assert tab.wrong == []


async def test_a_batchs_page_counts_along(living: Living) -> None:
    """Its figures are asked for anew; nothing else on the page moves."""
    web = living.web
    assert (await web.client.post("/api/v1/batches", json={"name": "rows"})).status_code == 200
    lane = await web.parts.store.lanes.find_batch("rows")
    assert lane is not None
    rows = [a_task(TaskState.QUEUED, label=f"row {line}", lane=lane.id, turn=line) for line in range(1, 4)]
    await put(web.parts.store, *rows)
    tab = await living.tab("/batches/rows")
    assert "0 of 3" in await tab.page.inner_text("main")
    await living.end(rows[0])
    await tab.until_text("[data-part=progress] strong", "1 of 3")


async def test_what_a_batch_offers_to_submit_again_is_said_as_it_is_by_then(living: Living) -> None:
    web = living.web
    assert (await web.client.post("/api/v1/batches", json={"name": "rows"})).status_code == 200
    lane = await web.parts.store.lanes.find_batch("rows")
    assert lane is not None
    rows = [a_task(TaskState.QUEUED, label=f"row {line}", lane=lane.id, turn=line) for line in range(1, 4)]
    await put(web.parts.store, *rows)
    tab = await living.tab("/batches/rows")
    for done, words in ((rows[0], "Submit the 1 failed again"), (rows[1], "Submit the 2 failed again")):
        await living.change(done, state=TaskState.FAILED, settled_at=NOW, due_at=None)
        await tab.until_text("[popovertarget=retry]", words)
    await tab.page.click("[data-part] [popovertarget=retry]")
    assert "Submit the 2 failed again?" in await tab.page.inner_text("#retry")
    await tab.page.keyboard.press("Escape")
    await tab.page.click("[data-part] [popovertarget=cancel]")
    assert "Cancel the 1 queued?" in await tab.page.inner_text("#cancel")
    assert tab.wrong == []
