"""A table of real answers of services, each through its real plugin: what is said of it, and the advice."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from receiver.config.target_urls import style_of
from receiver.core.types import AttemptResult, Target
from receiver.notify.messages.message import BodyFormat, Message, MessageKind
from receiver.notify.senders.remedies import find_remedy
from receiver.notify.senders.sender import AppriseSender

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

HELLO = Message(title="a title", body="the body", format=BodyFormat.TEXT, kind=MessageKind.INFO)
Send = Callable[[str, int, bytes], Any]

A, B, D = "a1" * 16, "b2" * 12, "d3" * 20
SLACK, SLACK_BOT = "slack://T0KENA/T0KENB/T0KENC", "slack://xoxb-1234-1234-abcdef/#pings"
DISCORD, TELEGRAM = "discord://123456789/t0ken-of-discord", "tgram://123456789:abcdefg_hijklmnop/4321/"
PUSHOVER, ZULIP = f"pover://{'u' * 30}@{'t' * 30}", f"zulip://bot@org.zulipchat.com/{A}/stream"
MATTERMOST, ROCKET = f"mmost://chat.example/{'m' * 26}", f"rocket://{'r' * 10}/{B}@chat.example/#c"
MATRIX, WORKFLOWS = (
    "matrixs://ann:pa55w0rd@m.example/#room?discovery=no",
    f"workflows://logic.example:443/{A}/{'s' * 43}",
)
DINGTALK, WECOM, FEISHU, LARK = f"dingtalk://{D}", f"wecombot://{A}", f"feishu://{A}", f"lark://{A}"
TWILIO = f"twilio://AC{A}:{A}@15551234567/15557654321"
MAILERS = {"from": "ann@example.com", "to": "bob@example.net"}

WEBHOOK, CHANNEL, CREDENTIALS = "make a new one there", "check the channel", "rejects our credentials"
RECIPIENT, SENDER, BUSY = "does not know this recipient", "does not accept this sender", "a rate or a digest"
ROBOT, REDIRECT, THEIRS = "its security settings", "redirects are never followed", "the fault is on its side"

# service, URL, status and body of the answer, what the error has to say, part of the advice
ANSWERS = [
    ("slack", SLACK, 404, b"no_service", "no_service", WEBHOOK),
    ("slack", SLACK, 403, b"action_prohibited", "action_prohibited", "administrator"),
    ("slack", SLACK_BOT, 200, b'{"ok":false,"error":"not_in_channel"}', "not_in_channel", "invite it"),
    ("slack", SLACK_BOT, 200, b'{"ok":false,"error":"missing_scope","needed":"chat:write"}', "scope", "chat:write"),
    ("discord", DISCORD, 404, b'{"message": "Unknown Webhook", "code": 10015}', "Unknown Webhook", WEBHOOK),
    ("discord", DISCORD, 401, b'{"message": "Invalid Webhook Token", "code": 50027}', "Invalid Webhook", WEBHOOK),
    (
        "discord",
        DISCORD,
        400,
        b'{"message": "Invalid Form Body", "code": 50035, "errors": {"content": {"_errors": [{"code": '
        b'"BASE_TYPE_MAX_LENGTH", "message": "Must be 2000 or fewer in length."}]}}}',
        "Must be 2000 or fewer",
        "does not understand the request",
    ),
    ("telegram", TELEGRAM, 401, b'{"ok":false,"error_code":401,"description":"Unauthorized"}', "401", CREDENTIALS),
    ("telegram", TELEGRAM, 400, b'{"ok":false,"description":"Bad Request: chat not found"}', "chat not", CHANNEL),
    (
        "telegram",
        TELEGRAM,
        400,
        b'{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat",'
        b'"parameters":{"migrate_to_chat_id":-1001234567890}}',
        "supergroup",
        "begins with -100",
    ),
    ("ntfy", "ntfys://ntfy.example/topic", 403, b'{"code":40301,"http":403,"error":"forbidden"}', "403", CREDENTIALS),
    (
        "ntfy",
        "ntfys://ntfy.example/topic",
        429,
        b'{"code":42908,"http":429,"error":"limit reached: daily message quota reached"}',
        "daily message quota",
        BUSY,
    ),
    (
        "pushover",
        PUSHOVER,
        400,
        b'{"user":"invalid","errors":["user identifier is not a valid user, group, or subscribed user key"]}',
        "not a valid user",
        RECIPIENT,
    ),
    (
        "pushover",
        PUSHOVER,
        400,
        b'{"token":"invalid","errors":["application token is invalid, see https://pushover.net/api"],"status":0}',
        "token is invalid",
        CREDENTIALS,
    ),
    (
        "pushover",
        PUSHOVER,
        429,
        b'{"errors":["application has exceeded its monthly message limit"],"status":0}',
        "monthly message limit",
        "no messages left",
    ),
    (
        "gotify",
        "gotify://gotify.example/Axxxxxxxxxxxxxx",
        401,
        b'{"error":"Unauthorized","errorCode":401,"errorDescription":"you need to provide a valid access token"}',
        "valid access token",
        CREDENTIALS,
    ),
    ("zulip", ZULIP, 401, b'{"result":"error","msg":"Invalid API key","code":"UNAUTHORIZED"}', "API key", CREDENTIALS),
    (
        "zulip",
        ZULIP,
        400,
        b'{"result":"error","msg":"Channel \'pings\' does not exist","code":"STREAM_DOES_NOT_EXIST"}',
        "Channel 'pings' does not exist",
        CHANNEL,
    ),
    (
        "mattermost",
        MATTERMOST,
        400,
        b'{"id":"web.incoming_webhook.invalid.app_error","message":"Invalid webhook.","status_code":400}',
        "Invalid webhook",
        WEBHOOK,
    ),
    ("rocket.chat", ROCKET, 404, b'{"success":false,"error":"error-invalid-hook"}', "invalid-hook", WEBHOOK),
    (
        "matrix",
        MATRIX,
        403,
        b'{"errcode":"M_FORBIDDEN","error":"Invalid username/password"}',
        "Invalid username/password",
        CREDENTIALS,
    ),
    (
        "teams",
        WORKFLOWS,
        401,
        b'{"error":{"code":"DirectApiAuthorizationRequired","message":"The request must be authenticated only by '
        b'Shared Access scheme."}}',
        "Shared Access scheme",
        CREDENTIALS,
    ),
    (
        "google chat",
        f"gchat://spaces/{A}/{D}",
        400,
        b'{"error":{"code":400,"message":"API key not valid. Please pass a valid API key."}}',
        "API key not valid",
        CREDENTIALS,
    ),
    ("webex", f"wxteams://{D}{D}", 404, b'{"message":"Not Found","errors":[]}', "404", "does not exist"),
    ("dingtalk", DINGTALK, 200, b'{"errcode":310000,"errmsg":"keywords not in content"}', "keywords not", ROBOT),
    ("dingtalk", DINGTALK, 200, b'{"errcode":300005,"errmsg":"token is not exist"}', "token is not exist", WEBHOOK),
    ("wecom", WECOM, 200, b'{"errcode":93000,"errmsg":"invalid webhook url, hint: [1]"}', "invalid webhook", WEBHOOK),
    (
        "feishu",
        FEISHU,
        200,
        b'{"code":19001,"data":{},"msg":"param invalid: incoming webhook access token invalid"}',
        "access token invalid",
        WEBHOOK,
    ),
    ("lark", LARK, 200, b'{"code":19024,"msg":"Key Words Not Found"}', "Key Words Not Found", ROBOT),
    (
        "pushbullet",
        f"pbul://o.{A}",
        401,
        b'{"error":{"code":"invalid_access_token","type":"invalid_request","message":"Access token is missing or '
        b'invalid."}}',
        "missing or invalid",
        CREDENTIALS,
    ),
    ("twilio", TWILIO, 401, b'{"code":20003,"message":"Authenticate","status":401}', "Authenticate", CREDENTIALS),
    (
        "twilio",
        TWILIO,
        400,
        b'{"code":21608,"message":"The number +1555 is unverified. Trial accounts cannot send messages to unverified '
        b'numbers","status":400}',
        "is unverified",
        RECIPIENT,
    ),
    (
        "ifttt",
        f"ifttt://{B}@event",
        401,
        b'{"errors":[{"message":"You sent an invalid key."}]}',
        "invalid",
        CREDENTIALS,
    ),
    ("home assistant", f"hassio://ha.example/{D}", 401, b"401: Unauthorized", "Unauthorized", CREDENTIALS),
    (
        "signal",
        "signal://signal.example:8080/+15551234567/+15557654321",
        400,
        b'{"error":"Failed to send message: Unregistered user"}',
        "Unregistered user",
        RECIPIENT,
    ),
    (
        "sendgrid",
        f"sendgrid://{D}:ann@example.com/bob@example.net",
        403,
        b'{"errors":[{"message":"The from address does not match a verified Sender Identity.","field":"from"}]}',
        "verified Sender Identity",
        SENDER,
    ),
    (
        "resend",
        f"resend://{D}:ann@example.com/bob@example.net",
        403,
        b'{"statusCode":403,"name":"validation_error","message":"The example.com domain is not verified."}',
        "domain is not verified",
        SENDER,
    ),
    ("mailgun", f"mailgun://ann@mg.example.com/{A}-b2b2b2b2-c3c3c3c3", 401, b"Forbidden", "Forbidden", CREDENTIALS),
    ("brevo", f"brevo://{D}:ann@example.com/bob@example.net", 401, b'{"message":"Key not found"}', "Key", CREDENTIALS),
    (
        "pagerduty",
        f"pagerduty://{A}@{A}",
        400,
        b'{"status":"invalid event","message":"Event object is invalid","errors":["Length of \'routing_key\' is '
        b'incorrect (should be 32 characters)"]}',
        "'routing_key' is incorrect",
        CREDENTIALS,
    ),
    ("mastodon", f"toots://{D}@m.example", 401, b'{"error":"The access token is invalid"}', "access", CREDENTIALS),
    (
        "line",
        f"line://{D}/U1",
        401,
        b'{"message":"Authentication failed. Confirm that the access token is valid."}',
        "Authentication failed",
        CREDENTIALS,
    ),
    ("bark", f"bark://bark.example/{B}", 400, b'{"code":400,"message":"failed to get device token"}', "400", RECIPIENT),
    ("threema", f"threema://*THREEMA@{'s' * 16}/ABCDEFGH", 402, b"", "402", "no messages left"),
    ("json", "json://h.example/p", 301, b"", "error=301", REDIRECT),
    ("json", "json://h.example/p", 308, b"", "error=308", REDIRECT),
    ("json", "json://h.example/p", 405, b"<html>", "error=405", "does not take messages"),
    ("json", "json://h.example/p", 502, b"<html>nginx</html>", "error=502", THEIRS),
]
LOOKS_FINAL = {WEBHOOK, CREDENTIALS, SENDER}  # where the status leaves no doubt


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Send:
    """Sends HELLO to a URL whose service answers so, without a network."""

    async def send(url: str, status: int, body: bytes) -> AttemptResult:
        def answer(self: HTTPAdapter, request: requests.PreparedRequest, **_: object) -> requests.Response:
            raw = urllib3.HTTPResponse(io.BytesIO(body), status=status, preload_content=False)
            return self.build_response(request, raw)

        monkeypatch.setattr(HTTPAdapter, "send", answer)
        return await AppriseSender(timeout_s=60).send(Target(name="t", url=url, style=style_of(url)), HELLO)

    return send


@pytest.mark.parametrize(
    ("url", "status", "body", "says", "advice"), [it[1:] for it in ANSWERS], ids=[f"{it[0]} {it[2]}" for it in ANSWERS]
)
async def test_a_real_answer_has_its_words_and_the_right_advice(
    send: Send, url: str, status: int, body: bytes, says: str, advice: str
) -> None:
    sent = await send(url, status, body)

    assert says in (sent.error or "")
    assert advice in (find_remedy(sent.error or "") or "no advice")
    assert "mail server" not in (find_remedy(sent.error or "") or "")
    assert sent.looks_final or not (advice in LOOKS_FINAL and status in (401, 403, 404))
    assert not sent.permanent, "the next answer may be another"


def test_the_table_has_twenty_services() -> None:
    assert len({it[0] for it in ANSWERS}) >= 20


@pytest.mark.parametrize("url", [f"kavenegar://{A}/12", "ntfys://ntfy.example", "mailto://u:p@example.com?to=,"])
async def test_a_url_that_names_no_recipient_is_for_good_and_says_so(send: Send, url: str) -> None:
    sent = await send(url, 200, b"{}")

    assert sent.permanent
    assert "names no recipient" in (find_remedy(sent.error or "") or "")
