"""A provider that repeats our key in a callback: nobody is shown it, whatever way they look."""

import logging
from pathlib import Path

import msgspec
import pytest

from kit.fakes import FakeSender
from kit.web import callback_path, command, minted, served

pytestmark = pytest.mark.anyio

KEY = "vtrix-key-0123456789abcdef"
FAILED = {
    "id": "prov-1",
    "object": "task",
    "model": "midjourney_outpaint",
    "status": "failed",
    "created_at": 1_767_000_000,
    "error": {"code": "401", "message": f"the key {KEY} is not valid", "detail": {"Authorization": f"Bearer {KEY}"}},
}


async def test_a_key_in_a_callback_is_stored_and_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its bytes stay as they came; the task, its pings, the log, the API and the commands say [redacted]."""
    caplog.set_level(logging.DEBUG, logger="receiver")
    sender, shown = FakeSender(), []
    async with served(tmp_path, sender=sender, provider_key=KEY) as web:
        ref = await minted(web.client, task_id="prov-1", model="midjourney_outpaint")
        hinted = await minted(web.client, task_id="prov-2", model="midjourney_outpaint")
        path = callback_path(web.parts, ref)
        assert (await web.client.post(path, json=FAILED)).json()["verdict"] == "accepted"
        assert (await web.client.post(callback_path(web.parts, hinted), json=FAILED)).json()["verdict"] == "hint"
        nonsense = {"content": f"no JSON, {KEY}".encode(), "headers": {"X-Request-Id": f"r-{KEY}"}}
        assert (await web.client.post(path, **nonsense)).json()["verdict"] == "unparsed"  # type: ignore[arg-type]
        while (send := await web.parts.notify.claim()) is not None:
            await web.parts.notify.carry_out(send)
        kept = await web.parts.store.callbacks.get([it.id for it in await web.parts.store.callbacks.page(ref=ref)])
        assert sorted(KEY.encode() in (it.body or b"") for it in kept) == [True, True]
        task = (await web.client.get(f"/api/v1/tasks/{ref}")).json()
        assert task["error"]["message"] == "the key [redacted] is not valid"
        paths = [
            "tasks",
            f"tasks/{ref}",
            f"tasks/{hinted}",
            "callbacks",
            "notices",
            *(f"callbacks/{it.id}" for it in kept),
        ]
        shown += [(await web.client.get(f"/api/v1/{asked}")).text for asked in paths]
        for one in kept:
            shown.append((await web.client.post(f"/api/v1/callbacks/{one.id}/replay", json={})).text)
            shown.append((await command(web, "callbacks", "show", str(one.id))).output)
        for words in (("tasks", "show", ref), ("tasks", "show", hinted), ("tasks", "list"), ("notices", "list")):
            shown.append((await command(web, *words)).output)
            shown.append((await command(web, *words, "--json")).output)
    pings = [msgspec.json.encode(message).decode() for _, message in sender.sent]
    assert any("the key [redacted] is not valid" in it for it in pings)
    assert sum("[redacted]" in it for it in shown) >= 9
    logged = [str(vars(it)) for it in caplog.records if it.name.startswith("receiver")]
    assert logged
    for text in (*shown, *pings, *logged):
        assert KEY not in text
