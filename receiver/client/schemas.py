"""The types of our HTTP API: `web` writes them, `client` reads them. Times are RFC 3339, money is text.

`views` makes them from what the store has.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta, Struct

from receiver.core.chains import CHILDREN_MOST
from receiver.core.pacing import WaitReason
from receiver.core.queue_waits import QueueReason
from receiver.core.types import (
    FIXED_LANES,
    ArchiveState,
    Ending,
    HoldReason,
    NoticeEvent,
    NoticeState,
    OutcomeSource,
    TaskOrigin,
    TaskState,
    Verdict,
)

IMAGES_PREFIX = "/images/"
KEY_MOST = 200  # characters of an Idempotency-Key
LABEL_MOST = 200  # and of every other text that names something
STEP_MOST = 40  # characters of a step's name
STEP_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_.-]*$"
STEP_NAME_HOW = f"1 to {STEP_MOST} letters, digits and _ . - only, and a letter or digit first"
CHAIN_KEY_MOST = KEY_MOST - STEP_MOST - 4  # of a person's own: a step's name follows, and perhaps a picture's number
IMAGE_NO_MOST = 63
LINE_MOST = 2**53 - 1  # what every JSON parser keeps exactly
WITHOUT_NUL = "^[^\\u0000]*$"


def _says(**schema: object) -> Meta:
    """What the OpenAPI document says of a type besides what msgspec checks."""
    return Meta(extra_json_schema=schema)


def _one_of(words: Iterable[str]) -> Meta:
    return _says(enum=list(words))  # not checked here: a client takes the words of a newer service


Ref = Annotated[str, _says(format="uuid")]
Time = Annotated[str, _says(format="date-time")]
Count = Annotated[int, _says(minimum=0)]
ShortText = Annotated[str, _says(minLength=1, maxLength=LABEL_MOST, pattern=WITHOUT_NUL)]
ProviderId = Annotated[str, _says(minLength=1, maxLength=LABEL_MOST, pattern="^[^\\s\\u0000]+$")]
Key = Annotated[str, Meta(min_length=1, max_length=KEY_MOST)]
StepName = Annotated[str, Meta(min_length=1, max_length=STEP_MOST, pattern=STEP_PATTERN)]
# Read as a float, since 1.0 is an integer for JSON Schema, and for the tools that make requests from the document.
ImageNo = Annotated[float, Meta(ge=0, le=IMAGE_NO_MOST, multiple_of=1, extra_json_schema={"type": "integer"})]
ImageNos = Annotated[
    tuple[ImageNo, ...], Meta(min_length=1, max_length=CHILDREN_MOST, extra_json_schema={"uniqueItems": True})
]
ImageChoice = ImageNo | ImageNos | Annotated[str, _one_of(("all", "pick"))]
TargetName = Annotated[str, _says(**{"$ref": "#/components/schemas/TargetName"})]
State = Annotated[str, _one_of(TaskState)]
Event = Annotated[str, _one_of(NoticeEvent)]
SAMPLE_EVENTS = (*(event.value for event in NoticeEvent), "digest")
SampleEvent = Annotated[str, _one_of(SAMPLE_EVENTS)]
OutboxState = Annotated[str, _one_of(NoticeState)]
Source = Annotated[str, _one_of(OutcomeSource)]
HoldReasonName = Annotated[str, _one_of(HoldReason)]


class WaitFor(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The task that a new one goes on from: the one with this `ref`, or that of the same call with this `name`.

    `image_no` says from which of its pictures: a number, several (one task is made for each), `all`, or `pick`: then a
    person picks. It may be left out where there is only one, or none is needed.
    """

    ref: Ref | None = None
    name: StepName | None = None
    image_no: ImageChoice | None = None


class NewTask(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A task to submit. `idempotency_key` is for tasks of a list; a single task has it as a header.

    `line` and `row_key` are for rows of a batch: a batch takes each key once, however often it is sent. With
    `wait_for`, `params` leaves out what the earlier task fills; `name` is what other tasks of the same call, and lists,
    name it by. `anyway`: what the provider probably refuses is sent all the same, and so is a model that is not
    declared here, unchecked. `ping`: whether its completion is reported although other tasks go on from it.
    """

    model: str
    params: dict[str, Any] = {}
    label: ShortText | None = None
    targets: Annotated[tuple[TargetName, ...], _says(minItems=1)] | None = None
    poll_only: bool = False
    allow_permutations: bool = False
    anyway: bool = False
    wait_for: Ref | WaitFor | None = None
    name: StepName | None = None
    ping: bool | None = None
    idempotency_key: Key | None = None
    priority: Annotated[str, _one_of(FIXED_LANES)] | None = None
    line: Annotated[int, Meta(ge=1, le=LINE_MOST)] | None = None
    row_key: Key | None = None


class AgainRequest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is different when a task is submitted once more: its prompt, other parameters (null leaves one out), its
    label. What is not given is as before. `with_children`: all that goes on from it is submitted once more, too.
    `anyway`: what the provider probably refuses is sent all the same."""

    prompt: Annotated[str, _says(minLength=1, pattern=WITHOUT_NUL)] | None = None
    params: dict[str, Any] = {}
    label: ShortText | None = None
    allow_permutations: bool = False
    anyway: bool = False
    with_children: bool = False


class ErrorView(Struct, frozen=True):
    """Why a task failed: the provider's code as text, its message, and the error as it came."""

    code: str | None
    message: str
    raw: Any = None


class ImageView(Struct, frozen=True):
    """One picture; `archived` is the path of our own copy, if there is one.

    `archive` is the state of that copy: `due` until it is fetched (tried again at `archive_at` if a try failed), then
    `done` or `failed`. `archive_error` says why there is no copy, or no thumbnail. `media_type` is that of the copy, by
    its content.
    """

    image_no: Count
    type: str
    url: str
    job_id: str | None = None
    archived: Annotated[str, _says(format="uri-reference")] | None = None
    width: Count | None = None
    height: Count | None = None
    archive: Annotated[str, _one_of(ArchiveState)] | None = None
    archive_error: str | None = None
    archive_at: Time | None = None
    media_type: str | None = None


class UsageView(Struct, frozen=True):
    """What a task cost: `cost` in USD as text."""

    cost: Annotated[str, _says(pattern="^[0-9.E+-]+$")] | None
    discount: float | None


class TaskNotice(Struct, frozen=True):
    """A notice as part of its task."""

    target: str
    event: Event
    state: OutboxState
    attempts: Count
    error: str | None


class HintView(Struct, frozen=True):
    """What was heard of a task's end without settling it: the word that came, and the `ending` that it probably means.

    `doubt` says why it cannot be believed; null: a poll could confirm it. `callback_id` is the callback that said it,
    if a callback did, and `text` says all of this in a sentence. `ending` is null if the body could not be read.
    """

    status: str
    ending: Annotated[str, _one_of(Ending)] | None
    doubt: str | None
    source: Source
    callback_id: int | None
    text: str


class ChainLink(Struct, frozen=True):
    """Where a task stands in its chain: the first task, the one that it goes on from, and from which of its pictures
    (null: a person picks); `children` tasks wait for it, of which `picks` need a person to pick a picture.

    `estimate` is only in the answer that makes the task: what the tasks of its chain that are still to come may cost,
    in USD, as far as that is known.
    """

    root: Ref
    parent: Ref | None
    step: str | None
    image_no: Count | None
    children: Count
    picks: Count
    picked_by: str | None = None
    estimate: str | None = None


class TaskView(Struct, frozen=True):
    """A task. `hint` is what was heard of its end, if that did not settle it.

    `waits_for` says what a queued one waits for: `no_key` (of the provider), `key` (which it refuses, or the balance),
    `down` (the provider), `busy` (it asks for a pause), `suspect`, `retry`, `room`, `turn`, `person`, `paused`,
    `parent`, `pick`, `budget` or `price`; `waits_since` is when that began, if it is known, `waits_until` when
    something is tried next, and `waits_detail` says more, such as the provider's words. `warnings` is only in the
    answer that makes the task: what was accepted though it is probably wrong, or undocumented. `siblings`, only
    there too, are the other tasks that were made with it, one for each picture.
    """

    ref: Ref
    task_id: str | None
    model: str | None
    params: dict[str, Any]
    label: str | None
    state: State
    unsure: bool
    settled_by: Source | None
    confirmed: bool
    origin: Annotated[str, _one_of(TaskOrigin)]
    held_by: HoldReasonName | None
    created_at: Time
    submitted_at: Time | None
    settled_at: Time | None
    progress: float | None
    polls: Count
    images: list[ImageView]
    error: ErrorView | None
    usage: UsageView | None
    notices: list[TaskNotice]
    hint: HintView | None = None
    waits_for: Annotated[str, _one_of(QueueReason)] | None = None
    waits_since: Time | None = None
    waits_until: Time | None = None
    waits_detail: str | None = None
    chain: ChainLink | None = None
    warnings: tuple[str, ...] = ()
    siblings: tuple[Ref, ...] = ()


class TaskPage(Struct, frozen=True):
    """A page of tasks, newest first; `next` is the cursor of the following page."""

    tasks: list[TaskView]
    next: str | None


class Problem(Struct, frozen=True, omit_defaults=True):
    """What is wrong with a request."""

    code: str
    message: str
    field: str | None = None


class ProblemView(Struct, frozen=True):
    """The body of every error."""

    error: Problem


class BatchItem(Struct, frozen=True, omit_defaults=True):
    """The result for one task of a batch: its HTTP status, and the task or the error. `warnings` are those of a dry
    run, which makes no task to have them, and `sent_in` is the other batch that has the same row."""

    status: int
    task: TaskView | None = None
    error: Problem | None = None
    replayed: bool = False  # it was there before
    warnings: tuple[str, ...] = ()
    sent_in: str | None = None


class CallbackUrlView(Struct, frozen=True):
    """A minted callback URL."""

    ref: Ref
    callback_url: Annotated[str, _says(format="uri")]


class CallbackView(Struct, frozen=True):
    """A callback as it arrived. A single one has its body: `body`, or `body_base64` if it is not UTF-8."""

    id: int
    ref: Ref
    received_at: Time
    verdict: Annotated[str, _one_of(Verdict)]
    size: Count
    replay_of: int | None
    headers: dict[str, str]
    body: str | None = None
    body_base64: Annotated[str, _says(contentEncoding="base64")] | None = None


class CallbackPage(Struct, frozen=True):
    """A page of callbacks, newest first."""

    callbacks: list[CallbackView]
    next: str | None


class VerdictView(Struct, frozen=True, omit_defaults=True):
    """The verdict on a callback."""

    verdict: Annotated[str, _one_of(Verdict)]
    ref: Ref | None = None


class AttemptView(Struct, frozen=True):
    """One try to send a notice: how long it took, and why it failed, if it did."""

    at: Time
    duration_ms: Count
    error: str | None


class NoticeView(Struct, frozen=True):
    """One message owed to one target, with every try so far, oldest first.

    `waits_for` says what it waits for: `quiet` (hours), `digest`, `retry`, `rest` (its target keeps failing), `rate`
    (of its target) or `pictures`; `waits_until` is the earliest time of sending. Both are null if only its turn is due.
    """

    id: int
    ref: Ref | None
    target: str
    event: Event
    state: OutboxState
    attempts: Count
    error: str | None
    created_at: Time
    due_at: Time
    sent_at: Time | None
    text: str | None  # the text of an attention notice
    history: tuple[AttemptView, ...] = ()
    waits_for: Annotated[str, _one_of(WaitReason)] | None = None
    waits_until: Time | None = None
    label: str | None = None  # of its task


class NoticePage(Struct, frozen=True):
    """A page of notices, newest first."""

    notices: list[NoticeView]
    next: str | None


class RedrivenView(Struct, frozen=True):
    """How many notices were made due again."""

    redriven: Count


class DiscardedView(Struct, frozen=True):
    """How many notices were discarded."""

    discarded: Count


class PruneView(Struct, frozen=True):
    """Whether pruning begins now; if not, it was under way already."""

    begun: bool


class TrialView(Struct, frozen=True):
    """The result of a sample message: `error` is what came back, `advice` what to do about it.

    `picture` is `attached`, `linked` or null, and `no_picture` says why it is null (unless the target only takes text).
    `note` says why the target's own template was not used, or that its `on` does not have the event.
    """

    target: str
    ok: bool
    error: str | None
    duration_ms: Count
    advice: str | None = None
    picture: Annotated[str, _one_of(("attached", "linked"))] | None = None
    no_picture: str | None = None
    note: str | None = None


def is_step_name(text: str) -> bool:
    """Whether a step can have this name."""
    return len(text) <= STEP_MOST and re.fullmatch(STEP_PATTERN[1:-1], text) is not None


def image_path(folder: str, file: str) -> str:
    """The URL path of a file in the archive."""
    return f"{IMAGES_PREFIX}{folder}/{file}"
