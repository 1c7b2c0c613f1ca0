"""Turns what Apprise logs about a failed send into one line: what went wrong, and what a person can do.

Pure. Texts are all that Apprise gives: its warnings, and its DEBUG lines about the service's answer. Promises that no
text shows a part of the target's URL. If the text does not say otherwise, a failure counts as temporary.
"""

import math
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from receiver.core.sanitize import one_line
from receiver.core.types import AttemptResult

ERROR_MOST = 500  # characters of an error text
PAUSE_MS = 30_000  # after a 429 that does not say how long
PAUSE_MOST_MS = 3_600_000
ANSWERS = ("Response Details:", "Socket Exception")  # how Apprise's DEBUG lines about the answer begin
POSTED = (
    "Sent Discord notification",
    "Sent Telegram notification",
)  # INFO lines: the text was sent, no file yet
_ANSWER_MOST = 200  # characters quoted from an answer
_REASONS_MOST = 3  # of a list in an answer
_DEPTH_MOST = 6  # of an answer that is looked at
_REASON_KEYS = (  # in lower case, with _ for -, in the order in which they are quoted
    *("error", "description", "error_description", "errordescription", "message", "error_message", "errormessage"),
    *("msg", "errmsg", "detail", "reason", "error_text", "errors", "_errors", "messages", "data", "response_metadata"),
)

# Patterns. `re` compiles each with the first failure, and a start does not wait for them.
_SCHEME = r"\s*[a-z][a-z0-9+.-]{0,31}://"
# An HTTP status as Apprise's plugins print it (ntfy adds two digits), or an SMTP reply to a mail or recipient.
_STATUS = r"\berror=(\d{3})(?:\d\d)?\b"
_HTTP_ERROR = r"\berror=[45]\d\d(?:\d\d)?\b"
_SMTP = r"(?:refused: |server says )([45]\d\d)\b"
_SMTP_REPLY = r"\(([45]\d\d), b(['\"])(.*?)\2(, ['\"])?"  # the last is there if it is about the sender
_OF_SENDER = {"501", "550", "553", "554"}
_SUMMARY = r'Sending email to ".*" failed\.?'  # follows the lines that say why, if there are any
_FINAL_STATUS = {"401", "403", "404", "410"}
_MESSAGE_STATUS = {"400", "413", "422"}  # of the message, or of all
_MESSAGE_SMTP = {"552", "554"}
_NOT_FINAL_SMTP = {"552", "554"}  # too large; any reason, for example a mail taken for spam
_NO_RECIPIENT = r"There (?:are|were) not? .{0,60}to notify"  # Apprise's: the URL names none
_FINAL_WORDS = (
    # Slack's, for webhooks and the Web API; most come with status 200.
    r"\b(?:invalid_token|invalid_auth|not_authed|account_inactive|token_revoked|token_expired|missing_scope|"
    r"not_allowed_token_type|org_login_required|ekm_access_denied|no_permission|no_service|no_team|no_active_hooks|"
    r"channel_not_found|channel_is_archived|is_archived|not_in_channel|action_prohibited|user_not_found|"
    r"posting_to_general_channel_denied|restricted_action)\b"
    r"|chat not found|bot was (?:blocked|kicked)|user is deactivated"  # Telegram's, some with status 400
    r"|Unknown (?:Webhook|Channel)|Invalid Webhook|invalid[-_]hook"  # Discord's and Mattermost's, Rocket.Chat's
    r"|webhook access token invalid|token is not exist"  # Feishu's, DingTalk's
    rf"|{_NO_RECIPIENT}"
)
_PICTURE = (
    r"\binvalid_(?:blocks|attachments)\b|\bimage_url\b|download\w* image|\berror=413|\btoo large\b|entity too large|"
    r"\battachment|\bserver says 552\b|PHOTO_\w+|IMAGE_PROCESS|wrong (?:file identifier|type of the web page)|"
    r"failed to get HTTP URL content|file (?:is )?too big"
)
_ELSEWHERE = (
    r"\berror=(?:401|403|404|408|410|429|5\d\d)\b|asks us to wait|host name is not known|connection|certificate|"
    r"\bTLS\b|no answer in time|no route|mail server|to notify\b"
)
_OF_FILE = r"(?:Discord|Telegram) (?:\d+ )?attachment|rate limiting in effect"
_BLOCKS = r"\binvalid_(?:blocks|attachments)\b|Invalid Form Body"

# A pattern in a DEBUG line about a connection, and what it means.
_CONNECTION = (
    (r"AUTH extension not supported|No suitable authentication method", "the mail server offers no login here"),
    (r"STARTTLS extension not supported", "the mail server cannot switch to TLS here"),
    (r"not known|resolve|getaddrinfo|name resolution|No address associated|gaierror", "its host name is not known"),
    (r"Connection refused|Errno 111", "the connection was refused"),
    (r"CERTIFICATE_VERIFY|certificate", "its TLS certificate is not accepted"),
    (r"WRONG_VERSION|SSL|TLS", "no TLS connection could be made"),
    (r"timed? ?out", "no answer in time"),
    (r"unreachable|No route", "there is no route to it"),
    (r"reset|aborted|RemoteDisconnected|closed|Broken pipe|BadStatusLine", "the connection was cut"),
)


class FailureLine(Struct, frozen=True):
    """A warning of Apprise's, and in words what the other side answered, if that is known."""

    text: str
    answer: str | None = None
    pause_ms: int | None = None  # how long the answer asks us to wait

    @property
    def full_text(self) -> str:
        """Both in one text; Apprise may have put the answer into the warning already."""
        text = self.text.rstrip(". ")
        known = self.answer is not None and self.answer.lower() in text.lower()
        return f"{text}: {self.answer}" if text and self.answer and not known else text or self.answer or ""


def pair_answers(entries: Iterable[tuple[bool, str]]) -> list[FailureLine]:
    """Pairs each warning with its answer: the one that follows; for email, the one before.

    `entries` are Apprise's log lines in order: whether it is a DEBUG line, and its text.
    """
    found: list[FailureLine] = []
    ahead: FailureLine | None = None
    for is_answer, text in entries:
        if not is_answer:
            found.append(FailureLine(text) if ahead is None else FailureLine(text, ahead.answer, ahead.pause_ms))
            ahead = None
            continue
        parsed = _parse_answer(text)
        if found and found[-1].answer is None and not re.fullmatch(_SUMMARY, found[-1].text):
            found[-1] = FailureLine(found[-1].text, parsed.answer, parsed.pause_ms)
        else:
            ahead = parsed
    return found if ahead is None else [*found, ahead]


def build_failure(
    lines: list[FailureLine], url: str, asked_s: float | None = None, status: int | None = None
) -> AttemptResult:
    """The result of a failed send. It looks final only if every line does: a URL may name several recipients.

    `asked_s` is how long an answer's headers asked us to wait. `status` is the last answer's: some plugins log another
    number, a code of the service's own. Without an answer, that no recipient is named is the URL's fault: permanent.
    """
    reasons = [line for line in lines if line.answer or not re.fullmatch(_SUMMARY, line.text)]
    whole = ". ".join(filter(None, (line.full_text for line in lines)))
    final = [_is_final(line) for line in reasons]
    of_message = [_is_of_message(line) for line in reasons]
    if len(reasons) == 1 and not re.search(_HTTP_ERROR, reasons[0].text):
        final = [final[0] or str(status) in _FINAL_STATUS]
        of_message = [of_message[0] or str(status) in _MESSAGE_STATUS]
    whole = whole.replace("., error=", ", error=")  # of the plugins that put a sentence before the status
    error = redact_url(whole, url) or "Apprise reports a failure without a reason"
    looks_final = bool(final) and all(final) and not blames_picture(error)
    return AttemptResult(
        error=error,
        permanent=looks_final and status is None and all(re.search(_NO_RECIPIENT, it.full_text) for it in reasons),
        looks_final=looks_final,
        of_message=not looks_final and bool(of_message) and all(of_message),
        retry_after_ms=_find_pause(lines, asked_s),
    )


def blames_picture(error: str) -> bool:
    """Whether the picture, or what shows it, may have caused the error: the message may pass without it."""
    return bool(re.search(_PICTURE, error, re.IGNORECASE))


def may_blame_picture(error: str | None) -> bool:
    """Whether nothing else is known to have caused the error: no connection, login, address or limit."""
    return error is not None and (blames_picture(error) or not re.search(_ELSEWHERE, error, re.IGNORECASE))


def blames_only_files(lines: list[FailureLine]) -> bool:
    """Whether only files failed, which go to Discord and Telegram in a message of their own."""
    return bool(lines) and all(re.search(_OF_FILE, line.text, re.IGNORECASE) for line in lines)


def blames_blocks(error: str) -> bool:
    """Whether Slack or Discord refused the message's layout; then nothing was posted."""
    return bool(re.search(_BLOCKS, error, re.IGNORECASE))


def _is_final(line: FailureLine) -> bool:
    text = line.full_text
    if re.search(_FINAL_WORDS, text, re.IGNORECASE):
        return True
    replies = re.findall(_SMTP, text)
    if replies:
        return all(code[0] == "5" and code not in _NOT_FINAL_SMTP for code in replies)
    status = re.search(_STATUS, text)
    return status is not None and status[1] in _FINAL_STATUS


def _is_of_message(line: FailureLine) -> bool:
    """Whether the answer may be about this message only, for example its length or a word in it."""
    text = line.full_text
    if replies := re.findall(_SMTP, text):
        return all(code in _MESSAGE_SMTP for code in replies)
    status = re.search(_STATUS, text)
    return status is not None and status[1] in _MESSAGE_STATUS


def build_pause(service: str, asked_s: float) -> AttemptResult:
    """The result of a send that ended because the service asked us to wait for too long."""
    seconds = math.ceil(min(asked_s, PAUSE_MOST_MS / 1000))
    return AttemptResult(error=f"{service} asks us to wait {seconds} s, error=429", retry_after_ms=seconds * 1000)


def build_refusal(refusal: str, body: bytes, url: str) -> AttemptResult:
    """The result of a send that the service refused, though Apprise takes it for sent."""
    parsed = _parse_body(repr(body))
    return build_failure([FailureLine(refusal, parsed.answer, parsed.pause_ms)], url)


def _find_pause(lines: list[FailureLine], asked_s: float | None) -> int | None:
    pauses = [line.pause_ms for line in lines if line.pause_ms]
    if asked_s is not None:
        pauses.append(max(1000, int(min(asked_s, PAUSE_MOST_MS) * 1000)))
    if not pauses and any(_is_busy(line.text) for line in lines):
        pauses.append(PAUSE_MS)
    return min(max(pauses), PAUSE_MOST_MS) if pauses else None


def _is_busy(text: str) -> bool:
    status = re.search(_STATUS, text)
    return status is not None and status[1] == "429"


def _parse_answer(text: str) -> FailureLine:
    """A DEBUG line's meaning in words, without what may be secret in it."""
    _, _, rest = text.partition(":")
    rest = rest.strip()
    if text.startswith(ANSWERS[0]):
        return _parse_body(rest)
    replies = [
        f"{code} {reply}{' (about the sender)' if sender and code in _OF_SENDER else ''}"
        for code, _, reply, sender in re.findall(_SMTP_REPLY, rest)
    ]
    if replies:
        return FailureLine("", f"the mail server says {one_line(', '.join(dict.fromkeys(replies)), _ANSWER_MOST)}")
    return FailureLine("", next((words for it, words in _CONNECTION if re.search(it, rest, re.IGNORECASE)), None))


def _parse_body(shown: str) -> FailureLine:
    """The words of an HTTP answer's body, which Apprise logs as a bytes literal. An HTML page has none."""
    import ast  # slow to import, and not needed at a start

    try:
        value = ast.literal_eval(shown) if shown[:2] in ("b'", 'b"') else shown
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return FailureLine("")
    body = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        text = one_line(body, _ANSWER_MOST)
        return FailureLine("", text if text and "<" not in text else None)
    words = ", ".join(dict.fromkeys(_reason_words(decoded)))
    return FailureLine("", one_line(words, _ANSWER_MOST) or None, _requested_pause(decoded))


def _reason_words(body: object, depth: int = 0) -> Iterator[str]:
    """The words in a decoded body that say what is wrong, wherever a service puts them."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, list):
        for each in body[:_REASONS_MOST]:
            yield from _reason_words(each, depth + 1)
    elif isinstance(body, dict) and depth < _DEPTH_MOST:
        lower = {str(key).lower().replace("-", "_"): value for key, value in body.items()}
        for key in _REASON_KEYS:
            if isinstance(lower.get(key), str | dict | list):
                yield from _reason_words(lower[key], depth + 1)
        if depth and not any(key in lower for key in _REASON_KEYS):  # Discord's errors, by the name of a field
            yield from (words for it in list(lower.values())[:_REASONS_MOST] for words in _fields_words(it, depth))


def _fields_words(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, dict | list):
        yield from _reason_words(value, depth + 1)


def _requested_pause(body: object) -> int | None:
    """How long Discord or Telegram asks us to wait, in milliseconds."""
    if not isinstance(body, dict):
        return None
    inner = body.get("parameters")
    for place in (body, inner if isinstance(inner, dict) else {}):
        seconds = place.get("retry_after")
        if isinstance(seconds, int | float) and 0 < seconds < PAUSE_MOST_MS:
            return min(max(int(seconds * 1000), 1000), PAUSE_MOST_MS)
    return None


def redact_url(text: str, url: str) -> str:
    """`text` as one line; every part of `url` of three characters or more is masked, quoted or not."""
    rest = re.sub(_SCHEME, "", url, count=1, flags=re.IGNORECASE)
    cuts = r"[/:@?&=#,;+\s]+"
    parts = {part for spelling in (rest, unquote(rest)) for part in re.split(cuts, spelling) if len(part) >= 3}
    if user := rest.rpartition("@")[0]:  # as in an Authorization header, which an answer may echo
        parts |= {b64encode(spelling.encode()).decode().rstrip("=") for spelling in (user, unquote(user))}
    if parts:
        longest_first = sorted(parts, key=len, reverse=True)
        text = re.sub("|".join(map(re.escape, longest_first)), "***", text, flags=re.IGNORECASE)
    return one_line(text, ERROR_MOST)
