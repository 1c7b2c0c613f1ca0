"""What goes wrong and how often: the sandbox's options, and the fate that each submission draws from them.

With the same seed and order of submissions, the fates are the same. A script sets the fates of the first ones.
"""

from collections.abc import Mapping
from enum import Flag, StrEnum, auto
from random import Random

import msgspec
from msgspec import Struct

IMAGES_MOST = 64


class CallbackBody(StrEnum):
    """The shape of a callback. The provider documents none, so a receiver has to expect each."""

    TASK = "task"  # the provider's own task object
    JOB = "job"  # the upstream's job object, passed through: another id, a numeric status
    WRAPPED = "wrapped"  # a job in an envelope with a timestamp
    MIXED = "mixed"  # one of the three above, drawn for each task
    TEXT = "text"  # a task object whose `output` is a link as plain text
    FORM = "form"  # a task object as the field `payload` of a form
    UNKNOWN = "unknown"  # a task object with a status that nobody knows
    GZIP = "gzip"  # a task object, packed


class PictureCoding(StrEnum):
    """How pictures are sent. Hosts send a Content-Encoding that is not true, or pack what nobody wanted packed."""

    PLAIN = "plain"
    BOGUS = "bogus"  # as they are, under a name that is not a coding: aws-chunked, binary, UTF-8, none
    NAMED = "named"  # as they are, but called gzip
    GZIP = "gzip"  # packed, and called so
    TWICE = "twice"  # packed, with two codings named at once
    MIXED = "mixed"  # one of these, drawn for each picture


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
    BAD_KEY = auto()  # 401, as for a wrong key; not accepted
    BAD_PROMPT = auto()  # 403, as for a sensitive prompt; not accepted, and never will be
    GATEWAY = auto()  # accepted, but the answer is a 503 from a gateway, in words of its own
    CREATED = auto()  # accepted, and answered 201


NOT_TAKEN = Fate.BUSY | Fate.UNAVAILABLE | Fate.REFUSED | Fate.BAD_KEY | Fate.BAD_PROMPT
_CHANCES = (
    ("fail", "drop", "duplicate", "early", "reject", "slow"),
    ("refuse_key", "refuse_prompt", "gateway", "created", "stall"),
)


class SandboxOptions(Struct, frozen=True, kw_only=True):
    """How the sandbox behaves. Probabilities are from 0 to 1. Raises ValueError for anything out of range."""

    latency_s: float = 5.0  # mean time until a task ends, ± 50 % by the seed
    seed: int = 0
    fail: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    early: float = 0.0
    reject: float = 0.0  # half 429, half 503
    limit: int | None = None  # tasks under way; a submission beyond it is answered 429
    slow: float = 0.0
    reorder: bool = False
    body: CallbackBody = CallbackBody.TASK
    refuse_key: float = 0.0  # of polls too
    refuse_prompt: float = 0.0  # the same parameters are always refused
    gateway: float = 0.0
    created: float = 0.0
    stall: float = 0.0
    images: int | None = None  # results of a task; by default as many as its model makes
    no_job_id: bool = False  # results do not name the job that an edit needs
    strict: bool = False  # what only Midjourney's own API refuses is refused
    late_pictures_s: float = 0.0  # after a task's end, its pictures are 404 for so long
    picture_coding: PictureCoding = PictureCoding.PLAIN
    script: tuple[Fate, ...] = ()  # the fates of the first submissions; later ones are drawn
    slow_s: float = 40.0  # how long a slow answer hangs: clients wait 30 to 35 s
    callback_retry_s: tuple[float, ...] = (1.0, 2.0, 4.0)  # gaps before the retries of a callback
    hold_s: float = 1.0  # how long a reordered callback waits to be overtaken

    def __post_init__(self) -> None:
        for name in (it for names in _CHANCES for it in names):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability from 0 to 1")
        for name in ("latency_s", "late_pictures_s"):
            if not 0 <= getattr(self, name) <= 86_400:
                raise ValueError(f"{name.removesuffix('_s')} must be 0 to 86400 seconds")
        if self.limit is not None and self.limit < 1:
            raise ValueError("limit must be at least 1")
        if self.images is not None and not 0 <= self.images <= IMAGES_MOST:
            raise ValueError(f"images must be 0 to {IMAGES_MOST}")


class FateDraw(Struct, frozen=True):
    """What one submission draws: its fate, its duration, and the shape of its callback."""

    fate: Fate
    latency_s: float
    body: CallbackBody


def draw_fate(options: SandboxOptions, number: int, params: Mapping[str, object] | None = None) -> FateDraw:
    """What submission `number` (0: the first) draws with these parameters. It depends only on the arguments."""
    luck = Random(f"{options.seed}:{number}")  # noqa: S311 - chance, not a secret
    drawn = _draw_flags(options, luck)  # drawn even with a script, so that a script does not change what follows it
    latency_s = options.latency_s * luck.uniform(0.5, 1.5)
    body = (
        luck.choice((CallbackBody.TASK, CallbackBody.JOB, CallbackBody.WRAPPED))
        if options.body is CallbackBody.MIXED
        else options.body
    )
    drawn |= _draw_later_flags(options, number, params or {})
    return FateDraw(options.script[number] if number < len(options.script) else drawn, latency_s, body)


def refuses_poll(options: SandboxOptions, number: int) -> bool:
    """Whether poll `number` is refused as for a wrong key."""
    return Random(f"{options.seed}:poll:{number}").random() < options.refuse_key  # noqa: S311 - chance, not a secret


def draw_coding(options: SandboxOptions, task_id: str, image_no: int) -> PictureCoding:
    """How a picture is sent: the same picture always the same way."""
    if options.picture_coding is not PictureCoding.MIXED:
        return options.picture_coding
    choices = [it for it in PictureCoding if it is not PictureCoding.MIXED]
    return Random(f"{options.seed}:{task_id}:{image_no}").choice(choices)  # noqa: S311 - chance, not a secret


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


def _draw_later_flags(options: SandboxOptions, number: int, params: Mapping[str, object]) -> Fate:
    """Drawn apart, so that they change nothing of what a seed draws otherwise."""
    luck = Random(f"{options.seed}:{number}:later")  # noqa: S311 - chance, not a secret
    fate = Fate.COMPLETES
    chances = (
        (options.refuse_key, Fate.BAD_KEY),
        (options.gateway, Fate.GATEWAY),
        (options.created, Fate.CREATED),
        (options.stall, Fate.STALLS),
    )
    for chance, consequence in chances:
        if luck.random() < chance:
            fate |= consequence
    prompt = msgspec.json.encode(params, order="sorted").decode()
    if Random(f"{options.seed}:prompt:{prompt}").random() < options.refuse_prompt:  # noqa: S311 - chance, not a secret
        fate |= Fate.BAD_PROMPT
    return fate
