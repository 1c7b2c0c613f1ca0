"""Small things of how pages look that no rule of axe knows."""

import itertools

import pytest

from kit.browser import FullService, Tab

pytestmark = pytest.mark.anyio


async def place(tab: Tab, selector: str) -> dict[str, float]:
    """Where an element is in the window."""
    return dict(await tab.evaluate(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()"))


async def opened(full: FullService, page: str, width: int = 390) -> Tab:
    """A new tab with one of the pages, in a window of this width."""
    tab = await full.tab()
    await tab.page.set_viewport_size({"width": width, "height": 844})
    await tab.open(full.path(page))
    return tab


@pytest.mark.parametrize("page", ["callbacks-filtered", "gallery-failed", "gallery", "callbacks"])
async def test_the_chosen_chip_is_in_view_on_a_phone(full: FullService, page: str) -> None:
    tab = await opened(full, page)
    chip = await place(tab, ".chips [aria-current]")
    assert chip["left"] >= 8
    assert chip["right"] <= 390 - 8
    await tab.page.close()


@pytest.mark.parametrize("width", [320, 390])
async def test_a_tile_cuts_no_line_in_half(full: FullService, width: int) -> None:
    """What does not fit is not shown at all."""
    tab = await opened(full, "gallery-failed", width)
    cut = await tab.evaluate(
        """[...document.querySelectorAll(".tile")].flatMap((tile) => {
          const { bottom, right } = tile.getBoundingClientRect();
          return [...tile.children].filter((it) => {
            const shape = it.getBoundingClientRect();
            return shape.left < right && shape.bottom > bottom;
          }).map((it) => it.textContent);
        })"""
    )
    assert cut == []
    await tab.page.close()


@pytest.mark.parametrize("width", [320, 390, 1440])
async def test_one_can_submit_from_the_top_of_a_page(full: FullService, width: int) -> None:
    tab = await opened(full, "gallery", width)
    link = tab.page.get_by_role("banner").get_by_role("link", name="Submit")
    shape = await link.bounding_box()
    assert shape is not None
    assert shape["x"] + shape["width"] <= width
    assert min(shape["width"], shape["height"]) >= 24
    await link.click()
    await tab.page.wait_for_url("**/new")
    await tab.page.close()


async def test_the_way_to_other_tasks_stays_at_the_right_of_a_long_title(full: FullService) -> None:
    tab = await opened(full, "task-hostile", 1440)
    title, onward = await place(tab, ".lead h1"), await place(tab, ".lead nav")
    assert onward["left"] >= title["right"]
    await tab.page.set_viewport_size({"width": 390, "height": 844})
    assert (await place(tab, ".lead nav"))["right"] == (await place(tab, ".lead"))["right"]
    await tab.page.close()


async def test_the_cards_beside_the_pictures_are_evenly_apart(full: FullService) -> None:
    tab = await opened(full, "task-completed", 1440)
    tops = await tab.evaluate(
        """[...document.querySelectorAll(".going > section, .acts")].map((it) => it.getBoundingClientRect().toJSON())"""
    )
    assert len(tops) == 3
    assert {round(after["top"] - before["bottom"]) for before, after in itertools.pairwise(tops)} == {16}
    await tab.page.close()


async def test_the_ring_of_a_card_is_around_all_of_it(full: FullService) -> None:
    tab = await opened(full, "gallery")
    await tab.evaluate("document.querySelector('.card > a').focus({ focusVisible: true })")
    outlines = await tab.evaluate(
        """["", "::after"].map((it) => getComputedStyle(document.activeElement, it || null).outlineStyle)"""
    )
    assert outlines == ["none", "solid"]
    await tab.page.close()


async def test_a_printed_task_has_pictures_and_facts_but_nothing_to_press(full: FullService) -> None:
    tab = await opened(full, "task-completed", 800)
    await tab.page.emulate_media(media="print")
    shown = await tab.evaluate(
        """[...document.querySelectorAll("h2, .snap img, button, a.button")]
          .filter((it) => it.checkVisibility()).map((it) => it.textContent.trim())"""
    )
    assert shown == ["", "", "", "", "Before and after", "What happened", "Facts"]
    await tab.page.close()


async def test_printed_notices_are_there(full: FullService) -> None:
    tab = await opened(full, "notices", 800)
    await tab.page.emulate_media(media="print")
    assert await tab.page.locator(".notices tbody tr").first.is_visible()
    assert not await tab.page.get_by_role("button").filter(visible=True).count()
    await tab.page.close()


async def test_the_picture_to_pick_stands_apart_from_the_title(full: FullService) -> None:
    tab = await opened(full, "pick")
    assert (await place(tab, ".large"))["top"] - (await place(tab, "h1"))["bottom"] >= 12
    await tab.page.close()


@pytest.mark.parametrize("width", [320, 390, 700, 1440])
async def test_the_pictures_of_a_row_are_equally_high(full: FullService, width: int) -> None:
    tab = await opened(full, "gallery", width)
    rows = await tab.evaluate(
        """Object.values(Object.groupBy(
          [...document.querySelectorAll(".card > a > :first-child")].map((it) => it.getBoundingClientRect()),
          (it) => Math.round(it.top),
        )).map((row) => row.map((it) => it.height))"""
    )
    assert max(map(len, rows)) > 1
    assert all(max(row) - min(row) < 3 for row in rows), rows
    await tab.page.close()


@pytest.mark.parametrize("width", [320, 390, 640, 768, 1024, 1440])
async def test_the_figures_fill_their_rows(full: FullService, width: int) -> None:
    tab = await opened(full, "status", width)
    whole = await place(tab, ".figures")
    rights = await tab.evaluate(
        """[...document.querySelectorAll(".figure")].map((it, at, all) => [it, all[at + 1]])
          .filter(([it, next]) => !next || next.offsetTop > it.offsetTop)
          .map(([it]) => it.getBoundingClientRect().right)"""
    )
    assert all(abs(it - whole["right"]) < 1 for it in rights), rights
    await tab.page.close()


@pytest.mark.parametrize("width", [320, 1024, 1440])
async def test_the_words_of_a_plot_can_be_read(full: FullService, width: int) -> None:
    tab = await opened(full, "status", width)
    drawn = await tab.evaluate(
        """(() => {
          const svg = document.querySelector(".plot svg");
          return parseFloat(getComputedStyle(svg).fontSize) * svg.getBoundingClientRect().width / 560;
        })()"""
    )
    assert drawn >= (8 if width == 320 else 11)
    await tab.page.close()


async def test_the_search_fits_the_narrowest_phone(full: FullService) -> None:
    tab = await opened(full, "gallery", 320)
    assert (await place(tab, ".search button"))["right"] <= (await place(tab, ".filters"))["right"]
    await tab.page.close()
