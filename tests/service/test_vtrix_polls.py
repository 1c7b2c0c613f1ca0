"""Polls on the wire, and what of our secrets ever comes back out."""

import gzip
import json

import pytest

from kit.listening import Behave
from kit.provider_server import CALLBACK, KEY, NOW, TASK, TOKEN, drip, hang, http, reset, standing, submitted
from receiver.core.errors import SettingsError
from receiver.core.types import PollResult
from receiver.providers.http_client import open_client
from receiver.providers.registry import PROVIDERS, Provider
from receiver.providers.vtrix import bodies
from receiver.providers.vtrix.client import BODY_MOST, TEXT_MOST, Vtrix

pytestmark = pytest.mark.anyio


# Secrets


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500, 503])
async def test_neither_key_nor_callback_comes_back_out(status: int) -> None:
    """The provider may echo both: plain, with escaped slashes, percent-encoded."""
    echo = f"bad callback {CALLBACK} {CALLBACK.replace('/', '%2F')} for {KEY}"
    body = json.dumps({"error": {"message": echo, "params": {"callback": CALLBACK}}}).replace("/", "\\/").encode()
    answer = await submitted(http(status, body))
    assert "bad callback" in answer.text
    for told in (repr(answer), answer.text):
        assert KEY not in told
        assert TOKEN not in told
    assert "me.example" not in answer.text
    assert len(answer.text) <= TEXT_MOST
    assert "\n" not in answer.text


async def test_a_plain_text_echo_is_redacted_too() -> None:
    answer = await submitted(http(400, f"cannot\nreach {CALLBACK}".encode()))
    assert answer.error is not None
    assert answer.error.message == "HTTP 400: cannot reach [redacted]"
    assert len((await submitted(http(400, b"x y " * 999))).text) <= TEXT_MOST


async def test_the_key_is_not_in_the_repr() -> None:
    async with open_client() as client:
        assert repr(Vtrix(client, "https://cloud.example/v1", KEY, clock=lambda: NOW)) == "Vtrix('cloud.example')"


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel-ü"])
async def test_a_key_that_cannot_stand_in_a_header_is_refused_without_being_shown(key: str) -> None:
    async with open_client() as client:
        with pytest.raises(SettingsError) as caught:
            Vtrix(client, "https://cloud.example/", key, clock=lambda: NOW)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("url", ["", "cloud.example", "ftp://cloud.example", "http://", "http://a..b/", "http://x:y/"])
async def test_a_url_that_is_none_is_refused(url: str) -> None:
    async with open_client() as client:
        with pytest.raises(SettingsError):
            Vtrix(client, url, KEY, clock=lambda: NOW)


# Polls


async def test_a_poll_that_gets_the_task_object_has_its_outcome() -> None:
    async with standing(http(200, TASK)) as (_, vtrix):
        reply = await vtrix.poll("abc")
    assert (reply.result, reply.body) == (PollResult.OUTCOME, TASK)
    assert reply.outcome == bodies.parse_body(TASK)


@pytest.mark.parametrize(
    ("answer", "heard"),
    [
        (http(404, b'{"message": "no such task"}'), PollResult.UNKNOWN),
        (http(401), PollResult.UNAUTHORIZED),
        (http(402), PollResult.UNAUTHORIZED),
        (http(403), PollResult.UNAUTHORIZED),
        (http(429), PollResult.BUSY),
        (http(500), PollResult.NOTHING),
        (http(503, b'{"message": "busy"}'), PollResult.NOTHING),
        (http(302, b"", "Location: /"), PollResult.NOTHING),
        (http(200, b"<html>"), PollResult.UNREADABLE),
        (http(200), PollResult.UNREADABLE),
        (http(200, b'{"id": "abd", "status": 2, "urls": ["https://cdn.example/0.png"]}'), PollResult.UNREADABLE),
        (http(200, TASK.replace(b"abc", b"abd")), PollResult.NOTHING),
        (http(200, TASK + b" " * BODY_MOST), PollResult.UNREADABLE),
    ],
)
async def test_what_the_reply_to_a_poll_means(answer: bytes, heard: PollResult) -> None:
    async with standing(answer) as (_, vtrix):
        reply = await vtrix.poll("abc")
    assert reply.result is heard
    assert reply.outcome is None


@pytest.mark.parametrize("coding", ["", "gzip", "br"])
@pytest.mark.parametrize("body", [TASK, gzip.compress(TASK)], ids=["plain", "gzip"])
async def test_a_reply_is_read_whatever_its_content_encoding_is(coding: str, body: bytes) -> None:
    async with standing(http(202, body, f"Content-Encoding: {coding}")) as (_, vtrix):
        reply = await vtrix.poll("abc")
    assert (reply.result, reply.body) == (PollResult.OUTCOME, TASK)


async def test_a_busy_poll_tells_when_to_come_back() -> None:
    async with standing(http(429, b"", "Retry-After: 9")) as (_, vtrix):
        assert (await vtrix.poll("abc")).retry_after_ms == 9_000


@pytest.mark.parametrize("behaviour", [hang, reset, drip])
async def test_a_poll_without_an_answer_says_nothing(behaviour: Behave) -> None:
    async with standing(behaviour, poll_s=0.1) as (_, vtrix):
        assert (await vtrix.poll("abc")).result is PollResult.NOTHING


@pytest.mark.parametrize(
    "task_id", ["", "../../secret", "a/b", "a?b", "a b", "ä", "a%2Fb", ".", "a\r\nb", "a\n", "a" * 129]
)
async def test_an_id_that_cannot_be_the_providers_is_unknown_without_asking(task_id: str) -> None:
    async with standing(http(200, TASK)) as (stand, vtrix):
        assert (await vtrix.poll(task_id)).result is PollResult.UNKNOWN
    assert stand.requests == []


async def test_a_poll_tells_no_secret() -> None:
    echo = json.dumps({"message": f"bad {KEY} {CALLBACK}"}).encode()
    async with standing(http(500, echo)) as (_, vtrix):
        reply = await vtrix.poll("abc")
    assert KEY not in repr(reply)
    assert TOKEN not in reply.text


async def test_the_registry_knows_vtrix() -> None:
    async with open_client() as client:
        provider: Provider = PROVIDERS["vtrix"].connect(client, "https://cloud.example/", KEY, clock=lambda: NOW)
    assert isinstance(provider, Vtrix)
    assert PROVIDERS["vtrix"].parse(TASK) == bodies.parse_body(TASK)
