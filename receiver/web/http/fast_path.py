"""The fast path: a request that arrives whole in one read is answered without a task of its own.

For each request uvicorn makes a scope, a cycle and a task, which together cost a callback as much as its commit. Here a
plain, whole request is first offered to `whole`. If that declines, it goes uvicorn's way to the application.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from receiver.web.http.write_buffer import CorkedTransport


class FastRoute(Protocol):
    """Accepts a request, and calls `answer` once, later, with the bytes of the response; or returns False, having done
    nothing. `target` is as it came, the names of `headers` are in lower case. Must not block."""

    def __call__(
        self, target: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes, answer: Callable[[bytes], None]
    ) -> bool: ...


def decline_whole(
    target: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes, answer: Callable[[bytes], None]
) -> bool:
    """The `FastRoute` of an application that has none."""
    return False


class FastPathProtocol(HttpToolsProtocol):
    """A connection that offers POST requests to `whole` as soon as they are complete.

    1. A head that fits is put aside, and so is its body.
    2. If the request ended in the same read, `whole` is asked; if not, uvicorn gets what was put aside and the rest.
    3. While `whole` answers, `cycle` stands in for the request, so that uvicorn keeps its order: later ones wait.
    4. `close_with` sends a last answer behind all that are still owed, and closes.
    5. A peer that has closed its sending side still gets its answers.
    6. Once `leaving` is set, an answer with no request behind it carries `Connection: close` and ends the connection.
    """

    whole: FastRoute
    leaving = asyncio.Event()

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._aside: list[bytes] | None = None  # the body so far, if a head was put aside
        self._idle_since: float | None = None  # loop's time
        self._idling: asyncio.TimerHandle | None = None
        self._last_word: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        self._cork = CorkedTransport(transport, self.loop)
        super().connection_made(self._cork)  # type: ignore[arg-type]  # as much of a transport as is used

    def data_received(self, data: bytes) -> None:
        if self._last_word is not None:
            return
        super().data_received(data)
        if self._aside is not None and not self.transport.is_closing():
            try:
                self._replay_to_uvicorn()
            except Exception:  # as the parser does with its own errors, such as a bad URL
                self.send_400_response("Invalid HTTP request received.")

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """Whether the connection stays open for writing: it does while a whole request waits for its answer."""
        if owed := self._owes_whole() and not self.cycle.response_started:  # a stream would never end
            self.cycle.keep_alive = False
        else:
            self._cork.close()  # asyncio would close the transport without what is held
        return owed

    def close_with(self, word: bytes) -> None:
        """Write `word` after every answer owed to a whole request, read no more, and close."""
        if self._owes_whole():
            self._last_word = word
        else:
            self.transport.write(word)
            self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._last_word is not None and not self._owes_whole() and not self.transport.is_closing():
            self.close_with(self._last_word)

    def on_headers_complete(self) -> None:
        if self._is_plain_post():
            self._aside = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._aside is not None:
            self._aside.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._aside is not None:
            answering = _FastCycle()
            body = b"".join(self._aside)
            try:
                taken = self.whole(self.url, self.scope["headers"], body, partial(self._write_answer, answering))
            except Exception:  # a fault of ours; the application answers instead
                self.logger.exception("the fast path failed on a request")
                taken = False
            if taken:
                self._aside = None
                self.cycle = answering
                return
            self._replay_to_uvicorn()
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self.leaving.is_set() and not self.pipeline:
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def _is_plain_post(self) -> bool:
        return (
            not self._owes_answer()
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.expect_100_continue
        )

    def _owes_answer(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _owes_whole(self) -> bool:
        return self._owes_answer() and not self.cycle.more_body

    def _replay_to_uvicorn(self) -> None:
        chunks, self._aside = self._aside or [], None
        super().on_headers_complete()
        for chunk in chunks:
            super().on_body(chunk)

    def _write_answer(self, answering: "_FastCycle", response: bytes) -> None:
        answering.response_complete = True
        if self.transport.is_closing():
            return
        if self.leaving.is_set() and not self.pipeline and self._last_word is None:
            answering.keep_alive = False
            response = response.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
        self._cork.send_now(response)
        if not answering.keep_alive:
            self.transport.close()
        elif self.pipeline or self._last_word is not None:
            self.on_response_complete()
        else:  # one timer for a connection is cheaper than one for each answer
            self.server_state.total_requests += 1
            self._idle_since = self.loop.time()
            if self._idling is None:
                self._idling = self.loop.call_later(self.timeout_keep_alive, self._check_idle)

    def _check_idle(self) -> None:
        self._idling = None
        if self._idle_since is not None:
            left = self._idle_since + self.timeout_keep_alive - self.loop.time()
            if left > 0:
                self._idling = self.loop.call_later(left, self._check_idle)
            else:
                self.timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None
        super()._unset_keepalive_if_required()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idling is not None:
            self._idling.cancel()
        super().connection_lost(exc)


class _FastCycle(RequestResponseCycle):
    """Stands in for uvicorn's cycle while the fast path answers."""

    message_event = asyncio.Event()  # never awaited
    response_started = False
    response_complete = False
    more_body = False
    keep_alive = True
    disconnected = False

    def __init__(self) -> None:
        pass
