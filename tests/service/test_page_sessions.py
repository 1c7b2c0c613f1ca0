"""Sessions of the pages: how they end, what their cookies withstand, and what a form must carry."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request

from kit.fakes import DAY, HOUR, SECOND, Clock
from kit.pages import PASSWORD, a_browser, a_browser_of, form_token, is_in, log_in, logged_in, post_form
from kit.web import TOKEN, Served, near
from receiver.config.generated_secrets import PASSWORD_FILE
from receiver.passwords import hash_password
from receiver.web.pages.access.sessions import Sessions
from receiver.web.pages.page import TOKEN_FIELD

pytestmark = pytest.mark.anyio

HASHED = hash_password(PASSWORD)
ELSEWHERE = {"Origin": "https://evil.example"}


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def web(tmp_path: Path, clock: Clock) -> AsyncIterator[Served]:
    """A service whose pages have a password."""
    (tmp_path / PASSWORD_FILE).write_text(HASHED)
    async with near(tmp_path, clock=clock) as served:
        yield served


@pytest.fixture
def browser(web: Served) -> httpx.AsyncClient:
    return a_browser(web)


# -- sessions that end --


async def test_a_session_ends_after_thirty_days_without_a_page(browser: httpx.AsyncClient, clock: Clock) -> None:
    await log_in(browser)
    cookie = browser.cookies["receiver_session"]
    clock.now += 30 * DAY
    late = a_browser_of(browser)
    late.headers["Cookie"] = f"receiver_session={cookie}"
    assert (await late.get("/status")).headers["location"] == "/login?next=%2Fstatus"
    page = await late.get("/login?next=/status")
    assert "You were logged out. Log in to go on." in page.text


async def test_a_session_that_is_used_is_renewed_once_a_day(browser: httpx.AsyncClient, clock: Clock) -> None:
    await log_in(browser)
    first = browser.cookies["receiver_session"]
    clock.now += DAY
    assert "set-cookie" not in (await browser.get("/logout")).headers
    for _ in range(40):
        clock.now += 20 * DAY
        answer = await browser.get("/logout")
        assert answer.status_code == 200
        assert "Max-Age=2592000" in answer.headers["set-cookie"]
    renewed = browser.cookies["receiver_session"]
    assert renewed.split(".")[2] == first.split(".")[2]  # so that open forms stay good


async def test_a_new_password_ends_every_session(browser: httpx.AsyncClient, tmp_path: Path) -> None:
    await log_in(browser)
    (tmp_path / PASSWORD_FILE).write_text(hash_password("another horse"))
    assert not await is_in(browser)
    assert (await log_in(browser)).startswith("422")
    assert await log_in(browser, "another horse") == "/"
    (tmp_path / PASSWORD_FILE).unlink()
    assert not await is_in(browser)


async def test_a_password_that_cannot_be_read_lets_nobody_in_and_says_so(
    browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    await log_in(browser)
    (tmp_path / PASSWORD_FILE).write_text("nonsense")
    assert not await is_in(browser)
    for secret in (*(["nonsense"] * 6), TOKEN):
        told = await log_in(browser, secret)
        assert told.startswith("503 The password cannot be read on the server, so nobody can log in.")
    (tmp_path / PASSWORD_FILE).write_text(HASHED)
    assert await is_in(browser)


async def test_logging_out_ends_it_here_and_not_elsewhere(web: Served, browser: httpx.AsyncClient) -> None:
    other = a_browser(web)
    await log_in(browser)
    await log_in(other)
    answer = await post_form(browser, "/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?done=out")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert "You are logged out." in (await browser.get(answer.headers["location"])).text
    assert (await is_in(browser), await is_in(other)) == (False, True)


async def test_logging_out_everywhere_ends_every_session_for_good(
    web: Served, browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    other = a_browser(web)
    await log_in(browser)
    await log_in(other)
    answer = await post_form(browser, "/logout", everywhere="1")
    assert answer.headers["location"] == "/login?done=everywhere"
    assert "here and everywhere else" in (await browser.get(answer.headers["location"])).text
    assert (await is_in(browser), await is_in(other)) == (False, False)
    assert await log_in(browser) == "/"
    assert await web.parts.store.sessions.generation() != "first"


async def test_what_ended_everywhere_stays_ended_after_a_restart(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as client:
        old = client.headers["Cookie"]
        await post_form(client, "/logout", everywhere="1")
        async with logged_in(web) as again:
            new = again.headers["Cookie"]
    async with near(tmp_path) as web:
        assert [await is_in(a_browser(web, Cookie=it)) for it in (old, new)] == [False, True]


async def test_a_session_survives_the_rotation_of_keys_until_its_own_is_gone(tmp_path: Path) -> None:
    first, second = "the-first-secret-key-0001", "the-second-secret-key-001"
    async with near(tmp_path, secret_keys=first) as web, logged_in(web) as client:
        cookie = client.headers["Cookie"]
    found = []
    for keys in (f"{second} {first}", second):
        async with near(tmp_path, secret_keys=keys) as web:
            found.append(await is_in(a_browser(web, Cookie=cookie)))
    assert found == [True, False]


@pytest.mark.parametrize(
    "cookie",
    [
        b"receiver_session=",
        b"receiver_session",
        b"=;;;=" * 500,
        b"receiver_session=1.9999999999999." + b"A" * 22 + b"." + b"A" * 32,
        b"receiver_session=" + b"9" * 15_000,
        b"receiver_session=\xff\xfe\x80\xf0\x9f\x98\x80",
        b'receiver_session="1.2.3.4"; receiver_session=\x01',
    ],
    ids=["empty", "bare", "noise", "forged", "huge", "bytes", "quoted"],
)
async def test_no_cookie_of_somebody_else_s_making_opens_a_page(web: Served, cookie: bytes) -> None:
    answer = await web.client.get("/logout", headers={b"Cookie": cookie})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Flogout")


async def test_an_api_token_s_header_opens_no_page(web: Served) -> None:
    assert (await web.client.get("/status")).status_code == 303


# -- forms --


async def test_a_form_without_its_token_or_with_another_session_s_does_nothing(web: Served) -> None:
    async with logged_in(web) as client, logged_in(web) as other:
        good = await form_token(client, "/logout")
        for token in ("", "x", good[:-1], f"{good}x", await form_token(other, "/logout")):
            answer = await client.post("/logout", data={TOKEN_FIELD: token, "everywhere": "1"})
            assert answer.status_code == 403
        assert (await client.post("/logout", data={"everywhere": "1"})).status_code == 403
        assert await is_in(client)
        assert await is_in(other)


async def test_a_form_from_another_site_does_nothing_though_its_token_is_right(web: Served) -> None:
    async with logged_in(web) as client:
        for headers in (ELSEWHERE, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://receiver:81"}):
            data = {TOKEN_FIELD: await form_token(client, "/logout"), "everywhere": "1"}
            assert (await client.post("/logout", data=data, headers=headers)).status_code == 403
        assert await is_in(client)


async def test_a_form_that_was_open_for_half_a_day_says_so(web: Served, clock: Clock) -> None:
    async with logged_in(web) as client:
        token = await form_token(client, "/logout")
        clock.now += 12 * HOUR + SECOND
        answer = await client.post("/logout", data={TOKEN_FIELD: token})
        assert answer.status_code == 403
        assert "This page was open too long. Nothing was sent; send it again." in answer.text
        assert await is_in(client)


async def test_a_form_whose_session_ended_leads_to_the_login(web: Served) -> None:
    async with logged_in(web) as client:
        token = await form_token(client, "/logout")
        await post_form(client, "/logout", everywhere="1")
        answer = await client.post("/logout", data={TOKEN_FIELD: token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")


async def test_a_page_that_was_being_made_renews_no_session_that_was_ended_meanwhile(web: Served, clock: Clock) -> None:
    sessions = Sessions(web.parts)
    scope: dict[str, object] = {"type": "http", "scheme": "http", "client": None, "headers": [(b"host", b"receiver")]}
    cookie = (await sessions.begin(Request(scope))).partition(";")[0]
    clock.now += 2 * DAY
    asked = Request({**scope, "headers": [(b"host", b"receiver"), (b"cookie", cookie.encode())]})
    session = await sessions.open(asked)
    assert session is not None
    assert sessions.renewal(asked, session) is not None
    await sessions.log_out_everywhere()
    assert sessions.renewal(asked, session) is None


async def test_a_session_that_another_process_ended_is_not_open_here(
    web: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.parts.store, "shared", True)
    here, there = Sessions(web.parts), Sessions(web.parts)
    scope: dict[str, object] = {"type": "http", "scheme": "http", "client": None, "headers": [(b"host", b"receiver")]}
    cookie = (await here.begin(Request(scope))).partition(";")[0]
    asked = Request({**scope, "headers": [(b"host", b"receiver"), (b"cookie", cookie.encode())]})
    for sessions in (here, there):
        assert await sessions.open(asked) is not None
    await there.log_out_everywhere()
    for sessions in (here, there):
        assert await sessions.open(asked) is None
