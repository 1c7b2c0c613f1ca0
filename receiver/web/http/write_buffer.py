"""A transport that writes once a turn of the loop: uvicorn sends an answer's head and its body in two calls, and each
would be a system call, a packet, and a waking of the other side."""

import asyncio
from typing import Any


class CorkedTransport:
    """Wraps a transport: what is written in one turn of the loop goes out together at its end. All else passes on."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send with the rest of this turn."""
        if not self._held:
            self._loop.call_soon(self._flush_held)
        self._held.append(data)

    def send_now(self, data: bytes) -> None:
        """Send at once, after what is held."""
        if self._held:
            self._held.append(data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close after what is held was sent."""
        self._flush_held()
        self._transport.close()

    def _flush_held(self) -> None:
        held, self._held = self._held, []
        if held and not self._transport.is_closing():
            self._transport.write(b"".join(held))
