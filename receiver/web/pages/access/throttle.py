"""How often a login may be tried: five times from one address, then after waits that double; and a bound for all.

In memory and bounded: a restart forgets, and so does a flood from more addresses than are remembered. Against that
stands the bound for all addresses together, which also keeps the hashing from loading the machine. Addresses from which
somebody has logged in have a bound of their own, so that strangers cannot keep their owner out.
"""

import ipaddress

from msgspec import Struct
from msgspec.structs import replace

TRIES_FREE = 5
FIRST_WAIT_MS = 60_000
LONGEST_WAIT_MS = 3_600_000
FORGOTTEN_MS = 3_600_000  # after the last try and its wait
ADDRESSES_MOST = 1_000
KNOWN_MOST = 100  # addresses from which somebody has logged in
AT_ONCE_MOST = 4  # tries that are hashed or wait for it
BURST_MOST = 30  # tries from all addresses together, and then
REFILL_MS = 1_000  # one more each
_BUSY_S = 2

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


class _Tries(Struct, frozen=True):
    """The tries of one address since its last right one; none may come before `until`."""

    count: int = 0
    until: int = 0
    last: int = 0


class LoginThrottle:
    """The tries of all addresses. Times are in milliseconds, waits in whole seconds, rounded up."""

    def __init__(self) -> None:
        self._tries: dict[str, _Tries] = {}
        self._known: dict[str, None] = {}
        self._running = 0
        self._spare = {True: _Bucket(), False: _Bucket()}  # for known addresses, and for all others

    def begin(self, address: str, now: int) -> int:
        """Count a try that begins now, and return 0; or how long it has to wait. If it begins, `end` must follow."""
        if wait_s := self.wait_s(address, now):
            return wait_s
        key = _group(address)
        known = key in self._known
        if self._running >= AT_ONCE_MOST + known or not self._spare[known].spend_one(now):
            return _BUSY_S
        self._running += 1
        before = self._tries.pop(key, _Tries())
        count = before.count + 1 if now - max(before.last, before.until) < FORGOTTEN_MS else 1
        wait_ms = FIRST_WAIT_MS << min(count - TRIES_FREE, 10) if count >= TRIES_FREE else 0
        self._tries[key] = _Tries(count, now + min(wait_ms, LONGEST_WAIT_MS), now)  # the last in the order of the table
        while len(self._tries) > ADDRESSES_MOST:
            del self._tries[next(iter(self._tries))]
        return 0

    def end(self) -> None:
        """A try that began is over."""
        self._running -= 1

    def forget(self, address: str) -> None:
        """The try was right: what came before it does not count any more, and the address is known."""
        key = _group(address)
        self._tries.pop(key, None)
        self._known.pop(key, None)
        self._known[key] = None  # the last in the order of the table
        if len(self._known) > KNOWN_MOST:
            del self._known[next(iter(self._known))]

    def forgive(self, address: str) -> None:
        """The try could not be judged, so it does not count."""
        before = self._tries.get(_group(address))
        if before is not None:
            self._tries[_group(address)] = replace(before, count=before.count - 1, until=0)

    def tries_left(self, address: str) -> int:
        """How many more tries come before the next wait."""
        return max(0, TRIES_FREE - self._tries.get(_group(address), _Tries()).count)

    def wait_s(self, address: str, now: int) -> int:
        """How long this address has to wait; 0 if it may try now. A clock that was set back makes no wait longer."""
        tries = self._tries.get(_group(address), _Tries())
        until = min(tries.until, now + LONGEST_WAIT_MS)
        return max(0, -(-(until - now) // 1000))


class _Bucket:
    """`BURST_MOST` tries, and one more in `REFILL_MS`."""

    def __init__(self) -> None:
        self._spare = float(BURST_MOST)
        self._filled_at = 0

    def spend_one(self, now: int) -> bool:
        """Take one; False if there is none."""
        passed = max(0, now - self._filled_at) if self._filled_at else 0
        self._spare, self._filled_at = min(BURST_MOST, self._spare + passed / REFILL_MS), now
        if self._spare < 1:
            return False
        self._spare -= 1
        return True


def _group(address: str) -> str:
    """Whose tries count together: an IPv6 network of 64 bits is one household, or one attacker."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)
