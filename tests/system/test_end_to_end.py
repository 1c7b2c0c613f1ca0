"""The main job, with nothing faked: the service as a process, the sandbox as provider, real targets on loopback."""

import email
import email.policy
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from kit.live_service import KEY, OUTPAINT, PATIENCE_S, SECRET, Service, Sink, free_port, serving, sinking, until
from receiver import sandbox
from receiver.sandbox import CallbackBody, Fate, Sandbox, SandboxOptions
from receiver.tokens import Ring, new_ref

pytestmark = pytest.mark.anyio


class Mailbox:
    """An SMTP server's memory."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        assert isinstance(envelope.content, bytes)
        self.got.append(envelope.content)
        return "250 kept"


@asynccontextmanager
async def line(
    folder: Path, *script: Fate, body: CallbackBody = CallbackBody.TASK, **settings: str
) -> AsyncIterator[tuple[Service, Sandbox, Sink]]:
    """Service, provider and sink, connected. Polls begin after a second."""
    options = SandboxOptions(latency_s=0.2, seed=1, script=script, body=body)
    async with sandbox.open_sandbox(options) as provider, sinking() as sink:
        settings = {"NOTIFY_URLS": sink.url, "SWEEP_FIRST": "60", **settings}
        async with serving(folder, provider.url + "/model/v1/generation", **settings) as service:
            yield service, provider, sink


def callback_url(provider: Sandbox) -> str:
    """The callback URL of the last submission, as the provider saw it."""
    return str(json.loads(provider.book.submissions[-1].body)["input"][0]["params"]["callback"])


async def post(url: str, body: object) -> httpx.Response:
    """A callback of one's own making."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
        return await client.post(url, content=content)


async def test_a_submission_reaches_the_provider_and_its_callback_everyone_else(tmp_path: Path) -> None:
    mailbox = Mailbox()
    mail_port = free_port()
    smtp = Controller(mailbox, hostname="127.0.0.1", port=mail_port, ready_timeout=PATIENCE_S)
    smtp.start()
    try:
        async with sinking() as sink:
            mail = f"mailto://127.0.0.1:{mail_port}?from=receiver@example.org&to=me@example.org"
            async with line(tmp_path, NOTIFY_URLS=f"{sink.url} {mail}") as (service, provider, _):
                ref = await service.submit("hero")
                task = await service.settled(ref)
                [submission] = provider.book.submissions
                assert submission.authorization == f"Bearer {KEY}"
                sent = json.loads(submission.body)
                url = sent["input"][0]["params"].pop("callback")
                assert sent == {"model": "midjourney_outpaint", "input": [{"params": OUTPAINT}]}
                assert url.startswith(f"{service.url}/callbacks/{ref}.")
                assert (task["state"], task["settled_by"], task["confirmed"]) == ("completed", "callback", True)
                assert len(task["images"]) == 4
                assert task["usage"] == {"cost": "0.05", "discount": 1}
                assert [it["verdict"] for it in await service.callbacks(ref)] == ["accepted"]
                assert provider.courier.posted == 1
                assert provider.book.polled == 0
            [ping] = sink.got
            assert "hero" in ping["title"]
            assert all(image["url"] in ping["message"] for image in task["images"])
            [message] = mailbox.got
            assert "hero" in str(email.message_from_bytes(message, policy=email.policy.default)["subject"])
    finally:
        smtp.stop()


async def test_a_lost_callback_is_settled_by_the_sweep(tmp_path: Path) -> None:
    async with line(tmp_path, Fate.DROPPED | Fate.COMPLETES, SWEEP_FIRST="1") as (service, provider, sink):
        task = await service.settled(await service.submit("lost"))
        assert (task["settled_by"], len(task["images"]), len(sink.got)) == ("poll", 4, 1)
        assert provider.courier.posted == 0


async def test_a_duplicate_changes_nothing(tmp_path: Path) -> None:
    async with line(tmp_path, Fate.DUPLICATED | Fate.COMPLETES) as (service, provider, sink):
        ref = await service.submit("twice")
        before = await service.settled(ref)
        await provider.wait_until_idle()
        assert [it["verdict"] for it in await service.callbacks(ref)] == ["accepted", "duplicate"]
        assert await service.task(ref) == before
        assert len(sink.got) == 1


async def test_a_contradiction_is_kept_as_a_conflict(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider, sink):
        ref = await service.submit("hero")
        before = await service.settled(ref)
        body = {"id": before["task_id"], "status": "failed", "model": before["model"], "error": "no"}
        answer = await post(callback_url(provider), body)
        assert (answer.status_code, answer.json()) == (200, {"ref": ref, "verdict": "conflict"})
        assert await service.task(ref) == before
        assert len(sink.got) == 1


async def test_a_callback_that_overtakes_the_answer_settles(tmp_path: Path) -> None:
    async with line(tmp_path, Fate.EARLY | Fate.COMPLETES) as (service, provider, sink):
        task = await service.settled(await service.submit("early"))
        assert (task["settled_by"], task["task_id"]) == ("callback", provider.book.tasks[0].id)
        assert provider.book.polled == 0


@pytest.mark.parametrize("body", [CallbackBody.JOB, CallbackBody.WRAPPED])
async def test_an_upstream_shaped_body_leads_to_a_poll_and_settles(tmp_path: Path, body: CallbackBody) -> None:
    async with line(tmp_path, body=body) as (service, provider, sink):
        ref = await service.submit("foreign")
        task = await service.settled(ref)
        assert (task["settled_by"], task["confirmed"]) == ("poll", True)
        assert (await service.callbacks(ref))[0]["verdict"] == "hint"
        assert provider.book.poll_count(task["task_id"]) >= 1


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ({"id": "somebodyelses0000000", "status": "completed", "model": "midjourney_outpaint"}, "hint"),
        (b"\xff\xfe not json", "unparsed"),
    ],
)
async def test_a_wrong_id_or_an_unreadable_body_leads_to_a_poll_and_settles(
    tmp_path: Path, body: object, verdict: str
) -> None:
    async with line(tmp_path, Fate.DROPPED | Fate.COMPLETES) as (service, provider, sink):
        ref = await service.submit("odd")

        async def waiting() -> bool:
            return bool((await service.task(ref))["state"] == "waiting")

        await until(waiting)
        answer = await post(callback_url(provider), body)
        assert (answer.status_code, answer.json()["verdict"]) == (200, verdict)
        task = await service.settled(ref)
        assert (task["settled_by"], task["confirmed"]) == ("poll", True)


UPSTREAM = {
    "id": "0f0e0d0c-1111-4222-8333-444455556666",
    "status": 2,
    "comment": "JobStatusSuccess",
    "urls": [f"https://127.0.0.1/{place}.png" for place in range(4)],
}


async def test_an_upstream_shaped_result_that_no_poll_can_confirm_settles_as_unconfirmed(tmp_path: Path) -> None:
    async with line(tmp_path, CONFIRM_WITHIN="1") as (service, provider, sink):
        minted = (await service.http.post("/api/v1/callback-urls", json={"label": "mine"})).json()
        answer = await post(minted["callback_url"], UPSTREAM)
        assert answer.json() == {"ref": minted["ref"], "verdict": "hint"}
        task = await service.settled(minted["ref"])
        assert (task["confirmed"], task["settled_by"], len(task["images"])) == (False, "callback", 4)
        assert "unconfirmed" in sink.got[0]["message"].lower()


async def test_a_forged_or_truncated_token_gets_404_and_stores_nothing(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider, sink):
        ref = new_ref(int(time.time() * 1000))
        for token in (Ring(["another-key-0123456789"]).token(ref), Ring([SECRET]).token(ref)[:-1], "x", ref):
            assert (await post(f"{service.url}/callbacks/{token}", UPSTREAM)).status_code == 404
        assert (await service.got("callbacks"))["callbacks"] == []
        assert (await service.got("tasks"))["tasks"] == []


async def test_a_submitter_of_ones_own_with_a_minted_url_gets_its_ping(tmp_path: Path) -> None:
    """The service submits nothing: somebody else's code takes a URL and hands it to the provider."""
    async with line(tmp_path) as (service, provider, sink):
        minted = (await service.http.post("/api/v1/callback-urls", json={"label": "mine"})).json()
        await _submit_ourselves(provider, minted["callback_url"])
        task = await service.settled(minted["ref"])
        assert (task["origin"], task["label"], len(task["images"])) == ("minted", "mine", 4)
        assert len(sink.got) == 1


async def test_a_url_minted_offline_with_the_key_gets_its_ping(tmp_path: Path) -> None:
    async with line(tmp_path) as (service, provider, sink):
        ref = new_ref(int(time.time() * 1000))
        await _submit_ourselves(provider, f"{service.url}/callbacks/{Ring([SECRET]).token(ref)}")
        task = await service.settled(ref)
        assert (task["origin"], len(task["images"]), len(sink.got)) == ("adopted", 4, 1)


async def _submit_ourselves(provider: Sandbox, callback: str) -> dict[str, Any]:
    body = {"model": "midjourney_outpaint", "input": [{"params": {**OUTPAINT, "callback": callback}}]}
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
        answer = await client.post(
            f"{provider.url}/model/v1/generation", json=body, headers={"Authorization": "Bearer another"}
        )
    return dict(answer.json())
