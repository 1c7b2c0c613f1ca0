"""Whether the wall clock may be trusted with what cannot be undone: removing history, giving up a task or a notice.

The wall clock can leap: NTP steps it, a battery dies, a person sets it. So its progress is compared with a clock that
cannot: the time since the machine started. After a leap, what cannot be undone waits until both have agreed for an
hour; all else (polls, retries, pings) goes on. `ClockCheck` is a value, `ClockWatch` keeps the service's one.

Times are milliseconds: `wall_ms` since 1970 UTC, `boot_ms` since the machine started, including sleep.
"""

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.types import Clock

LEAP_LEAST_MS = 5_000  # a smaller step is a normal correction of the clock
HOLD_MS = 3_600_000
_READ_MOST_MS = 1_000  # between the readings of both clocks; more: the process was stopped in between


class ClockReading(Struct, frozen=True, gc=False):
    """Both clocks at one moment. `boot_id` names the start of the machine; it is empty if that cannot be known."""

    boot_id: str
    boot_ms: int
    wall_ms: int

    @property
    def offset_ms(self) -> int:
        """The wall clock's lead; it stays the same as long as neither clock leaps."""
        return self.wall_ms - self.boot_ms


class ClockCheck(Struct, frozen=True, gc=False):
    """What readings are compared with, and until when (`boot_ms`) nothing may be done that cannot be undone.

    `leap_ms` is the last leap that was noticed, positive if the clock leapt ahead; 0 if none was. `leaps` counts those
    of this process.
    """

    anchor: ClockReading
    held_until: int = 0
    leap_ms: int = 0
    leaps: int = 0

    def after(self, now: ClockReading) -> "ClockCheck":
        """The check after another reading of the same process."""
        leap_ms = now.offset_ms - self.anchor.offset_ms
        if abs(leap_ms) > LEAP_LEAST_MS:
            return ClockCheck(now, now.boot_ms + HOLD_MS, leap_ms, self.leaps + 1)
        if now.boot_ms - self.anchor.boot_ms >= HOLD_MS:  # so that small corrections never add up to a leap
            return replace(self, anchor=now)
        return self


def resume_check(stored: ClockCheck | None, now: ClockReading, *, asked: bool = False) -> ClockCheck:
    """The check of a process that starts, from what an earlier one stored; None: there is no history to lose.

    1. The machine runs since then: the readings are compared as ever, and a hold goes on.
    2. The machine was started since, so nobody knows how long it was off: there is a hold for an hour. If a person
       `asked` for what cannot be undone, the hold ends when the machine has been up for an hour.
    3. In both cases a clock that shows an earlier time than was stored has leapt back.
    """
    if stored is None:
        return ClockCheck(now)
    if now.boot_id and now.boot_id == stored.anchor.boot_id:
        return stored.after(now)
    back_ms = now.wall_ms - stored.anchor.wall_ms
    leap_ms = back_ms if back_ms < -LEAP_LEAST_MS else 0
    held_until = HOLD_MS if asked and not leap_ms else now.boot_ms + HOLD_MS
    return ClockCheck(now, held_until, leap_ms, int(leap_ms != 0))


class ClockWatch:
    """The check that all loops share. Each question takes a new reading, so a leap is noticed before it does harm."""

    def __init__(
        self, wall: Clock, boot: Clock, *, boot_id: str = "", stored: ClockCheck | None = None, asked: bool = False
    ) -> None:
        self._wall = wall
        self._boot = boot
        self._boot_id = boot_id
        self.check = resume_check(stored, self._read(), asked=asked)

    def trusted_now(self) -> int | None:
        """The time, for what cannot be undone; None while that has to wait."""
        now = self._take_reading()
        return now.wall_ms if now.boot_ms >= self.check.held_until else None

    def trusts(self, now: int) -> bool:
        """Whether what cannot be undone may rest on `now`, an earlier reading of the wall clock."""
        current = self.trusted_now()
        return current is not None and now <= current + LEAP_LEAST_MS

    def hold_left_ms(self) -> int:
        """How long the hold lasts from now on; 0 if there is none."""
        now = self._take_reading()
        return max(0, self.check.held_until - now.boot_ms)

    def _take_reading(self) -> ClockReading:
        now = self._read()
        self.check = self.check.after(now)
        return now

    def _read(self) -> ClockReading:
        for _ in range(3):
            before, wall_ms, boot_ms = self._boot(), self._wall(), self._boot()
            if boot_ms - before <= _READ_MOST_MS:
                break
        return ClockReading(self._boot_id, boot_ms, wall_ms)


def leap_text(leap_ms: int) -> str:
    """A leap in words: `100 days ahead`, `40 seconds back`."""
    seconds = abs(leap_ms) // 1000
    for name, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {name}s {'ahead' if leap_ms > 0 else 'back'}"
    return f"{seconds} seconds {'ahead' if leap_ms > 0 else 'back'}"
