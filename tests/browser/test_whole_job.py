"""The main job as a person does it, with nothing faked: log in, watch a task arrive, extend it, pick, follow a ping."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from playwright.async_api import Browser

from kit.browser import PUBLIC_HOST, Tab, context, log_in
from kit.live_service import Service, Sink, sinking, until
from receiver import sandbox
from receiver.passwords import hash_password
from receiver.sandbox import Fate, SandboxOptions

pytestmark = pytest.mark.anyio

PASSWORD = "a password for the pages"
MAKE = {"model": "midjourney_diffusion", "params": {"text": "a lighthouse at dusk --ar 3:2 --v 7"}}
WIDE = {"model": "midjourney_outpaint", "params": {"scale": 1.5}}


class Job(Struct, eq=False):
    """The service, what it tells, and a person who is logged in."""

    service: Service
    sink: Sink
    tab: Tab

    async def submit(self, *tasks: dict[str, Any]) -> list[str]:
        """The refs of the tasks that one call makes."""
        answer = await self.service.http.post("/api/v1/tasks/batch", json={"tasks": tasks})
        assert all(it["status"] == 202 for it in answer.json()), answer.text
        return [it["task"]["ref"] for it in answer.json()]

    async def ping(self, ref: str) -> dict[str, Any]:
        """What was sent about the end of a task."""

        async def told() -> dict[str, Any] | None:
            return next((it for it in self.sink.got if it["ref"] == ref), None)

        return dict(await until(told))

    async def mark(self) -> None:
        """Mark the page, to see whether it is still the same later."""
        await self.tab.evaluate("window.__same = true")

    async def is_same(self) -> bool:
        return bool(await self.tab.evaluate("window.__same === true"))


def find_link(ping: dict[str, Any], part: str) -> str:
    """The link in a message whose path has this part."""
    return str(next(word for word in ping["message"].split() if part in word)).strip("<>().,")


@contextlib.asynccontextmanager
async def at_work(
    browser: Browser, folder: Path, options: SandboxOptions, *, public: bool = False
) -> AsyncIterator[Job]:
    """The service, connected to a provider and a target; nobody is logged in yet."""
    async with sandbox.open_sandbox(options) as provider, sinking() as sink, context(browser) as profile:
        service = Service(
            folder,
            provider.url + "/model/v1/generation",
            NOTIFY_URLS=sink.url,
            SWEEP_FIRST="1" if public else "60",
            FETCH_ALLOW="127.0.0.1",
            PICTURE_WAIT="300",
            PASSWORD_HASH=hash_password(PASSWORD),
        )
        if public:
            service.env["RECEIVER_PUBLIC_URL"] = f"http://{PUBLIC_HOST}:{service.port}"
        try:
            await service.start()
            yield Job(service, sink, Tab(await profile.new_page(), service.url))
        finally:
            await service.stop()
            await service.http.aclose()


async def test_a_task_arrives_is_extended_and_picked_from(browser: Browser, tmp_path: Path) -> None:
    async with at_work(browser, tmp_path, SandboxOptions(latency_s=2.0, seed=1)) as job:
        await log_in(job.tab, PASSWORD)
        await work(job)


async def test_the_link_in_a_ping_opens_the_page_of_its_task(browser: Browser, tmp_path: Path) -> None:
    """After a login; links name only a public host, so the provider's callback cannot come, and the sweep finds it."""
    options = SandboxOptions(latency_s=0.1, seed=1, script=(Fate.DROPPED,))
    async with at_work(browser, tmp_path, options, public=True) as job:
        page = job.tab.page
        [ref] = await job.submit({**MAKE, "label": "hero"})
        link = find_link(await job.ping(ref), "/tasks/")
        assert link == f"http://{PUBLIC_HOST}:{job.service.port}/tasks/{ref}"
        await page.goto(link)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Log in").click()
        await page.wait_for_url(link)
        assert await page.inner_text("h1") == "hero"
        await job.tab.until("document.querySelectorAll('#snap img').length === 4")
        assert job.tab.wrong == []


async def work(job: Job) -> None:
    """All of it, from an empty gallery on."""
    tab, page = job.tab, job.tab.page
    assert await page.inner_text("h1") == "Nothing here yet"
    [first] = await job.submit({**MAKE, "label": "first"})
    await job.ping(first)

    # It arrives while one looks on.
    await tab.open("/")
    await tab.until_text("#live-state", "Live")
    [second] = await job.submit({**MAKE, "label": "second"})
    await tab.until_text("#new", "1 new")
    await page.click("#new")
    await tab.until("document.querySelector('.cards h2').textContent === 'second'")
    await job.mark()
    card = f"[data-ref='{second}']"
    await tab.until(f'document.querySelectorAll("{card} .pictures img").length === 4')
    assert await job.is_same()

    # One click extends it.
    await page.click(f"{card} a")
    await page.get_by_role("link", name="Extend").click()
    await page.locator("[name=imageNo][value='1']").check(force=True)
    await page.get_by_role("button", name="Extend picture 1").click()
    await page.wait_for_url(lambda url: "/tasks/" in url and second not in url)
    await job.mark()
    await tab.until("document.querySelectorAll('#snap img').length === 4")
    assert await job.is_same()
    assert "second" in await page.inner_text(".chain")
    extended = await job.service.task(page.url.rpartition("/")[2].partition("?")[0].partition("#")[0])
    assert (extended["chain"]["parent"], extended["params"]["imageNo"]) == (second, 1)

    # A pick, from the link in a ping.
    make, wide = await job.submit(
        {**MAKE, "name": "make", "label": "third"},
        {**WIDE, "name": "wide", "wait_for": {"name": "make", "image_no": "pick"}},
    )
    await page.goto(find_link(await job.ping(make), "/pick/"))
    await page.get_by_role("button", name="Go on from").click()
    await job.ping(wide)
    assert (await job.service.task(wide))["state"] == "completed"

    # And one on the page of its task.
    make, wide = await job.submit(
        {**MAKE, "name": "make", "label": "fourth"},
        {**WIDE, "name": "wide", "wait_for": {"name": "make", "image_no": "pick"}},
    )
    await job.ping(make)
    await tab.open(f"/tasks/{make}")
    await page.locator("[name=image_no][value='2']").check(force=True)
    await page.get_by_role("button", name="Go on from it").click()
    await job.ping(wide)
    assert (await job.service.task(wide))["params"]["imageNo"] == 2
    assert tab.wrong == []
