"""Logging in through Debian's Caddy and nginx, with the files of `systemd/proxy`: by https the cookie is for https."""

import re
from pathlib import Path

import pytest

from kit.pages import PASSWORD, form_token
from kit.reverse_proxies import KINDS, fronted, missing
from kit.web import served
from receiver.config.generated_secrets import PASSWORD_FILE
from receiver.passwords import hash_password
from receiver.web.pages.page import TOKEN_FIELD

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each proxy that is on this machine."""
    if why := missing(request.param):
        pytest.skip(why)
    (tmp_path / PASSWORD_FILE).write_text(hash_password(PASSWORD))
    return str(request.param)


async def test_a_login_and_a_form_get_through_a_trusted_proxy(kind: str, tmp_path: Path) -> None:
    async with (
        served(tmp_path, trusted_proxies="127.0.0.1/32") as web,
        fronted(kind, web.port, tmp_path) as front,
        front.client() as client,
    ):
        asked = await client.get(f"{front.url}/logout")
        assert (asked.status_code, asked.headers["location"]) == (303, "/login?next=%2Flogout")
        ours = {"Origin": front.url, "Sec-Fetch-Site": "same-origin"}
        answer = await client.post(f"{front.url}/login", data={"password": PASSWORD}, headers=ours)
        assert answer.status_code == 303
        assert re.search(r"^__Host-receiver_session=.*; Secure$", answer.headers["set-cookie"])
        token = await form_token(client, f"{front.url}/logout")
        for headers, status in (({"Origin": "https://evil.example"}, 403), (ours, 303)):
            answer = await client.post(f"{front.url}/logout", data={TOKEN_FIELD: token}, headers=headers)
            assert answer.status_code == status


async def test_the_host_of_an_https_public_url_is_enough(tmp_path: Path) -> None:
    """Of nginx alone: its Host has no port, and these ports are not the usual ones."""
    if why := missing("nginx"):
        pytest.skip(why)
    (tmp_path / PASSWORD_FILE).write_text(hash_password(PASSWORD))
    async with (
        served(tmp_path, public_url="https://localhost") as web,
        fronted("nginx", web.port, tmp_path) as front,
        front.client() as client,
    ):
        through = await client.post(f"{front.url}/login", data={"password": PASSWORD})
        past = await web.client.post("/login", data={"password": PASSWORD})
    assert through.headers["set-cookie"].startswith("__Host-")
    assert past.headers["set-cookie"].startswith("receiver_session=")


async def test_tries_are_counted_by_the_address_that_the_proxy_saw(kind: str, tmp_path: Path) -> None:
    """Whatever a client claims: it writes before what the proxy adds."""
    async with served(tmp_path) as web, fronted(kind, web.port, tmp_path) as front, front.client() as client:
        statuses = []
        for number in range(6):
            claimed = {"X-Forwarded-For": f"192.0.2.{number}"}
            answer = await client.post(f"{front.url}/login", data={"password": "wrong horse"}, headers=claimed)
            statuses.append(answer.status_code)
    assert statuses == [422] * 5 + [429]
