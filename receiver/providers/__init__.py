"""Generation services: what one must be able to do for us, and which ones we know.

The rooms above speak to a `Provider` and never to a wire. A new service is a client with these two calls, a `parse` for
its bodies, and a line in `PROVIDERS`; nothing else changes.
"""

import http.cookiejar
from collections.abc import Callable, Mapping
from typing import Protocol

import httpx
from msgspec import Struct

from receiver.model import Answer, Clock, Outcome, Reply
from receiver.providers import bodies
from receiver.providers.vtrix import Vtrix

_IDLE_S = 2.0  # a connection the provider closes under a submission leaves that one unsure; so do not keep any for long


class Provider(Protocol):
    """A service that takes tasks and can be asked about them. Neither call raises for anything the service does."""

    async def submit(self, model: str, params: bytes, callback: str | None) -> Answer:
        """Send one task: `params` is a JSON object, `callback` the URL to call, None to be only polled."""
        ...

    async def poll(self, task_id: str) -> Reply:
        """Ask about one task by the provider's own id for it."""
        ...


class Connect(Protocol):
    """Makes a Provider over a shared client. Raises SettingsError if the URL or the key cannot be one."""

    def __call__(self, client: httpx.AsyncClient, url: str, key: str, *, clock: Clock) -> Provider: ...


class Adapter(Struct, frozen=True):
    """One service: how to connect to it, and what a body from it says (None: no outcome; never raises)."""

    connect: Connect
    parse: Callable[[bytes], Outcome | None]


PROVIDERS: Mapping[str, Adapter] = {"vtrix": Adapter(connect=Vtrix, parse=bodies.parse)}
"""By the name that `Task.provider` carries."""


def open_client() -> httpx.AsyncClient:
    """The one HTTP client to share, since making one costs 100 ms; an async context manager.

    It takes neither proxy nor netrc from the environment, follows no redirect, keeps no cookie.
    """
    client = httpx.AsyncClient(trust_env=False, follow_redirects=False, limits=httpx.Limits(keepalive_expiry=_IDLE_S))
    client.cookies.jar.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    return client
