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

# Patterns. `re` compiles each with the first failure, and a start does not wait for them.
_SCHEME = r"\s*[a-z][a-z0-9+.-]{0,31}://"
# An HTTP status as Apprise's plugins print it (ntfy adds two digits), or an SMTP reply to a mail or recipient.
_STATUS = r"\berror=(\d{3})(?:\d\d)?\b"
_SMTP = r"(?:refused: |server says )([45]\d\d)\b"
_SMTP_REPLY = r"\(([45]\d\d), b(['\"])(.*?)\2"
_SUMMARY = r'Sending email to ".*" failed\.?'  # follows the lines that say why, if there are any
_FINAL_STATUS = {"401", "403", "404", "410"}
_NOT_FINAL_SMTP = {"552", "554"}  # too large; any reason, for example a mail taken for spam
_FINAL_WORDS = (
    # Slack's, for webhooks and the Web API; most come with status 200.
    r"\b(?:invalid_token|invalid_auth|not_authed|account_inactive|token_revoked|token_expired|missing_scope|"
    r"not_allowed_token_type|org_login_required|ekm_access_denied|no_permission|no_service|no_team|no_active_hooks|"
    r"channel_not_found|channel_is_archived|is_archived|not_in_channel|action_prohibited|user_not_found|"
    r"posting_to_general_channel_denied|restricted_action)\b"
    r"|chat not found|bot was (?:blocked|kicked)|user is deactivated"  # Telegram's, some with status 400
    r"|Unknown (?:Webhook|Channel)|Invalid Webhook Token"  # Discord's
)
_PICTURE = (
    r"\binvalid_(?:blocks|attachments)\b|\bimage_url\b|download\w* image|\berror=413|\btoo large\b|entity too large|"
    r"\battachment|\bserver says 552\b|PHOTO_\w+|IMAGE_PROCESS|wrong (?:file identifier|type of the web page)|"
    r"failed to get HTTP URL content|file (?:is )?too big"
)
_OF_FILE = r"(?:Discord|Telegram) (?:\d+ )?attachment|rate limiting in effect"
_BLOCKS = r"\binvalid_(?:blocks|attachments)\b|Invalid Form Body"

# A pattern in a DEBUG line about a connection, and what it means.
_CONNECTION = (
    (r"not known|resolve|getaddrinfo|name resolution|No address associated|gaierror", "its host name is not known"),
    (r"Connection refused|Errno 111", "the connection was refused"),
    (r"CERTIFICATE_VERIFY|certificate", "its TLS certificate is not accepted"),
    (r"WRONG_VERSION|SSL|TLS", "no TLS connection could be made"),
    (r"timed? ?out", "no answer in time"),
    (r"unreachable|No route", "there is no route to it"),
    (r"reset|aborted|RemoteDisconnected|closed|Broken pipe|BadStatusLine", "the connection was cut"),
)

# A pattern in an error text, and what to do. The first match counts.
_REMEDIES = (
    (r"no_service|no_active_hooks|no_team|Unknown Webhook|Invalid Webhook Token|invalid_token\b",
     "this webhook does not exist (any more): make a new one there, and put it into the target's URL"),
    (r"invalid_auth|not_authed|token_revoked|token_expired|account_inactive",
     "its token is not accepted: make a new one, and put it into the target's URL"),
    (r"not_in_channel", "the bot is not in that channel: invite it there"),
    (r"missing_scope|no_permission|not_allowed_token_type", "the bot needs the permissions chat:write and files:write"),
    (r"channel_not_found|is_archived|user_not_found|Unknown Channel|chat not found",
     "this channel does not exist (any more): check the channel in the target's URL"),
    (r"action_prohibited|general_channel_denied|restricted_action|ekm_access|org_login",
     "an administrator's rule forbids it: choose another channel, or ask the administrator"),
    (r"bot was blocked|bot was kicked|user is deactivated", "the bot may not write there: unblock it or invite it"),
    (r"server says 53[045]|authentication", "the mail server rejects the user or password: many servers want an "
     "app password"),
    (r"(?:refused: |server says )55[013]", "the mail server refuses this recipient: check the address"),
    (r"server says 554", "the mail server refuses the message: check the sender's address, and the server's reason"),
    (r"server says 4\d\d", "the mail server asks us to try later: a ping is tried again by itself"),
    (r"invalid_blocks|invalid_attachments|error=413|too large|attachment",
     "the picture may be the cause: a ping's next try goes without it"),
    (r"error=429|rate.?limit", "it gets too many messages: give the target a rate or a digest"),
    (r"error=40[13]", "it rejects our credentials: check the user, password or token in the target's URL"),
    (r"error=4(?:04|10)", "what the target's URL names does not exist (any more): check the URL"),
    (r"error=400", "it does not understand the request: check the target's URL"),
    (r"error=5\d\d", "the fault is on its side: try again later; a ping is tried again by itself"),
    (r"host name is not known", "check the host name in the target's URL, and this machine's DNS"),
    (r"connection was refused", "check host and port in the target's URL, and that the service runs there"),
    (r"TLS certificate", "fix its certificate, or the host name in the target's URL"),
    (r"no TLS", "check that its port speaks TLS: some services have a scheme with TLS, and one without"),
    (r"no answer in time|not finished within|still hang", "check that it works, and that no firewall blocks it"),
    (r"no route|connection was cut|Connection error", "check host and port in the target's URL, and this machine's "
     "network"),
    (r"appriseit\.com|redirect=|several URLs", "fix the target's URL as the text says"),
)  # fmt: skip


class FailureLine(Struct, frozen=True):
    """A warning of Apprise's, and in words what the other side answered, if that is known."""

    text: str
    answer: str | None = None
    pause_ms: int | None = None  # how long the answer asks us to wait

    @property
    def full_text(self) -> str:
        """Both in one text."""
        text = self.text.rstrip(". ")
        return f"{text}: {self.answer}" if text and self.answer else self.answer or text


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


def build_failure(lines: list[FailureLine], url: str, asked_s: float | None = None) -> AttemptResult:
    """The result of a failed send. It is permanent only if every line says so: a URL may name several recipients.

    `asked_s` is how long an answer's headers asked us to wait.
    """
    reasons = [line for line in lines if line.answer or not re.fullmatch(_SUMMARY, line.text)]
    whole = ". ".join(filter(None, (line.full_text for line in lines)))
    error = _redact_url(whole, url) or "Apprise reports a failure without a reason"
    return AttemptResult(
        error=error,
        permanent=bool(reasons) and all(_is_final(line) for line in reasons) and not blames_picture(error),
        retry_after_ms=_find_pause(lines, asked_s),
    )


def blames_picture(error: str) -> bool:
    """Whether the picture, or what shows it, may have caused the error: the message may pass without it."""
    return bool(re.search(_PICTURE, error, re.IGNORECASE))


def blames_only_files(lines: list[FailureLine]) -> bool:
    """Whether only files failed, which go to Discord and Telegram in a message of their own."""
    return bool(lines) and all(re.search(_OF_FILE, line.text, re.IGNORECASE) for line in lines)


def blames_blocks(error: str) -> bool:
    """Whether Slack or Discord refused the message's layout; then nothing was posted."""
    return bool(re.search(_BLOCKS, error, re.IGNORECASE))


def find_remedy(error: str) -> str | None:
    """What a person can do about an error, if its text shows that."""
    return next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, error, re.IGNORECASE)), None)


def _is_final(line: FailureLine) -> bool:
    text = line.full_text
    if re.search(_FINAL_WORDS, text, re.IGNORECASE):
        return True
    replies = re.findall(_SMTP, text)
    if replies:
        return all(code[0] == "5" and code not in _NOT_FINAL_SMTP for code in replies)
    status = re.search(_STATUS, text)
    return status is not None and status[1] in _FINAL_STATUS


def build_pause(service: str, asked_s: float) -> AttemptResult:
    """The result of a send that ended because the service asked us to wait for too long."""
    seconds = math.ceil(min(asked_s, PAUSE_MOST_MS / 1000))
    return AttemptResult(error=f"{service} asks us to wait {seconds} s, error=429", retry_after_ms=seconds * 1000)


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
    replies = [f"{code} {reply}" for code, _, reply in re.findall(_SMTP_REPLY, rest)]
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


def _reason_words(body: object) -> Iterator[str]:
    if isinstance(body, str):
        yield body
    elif isinstance(body, dict):
        for key in ("error", "description", "message", "detail", "reason", "error_description"):
            if isinstance(body.get(key), str | dict):
                yield from _reason_words(body[key])
        more = body.get("response_metadata")  # where Slack says what is wrong with a block
        if isinstance(more, dict) and isinstance(more.get("messages"), list):
            yield from (it for it in more["messages"][:2] if isinstance(it, str))


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


def _redact_url(text: str, url: str) -> str:
    """`text` as one line; every part of `url` of three characters or more is masked, quoted or not."""
    rest = re.sub(_SCHEME, "", url, count=1, flags=re.IGNORECASE)
    cuts = r"[/:@?&=#,;+\s]+"
    parts = {part for spelling in (rest, unquote(rest)) for part in re.split(cuts, spelling) if len(part) >= 3}
    if "@" in rest:  # as in an Authorization header, which an answer may echo
        user = rest.rpartition("@")[0]
        parts |= {b64encode(spelling.encode()).decode().rstrip("=") for spelling in (user, unquote(user))}
    if parts:
        longest_first = sorted(parts, key=len, reverse=True)
        text = re.sub("|".join(map(re.escape, longest_first)), "***", text, flags=re.IGNORECASE)
    return one_line(text, ERROR_MOST)
