"""What forms do with a script, and without one, as far as it may cost money."""

import pytest
from playwright.async_api import Browser

from kit.browser import FullService, Tab, context, full_service, log_in
from kit.fakes import NOW
from kit.web import TOKEN

pytestmark = pytest.mark.anyio


def task_ref(tab: Tab) -> str:
    return tab.page.url.partition("/tasks/")[2].partition("?")[0].partition("#")[0]


async def submit(tab: Tab, prompt: str) -> str:
    """The ref of the task that the form of `/new` makes."""
    await tab.page.fill("#f-text", prompt)
    await tab.page.locator("#go button.primary").click()
    await tab.page.wait_for_url("**/tasks/*")
    return task_ref(tab)


async def test_another_model_brings_its_form_with_what_was_typed(full: FullService) -> None:
    tab = await full.tab("new")
    await tab.page.fill("#f-text", "a lighthouse")
    await tab.page.select_option("#model", "video_diffusion")
    await tab.page.wait_for_url("**/new?model=video_diffusion*")
    assert await tab.page.input_value("#f-prompt") == "a lighthouse"
    assert await tab.evaluate("document.activeElement.id") == "model"
    assert tab.wrong == []
    await tab.page.close()


async def test_whoever_chooses_with_the_keys_gets_the_form_after_the_last(full: FullService) -> None:
    tab = await full.tab("new")
    await tab.page.focus("#model")
    await tab.press("ArrowDown", "ArrowDown", "ArrowDown")
    chosen = await tab.page.input_value("#model")
    assert tab.page.url.endswith("/new")
    await tab.press("Tab")
    await tab.page.wait_for_url(f"**/new?model={chosen}*")
    await tab.page.close()


async def test_enter_in_a_field_submits_and_shows_no_other_model(browser: Browser, full: FullService) -> None:
    tab = await full.tab()
    await tab.open("/new?model=enhance")
    await tab.page.focus("#f-jobId")
    await tab.press("Enter")
    await tab.page.locator("#done").wait_for()
    assert "This was not sent" in await tab.page.inner_text("#done")
    await tab.page.close()


async def test_without_script_the_form_of_one_model_is_not_sent_as_another(browser: Browser, full: FullService) -> None:
    async with context(browser, script=False, now=NOW) as profile:
        tab = Tab(await profile.new_page(), full.url)
        await log_in(tab, TOKEN)
        await tab.open("/new")
        await tab.page.fill("#f-text", "a lighthouse")
        await tab.page.select_option("#model", "V8.1_t2i")
        await tab.page.locator("#go button.primary").click()
        assert "The form was still that of diffusion" in await tab.page.inner_text("#done")
        assert await tab.page.input_value("#f-text") == "a lighthouse"
        assert await tab.page.input_value("[name=shown]") == "midjourney_V8.1_t2i"


async def test_back_and_submit_makes_no_second_task(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    async with full_service(browser, tmp_path_factory.mktemp("back")) as service:
        tab = await service.tab("new")
        first = await submit(tab, "a lighthouse")
        await tab.page.go_back()
        assert await submit(tab, "a lighthouse") == first
        assert "was sent before" in await tab.page.inner_text("#done")
        await tab.page.go_back()
        assert await submit(tab, "a storm") != first
        await tab.open(service.path("do-upscale"))
        made = []
        for _ in range(2):
            await tab.page.locator("#go button.primary").click()
            await tab.page.wait_for_url(lambda it: "do=" not in it)
            made.append(task_ref(tab))
            await tab.page.go_back()
            await tab.page.locator("#go").wait_for()
        assert made[0] == made[1]
        assert tab.wrong == []


async def test_without_script_nothing_names_a_picture_that_was_not_chosen(browser: Browser, full: FullService) -> None:
    async with context(browser, script=False, now=NOW) as profile:
        tab = Tab(await profile.new_page(), full.url)
        await log_in(tab, TOKEN)
        await tab.open(f"/tasks/{full.states.refs['shore']}")
        await tab.page.locator("[data-pick='2']").click()
        assert (await tab.page.inner_text("#go-on")).strip() == "Go on from picture 2"
        assert "image=2" in (await tab.page.get_attribute(".tabs a", "href") or "")
        await tab.open(full.path("do-pan"))
        await tab.page.locator("[name=imageNo][value='2']").check()
        assert await tab.page.inner_text("#go button.primary") == "Pan the chosen picture"
        assert "1" not in await tab.page.inner_text("#go-on")


async def test_a_box_to_pick_with_shows_its_picture_and_is_the_only_way_to_choose(full: FullService) -> None:
    tab = await full.tab("task-completed")
    assert await tab.page.locator("[data-pick]").count() == await tab.page.locator("[name=image_no]").count()
    await tab.page.locator("[name=image_no][value='2']").check(force=True)
    await tab.until("(({scrollLeft, clientWidth}) => scrollLeft === 2 * clientWidth)(document.querySelector('#snap'))")
    await tab.until_text("#go-on [data-no]", "2")
    await tab.press("3")
    assert await tab.page.is_checked("[name=image_no][value='3']")
    assert await tab.page.is_checked("[name=image_no][value='2']")
    assert tab.wrong == []
    await tab.page.close()
