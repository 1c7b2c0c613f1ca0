"""Sends one message to one target in a thread, with a timeout, and reports what became of it.

Apprise is imported on the first send, off the event loop. Promises that a send ends within its timeout whatever the
other side does, that a hanging target does not delay another, and that no error text shows a target's URL. It leaves
trying again, and having one send at a time for each target, to `dispatch`.
"""

import asyncio
import contextvars
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from receiver.core.errors import ReceiverError
from receiver.core.types import AttemptResult, Target
from receiver.notify.messages.message import Message
from receiver.notify.senders.connections import CURRENT, SendConnections
from receiver.notify.senders.delivered import DeliveredParts

if TYPE_CHECKING:
    from apprise import Apprise


_ABANDONED_EACH = 2  # threads of one target, so that it does not use up all
_CUT_AFTER_S = 15.0  # after its timeout, so that what is under way may still arrive
_IDLE_MOST = 256  # targets whose Apprise object is kept
_LATE_MOST = 64  # abandoned messages of which we remember what arrives late


class MessageSender(Protocol):
    """Something that can send a message to a target."""

    async def send(self, target: Target, message: Message) -> AttemptResult:
        """Sends `message` to `target`, once. The result says what went wrong; nothing is raised."""
        ...


class AppriseSender:
    """Sends through Apprise, each send in a daemon thread of its own.

    `timeout_s` covers the whole send, including the wait for a thread; `threads` is how many send at once.

    Python cannot stop a thread: one that outlives its timeout is abandoned, and counted until it ends. Its HTTP and
    SMTP connections are cut soon after, which ends it even if the other side goes on for ever. A target with two
    abandoned threads (with one, while half of `abandoned_most` are used up) is refused at once. While there are
    `abandoned_most`, all targets are, which is not their fault. With fewer targets than that, hanging ones never delay
    another. The threads do not keep the process from exiting.
    """

    def __init__(self, *, timeout_s: float = 30, threads: int = 32, abandoned_most: int = 128) -> None:
        self._timeout_s = timeout_s
        self._thread_slots = asyncio.Semaphore(threads)
        self._abandoned_most = abandoned_most
        self._abandoned: Counter[str] = Counter()  # by the target's URL
        self._closed = False
        # Kept for the throttle in each plugin's object, which avoids 429s. A thread takes its target's object out while
        # it works with it: plugins are not thread-safe, and the thread may be abandoned.
        self._idle_plugins: dict[str, Apprise] = {}
        self._late: dict[int, DeliveredParts] = {}  # of abandoned threads, by the id of the send

    @property
    def abandoned_count(self) -> int:
        """How many threads outlived their send and still run."""
        return self._abandoned.total()

    async def send(self, target: Target, message: Message) -> AttemptResult:
        """Sends `message` to `target`, once, within `timeout_s`.

        `error` is what Apprise and the service said, redacted, at most `ERROR_MOST` characters. `permanent`: Apprise
        cannot use the URL. `looks_final` is a guess from the text, and False in doubt: an unknown token, webhook or
        channel, a refused mail recipient. So is `of_message`: a status that may mean what the message holds.
        `retry_after_ms` is how long the service asks us to wait, and 30 s after a 429 that does not say.
        `delivered` is what of a failed message was delivered, in this try and before (`message.delivered`). `put_off`:
        it was not tried, and the fault is ours. Raises only CancelledError.
        """
        if self._closed:
            return AttemptResult(error="not sent: the service is stopping", put_off=True)
        started = time.monotonic()
        begun = False
        # What an abandoned thread delivered after its try had been recorded:
        late = self._late.pop(message.send_id, None) if message.send_id is not None else None
        parts = DeliveredParts(target.url, (*message.delivered, *(late.hashes if late else ())))
        try:
            async with asyncio.timeout(self._timeout_s), self._thread_slots:
                begun = True
                sent = self._refuse_if_hanging(target) or await self._send_in_thread(target, message, parts)
        except TimeoutError:
            if begun:
                self._remember_late(message.send_id, parts)
                sent = AttemptResult(error=f"not finished within {self._timeout_s:g} s; it may have arrived anyway")
            else:
                sent = AttemptResult(error=f"not sent: all threads were busy for {self._timeout_s:g} s", put_off=True)
        took = int((time.monotonic() - started) * 1000)
        return replace(sent, duration_ms=took, delivered=parts.hashes if sent.error else ())

    async def close(self) -> None:
        """Refuses sends from now on. One under way ends by itself, or when its caller is cancelled."""
        self._closed = True
        self._idle_plugins.clear()

    def _remember_late(self, send_id: int | None, parts: DeliveredParts) -> None:
        if send_id is not None:
            self._late[send_id] = parts
            if len(self._late) > _LATE_MOST:
                self._late.pop(next(iter(self._late)))

    def _refuse_if_hanging(self, target: Target) -> AttemptResult | None:
        share = _ABANDONED_EACH if self.abandoned_count < self._abandoned_most // 2 else 1
        if self._abandoned[target.url] >= share:
            return AttemptResult(error="not sent: earlier sends to this target still hang")
        if self.abandoned_count >= self._abandoned_most:
            return AttemptResult(
                error=f"not sent: too many sends hang ({self.abandoned_count} over all targets)", put_off=True
            )
        return None

    async def _send_in_thread(self, target: Target, message: Message, parts: DeliveredParts) -> AttemptResult:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[AttemptResult] = loop.create_future()
        connections = SendConnections()

        def finish_send(sent: AttemptResult) -> None:
            if done.cancelled():
                self._abandoned[target.url] -= 1
            else:
                done.set_result(sent)

        def run_in_thread() -> None:
            CURRENT.set(connections)
            try:
                sent = self._carry_message(target, message, parts)
            except BaseException as error:  # a plugin may even raise SystemExit, and the future must end
                sent = AttemptResult(error=f"Apprise failed with {type(error).__name__}")
            finally:
                connections.close_all()
            with suppress(RuntimeError):  # the loop has ended, so no caller waits
                loop.call_soon_threadsafe(finish_send, sent)

        try:
            # in a copy of our context, so that its log lines say which task they are about
            threading.Thread(
                target=contextvars.copy_context().run, args=(run_in_thread,), name="send", daemon=True
            ).start()
        except RuntimeError:
            return AttemptResult(error="not sent: the system does not allow another thread", put_off=True)
        try:
            return await done
        except asyncio.CancelledError:
            if done.cancelled():
                self._abandoned[target.url] += 1
                loop.call_later(_CUT_AFTER_S, connections.cut_all)
            raise

    def _carry_message(self, target: Target, message: Message, parts: DeliveredParts) -> AttemptResult:
        """Runs in the send's thread."""
        from receiver.notify.senders import plugin  # with the first send
        from receiver.notify.senders.refusal import UnusableUrl

        try:
            opened = self._idle_plugins.pop(target.url, None) or plugin.open_target(target.url)
        except UnusableUrl as error:
            return AttemptResult(error=str(error), permanent=True)
        sent = plugin.carry_message(opened, target, message, parts)
        if len(self._idle_plugins) < _IDLE_MOST:
            self._idle_plugins[target.url] = opened
        return sent


def check_target(target: Target) -> ReceiverError | None:
    """What is wrong with a target's URL, as far as one can see without sending; its text never shows the URL.

    Blocks while Apprise loads the plugin; for a URL that it refuses, all of them, half a second.
    """
    from receiver.notify.senders import plugin
    from receiver.notify.senders.refusal import UnusableUrl

    try:
        plugin.open_target(target.url)
    except UnusableUrl as error:
        return error
    return None
