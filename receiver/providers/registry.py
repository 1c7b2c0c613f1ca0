"""Generation services: what one must be able to do for us, and which ones we know.

The rooms above speak to a `Provider` and never to a wire. A new service is a client with these two calls, a `parse` for
its bodies, and a line in `PROVIDERS`; nothing else changes.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from receiver.core.types import Clock, Outcome, PollReply, SubmitAnswer
from receiver.providers.address import check_url_and_key
from receiver.providers.vtrix import bodies

if TYPE_CHECKING:
    import httpx


class Provider(Protocol):
    """A service that takes tasks and can be asked about them. Neither call raises for anything the service does."""

    async def submit(self, model: str, params: bytes, callback: str | None) -> SubmitAnswer:
        """Send one task: `params` is a JSON object, `callback` the URL to call, None to be only polled."""
        ...

    async def poll(self, task_id: str) -> PollReply:
        """Ask about one task by the provider's own id for it."""
        ...


class ProviderFactory(Protocol):
    """Makes a Provider over a shared client. Raises SettingsError if the URL or the key cannot be one."""

    def __call__(self, client: "httpx.AsyncClient", url: str, key: str, *, clock: Clock) -> Provider: ...


class ProviderAdapter(Struct, frozen=True):
    """One service: what checks its URL and key (raising SettingsError), how to connect to it, and what a body from it
    says (None: no outcome; never raises). To check and to parse takes no HTTP client; to connect imports one."""

    check: Callable[[str, str], None]
    connect: ProviderFactory
    parse: Callable[[bytes], Outcome | None]


def _connect_vtrix(client: "httpx.AsyncClient", url: str, key: str, *, clock: Clock) -> Provider:
    from receiver.providers.vtrix.client import Vtrix  # with the first call: it imports httpx

    return Vtrix(client, url, key, clock=clock)


PROVIDERS: Mapping[str, ProviderAdapter] = {
    "vtrix": ProviderAdapter(check=check_url_and_key, connect=_connect_vtrix, parse=bodies.parse_body)
}
"""By the name that `Task.provider` carries."""
