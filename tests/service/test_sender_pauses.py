"""A service that asks for a pause gets it after the send, which ends at once: no plugin of Apprise's sleeps."""

import time

import pytest

from kit.chat_services import double
from receiver.core.types import AttemptResult, MessageStyle, Target
from receiver.notify.messages.message import BodyFormat, Message, MessageKind
from receiver.notify.senders.remedies import find_remedy
from receiver.notify.senders.sender import AppriseSender

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

HELLO = Message(title="a title", body="the body", format=BodyFormat.TEXT, kind=MessageKind.INFO)
DISCORD = Target(name="discord", url="discord://123456789/t0ken-of-discord", style=MessageStyle.DISCORD)
TOO_MANY = (429, b'{"message": "You are being rate limited.", "retry_after": 40.0, "global": false}')


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long Apprise slept; it does not."""
    times: list[float] = []
    monkeypatch.setattr("apprise.url.time.sleep", times.append)
    return times


def says_pause(sent: AttemptResult, service: str) -> bool:
    assert sent.error == f"{service} asks us to wait 40 s, error=429"
    assert "a rate or a digest" in (find_remedy(sent.error) or "")
    return (sent.permanent, sent.retry_after_ms) == (False, 40_000)


async def test_discord_s_pause_is_handed_out(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    with double() as there:
        monkeypatch.setattr("apprise.plugins.discord.NotifyDiscord.notify_url", f"{there.address}/api/webhooks")
        there.answer(TOO_MANY)
        there.headers = {
            "Retry-After": "40",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": f"{time.time() + 40:.0f}",
        }

        sent = await AppriseSender().send(DISCORD, HELLO)

        assert len(there.requests) == 1
    assert says_pause(sent, "Discord")
    assert sum(slept) < 2


async def test_the_next_send_asks_discord_and_not_this_machine_s_clock(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    """Its plugin remembers until when to wait, by a clock that may be an hour behind."""
    sender = AppriseSender()
    with double() as there:
        monkeypatch.setattr("apprise.plugins.discord.NotifyDiscord.notify_url", f"{there.address}/api/webhooks")
        there.answer(TOO_MANY, (204, b""))
        there.headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{time.time() + 3600:.0f}"}
        assert (await sender.send(DISCORD, HELLO)).error

        assert (await sender.send(DISCORD, HELLO)).error is None

        assert len(there.requests) == 2
    assert sum(slept) < 2


async def test_matrix_s_pause_is_handed_out(slept: list[float]) -> None:
    with double() as there:
        there.answer((429, b'{"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests", "retry_after_ms": 40000}'))
        url = f"matrix://user:password@{there.address.removeprefix('http://')}/#room?discovery=no"

        sent = await AppriseSender().send(Target(name="m", url=url), HELLO)

        assert len(there.requests) == 1
    assert says_pause(sent, "Matrix")
    assert sum(slept) < 2


async def test_a_pause_of_a_moment_is_waited_for(slept: list[float]) -> None:
    with double() as there:
        short = (429, b'{"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests", "retry_after_ms": 900}')
        there.answer(short, (404, b'{"errcode": "M_NOT_FOUND", "error": "Not here"}'))
        url = f"matrix://user:password@{there.address.removeprefix('http://')}/#room?discovery=no"

        sent = await AppriseSender().send(Target(name="m", url=url), HELLO)

        assert len(there.requests) > 1
    assert "asks us to wait" not in (sent.error or "")
    assert 0.9 in slept


@pytest.mark.parametrize("status", [429, 503])
async def test_any_service_s_retry_after_is_obeyed(status: int) -> None:
    with double() as there:
        there.answer((status, b""))
        there.headers = {"Retry-After": "40"}

        sent = await AppriseSender().send(Target(name="j", url=there.address.replace("http", "json") + "/"), HELLO)

    assert f"error={status}" in (sent.error or "")
    assert (sent.permanent, sent.retry_after_ms) == (False, 40_000)
