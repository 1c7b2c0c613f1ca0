"""What we render, through the real plugins: hostile texts and pictures arrive at each service as it documents them."""

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from kit.chat_services import double, slack, slack_faults
from kit.smtp_server import mailbox
from receiver.core.types import AttachedPicture, Image, MessageStyle, NoticeEvent, Report, Target, TaskError
from receiver.notify.messages.render import render
from receiver.notify.senders.sender import AppriseSender
from receiver.pictures.signed_links import SignedLinks
from receiver.tokens import Ring

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

LINKS = SignedLinks(
    Ring(["a-secret-key-for-tests-0001"]), "https://pings.example", lambda: 0, reachable=True, pages=True
)
HOSTILE = (
    '<!channel> <@U1> @everyone *b* _i_ `c` <b>x</b> </p><script> {{ app_body }} {{app_id}} {{app_title}} " \\ \u202e '
)
COMPLETED = Report(
    event=NoticeEvent.COMPLETED,
    ref="0199d0a0-0000-7000-8000-000000000001",
    label=HOSTILE,
    model="midjourney_outpaint",
    prompt=HOSTILE * 80,
    images=tuple(Image(n, f"https://cdn.example.com/{n}.png?a=1&b=2") for n in range(4)),
    cost=Decimal("0.05"),
    duration_ms=42_000,
)
FAILED = Report(event=NoticeEvent.FAILED, ref=COMPLETED.ref, label=HOSTILE, error=TaskError("004007098", HOSTILE * 80))
MANY = (FAILED, *[COMPLETED] * 60)
REPORTS = {"one": (COMPLETED,), "failed": (FAILED,), "digest": MANY}


@pytest.fixture
def picture(tmp_path: Path) -> AttachedPicture:
    path = tmp_path / "sheet.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0" + b"picture" * 100)
    return AttachedPicture(str(path), LINKS.image_url("sample", "sheet.jpg"))


@pytest.mark.parametrize("reports", REPORTS.values(), ids=list(REPORTS))
async def test_slack_takes_every_message_in_one_request(
    reports: tuple[Report, ...], picture: AttachedPicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(name="slack", url="slack://T0KENA/T0KENB/T0KENC", style=MessageStyle.SLACK)
    with slack(monkeypatch) as there:
        sent = await AppriseSender().send(target, render(reports, target, links=LINKS, picture=picture))

    assert sent.error is None
    [request] = there.requests
    assert slack_faults(request.json()) == []
    text = request.body.decode()
    assert "<!channel>" not in text
    assert "<@U1>" not in text
    assert picture.url is not None
    assert any(it.get("image_url") == picture.url for it in request.json()["attachments"][0]["blocks"])


@pytest.mark.parametrize("reports", REPORTS.values(), ids=list(REPORTS))
async def test_no_text_from_outside_is_filled_in_by_apprise(
    reports: tuple[Report, ...], picture: AttachedPicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its templates know {{ app_id }} and the like, and ours are such templates."""
    target = Target(name="slack", url="slack://T0KENA/T0KENB/T0KENC", style=MessageStyle.SLACK)
    message = render(reports, target, links=LINKS, picture=picture)
    with slack(monkeypatch) as there:
        await AppriseSender().send(target, message)

    assert message.blocks is not None
    [request] = there.requests
    assert request.json()["attachments"] == [msgspec.json.decode(message.blocks)]


@pytest.mark.parametrize("reports", REPORTS.values(), ids=list(REPORTS))
async def test_discord_takes_every_message_and_mentions_nobody(
    reports: tuple[Report, ...], picture: AttachedPicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(name="discord", url="discord://123456789/t0ken-of-discord", style=MessageStyle.DISCORD)
    with double() as there:
        monkeypatch.setattr("apprise.plugins.discord.NotifyDiscord.notify_url", f"{there.address}/api/webhooks")

        sent = await AppriseSender().send(target, render(reports, target, links=LINKS, picture=picture))

    assert sent.error is None
    payload = there.requests[0].json()
    assert 1 <= len(payload["embeds"]) <= 10
    assert payload["allowed_mentions"] == {"parse": []}


@pytest.mark.parametrize("reports", REPORTS.values(), ids=list(REPORTS))
@pytest.mark.parametrize("style", [MessageStyle.TELEGRAM, MessageStyle.NTFY])
async def test_telegram_and_ntfy_take_picture_and_text(
    reports: tuple[Report, ...], style: MessageStyle, picture: AttachedPicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with double() as there:
        there.answer((200, b'{"ok":true,"result":{}}'))
        monkeypatch.setattr("apprise.plugins.telegram.NotifyTelegram.notify_url", f"{there.address}/bot")
        url = {
            MessageStyle.TELEGRAM: "tgram://123456789:abcdefg_hijklmnop/4321/",
            MessageStyle.NTFY: f"ntfy{there.address[4:]}/t0",
        }
        target = Target(name="t", url=url[style], style=style)

        sent = await AppriseSender().send(target, render(reports, target, links=LINKS, picture=picture))

    assert sent.error is None
    captioned = style is MessageStyle.NTFY or len(reports) == 1  # a caption of Telegram's has at most 1,024 characters
    assert len(there.requests) == (1 if captioned else 2)
    assert b"picturepicture" in there.requests[-1].body


@pytest.mark.parametrize("reports", REPORTS.values(), ids=list(REPORTS))
async def test_a_mail_is_one_with_text_markup_and_picture(
    reports: tuple[Report, ...], picture: AttachedPicture
) -> None:
    async with mailbox() as (box, target):
        sent = await AppriseSender().send(target, render(reports, target, links=LINKS, picture=picture))

    assert sent.error is None
    [mail] = box.mails
    kinds = [part.get_content_type() for part in mail.walk()]
    assert kinds == ["multipart/related", "multipart/alternative", "text/plain", "text/html", "image/jpeg"]
    markup, plain = mail.get_body(("html",)), mail.get_body(("plain",))
    assert markup is not None
    assert plain is not None
    assert "<script>" not in markup.get_content()
    assert markup.get_content().count("cid:sheet.jpg") == 1
    assert len(plain.get_content()) > 100
