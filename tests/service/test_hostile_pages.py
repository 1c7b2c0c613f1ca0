"""What an attacker found at the pages: addresses and bodies without a bound, answers that hang, pages that are none."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from msgspec import Struct
from starlette.routing import Route

from kit.fakes import a_ref, a_task, busy, put
from kit.pages import a_browser, form_token, logged_in, session_cookie
from kit.web import TOKEN, Served, near, served, wired
from receiver.core.types import TaskState
from receiver.upkeep.needs import NeedsFinder
from receiver.web.pages.access.login import LOGIN_FORM_MOST
from receiver.web.pages.page import TOKEN_FIELD, PageFrame, PageHandler

pytestmark = pytest.mark.anyio

BROWSER = {"Accept": "text/html,*/*;q=0.8"}


class Place(Struct, eq=False):
    """A service, a browser that is logged in, and one that is not."""

    web: Served
    browser: httpx.AsyncClient
    stranger: httpx.AsyncClient


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with near(tmp_path) as web, logged_in(web) as browser:
        browser.headers.update(BROWSER)
        yield Place(web, browser, a_browser(web, **BROWSER))


# -- forms --


async def test_no_form_is_taken_without_the_token_of_its_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever forms there will be: each that the pages have a route for."""
    paths: list[str] = []
    add_form = PageFrame.post

    def noted(frame: PageFrame, path: str, handler: PageHandler) -> Route:
        paths.append(re.sub(r"{(\w+)}", "1", path))
        return add_form(frame, path, handler)

    monkeypatch.setattr(PageFrame, "post", noted)
    async with near(tmp_path) as web, logged_in(web) as browser, logged_in(web) as other:
        good, foreign = await form_token(browser, "/logout"), await form_token(other, "/logout")
        tries: list[tuple[str, dict[str, str]]] = [
            ("", {}),
            (foreign, {}),
            (good, {"Origin": "https://evil.example"}),
            (good, {"Sec-Fetch-Site": "cross-site"}),
        ]
        assert len(paths) > 20
        for path in paths:
            for token, headers in tries:
                answer = await browser.post(path, data={TOKEN_FIELD: token}, headers=headers)
                assert (path, answer.status_code) == (path, 403)
                assert "did not come from a page of this service" in answer.text
            answer = await a_browser(web).post(path, data={TOKEN_FIELD: good})
            assert (path, answer.status_code) == (path, 303)
            assert answer.headers["location"].partition("?")[0] == "/login"


# -- what is sent without a login --


async def test_an_address_beyond_what_the_login_leads_back_to_is_not_repeated(place: Place) -> None:
    """It came back in a header of 50 KB, which proxies answer with 502."""
    short, long = "a" * 900, "a" * 50_000
    assert (await place.stranger.get(f"/status?{short}")).headers["location"].endswith(short)
    assert (await place.stranger.get(f"/status?{long}")).headers["location"] == "/login"


async def test_a_login_is_no_more_than_a_password_and_a_path(place: Place) -> None:
    """Hundreds of strangers, each with a body of 128 KB that never ended, held 70 MB."""
    form = "next=/status&password="
    almost = form + "x" * (LOGIN_FORM_MOST - len(form))
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await place.stranger.post("/login", content=almost, headers=kind)).status_code == 422
    assert (await place.stranger.post("/login", content=almost + "x", headers=kind)).status_code == 413
    longest = {"next": "/" + "%" * 999, "password": "😀" * 1_024}
    assert (await place.stranger.post("/login", data=longest)).status_code == 422


async def test_the_address_that_a_login_leads_back_to_keeps_every_character(place: Place) -> None:
    """A search for two words, as the search field writes it, came back as one for a word with a plus."""
    path = "/?q=red+shore%2B%20(a,b);c:d@e!f$g*h'i~j[k]"
    asked = await place.stranger.get(path)
    onward = parse_qs(urlsplit(asked.headers["location"]).query)["next"][0]
    answer = await place.stranger.post("/login", data={"next": onward, "password": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, path)


async def test_an_address_is_led_back_to_whole_or_not_at_all(place: Place) -> None:
    """One of more than 400 characters was cut, perhaps within a word of a prompt."""
    for length, kept in ((1_000, True), (1_001, False)):
        path = "/status?" + "a" * (length - len("/status?"))
        page = (await place.stranger.get("/login", params={"next": path})).text
        assert f'name="next" value="{path if kept else "/"}"' in page
        answer = await place.browser.get("/login", params={"next": path})
        assert answer.headers["location"] == (path if kept else "/")


# -- pages that are none --


@pytest.mark.parametrize("path", ["/notices/again", "/tasks/x/cancel", "/callbacks/1/believe"])
async def test_the_address_of_a_button_is_a_page_too(place: Place, path: str) -> None:
    """Whoever goes to the address that a refusal left in its bar read JSON."""
    page = await place.browser.get(path)
    assert (page.status_code, page.headers["allow"]) == (405, "POST")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert '<nav aria-label="Pages"' in page.text
    program = await place.browser.get(path, headers={"Accept": "*/*"})
    assert program.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "PROPFIND"])
async def test_the_root_takes_nothing(place: Place, method: str) -> None:
    """A program was told 200, whatever it sent there."""
    answer = await place.web.client.request(method, "/")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]
    assert (await place.web.client.get("/")).json()["service"] == "receiver"


async def test_a_link_back_never_leads_to_another_host(place: Place) -> None:
    page = await place.browser.post("/logout", headers={"Referer": "http://receiver//evil.example/x"})
    assert page.status_code == 403
    assert "evil.example" not in page.text
    page = await place.browser.post("/logout", headers={"Referer": "http://receiver/logout?a=1"})
    assert '<a href="/logout?a=1">Back to the page</a>' in page.text.replace(' class="button"', "")


async def test_what_the_provider_calls_a_model_is_cleaned_on_its_card(place: Place) -> None:
    """A task that a callback told of has whatever model that named."""
    model = "\u202emj\u2066\u0007\n" + "x" * 300
    await put(place.web.parts.store, a_task(TaskState.COMPLETED, model=model))
    page = (await place.browser.get("/")).text
    assert "mj" in page
    assert not set("\u202e\u2066\u0007") & set(page)
    assert "x" * 100 not in page


# -- when something breaks --


async def test_numbers_that_cannot_be_counted_cost_no_page(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the page that says so could be shown."""

    async def find(self: NeedsFinder) -> None:
        raise ValueError("a row of another version")

    monkeypatch.setattr(NeedsFinder, "find", find)
    page = await place.browser.get("/callbacks")
    assert page.status_code == 200
    assert "Callbacks</a>" in page.text
    assert "another version" not in page.text


async def test_a_form_that_the_database_did_not_take_says_so(place: Place, tmp_path: Path) -> None:
    ref = a_ref()
    await put(place.web.parts.store, a_task(TaskState.QUEUED, ref=ref, task_id=None))
    token = await form_token(place.browser, "/logout")
    with busy(tmp_path / "receiver.db"):
        page = await place.browser.post(f"/tasks/{ref}/cancel", data={TOKEN_FIELD: token})
    assert (page.status_code, page.headers["retry-after"]) == (503, "5")
    assert "probably not done" in page.text
    assert "cannot be read" not in page.text


# -- over real connections --


async def test_a_look_at_the_head_of_the_stream_ends(tmp_path: Path) -> None:
    """It held a place among the streams, and its connection, for good."""
    async with served(tmp_path) as web, wired(web.port) as wire:
        cookie = f"Cookie: {await session_cookie(web)}"
        await wire.send("HEAD /live HTTP/1.1", cookie)
        await wire.send("GET /logout HTTP/1.1", cookie)
        async with asyncio.timeout(5):
            head = await wire.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"text/event-stream" in head
            assert (await wire.answer())[0] == 200
