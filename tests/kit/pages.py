"""Pages as a browser gets them: a client that is logged in, and forms that carry their token."""

import contextlib
import re
from collections.abc import AsyncIterator

import httpx
from starlette.requests import Request

from kit.web import Served
from receiver.web.pages.access.sessions import Sessions
from receiver.web.pages.page import TOKEN_FIELD

PASSWORD = "correct horse"
_TOKEN = re.compile(r'name="form_token" value="([^"]*)"')


async def session_cookie(web: Served) -> str:
    """A Cookie header of a session that begins now, as a login would give it; the way there is the login's test."""
    request = Request({"type": "http", "scheme": "http", "headers": [(b"host", b"receiver")], "client": None})
    return (await Sessions(web.parts).begin(request)).partition(";")[0]


@contextlib.asynccontextmanager
async def logged_in(web: Served) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a session's cookie and nothing else that opens anything; it follows no redirects."""
    headers = {"Cookie": await session_cookie(web)}
    client = httpx.AsyncClient(
        transport=web.client._transport, base_url=web.client.base_url, headers=headers, timeout=web.client.timeout
    )
    yield client  # not closed: its transport is the other client's


async def form_token(client: httpx.AsyncClient, page: str) -> str:
    """The token in the forms of a page."""
    answer = await client.get(page)
    found = _TOKEN.search(answer.text)
    assert found is not None, f"{page} answered {answer.status_code} without a form that has a token"
    return found[1]


async def post_form(
    client: httpx.AsyncClient, path: str, *, page: str | None = None, **fields: str | list[str]
) -> httpx.Response:
    """What a browser sends of the form to `path` on `page` (else the logout page, whose token is as good)."""
    token = await form_token(client, page or "/logout")
    return await client.post(path, data={TOKEN_FIELD: token, **fields})


def a_browser(web: Served, base: str = "http://receiver", **headers: str) -> httpx.AsyncClient:
    """A client that has nothing but its own jar of cookies."""
    return httpx.AsyncClient(transport=web.client._transport, base_url=base, headers=headers)


async def log_in(browser: httpx.AsyncClient, password: str = PASSWORD, path: str = "/login", **headers: str) -> str:
    """What a login answers: where it leads, or why it does not."""
    page = await browser.get(path)
    onward = re.search(r'name="next" value="([^"]*)"', page.text)
    assert onward is not None
    data = {"next": onward[1].replace("&amp;", "&"), "password": password}
    answer = await browser.post("/login", data=data, headers=headers)
    if answer.status_code == 303:
        return answer.headers["location"]
    return f"{answer.status_code} {said(answer)}"


def said(answer: httpx.Response) -> str:
    """The error on a login page."""
    found = re.search(r'id="why"[^>]*>([^<]*)<', answer.text)
    return found[1] if found else answer.text


async def is_in(browser: httpx.AsyncClient) -> bool:
    """Whether somebody is logged in there."""
    answer = await browser.get("/logout")
    assert answer.status_code in (200, 303)
    return answer.status_code == 200


def a_browser_of(other: httpx.AsyncClient) -> httpx.AsyncClient:
    """Another browser at the same address, without its cookies."""
    return httpx.AsyncClient(transport=other._transport, base_url=other.base_url)
