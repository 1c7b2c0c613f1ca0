"""The words of this project as frozen types: tasks, callbacks, outcomes, notices and what they are made of.

No I/O and no imports of ours. Nothing here can be part of a cycle, so none of it is the garbage collector's (`gc`).
Times are integer milliseconds UTC, durations say their unit in their name, money is `Decimal`. Everything here can be
compared, copied with `msgspec.structs.replace` and encoded by msgspec.
"""

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

Clock = Callable[[], int]
"""Milliseconds since 1970, UTC."""


class State(StrEnum):
    """Where a task is. `completed`, `failed` and `cancelled` are final; a late callback still settles a lost one."""

    QUEUED = "queued"  # ours alone; nothing was sent, or the provider said it took nothing
    SUBMITTING = "submitting"  # the request is out, or we died while it was
    WAITING = "waiting"  # the provider has it, or may have it (unsure)
    COMPLETED = "completed"  # there are pictures
    FAILED = "failed"  # the provider refused it or gave up
    LOST = "lost"  # past its deadline, and nobody knows of an end
    CANCELLED = "cancelled"  # withdrawn, by us before it was sent or by the provider

    @property
    def final(self) -> bool:
        """Whether no outcome can change it any more."""
        return self in _FINAL


_FINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})


class Origin(StrEnum):
    """How we came to know of a task."""

    SUBMITTED = "submitted"  # through our API
    MINTED = "minted"  # only its callback URL is ours; somebody else submits
    ADOPTED = "adopted"  # a callback came on a good token whose ref we did not have


class Hold(StrEnum):
    """Why a queued task is not submitted."""

    PARENT = "parent"
    BUDGET = "budget"
    PAUSE = "pause"


class Source(StrEnum):
    """What an outcome came by; a settled task records it as `settled_by`."""

    CALLBACK = "callback"
    POLL = "poll"
    ANSWER = "answer"  # the provider's answer to the submission itself
    PERSON = "person"  # somebody accepted a callback by hand, or withdrew the task


class Ending(StrEnum):
    """What an outcome says of the task."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Shape(StrEnum):
    """Whose words a body is in. Only the provider's own task object can settle a task at once."""

    TASK = "task"  # the provider's task object
    JOB = "job"  # the upstream's job object, passed through
    WRAPPED = "wrapped"  # a job inside an envelope
    OTHER = "other"


class Verdict(StrEnum):
    """What became of a callback."""

    ACCEPTED = "accepted"  # it changed the task
    DUPLICATE = "duplicate"  # says again what is known
    LATE = "late"  # says something unfinished after the end
    CONFLICT = "conflict"  # another final state or other pictures; kept, changes nothing
    HINT = "hint"  # waits for a poll
    UNPARSED = "unparsed"  # no outcome to be had; kept, and polled like a hint


class Archive(StrEnum):
    """What became of the copies of a task's pictures."""

    DUE = "due"  # some are still to be fetched
    DONE = "done"  # all that can be had are here, and so is the contact sheet, if it could be drawn
    FAILED = "failed"  # given up: not one picture could be had


class Error(Struct, frozen=True, gc=False):
    """Why a task failed: the provider's code as text (`004007098`), its words, and what came, as JSON."""

    code: str | None
    message: str
    raw: bytes | None = None


class Usage(Struct, frozen=True, gc=False):
    """What a task cost: `cost` in USD, `discount` as the provider gives it."""

    cost: Decimal | None = None
    discount: float | None = None


class Image(Struct, frozen=True, gc=False):
    """One generated picture, or another asset, of a task."""

    image_no: int
    url: str
    type: str = "image"
    job_id: str | None = None


class Copy(Struct, frozen=True, gc=False):
    """What the archive knows of one image: our copy, or why there is none."""

    image_no: int
    file: str | None = None  # its name in the task's folder, such as `0.png`
    sha256: bytes | None = None
    size: int | None = None  # bytes
    media_type: str | None = None  # by its content, whatever the server said
    width: int | None = None  # pixels
    height: int | None = None
    small: str | None = None  # the thumbnail's name
    error: str | None = None  # why there is no copy, or no thumbnail


class Picture(Struct, frozen=True, gc=False):
    """A picture that goes with a message: a file of the archive, and where the world can see it, if it can."""

    path: Path
    url: str | None = None


class Outcome(Struct, frozen=True, gc=False):
    """What a callback or a poll reply says about a task, in our own terms."""

    ending: Ending
    shape: Shape
    status: str  # the word or number that came
    task_id: str | None = None  # of a task object
    job_id: str | None = None  # of an upstream job
    model: str | None = None
    created_at: int | None = None
    progress: float | None = None
    images: tuple[Image, ...] = ()
    error: Error | None = None
    usage: Usage | None = None

    @property
    def terminal(self) -> bool:
        """Whether it ends the task. A completion without a picture's URL does not."""
        return self.ending is not Ending.RUNNING and (self.ending is not Ending.COMPLETED or bool(self.images))


class Task(Struct, frozen=True, gc=False):
    """One generation whose end we await, with all that the loops need to know about it."""

    ref: str
    created_at: int
    provider: str = "vtrix"
    task_id: str | None = None
    model: str | None = None
    params: bytes = b"{}"  # the provider's parameters as JSON, without the callback
    prompt: str | None = None
    label: str | None = None
    targets: tuple[str, ...] | None = None
    origin: Origin = Origin.SUBMITTED
    poll_only: bool = False
    key_id: str | None = None  # which key signed its callback URL

    state: State = State.QUEUED
    held_by: Hold | None = None
    unsure: bool = False
    confirmed: bool = True
    settled_by: Source | None = None
    submitted_at: int | None = None
    settled_at: int | None = None
    provider_created_at: int | None = None
    called_at: int | None = None  # the first callback on its token
    progress: float | None = None
    error: Error | None = None
    usage: Usage | None = None
    pictures: str | None = None  # a digest of the pictures' URLs without their queries

    due_at: int | None = None  # queued: not before
    tries: int = 0  # submissions that certainly came to nothing
    claim: int = 0  # which claim of the submission this is
    lease_until: int | None = None  # when the answer to its submission, or the reply to its poll, is overdue
    place_until: int | None = None  # until when it holds a place in the provider's concurrency

    polls: int = 0
    poll_at: int | None = None
    poll_step: int = 0
    hint: Outcome | None = None
    hint_step: int | None = None  # the next rung of the hint's ladder
    hint_until: int | None = None  # when an unconfirmed terminal hint settles the task

    kept: int = 0  # callbacks kept with their bodies
    kept_bytes: int = 0

    archive: Archive | None = None  # whether its pictures are kept; None: it has none
    archive_at: int | None = None  # due: not before; also the lease of who fetches them
    archive_tries: int = 0


class Callback(Struct, frozen=True, kw_only=True, gc=False):
    """One HTTP request to a callback URL, as it arrived."""

    ref: str
    received_at: int
    body: bytes
    headers: bytes = b"{}"  # JSON, a few of them
    digest: bytes = b""  # SHA-256 of the body
    verdict: Verdict = Verdict.UNPARSED
    replay_of: int | None = None


class Event(StrEnum):
    """What a notice tells. A task that the provider cancelled is told as failed: nobody gets the pictures."""

    COMPLETED = "completed"
    FAILED = "failed"
    LOST = "lost"
    ATTENTION = "attention"


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a notice says, frozen by the transaction that settled the task (or raised the attention)."""

    event: Event
    ref: str | None = None
    task_id: str | None = None
    label: str | None = None
    model: str | None = None
    prompt: str | None = None
    confirmed: bool = True
    images: tuple[Image, ...] = ()
    error: Error | None = None
    cost: Decimal | None = None
    duration_ms: int | None = None
    text: str | None = None  # attention: what happened, and what to do
    cause: str | None = None  # attention: the key that is told at most once an hour


class NoticeState(StrEnum):
    """Where a notice is."""

    DUE = "due"
    SENDING = "sending"
    HELD = "held"
    SENT = "sent"
    DEAD = "dead"


class Notice(Struct, frozen=True, kw_only=True, gc=False):
    """One message owed to one target."""

    target: str
    event: Event
    report: Report
    created_at: int
    due_at: int
    ref: str | None = None
    state: NoticeState = NoticeState.DUE
    id: int | None = None
    attempts: int = 0
    error: str | None = None
    sent_at: int | None = None


class Send(Struct, frozen=True, kw_only=True, gc=False):
    """What is claimed and sent in one go: a target and its notices. The claim number fences late answers."""

    id: int
    target: str
    claim: int
    claims: int  # claims since the last recorded result
    tries: int  # recorded failures
    notices: tuple[Notice, ...]


class Sent(Struct, frozen=True, gc=False):
    """What became of one attempt: `error` None means delivered; `permanent` means that trying again is of no use."""

    error: str | None = None
    permanent: bool = False
    retry_after_ms: int | None = None
    duration_ms: int = 0
    put_off: bool = False  # it was not even tried, for no fault of the target's: no try is used up


class Style(StrEnum):
    """How a service wants its messages written. All but text show pictures."""

    TEXT = "text"
    EMAIL = "email"
    SLACK = "slack"
    DISCORD = "discord"
    TELEGRAM = "telegram"
    NTFY = "ntfy"


class Quiet(Struct, frozen=True, gc=False):
    """Hours in which a target is not told: from `start` to `end`, minutes of the day on the clocks of `zone`."""

    start: int
    end: int
    zone: str  # an IANA name


class Rate(Struct, frozen=True, gc=False):
    """How many messages a target takes in a span."""

    count: int
    per_ms: int


class Target(Struct, frozen=True, kw_only=True, gc=False):
    """A named Apprise URL and what it wants to hear. The URL is a secret."""

    name: str
    url: str
    on: frozenset[Event] = frozenset({Event.COMPLETED, Event.FAILED, Event.LOST, Event.ATTENTION})
    models: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    style: Style = Style.TEXT
    template: str | None = None  # Jinja2, its text; the first line that it writes is the title
    digest_ms: int | None = None  # those that follow one within this span become one message
    quiet: Quiet | None = None
    quiet_except: frozenset[Event] = frozenset()
    rate: Rate | None = None

    def __repr__(self) -> str:
        return f"Target({self.name!r})"


class Confirm(StrEnum):
    """Which callbacks are hints."""

    MISMATCH = "mismatch"
    ALWAYS = "always"


class Policy(Struct, frozen=True, kw_only=True, gc=False):
    """What `decide` needs to know of the settings."""

    targets: tuple[Target, ...] = ()
    confirm: Confirm = Confirm.MISMATCH
    confirm_within_ms: int = 900_000
    deadline_ms: int = 86_400_000
    sweep_first_ms: int = 120_000
    sweep_max_ms: int = 900_000
    picture_wait_ms: int = 15_000
    can_poll: bool = True  # there is a provider key
    started_at: int = 0  # when this process began to receive


class Decision(Struct, frozen=True, gc=False):
    """What an outcome does to a task: the task afterwards (None: unchanged), its pictures, the notices due."""

    verdict: Verdict
    task: Task | None = None
    images: tuple[Image, ...] = ()
    notices: tuple[Notice, ...] = ()


class Taken(StrEnum):
    """What the answer to a submission means."""

    TAKEN = "taken"  # 200 with an id
    NOT_SENT = "not_sent"  # no byte left this machine
    BUSY = "busy"  # 429, or 503 in the provider's own words
    REFUSED = "refused"  # 400, 404, 413, 422; 200 with an error and no id
    BARRED = "barred"  # 401, 402, 403: key or balance
    UNCLEAR = "unclear"  # anything after which nobody knows


class Answer(Struct, frozen=True, gc=False):
    """The provider's answer to a submission."""

    taken: Taken
    text: str  # one line for the log, no secrets
    outcome: Outcome | None = None  # the task object, where there is one
    error: Error | None = None
    retry_after_ms: int | None = None


class Heard(StrEnum):
    """What the reply to a poll means."""

    OUTCOME = "outcome"
    UNKNOWN = "unknown"  # 404
    BARRED = "barred"  # 401, 403
    BUSY = "busy"  # 429
    NOTHING = "nothing"  # 5xx, timeouts, nonsense


class Reply(Struct, frozen=True, gc=False):
    """The provider's reply to a poll; `body` is what came, kept if it changed anything."""

    heard: Heard
    text: str
    outcome: Outcome | None = None
    body: bytes = b""
    retry_after_ms: int | None = None
