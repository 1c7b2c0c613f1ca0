"""What the script does on pages, and that nothing is dead without it."""

import pytest
from playwright.async_api import Browser

from kit.browser import FullService, Tab, context, log_in
from kit.fakes import NOW
from kit.web import TOKEN

pytestmark = pytest.mark.anyio


async def focused(tab: Tab) -> str:
    return str(await tab.evaluate("document.activeElement.textContent.trim() || document.activeElement.id"))


async def in_view(tab: Tab) -> None:
    """Wait until no picture is half in view."""
    await tab.until("(({scrollLeft, clientWidth}) => scrollLeft % clientWidth === 0)(document.querySelector('#snap'))")


# -- keys --


async def test_j_and_k_walk_along_the_list_and_stop_at_its_ends(full: FullService) -> None:
    tab = await full.tab("gallery")
    names = await tab.evaluate("[...document.querySelectorAll('[data-step]')].map((it) => it.textContent.trim())")
    await tab.press("k")
    assert await focused(tab) == names[0]
    await tab.press("j", "j", "k", "j")
    assert await focused(tab) == names[2]
    await tab.press("k", "k", "k", "k")
    assert await focused(tab) == names[0]
    await tab.page.close()


async def test_slash_goes_to_the_search_and_keys_are_then_letters(full: FullService) -> None:
    tab = await full.tab("gallery")
    await tab.press("/")
    assert await tab.evaluate("document.activeElement.type") == "search"
    await tab.page.keyboard.type("jkgc/?3x")
    assert await tab.page.input_value("[type=search]") == "jkgc/?3x"
    assert not await tab.page.locator("#keys").is_visible()
    await tab.page.close()


async def test_the_question_mark_shows_the_keys_and_escape_closes_them(full: FullService) -> None:
    tab = await full.tab("gallery")
    await tab.press("?")
    await tab.page.locator("#keys").wait_for(state="visible")
    await tab.press("Escape")
    await tab.page.locator("#keys").wait_for(state="hidden")
    await tab.page.close()


@pytest.mark.parametrize(("key", "path"), [("c", "/callbacks"), ("n", "/notices"), ("s", "/status"), ("g", "/")])
async def test_g_and_a_letter_go_to_a_page(full: FullService, key: str, path: str) -> None:
    tab = await full.tab("logout")
    await tab.press("g", key)
    await tab.page.wait_for_url(full.url + path)
    await tab.page.close()


async def test_a_key_with_a_modifier_is_the_browsers(full: FullService) -> None:
    tab = await full.tab("gallery")
    await tab.press("Control+j", "Alt+j", "Meta+j", "Control+/")
    assert await tab.evaluate("document.activeElement === document.body")
    await tab.page.close()


async def test_brackets_go_to_the_newer_and_the_older_task(full: FullService) -> None:
    tab = await full.tab("task-completed")
    older = await tab.page.get_attribute("[data-key=']']", "href")
    await tab.press("]")
    await tab.page.wait_for_url(f"{full.url}{older}")
    await tab.press("[")
    await tab.page.wait_for_url(full.url + full.path("task-completed"))
    await tab.page.close()


async def test_x_opens_the_form_to_extend(full: FullService) -> None:
    tab = await full.tab("task-completed")
    await tab.press("x")
    await tab.page.wait_for_url("**do=extend**")
    assert await tab.page.locator("#frame").is_visible()
    await tab.page.close()


# -- looking at pictures --


async def test_the_arrows_show_the_next_picture_and_everything_follows(full: FullService) -> None:
    tab = await full.tab("task-completed")
    await tab.press("ArrowRight")
    await tab.until("document.querySelector('[data-pick=\"1\"]').ariaCurrent === 'true'")
    await tab.until_text("#go-on [data-no]", "1")
    assert "image=1" in (await tab.page.get_attribute(".tabs a", "href") or "")
    await tab.press("3")
    await tab.until("document.querySelector('[data-pick=\"3\"]').ariaCurrent === 'true'")
    assert await tab.page.locator("[data-pick][aria-current]").count() == 1
    assert tab.page.url.endswith("#p3")
    await tab.press("ArrowLeft")
    await tab.until_text("#go-on [data-no]", "2")
    await tab.page.close()


async def test_the_ways_to_go_on_mean_the_picture_that_was_chosen_at_once(full: FullService) -> None:
    """Not only once it has slid into view: whoever is quick would pay for another one."""
    tab = await full.tab("task-completed")
    chosen = await tab.evaluate(
        """(() => {
          document.querySelector('[data-pick="2"]').click();
          const [number, way] = ["#go-on [data-no]", ".tabs a[href*=image]"].map((it) => document.querySelector(it));
          return [number.textContent, new URL(way.href).searchParams.get("image")];
        })()"""
    )
    assert chosen == ["2", "2"]
    await in_view(tab)
    await tab.until_text("#go-on [data-no]", "2")
    await tab.page.close()


async def test_an_address_that_names_a_picture_shows_it(full: FullService) -> None:
    tab = await full.tab()
    await tab.open(f"{full.path('task-completed')}?image=2")
    await in_view(tab)
    assert await tab.evaluate("Math.round(snap.scrollLeft / snap.clientWidth)") == 2
    await tab.until_text("#go-on [data-no]", "2")
    await tab.page.close()


# -- the stage --


async def test_the_frame_follows_the_slider_and_the_exact_number(full: FullService) -> None:
    tab = await full.tab("do-extend")
    size = await tab.evaluate("document.querySelector('#frame').viewBox.baseVal.width")

    async def drawn() -> float:
        return float(await tab.page.get_attribute("#frame image", "width") or 0)

    await tab.evaluate(
        "((it) => { it.value = 2; it.dispatchEvent(new Event('input', { bubbles: true })) })"
        "(document.querySelector('[data-slider]'))"
    )
    assert await drawn() == pytest.approx(size / 2, abs=1)
    assert (await tab.page.inner_text("#new-part")).startswith("75 %")
    assert await tab.page.input_value("[data-exact]") == "2"
    await tab.page.fill("[data-exact]", "1.25")
    assert await tab.page.input_value("[data-slider]") == "1.25"
    assert await drawn() == pytest.approx(size / 1.25, abs=1)
    await tab.page.close()


async def test_a_number_chooses_the_picture_and_the_words_follow(full: FullService) -> None:
    tab = await full.tab("do-extend")
    await tab.press("3")
    assert await tab.page.is_checked("[name=imageNo][value='3']")
    large = await tab.page.get_attribute("[name=imageNo][value='3']", "data-large")
    assert await tab.page.get_attribute("#frame image", "href") == large
    assert await tab.page.inner_text("#go button.primary") == "Extend picture 3"
    await tab.page.focus("textarea")
    await tab.page.keyboard.type("1x?")
    assert await tab.page.is_checked("[name=imageNo][value='3']")
    await tab.page.close()


async def test_a_question_opens_over_the_page_and_escape_closes_it(full: FullService) -> None:
    tab = await full.tab("task-completed")
    await tab.page.click("button[popovertarget=share]")
    await tab.page.locator("#share").wait_for(state="visible")
    await tab.press("Escape")
    await tab.page.locator("#share").wait_for(state="hidden")
    await tab.page.close()


# -- the rest --


async def test_times_are_the_readers(full: FullService) -> None:
    tab = await full.tab("task-completed")
    assert await tab.page.inner_text("[data-zone]") == "Europe/Berlin"
    at = await tab.page.get_attribute("time[data-clock]", "datetime")
    assert at is not None
    hour = (int(at[11:13]) + 1) % 24  # in winter
    assert await tab.page.inner_text("time[data-clock]") == f"{hour:02}{at[13:19]}"
    await tab.page.close()


async def test_what_is_copied_is_said_and_the_button_says_its_words_again(full: FullService) -> None:
    await full.profile.grant_permissions(["clipboard-read", "clipboard-write"])
    tab = await full.tab("task-completed")
    button = tab.page.locator("[data-copy]").first
    words, copied = await button.inner_text(), await button.get_attribute("data-copy")
    await button.click()
    await tab.until_text("#announce", "Copied")
    assert await tab.evaluate("navigator.clipboard.readText()") == copied
    await tab.until_text("[data-copy]", words)
    await tab.page.close()


async def test_the_first_thing_that_has_the_focus_skips_to_the_content(full: FullService) -> None:
    tab = await full.tab("gallery")
    await tab.press("Tab")
    assert await focused(tab) == "Skip to the content"
    await tab.press("Enter")
    assert await tab.evaluate("document.activeElement.id") == "main"
    await tab.page.close()


async def test_without_script_nothing_is_dead(browser: Browser, full: FullService) -> None:
    async with context(browser, width=390, script=False, now=NOW) as profile:
        tab = Tab(await profile.new_page(), full.url)
        await log_in(tab, TOKEN)
        for page in ("gallery", "task-completed", "do-extend", "callbacks", "notices", "status"):
            await tab.open(full.path(page))
            assert await tab.page.locator(".js-only:visible").count() == 0, page
        await tab.open(full.path("do-extend"))
        await tab.page.locator("[name=imageNo][value='3']").check()
        await tab.page.get_by_role("button", name="Show it so").click()
        assert await tab.page.is_checked("[name=imageNo][value='3']")
        large = await tab.page.get_attribute("[name=imageNo][value='3']", "data-large")
        assert await tab.page.get_attribute("#frame image", "href") == large
        assert tab.wrong == []
