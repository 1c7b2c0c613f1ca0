"""Server-sent events: one `task` event for each change of a task, with the TaskView as it is then.

Changes that come faster than a client reads are folded into the latest state. What happened while a client was away is
not sent again; it asks `GET /tasks`.
"""

import asyncio
import logging

import msgspec
from starlette.types import Receive, Scope, Send

from receiver.core.errors import RequestRefused, StoreError
from receiver.store import Store
from receiver.web.api.present import FindWaits, task_views
from receiver.web.responses import problem_response, send_in_pieces

STREAMS_MOST = 50
TURN = 8  # tasks whose views are made at once
KEEP_ALIVE_S = 15.0  # how often a comment is sent, so that proxies do not close a silent connection

log = logging.getLogger(__name__)


class EventStreams:
    """The ASGI application behind all streams. They end once `stop` is set."""

    def __init__(self, store: Store, find_waits: FindWaits, stop: asyncio.Event) -> None:
        self._store = store
        self._find_waits = find_waits
        self._stop = stop
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send changes until the client goes, the service stops or the store fails; 503 beyond `STREAMS_MOST`."""
        if self._open >= STREAMS_MOST:
            full = RequestRefused(
                503, "too_many_streams", f"{STREAMS_MOST} streams are open already", remedy="try again later"
            )
            return await problem_response(full, {"Retry-After": "15"})(scope, receive, send)
        self._open += 1
        try:
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._send_changes(receive, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except StoreError as error:
            log.warning("a stream ends: %s", error, extra={"action": "stream"})
        finally:
            self._open -= 1

    async def _send_changes(self, receive: Receive, send: Send) -> None:
        listener = self._store.open_listener()
        ends = {asyncio.create_task(self._stop.wait()), asyncio.create_task(_wait_for_disconnect(receive))}
        taking = asyncio.create_task(listener.take_refs(KEEP_ALIVE_S))
        try:
            await _send_chunk(send, b": the changes of tasks follow\n\n")
            while True:
                await asyncio.wait({taking, *ends}, return_when=asyncio.FIRST_COMPLETED)
                if any(end.done() for end in ends):
                    return
                refs = taking.result()
                for at in range(0, len(refs), TURN):
                    await self._send_events(send, refs[at : at + TURN])
                if not refs:
                    await _send_chunk(send, b": still here\n\n")
                taking = asyncio.create_task(listener.take_refs(KEEP_ALIVE_S))
        finally:
            listener.close()
            for task in (taking, *ends):
                task.cancel()

    async def _send_events(self, send: Send, refs: list[str]) -> None:
        tasks = await self._store.tasks.get(refs)
        for view in await task_views(self._store, list(tasks.values()), self._find_waits):
            await _send_chunk(send, b"event: task\ndata: " + msgspec.json.encode(view) + b"\n\n")
            await asyncio.sleep(0)  # as in `send_in_pieces`


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_chunk(send: Send, text: bytes) -> None:
    await send_in_pieces(send, text, more=True)
