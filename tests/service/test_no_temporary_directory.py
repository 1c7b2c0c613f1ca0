"""A read-only container has no temporary directory: what is sent to Slack and Discord needs none."""

import tempfile

import msgspec
import pytest

from kit.chat_services import double, slack
from receiver.core.types import Image, MessageStyle, NoticeEvent, Report, Target
from receiver.notify.messages.message import NoLinks
from receiver.notify.messages.render import render
from receiver.notify.senders.sender import AppriseSender

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

REPORT = Report(
    event=NoticeEvent.COMPLETED,
    ref="0199d0a0-0000-7000-8000-000000000001",
    label="a house by the sea",
    images=(Image(0, "https://cdn.example.com/0.png"),),
)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder can be written: not TMPDIR, not /tmp, not the working directory."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    with pytest.raises(FileNotFoundError):
        tempfile.gettempdir()


async def test_slack_gets_its_blocks_without_a_temporary_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(name="slack", url="slack://T0KENA/T0KENB/T0KENC", style=MessageStyle.SLACK)
    message = render((REPORT,), target, links=NoLinks())
    with slack(monkeypatch) as there:
        for _ in range(2):  # the second uses the same object of Apprise's
            assert (await AppriseSender().send(target, message)).error is None
    assert message.blocks is not None
    assert [it.json()["attachments"] for it in there.requests] == [[msgspec.json.decode(message.blocks)]] * 2


async def test_discord_gets_its_embeds_without_a_temporary_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(name="discord", url="discord://123456789/t0ken-of-discord", style=MessageStyle.DISCORD)
    with double() as there:
        monkeypatch.setattr("apprise.plugins.discord.NotifyDiscord.notify_url", f"{there.address}/api/webhooks")
        sent = await AppriseSender().send(target, render((REPORT,), target, links=NoLinks()))
    assert sent.error is None
    assert there.requests[0].json()["embeds"]
