"""`/live` tells open pages which tasks changed; `/cards` gives them the cards to put in place of the old ones."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from receiver.core.errors import StoreError
from receiver.tokens import is_ref
from receiver.web.pages.gallery.card_maker import CardMaker
from receiver.web.pages.gallery.live_feed import READERS_MOST, LiveFeed, LiveReader
from receiver.web.pages.page import HEADERS, PageFrame, PageRequest

KEEP_ALIVE_S = 15.0  # how often a comment is sent, and the session looked at
ASKED_MOST = 60
_BATCHES_MOST = 10  # of those
_NAME_MOST = 200
_FULL = f"{READERS_MOST} pages are live already\n"
_HEADERS = {**HEADERS, "X-Accel-Buffering": "no"}  # nginx would keep events back


class LivePages:
    """The stream, and the cards that it makes pages ask for."""

    def __init__(self, frame: PageFrame, maker: CardMaker, stop: asyncio.Event) -> None:
        self._frame = frame
        self._maker = maker
        self._feed = LiveFeed(frame.parts.store, stop)

    def routes(self) -> list[Route]:
        """The routes to them."""
        return [self._frame.get("/live", self.follow), self._frame.get("/cards", self.show_cards)]

    async def follow(self, asked: PageRequest) -> Response:
        """The stream; 503 beyond `READERS_MOST`."""

        async def is_logged_in() -> bool:
            return await self._frame.sessions.open(asked.http) is not None

        return _EventStream(self._feed, is_logged_in)

    async def show_cards(self, asked: PageRequest) -> Response:
        """The cards of the tasks and batches that `ref` names, and of what is newer than the ref `since`."""
        given = [it[:_NAME_MOST] for it in asked.http.query_params.getlist("ref")[:ASKED_MOST]]
        store, refs = self._frame.parts.store, [it for it in given if is_ref(it)]
        tasks = await store.tasks.get(refs) if refs else {}
        names = dict.fromkeys(it for it in given if not is_ref(it))
        if is_ref(since := asked.query("since")):
            newer = [it for it in await store.tasks.page(limit=ASKED_MOST) if it.ref > since]
            lanes = await store.lanes.get(list({it.lane for it in newer}))
            names |= dict.fromkeys(it.name for it in lanes.values() if it.batch)
            tasks |= {it.ref: it for it in newer if not lanes[it.lane].batch}
        return self._frame.piece(
            asked,
            "cards.html",
            cards=await self._maker.make(list(tasks.values())),
            batches=await self._maker.find_batches(list(names)[:_BATCHES_MOST]),
        )


class _EventStream(Response):
    """Sends what a reader is told, until the client goes, the session ends, or the service stops."""

    media_type = "text/event-stream"

    def __init__(self, feed: LiveFeed, is_logged_in: Callable[[], Awaitable[bool]]) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._feed = feed
        self._is_logged_in = is_logged_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            return await Response(headers=_HEADERS, media_type=self.media_type)(scope, receive, send)
        reader = self._feed.join()
        if reader is None:
            full = Response(_FULL, 503, {**_HEADERS, "Retry-After": "30"}, "text/plain")
            return await full(scope, receive, send)
        watching = asyncio.create_task(_end_on_disconnect(receive, reader))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send_events(reader, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watching.cancel()
            self._feed.leave(reader)

    async def _send_events(self, reader: LiveReader, send: Send) -> None:
        await _send_chunk(send, b": the changes of tasks follow\n\n")
        check_at = time.monotonic() + KEEP_ALIVE_S
        while not reader.ended:
            events = await reader.take(max(0.0, check_at - time.monotonic()))
            if time.monotonic() >= check_at:
                if not await self._may_go_on():
                    return
                check_at = time.monotonic() + KEEP_ALIVE_S
                events = events or b": still here\n\n"
            if events:
                await _send_chunk(send, events)

    async def _may_go_on(self) -> bool:
        try:
            return await self._is_logged_in()
        except StoreError:
            return False


async def _end_on_disconnect(receive: Receive, reader: LiveReader) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reader.end()


async def _send_chunk(send: Send, text: bytes) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": True})
