"""Submissions on the wire, over real sockets on loopback: a test for each row of what an answer means."""

import asyncio
import gzip
import socket
import zlib
from email.utils import formatdate

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.fakes import elapse
from kit.listening import listening
from kit.provider_server import (
    CALLBACK,
    KEY,
    NOW,
    PARAMS,
    TASK,
    Stand,
    drip,
    hang,
    http,
    reset,
    standing,
    submitted,
    then_close,
)
from receiver import __version__
from receiver.core.schedule import RETRY_AFTER_MOST
from receiver.core.types import Ending, OutcomeShape, SubmitResult
from receiver.providers.http_client import open_client
from receiver.providers.vtrix import bodies
from receiver.providers.vtrix.client import BODY_MOST, Vtrix, retry_after_ms

pytestmark = pytest.mark.anyio

LONG_S = 300.0  # for a submission: no machine takes that long


# What is sent


async def test_a_submission_is_sent_as_the_provider_documents_it() -> None:
    async with standing(http(200, TASK)) as (stand, vtrix):
        await vtrix.submit("midjourney_outpaint", PARAMS, CALLBACK)
    assert stand.requests[0].startswith(b"POST /model/v1/generation HTTP/1.1\r\n")
    assert stand.json() == {
        "model": "midjourney_outpaint",
        "input": [{"params": {"jobId": "j", "imageNo": 0, "scale": 1.5, "callback": CALLBACK}}],
    }
    assert b'"scale":1.50' in stand.requests[0], "numbers keep their spelling"
    headers = stand.headers()
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["user-agent"] == f"receiver/{__version__}"
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"


async def test_without_a_callback_none_is_sent() -> None:
    async with standing(http(200, TASK)) as (stand, vtrix):
        await vtrix.submit("m", b"{}", None)
    assert stand.json() == {"model": "m", "input": [{"params": {}}]}


async def test_a_poll_asks_for_the_task_with_the_key() -> None:
    async with standing(http(200, TASK)) as (stand, vtrix):
        await vtrix.poll("abc")
    assert stand.requests[0].startswith(b"GET /model/v1/generation/task/abc HTTP/1.1\r\n")
    assert stand.headers()["authorization"] == f"Bearer {KEY}"


async def test_proxies_of_the_environment_and_cookies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with standing(http(200, TASK, "Set-Cookie: a=b; Path=/")) as (stand, vtrix):
        assert (await vtrix.submit("m", b"{}", None)).result is SubmitResult.TAKEN
        await vtrix.submit("m", b"{}", None)
    assert "cookie" not in stand.headers()


# NOT_SENT: no byte of the request left


async def test_connection_refused_is_not_sent() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # bound, not listening
        async with open_client() as client:
            url = f"http://127.0.0.1:{unheard.getsockname()[1]}/"
            answer = await Vtrix(client, url, KEY, clock=lambda: NOW).submit("m", b"{}", CALLBACK)
    assert answer.result is SubmitResult.NOT_SENT


async def test_a_name_that_does_not_resolve_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with open_client() as client:
        answer = await Vtrix(client, "http://nowhere.invalid/", KEY, clock=lambda: NOW).submit("m", b"{}", CALLBACK)
    assert answer.result is SubmitResult.NOT_SENT


@pytest.mark.parametrize("spans", [{"connect_s": 0.1}, {"submit_s": 3.0}], ids=["connect", "whole deadline"])
async def test_a_tls_handshake_that_times_out_is_not_sent(spans: dict[str, float]) -> None:
    """However short the whole deadline: the handshake's own ends before it."""
    async with listening(hang) as port, open_client() as client:
        vtrix = Vtrix(client, f"https://127.0.0.1:{port}/", KEY, clock=lambda: NOW, **spans)
        answer = await vtrix.submit("m", b"{}", CALLBACK)
    assert answer.result is SubmitResult.NOT_SENT


async def test_a_tls_handshake_that_fails_is_not_sent() -> None:
    async def talk_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"this is no TLS at all\r\n")
        writer.close()

    async with listening(talk_nonsense) as port, open_client() as client:
        vtrix = Vtrix(client, f"https://127.0.0.1:{port}/", KEY, clock=lambda: NOW)
        assert (await vtrix.submit("m", b"{}", CALLBACK)).result is SubmitResult.NOT_SENT


async def test_waiting_in_vain_for_a_connection_of_the_pool_is_not_sent() -> None:
    stand = Stand(hang)
    async with (
        listening(stand.meet) as stand.port,
        httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=1)) as client,
    ):
        first = asyncio.create_task(Vtrix(client, stand.url, KEY, clock=lambda: NOW).submit("m", b"{}", None))
        await stand.asked.wait()
        second = await Vtrix(client, stand.url, KEY, clock=lambda: NOW, submit_s=0.3).submit("m", b"{}", None)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert second.result is SubmitResult.NOT_SENT
    assert len(stand.requests) == 1


# BUSY


async def test_429_is_busy_and_tells_when_to_come_back() -> None:
    error = b'{"error": {"code": "RATE_LIMIT_EXCEEDED", "message": "slow down"}, "request_id": "r"}'
    answer = await submitted(http(429, error, "Retry-After: 7"))
    assert (answer.result, answer.retry_after_ms) == (SubmitResult.BUSY, 7_000)
    assert answer.text == "HTTP 429: RATE_LIMIT_EXCEEDED slow down"


async def test_429_is_busy_whatever_its_body() -> None:
    assert (await submitted(http(429, b"<html>"))).result is SubmitResult.BUSY
    torn = then_close(b"HTTP/1.1 429 X\r\nContent-Length: 100\r\n\r\n{")
    assert (await submitted(torn)).result is SubmitResult.BUSY


async def test_503_with_the_providers_own_code_is_busy() -> None:
    body = b'{"error": {"code": 8004007099, "message": "service unavailable"}}'
    answer = await submitted(http(503, body, "Retry-After: 3"))
    assert (answer.result, answer.retry_after_ms) == (SubmitResult.BUSY, 3_000)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("0", 0),
        ("120", 120_000),
        ("9" * 30, RETRY_AFTER_MOST),
        (formatdate(NOW / 1000 + 90, usegmt=True), 90_000),
        (formatdate(NOW / 1000 - 90, usegmt=True), 0),
        (formatdate(NOW / 1000 + 10**7, usegmt=True), RETRY_AFTER_MOST),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_bounds(header: str | None, wait: int | None) -> None:
    assert retry_after_ms(header, NOW) == wait


@given(st.text())
def test_no_retry_after_raises(header: str) -> None:
    wait = retry_after_ms(header, NOW)
    assert wait is None or 0 <= wait <= RETRY_AFTER_MOST


# TAKEN


async def test_200_with_an_id_is_taken() -> None:
    answer = await submitted(http(200, TASK))
    assert answer.result is SubmitResult.TAKEN
    assert answer.outcome == bodies.parse_body(TASK)
    assert answer.text == "HTTP 200: task abc in_progress"


async def test_200_with_nothing_but_an_id_is_taken() -> None:
    answer = await submitted(http(200, b'{"id": "abc"}'))
    assert answer.result is SubmitResult.TAKEN
    assert answer.outcome is not None
    assert (answer.outcome.task_id, answer.outcome.shape) == ("abc", OutcomeShape.TASK)


async def test_200_with_an_id_and_a_failure_is_taken_and_failed() -> None:
    answer = await submitted(http(200, b'{"id": "abc", "status": "failed", "model": "m", "error": "no"}'))
    assert answer.result is SubmitResult.TAKEN
    assert answer.outcome is not None
    assert answer.outcome.ending is Ending.FAILED


# REFUSED and BARRED


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_400_404_413_and_422_are_refused_with_the_providers_error(status: int) -> None:
    answer = await submitted(http(status, b'{"error": {"code": 4007005, "error_message": "invalid ratio"}}'))
    assert answer.result is SubmitResult.REFUSED
    assert answer.error is not None
    assert (answer.error.code, answer.error.message) == ("004007005", "invalid ratio")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the provider answered HTTP 400"),
        (b"<html>nginx</html>", "the provider answered HTTP 400"),
        (b"no such\r\nmodel", "HTTP 400: no such model"),
        (b'{"unheard": "of"}', "the provider answered HTTP 400"),
        (b"x" * (BODY_MOST + 1), "the provider answered HTTP 400"),
    ],
)
async def test_a_refusal_always_has_words(body: bytes, message: str) -> None:
    answer = await submitted(http(400, body))
    assert answer.result is SubmitResult.REFUSED
    assert answer.error is not None
    assert answer.error.message == message


async def test_a_404_that_is_not_in_the_providers_words_asks_about_the_url() -> None:
    answer = await submitted(http(404, b"Not Found"))
    assert answer.error is not None
    assert answer.error.message == "HTTP 404: Not Found (is PROVIDER_URL right?)"


async def test_200_with_an_error_and_no_id_is_refused() -> None:
    answer = await submitted(http(200, b'{"error": {"code": 8004007003, "message": "invalid image number"}}'))
    assert answer.result is SubmitResult.REFUSED
    assert answer.error is not None
    assert answer.error.code == "004007003"


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_401_402_and_403_are_barred(status: int) -> None:
    assert (await submitted(http(status, b'{"message": "insufficient balance"}'))).result is SubmitResult.UNAUTHORIZED


# UNCLEAR: nobody knows, and a repeat could be paid twice


@pytest.mark.parametrize("status", [500, 502, 504, 529, 408, 405, 409, 418, 201, 202, 204])
async def test_any_other_status_is_unclear(status: int) -> None:
    body = b"" if status == 204 else b'{"message": "x"}'
    assert (await submitted(http(status, body, "Retry-After: 3"))).result is SubmitResult.UNCLEAR


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Service Unavailable</html>",
        b"{}",
        b'["error"]',
        b'{"message": "Service Unavailable"}',
        b'{"error": "x"}',
        b'{"detail": "x"}',
        b'{"status": {"message": "x"}}',
    ],
)
async def test_503_of_somebody_on_the_way_is_unclear(body: bytes) -> None:
    assert (await submitted(http(503, body))).result is SubmitResult.UNCLEAR


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_unclear_and_not_followed(status: int) -> None:
    async with standing(http(status, b"", "Location: /elsewhere")) as (stand, vtrix):
        assert (await vtrix.submit("m", b"{}", CALLBACK)).result is SubmitResult.UNCLEAR
    assert len(stand.requests) == 1


async def test_no_answer_in_time_is_unclear() -> None:
    async with standing(hang, submit_s=LONG_S) as (stand, vtrix):
        asking = asyncio.create_task(vtrix.submit("m", b"{}", CALLBACK))
        await stand.asked.wait()
        await elapse(LONG_S)
        assert (await asking).result is SubmitResult.UNCLEAR


async def test_an_answer_that_drips_past_the_deadline_is_unclear() -> None:
    """Each read is in time; it is the whole that has a deadline."""
    async with standing(drip, submit_s=LONG_S) as (stand, vtrix):
        asking = asyncio.create_task(vtrix.submit("m", b"{}", CALLBACK))
        await stand.asked.wait()
        for _ in range(2):
            await elapse(0.6 * LONG_S)
            await asyncio.sleep(0.05)  # in which it is sent a byte or more
        assert (await asking).result is SubmitResult.UNCLEAR


async def test_a_reset_is_unclear() -> None:
    assert (await submitted(reset)).result is SubmitResult.UNCLEAR


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"220 smtp.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + TASK[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000,
    ],
    ids=["closed", "another protocol", "cut short", "bad chunk", "endless header"],
)
async def test_what_is_no_whole_http_answer_is_unclear(answer: bytes) -> None:
    assert (await submitted(then_close(answer))).result is SubmitResult.UNCLEAR


@pytest.mark.parametrize(
    "body", [b"", b"ok", b"{}", b"[]", b'{"code": 0, "message": "success"}', b'{"data": {"id": "a"}}']
)
async def test_a_200_nobody_can_parse_is_unclear(body: bytes) -> None:
    assert (await submitted(http(200, body))).result is SubmitResult.UNCLEAR


async def test_a_body_over_the_bound_is_unclear() -> None:
    assert (await submitted(http(200, TASK + b" " * BODY_MOST))).result is SubmitResult.UNCLEAR
    bomb = gzip.compress(TASK + b" " * BODY_MOST)
    assert (await submitted(http(200, bomb, "Content-Encoding: gzip"))).result is SubmitResult.UNCLEAR


@pytest.mark.parametrize("coding", ["", "identity", "gzip", "br", "UTF-8", "none", "aws-chunked", "gzip, gzip"])
@pytest.mark.parametrize("body", [TASK, gzip.compress(TASK), zlib.compress(TASK)], ids=["plain", "gzip", "deflate"])
async def test_an_id_is_read_whatever_its_content_encoding_is(coding: str, body: bytes) -> None:
    answer = await submitted(http(200, body, f"Content-Encoding: {coding}"))
    assert answer.result is SubmitResult.TAKEN
    assert answer.outcome is not None
    assert answer.outcome.task_id == "abc"


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206])
async def test_any_2xx_with_an_id_is_taken(status: int) -> None:
    assert (await submitted(http(status, TASK))).result is SubmitResult.TAKEN


async def test_an_answer_that_is_cut_short_after_its_id_is_taken() -> None:
    torn = then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + TASK)
    assert (await submitted(torn)).result is SubmitResult.TAKEN


async def test_a_packed_answer_gives_no_secret_away() -> None:
    echo = gzip.compress(f'{{"message": "bad callback {CALLBACK} for {KEY}"}}'.encode())
    answer = await submitted(http(400, echo, "Content-Encoding: gzip"))
    assert "bad callback" in answer.text
    assert KEY not in repr(answer)
    assert CALLBACK not in repr(answer)
