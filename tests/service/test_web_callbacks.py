"""The callback path, row by row of the table in design §7, over real sockets."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from kit.fakes import a_ref, busy, elapse, impatient
from kit.web import DONE, FullDisk, callback_path, minted, opened, problem, served, serving, taken, wired
from receiver.tokens import Ring
from receiver.web import callbacks
from receiver.web.callbacks import HEADERS_MOST, kept_headers

pytestmark = pytest.mark.anyio

LONG_S = 300.0  # for a head or a body to come: no machine takes that long


async def stored(web: Any) -> list[Any]:
    """Every callback there is, newest first, with its bytes."""
    ids = [it.id for it in await web.parts.store.callbacks.page()]
    return list(reversed(await web.parts.store.callbacks.get(ids)))


async def count(web: Any, verdict: str) -> float:
    """What /metrics says of callbacks with this verdict."""
    text = (await web.client.get("/metrics")).text
    found = [line for line in text.splitlines() if line.startswith(f'receiver_callbacks_total{{verdict="{verdict}"}}')]
    return float(found[0].split()[1]) if found else 0


async def test_stored_is_200_with_ref_and_verdict_whatever_the_verdict(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        ref = await minted(web.client, task_id="prov-1")
        path = callback_path(web.parts, ref)
        for body, verdict in ((b"\xff\x00 nonsense", "unparsed"), (msgspec.json.encode(DONE), "accepted")):
            answer = await web.client.post(path, content=body)
            assert (answer.status_code, answer.json()) == (200, {"ref": ref, "verdict": verdict})
        assert [it.body for it in await stored(web)] == [msgspec.json.encode(DONE), b"\xff\x00 nonsense"]


async def test_a_trailing_slash_is_the_same_url_and_never_a_redirect(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        path = callback_path(web.parts, a_ref())
        answers = [await web.client.request(method, f"{path}/") for method in ("POST", "GET", "HEAD")]
        assert [it.status_code for it in answers] == [200, 200, 200]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_get_and_head_with_a_good_token_are_200_and_store_nothing(tmp_path: Path, method: str) -> None:
    async with served(tmp_path) as web:
        answer = await web.client.request(method, callback_path(web.parts, a_ref()))
        assert answer.status_code == 200
        assert await stored(web) == []


@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
async def test_a_foreign_token_is_404_stores_nothing_and_is_counted(tmp_path: Path, method: str) -> None:
    async with served(tmp_path) as web:
        ref = a_ref()
        good = web.parts.ring.token(ref)
        foreign = Ring(["somebody-elses-secret-key"]).token(ref)
        for token in (foreign, good[:-1], f"{good}x", good.upper(), "x", f"{good}/x", ref, "%00", "%ff", "é"):
            answer = await web.client.request(method, f"/callbacks/{token}", content=b"{}")
            assert problem(answer) == (404, "not_found", None)
        assert await stored(web) == []
        assert await count(web, "foreign") == 10


async def test_a_foreign_token_is_refused_before_its_body_is_there(tmp_path: Path) -> None:
    async with served(tmp_path) as web, wired(web.port) as wire:
        await wire.send("POST /callbacks/x HTTP/1.1", "Content-Length: 1000")
        status, head, _ = await wire.answer()
        assert (status, "connection: close" in head) == (404, True)


async def test_a_foreign_token_needs_no_database(tmp_path: Path) -> None:
    async with opened(tmp_path) as parts, serving(replace(parts, store=None, ingest=None)) as web:
        assert (await web.client.post("/callbacks/x")).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_405_and_say_which_are_allowed(tmp_path: Path, method: str) -> None:
    async with served(tmp_path) as web:
        answer = await web.client.request(method, callback_path(web.parts, a_ref()), content=b"{}")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
        assert await stored(web) == []


async def test_a_length_over_the_limit_is_413_at_once(tmp_path: Path) -> None:
    """The answer comes though not one byte of the body does, and no 100 Continue invites it."""
    async with served(tmp_path, max_body="1024") as web, wired(web.port) as wire:
        path = callback_path(web.parts, a_ref())
        await wire.send(f"POST {path} HTTP/1.1", "Content-Length: 1025", "Expect: 100-continue")
        status, head, _ = await wire.answer()
        assert (status, "connection: close" in head) == (413, True)


async def test_chunks_over_the_limit_are_413(tmp_path: Path) -> None:
    async with served(tmp_path, max_body="1024") as web, wired(web.port) as wire:
        await wire.send(f"POST {callback_path(web.parts, a_ref())} HTTP/1.1", "Transfer-Encoding: chunked")
        for _ in range(3):
            wire.writer.write(b"200\r\n" + b"x" * 0x200 + b"\r\n")
        assert (await wire.answer())[0] == 413
        assert await stored(web) == []


async def test_a_sender_that_reads_only_after_its_last_byte_still_gets_its_413(tmp_path: Path) -> None:
    """Closing over unread bytes would reset the connection and take the answer away."""
    async with served(tmp_path, max_body="1024") as web, wired(web.port) as wire:
        size = 600_000
        path = callback_path(web.parts, a_ref())
        await wire.send(f"POST {path} HTTP/1.1", f"Content-Length: {size}", body=b"x" * size)
        assert (await wire.answer())[0] == 413
        assert await wire.closed()


async def test_a_body_of_exactly_the_limit_is_stored(tmp_path: Path) -> None:
    async with served(tmp_path, max_body="1024") as web:
        answer = await web.client.post(callback_path(web.parts, a_ref()), content=b"x" * 1024)
        assert answer.status_code == 200


async def test_a_chunked_body_in_many_pieces_arrives_whole(tmp_path: Path) -> None:
    async with served(tmp_path) as web, wired(web.port) as wire:
        await wire.send(f"POST {callback_path(web.parts, a_ref())} HTTP/1.1", "Transfer-Encoding: chunked")
        for letter in b"abc":
            wire.writer.write(b"1\r\n%c\r\n" % letter)
            await wire.writer.drain()
        wire.writer.write(b"0\r\n\r\n")
        assert (await wire.answer())[0] == 200
        assert [it.body for it in await stored(web)] == [b"abc"]


async def test_a_body_that_does_not_come_is_408(tmp_path: Path) -> None:
    async with (
        opened(tmp_path) as parts,
        serving(replace(parts, body_timeout_s=LONG_S)) as web,
        wired(web.port) as wire,
    ):
        await wire.send(f"POST {callback_path(parts, a_ref())} HTTP/1.1", "Content-Length: 10", "Expect: 100-continue")
        assert b"100 Continue" in await wire.reader.readuntil(b"\r\n\r\n")  # the route waits for the body
        wire.writer.write(b"half")
        await elapse(LONG_S)
        status, head, body = await wire.answer()
        assert (status, "connection: close" in head) == (408, True)
        assert json.loads(body)["error"]["code"] == "too_slow"
        assert await stored(web) == []


@pytest.mark.usefixtures("idle_s")
async def test_a_head_that_does_not_come_is_hung_up_on(tmp_path: Path) -> None:
    """Before any byte, in the middle of a head, and in the middle of the next one on a kept connection."""
    async with opened(tmp_path) as parts, serving(replace(parts, body_timeout_s=LONG_S)) as web:
        for begun in (b"", b"\r\n", b"POST /callbacks/x HTTP/1.1\r\nX-Half: "):
            async with wired(web.port) as wire:
                wire.writer.write(begun)
                await taken(web.port)
                await elapse(LONG_S)
                assert await wire.closed()
        async with wired(web.port) as wire:
            await wire.send("GET /healthz HTTP/1.1")
            assert (await wire.answer())[0] == 200
            wire.writer.write(b"GET /he")
            await taken(web.port)
            await elapse(LONG_S)
            assert await wire.closed()


@pytest.mark.usefixtures("idle_s")
async def test_a_kept_connection_outlives_the_deadline_of_its_heads(tmp_path: Path) -> None:
    """The deadline is each head's own: whole requests one after the other never meet it."""
    async with (
        opened(tmp_path) as parts,
        serving(replace(parts, body_timeout_s=LONG_S)) as web,
        wired(web.port) as wire,
    ):
        for _ in range(3):
            await wire.send(f"POST {callback_path(parts, a_ref())} HTTP/1.1", "Content-Length: 2", body=b"{}")
            assert (await wire.answer())[0] == 200
            await elapse(LONG_S)


async def test_a_sender_that_goes_leaves_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        async with wired(web.port) as wire:
            path = callback_path(web.parts, a_ref())
            await wire.send(f"POST {path} HTTP/1.1", "Content-Length: 10", "Expect: 100-continue")
            assert b"100 Continue" in await wire.reader.readuntil(b"\r\n\r\n")  # the route waits for the body
            wire.writer.write(b"half")
        assert (await web.client.post(path, content=b"whole")).status_code == 200
        assert [it.body for it in await stored(web)] == [b"whole"]


async def test_a_store_that_cannot_commit_is_503_with_retry_after(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        path = callback_path(web.parts, a_ref())
        await impatient(web.parts.store)
        with busy(tmp_path / "receiver.db"):
            answer = await web.client.post(path, content=b"{}")
        assert problem(answer) == (503, "unavailable", None)
        assert int(answer.headers["retry-after"]) > 0
        assert await stored(web) == []
        assert (await web.client.post(path, content=b"{}")).status_code == 200


async def test_the_store_says_how_long_to_wait(tmp_path: Path) -> None:
    async with opened(tmp_path) as parts, serving(replace(parts, ingest=FullDisk())) as web:
        answer = await web.client.post(callback_path(parts, a_ref()), content=b"{}")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")


async def test_too_much_arriving_at_once_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "READING_MOST", 1000)
    async with served(tmp_path) as web, wired(web.port) as wire:
        path = callback_path(web.parts, a_ref())
        await wire.send(f"POST {path} HTTP/1.1", "Content-Length: 5000", body=b"x" * 2000)
        status, head, _ = await wire.answer()
        assert (status, "retry-after: 2" in head) == (503, True)
        assert (await web.client.post(path, content=b"x" * 5000)).status_code in (200, 503)
        assert (await web.client.post(path, content=b"{}")).status_code == 200


async def test_requests_on_one_connection_are_answered_in_turn(tmp_path: Path) -> None:
    async with served(tmp_path) as web, wired(web.port) as wire:
        refs = [a_ref() for _ in range(5)]
        for ref in refs:
            await wire.send(f"POST {callback_path(web.parts, ref)} HTTP/1.1", "Content-Length: 2", body=b"{}")
        answers = [await wire.answer() for _ in refs]
        assert [json.loads(body)["ref"] for _, _, body in answers] == refs


async def test_the_time_from_body_to_answer_is_observed(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        await web.client.post(callback_path(web.parts, a_ref()), content=b"{}")
        assert "receiver_callback_seconds_count 1.0" in (await web.client.get("/metrics")).text


async def test_neither_token_nor_body_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="receiver")
    async with opened(tmp_path) as parts, serving(replace(parts, ingest=FullDisk())) as web:
        ref = a_ref()
        await web.client.post(callback_path(parts, ref), content=b"planted-body")
        await web.client.post("/callbacks/planted-token", content=b"{}")
    said = " ".join(it.getMessage() for it in caplog.records if it.name.startswith(("receiver", "uvicorn")))
    assert "the disk is full" in said
    assert not any(word in said for word in (parts.ring.token(ref).partition(".")[2], "planted-body", "planted-token"))


async def test_headers_are_kept_with_the_callback(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        sent = {b"Content-Type": b"text/x", b"Webhook-Id": b"7", b"X-Request-Id": b"\xe9", b"Cookie": b"c"}
        await web.client.post(callback_path(web.parts, a_ref()), content=b"{}", headers=sent)
        [kept] = await stored(web)
        wanted = {"content-type": "text/x", "webhook-id": "7", "x-request-id": "é"}
        assert wanted.items() <= json.loads(kept.headers).items()
        assert not {"cookie", "authorization", "host"} & json.loads(kept.headers).keys()


SIGNED = """
    svix-id svix-timestamp svix-signature webhook-id webhook-timestamp webhook-signature stripe-signature signature
    signature-input content-digest content-encoding idempotency-key ce-id traceparent date x-hub-signature-256
    x-webhook-signature x-fal-webhook-signature x-shopify-hmac-sha256 paddle-signature
"""
SECRET = """
    x-api-key x-auth-token x-forwarded-for x-real-ip x-original-uri host authorization proxy-authorization cookie
    set-cookie x-webhook-secret webhook-secret svix-secret x-session-id x-signature-key token-signature
"""


@pytest.mark.parametrize("name", SIGNED.split())
def test_what_a_callback_is_signed_or_numbered_with_is_kept(name: str) -> None:
    assert json.loads(kept_headers([(name.encode(), b"v1,abc=")])) == {name: "v1,abc="}


def test_a_signature_is_kept_whole_beside_any_number_of_other_headers() -> None:
    junk = [(b"x-%d" % number, b"v" * 100) for number in range(100)]
    sent = [*junk, (b"signature", b"sig1=:a:"), (b"signature", b"sig2=:b:"), (b"date", b"now")]
    kept = json.loads(kept_headers(sent))
    assert (kept["signature"], kept["date"]) == ("sig1=:a:, sig2=:b:", "now")


@pytest.mark.parametrize("name", SECRET.split())
def test_no_secret_and_nothing_of_a_proxy_is_kept(name: str) -> None:
    assert kept_headers([(name.encode(), b"planted")]) == b"{}"


def test_kept_headers_are_bounded_whatever_comes() -> None:
    many = [(b"x-%d" % number, b'\xff\x01"' * 50) for number in range(1000)]
    kept = kept_headers([(b"x-huge", b"v" * 100_000), *many, (b"content-type", b"not too late")])
    assert HEADERS_MOST - 1000 < len(kept) <= HEADERS_MOST
    assert json.loads(kept).pop("content-type") == "not too late", "what is known goes first"
    assert set(json.loads(kept).values()) == {'ÿ\x01"' * 50, "not too late"}
