"""The clocks of this machine."""

import time


def wall_clock() -> int:
    """This machine's clock: milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def boot_clock() -> int:
    """A clock that cannot leap: milliseconds since the machine started, including sleep."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000
