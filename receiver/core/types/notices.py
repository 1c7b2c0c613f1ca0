"""Notices: what is owed to whom, what it says, and how it went."""

from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from receiver.core.types.tasks import Image, TaskError


class NoticeEvent(StrEnum):
    """What a notice tells. A task that the provider cancelled is told as failed: nobody gets the pictures."""

    COMPLETED = "completed"
    FAILED = "failed"
    LOST = "lost"
    ATTENTION = "attention"


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a notice says, frozen by the transaction that settled the task (or raised the attention)."""

    event: NoticeEvent
    ref: str | None = None
    task_id: str | None = None
    label: str | None = None
    model: str | None = None
    prompt: str | None = None
    confirmed: bool = True
    images: tuple[Image, ...] = ()
    error: TaskError | None = None
    cost: Decimal | None = None
    duration_ms: int | None = None
    text: str | None = None  # attention: what happened, and what to do
    cause: str | None = None  # attention: the key that is told at most once an hour


class AttachedPicture(Struct, frozen=True, gc=False):
    """A picture that goes with a message: a file of the archive, and where the world can see it, if it can."""

    path: str
    url: str | None = None


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
    event: NoticeEvent
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


class AttemptResult(Struct, frozen=True, gc=False):
    """What became of one attempt: `error` None means delivered; `permanent` means that trying again is of no use."""

    error: str | None = None
    permanent: bool = False
    retry_after_ms: int | None = None
    duration_ms: int = 0
    put_off: bool = False  # it was not even tried, for no fault of the target's: no try is used up


class MessageStyle(StrEnum):
    """How a service wants its messages written. All but text show pictures."""

    TEXT = "text"
    EMAIL = "email"
    SLACK = "slack"
    DISCORD = "discord"
    TELEGRAM = "telegram"
    NTFY = "ntfy"


class QuietHours(Struct, frozen=True, gc=False):
    """Hours in which a target is not told: from `start` to `end`, minutes of the day on the clocks of `zone`."""

    start: int
    end: int
    zone: str  # an IANA name


class MessageRate(Struct, frozen=True, gc=False):
    """How many messages a target takes in a span."""

    count: int
    per_ms: int


class Target(Struct, frozen=True, kw_only=True, gc=False):
    """A named Apprise URL and what it wants to hear. The URL is a secret."""

    name: str
    url: str
    on: frozenset[NoticeEvent] = frozenset(
        {NoticeEvent.COMPLETED, NoticeEvent.FAILED, NoticeEvent.LOST, NoticeEvent.ATTENTION}
    )
    models: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    style: MessageStyle = MessageStyle.TEXT
    template: str | None = None  # Jinja2, its text; the first line that it writes is the title
    template_file: str | None = None  # where that stands, as receiver.toml names it
    digest_ms: int | None = None  # those that follow one within this span become one message
    quiet: QuietHours | None = None
    quiet_except: frozenset[NoticeEvent] = frozenset()
    rate: MessageRate | None = None

    def __repr__(self) -> str:
        return f"Target({self.name!r})"
