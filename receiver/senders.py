"""The way out to Slack, email and the rest: one message to one target, and an honest word on what became of it.

The only place that imports Apprise, on the first send and off the event loop. Promises that a send ends within its
timeout whatever the other side does, that a hanging target takes no other's turn, and that no error text shows a
target's URL. Trying again, and one send at a time per target, are left to `notify`.
"""

import asyncio
import logging
import re
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from msgspec.structs import replace

from receiver.messages import Format, Message, one_line
from receiver.model import Sent, Target

if TYPE_CHECKING:
    from apprise import Apprise

ERROR_MOST = 500  # characters of an error text
_ABANDONED_EACH = 2  # so that no target uses up what all may leave behind
_IDLE_MOST = 256  # targets whose Apprise object is kept
_SERVICES = "https://appriseit.com/services/"

# An HTTP status as Apprise's plugins print it, and an SMTP server's refusal of one recipient among several.
_FOR_GOOD = re.compile(r"\berror=(?:401|403|404|410)\b|\bwas refused: 5\d\d\b")
_SUMMARY = re.compile(r'Sending email to ".*" failed\.')  # comes after the line that says why, if there is one
_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]{0,31})://", re.IGNORECASE)
_EMAIL = {"mailto", "mailtos"}


class Sender(Protocol):
    """Something that can carry a message to a target."""

    async def send(self, target: Target, message: Message) -> Sent:
        """Carries `message` to `target`, once. Everything that goes wrong is told in the answer, nothing is raised."""
        ...


class _Unusable(Exception):
    """A target's URL that no try will make work; the text says why and never shows the URL."""


class AppriseSender:
    """Sends through Apprise, each send in a daemon thread of its own.

    `timeout_s` covers all of a send, waiting for a thread included; `threads` is how many send at once. Python cannot
    stop a thread: one that outlives its timeout is abandoned, and counted until it ends. While two of them are a
    target's own, or `abandoned_most` there are in all, further sends are refused at once. So there are never as many as
    `threads + abandoned_most` threads, and none of them keeps the process from exiting.
    """

    def __init__(self, *, timeout_s: float = 30, threads: int = 32, abandoned_most: int = 16) -> None:
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(threads)
        self._abandoned_most = abandoned_most
        self._abandoned: Counter[str] = Counter()  # by the target's URL
        self._closed = False
        # Kept because a plugin's throttle, which spares us the service's 429, lives in its object. A thread takes its
        # target's object out while it works with it: plugins are not thread-safe, and it may be abandoned.
        self._idle: dict[str, Apprise] = {}

    @property
    def abandoned(self) -> int:
        """How many threads outlived their send and still run."""
        return self._abandoned.total()

    async def send(self, target: Target, message: Message) -> Sent:
        """Carries `message` to `target`, once, within `timeout_s`.

        `error` is what Apprise said, redacted, at most `ERROR_MOST` characters. `permanent` is a guess from that text
        and errs on False: 401, 403, 404 and 410 over HTTP, a refused mail recipient, a URL that cannot work.
        `retry_after_ms` is always None, since Apprise ignores the header. Raises nothing but CancelledError.
        """
        if self._closed:
            return Sent(error="not sent: the service is stopping")
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                sent = self._too_many(target) or await self._in_thread(target, message)
        except TimeoutError:
            sent = Sent(error=f"no end within {self._timeout_s:g} s; it may have arrived all the same")
        return replace(sent, duration_ms=int((time.monotonic() - started) * 1000))

    async def close(self) -> None:
        """Refuses what comes from now on. A send under way ends by itself, or with its caller's cancellation."""
        self._closed = True
        self._idle.clear()

    def _too_many(self, target: Target) -> Sent | None:
        if self._abandoned[target.url] >= _ABANDONED_EACH:
            return Sent(error="not sent: earlier sends to this target still hang")
        if self.abandoned >= self._abandoned_most:
            return Sent(error=f"not sent: too many hanging sends ({self.abandoned}, to all targets)")
        return None

    async def _in_thread(self, target: Target, message: Message) -> Sent:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Sent] = loop.create_future()

        def finish(sent: Sent) -> None:
            if done.cancelled():
                self._abandoned[target.url] -= 1
            else:
                done.set_result(sent)

        def run() -> None:
            try:
                sent = self._carry(target, message)
            except BaseException as error:  # a plugin may even raise SystemExit, and the future must end
                sent = Sent(error=f"Apprise failed with {type(error).__name__}")
            with suppress(RuntimeError):  # the loop is gone, and with it whoever waited
                loop.call_soon_threadsafe(finish, sent)

        try:
            threading.Thread(target=run, name="send", daemon=True).start()
        except RuntimeError:
            return Sent(error="not sent: the system gives us no more threads")
        try:
            return await done
        except asyncio.CancelledError:
            if done.cancelled():
                self._abandoned[target.url] += 1
            raise

    def _carry(self, target: Target, message: Message) -> Sent:
        """Runs in the send's thread."""
        try:
            opened = self._idle.pop(target.url, None) or _open(target.url)
        except _Unusable as error:
            return Sent(error=str(error), permanent=True)
        result = opened.notify(
            body=message.body, title=message.title, notify_type=message.kind.value, body_format=message.format.value
        )
        if len(self._idle) < _IDLE_MOST:
            self._idle[target.url] = opened
        if result:
            return Sent()
        return _failure([entry.message for entry in result.logs()], target.url)


def check(target: Target) -> str | None:
    """What is wrong with a target's URL, as far as can be told without sending; never shows the URL.

    Blocks for half a second the first time, while Apprise loads its plugins.
    """
    try:
        _open(target.url)
    except _Unusable as error:
        return str(error)
    return None


def format_for(target: Target) -> Format:
    """What a target can take: HTML by email, unless its URL asks for another format, and text elsewhere."""
    other = re.search(r"[?&]format=(?!html\b)", target.url, re.IGNORECASE)
    return Format.HTML if _scheme(target.url) in _EMAIL and not other else Format.TEXT


def _open(url: str) -> "Apprise":
    """The Apprise object of one target. Raises _Unusable."""
    from apprise import Apprise, AppriseAsset
    from apprise.common import OverflowMode

    _hush()
    # Without a timeout of its own it works in the calling thread; with one, in a pool of six that all targets share.
    asset = AppriseAsset(app_id="receiver", http_redirects=False, storage_mode="memory", service_timeout=0)
    opened = Apprise(asset=asset)
    # A URL of no service that Apprise knows is refused here, file:// among them.
    if not opened.add(url):
        scheme = _scheme(url)
        known = f"Apprise cannot use this {scheme}:// URL" if scheme else "this is not a URL (SERVICE://…)"
        raise _Unusable(f"{known}; {_SERVICES} shows what each service's looks like")
    if len(opened) != 1:
        raise _Unusable("it holds several URLs; give each a target of its own, so that each is retried on its own")
    service = opened[0]
    if service.redirects:
        raise _Unusable("its redirect= lets the other side send our request anywhere; remove it")
    service.retry = 0  # retries are durable, and ours; Apprise's own would repeat a message within one try
    service.optional = False  # optional=yes reports a failure as success
    if service.overflow_mode is OverflowMode.UPSTREAM:
        service.overflow_mode = OverflowMode.SPLIT  # its default is to let a service refuse what is too long for it
    return opened


def _hush() -> None:
    """Keeps these two out of our logs: at DEBUG they show tokens and full request paths."""
    for name in ("apprise", "urllib3"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)  # and no higher, whatever the root's: Apprise's results are made of warnings
        logger.propagate = False


def _failure(lines: list[str], url: str) -> Sent:
    """What Apprise's warnings say; for good only if every one of them says so, since a URL may name several people."""
    reasons = [line for line in lines if not _SUMMARY.fullmatch(line)]
    permanent = bool(reasons) and all(_FOR_GOOD.search(line) for line in reasons)
    said = " ".join(lines) or "Apprise reports a failure and does not say why"
    return Sent(error=_redacted(said, url), permanent=permanent)


def _redacted(text: str, url: str) -> str:
    """`text` as one line in which every part of `url` of three characters or more, in either spelling, is masked."""
    rest = _SCHEME.sub("", url, count=1)
    cuts = r"[/:@?&=#,;+\s]+"
    parts = {part for spelling in (rest, unquote(rest)) for part in re.split(cuts, spelling) if len(part) >= 3}
    if parts:
        longest_first = sorted(parts, key=len, reverse=True)
        text = re.sub("|".join(map(re.escape, longest_first)), "***", text, flags=re.IGNORECASE)
    return one_line(text, ERROR_MOST)


def _scheme(url: str) -> str:
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""
