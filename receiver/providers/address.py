"""Checks a service's URL and key at the start, when there is no HTTP client yet."""

import ipaddress
import re
from urllib.parse import urlsplit

from receiver.core.errors import SettingsError

_KEY = re.compile(r"[\x21-\x7e]+")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}|.*:.*")


def check_url_and_key(url: str, key: str) -> None:
    """Raise SettingsError if `url` is not an http or https URL with a host, or if `key` cannot go into a header."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")  # as the resolver will
        if _ADDRESS.fullmatch(host):
            ipaddress.ip_address(host)
        _ = parts.port  # raises ValueError if it is out of range
    except ValueError:
        raise SettingsError("PROVIDER_URL is not a valid URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError("PROVIDER_URL must be an http:// or https:// URL")
    if not _KEY.fullmatch(key):
        raise SettingsError(
            "PROVIDER_KEY must be printable ASCII without spaces", remedy="check it for a stray line break"
        )
