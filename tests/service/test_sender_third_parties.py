"""No message makes its reader fetch anything from a third party: Apprise's logos, which many plugins show, are off."""

import io
import re
from typing import Any

import pytest
import requests
import urllib3
from apprise.common import NotifyType
from requests.adapters import HTTPAdapter

from receiver.config.target_urls import style_of
from receiver.core.types import Target
from receiver.notify.messages.message import BodyFormat, Message, MessageKind
from receiver.notify.senders import plugin
from receiver.notify.senders.delivered import DeliveredParts

# Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

HELLO = Message(title="a title", body="the body", format=BodyFormat.TEXT, kind=MessageKind.SUCCESS)
T = "a1b2c3d4" * 8
WITH_LOGOS = {
    "bark": f"bark://h.example/{T}?image=yes",
    "cliq": f"cliq://1001.{T[:32]}.{T[:32]}/general?image=yes",
    "discord": f"discord://{T[:24]}/{T}?avatar=yes&image=yes&footer=yes&format=markdown",
    "firehydrant": f"firehydrant://{T}{T}?image=yes",
    "flock": f"flock://{T[:24]}?image=yes",
    "fluxer": f"fluxer://{'0' * 10}/{T[:40]}?avatar=yes&image=yes&footer=yes&format=markdown",
    "ilert": f"ilert://il1api{T[:38]}?image=yes",
    "join": f"join://{T[:32]}?image=yes",
    "kodi": "kodi://h.example?image=yes",
    "line": f"line://{T}/target?image=yes",
    "matrix": f"matrix://{T}@h.example/?mode=matrix&image=yes",
    "mattermost": f"mmost://h.example/{T[:26]}?image=yes",
    "notifiarr": "notifiarr://apikey/123?image=yes",
    "ntfy": "ntfy://h.example/topic?image=yes",
    "onesignal": "onesignal://appid@apikey/player?image=yes",
    "pagerduty": "pagerduty://myroutekey@myapikey?image=yes",
    "pingram": "pingram://pingram_sk_abc123/+15551235553",
    "pushward": "pushward://hlk_abc123",
    "revolt": f"revolt://{T[:24]}/{T[:24]}",
    "rocket.chat": "rocket://web/token@h.example/?avatar=yes",
    "ryver": "ryver://organisation/ckhrjW8w672m6HG?image=yes",
    "slack": f"slack://xoxb-1234-1234-{T[:12]}/#pings?image=yes&footer=yes",
    "telegram": "tgram://123456789:abcdefg_hijklmnop/4321/?image=yes",
    "teams": "workflow://h.example:443/workflow/signature/?image=yes",
    "xml": "xml://h.example/",
    "youlmk": f"youlmk://ylk_{T[:32]}?image=yes",
}


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that was sent, as text; every service answers that it took it."""
    found: list[str] = []

    def answer(self: HTTPAdapter, request: requests.PreparedRequest, **_: object) -> requests.Response:
        body: Any = request.body or b""
        head = {name: value for name, value in request.headers.items() if name != "User-Agent"}
        found.append(f"{request.url} {head} {body if isinstance(body, str) else body.decode()}")
        yes = b'{"ok":true,"success":true,"id":"1","result":{}}'
        return self.build_response(request, urllib3.HTTPResponse(io.BytesIO(yes), status=200, preload_content=False))

    monkeypatch.setattr(HTTPAdapter, "send", answer)
    monkeypatch.setattr("apprise.url.time.sleep", lambda _: None)
    return found


@pytest.mark.parametrize("url", WITH_LOGOS.values(), ids=list(WITH_LOGOS))
def test_no_plugin_links_to_apprise_s_site_or_to_a_logo(url: str, left: list[str]) -> None:
    opened = plugin.open_target(url)
    target = Target(name="t", url=url, style=style_of(url))

    assert plugin.carry_message(opened, target, HELLO, DeliveredParts(url)).error is None

    service = opened[0]
    for kind in NotifyType:
        assert service.image_url(kind, logo=True) is None
        assert service.image_url(kind) is None
        assert service.image_path(kind) is None
    assert left
    whole = "\n".join(left)
    assert "the body" in whole or "the%20body" in whole or "the+body" in whole
    assert not re.search(r"github|caronc|appriseit|apprise-|\.(?:png|ico|xsd)\b", whole, re.IGNORECASE)


@pytest.mark.parametrize("service", ["discord", "fluxer"])
def test_an_embed_without_a_link_has_none_not_an_empty_one(service: str, left: list[str]) -> None:
    """The services refuse the latter."""
    url = WITH_LOGOS[service]
    plugin.carry_message(plugin.open_target(url), Target(name="t", url=url), HELLO, DeliveredParts(url))

    assert '"author": {"name": "receiver"}' in "\n".join(left)
