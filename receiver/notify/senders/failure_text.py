"""What Apprise and the services behind it say of a failure, in one line: what it means, and what a person can do.

Pure, and made of texts alone, since Apprise gives nothing else: its warnings, and what its DEBUG lines tell of the
answer. Promises that no text shows a part of the target's URL. Where a text leaves it open, trying again is of use.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from receiver.core.sanitize import one_line
from receiver.core.types import AttemptResult

ERROR_MOST = 500  # characters of an error text
PAUSE_MS = 30_000  # after a 429 that does not say for how long: Apprise hides the header that would
PAUSE_MOST_MS = 3_600_000
ANSWERS = ("Response Details:", "Socket Exception")  # what begins a DEBUG line of Apprise that tells what came back
POSTED = (
    "Sent Discord notification",
    "Sent Telegram notification",
)  # INFO lines: the text is there, no file yet
_ANSWER_MOST = 200  # characters of an answer's own words

_SCHEME = re.compile(r"\s*[a-z][a-z0-9+.-]{0,31}://", re.IGNORECASE)
# An HTTP status as Apprise's plugins print it (ntfy's have two digits more), or an SMTP reply to a mail or recipient.
_STATUS = re.compile(r"\berror=(\d{3})(?:\d\d)?\b")
_SMTP = re.compile(r"(?:refused: |server says )([45]\d\d)\b")
_SMTP_REPLY = re.compile(r"\(([45]\d\d), b(['\"])(.*?)\2")
_SUMMARY = re.compile(r'Sending email to ".*" failed\.?')  # comes after the lines that say why, if there are any
_FINAL_STATUS = {"401", "403", "404", "410"}
_NOT_FINAL_SMTP = {"552", "554"}  # too large; anything, a mail taken for spam among it
_FINAL_WORDS = re.compile(
    # Slack's, of webhooks and of the Web API; most come with status 200.
    r"\b(?:invalid_token|invalid_auth|not_authed|account_inactive|token_revoked|token_expired|missing_scope|"
    r"not_allowed_token_type|org_login_required|ekm_access_denied|no_permission|no_service|no_team|no_active_hooks|"
    r"channel_not_found|channel_is_archived|is_archived|not_in_channel|action_prohibited|user_not_found|"
    r"posting_to_general_channel_denied|restricted_action)\b"
    r"|chat not found|bot was (?:blocked|kicked)|user is deactivated"  # Telegram's, some with status 400
    r"|Unknown (?:Webhook|Channel)|Invalid Webhook Token",  # Discord's
    re.IGNORECASE,
)
_PICTURE = re.compile(
    r"\binvalid_(?:blocks|attachments)\b|\bimage_url\b|download\w* image|\berror=413|\btoo large\b|entity too large|"
    r"\battachment|\bserver says 552\b|PHOTO_\w+|IMAGE_PROCESS|wrong (?:file identifier|type of the web page)|"
    r"failed to get HTTP URL content|file (?:is )?too big",
    re.IGNORECASE,
)
_OF_FILE = re.compile(r"(?:Discord|Telegram) (?:\d+ )?attachment|rate limiting in effect", re.IGNORECASE)
_BLOCKS = re.compile(r"\binvalid_(?:blocks|attachments)\b|Invalid Form Body", re.IGNORECASE)

# What a DEBUG line about a connection says, and what it means.
_CONNECTION = (
    (r"not known|resolve|getaddrinfo|name resolution|No address associated|gaierror", "its host name is not known"),
    (r"Connection refused|Errno 111", "the connection was refused"),
    (r"CERTIFICATE_VERIFY|certificate", "its TLS certificate is not accepted"),
    (r"WRONG_VERSION|SSL|TLS", "no TLS could be agreed on"),
    (r"timed? ?out", "no answer in time"),
    (r"unreachable|No route", "there is no route to it"),
    (r"reset|aborted|RemoteDisconnected|closed|Broken pipe|BadStatusLine", "the connection was cut"),
)

# What a failure's text shows, and what to do. The first that fits is told.
_REMEDIES = (
    (r"no_service|no_active_hooks|no_team|Unknown Webhook|Invalid Webhook Token|invalid_token\b",
     "its webhook is not known (any more): make a new one there, and put it into the target's URL"),
    (r"invalid_auth|not_authed|token_revoked|token_expired|account_inactive",
     "its token is not taken: make a new one, and put it into the target's URL"),
    (r"not_in_channel", "the bot is not in that channel: invite it there"),
    (r"missing_scope|no_permission|not_allowed_token_type", "the bot lacks a permission: chat:write, and files:write"),
    (r"channel_not_found|is_archived|user_not_found|Unknown Channel|chat not found",
     "there is no such channel (any more): check the one that the target's URL names"),
    (r"action_prohibited|general_channel_denied|restricted_action|ekm_access|org_login",
     "an administrator's rule forbids it: choose another channel, or ask them"),
    (r"bot was blocked|bot was kicked|user is deactivated", "the bot may not write there: unblock or invite it"),
    (r"server says 53[045]|authentication", "the mail server does not take the user or password: many want an "
     "app password"),
    (r"(?:refused: |server says )55[013]", "the mail server refuses this recipient: check the address"),
    (r"server says 554", "the mail server refuses the message: check the sender's address, and what it says"),
    (r"server says 4\d\d", "the mail server asks to come again later: do so; a ping is tried again by itself"),
    (r"invalid_blocks|invalid_attachments|error=413|too large|attachment",
     "the picture may be at fault, and then a ping's next try goes without it"),
    (r"error=429|rate.?limit", "it wants fewer messages: give the target a rate or a digest"),
    (r"error=40[13]", "it does not accept what the target's URL shows it: check user, password or token"),
    (r"error=4(?:04|10)", "what the target's URL names does not exist (any more): check it"),
    (r"error=400", "it does not understand the request: check the target's URL"),
    (r"error=5\d\d", "the fault is on its side: try again later; a ping is tried again by itself"),
    (r"host name is not known", "check the host in the target's URL, and this machine's DNS"),
    (r"connection was refused", "check host and port in the target's URL, and whether it runs there"),
    (r"TLS certificate", "mend its certificate, or the host name in the target's URL"),
    (r"no TLS", "check whether its port speaks TLS: some services have a plain scheme, and one with an s"),
    (r"no answer in time|no end within|still hang", "look whether it works, and whether a firewall stands between"),
    (r"no route|connection was cut|Connection error", "check host and port in the target's URL, and this machine's "
     "network"),
    (r"appriseit\.com|redirect=|several URLs", "mend the target's URL as the text says"),
)  # fmt: skip


class FailureLine(Struct, frozen=True):
    """A warning of Apprise's, and in words what the other side answered, as far as that is told."""

    text: str
    answer: str | None = None
    pause_ms: int | None = None  # how long the answer asks us to wait

    @property
    def full_text(self) -> str:
        """Both in one."""
        text = self.text.rstrip(". ")
        return f"{text}: {self.answer}" if text and self.answer else self.answer or text


def pair_answers(entries: Iterable[tuple[bool, str]]) -> list[FailureLine]:
    """Pairs each warning with the answer that belongs to it: the one that follows, by email the one before.

    `entries` are Apprise's log lines in their order: whether it is a DEBUG line, and its text.
    """
    found: list[FailureLine] = []
    ahead: FailureLine | None = None
    for is_answer, text in entries:
        if not is_answer:
            found.append(FailureLine(text) if ahead is None else FailureLine(text, ahead.answer, ahead.pause_ms))
            ahead = None
            continue
        told = _parse_answer(text)
        if found and found[-1].answer is None and not _SUMMARY.fullmatch(found[-1].text):
            found[-1] = FailureLine(found[-1].text, told.answer, told.pause_ms)
        else:
            ahead = told
    return found if ahead is None else [*found, ahead]


def build_failure(said: list[FailureLine], url: str) -> AttemptResult:
    """A failed send: for good only if every line says so, since a URL may name several people."""
    reasons = [line for line in said if line.answer or not _SUMMARY.fullmatch(line.text)]
    whole = ". ".join(filter(None, (line.full_text for line in said)))
    error = _redact_url(whole, url) or "Apprise reports a failure and does not say why"
    return AttemptResult(
        error=error,
        permanent=bool(reasons) and all(_is_final(line) for line in reasons) and not blames_picture(error),
        retry_after_ms=_find_pause(said),
    )


def blames_picture(error: str) -> bool:
    """Whether an error text says that the picture, or what shows it, was at fault: without it the message may pass."""
    return bool(_PICTURE.search(error))


def blames_only_files(said: list[FailureLine]) -> bool:
    """Whether all that failed are files, which Discord and Telegram may get in a message of their own."""
    return bool(said) and all(_OF_FILE.search(line.text) for line in said)


def blames_blocks(error: str) -> bool:
    """Whether Slack or Discord refused how the message is laid out; nothing was posted then."""
    return bool(_BLOCKS.search(error))


def find_remedy(error: str) -> str | None:
    """What a person can do about an error text, if it shows that."""
    return next((told for pattern, told in _REMEDIES if re.search(pattern, error, re.IGNORECASE)), None)


def _is_final(line: FailureLine) -> bool:
    text = line.full_text
    if _FINAL_WORDS.search(text):
        return True
    replies = _SMTP.findall(text)
    if replies:
        return all(code[0] == "5" and code not in _NOT_FINAL_SMTP for code in replies)
    status = _STATUS.search(text)
    return status is not None and status[1] in _FINAL_STATUS


def _find_pause(said: list[FailureLine]) -> int | None:
    pauses = [line.pause_ms or PAUSE_MS for line in said if line.pause_ms or _is_busy(line.text)]
    return min(max(pauses), PAUSE_MOST_MS) if pauses else None


def _is_busy(text: str) -> bool:
    status = _STATUS.search(text)
    return status is not None and status[1] == "429"


def _parse_answer(text: str) -> FailureLine:
    """What a DEBUG line tells, in words, without what may be secret in it."""
    _, _, rest = text.partition(":")
    rest = rest.strip()
    if text.startswith(ANSWERS[0]):
        return _parse_body(rest)
    replies = [f"{code} {reply}" for code, _, reply in _SMTP_REPLY.findall(rest)]
    if replies:
        return FailureLine("", f"the mail server says {one_line(', '.join(dict.fromkeys(replies)), _ANSWER_MOST)}")
    return FailureLine("", next((words for it, words in _CONNECTION if re.search(it, rest, re.IGNORECASE)), None))


def _parse_body(shown: str) -> FailureLine:
    """The words of an HTTP answer's body, which Apprise shows as Python writes bytes; a page of HTML has none."""
    import ast  # takes its time to import, and nothing fails at a start

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
    """The seconds that Discord and Telegram ask us to wait, in milliseconds."""
    if not isinstance(body, dict):
        return None
    inner = body.get("parameters")
    for place in (body, inner if isinstance(inner, dict) else {}):
        seconds = place.get("retry_after")
        if isinstance(seconds, int | float) and 0 < seconds < PAUSE_MOST_MS:
            return min(max(int(seconds * 1000), 1000), PAUSE_MOST_MS)
    return None


def _redact_url(text: str, url: str) -> str:
    """`text` as one line in which every part of `url` of three characters or more, in either spelling, is masked."""
    rest = _SCHEME.sub("", url, count=1)
    cuts = r"[/:@?&=#,;+\s]+"
    parts = {part for spelling in (rest, unquote(rest)) for part in re.split(cuts, spelling) if len(part) >= 3}
    if "@" in rest:  # as a header has it, and an answer may echo
        user = rest.rpartition("@")[0]
        parts |= {b64encode(spelling.encode()).decode().rstrip("=") for spelling in (user, unquote(user))}
    if parts:
        longest_first = sorted(parts, key=len, reverse=True)
        text = re.sub("|".join(map(re.escape, longest_first)), "***", text, flags=re.IGNORECASE)
    return one_line(text, ERROR_MOST)
