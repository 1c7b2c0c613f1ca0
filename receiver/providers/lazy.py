"""A provider that connects with its first call, so that a start does not wait for an HTTP client."""

from typing import TYPE_CHECKING

from receiver.core.types import Clock, PollReply, PollResult, SubmitAnswer, SubmitResult
from receiver.lazy import LazyValue
from receiver.providers.registry import Provider, ProviderAdapter

if TYPE_CHECKING:
    import httpx

_FAULT = "cannot make the HTTP client: "


class LazyProvider:
    """The `Provider` of `adapter`. Raises SettingsError at once, not with the first call, if `url` or `key` cannot be
    right. If no client can be made, nothing is sent, and the next call tries again."""

    def __init__(self, adapter: ProviderAdapter, url: str, key: str, *, clock: Clock) -> None:
        adapter.check(url, key)

        def connect_provider() -> tuple["httpx.AsyncClient", Provider]:
            from receiver.providers.http_client import open_client  # only now: it imports httpx

            client = open_client()
            return client, adapter.connect(client, url, key, clock=clock)

        self._connected = LazyValue(connect_provider)

    async def submit(self, model: str, params: bytes, callback: str | None) -> SubmitAnswer:
        """Send one task, as `Provider` says."""
        try:
            _, provider = await self._connected.get()
        except (OSError, RuntimeError) as error:  # out of descriptors or threads, or no certificates
            return SubmitAnswer(SubmitResult.NOT_SENT, f"{_FAULT}{error}")
        return await provider.submit(model, params, callback)

    async def poll(self, task_id: str) -> PollReply:
        """Ask about one task, as `Provider` says."""
        try:
            _, provider = await self._connected.get()
        except (OSError, RuntimeError) as error:
            return PollReply(PollResult.NOTHING, f"{_FAULT}{error}")
        return await provider.poll(task_id)

    async def close(self) -> None:
        """Close the client, if there is one."""
        if self._connected.value_if_made is not None:
            client, _ = self._connected.value_if_made
            await client.aclose()
