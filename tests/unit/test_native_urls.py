"""Webhook addresses as the services hand them out: accepted as they are, with a readable name and the right style."""

import pytest

from receiver.apprise_schemes import SCHEMES
from receiver.config import load_settings
from receiver.config.native_hosts import NATIVE_HOSTS
from receiver.config.target_urls import service_of
from receiver.core.types import MessageStyle
from receiver.notify.senders.sender import check_target

SLACK, DISCORD, NTFY, TEXT = MessageStyle.SLACK, MessageStyle.DISCORD, MessageStyle.NTFY, MessageStyle.TEXT
A, B, WEBHOOK = "A" * 9, "B" * 9, "0000000000/" + "B" * 40
LONG = "d" * 80


@pytest.mark.parametrize(
    ("url", "service", "style"),
    [
        (f"https://hooks.slack.com/services/{A}/{B}/{'c' * 24}", "slack", SLACK),
        (f"HTTPS://Hooks.Slack.com/services/{A}/{B}/{'c' * 24}", "slack", SLACK),
        (f"https://hooks.slack-gov.com/services/{A}/{B}/{'c' * 24}", "slack", SLACK),
        (f"https://hooks.slack.com/services/{A}/{B}/{'c' * 24}?format=text", "slack", TEXT),
        ("https://hooks.slack.com/workflows/T1JJ3T3L2/Ft07XXXX/XXXXXXXX/YYYYYYYY", "slack", TEXT),
        ("https://hooks.slack.com/triggers/T1JJ3T3L2/XXXXXXXX/YYYYYYYY", "slack", TEXT),
        *[
            (f"https://{host}/{path}/{WEBHOOK}", "discord", DISCORD)
            for host in ("discord.com", "discordapp.com", "canary.discord.com", "ptb.discord.com", "Discord.com")
            for path in ("api/webhooks", "api/v10/webhooks")
        ],
        ("https://ntfy.sh/a-topic", "ntfy", NTFY),
        ("http://ntfy.sh/a-topic", "ntfy", NTFY),
        ("https://chat.googleapis.com/v1/spaces/a/messages?key=b&token=c", "gchat", TEXT),
        ("https://prod-1.westeurope.logic.azure.com:443/workflows/643e69f83c8944/triggers/manual/paths/invoke"
         "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=KODuebWbDGYFr0z0eu", "workflows", TEXT),
        (f"https://mattermost.example.org/hooks/{'3' * 26}", "mmosts", TEXT),
        (f"https://webexapis.com/v1/webhooks/incoming/{LONG}", "webex", TEXT),
        (f"https://webhooks.t2bot.io/api/v1/matrix/hook/{'d' * 64}", "matrix", TEXT),
        ("https://inbots.zoom.us/incoming/hook/abcHook123?token=xyzVerify456", "zoom", TEXT),
        ("https://maker.ifttt.com/use/WebHookID/EventID/", "ifttt", TEXT),
        ("https://acme.ryver.com/application/webhook/ckhrjW8w672m6HG", "ryver", TEXT),
        ("https://www.stackfield.com/apiwh/11111111-2222-3333-4444-555555555555", "stackfield", TEXT),
        (f"https://example.org/notify/{'d' * 32}", "https", TEXT),  # the Apprise API: by its path alone
    ],
)  # fmt: skip
def test_a_webhook_is_taken_as_it_is_handed_out(url: str, service: str, style: MessageStyle) -> None:
    (target,) = load_settings({"RECEIVER_NOTIFY_URLS": url}).targets
    assert target.name.rpartition("-")[0] == service
    assert target.style is style
    assert check_target(target) is None


def test_the_table_names_services_that_apprise_has() -> None:
    assert set(NATIVE_HOSTS.values()) <= SCHEMES


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("https://user:a.slack.com@evil.example/x", "https"),
        ("https://hooks.slack.com.evil.example/services/x", "https"),
        ("https://evil.example/hooks.slack.com", "https"),
        ("https://u:p@discord.com:443/x", "discord"),
        ("slack://T/o/k", "slack"),
    ],
)
def test_a_service_is_known_by_its_host_alone(url: str, service: str) -> None:
    assert service_of(url) == service
