"""Whether a service's URL and key can be what they should: asked at the start, when there is no HTTP client yet."""

import ipaddress
import re
from urllib.parse import urlsplit

from receiver.core.errors import SettingsError

_KEY = re.compile(r"[\x21-\x7e]+")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}|.*:.*")


def check_url_and_key(url: str, key: str) -> None:
    """Raise SettingsError if `url` is not http or https, or names no host, or if `key` cannot stand in a header."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")  # what the resolver will do
        if _ADDRESS.fullmatch(host):
            ipaddress.ip_address(host)
        _ = parts.port  # raises on one that is out of range
    except ValueError:
        raise SettingsError("provider_url is not a URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError("provider_url must be an http:// or https:// URL")
    if not _KEY.fullmatch(key):
        raise SettingsError("provider_key must be printable ASCII without spaces; look for a stray line break")
