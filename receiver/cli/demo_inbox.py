"""The demo's inbox: a tiny server on loopback in place of Slack, and how a ping is shown.

It accepts what Apprise's `json://` posts: `{"version", "title", "message", "attachments", "type"}`.
"""

import asyncio
import contextlib
import http.server
import threading
from collections.abc import AsyncIterator

import click
import msgspec
from msgspec import Struct

_BODY_MOST = 1 << 20
_COLOURS = {"success": "green", "failure": "red", "warning": "yellow"}
_INDENT = " " * 10


class DemoPing(Struct, frozen=True):
    """A ping as it arrived."""

    title: str
    message: str
    type: str = "info"


@contextlib.asynccontextmanager
async def open_inbox() -> AsyncIterator[tuple[str, "asyncio.Queue[DemoPing]"]]:
    """The Apprise URL of an inbox that is open until the context ends, and the queue of its pings."""
    pings: asyncio.Queue[DemoPing] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    class InboxRequests(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), _BODY_MOST))
            loop.call_soon_threadsafe(pings.put_nowait, msgspec.json.decode(body, type=DemoPing))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass  # the ping itself is what is shown

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), InboxRequests) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="inbox", daemon=True)
        thread.start()
        try:
            yield f"json://127.0.0.1:{server.server_address[1]}/", pings
        finally:
            server.shutdown()


def frame_ping(ping: DemoPing) -> str:
    """A ping as a phone might show it, coloured by its type."""
    colour = _COLOURS.get(ping.type, "blue")
    lines = [click.style(ping.title, bold=True), *(line for line in ping.message.splitlines() if line)]
    edge = click.style("│", fg=colour)
    return "\n".join(f"{_INDENT}{edge} {line}" for line in lines)
