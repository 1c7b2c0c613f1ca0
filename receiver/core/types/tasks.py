"""Tasks: their states, the outcomes that change them, and the callbacks that bring outcomes."""

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

Clock = Callable[[], int]
"""Milliseconds since 1970, UTC."""


class TaskState(StrEnum):
    """The state of a task. `completed`, `failed` and `cancelled` are final; a late callback can settle a lost task."""

    QUEUED = "queued"  # only with us: nothing was sent, or the provider did not take it
    SUBMITTING = "submitting"  # the request is under way, or this process died during it
    WAITING = "waiting"  # the provider has it, or may have it (unsure)
    COMPLETED = "completed"  # there are pictures
    FAILED = "failed"  # the provider refused it or gave up
    LOST = "lost"  # past its deadline without a known end
    CANCELLED = "cancelled"  # withdrawn by us before it was sent, or by the provider

    @property
    def is_final(self) -> bool:
        """Whether no outcome can change the task any more."""
        return self in _FINAL


_FINAL = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED})


class TaskOrigin(StrEnum):
    """How a task came to be known here."""

    SUBMITTED = "submitted"  # through our API
    MINTED = "minted"  # we made only its callback URL; it is submitted elsewhere
    ADOPTED = "adopted"  # a callback came with a valid token, but its ref was unknown


class HoldReason(StrEnum):
    """Why a queued task is not submitted."""

    PARENT = "parent"  # the task that it goes on from has not ended
    PICK = "pick"  # a person has to say from which picture it goes on
    BUDGET = "budget"
    PAUSE = "pause"  # the provider refuses our key, our balance or our plan
    SUSPECT = "suspect"  # the provider refused it, perhaps only it: another task goes first
    PERSON = "person"  # refused or put off too often: a person has to say


class OutcomeSource(StrEnum):
    """Where an outcome came from; a settled task records it as `settled_by`."""

    CALLBACK = "callback"
    POLL = "poll"
    ANSWER = "answer"  # the provider's answer to the submission itself
    PERSON = "person"  # a person accepted a callback, or cancelled the task
    PARENT = "parent"  # the task that it was to go on from did not complete


class Ending(StrEnum):
    """What an outcome says about the task."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class OutcomeShape(StrEnum):
    """The format of a body. Only the provider's own task object can settle a task at once."""

    TASK = "task"  # the provider's task object
    JOB = "job"  # the upstream's job object, passed through
    WRAPPED = "wrapped"  # a job inside an envelope
    OTHER = "other"


class Verdict(StrEnum):
    """What became of a callback."""

    ACCEPTED = "accepted"  # it changed the task
    DUPLICATE = "duplicate"  # says what was known already
    LATE = "late"  # says something unfinished after the end
    CONFLICT = "conflict"  # says another final state or other pictures; stored, but changes nothing
    HINT = "hint"  # waits for a poll
    UNPARSED = "unparsed"  # no outcome could be read; the task is polled, as for a hint


class ArchiveState(StrEnum):
    """The state of the copies of a task's pictures."""

    DUE = "due"  # some are not fetched yet
    DONE = "done"  # all that can be fetched are here, and the contact sheet if it could be drawn
    FAILED = "failed"  # given up: no picture could be fetched


NO_PICTURE = "no picture was found in it"
"""Why a completion without a picture is doubted."""


class TaskError(Struct, frozen=True, gc=False):
    """Why a task failed: the provider's code as text, its message, and the raw error as JSON."""

    code: str | None
    message: str
    raw: bytes | None = None


class Usage(Struct, frozen=True, gc=False):
    """What a task cost: `cost` in USD, `discount` as the provider reports it."""

    cost: Decimal | None = None
    discount: float | None = None


class Image(Struct, frozen=True, gc=False):
    """One generated picture (or other asset) of a task."""

    image_no: int
    url: str
    type: str = "image"
    job_id: str | None = None


class ImageCopy(Struct, frozen=True, gc=False):
    """What the archive knows of one image: our copy, or why there is none."""

    image_no: int
    file: str | None = None  # its name in the task's folder, such as `0.png`
    sha256: bytes | None = None
    size: int | None = None  # bytes
    media_type: str | None = None  # judged by its content, not by the server's header
    width: int | None = None  # pixels
    height: int | None = None
    small: str | None = None  # the thumbnail's name
    error: str | None = None  # why there is no copy, or no thumbnail
    tiny: str | None = None  # a second, smaller thumbnail; None if `small` is no larger, or older than it


class Outcome(Struct, frozen=True, gc=False):
    """What a callback or a poll reply says about a task, independent of the provider's format."""

    ending: Ending
    shape: OutcomeShape
    status: str  # the word or number that was received
    task_id: str | None = None  # of a task object
    job_id: str | None = None  # of an upstream job
    model: str | None = None
    created_at: int | None = None
    progress: float | None = None
    images: tuple[Image, ...] = ()
    error: TaskError | None = None
    usage: Usage | None = None
    doubt: str | None = None  # why this end cannot be believed as it stands: "its status 'foo' is unknown"
    unknown_status: bool = False  # it counts as running only because nothing speaks of an end

    @property
    def says_end(self) -> bool:
        """Whether it says that the task has ended, believable or not."""
        return self.ending is not Ending.RUNNING

    @property
    def why_doubted(self) -> str | None:
        """Why the end that it says cannot be believed; None if it can, or if it says no end."""
        if self.ending is Ending.COMPLETED and not self.images:
            return self.doubt or NO_PICTURE
        return self.doubt if self.says_end else None

    @property
    def is_terminal(self) -> bool:
        """Whether it ends the task. A doubted end does not: one without a picture, or one that cannot be read."""
        return self.says_end and self.why_doubted is None


class HintNote(Struct, frozen=True, gc=False, omit_defaults=True):
    """What was heard of a task without settling it, and why it did not count."""

    status: str  # the word that was received; empty if the body could not be read
    source: OutcomeSource  # a callback, or the provider's reply to a poll
    ending: Ending | None = None  # None: the body could not be read
    doubt: str | None = None  # why the end that it says is not believed
    digest: bytes | None = None  # of the callback's body


class Task(Struct, frozen=True, gc=False):
    """One generation at a provider, with everything the loops need to know about it."""

    ref: str
    created_at: int
    provider: str  # its name in `providers.registry`
    task_id: str | None = None
    model: str | None = None
    params: bytes = b"{}"  # the provider's parameters as JSON, without the callback URL
    prompt: str | None = None
    label: str | None = None
    targets: tuple[str, ...] | None = None
    origin: TaskOrigin = TaskOrigin.SUBMITTED
    poll_only: bool = False
    key_id: str | None = None  # which key signed its callback URL

    state: TaskState = TaskState.QUEUED
    held_by: HoldReason | None = None
    unsure: bool = False
    confirmed: bool = True
    settled_by: OutcomeSource | None = None
    submitted_at: int | None = None
    settled_at: int | None = None
    provider_created_at: int | None = None
    called_at: int | None = None  # the first callback on its token
    progress: float | None = None
    error: TaskError | None = None
    usage: Usage | None = None
    pictures: str | None = None  # a digest of the pictures' URLs without their queries

    lane: int = 2  # `lanes.id`: the normal lane, or that of a batch
    turn: int = 0  # its place within the lane, which it keeps when it is put back; of a batch, its line
    row_key: bytes | None = None  # what of a batch's row is paid for, as a hash; only the row's newest task has it
    quiet: bool = False  # its end is reported with its batch only
    again_of: str | None = None  # the task that this one repeats
    reserved: int | None = None  # nano-USD that it may cost, from its claim on; None: unknown
    spend_day: str | None = None  # the date of its claim, in the budget's zone: to it its cost counts

    root: str | None = None  # the first task of its chain; None: it belongs to none
    parent: str | None = None  # the task that it goes on from
    parent_image: int | None = None  # from which of its pictures; None: a person picks
    step: str | None = None  # its name within the chain
    depth: int = 0  # steps from the root
    of_all: bool = False  # there is one for each picture of the parent: if fewer come, it is not needed
    children: int = 0  # how many tasks are held by this one
    picks: int = 0  # of these, for how many a person has to pick a picture
    picked_by: str | None = None  # how a person picked its picture: link, api
    ping: bool | None = None  # whether its completion is reported though others go on from it; None: only if it must
    traits: bytes | None = None  # what its pictures are, as JSON (`providers.vtrix.follow_rules`)

    due_at: int | None = None  # queued: not before
    why: str | None = None  # queued: why it was put back, in the provider's words
    tries: int = 0  # submissions that the provider was too busy for
    refused_at: int | None = None  # queued: a task sent since then and taken shows that its refusal was its own
    refusals: int = 0  # refusals that nobody could tell from a refusal of all tasks
    claim: int = 0  # which claim of the submission this is
    lease_until: int | None = None  # when the answer to its submission or the reply to its poll is overdue
    place_until: int | None = None  # until then it counts towards the provider's concurrency

    polls: int = 0
    poll_at: int | None = None
    poll_step: int = 0
    hint: Outcome | None = None
    hint_step: int | None = None  # the number of the hint's next poll
    hint_until: int | None = None  # when an unconfirmed terminal hint settles the task, or a person is asked
    hint_note: HintNote | None = None  # what the hint said; kept when the task is lost
    doubted_at: int | None = None  # when an end was first heard that cannot be believed
    refuted_at: int | None = None  # when a poll last said that the task has not ended
    candidates: tuple[str, ...] = ()  # ids from hints, in the order in which they are polled
    denied: tuple[str, ...] = ()  # digests of ids that the provider does not know

    kept: int = 0  # stored callbacks, with their bodies
    kept_bytes: int = 0
    kept_ends: int = 0  # those beyond the quota, because they say how the task ended or could not be read
    kept_ends_bytes: int = 0

    archive: ArchiveState | None = None  # the state of its copies; None: it has no pictures
    archive_at: int | None = None  # when due: not before; also the lease of the fetch
    archive_tries: int = 0

    @property
    def shown_name(self) -> str:
        """How texts name it: by its label in quotes, or by its ref."""
        return f"“{self.label}”" if self.label else self.ref


class Callback(Struct, frozen=True, kw_only=True, gc=False):
    """One HTTP request to a callback URL, as it arrived."""

    ref: str
    received_at: int
    body: bytes
    headers: bytes = b"{}"  # some of them, as JSON
    digest: bytes = b""  # SHA-256 of the body
    verdict: Verdict = Verdict.UNPARSED
    replay_of: int | None = None
