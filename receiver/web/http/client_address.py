"""The client's address: the connection's, or the one that a trusted proxy forwards."""

import ipaddress
from collections.abc import Sequence

from starlette.types import Scope

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def peer_address(scope: Scope, trusted: Sequence[_Network]) -> str:
    """The address that a request comes from; `local` for a local socket.

    If the connection comes from a network in `trusted`, it is a proxy's. X-Forwarded-For is then read from its end, as
    long as it names such proxies: anyone may have written what stands before them.
    """
    if not scope.get("client"):
        return "local"
    connected = str(scope["client"][0])
    found = _parse_address(connected)
    if found is None:
        return connected
    hops = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").split(b",")
    while hops and any(found in network for network in trusted):
        before = _parse_address(hops.pop().decode("latin-1").strip())
        if before is None:
            break
        found = before
    return str(found)


def is_from_proxy(scope: Scope, trusted: Sequence[_Network]) -> bool:
    """Whether a request's connection comes from a network in `trusted`, so that what it forwards is believed."""
    found = _parse_address(str(scope["client"][0])) if scope.get("client") else None
    return found is not None and any(found in network for network in trusted)


def _parse_address(text: str) -> _Address | None:
    """An address as proxies write it, which may be in brackets or have a port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
