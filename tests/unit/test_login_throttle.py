"""How often a login may be tried, and that nobody can make its memory or its hashing grow."""

import pytest

from kit.fakes import HOUR, MINUTE, NOW, SECOND
from receiver.web.pages.access.throttle import (
    ADDRESSES_MOST,
    AT_ONCE_MOST,
    BURST_MOST,
    KNOWN_MOST,
    LONGEST_WAIT_MS,
    TRIES_FREE,
    LoginThrottle,
)

ME, OTHER = "192.0.2.7", "192.0.2.8"


def tried(throttle: LoginThrottle, address: str, now: int) -> int:
    """A wrong try, as a login makes it; how long it has to wait instead."""
    wait_s = throttle.begin(address, now)
    if not wait_s:
        throttle.end()
    return wait_s


def test_five_tries_are_free_and_then_each_wait_is_twice_the_last() -> None:
    throttle, now, waits = LoginThrottle(), NOW, []
    for left in range(TRIES_FREE - 1, -1, -1):
        assert tried(throttle, ME, now) == 0
        assert throttle.tries_left(ME) == left
    for _ in range(8):
        waits.append(throttle.wait_s(ME, now))
        assert tried(throttle, ME, now + waits[-1] * SECOND - 1) == 1
        now += waits[-1] * SECOND
        assert tried(throttle, ME, now) == 0
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_a_try_that_has_to_wait_does_not_make_the_wait_longer() -> None:
    throttle = LoginThrottle()
    for _ in range(TRIES_FREE):
        tried(throttle, ME, NOW)
    assert [tried(throttle, ME, NOW + it * SECOND) for it in (0, 6, 59)] == [60, 54, 1]


def test_a_right_try_and_an_hour_without_any_begin_anew() -> None:
    throttle = LoginThrottle()
    for _ in range(TRIES_FREE - 1):
        tried(throttle, ME, NOW)
    throttle.forget(ME)
    assert throttle.tries_left(ME) == TRIES_FREE
    for _ in range(TRIES_FREE):
        tried(throttle, ME, NOW)
    assert tried(throttle, ME, NOW + HOUR + MINUTE) == 0
    assert throttle.tries_left(ME) == TRIES_FREE - 1


def test_what_could_not_be_judged_does_not_count() -> None:
    throttle = LoginThrottle()
    for _ in range(TRIES_FREE):
        tried(throttle, ME, NOW)
    throttle.forgive(ME)
    assert (throttle.tries_left(ME), throttle.wait_s(ME, NOW)) == (1, 0)
    throttle.forgive(OTHER)
    assert throttle.tries_left(OTHER) == TRIES_FREE


def test_tries_count_before_they_are_judged_so_that_many_at_once_gain_nothing() -> None:
    throttle = LoginThrottle()
    begun = [throttle.begin(ME, NOW) == 0 for _ in range(100)]
    assert begun.count(True) == AT_ONCE_MOST
    for _ in range(AT_ONCE_MOST):
        throttle.end()
    assert throttle.begin(ME, NOW) == 0
    assert throttle.begin(ME, NOW) == 60


def test_each_address_has_its_own_tries() -> None:
    throttle = LoginThrottle()
    for _ in range(TRIES_FREE):
        tried(throttle, ME, NOW)
    assert tried(throttle, OTHER, NOW) == 0


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("local", "local", True),
        ("192.0.2.7", "192.0.2.9", False),
    ],
)
def test_an_ipv6_network_counts_as_one_address(one: str, two: str, same: bool) -> None:
    throttle = LoginThrottle()
    for _ in range(TRIES_FREE):
        tried(throttle, one, NOW)
    assert (throttle.wait_s(two, NOW) > 0) == same


def test_tries_from_everywhere_together_are_bounded_to_one_a_second() -> None:
    throttle = LoginThrottle()
    addresses = [f"10.{it // 256}.{it % 256}.1" for it in range(1_000)]
    assert sum(tried(throttle, it, NOW) == 0 for it in addresses) == BURST_MOST
    assert sum(tried(throttle, it, NOW + 10 * SECOND) == 0 for it in addresses[500:]) == 10


def test_strangers_do_not_keep_out_whoever_has_logged_in_before() -> None:
    """One network of IPv6 has tries enough to use up those of everybody, for ever."""
    throttle = LoginThrottle()
    assert tried(throttle, ME, NOW) == 0
    throttle.forget(ME)
    assert [tried(throttle, f"203.0.113.{number}", NOW) for number in range(BURST_MOST)][-2:] == [0, 2]
    assert tried(throttle, ME, NOW) == 0
    for number in range(AT_ONCE_MOST):
        assert throttle.begin(f"198.51.100.{number}", NOW + MINUTE) == 0
    assert throttle.begin(OTHER, NOW + MINUTE) == 2
    assert throttle.begin(ME, NOW + MINUTE) == 0
    assert throttle.begin(ME, NOW + MINUTE) == 2


def test_tries_from_known_addresses_are_bounded_too() -> None:
    throttle = LoginThrottle()
    known = [f"2001:db8:{number:x}::1" for number in range(KNOWN_MOST + 1)]
    for number, address in enumerate(known):
        assert tried(throttle, address, NOW + number * SECOND) == 0
        throttle.forget(address)
    later = NOW + HOUR
    waits = [tried(throttle, address, later) for address in known[1:]]
    assert waits == [0] * BURST_MOST + [2] * (KNOWN_MOST - BURST_MOST)
    assert tried(throttle, known[0], later) == 0  # the oldest is forgotten, and a stranger again


def test_no_more_addresses_than_the_bound_are_remembered_and_the_oldest_go_first() -> None:
    throttle, now = LoginThrottle(), NOW
    for _ in range(TRIES_FREE):
        tried(throttle, ME, now)
    for number in range(ADDRESSES_MOST + 50):
        now += SECOND
        assert tried(throttle, f"10.{number // 256}.{number % 256}.1", now) == 0
    assert len(throttle._tries) == ADDRESSES_MOST
    assert throttle.tries_left(ME) == TRIES_FREE


def test_a_clock_that_is_set_back_makes_no_wait_longer_than_the_longest() -> None:
    throttle = LoginThrottle()
    for _ in range(TRIES_FREE):
        tried(throttle, ME, NOW)
    assert throttle.wait_s(ME, NOW - 24 * HOUR) * SECOND == LONGEST_WAIT_MS
    assert tried(throttle, OTHER, NOW - 24 * HOUR) == 0
    assert throttle.wait_s(ME, NOW + MINUTE) == 0
