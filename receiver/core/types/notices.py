"""Notices: what is sent to which target, what it says, and how it went."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from receiver.core.types.tasks import Image, TaskError


class NoticeEvent(StrEnum):
    """What a notice reports. A task that the provider cancelled is reported as failed: there are no pictures."""

    COMPLETED = "completed"
    FAILED = "failed"
    LOST = "lost"
    ATTENTION = "attention"
    BATCH = "batch"  # all its tasks have ended


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a notice says, frozen by the transaction that settled the task (or raised the attention)."""

    event: NoticeEvent
    ref: str | None = None
    task_id: str | None = None
    label: str | None = None
    step: str | None = None  # its name within its chain
    model: str | None = None
    prompt: str | None = None
    confirmed: bool = True
    unconfirmed: str | None = None  # why no poll confirmed it
    heard: str | None = None  # lost: what was heard, and why it did not count
    images: tuple[Image, ...] = ()
    error: TaskError | None = None
    cost: Decimal | None = None
    duration_ms: int | None = None
    picks: int = 0  # how many tasks wait until a person picks one of the pictures
    picks_for: tuple[str, ...] = ()  # what these are called
    waiting: int = 0  # how many tasks wait for this one, which was lost, or waited for it until it failed
    text: str | None = None  # attention: what happened, and what to do; batch: what it came to
    cause: str | None = None  # attention: at most one an hour for each cause
    batch: str | None = None  # the name of the batch that it is about
    failed: bool = False  # batch: some of its tasks did not complete
    rows: Mapping[str, int] = {}  # batch: how many are in each state; empty: an earlier version did not say

    @property
    def completed(self) -> int:
        """Of a batch, how many rows completed."""
        return self.rows.get("completed", 0)


class AttachedPicture(Struct, frozen=True, gc=False):
    """A picture that goes with a message: a file of the archive, and its public URL if it has one."""

    path: str
    url: str | None = None


class NoticeState(StrEnum):
    """The state of a notice."""

    DUE = "due"
    SENDING = "sending"
    HELD = "held"
    SENT = "sent"
    DEAD = "dead"
    DISCARDED = "discarded"  # dead, and a person does not want it any more


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
    """What is claimed and sent in one go: a target and its notices. The claim number is a fencing token: a late result
    of an older claim is ignored."""

    id: int
    target: str
    claim: int
    claims: int  # without a recorded result; after some, only those whose sending had begun
    tries: int  # recorded failures
    notices: tuple[Notice, ...]
    delivered: tuple[str, ...] = ()  # parts of its message that were delivered by then: recipients, pieces, files


class AttemptResult(Struct, frozen=True, gc=False):
    """The result of one attempt. `error` None means delivered.

    `permanent`: trying again cannot help, whatever the other side does. An answer is never that: one that `looks_final`
    may be a proxy's during a deployment, and is tried again, though a person is told at once.
    """

    error: str | None = None
    permanent: bool = False
    looks_final: bool = False
    of_message: bool = False  # the answer may be about this message only: the target may take others
    retry_after_ms: int | None = None
    duration_ms: int = 0
    put_off: bool = False  # it could not begin, through no fault of the target's: this uses up no try
    delivered: tuple[str, ...] = ()  # of a failed message, what need not be delivered again; opaque


class MessageStyle(StrEnum):
    """The format that a service wants its messages in. All show pictures; text, where the service takes files."""

    TEXT = "text"
    EMAIL = "email"
    SLACK = "slack"
    DISCORD = "discord"
    TELEGRAM = "telegram"
    NTFY = "ntfy"


class Importance(StrEnum):
    """How much a message presses: services have sounds, ranks or flags for it."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


class QuietHours(Struct, frozen=True, gc=False):
    """Hours in which a target gets no messages: from `start` to `end`, minutes of the day on the clocks of `zone`."""

    start: int
    end: int
    zone: str  # an IANA name


class MessageRate(Struct, frozen=True, gc=False):
    """The most messages that a target takes in a span."""

    count: int
    per_ms: int


class Target(Struct, frozen=True, kw_only=True, gc=False):
    """A named Apprise URL, and which notices it gets. The URL is a secret."""

    name: str
    url: str
    on: frozenset[NoticeEvent] = frozenset(
        {NoticeEvent.COMPLETED, NoticeEvent.FAILED, NoticeEvent.LOST, NoticeEvent.ATTENTION, NoticeEvent.BATCH}
    )
    models: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    style: MessageStyle = MessageStyle.TEXT
    takes_files: bool = False  # whether a plain text can have a picture with it, as a file
    template: str | None = None  # the text of a Jinja2 template; the first line it writes is the title
    template_file: str | None = None  # its file, as receiver.toml names it
    digest_ms: int | None = None  # notices that follow one within this span become one message
    quiet: QuietHours | None = None
    quiet_except: frozenset[NoticeEvent] = frozenset()
    rate: MessageRate | None = None
    priority: Mapping[NoticeEvent, Importance] = {}

    @property
    def shows_pictures(self) -> bool:
        """Whether its messages can have a picture."""
        return self.takes_files or self.style is not MessageStyle.TEXT

    def __repr__(self) -> str:
        return f"Target({self.name!r})"
