"""What went out in part is not delivered again: files, recipients and pieces, through the real plugins."""

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest
from apprise.plugins.email.smtp import AppriseSMTPController
from msgspec.structs import replace

from kit.chat_services import double
from kit.smtp_server import mailbox
from receiver.core.types import AttemptResult, MessageStyle, Target
from receiver.notify.messages.message import BodyFormat, Message, MessageKind
from receiver.notify.senders.delivered import PARTS_MOST, DeliveredParts
from receiver.notify.senders.sender import AppriseSender, check_target

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

DISCORD = Target(name="discord", url="discord://123456789/t0ken-of-discord", style=MessageStyle.DISCORD)
JPEG = b"\xff\xd8\xff\xe0" + b"picture" * 100
HELLO = Message(title="✓ hero — 4 pictures", body="all & well", format=BodyFormat.TEXT, kind=MessageKind.SUCCESS)
SERVER_ERROR = (500, b"")


@pytest.fixture(scope="module", autouse=True)
def _plugins_are_loaded() -> None:
    check_target(Target(name="any", url="json://127.0.0.1"))


@pytest.fixture
def old_sheet(tmp_path: Path) -> Path:
    """A sheet that was drawn a day ago."""
    path = tmp_path / "sheet.jpg"
    path.write_bytes(JPEG)
    os.utime(path, (time.time() - 86_400,) * 2)
    return path


async def send_again(target: Target, message: Message, before: AttemptResult) -> AttemptResult:
    """The next try, by another process."""
    return await AppriseSender().send(target, replace(message, delivered=before.delivered))


async def test_a_sheet_of_any_age_goes_out_with_its_text_once(old_sheet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apprise takes a file of more than ten minutes for expired, and closed it in the middle of its upload."""
    with double() as there:
        monkeypatch.setattr("apprise.plugins.discord.NotifyDiscord.notify_url", f"{there.address}/api/webhooks")

        sent = await AppriseSender().send(DISCORD, replace(HELLO, picture=old_sheet))

        text, picture = there.requests
    assert sent.error is None
    assert "all & well" in text.json()["content"]
    assert picture.parts()["files[0]"].get_payload(decode=True) == JPEG


async def test_a_text_whose_file_failed_is_not_posted_again(old_sheet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the file fails: here by a plugin that raises."""
    with double() as there, monkeypatch.context() as patch:
        patch.setattr("apprise.plugins.discord.NotifyDiscord.notify_url", f"{there.address}/api/webhooks")
        with patch.context() as failing:
            failing.setattr("apprise.attachment.base.AttachBase.open", lambda *_, **__: 1 / 0)
            sent = await AppriseSender().send(DISCORD, replace(HELLO, picture=old_sheet))
        assert sent.error
        again = await send_again(DISCORD, replace(HELLO, picture=old_sheet), sent)

        assert again.error is None
        assert [b"all & well" in it.body for it in there.requests] == [True, False]
        assert there.requests[1].parts()["files[0]"].get_payload(decode=True) == JPEG


def to(target: Target, *recipients: str) -> Target:
    """A mail target with these recipients, each with a mail of its own."""
    return replace(target, url=target.url.partition("&to=")[0] + "&to=" + ",".join(recipients))


async def test_a_recipient_that_got_a_mail_does_not_get_it_again() -> None:
    async with mailbox() as (box, target):
        target = to(target, "ann@example.com", "eve@example.com")
        box.busy = {"eve@example.com"}
        sent = await AppriseSender().send(target, HELLO)
        assert "450" in (sent.error or "")
        assert not sent.looks_final
        box.busy = set()

        again = await send_again(target, HELLO, sent)

    assert again.error is None
    assert box.recipients == [["ann@example.com"], ["eve@example.com"]]


async def test_a_mail_that_its_copy_s_recipient_refused_goes_to_that_one_only() -> None:
    async with mailbox() as (box, target):
        box.busy = {"bob@example.com"}
        sent = await AppriseSender().send(target, HELLO)
        assert sent.error
        box.busy = set()

        again = await send_again(target, HELLO, sent)

    assert again.error is None
    assert box.recipients == [["ann@example.com"], ["bob@example.com"]]


async def test_the_rest_of_several_recipients_is_tried_though_one_is_refused_for_good() -> None:
    async with mailbox() as (box, target):
        target = to(target, "ann@example.com", "eve@example.com", "joe@example.com")
        box.busy, box.refused = {"eve@example.com"}, {"joe@example.com"}
        sent = await AppriseSender().send(target, HELLO)
        assert not sent.looks_final
        box.busy = set()

        again = await send_again(target, HELLO, sent)

    assert again.looks_final
    assert box.recipients == [["ann@example.com"], ["eve@example.com"]]


def in_pieces(there: str) -> Target:
    return Target(name="chat", url=f"mmost://{there.removeprefix('http://')}/abcdefghijklmnopqrstuvwxyz")


LONG = replace(HELLO, title="", body="\n".join(f"line {number} {'x' * 90}" for number in range(100)))


async def test_a_piece_that_arrived_is_not_posted_again() -> None:
    """Mattermost takes 4,000 characters."""
    with double() as there:
        target = in_pieces(there.address)
        there.answer((200, b"ok"), SERVER_ERROR, (200, b"ok"))
        sent = await AppriseSender().send(target, LONG)
        first = [it.json()["text"] for it in there.requests]
        assert len(first) == 3
        there.requests.clear()

        again = await send_again(target, LONG, sent)

    assert again.error is None
    assert [it.json()["text"] for it in there.requests] == [first[1]]


async def test_a_piece_whose_text_has_changed_meanwhile_is_another() -> None:
    """As when the provider's links have become ours: nothing is left out."""
    with double() as there:
        target = in_pieces(there.address)
        there.answer((200, b"ok"), (200, b"ok"), SERVER_ERROR)
        sent = await AppriseSender().send(target, LONG)
        there.answer((200, b"ok"))
        there.requests.clear()
        changed = replace(LONG, body=LONG.body.replace("line 50", "LINE 50"))

        again = await send_again(target, changed, sent)

    assert again.error is None
    assert len(there.requests) == 2
    assert "LINE 50" in there.requests[0].json()["text"]


async def test_what_arrived_before_a_timeout_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, hanging, release = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    sendmail, limits = AppriseSMTPController.sendmail, [asyncio.timeout(None)]

    def hang(self: AppriseSMTPController, from_addr: str, to_addrs: list[str], message: str) -> bool:
        if to_addrs == ["ann@example.com"]:
            return sendmail(self, from_addr, to_addrs, message)
        loop.call_soon_threadsafe(hanging.set)
        release.wait()
        return False

    async with mailbox() as (box, target):
        target = to(target, "ann@example.com", "eve@example.com")
        with monkeypatch.context() as patch:
            patch.setattr(AppriseSMTPController, "sendmail", hang)
            patch.setattr(asyncio, "timeout", lambda _: limits.pop())
            [limit] = limits
            sending = asyncio.create_task(AppriseSender().send(target, HELLO))
            await hanging.wait()
            limit.reschedule(loop.time())
            sent = await sending
            release.set()
        assert "not finished within" in (sent.error or "")

        again = await send_again(target, HELLO, sent)

    assert again.error is None
    assert box.recipients == [["ann@example.com"], ["eve@example.com"]]


async def test_what_arrives_after_a_timeout_is_known_to_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same process: the abandoned thread goes on for a while, after its result was recorded."""
    loop, hanging, release = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    sendmail, limits = AppriseSMTPController.sendmail, [asyncio.timeout(None)]

    def hang(self: AppriseSMTPController, from_addr: str, to_addrs: list[str], message: str) -> bool:
        loop.call_soon_threadsafe(hanging.set)
        release.wait()
        return sendmail(self, from_addr, to_addrs, message)

    async with mailbox() as (box, target):
        target = to(target, "ann@example.com")
        sender = AppriseSender()
        with monkeypatch.context() as patch:
            patch.setattr(AppriseSMTPController, "sendmail", hang)
            patch.setattr(asyncio, "timeout", lambda _: limits.pop())
            [limit] = limits
            sending = asyncio.create_task(sender.send(target, replace(HELLO, send_id=7)))
            await hanging.wait()
            limit.reschedule(loop.time())
            sent = await sending
            assert sent.delivered == ()
            release.set()
            for thread in [it for it in threading.enumerate() if it.name == "send"]:
                await asyncio.to_thread(thread.join)
        assert box.recipients == [["ann@example.com"]]

        again = await sender.send(target, replace(HELLO, send_id=7, delivered=sent.delivered))
        assert again.error is None
        assert box.recipients == [["ann@example.com"]]
        other = await sender.send(target, replace(HELLO, send_id=8))

    assert other.error is None
    assert box.recipients == [["ann@example.com"], ["ann@example.com"]]


def test_the_record_shows_no_recipient_and_has_a_bound() -> None:
    parts = DeliveredParts("a")
    for number in range(PARTS_MOST + 10):
        parts.add((0, (str, repr(f"ann-{number}@example.com"))))
    assert len(parts.hashes) == PARTS_MOST
    assert not any("ann" in it for it in parts.hashes)
    assert (0, (str, repr("ann-0@example.com"))) in DeliveredParts("a", parts.hashes)
    assert (0, (str, repr("eve@example.com"))) not in DeliveredParts("a", parts.hashes)


def test_behind_another_url_nothing_was_delivered_yet() -> None:
    parts = DeliveredParts("discord://old/webhook")
    parts.add((0, (str, "'message'")))
    assert (0, (str, "'message'")) not in DeliveredParts("discord://new/webhook", parts.hashes)


def test_a_mark_that_is_known_by_its_address_only_is_known_to_the_next_process() -> None:
    """Apprise's own mark of a whole piece is a bare object."""
    parts = DeliveredParts("a")
    parts.add((0, (object, repr(object()))))
    other = object()
    assert (0, (object, repr(other))) in DeliveredParts("a", parts.hashes)
    assert (1, (object, repr(other))) not in DeliveredParts("a", parts.hashes)
