"""Where the service is, and its token: what every command that speaks to the API begins with."""

import os
from urllib.parse import urlsplit

from receiver import config
from receiver.client import Client
from receiver.config import Settings

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def connect() -> Client:
    """A client of the service that the settings name, by default the local one. Raises SettingsError."""
    settings = config.load(os.environ)
    return Client(settings.server, _token(settings))


def _token(settings: Settings) -> str | None:
    """API_TOKEN; on the service's own machine also the service's. A server elsewhere is never shown the latter."""
    local = settings.source("SERVER") == "default" or urlsplit(settings.server).hostname in _LOOPBACK
    return config.local_token(settings) if local else settings.api_token
