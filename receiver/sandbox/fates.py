"""What goes wrong and how often: the sandbox's options, and the fate that each submission draws from them.

With the same seed and order of submissions, the fates are the same. A script sets the fates of the first ones.
"""

from enum import Flag, StrEnum, auto
from random import Random

from msgspec import Struct


class CallbackBody(StrEnum):
    """The shape of a callback. The provider documents none, so a receiver has to expect each."""

    TASK = "task"  # the provider's own task object
    JOB = "job"  # the upstream's job object, passed through: another id, a numeric status
    WRAPPED = "wrapped"  # a job in an envelope with a timestamp
    MIXED = "mixed"  # one of the three, drawn for each task


class Fate(Flag):
    """What happens to one submission. `COMPLETES` is the normal case; the others combine with `|`."""

    COMPLETES = 0
    FAILS = auto()  # the task ends as failed
    STALLS = auto()  # the task never ends
    DROPPED = auto()  # its callback is never sent
    DUPLICATED = auto()  # its callback is sent twice
    EARLY = auto()  # its callback is sent before the submission is answered
    REORDERED = auto()  # another task's callback overtakes its own, and a progress callback follows
    BUSY = auto()  # 429 with Retry-After; not accepted
    UNAVAILABLE = auto()  # 503 with the provider's own error; not accepted
    REFUSED = auto()  # 200 with an error and without an id; not accepted
    SLOW = auto()  # accepted, but the answer comes too late for any client
    CUT = auto()  # accepted, but the answer is a 502 from something in between


NOT_TAKEN = Fate.BUSY | Fate.UNAVAILABLE | Fate.REFUSED


class SandboxOptions(Struct, frozen=True, kw_only=True):
    """How the sandbox behaves. Probabilities are from 0 to 1. Raises ValueError for anything out of range."""

    latency_s: float = 5.0  # mean time until a task ends, ± 50 % by the seed
    seed: int = 0
    fail: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    early: float = 0.0
    reject: float = 0.0  # half 429, half 503
    slow: float = 0.0
    reorder: bool = False
    body: CallbackBody = CallbackBody.TASK
    script: tuple[Fate, ...] = ()  # the fates of the first submissions; later ones are drawn
    slow_s: float = 40.0  # how long a slow answer hangs: clients wait 30 to 35 s
    callback_retry_s: tuple[float, ...] = (1.0, 2.0, 4.0)  # gaps before the retries of a callback
    hold_s: float = 1.0  # how long a reordered callback waits to be overtaken

    def __post_init__(self) -> None:
        for name in ("fail", "drop", "duplicate", "early", "reject", "slow"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability from 0 to 1")
        if not 0 <= self.latency_s <= 86_400:
            raise ValueError("latency must be 0 to 86400 seconds")


class FateDraw(Struct, frozen=True):
    """What one submission draws: its fate, its duration, and the shape of its callback."""

    fate: Fate
    latency_s: float
    body: CallbackBody


def draw_fate(options: SandboxOptions, number: int) -> FateDraw:
    """What submission `number` (0: the first) draws. It depends only on the two arguments."""
    luck = Random(f"{options.seed}:{number}")  # noqa: S311 - chance, not a secret
    drawn = _draw_flags(options, luck)  # drawn even with a script, so that a script does not change what follows it
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
