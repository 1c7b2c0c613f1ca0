"""Sessions in cookies and tokens in forms: what opens, what does not, and where a request comes from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.fakes import DAY, HOUR, NOW, SECOND
from receiver.tokens import MacPurpose, Ring
from receiver.web.pages.access.cookies import (
    FORM_LIFE_MS,
    ID_BYTES,
    LIFE_MS,
    NONCE_BYTES,
    Place,
    Session,
    cookie_name,
    find_cookies,
    find_place,
    form_age,
    is_due_for_renewal,
    is_form_age_good,
    is_from_us,
    make_form_token,
    new_session,
    open_session,
    seal_session,
    write_cookie,
)

RING = Ring(["a-secret-key-for-tests-0001"])
OTHER = Ring(["a-secret-key-for-tests-0002"])
EPOCH = "first.abc"
SESSION = new_session(NOW, bytes(range(ID_BYTES)))
SEALED = seal_session(RING, SESSION, EPOCH)
NONCE = bytes(range(NONCE_BYTES))
HTTPS, HTTP = "https://receiver.example", "http://receiver.example"


# -- the cookie --


def test_a_session_opens_with_the_key_and_the_epoch_of_its_time_until_it_ends() -> None:
    assert open_session(RING, [SEALED], EPOCH, NOW) == SESSION
    assert open_session(RING, [SEALED], EPOCH, NOW + LIFE_MS - 1) == SESSION
    assert open_session(RING, [SEALED], EPOCH, NOW + LIFE_MS) is None
    assert open_session(RING, [SEALED], "second.abc", NOW) is None
    assert open_session(RING, [SEALED], "first.abd", NOW) is None
    assert open_session(OTHER, [SEALED], EPOCH, NOW) is None


def test_a_session_outlives_the_rotation_of_keys_while_its_key_is_in_the_ring() -> None:
    rotated = Ring(["a-secret-key-for-tests-0002", "a-secret-key-for-tests-0001"])
    assert open_session(rotated, [SEALED], EPOCH, NOW) == SESSION
    assert form_age(rotated, SESSION, make_form_token(RING, SESSION, NOW, NONCE), NOW) == 0


@pytest.mark.parametrize("place", range(len(SEALED)))
def test_a_cookie_with_any_character_changed_opens_nothing(place: int) -> None:
    for other in "0Az-_.":
        if other != SEALED[place]:
            changed = SEALED[:place] + other + SEALED[place + 1 :]
            assert open_session(RING, [changed], EPOCH, NOW) is None


def test_a_cookie_that_claims_more_time_or_another_id_opens_nothing() -> None:
    version, ends, session_id, mac = SEALED.split(".")
    longer = f"{version}.{int(ends) + DAY}.{session_id}.{mac}"
    other = f"{version}.{ends}.{'A' * 22}.{mac}"
    assert open_session(RING, [longer, other, f"2.{ends}.{session_id}.{mac}", f"{SEALED}."], EPOCH, NOW) is None


def test_a_mac_that_was_made_for_something_else_opens_nothing() -> None:
    _, ends, session_id, _ = SEALED.split(".")
    for purpose in MacPurpose:
        mac = RING.sign(purpose, f"{ends}.{session_id}.{EPOCH}")
        opens = open_session(RING, [f"1.{ends}.{session_id}.{mac}"], EPOCH, NOW) is not None
        assert opens == (purpose is MacPurpose.SESSION)


def test_a_session_from_a_clock_that_was_far_ahead_does_not_last_for_years() -> None:
    ahead = new_session(NOW + 400 * DAY, bytes(ID_BYTES))
    assert open_session(RING, [seal_session(RING, ahead, EPOCH)], EPOCH, NOW) is None
    little = new_session(NOW + HOUR, bytes(ID_BYTES))
    assert open_session(RING, [seal_session(RING, little, EPOCH)], EPOCH, NOW) == little


def test_the_good_one_of_two_cookies_of_one_name_is_found() -> None:
    headers = [(b"cookie", b"a=b; receiver_session=1.2.3.4; receiver_session=" + SEALED.encode() + b"; c=d")]
    values = find_cookies(headers, cookie_name(secure=False))
    assert values == ["1.2.3.4", SEALED]
    assert open_session(RING, values, EPOCH, NOW) == SESSION


def test_no_more_than_four_cookies_are_looked_at_and_only_of_the_whole_name() -> None:
    many = b"; ".join([b"receiver_session=x"] * 1_000)
    assert find_cookies([(b"cookie", many), (b"cookie", b"receiver_session=y")], "receiver_session") == ["x"] * 4
    others = b"xreceiver_session=1; receiver_sessionx=2; Receiver_Session=3; __Host-receiver_session=4"
    assert find_cookies([(b"cookie", others), (b"x-cookie", b"receiver_session=5")], "receiver_session") == []


@given(st.binary(max_size=300), st.integers(0, 2**60))
def test_no_bytes_in_a_cookie_open_anything_or_break_it(junk: bytes, now: int) -> None:
    headers = [(b"cookie", b"receiver_session=" + junk)]
    assert open_session(RING, find_cookies(headers, "receiver_session"), EPOCH, now) is None


def test_a_session_is_due_for_renewal_once_it_is_older_than_a_day() -> None:
    assert not is_due_for_renewal(SESSION, NOW + DAY)
    assert is_due_for_renewal(SESSION, NOW + DAY + 1)


def test_by_https_the_cookie_is_of_this_host_and_this_scheme_alone() -> None:
    plain, secure = (write_cookie("v", LIFE_MS, secure=it) for it in (False, True))
    assert plain == "receiver_session=v; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax"
    assert secure == "__Host-receiver_session=v; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure"


# -- forms --


def test_a_form_s_token_belongs_to_one_session_and_differs_each_time() -> None:
    token, again = (make_form_token(RING, SESSION, NOW, bytes([it]) * NONCE_BYTES) for it in (1, 2))
    other = Session("B" * 22, SESSION.expires_at)
    assert token != again
    assert [form_age(RING, SESSION, it, NOW + SECOND) for it in (token, again)] == [SECOND, SECOND]
    assert form_age(RING, other, token, NOW) is None
    assert form_age(OTHER, SESSION, token, NOW) is None


def test_a_renewed_session_keeps_its_forms() -> None:
    token = make_form_token(RING, SESSION, NOW, NONCE)
    assert form_age(RING, Session(SESSION.id, SESSION.expires_at + DAY), token, NOW) == 0


def test_a_token_with_any_part_changed_is_none_of_ours() -> None:
    made, nonce, mac = make_form_token(RING, SESSION, NOW, NONCE).split(".")
    for changed in (
        f"{NOW + 1}.{nonce}.{mac}",
        f"{made}.{'A' * 11}.{mac}",
        f"{made}.{nonce}.{'A' * 32}",
        "",
        "..",
        made,
    ):
        assert form_age(RING, SESSION, changed, NOW) is None


@given(st.text(max_size=200))
def test_no_text_is_a_token(junk: str) -> None:
    assert form_age(RING, SESSION, junk, NOW) is None


def test_a_form_may_be_sent_for_twelve_hours() -> None:
    assert is_form_age_good(0)
    assert is_form_age_good(FORM_LIFE_MS)
    assert not is_form_age_good(FORM_LIFE_MS + 1)
    assert is_form_age_good(-HOUR)  # the clock was set back
    assert not is_form_age_good(-2 * DAY)


# -- where a request comes from --


@pytest.mark.parametrize(
    ("scheme", "host", "forwarded", "from_proxy", "public_url", "secure"),
    [
        ("http", "127.0.0.1:8000", None, False, "http://127.0.0.1:8000", False),
        ("https", "receiver.example", None, False, HTTP, True),
        ("http", "receiver.example", None, False, HTTPS, True),
        ("http", "RECEIVER.example:443", None, False, HTTPS, True),
        ("http", "receiver.example:8000", None, False, HTTPS, False),  # past the proxy
        ("http", "receiver.example", None, False, f"{HTTPS}:8443", True),  # nginx leaves the port out
        ("http", "receiver.example:8443", None, False, f"{HTTPS}:8443", True),
        ("http", "192.0.2.7", None, False, HTTPS, False),
        ("http", "receiver.example.evil", None, False, HTTPS, False),
        ("http", "receiver.example", None, False, HTTP, False),
        ("http", "other.example", "https", True, HTTP, True),
        ("http", "other.example", "https", False, HTTP, False),  # anybody can say so
        ("http", "receiver.example", "http", True, HTTPS, False),
        ("http", "receiver.example", "http, https", True, HTTP, True),  # the last is the proxy's own
        ("http", "", None, False, HTTPS, False),
        ("http", "[::1]:8000", None, False, HTTPS, False),
        ("http", "[", None, False, HTTPS, False),
        ("http", "receiver.example:99999", None, False, HTTPS, False),
    ],
)
def test_a_page_is_secure_if_the_browser_came_by_https(
    scheme: str, host: str, forwarded: str | None, from_proxy: bool, public_url: str, secure: bool
) -> None:
    headers = [(b"host", host.encode())] + ([(b"x-forwarded-proto", forwarded.encode())] if forwarded else [])
    assert find_place(scheme, headers, public_url, from_proxy=from_proxy) == Place(host.lower(), secure)


@pytest.mark.parametrize(
    ("site", "origin", "ours"),
    [
        ("same-origin", None, True),
        ("same-origin", HTTPS, True),
        ("none", None, True),  # a bookmark, or the address typed
        ("same-site", HTTPS, False),
        ("cross-site", "https://evil.example", False),
        ("cross-site", HTTPS, False),
        ("nonsense", HTTPS, False),
        (None, None, True),  # no browser
        (None, HTTPS, True),
        (None, f"{HTTPS}:443", True),
        (None, "https://RECEIVER.example", True),
        (None, HTTP, False),
        (None, f"{HTTPS}:8443", False),
        (None, "https://receiver.example.evil", False),
        (None, "https://evil.example", False),
        (None, "null", False),
        (None, "https://", False),
        (None, "https://[", False),
        (None, "https://public.example", True),
        (None, "http://public.example", False),
    ],
)
def test_a_form_is_ours_if_the_browser_says_so(site: str | None, origin: str | None, ours: bool) -> None:
    given = ((b"sec-fetch-site", site), (b"origin", origin))
    headers = [(name, value.encode()) for name, value in given if value is not None]
    assert is_from_us(Place("receiver.example", secure=True), headers, "https://public.example") == ours


def test_without_https_the_origin_is_compared_with_the_host_and_its_port() -> None:
    place = Place("192.0.2.7:8000", secure=False)
    assert is_from_us(place, [(b"origin", b"http://192.0.2.7:8000")], HTTPS)
    assert not is_from_us(place, [(b"origin", b"http://192.0.2.7:9000")], HTTPS)
    assert not is_from_us(place, [(b"origin", b"http://192.0.2.7")], HTTPS)
