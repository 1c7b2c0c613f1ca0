"""Who calls with a token that is not ours: one line in the log for each, so that a firewall can be told, and a bound on
how many, so that a flood does not fill the disk. The token itself is nobody's business."""

import ipaddress
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

LINES_MOST = 20  # in a span
SPAN_S = 60.0

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

log = logging.getLogger(__name__)


class Strangers:
    """Tells of them. Behind proxies in the networks `trusted`, who they are is what these forward; `now` in seconds."""

    def __init__(self, trusted: Sequence[_Network], *, now: Callable[[], float] = time.monotonic) -> None:
        self._trusted = tuple(trusted)
        self._now = now
        self._since = -SPAN_S
        self._said = self._unsaid = 0

    def called(self, scope: Any) -> None:
        """One has called, with the request of this ASGI `scope`."""
        now = self._now()
        if now - self._since >= SPAN_S:
            if self._unsaid:
                text = "%d more such callbacks were refused within %.0f s"
                log.info(text, self._unsaid, SPAN_S, extra={"action": "callback.foreign", "refused": self._unsaid})
            self._since, self._said, self._unsaid = now, 0, 0
        if self._said >= LINES_MOST:
            self._unsaid += 1
            return
        self._said += 1
        peer = address(scope, self._trusted) or "a local socket"
        extra = {"action": "callback.foreign", "peer": peer}
        log.info("refused a callback with a token that is not ours, from %s", peer, extra=extra)


def address(scope: Any, trusted: Sequence[_Network]) -> str | None:
    """The address that a request comes from; None if that is a local socket.

    If the connection's is in a network of `trusted`, it is a proxy's, and X-Forwarded-For is believed from its end on,
    for as long as it names such proxies: what stands before them, anybody may have written.
    """
    if not scope.get("client"):
        return None
    told = str(scope["client"][0])
    found = _address(told)
    if found is None:
        return told
    hops = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").split(b",")
    while hops and any(found in network for network in trusted):
        before = _address(hops.pop().decode("latin-1").strip())
        if before is None:
            break
        found = before
    return str(found)


def _address(text: str) -> _Address | None:
    """An address as proxies write it: perhaps in brackets, perhaps with a port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
