"""Blocks and pictures on their way out, through the real plugins to doubles on loopback that keep what they get."""

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from kit.chat_services import Double, double, slack, slack_faults
from receiver.core.types import MessageStyle, Target
from receiver.notify.messages.message import BodyFormat, Message, MessageKind
from receiver.notify.senders.failure_text import blames_picture
from receiver.notify.senders.plugin import ATTACHED_MOST
from receiver.notify.senders.remedies import find_remedy
from receiver.notify.senders.sender import AppriseSender, check_target

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

SLACK = Target(name="slack", url="slack://T0KENA/T0KENB/T0KENC", style=MessageStyle.SLACK)
BOT = Target(name="bot", url="slack://xoxb-1234-1234-abcdef/#pings", style=MessageStyle.SLACK)
DISCORD = Target(name="discord", url="discord://123456789/t0ken-of-discord", style=MessageStyle.DISCORD)
TELEGRAM = Target(name="telegram", url="tgram://123456789:abcdefg_hijklmnop/4321/", style=MessageStyle.TELEGRAM)
JPEG = b"\xff\xd8\xff\xe0" + b"picture" * 100
HELLO = Message(title="✓ hero — 4 pictures", body="all & well", format=BodyFormat.TEXT, kind=MessageKind.SUCCESS)


def laid_out(*blocks: dict[str, Any]) -> Message:
    """HELLO as Block Kit."""
    first = {"type": "section", "text": {"type": "mrkdwn", "text": "*hero* “{{ app_id }}” &amp; all"}}
    whole = {"fallback": HELLO.title, "color": "#2a2", "blocks": [first, *blocks]}
    return replace(HELLO, blocks=msgspec.json.encode(whole).decode())


PICTURED = {"type": "image", "image_url": "https://pings.example/images/r/sheet.jpg?mac=x", "alt_text": "4 pictures"}


@pytest.fixture(scope="module", autouse=True)
def _plugins_are_loaded() -> None:
    check_target(Target(name="any", url="json://127.0.0.1"))


@pytest.fixture
def slack_there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    with slack(monkeypatch) as there:
        yield there


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    path = tmp_path / "sheet.jpg"
    path.write_bytes(JPEG)
    return path


async def test_slack_gets_the_blocks_as_they_are_once(
    slack_there: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    message = replace(laid_out(PICTURED), body="x" * 100_000)

    sent = await AppriseSender().send(SLACK, message)

    assert sent.error is None
    [request] = slack_there.requests
    assert request.path == "/services/T0KENA/T0KENB/T0KENC"
    assert slack_faults(request.json()) == []
    [attachment] = request.json()["attachments"]
    assert attachment["blocks"][1] == PICTURED
    assert attachment["fallback"] == HELLO.title
    assert os.listdir(tmp_path) == []


async def test_what_comes_after_blocks_is_not_laid_out_like_them(slack_there: Double) -> None:
    """A target's Apprise object is kept between its messages."""
    sender = AppriseSender()

    for message in (laid_out(), HELLO, laid_out()):
        assert (await sender.send(SLACK, message)).error is None

    shown = ["blocks" in request.json()["attachments"][0] for request in slack_there.requests]
    assert shown == [True, False, True]
    assert "all &amp; well" in slack_there.requests[1].json()["attachments"][0]["text"]


async def test_slack_s_double_takes_no_payload_beyond_the_documented_limits() -> None:
    text = {"type": "plain_text", "text": "x" * 151}
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3_001}}
    blocks = [{"type": "header", "text": text}, section, *({"type": "divider"} for _ in range(50))]

    assert len(slack_faults({"attachments": [{"blocks": blocks}]})) == 3


REFUSALS = {
    (403, b"invalid_token"): (True, "new one"),
    (404, b"no_service"): (True, "new one"),
    (404, b"channel_not_found"): (True, "channel"),
    (410, b"channel_is_archived"): (True, "channel"),
    (500, b"rollup_error"): (False, "by itself"),
    (429, b""): (False, "too many messages"),
}


@pytest.mark.parametrize(("came", "meant"), REFUSALS.items(), ids=str)
async def test_slack_s_own_words_are_told_with_what_to_do(
    slack_there: Double, came: tuple[int, bytes], meant: tuple[bool, str]
) -> None:
    slack_there.answer(came)

    sent = await AppriseSender().send(SLACK, laid_out(PICTURED))

    assert came[1].decode() in (sent.error or "")
    assert sent.looks_final is meant[0]
    assert meant[1] in (find_remedy(sent.error or "") or "")
    assert "T0KEN" not in (sent.error or "")
    assert len(slack_there.requests) == 1


async def test_a_bot_that_is_not_in_its_channel_is_told_to_be_invited(slack_there: Double) -> None:
    """Slack's API answers 200 to it."""
    slack_there.answer((200, b'{"ok":false,"error":"not_in_channel"}'))

    sent = await AppriseSender().send(BOT, laid_out())

    assert sent.looks_final
    assert (sent.error or "").endswith("not_in_channel")
    assert "invite" in (find_remedy(sent.error or "") or "")


async def test_a_picture_that_slack_cannot_fetch_is_blamed(slack_there: Double) -> None:
    """So that the next try goes without it."""
    slack_there.answer((400, b"invalid_blocks"))

    sent = await AppriseSender().send(SLACK, laid_out(PICTURED))

    assert blames_picture(sent.error or "")
    assert not sent.looks_final
    assert len(slack_there.requests) == 1


async def test_blocks_refused_for_no_picture_s_sake_give_way_to_text(slack_there: Double) -> None:
    slack_there.answer((400, b"invalid_blocks"), (200, b"ok"))

    sent = await AppriseSender().send(SLACK, laid_out())

    assert sent.error is None
    assert len(slack_there.requests) == 2
    assert "all &amp; well" in slack_there.requests[1].json()["attachments"][0]["text"]


@pytest.mark.parametrize(
    "target", [SLACK, Target(name="json", url="json://127.0.0.1:9", style=MessageStyle.TEXT)], ids=str
)
async def test_only_services_that_show_a_picture_get_it(
    slack_there: Double, sheet: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []

    def notify(self: object, **named: object) -> bool:
        given.append(named["attach"])
        return True

    monkeypatch.setattr("apprise.Apprise.notify", notify)

    await AppriseSender().send(target, replace(HELLO, picture=sheet))

    assert given == [None]


async def test_discord_gets_its_embeds_then_the_file(sheet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embeds = {"embeds": [{"title": HELLO.title, "color": 1}], "allowed_mentions": {"parse": []}}
    message = replace(HELLO, blocks=msgspec.json.encode(embeds).decode(), picture=sheet, body="x" * 9_000)
    with double() as there:
        monkeypatch.setattr("apprise.plugins.discord.NotifyDiscord.notify_url", f"{there.address}/api/webhooks")

        sent = await AppriseSender().send(DISCORD, message)

    assert sent.error is None
    text, picture = there.requests
    assert text.json()["embeds"] == embeds["embeds"]
    assert text.json()["allowed_mentions"] == {"parse": []}
    part = picture.parts()["files[0]"]
    assert (part.get_filename(), part.get_content_type()) == ("sheet.jpg", "image/jpeg")
    assert part.get_payload(decode=True) == JPEG


async def test_a_file_that_discord_refuses_after_the_text_pings_nobody_twice(
    sheet: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Apprise posts the text first, then the file; the whole would be sent again for the file's sake."""
    with double() as there, caplog.at_level(logging.WARNING):
        there.answer((200, b""), (413, b'{"message": "Request entity too large"}'))
        monkeypatch.setattr("apprise.plugins.discord.NotifyDiscord.notify_url", f"{there.address}/api/webhooks")

        sent = await AppriseSender().send(DISCORD, replace(HELLO, picture=sheet))

        assert len(there.requests) == 2
    assert sent.error is None
    assert "but not its picture" in caplog.text


async def test_a_text_that_discord_refuses_fails_whatever_comes_with_it(
    sheet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with double() as there:
        there.answer((404, b'{"message": "Unknown Webhook", "code": 10015}'))
        monkeypatch.setattr("apprise.plugins.discord.NotifyDiscord.notify_url", f"{there.address}/api/webhooks")

        sent = await AppriseSender().send(DISCORD, replace(HELLO, picture=sheet))

    assert sent.looks_final
    assert "Unknown Webhook" in (sent.error or "")


async def test_telegram_gets_one_photo_with_its_caption(sheet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with double() as there:
        there.answer((200, b'{"ok":true,"result":{}}'))
        monkeypatch.setattr("apprise.plugins.telegram.NotifyTelegram.notify_url", f"{there.address}/bot")

        sent = await AppriseSender().send(TELEGRAM, replace(HELLO, picture=sheet))

    assert sent.error is None
    [request] = there.requests
    assert request.path.lower().endswith("/sendphoto")
    parts = request.parts()
    assert parts["photo"].get_payload(decode=True) == JPEG
    assert "all &amp; well" in parts["caption"].get_content()


@pytest.mark.parametrize("captioned", [True, False])
async def test_a_file_that_telegram_refuses_is_missed_only_if_the_text_is_there(
    captioned: bool, sheet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short text is the file's caption, and comes with the next try, without it; a long one has been posted first."""
    message = replace(HELLO, body="all & well" if captioned else "x" * 2_000, picture=sheet)
    refused = (400, b'{"ok":false,"description":"Bad Request: PHOTO_INVALID_DIMENSIONS"}')
    with double() as there:
        there.answer(*([] if captioned else [(200, b'{"ok":true,"result":{}}')]), refused)
        monkeypatch.setattr("apprise.plugins.telegram.NotifyTelegram.notify_url", f"{there.address}/bot")

        sent = await AppriseSender().send(TELEGRAM, message)

    assert (sent.error is None) is not captioned
    assert blames_picture(sent.error or "") is captioned
    assert not sent.looks_final


async def test_a_telegram_bot_that_was_blocked_looks_final(monkeypatch: pytest.MonkeyPatch) -> None:
    with double() as there:
        there.answer((403, b'{"ok":false,"error_code":403,"description":"Forbidden: bot was blocked by the user"}'))
        monkeypatch.setattr("apprise.plugins.telegram.NotifyTelegram.notify_url", f"{there.address}/bot")

        sent = await AppriseSender().send(TELEGRAM, HELLO)

    assert sent.looks_final
    assert "bot was blocked" in (sent.error or "")


async def test_telegram_s_own_pause_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with double() as there:
        there.answer((429, b'{"ok":false,"description":"Too Many Requests","parameters":{"retry_after":14}}'))
        monkeypatch.setattr("apprise.plugins.telegram.NotifyTelegram.notify_url", f"{there.address}/bot")

        sent = await AppriseSender().send(TELEGRAM, HELLO)

    assert (sent.looks_final, sent.retry_after_ms) == (False, 14_000)


async def test_ntfy_gets_text_and_picture_in_one_request(sheet: Path) -> None:
    with double() as there:
        there.answer((200, b"{}"))
        target = Target(name="ntfy", url=there.address.replace("http", "ntfy") + "/t0pic", style=MessageStyle.NTFY)

        sent = await AppriseSender().send(target, replace(HELLO, picture=sheet))

    assert sent.error is None
    [request] = there.requests
    assert request.body == JPEG
    assert "filename=sheet.jpg" in request.path
    assert "message=all" in request.path


@pytest.mark.parametrize("size", [0, ATTACHED_MOST + 1, None])
async def test_a_picture_that_is_gone_or_too_large_costs_no_message(
    size: int | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "sheet.jpg"
    if size is not None:
        path.write_bytes(b"x" * size)
    with double() as there, caplog.at_level(logging.WARNING):
        there.answer((200, b"{}"))
        target = Target(name="ntfy", url=there.address.replace("http", "ntfy") + "/t0pic", style=MessageStyle.NTFY)

        sent = await AppriseSender().send(target, replace(HELLO, picture=path))

    assert sent.error is None
    assert there.requests[0].json()["message"] == HELLO.body
    assert "sent without its picture" in caplog.text


@pytest.mark.parametrize("name", ["http://127.0.0.1:9/x.jpg", "file:///etc/passwd", "/etc", "sheet.jpg?name=x"])
async def test_nothing_but_a_plain_file_is_ever_attached(name: str) -> None:
    with double() as there:
        there.answer((200, b"{}"))
        target = Target(name="ntfy", url=there.address.replace("http", "ntfy") + "/t0pic", style=MessageStyle.NTFY)

        await AppriseSender().send(target, replace(HELLO, picture=Path(name)))

    assert [request.json()["message"] for request in there.requests] == [HELLO.body]
