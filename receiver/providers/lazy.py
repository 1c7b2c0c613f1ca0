"""A provider that is connected with its first call: a start does not wait for an HTTP client that nobody needs yet."""

from typing import TYPE_CHECKING

from receiver.core.types import Answer, Clock, Heard, Reply, Taken
from receiver.lazy import Later
from receiver.providers.registry import Adapter, Provider

if TYPE_CHECKING:
    import httpx

_FAULT = "the HTTP client cannot be made: "


class Late:
    """The `Provider` of `adapter`. Raises SettingsError at once, and not with the first call, if `url` or `key` cannot
    be right. Where no client can be made, nothing is sent, and the next call tries again."""

    def __init__(self, adapter: Adapter, url: str, key: str, *, clock: Clock) -> None:
        adapter.check(url, key)

        def connect() -> tuple["httpx.AsyncClient", Provider]:
            from receiver.providers.http_client import open_client  # here, because it imports httpx

            client = open_client()
            return client, adapter.connect(client, url, key, clock=clock)

        self._connected = Later(connect)

    async def submit(self, model: str, params: bytes, callback: str | None) -> Answer:
        """Send one task, as `Provider` says."""
        try:
            _, provider = await self._connected.get()
        except (OSError, RuntimeError) as error:  # no descriptor, no certificates, no thread
            return Answer(Taken.NOT_SENT, f"{_FAULT}{error}")
        return await provider.submit(model, params, callback)

    async def poll(self, task_id: str) -> Reply:
        """Ask about one task, as `Provider` says."""
        try:
            _, provider = await self._connected.get()
        except (OSError, RuntimeError) as error:
            return Reply(Heard.NOTHING, f"{_FAULT}{error}")
        return await provider.poll(task_id)

    async def close(self) -> None:
        """Close the client, if there is one."""
        if self._connected.made is not None:
            client, _ = self._connected.made
            await client.aclose()
