"""What Apprise and a service say of a failure: what is told of it, whether it is for good, and what to do."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.types import AttemptResult
from receiver.notify.senders import failure_text
from receiver.notify.senders.failure_text import (
    ERROR_MOST,
    PAUSE_MOST_MS,
    PAUSE_MS,
    blames_blocks,
    blames_picture,
    build_failure,
    pair_answers,
)
from receiver.notify.senders.remedies import find_advice, find_remedy

URL = "slack://T0KENA/T0KENB/T0KENC"
FAILED = "Failed to send to Slack: error=200."


def told(*entries: str, url: str = URL) -> AttemptResult:
    """What is made of these log lines; those that begin like a DEBUG line are one."""
    return build_failure(pair_answers((it.startswith(("Response", "Socket")), it) for it in entries), url)


def answered(status: int, body: bytes) -> AttemptResult:
    return told(f"Failed to send to Slack: error={status}.", f"Response Details:\r\n{body!r}")


def test_every_part_of_the_url_is_masked_in_either_spelling() -> None:
    url = "json://ann:Pa%24%24word@Host.example.com:8443/T0KEN?key=s%C3%A9cret"

    sent = told("ann Pa$$word Pa%24%24word host.example.com 8443 t0ken sécret said no, error=500.", url=url)

    assert sent.error == "*** *** *** *** *** *** *** said no, error=500"


def test_an_answer_that_repeats_the_url_is_masked_too() -> None:
    sent = answered(404, b'{"error": "no hook T0KENB/t0kenc"}')

    assert sent.error == "Failed to send to Slack: error=404: no hook ***/***"


def test_an_error_text_is_one_bounded_line() -> None:
    sent = told("a\r\n\x1b[31m" + "x" * 10_000, "Response Details:\r\n" + repr(b"\x1b[2J" + b"y" * 10_000))

    assert sent.error is not None
    assert len(sent.error) <= ERROR_MOST
    assert "\n" not in sent.error
    assert "\x1b" not in sent.error


@given(st.text(), st.text())
def test_whatever_comes_back_has_a_text_that_is_one_line(warning: str, answer: str) -> None:
    for detail in (f"Response Details:\r\n{answer}", f"Response Details: {answer.encode()!r}", f"Socket X: {answer}"):
        error = told(warning, detail).error

        assert error
        assert not set(error) & set("\r\n\0\x1b\u2028")
        assert len(error) <= ERROR_MOST


FINAL = {
    (200, b'{"ok":false,"error":"channel_not_found"}'): "this channel does not exist",
    (200, b'{"ok":false,"error":"not_in_channel"}'): "invite",
    (200, b'{"ok":false,"error":"invalid_auth"}'): "token",
    (403, b"invalid_token"): "webhook",
    (404, b"no_service"): "webhook",
    (404, b"channel_not_found"): "channel",
    (410, b"channel_is_archived"): "channel",
    (403, b"action_prohibited"): "administrator",
    (404, b'{"message": "Unknown Webhook", "code": 10015}'): "webhook",
    (403, b'{"ok":false,"description":"Forbidden: bot was blocked by the user"}'): "unblock",
    (400, b'{"ok":false,"description":"Bad Request: chat not found"}'): "channel",
    (401, b""): "password or token",
    (410, b"<html>gone</html>"): "does not exist",
}


@pytest.mark.parametrize(("came", "what_to_do"), FINAL.items(), ids=str)
def test_what_looks_final_says_what_to_do(came: tuple[int, bytes], what_to_do: str) -> None:
    sent = answered(*came)

    assert sent.looks_final
    assert not sent.permanent, "an answer never is: a proxy may have given it"
    assert what_to_do in (find_remedy(sent.error or "") or "")


PASSING = {
    (200, b'{"ok":false,"error":"ratelimited"}'): "rate or a digest",
    (500, b"rollup_error"): "by itself",
    (503, b"<html>nginx</html>"): "by itself",
    (400, b"invalid_payload"): "check the target's URL",
    (400, b"invalid_blocks"): "picture",
    (413, b""): "picture",
}


@pytest.mark.parametrize(("came", "what_to_do"), PASSING.items(), ids=str)
def test_what_may_pass_is_tried_again(came: tuple[int, bytes], what_to_do: str) -> None:
    sent = answered(*came)

    assert not sent.looks_final
    assert what_to_do in (find_remedy(sent.error or "") or "")


@pytest.mark.parametrize(
    ("detail", "says", "what_to_do"),
    [
        ("Failed to resolve 'x' ([Errno -2] Name or service not known)", "host name is not known", "DNS"),
        ("[Errno -3] Temporary failure in name resolution", "host name is not known", "DNS"),
        ("NewConnectionError: [Errno 111] Connection refused", "connection was refused", "host and port"),
        ("HTTPSConnectionPool: Read timed out. (read timeout=4.0)", "no answer in time", "firewall"),
        ("SSLError: CERTIFICATE_VERIFY_FAILED", "certificate", "certificate"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "no TLS", "port"),
        ("('Connection aborted.', RemoteDisconnected('Remote end closed'))", "connection was cut", "host and port"),
    ],
)
def test_a_connection_that_failed_says_why_and_is_tried_again(detail: str, says: str, what_to_do: str) -> None:
    sent = told("A Connection error occurred posting to Slack.", f"Socket Exception: {detail}")

    assert says in (sent.error or "")
    assert what_to_do in (find_remedy(sent.error or "") or "")
    assert not sent.looks_final


def test_a_mail_server_s_answer_is_told_with_the_recipient_it_is_about() -> None:
    """Apprise tells the answer before the line that it belongs to."""
    sent = told(
        "Socket Exception: {'ann@x.example': (450, b'4.2.0 come later')}",
        'Sending email to "ann@x.example" failed.',
        "Socket Exception: {'bob@x.example': (550, b'5.1.1 no such user')}",
        'Sending email to "bob@x.example" failed.',
    )

    assert sent.error == (
        'Sending email to "ann@x.example" failed: the mail server says 450 4.2.0 come later. '
        'Sending email to "bob@x.example" failed: the mail server says 550 5.1.1 no such user'
    )
    assert not sent.looks_final


def test_a_password_that_is_not_taken_looks_final() -> None:
    sent = told(
        'Connection error while submitting email to "smtp.x.example"',
        "Socket Exception: (535, b'5.7.8 Error: authentication failed')",
    )

    assert sent.looks_final
    assert "app password" in (find_remedy(sent.error or "") or "")


STARTTLS, LOGIN = "wants TLS first: use mailtos://", "wants a login"
APP_PASSWORD, SENDER, LATER = "app password", "does not let this account send from this address", "try later"
NO_SUCH, RULES, RELAY = "refuses this recipient", "by its rules", "passes on no mail"
MAIL_REPLIES = [  # as smtplib shows them, with the advice, and whether it looks final
    ("(530, b'5.7.0 Must issue a STARTTLS command first', 'ann@x.example')", STARTTLS, True),
    ("(538, b'5.7.11 Encryption required for requested authentication mechanism')", STARTTLS, True),
    ("(530, b'5.7.1 Authentication required', 'ann@x.example')", LOGIN, True),
    ("(530, b'5.7.57 Client not authenticated to send mail', 'ann@x.example')", LOGIN, True),
    ("(550, b'5.7.0 Authentication is required', 'ann@x.example')", LOGIN, True),
    ("(535, b'5.7.8 Error: authentication failed: UGFzc3dvcmQ6')", APP_PASSWORD, True),
    ("(534, b'5.7.9 Application-specific password required')", APP_PASSWORD, True),
    ("(535, b'5.7.139 Authentication unsuccessful, basic authentication is disabled.')", "no longer takes", True),
    ("(454, b'4.7.0 Temporary authentication failure: Connection lost')", LATER, False),
    ("(454, b'4.7.0 TLS not available due to local problem')", LATER, False),
    ("{'bob@x.example': (454, b'4.7.1 <bob@x.example>: Relay access denied')}", RELAY, False),
    ("{'bob@x.example': (554, b'5.7.1 <bob@x.example>: Relay access denied')}", RELAY, False),
    ("{'bob@x.example': (550, b'relay not permitted')}", RELAY, True),
    ("(553, b'5.7.1 <ann@x.example>: Sender address rejected: not owned by user bob', 'ann@x.example')", SENDER, True),
    ("{'bob@x.example': (553, b'5.7.1 <ann@x.example>: Sender address rejected: not owned by user')}", SENDER, True),
    ("(553, b'sorry, that is not you', 'ann@x.example')", SENDER, True),
    ("(550, b'5.7.60 SMTP; Client does not have permissions to send as this sender')", SENDER, True),
    ("(554, b'5.2.252 SendAsDenied; ann@x.example not allowed to send as eve@x.example')", SENDER, False),
    ("(550, b'5.7.26 Unauthenticated email from x.example is not accepted due to DMARC policy')", "SPF, DKIM", True),
    ("(550, b'5.7.1 Message rejected as spam')", RULES, True),
    ("{'bob@x.example': (550, b'5.1.1 no such user')}", NO_SUCH, True),
    ("{'bob@x.example': (553, b'5.1.3 not a valid address')}", NO_SUCH, True),
    ("{'bob@x.example': (452, b'4.2.2 The mailbox is over quota')}", "mailbox is full", False),
    ("{'bob@x.example': (552, b'5.2.2 Mailbox full')}", "mailbox is full", False),
    ("{'bob@x.example': (450, b'4.2.0 Greylisted')}", LATER, False),
    ("(421, b'4.7.0 Too many connections')", LATER, False),
    ("SMTP AUTH extension not supported by server.", "use mailtos://", False),
    ("STARTTLS extension not supported by server.", "?mode=ssl", False),
]


@pytest.mark.parametrize(("reply", "what_to_do", "final"), MAIL_REPLIES, ids=[it[0][:50] for it in MAIL_REPLIES])
def test_a_mail_server_s_reply_has_its_advice(reply: str, what_to_do: str, final: bool) -> None:
    sent = told("Connection error while submitting email", f"Socket Exception: {reply}", url="mailto://h.example")

    assert what_to_do in (find_remedy(sent.error or "") or "no advice")
    assert sent.looks_final is final


def test_a_status_of_the_service_s_own_counts_less_than_the_answer_s() -> None:
    line = [failure_text.FailureLine("Failed to send Twilio notification: Authenticate, error=20003")]
    assert build_failure(line, URL, status=401).looks_final
    assert not build_failure(line, URL, status=500).looks_final
    assert not build_failure([failure_text.FailureLine("Failed: error=500")], URL, status=401).looks_final


@pytest.mark.parametrize(
    ("status", "body", "of_message"),
    [
        (400, b"", True),
        (413, b"", True),
        (422, b'{"error":"a forbidden word"}', True),
        (400, b"chat not found", False),  # whatever the message
        *((status, b"", False) for status in (401, 402, 403, 404, 405, 408, 410, 429, 500, 503)),
    ],
)
def test_an_answer_that_may_be_about_the_message_only_is_known(status: int, body: bytes, of_message: bool) -> None:
    sent = answered(status, body)

    assert sent.of_message is of_message
    assert not sent.permanent


def test_one_of_several_that_is_not_about_the_message_makes_it_the_target_s() -> None:
    lines = [failure_text.FailureLine(f"Failed: error={status}") for status in (400, 500)]
    assert not build_failure(lines, URL).of_message
    assert build_failure(lines[:1] * 2, URL).of_message


def test_a_mail_that_is_refused_for_what_it_holds_is_known() -> None:
    line = [failure_text.FailureLine("Failed", "the mail server says 554 5.7.1 spam")]
    assert build_failure(line, URL).of_message
    assert not build_failure([failure_text.FailureLine("the mail server says 550 5.1.1 nobody")], URL).of_message


def test_a_url_that_names_no_recipient_is_for_good_unless_the_service_may_have_said_so() -> None:
    line = failure_text.FailureLine("There are no ntfy topics to notify")
    assert build_failure([line], URL).permanent
    asked = build_failure([line], URL, status=200)  # Telegram's plugin asks who has written to the bot
    assert (asked.permanent, asked.looks_final) == (False, True)
    assert not build_failure([line, failure_text.FailureLine("Failed: error=404")], URL).permanent


def test_of_a_code_of_the_service_s_own_the_answer_s_status_says_whom_it_is_about() -> None:
    line = [failure_text.FailureLine("Failed to send Twilio notification: error=21617")]
    assert build_failure(line, URL, status=400).of_message
    assert not build_failure(line, URL, status=500).of_message
    assert not build_failure([], URL, status=400).of_message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"errors":["one","two","three","four"]}', "one, two, three"),
        (b'{"errors":[{"message":"one","code":7}]}', "one"),
        (b'{"errors":{"content":{"_errors":[{"code":"X","message":"too long"}]}}}', "too long"),
        (b'{"msg":"one","errmsg":"two"}', "one, two"),
        (b'{"ErrorCode":10,"Message":"one"}', "one"),
        (b'{"messages":[{"status":"4","error-text":"one"}]}', "one"),
        (b'{"data":{"error":"one","error_code":"E"}}', "one"),
        (b'{"error":"one","message":"one"}', "one"),
        (b'{"code":7,"status":"bad"}', None),
    ],
)
def test_a_reason_is_found_wherever_a_service_puts_it(body: bytes, reason: str | None) -> None:
    assert answered(400, body).error == "Failed to send to Slack: error=400" + (f": {reason}" if reason else "")


def test_a_reason_without_an_end_is_read_so_far_and_no_further() -> None:
    body: object = "deep"
    for _ in range(50):
        body = {"error": body}
    assert answered(400, msgspec.json.encode(body)).error == "Failed to send to Slack: error=400"


def test_a_reason_that_the_warning_has_already_is_not_repeated() -> None:
    sent = told("Failed to send: chat not found, error=400.", "Response Details:\r\nb'chat not found'")
    assert sent.error == "Failed to send: chat not found, error=400"


def test_one_of_several_that_may_pass_keeps_all_alive() -> None:
    sent = told(
        "Failed to send to Slack: error=404.",
        "Response Details:\r\nb'channel_not_found'",
        "Failed to send to Slack: error=500.",
        "Response Details:\r\nb'rollup_error'",
    )

    assert not sent.looks_final


@pytest.mark.parametrize(
    ("status", "body", "pause_ms"),
    [
        (429, b"", PAUSE_MS),
        (429, b'{"ok":false,"parameters":{"retry_after":14}}', 14_000),
        (429, b'{"message":"You are being rate limited.","retry_after":0.3}', 1_000),
        (429, b'{"retry_after":1e99}', PAUSE_MS),
        (42901, b'{"code":42901,"error":"limit reached"}', PAUSE_MS),
        (500, b"", None),
        (404, b"429", None),
    ],
)
def test_how_long_to_wait_is_learned_where_the_answer_says_it(status: int, body: bytes, pause_ms: int | None) -> None:
    sent = answered(status, body)

    assert sent.retry_after_ms == pause_ms
    assert (sent.retry_after_ms or 0) <= PAUSE_MOST_MS


@pytest.mark.parametrize(
    ("error", "picture"),
    [
        ("Failed to send to Slack: error=400: invalid_blocks", True),
        ("Failed to send to Slack: error=400: invalid_attachments", True),
        ("Failed to send to Slack: error=200: invalid_blocks, downloading image failed [json-pointer:/blocks/2]", True),
        ("Failed to send Discord 1 attachment(s): error=403", True),
        ("Failed to send JSON success notification: error=413", True),
        ("Failed to send Telegram attachment: Bad Request: PHOTO_INVALID_DIMENSIONS, error=400", True),
        ('Sending email to "***" failed: the mail server says 552 5.3.4 message too large', True),
        ("Failed to send to Slack: error=404: no_service", False),
        ("not finished within 30 s; it may have arrived anyway", False),
        ("A Connection error occurred posting to Slack: no answer in time", False),
    ],
)
def test_a_picture_is_blamed_for_what_is_its_fault_only(error: str, picture: bool) -> None:
    assert blames_picture(error) is picture


def test_what_the_picture_is_to_blame_for_does_not_look_final() -> None:
    """The next try goes without it."""
    sent = told("Failed to send Discord 1 attachment(s): Forbidden, error=403.")

    assert not sent.looks_final
    assert not blames_blocks(sent.error or "")


@pytest.mark.parametrize("user", ["alice:s3cret-word", "alice:s3cret%21word"])
def test_an_echoed_authorization_is_masked_too(user: str) -> None:
    header = base64.b64encode(user.replace("%21", "!").encode()).decode()
    failed = failure_text.build_failure(
        [failure_text.FailureLine(f"json said: Authorization: Basic {header} is wrong")], f"json://{user}@h/p"
    )
    assert failed.error is not None
    assert header.rstrip("=") not in failed.error
    assert "is wrong" in failed.error


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("error=404", "What the target's URL names does not exist (any more): check the URL"),
        ("error=503", "Fix the target"),  # "it is tried again by itself" is no longer true
        ("error=413", "Fix the target"),
        ("nobody knows", "Fix the target"),
    ],
)
def test_a_message_that_was_given_up_has_its_advice_as_a_sentence(error: str, advice: str) -> None:
    assert find_advice(error) == advice
