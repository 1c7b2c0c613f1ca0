"""Every page in every state: in each width and both schemes it fits, stays still, loads only what is ours, and axe
finds nothing. `RECEIVER_SHOTS=folder` keeps a picture of each."""

from pathlib import Path

import pytest
from playwright.async_api import Browser

from kit.browser import FullService, Tab, context, log_in
from kit.fakes import NOW
from kit.page_looks import WIDTHS, find_faults
from kit.page_states import PAGES
from kit.web import TOKEN, served

pytestmark = pytest.mark.anyio

MISSING = ("no-such-task", "no-such-page", "share-ended")


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_looks_right_in_every_width_and_scheme(full: FullService, page: str, tmp_path: Path) -> None:
    tab = await full.tab()
    answer = await tab.open(full.path(page))
    assert answer.status == (404 if page in MISSING else 200)
    wrong = await find_faults(tab, page, tmp_path)
    await tab.page.close()
    wrong += [it for it in tab.wrong if not (page in MISSING and "404" in it)]
    assert not wrong, "\n".join(wrong)


async def test_a_form_that_was_not_sent_says_why_beside_each_field(full: FullService, tmp_path: Path) -> None:
    """What was typed stays, and the focus is on what is said."""
    tab = await full.tab("do-extend")
    await tab.page.fill("textarea", "a village, {red, blue} sky")
    await tab.page.fill("[data-exact]", "9")
    await tab.page.click("#go button.primary")
    await tab.page.locator("#done").wait_for()
    assert await tab.evaluate("document.activeElement.id") == "done"
    assert await tab.page.input_value("textarea") == "a village, {red, blue} sky"
    assert await tab.page.locator("[aria-invalid=true]").count() >= 1
    wrong = await find_faults(tab, "do-extend-wrong", tmp_path)
    assert not wrong, "\n".join(wrong)
    await tab.page.close()


async def test_the_login_in_all_its_states(browser: Browser, full: FullService, tmp_path: Path) -> None:
    async with context(browser, now=NOW) as profile:
        tab = Tab(await profile.new_page(), full.url)
        await tab.open("/login?next=/status")
        wrong = await find_faults(tab, "login", tmp_path)
        await tab.page.fill("[name=password]", "not it")
        await tab.page.click("main button")
        await tab.page.locator("[aria-invalid=true]").wait_for()
        wrong += await find_faults(tab, "login-wrong", tmp_path)
        assert not wrong, "\n".join(wrong)
        await tab.open("/callbacks")
        assert "/login?next=%2Fcallbacks" in tab.page.url


async def test_the_first_run(browser: Browser, tmp_path: Path) -> None:
    async with served(tmp_path) as web, context(browser, now=NOW) as profile:
        tab = Tab(await profile.new_page(), f"http://127.0.0.1:{web.port}")
        await log_in(tab, TOKEN)
        wrong = await find_faults(tab, "first-run", tmp_path)
        for path in ("/callbacks", "/notices", "/status"):
            await tab.open(path)
            wrong += await find_faults(tab, f"first-run-{path[1:]}", tmp_path)
        assert not wrong + tab.wrong, "\n".join(wrong + tab.wrong)


@pytest.mark.parametrize("page", ["gallery", "task-completed", "do-extend", "callback-hint", "notices", "status"])
@pytest.mark.parametrize("width", [390, 1440])
async def test_nothing_shifts_while_a_page_loads(full: FullService, page: str, width: int) -> None:
    tab = await full.tab()
    await tab.page.set_viewport_size({"width": width, "height": WIDTHS[width]})
    await tab.open(full.path(page))
    await tab.see_all()
    assert await tab.shifts() == []
    await tab.page.close()


HOSTILE_PAGES = [
    *("gallery", "gallery-failed", "task-hostile", "task-hostile-pictures", "do-again-hostile", "do-extend-hostile"),
    *("callbacks", "callback-hostile", "notices", "status", "pick-hostile", "share-hostile"),
]


@pytest.mark.parametrize("page", HOSTILE_PAGES)
async def test_what_comes_from_outside_is_text(full: FullService, page: str) -> None:
    """In prompts, labels, errors and bodies; whether it is HTML, a script, a template, a colour or turns the text."""
    tab = await full.tab(page)
    text = await tab.evaluate("document.body.innerText")
    typed = await tab.evaluate("[...document.querySelectorAll('input, textarea')].map((it) => it.value).join()")
    assert "alert(1)" in text + typed
    assert "{{7*7}}" in text + typed
    assert not set("\u202e\u202c\x07\x1b") & set(text)
    made = "script:not([src]), img[src=x], [onerror], [style], a[href^=javascript]"
    assert await tab.evaluate(f"document.querySelectorAll('{made}').length") == 0
    assert tab.wrong == []
    await tab.page.close()
