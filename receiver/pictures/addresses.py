"""Guards against SSRF: pictures are fetched from public addresses only, by http or https, on the usual ports. Pure.

Others choose the links, and a link may aim at a service on this machine or in its network. So we parse links in one
strict way, without guessing, and look up every address of the host in a table. `fetch` connects only to addresses that
were checked here, so it does not matter how other software would have read the link.
"""

import ipaddress
import re

from msgspec import Struct

from receiver.core.errors import NotFetched

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LINK_MOST = 16_384  # characters
PORTS = {"http": 80, "https": 443}

_FORBIDDEN = tuple(
    (ipaddress.ip_network(network), what)
    for network, what in (
        # IANA's special-purpose registries of IPv4 and IPv6, and what clouds put beside them
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's own service"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "AMT"),
        ("192.88.99.0/24", "6to4 relays"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "AS112"),
        ("198.18.0.0/15", "benchmarks"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4 in IPv6's notation"),
        ("::ffff:0:0:0/96", "IPv4, translated"),
        ("::/96", "IPv4 in IPv6's notation"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("100::/64", "discarded"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "AS112"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")  # the only block ever allocated

# Patterns, compiled with the first link.
_LINK = r"(https?)://([^/?#\\]+)([/?][^#]*)?(#.*)?"
_PLACE = r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(?::([0-9]{1,5}))?"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_NUMBER = r"[0-9]+|0[xX][0-9A-Fa-f]*"  # a last label like these makes a resolver read the whole as a number


class FetchAllowlist(Struct, frozen=True):
    """Private hosts (names in lower case) and networks that pictures may come from, on any port.

    `ports` are those allowed on all other hosts.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset(PORTS.values())


class PictureUrl(Struct, frozen=True):
    """A parsed link: where to connect, and what to ask for. `address` is set if the host is a literal IP address."""

    scheme: str
    host: str  # in lower case, without brackets
    port: int
    target: str  # path and query
    address: Address | None = None

    @property
    def host_header(self) -> str:
        """Host and port as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def parse_picture_url(link: str) -> PictureUrl:
    """Parse a link strictly. Raises NotFetched (permanent) for anything that is not plainly an http or https link."""
    if len(link) > LINK_MOST:
        raise _bad_link(f"the link is longer than {LINK_MOST} characters")
    if re.search(r"[\x00-\x20\x7f-\xa0\ud800-\udfff]", link):
        raise _bad_link("the link contains spaces or control characters")
    parts = re.fullmatch(_LINK, link, re.IGNORECASE)
    if parts is None:
        raise _bad_link("the link is not a plain http:// or https:// link")
    scheme, place, target = parts[1].lower(), parts[2], parts[3] or "/"
    if "@" in place:
        raise _bad_link("the link contains a user name")
    if (halves := re.fullmatch(_PLACE, place)) is None:
        raise _bad_link("the link's host cannot be parsed")
    port = int(halves[2]) if halves[2] is not None else PORTS[scheme]
    if not 0 < port < 65_536:
        raise _bad_link("the link's port is out of range")
    host, address = _parse_host(halves[1])
    return PictureUrl(scheme, host, port, target if target.startswith("/") else f"/{target}", address)


def _parse_host(text: str) -> tuple[str, Address | None]:
    """A host: a name in lower case, or an address in its usual notation."""
    if text.startswith("["):
        try:
            literal = ipaddress.IPv6Address(text[1:-1])
        except ValueError:
            raise _bad_link("the link's host is not an IPv6 address") from None
        return str(literal), literal
    if not re.fullmatch(_NAME, text) or len(text) > 253:
        raise _bad_link("the link's host is not a plain name")  # percent signs, dots of other scripts, a trailing dot
    if not re.fullmatch(_NUMBER, text.rpartition(".")[2]):
        return text.lower(), None
    try:
        return text, ipaddress.IPv4Address(text)
    except ValueError:
        raise _bad_link("the link's host is a number, but not an address in the usual notation") from None


def ssrf_refusal(url: PictureUrl, address: Address, allow: FetchAllowlist) -> str | None:
    """Why we must not connect to `address`, one of those that the URL's host has; None if we may."""
    if url.host in allow.hosts or any(address in network for network in allow.networks):
        return None
    if url.port not in allow.ports:
        return f"port {url.port} is not allowed"
    what = non_public_kind(address)
    return f"{url.host} is at {address}, which is not public ({what})" if what is not None else None


def non_public_kind(address: Address) -> str | None:
    """What kind of address this is, if it is not on the public internet; else None."""
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return "with a zone"
    for network, what in _FORBIDDEN:
        if address in network:
            return what
    if isinstance(address, ipaddress.IPv6Address) and address not in _PUBLIC_V6:
        return "not allocated"
    return None if address.is_global else "special"


def _bad_link(text: str) -> NotFetched:
    return NotFetched(text, permanent=True)
