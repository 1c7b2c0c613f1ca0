"""What goes wrong, and how often: the sandbox's options, and the fate that each submission draws from them.

The same seed draws the same fates in the same order of submission. A script decides the first ones by hand.
"""

from enum import Flag, StrEnum, auto
from random import Random

from msgspec import Struct


class CallbackBody(StrEnum):
    """Whose words a callback is in; the provider documents none, so a receiver has to expect each."""

    TASK = "task"  # the provider's own task object
    JOB = "job"  # the upstream's job object, passed through: another id, a numeric status
    WRAPPED = "wrapped"  # a job in an envelope with a timestamp
    MIXED = "mixed"  # one of the three, drawn for each task


class Fate(Flag):
    """What becomes of one submission. `COMPLETES` is nothing out of the ordinary; the others combine with `|`."""

    COMPLETES = 0
    FAILS = auto()  # the task ends as failed
    STALLS = auto()  # the task never ends
    DROPPED = auto()  # its callback is lost
    DUPLICATED = auto()  # its callback is sent twice
    EARLY = auto()  # its callback is sent before the submission is answered
    REORDERED = auto()  # its callback waits for another task's, and a progress callback follows it
    BUSY = auto()  # 429 with Retry-After; nothing is taken
    UNAVAILABLE = auto()  # 503 in the provider's own words; nothing is taken
    REFUSED = auto()  # 200 with an error and without an id; nothing is taken
    SLOW = auto()  # taken, but the answer comes too late for any client
    CUT = auto()  # taken, but the answer is a 502 from something in between


NOT_TAKEN = Fate.BUSY | Fate.UNAVAILABLE | Fate.REFUSED


class SandboxOptions(Struct, frozen=True, kw_only=True):
    """How the sandbox behaves. Probabilities are 0 to 1; raises ValueError for anything out of range."""

    latency_s: float = 5.0  # mean time until a task ends, ± 50 % by seed
    seed: int = 0
    fail: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    early: float = 0.0
    reject: float = 0.0  # half of them 429, half 503
    slow: float = 0.0
    reorder: bool = False
    body: CallbackBody = CallbackBody.TASK
    script: tuple[Fate, ...] = ()  # the fates of the first submissions; after them, they are drawn
    slow_s: float = 40.0  # how long a slow answer hangs: longer than the 30 to 35 s that clients wait
    callback_retry_s: tuple[float, ...] = (1.0, 2.0, 4.0)  # gaps before a callback that was not answered 2xx goes again
    hold_s: float = 1.0  # how long a reordered callback waits for another to overtake it

    def __post_init__(self) -> None:
        for name in ("fail", "drop", "duplicate", "early", "reject", "slow"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability: 0 to 1")
        if not 0 <= self.latency_s <= 86_400:
            raise ValueError("latency is in seconds: 0 to 86400")


class FateDraw(Struct, frozen=True):
    """What one submission has drawn: its fate, the time until it ends, the shape of its callback."""

    fate: Fate
    latency_s: float
    body: CallbackBody


def draw_fate(options: SandboxOptions, number: int) -> FateDraw:
    """What submission `number` (0: the first) draws; depends on nothing but the two arguments."""
    luck = Random(f"{options.seed}:{number}")  # noqa: S311 - chance, not a secret
    drawn = _draw_flags(options, luck)  # always drawn, so that a script does not shift what follows it
    latency_s = options.latency_s * luck.uniform(0.5, 1.5)
    body = (
        luck.choice((CallbackBody.TASK, CallbackBody.JOB, CallbackBody.WRAPPED))
        if options.body is CallbackBody.MIXED
        else options.body
    )
    return FateDraw(options.script[number] if number < len(options.script) else drawn, latency_s, body)


def _draw_flags(options: SandboxOptions, luck: Random) -> Fate:
    fate = Fate.REORDERED if options.reorder else Fate.COMPLETES
    chances = (
        (options.fail, Fate.FAILS),
        (options.drop, Fate.DROPPED),
        (options.duplicate, Fate.DUPLICATED),
        (options.early, Fate.EARLY),
        (options.slow, Fate.SLOW),
        (options.reject, luck.choice((Fate.BUSY, Fate.UNAVAILABLE))),
    )
    for chance, consequence in chances:
        if luck.random() < chance:
            fate |= consequence
    return fate
