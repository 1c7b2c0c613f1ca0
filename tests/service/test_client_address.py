"""Who asks: forwarding headers are believed of proxies in TRUSTED_PROXIES only, and only as far as these reach."""

import logging
from ipaddress import ip_network
from pathlib import Path

import pytest

from kit.web import served
from receiver.web.http.client_address import peer_address

PROXIES = [ip_network("10.0.0.0/8"), ip_network("::1/128"), ip_network("127.0.0.1/32")]


def told(connection: str | None, *forwarded: str) -> str:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    return peer_address({"client": connection and (connection, 1), "headers": headers}, PROXIES)


@pytest.mark.parametrize(
    ("connection", "forwarded", "found"),
    [
        (None, ["6.6.6.6"], "local"),
        ("9.9.9.9", [], "9.9.9.9"),
        ("9.9.9.9", ["6.6.6.6"], "9.9.9.9"),  # no proxy of ours: whatever it says
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["9.9.9.9"], "9.9.9.9"),
        ("10.0.0.1", ["6.6.6.6, 9.9.9.9"], "9.9.9.9"),  # what stands before may be invented
        ("10.0.0.1", ["6.6.6.6", "9.9.9.9"], "9.9.9.9"),  # two headers are one list
        ("10.0.0.1", ["6.6.6.6, 9.9.9.9, 10.0.0.2"], "9.9.9.9"),  # two proxies of ours
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["9.9.9.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["9.9.9.9:4711"], "9.9.9.9"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["::ffff:9.9.9.9"], "9.9.9.9"),
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["\xff\x00, ,"], "10.0.0.1"),
    ],
)
def test_the_last_address_that_is_no_proxy_of_ours_is_the_client(
    connection: str | None, forwarded: list[str], found: str
) -> None:
    assert told(connection, *forwarded) == found


@pytest.mark.anyio
@pytest.mark.parametrize(("trusted", "found"), [("", "127.0.0.1"), ("127.0.0.1/32", "9.9.9.9")])
async def test_a_refused_callback_is_told_with_its_sender_and_without_its_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trusted: str, found: str
) -> None:
    """For whoever bans addresses by the log."""
    caplog.set_level(logging.INFO)
    async with served(tmp_path, trusted_proxies=trusted) as web:
        answer = await web.client.post("/callbacks/the-token", headers={"X-Forwarded-For": "9.9.9.9"}, content=b"{}")
        assert answer.status_code == 404
    [line] = [it for it in caplog.records if getattr(it, "action", "") == "callback.foreign"]
    assert (line.levelname, line.__dict__["peer"]) == ("INFO", found)
    assert line.getMessage() == f"refused a callback with an unknown token from {found}"


@pytest.mark.anyio
async def test_the_doctors_own_question_does_not_look_like_an_attack(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with served(tmp_path) as web:
        await web.client.get("/callbacks/the-token", headers={"User-Agent": "receiver-doctor/1.0"})
    [line] = [it for it in caplog.records if getattr(it, "action", "") == "callback.foreign"]
    assert line.getMessage().endswith("from 127.0.0.1 (`receiver doctor` tests that it is)")
