"""Links to pictures right at each bound: lengths, ports, and values that never change."""

from ipaddress import ip_address

import pytest

from receiver.core.errors import NotFetched
from receiver.pictures.addresses import FetchAllowlist, PictureUrl, non_public_kind, parse_picture_url, ssrf_refusal

START = "http://cdn.example/"
LABEL = "a" * 63
LONGEST_HOST = ".".join([LABEL, LABEL, LABEL, "b" * 61])


def is_refused(link: str) -> bool:
    try:
        parse_picture_url(link)
    except NotFetched:
        return True
    return False


def test_a_link_may_have_16384_characters() -> None:
    assert not is_refused(START + "x" * (16_384 - len(START)))
    assert is_refused(START + "x" * (16_385 - len(START)))


@pytest.mark.parametrize(("port", "refused"), [(0, True), (1, False), (65_535, False), (65_536, True)])
def test_a_port_lies_between_1_and_65535(port: int, refused: bool) -> None:
    assert is_refused(f"http://cdn.example:{port}/") is refused
    if not refused:
        assert parse_picture_url(f"http://cdn.example:{port}/").port == port


def test_a_host_name_may_have_253_characters_and_each_of_its_labels_63() -> None:
    assert len(LONGEST_HOST) == 253
    assert parse_picture_url(f"http://{LONGEST_HOST}/").host == LONGEST_HOST
    assert is_refused(f"http://{LONGEST_HOST}b/")
    assert is_refused(f"http://{LABEL}a.example/")


@pytest.mark.parametrize(
    ("link", "header"),
    [
        ("http://cdn.example/", "cdn.example"),
        ("http://cdn.example:80/", "cdn.example"),
        ("http://cdn.example:443/", "cdn.example:443"),
        ("https://cdn.example:443/", "cdn.example"),
        ("https://cdn.example:80/", "cdn.example:80"),
        ("https://[2606:4700::1]/", "[2606:4700::1]"),
        ("http://8.8.8.8:81/", "8.8.8.8:81"),
    ],
)
def test_the_host_header_names_a_port_that_is_not_the_schemes_own(link: str, header: str) -> None:
    assert parse_picture_url(link).host_header == header


def test_pictures_come_from_ports_80_and_443_unless_one_trusts_their_host() -> None:
    assert FetchAllowlist().ports == {80, 443}
    public = ip_address("8.8.8.8")
    for port, allowed in ((79, False), (80, True), (81, False), (442, False), (443, True), (444, False)):
        refusal = ssrf_refusal(parse_picture_url(f"http://cdn.example:{port}/"), public, FetchAllowlist())
        assert (refusal is None) is allowed


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("9.255.255.255", True),
        ("10.0.0.0", False),
        ("10.255.255.255", False),
        ("11.0.0.0", True),
        ("2000::1", True),
        ("1fff::1", False),
        ("3ffe::1", True),
        ("4000::", False),
    ],
)
def test_the_public_internet_ends_where_a_special_network_begins(address: str, public: bool) -> None:
    assert (non_public_kind(ip_address(address)) is None) is public


def test_what_was_checked_cannot_change_before_it_is_connected_to() -> None:
    place = parse_picture_url("http://cdn.example/")
    with pytest.raises(AttributeError):
        place.host = "127.0.0.1"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        FetchAllowlist().hosts = frozenset({"evil.example"})  # type: ignore[misc]
    assert place == PictureUrl("http", "cdn.example", 80, "/", None)
