"""A picture goes with a plain text wherever the service takes files, through its real plugin, and costs no message."""

import base64
import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from msgspec.structs import replace
from requests.adapters import HTTPAdapter

from receiver.config.target_urls import style_of, takes_files
from receiver.core.types import MessageStyle, Target
from receiver.notify.messages.message import BodyFormat, Extras, Message, MessageKind
from receiver.notify.senders.sender import AppriseSender

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

HELLO = Message(title="a title", body="the body", format=BodyFormat.TEXT, kind=MessageKind.INFO)
JPEG = b"\xff\xd8\xff\xe0" + b"picture" * 100
BASE64 = base64.b64encode(JPEG)
T = "a1b2c3d4" * 8
APPRISE = f"apprise://h.example/{T[:20]}"
YES = b'{"ok":true,"success":true,"status":1,"code":0,"id":"1","result":{},"data":{"id":"1","file_id":"2"}}'
TAKERS = {
    "apprise": APPRISE,
    "brevo": f"brevo://{T}:ann@example.com/bob@example.net",
    "fluxer": f"fluxer://{'0' * 10}/{T[:40]}?format=text",
    "mailgun": f"mailgun://ann@mg.example.com/{T[:32]}-b2b2b2b2-c3c3c3c3/bob@example.net",
    "mattermost": "mmost://h.example/token?mode=bot&to=id1",
    "pushover": f"pover://{'u' * 30}@{'t' * 30}",
    "postmark": f"postmark://{T[:36]}:ann@example.com/bob@example.net",
    "sendgrid": f"sendgrid://{T}:ann@example.com/bob@example.net",
    "signal": "signal://h.example:8080/+15551234567/+15557654321",
    "telegram": "tgram://123456789:abcdefg_hijklmnop/4321/?format=text",
}
Answer = Callable[[requests.PreparedRequest], tuple[int, bytes]]


class Left(list[bytes]):
    """The bodies that were sent; `answer` says what comes back."""

    answer: Answer = staticmethod(lambda request: (200, YES))

    @property
    def with_picture(self) -> list[bool]:
        return [JPEG in body or BASE64 in body for body in self]


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Left:
    found = Left()

    def keep(self: HTTPAdapter, request: requests.PreparedRequest, **_: object) -> requests.Response:
        body: Any = request.body or b""
        found.append(body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else body.read())
        status, said = found.answer(request)
        return self.build_response(
            request, urllib3.HTTPResponse(io.BytesIO(said), status=status, preload_content=False)
        )

    monkeypatch.setattr(HTTPAdapter, "send", keep)
    monkeypatch.setattr("apprise.url.time.sleep", lambda _: None)
    return found


@pytest.fixture
def pictured(tmp_path: Path) -> Message:
    path = tmp_path / "any.jpg"
    path.write_bytes(JPEG)
    return replace(HELLO, picture=path)


def a_target(url: str) -> Target:
    return Target(name="t", url=url, style=style_of(url), takes_files=takes_files(url))


@pytest.mark.parametrize("url", TAKERS.values(), ids=list(TAKERS))
async def test_the_picture_goes_with_the_text_once(url: str, left: Left, pictured: Message) -> None:
    target = a_target(url)
    assert target.style is MessageStyle.TEXT

    sent = await AppriseSender().send(target, pictured)

    assert sent.error is None
    assert left.with_picture.count(True) == 1


@pytest.mark.parametrize(
    "url",
    ["gotify://h.example/Axxxxxxxxxxxxxx", "json://h.example/in", f"smsc://user:{T[:20]}@15551234567/15557654321"],
)
async def test_elsewhere_the_text_goes_alone(url: str, left: Left, pictured: Message) -> None:
    sent = await AppriseSender().send(a_target(url), pictured)

    assert sent.error is None
    assert left.with_picture == [False]


@pytest.mark.parametrize("refusal", [(413, b""), (400, b'{"message":"we take no such image"}'), (422, b"")], ids=str)
async def test_a_picture_that_is_refused_costs_no_message(
    refusal: tuple[int, bytes], left: Left, pictured: Message, caplog: pytest.LogCaptureFixture
) -> None:
    left.answer = lambda request: refusal if left.with_picture[-1] else (200, YES)

    with caplog.at_level(logging.WARNING):
        sent = await AppriseSender().send(a_target(APPRISE), pictured)

    assert sent.error is None
    assert left.with_picture == [True, False]
    assert "without its picture" in caplog.text


@pytest.mark.parametrize("status", [401, 404, 429, 500])
async def test_what_is_not_the_picture_s_fault_is_not_sent_again_at_once(
    status: int, left: Left, pictured: Message
) -> None:
    left.answer = lambda request: (status, b"")

    sent = await AppriseSender().send(a_target(APPRISE), pictured)

    assert f"error={status}" in (sent.error or "")
    assert left.with_picture == [True]


async def test_a_service_that_cuts_texts_short_gets_the_picture_with_its_line(
    left: Left, pictured: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apprise.plugins.apprise_api.NotifyAppriseAPI.body_maxlen", 280)

    sent = await AppriseSender().send(a_target(APPRISE), replace(pictured, extras=Extras(short="one line")))

    assert sent.error is None
    assert left.with_picture == [True]
    assert b"one line" in left[0]
