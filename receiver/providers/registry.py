"""What a generation service must be able to do for us, and the services that we know.

To add one, write a client with the two calls of `Provider` and a `parse` for its bodies, and add it to `PROVIDERS`.
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
    """A service that takes tasks and can be polled. Neither call raises, whatever the service does."""

    async def submit(self, model: str, params: bytes, callback: str | None) -> SubmitAnswer:
        """Send one task: `params` is a JSON object, `callback` the URL to call. None: it will only be polled."""
        ...

    async def poll(self, task_id: str) -> PollReply:
        """Ask about one task by the provider's own id."""
        ...


class ProviderFactory(Protocol):
    """Makes a Provider over a shared client. Raises SettingsError if the URL or the key cannot be right."""

    def __call__(self, client: "httpx.AsyncClient", url: str, key: str, *, clock: Clock) -> Provider: ...


class ProviderAdapter(Struct, frozen=True):
    """One service. `check` raises SettingsError for a wrong URL or key; `connect` makes the client, importing httpx;
    `parse` reads an outcome from a body (None: there is none) and never raises."""

    check: Callable[[str, str], None]
    connect: ProviderFactory
    parse: Callable[[bytes], Outcome | None]


def _connect_vtrix(client: "httpx.AsyncClient", url: str, key: str, *, clock: Clock) -> Provider:
    from receiver.providers.vtrix.client import Vtrix  # only now: it imports httpx

    return Vtrix(client, url, key, clock=clock)


PROVIDERS: Mapping[str, ProviderAdapter] = {
    "vtrix": ProviderAdapter(check=check_url_and_key, connect=_connect_vtrix, parse=bodies.parse_body)
}
"""By name, as in `Task.provider`."""

DEFAULT_PROVIDER = "vtrix"
"""The one that tasks are submitted to and polled at."""


def default_adapter() -> ProviderAdapter:
    """The adapter of `DEFAULT_PROVIDER`."""
    return PROVIDERS[DEFAULT_PROVIDER]
