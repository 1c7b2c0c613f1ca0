"""Logging in: what opens the pages, what does not, and what a person is told."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from kit.fakes import MINUTE, SECOND, Clock
from kit.live_service import PATIENCE_S
from kit.pages import PASSWORD, a_browser, a_browser_of, is_in, log_in, logged_in, said
from kit.web import OTHER_TOKEN, TOKEN, Served, near
from receiver import passwords
from receiver.config.generated_secrets import PASSWORD_FILE
from receiver.passwords import hash_password
from receiver.web.pages.access.login import own_path
from receiver.web.pages.access.throttle import AT_ONCE_MOST

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


# -- logging in --


async def test_the_password_opens_the_pages_and_leads_where_the_reader_was_going(browser: httpx.AsyncClient) -> None:
    asked = await browser.get("/status?a=b%20c")
    assert (asked.status_code, asked.headers["location"]) == (303, "/login?next=%2Fstatus%3Fa%3Db%2520c")
    assert await log_in(browser, path=asked.headers["location"]) == "/status?a=b%20c"
    assert await is_in(browser)


REF = "01a22cd8-4600-7ca5-8b5b-70ebaf66af5e"


@pytest.mark.parametrize(
    ("path", "referrer", "onward"),
    [
        ("/new", "", "/new"),
        ("/new", "http://receiver/new?model=pan&scale=1.5", "/new?model=pan&scale=1.5"),
        (f"/tasks/{REF}/go-on", "", f"/tasks/{REF}"),
        (f"/tasks/{REF}/go-on", f"http://receiver/tasks/{REF}?do=extend&image=2", f"/tasks/{REF}?do=extend&image=2"),
        (f"/tasks/{REF}/go-on", f"http://receiver/tasks/{REF}/go-on", f"/tasks/{REF}"),
        ("/notices/again", "http://receiver/notices?show=given-up", "/notices?show=given-up"),
        ("/notices/again", "", "/notices"),
        ("/batches/shots/pause", "http://receiver/batches/shots/pause", "/batches/shots"),
        ("/logout", "", ""),
        ("/new", "http://elsewhere/new?model=pan", "/new"),
        ("/new", "http://receiver//elsewhere/", "/new"),
        ("/new", f"http://receiver/new?text={'a' * 2_000}", ""),
    ],
)
async def test_a_form_whose_session_has_ended_leads_back_to_its_page(
    browser: httpx.AsyncClient, path: str, referrer: str, onward: str
) -> None:
    """What was typed is gone then, but not where."""
    answer = await browser.post(path, data={"text": "a"}, headers={"Referer": referrer} if referrer else {})
    assert answer.status_code == 303
    expected = httpx.URL("/login", params={"next": onward}) if onward else httpx.URL("/login")
    assert httpx.URL(answer.headers["location"]) == expected


async def test_the_cookie_is_not_for_scripts_nor_other_sites_and_lasts_thirty_days(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/login", data={"password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(
        r"receiver_session=1\.[0-9]{13}\.[\w-]{22}\.[\w-]{32}; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax", cookie
    )
    assert PASSWORD not in answer.text
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("host", "public_url", "secure"),
    [
        ("https://receiver.example", "https://receiver.example", True),
        ("http://receiver.example", "https://receiver.example", True),
        ("http://192.0.2.7:8000", "https://receiver.example", False),
    ],
)
async def test_by_https_the_cookie_is_secure_and_works(
    tmp_path: Path, host: str, public_url: str, secure: bool
) -> None:
    async with near(tmp_path, public_url=public_url) as web:
        first = await a_browser(web, host).post("/login", data={"password": TOKEN})
        cookie = first.headers["set-cookie"]
        assert (cookie.startswith("__Host-"), "; Secure" in cookie) == (secure, secure)
        assert await is_in(a_browser(web, host, Cookie=cookie.partition(";")[0]))


async def test_a_wrong_password_says_how_many_tries_are_left(browser: httpx.AsyncClient) -> None:
    wrong = [await log_in(browser, "wrong horse") for _ in range(6)]
    assert wrong[0] == "422 That is not the password. 4 more tries, then a minute’s wait."
    assert wrong[3] == "422 That is not the password. 1 more try, then a minute’s wait."
    assert wrong[4] == "422 That is not the password. Wait 60 s before the next try."
    assert wrong[5] == "429 Too many tries. Wait 60 s."
    assert not await is_in(browser)


async def test_the_right_one_is_not_looked_at_either_while_one_has_to_wait(
    browser: httpx.AsyncClient, clock: Clock
) -> None:
    for _ in range(5):
        await log_in(browser, "wrong horse")
    clock.now += 6 * SECOND
    answer = await browser.post("/login", data={"password": PASSWORD})
    assert (answer.status_code, said(answer)) == (429, "Too many tries. Wait 54 s.")
    assert answer.headers["retry-after"] == "54"
    clock.now += 54 * SECOND
    assert await log_in(browser, "wrong horse") == "422 That is not the password. Wait 2 min before the next try."
    clock.now += 2 * MINUTE
    assert await log_in(browser) == "/"
    assert (await log_in(a_browser_of(browser), "wrong horse")).startswith("422 That is not the password. 4 more")


async def test_a_proxy_s_clients_have_their_own_tries(web: Served) -> None:
    for _ in range(5):
        await log_in(a_browser(web, **{"X-Forwarded-For": "192.0.2.1"}), "wrong horse")
    assert (await log_in(a_browser(web, **{"X-Forwarded-For": "192.0.2.1"}))).startswith("429")
    assert await log_in(a_browser(web, **{"X-Forwarded-For": "192.0.2.2"})) == "/"


async def test_many_tries_at_once_are_hashed_one_at_a_time(web: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    running, free, overlaps = threading.Lock(), threading.Event(), 0

    def slow(password_hash: str, password: str) -> bool:
        nonlocal overlaps
        if not running.acquire(blocking=False):
            overlaps += 1
            return False
        free.wait(PATIENCE_S)
        running.release()
        return False

    monkeypatch.setattr(passwords, "verify_password", slow)
    data = {"password": "wrong horse"}
    left = {
        asyncio.create_task(a_browser(web, **{"X-Forwarded-For": f"192.0.2.{number}"}).post("/login", data=data))
        for number in range(40)
    }
    refused: set[asyncio.Task[httpx.Response]] = set()
    while len(left) > AT_ONCE_MOST:  # all others are answered while the first is being hashed
        done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        refused |= done
    free.set()
    assert {(await it).status_code for it in left} == {422}
    assert {((await it).status_code, (await it).headers["retry-after"]) for it in refused} == {(429, "2")}
    assert overlaps == 0


async def test_a_password_of_a_megabyte_or_of_no_text_is_a_wrong_one(browser: httpx.AsyncClient) -> None:
    big = await browser.post("/login", data={"password": "x" * 1_000_000})
    assert big.status_code == 413
    for content in (b"password=" + b"x" * 2_000, b"password=%ff%fe", b"password=%00", b"\xff\xfe", b""):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await browser.post("/login", content=content, headers=headers)
        assert answer.status_code in (422, 429)
        assert "set-cookie" not in answer.headers


async def test_a_login_from_another_site_is_refused_and_counts_for_nothing(browser: httpx.AsyncClient) -> None:
    for headers in (ELSEWHERE, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        for _ in range(6):
            answer = await browser.post("/login", data={"password": PASSWORD}, headers=headers)
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers
    assert await log_in(browser, Origin="http://receiver") == "/"


async def test_whoever_is_logged_in_is_not_asked_again(browser: httpx.AsyncClient) -> None:
    await log_in(browser)
    answer = await browser.get("/login?next=/status")
    assert (answer.status_code, answer.headers["location"]) == (303, "/status")


# -- where a login leads --


@pytest.mark.parametrize(
    "given",
    [
        *("//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example", "/\n/evil"),
        *("https://evil.example", "HTTPS:evil.example", "javascript:alert(1)", "evil.example", "", " /status", "/ x"),
        *("/status\\..\\x", "/sta\u2044tus", "/\u202estatus", "/x\0", "/" + "x" * 1_000),
        *("/login", "/login?next=/login", "/logout", "/login#x", "/logout/"),
    ],
)
async def test_a_login_leads_only_to_a_page_of_ours(browser: httpx.AsyncClient, given: str) -> None:
    assert own_path(given) == "/"
    answer = await browser.post("/login", data={"password": PASSWORD, "next": given})
    assert answer.headers["location"] == own_path(given.replace("\0", ""))


@pytest.mark.parametrize("path", ["/", "/status", "/tasks/x?do=extend&image=2#p2", "/?q=a%20b", "/loginx", "/a//b"])
async def test_a_login_leads_to_any_page_of_ours(path: str) -> None:
    assert own_path(path) == path


# -- without a password --


async def test_without_a_password_the_page_says_how_to_set_one_and_takes_an_api_token(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        page = await a_browser(web).get("/login")
        assert "No password is set. On the server: <code>receiver password</code>" in page.text
        assert '<label for="password">API token</label>' in page.text
        told = await log_in(a_browser(web), "no-token-of-this-service")
        assert told == "422 That is not an API token of this service. 4 more tries, then a minute’s wait."
        for token in (TOKEN, OTHER_TOKEN, f" {TOKEN}\n"):
            assert await log_in(a_browser(web), token) == "/"


async def test_with_a_password_no_api_token_logs_in(browser: httpx.AsyncClient) -> None:
    assert (await log_in(browser, TOKEN)).startswith("422 That is not the password.")


async def test_setting_the_first_password_ends_the_sessions_of_tokens(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as client:
        assert await is_in(client)
        (tmp_path / PASSWORD_FILE).write_text(HASHED)
        assert not await is_in(client)


async def test_the_hash_may_come_from_the_settings(tmp_path: Path) -> None:
    async with near(tmp_path, password_hash=HASHED) as web:
        assert await log_in(a_browser(web)) == "/"
        (tmp_path / PASSWORD_FILE).write_text(hash_password("another horse"))
        assert (await log_in(a_browser(web), "another horse")).startswith("422")
