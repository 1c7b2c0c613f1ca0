"""What the API tells of the past: every try at a notice, and our own copies of a task's pictures."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import NOW, Clock, FakeSender
from kit.web import Served, command, completed, near, served
from receiver.client.views import rfc3339
from receiver.core.types import AttemptResult, ImageCopy

pytestmark = pytest.mark.anyio


async def carried(web: Served) -> None:
    """Everything that is due, sent."""
    while (send := await web.parts.notify.claim()) is not None:
        await web.parts.notify.carry_out(send)


async def by_target(web: Served) -> dict[str, Any]:
    page = (await web.client.get("/api/v1/notices")).json()
    return {it["target"]: it for it in page["notices"]}


async def test_a_notice_tells_every_try_with_its_time_its_length_and_its_error(tmp_path: Path) -> None:
    clock, sender = Clock(), FakeSender()
    sender.results.extend(
        [AttemptResult(error="error=500", duration_ms=5), AttemptResult(duration_ms=9), AttemptResult(duration_ms=6)]
    )
    async with near(tmp_path, clock=clock, sender=sender) as web:
        await completed(web)
        assert all(it["history"] == [] for it in (await by_target(web)).values())
        await carried(web)
        clock.forward(3_600_000)
        await carried(web)
        told = await by_target(web)

    failed = next(it for it in told.values() if len(it["history"]) == 2)
    once = next(it for it in told.values() if len(it["history"]) == 1)
    assert failed["history"] == [
        {"at": rfc3339(NOW), "duration_ms": 5, "error": "error=500"},
        {"at": rfc3339(NOW + 3_600_000), "duration_ms": 6, "error": None},
    ]
    assert once["history"] == [{"at": rfc3339(NOW), "duration_ms": 9, "error": None}]
    assert (failed["state"], failed["attempts"], once["attempts"]) == ("sent", 2, 1)


async def test_the_command_shows_every_try_and_when_the_next_one_is(tmp_path: Path) -> None:
    sender = FakeSender()
    sender.results.extend([AttemptResult(error="error=500 \x1b[31m", duration_ms=5), AttemptResult(duration_ms=9)])
    async with served(tmp_path, clock=Clock(), sender=sender) as web:
        ref = await completed(web)
        await carried(web)

        table = await command(web, "notices", "list", "--ref", ref)
        history = await command(web, "notices", "list", "--history", "--ref", ref[:13])
        as_json = await command(web, "notices", "list", "--ref", ref, "--json")

    assert "error=500" in table.stdout
    lines = history.stdout.splitlines()
    assert sum("  5 ms  error=500 " in line for line in lines) == 1
    assert sum(line.endswith("9 ms  sent") for line in lines) == 1
    assert sum(line.endswith("next try") for line in lines) == 1
    assert "\x1b" not in history.stdout
    assert as_json.stdout.count('"history"') == 2


async def test_a_notice_that_waits_says_for_what_and_until_when(tmp_path: Path) -> None:
    """In quiet hours, for a digest, for its next try; the command, the task's page of it, and the API agree."""
    clock, sender = Clock(NOW - NOW % 86_400_000 + 82_800_000), FakeSender()  # 23:00 UTC
    sender.results.extend([AttemptResult(error="error=500"), AttemptResult()])
    targets = (
        '[targets.night]\nurl = "json://a/"\nquiet = "22:00-07:00 UTC"\n[targets.often]\nurl = "json://b/"\n'
        'digest = "5m"\n[targets.broken]\nurl = "json://c/"\n'
    )
    async with served(tmp_path, clock=clock, sender=sender, targets=targets) as web:
        ref = await completed(web)
        async with web.parts.store.write() as tx:
            await tx.notices.make_due_now(ref, clock.now)
            await tx.sends.open_window("often", clock.now + 300_000)
        await carried(web)
        told = await by_target(web)
        table = await command(web, "notices", "list", "--ref", ref)
        history = await command(web, "notices", "list", "--history")
        shown = await command(web, "tasks", "show", ref)

    assert (told["night"]["state"], told["night"]["waits_for"]) == ("held", "quiet")
    assert told["night"]["waits_until"].endswith("T07:00:00.000Z")
    assert (told["often"]["state"], told["often"]["waits_for"]) == ("held", "digest")
    assert told["often"]["waits_until"] == rfc3339(clock.now + 300_000)
    assert (told["broken"]["state"], told["broken"]["waits_for"]) == ("due", "retry")
    for short in ("quiet until ", "digest at ", "retry at "):
        assert short in table.stdout
        assert short in shown.stdout
    assert "until then its target has quiet hours" in history.stdout


async def test_a_task_shows_where_its_own_copies_are(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        ref = await completed(web)
        [before] = (await web.client.get(f"/api/v1/tasks/{ref}")).json()["images"]
        copy = ImageCopy(0, file="0.png", size=4, media_type="image/png", width=1024, height=512)
        async with web.parts.store.write() as tx:
            await tx.copies.upsert([(ref, copy)])
        await web.parts.files.save_file(ref, "0.png", b"\x89PNG")
        [image] = (await web.client.get(f"/api/v1/tasks/{ref}")).json()["images"]
        shown = await command(web, "tasks", "show", ref)

        assert (before["archived"], before["width"]) == (None, None)
        assert (image["archived"], image["width"], image["height"]) == (f"/images/{ref}/0.png", 1024, 512)
        assert (await web.client.get(image["archived"])).content == b"\x89PNG"
        assert "  kept, 1024 × 512\n" in shown.stdout
        assert f"receiver tasks pictures {ref}" in shown.stdout


async def test_an_image_that_could_not_be_kept_says_why_and_what_to_do(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        ref = await completed(web)
        before = await command(web, "tasks", "show", ref)
        async with web.parts.store.write() as tx:
            await tx.copies.upsert([(ref, ImageCopy(0, error="port 19177 is not allowed"))])

        [image] = (await web.client.get(f"/api/v1/tasks/{ref}")).json()["images"]
        shown = await command(web, "tasks", "show", ref)

    assert (image["archived"], image["archive"]) == (None, "failed")
    assert image["archive_error"] == "port 19177 is not allowed"
    assert "  being fetched\n" in before.stdout
    assert "  not kept: port 19177 is not allowed\n" in shown.stdout
    assert "FETCH_ALLOW" in shown.stdout


async def test_an_image_that_is_fetched_again_says_when(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        ref = await completed(web)
        async with web.parts.store.write() as tx:
            task = (await tx.tasks.get([ref]))[ref]
            await tx.tasks.update([(task, replace(task, archive_tries=2, archive_at=NOW))])
        [image] = (await web.client.get(f"/api/v1/tasks/{ref}")).json()["images"]
        shown = await command(web, "tasks", "show", ref)

    assert (image["archive"], image["archive_at"]) == ("due", rfc3339(NOW))
    assert "  not kept yet, tried again 20" in shown.stdout


async def test_a_copy_without_a_thumbnail_says_why(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        ref = await completed(web)
        async with web.parts.store.write() as tx:
            await tx.copies.upsert([(ref, ImageCopy(0, file="0.png", error="it is no picture"))])
        shown = await command(web, "tasks", "show", ref)

    assert "  kept; no thumbnail: it is no picture\n" in shown.stdout
