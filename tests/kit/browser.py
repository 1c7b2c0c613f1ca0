"""Debian's Chromium, driven by playwright: a page that reports what goes wrong in it, and what it looks like.

Only what the tests serve on loopback is loaded. A page reports errors of its script, what the Content-Security-Policy
stops, files that are not there, and how far its layout shifted.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Response, async_playwright

from kit.fakes import NOW
from kit.live_service import PATIENCE_S, until
from kit.page_states import PageStates, find_path, seed
from kit.web import TOKEN, Served, served

PATIENCE_MS = PATIENCE_S * 1000
Scheme = Literal["light", "dark"]
SHOTS = os.environ.get("RECEIVER_SHOTS")
"""The folder for screenshots; without it they are not kept."""

PUBLIC_HOST = "receiver.example.org"
"""A name that this browser finds on loopback: for links, which name only public hosts."""

_ARGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-dev-shm-usage"),
    f"--host-resolver-rules=MAP {PUBLIC_HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--force-color-profile=srgb",
)
_WATCH = """
window.__shift = 0;
window.__shifted = [];
addEventListener("securitypolicyviolation", (it) => console.error(`CSP ${it.violatedDirective} ${it.blockedURI}`));
new PerformanceObserver((list) => {
  for (const it of list.getEntries()) {
    if (it.hadRecentInput) continue;
    window.__shift += it.value;
    for (const { node } of it.sources) window.__shifted.push((node?.outerHTML ?? node?.data ?? "").slice(0, 80));
  }
}).observe({ type: "layout-shift", buffered: true });
"""


def find_chromium() -> str | None:
    """Debian's Chromium, if it is installed."""
    return shutil.which("chromium")


@contextlib.asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    """A Chromium without windows."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_chromium(), args=list(_ARGS), timeout=PATIENCE_MS
        )
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """A page in a browser, and what went wrong in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.wrong: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda it: self.wrong.append(str(it)))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.text} ({message.location.get('url')})")

    async def open(self, path: str) -> Response:
        """Go to a path of the service, and wait until all of it is there."""
        answer = await self.page.goto(self.url + path, wait_until="load")
        assert answer is not None
        return answer

    async def until(self, script: str) -> None:
        """Wait until an expression in the page is true. From outside: the page's policy forbids its own `eval`."""
        await until(lambda: self.evaluate(script))

    async def until_text(self, selector: str, text: str) -> None:
        """Wait until an element has this text."""
        await self.until(f"document.querySelector({selector!r})?.textContent.trim() === {text!r}")

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            await self.page.keyboard.press(key)

    async def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        return await self.page.evaluate(script)

    async def shifts(self) -> list[str]:
        """What has moved by itself since the page was opened."""
        await self.settle()
        return list(await self.evaluate("window.__shift ? [`${window.__shift}`, ...window.__shifted] : []"))

    async def settle(self) -> None:
        """Wait until what is due has been drawn."""
        await self.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
        )

    async def see_all(self) -> None:
        """Scroll to the end and back, so that all pictures are loaded, and wait for them."""
        await self.evaluate(
            """async () => {
              for (const it of document.images) it.loading = "eager";
              await Promise.all([...document.images].map((it) => it.decode().catch(() => {})));
            }"""
        )
        await self.settle()

    async def overflow(self) -> int:
        """By how many pixels the page can be scrolled sideways."""
        return int(await self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    async def shoot(self, name: str, folder: Path, *, full: bool = True) -> None:
        """A picture of the page."""
        place = Path(SHOTS) if SHOTS else folder
        await asyncio.to_thread(place.mkdir, parents=True, exist_ok=True)
        await self.page.screenshot(path=place / f"{name}.png", full_page=full)


@contextlib.asynccontextmanager
async def context(
    browser: Browser,
    *,
    width: int = 1440,
    scheme: Scheme = "light",
    script: bool = True,
    now: int | None = None,
) -> AsyncIterator[BrowserContext]:
    """A browser's profile of its own, with a window of this width; `now` is what its clock says."""
    made = await browser.new_context(
        viewport={"width": width, "height": 844 if width < 600 else 900 if width < 2000 else 1600},
        color_scheme=scheme,
        java_script_enabled=script,
        has_touch=width < 600,
        locale="en-GB",
        timezone_id="Europe/Berlin",
    )
    made.set_default_timeout(PATIENCE_MS)
    await made.add_init_script(_WATCH)
    if now is not None:
        await made.clock.set_fixed_time(now)
    try:
        yield made
    finally:
        await made.close()


class FullService(Struct, eq=False):
    """A service with a task in every state, and a browser that is logged in to it."""

    web: Served
    states: PageStates
    profile: BrowserContext

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.web.port}"

    def path(self, page: str) -> str:
        """The path of one of `PAGES`."""
        return find_path(page, self.web.parts, self.states)

    async def tab(self, page: str | None = None) -> Tab:
        """A new tab, with one of `PAGES` in it."""
        tab = Tab(await self.profile.new_page(), self.url)
        if page is not None:
            await tab.open(self.path(page))
        return tab


@contextlib.asynccontextmanager
async def full_service(browser: Browser, folder: Path) -> AsyncIterator[FullService]:
    """Such a service; its clock and the browser's stand still."""
    async with served(folder) as web, context(browser, now=NOW) as profile:
        full = FullService(web, await seed(web.parts), profile)
        tab = await full.tab()
        await log_in(tab, TOKEN)
        await tab.page.close()
        yield full


async def log_in(tab: Tab, secret: str) -> None:
    """Log in by the form, as a person does."""
    await tab.open("/login")
    await tab.page.get_by_label("Password").or_(tab.page.get_by_label("API token")).fill(secret)
    await tab.page.get_by_role("button", name="Log in").click()
    await tab.page.wait_for_url(lambda url: "/login" not in url)
