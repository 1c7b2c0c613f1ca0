"""Services that open and close alerts: what is reported as sent was sent."""

import io
import json
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from receiver.core.types import Target
from receiver.notify.messages.message import BodyFormat, Message, MessageKind
from receiver.notify.senders import plugin
from receiver.notify.senders.delivered import DeliveredParts

# Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

KEY = "a1b2c3d4-a1b2-a1b2-a1b2-a1b2c3d4e5f6"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The path and the JSON of each request; the service takes all of them."""
    found: list[tuple[str, Any]] = []

    def answer(self: HTTPAdapter, request: requests.PreparedRequest, **_: object) -> requests.Response:
        body: Any = request.body
        found.append((request.path_url, json.loads(body or "null")))
        taken = io.BytesIO(b'{"requestId": "r1"}')
        return self.build_response(request, urllib3.HTTPResponse(taken, status=202, preload_content=False))

    monkeypatch.setattr(HTTPAdapter, "send", answer)
    return found


def send(url: str, kind: MessageKind) -> str | None:
    target = Target(name="pager", url=url)
    message = Message("a title", "the body", BodyFormat.TEXT, kind)
    return plugin.carry_message(plugin.open_target(url), target, message, DeliveredParts(url)).error


@pytest.mark.parametrize("scheme", ["opsgenie", "jira"])
@pytest.mark.parametrize("kind", list(MessageKind))
def test_every_message_opens_an_alert(scheme: str, kind: MessageKind, asked: list[tuple[str, Any]]) -> None:
    """Apprise would close or annotate one with the same title, find none, and call that a success."""
    assert send(f"{scheme}://{KEY}/", kind) is None

    assert [body["message"] for _, body in asked] == ["a title"]


def test_what_the_url_says_about_alerts_wins(asked: list[tuple[str, Any]]) -> None:
    assert send(f"opsgenie://{KEY}/?alias=pings", MessageKind.SUCCESS) is None
    assert send(f"opsgenie://{KEY}/?:failure=note", MessageKind.FAILURE) is None

    assert asked == []
