"""Which addresses and links may never be fetched from: IANA's special networks, odd notations, other ports."""

import ipaddress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.errors import NotFetched
from receiver.pictures.addresses import FetchAllowlist, PictureUrl, non_public_kind, parse_picture_url, ssrf_refusal

FORBIDDEN = {
    "0.0.0.0": "this network",  # noqa: S104 - not to bind to
    "0.1.2.3": "this network",
    "10.0.0.1": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.100.100.200": "carrier-grade NAT",  # a cloud's metadata
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "a cloud's own service",
    "169.254.169.254": "link-local",  # most clouds' metadata
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.192": "reserved for protocols",  # a cloud's metadata
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4 relays",
    "192.168.1.1": "private",
    "198.18.0.1": "benchmarks",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::7f00:1": "IPv4 in IPv6's notation",
    "::8.8.8.8": "IPv4 in IPv6's notation",
    "::ffff:127.0.0.1": "IPv4 in IPv6's notation",
    "::ffff:8.8.8.8": "IPv4 in IPv6's notation",
    "::ffff:0:127.0.0.1": "IPv4, translated",
    "64:ff9b::7f00:1": "NAT64",
    "64:ff9b::8.8.8.8": "NAT64",
    "64:ff9b:1::a00:1": "NAT64",
    "100::1": "discarded",
    "2001::1": "Teredo",
    "2001:0:7f00:1::": "Teredo",
    "2001:2::1": "reserved for protocols",
    "2001:10::1": "reserved for protocols",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "6to4",
    "2002:a00:1::1": "6to4",
    "3fff::1": "documentation",
    "5f00::1": "segment routing",
    "4000::1": "not allocated",
    "fc00::1": "private",
    "fd00:ec2::254": "private",  # a cloud's metadata
    "fe80::1": "link-local",
    "fe80::1%1": "with a zone",
    "2606:4700::1%1": "with a zone",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
}
PUBLIC = ("1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1")


@pytest.mark.parametrize(("address", "what"), FORBIDDEN.items())
def test_an_address_that_is_not_public_is_forbidden_and_says_why(address: str, what: str) -> None:
    assert non_public_kind(ip_address(address)) == what


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert non_public_kind(ip_address(address)) is None


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_is_allowed_that_the_standard_library_knows_to_be_special(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """And IPv6 of the one block that was ever given out alone."""
    if non_public_kind(address) is None:
        assert address.is_global
        assert not any((address.is_multicast, address.is_reserved, address.is_loopback, address.is_unspecified))
        assert address.version == 4 or address in ipaddress.ip_network("2000::/3")


REFUSED = [
    "",
    "picture.png",
    "//cdn.example/a",
    "ftp://cdn.example/a",
    "file:///etc/passwd",
    "http:/cdn.example/a",
    "http:///a",
    "http://",
    "http://user@cdn.example/a",
    "http://user:password@cdn.example/a",
    "http://cdn.example@127.0.0.1/a",
    "http://cdn.example\\@127.0.0.1/a",
    "http://cdn.example:/a",
    "http://cdn.example:0/a",
    "http://cdn.example:65536/a",
    "http://cdn.example:80:80/a",
    "http://cdn.example:+80/a",
    "http://cdn.example:８０/a",
    "http://cdn.example./a",
    "http://.cdn.example/a",
    "http://cdn..example/a",
    "http://-cdn.example/a",
    "http://cdn%2eexample/a",
    "http://%31%32%37.0.0.1/a",
    "http://cdn。example/a",
    "http://127。0。0。1/a",
    "http://①②⑦.0.0.1/a",
    "http://ⓛocalhost/a",
    "http://127.0.0.1./a",
    "http://127.1/a",
    "http://127.0.1/a",
    "http://2130706433/a",
    "http://0/a",
    "http://0x7f000001/a",
    "http://0x7f.0.0.1/a",
    "http://127.0.0.0x1/a",
    "http://0x/a",
    "http://0177.0.0.1/a",
    "http://017700000001/a",
    "http://127.0.0.01/a",
    "http://256.0.0.1/a",
    "http://1.2.3.4.5/a",
    "http://[::1/a",
    "http://::1/a",
    "http://[::1%25lo]/a",
    "http://[::1%lo]/a",
    "http://[::ffff:127.1]/a",
    "http://[v1.x]/a",
    "http://[127.0.0.1]/a",
    "http://cdn.example/a b",
    "http://cdn.example/a\r\nHost: other",
    "http://cdn.example/a\x00",
    "http://cdn .example/a",
    "http://cdn.example/\ud800",
    f"http://{'a' * 64}.example/a",
    f"http://{'a.' * 127}example/a",
    f"http://cdn.example/{'a' * 16384}",
]


@pytest.mark.parametrize("link", REFUSED, ids=lambda link: repr(link[:40]))
def test_a_link_that_is_not_plain_is_refused_for_good(link: str) -> None:
    with pytest.raises(NotFetched) as refused:
        parse_picture_url(link)
    assert refused.value.permanent
    assert "/a" not in str(refused.value), "a link is a secret"


@pytest.mark.parametrize(
    ("link", "place"),
    [
        ("https://cdn.example/a/b.png?sig=%2F+x", PictureUrl("https", "cdn.example", 443, "/a/b.png?sig=%2F+x")),
        ("HTTP://CDN.Example:8080", PictureUrl("http", "cdn.example", 8080, "/")),
        ("https://cdn.example?x=1#part", PictureUrl("https", "cdn.example", 443, "/?x=1")),
        ("http://127.0.0.1/a", PictureUrl("http", "127.0.0.1", 80, "/a", ip_address("127.0.0.1"))),
        ("http://[0:0::1]:81/a", PictureUrl("http", "::1", 81, "/a", ip_address("::1"))),
        ("https://1.cdn.example-3.net/ä", PictureUrl("https", "1.cdn.example-3.net", 443, "/ä")),
        ("https://a_b.xn--e1afmkfd/", PictureUrl("https", "a_b.xn--e1afmkfd", 443, "/")),
    ],
)
def test_a_plain_link_is_read_as_everybody_reads_it(link: str, place: PictureUrl) -> None:
    assert parse_picture_url(link) == place


def test_a_host_header_names_a_port_only_where_it_is_another() -> None:
    assert parse_picture_url("https://cdn.example:443/").host_header == "cdn.example"
    assert parse_picture_url("http://[::1]:8080/").host_header == "[::1]:8080"


@given(st.text(max_size=60))
def test_whatever_is_read_as_a_link_is_plain_ascii_where_it_matters(text: str) -> None:
    for link in (text, f"http://{text}", f"https://{text}/a"):
        try:
            place = parse_picture_url(link)
        except NotFetched:
            continue
        assert place.host.isascii()
        assert not set(place.host) & set("@/\\?#%[] ")


class TestAllowed:
    """What one trusts, by name or by network, is let through; nothing else is."""

    ALLOW = FetchAllowlist(frozenset({"pictures.lan"}), (ip_network("10.1.0.0/16"), ip_network("fd00::/8")))

    @pytest.mark.parametrize(
        ("link", "address", "why"),
        [
            ("http://pictures.lan:9000/", "192.168.1.1", None),
            ("http://pictures.lan/", "127.0.0.1", None),
            ("http://other.lan/", "192.168.1.1", "other.lan is at 192.168.1.1, which is not public (private)"),
            ("http://pictures.lan.evil.example/", "127.0.0.1", "(loopback)"),
            ("http://any.example:9000/", "10.1.2.3", None),
            ("http://any.example:9000/", "10.2.0.1", "port 9000 is not allowed"),
            ("http://any.example:9000/", "1.1.1.1", "port 9000 is not allowed"),
            ("http://any.example/", "::ffff:10.1.2.3", "(IPv4 in IPv6's notation)"),
            ("http://any.example/", "fd00::1", None),
            ("http://any.example/", "1.1.1.1", None),
            ("http://any.example:443/", "1.1.1.1", None),
        ],
    )
    def test_a_place(self, link: str, address: str, why: str | None) -> None:
        said = ssrf_refusal(parse_picture_url(link), ip_address(address), self.ALLOW)
        assert (said is None) if why is None else (said is not None and why in said)
