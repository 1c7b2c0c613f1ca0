"""What the calls of the API take: their queries and bodies, as types."""

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from receiver.client import schemas
from receiver.client.batch_schemas import BATCH_TASKS_MOST
from receiver.client.cost_schemas import CostDimension
from receiver.core.errors import RequestRefused
from receiver.core.handles import LOOKED_MOST, PART_LEAST
from receiver.core.types import NoticeState, TaskState, Verdict
from receiver.tokens import REF_PATTERN

_ROW_ID_MOST = 2**53 - 1  # the largest that every reader of JSON keeps exact; no database has as many rows
ROW_ID_DIGITS = 18  # what fits a column, whatever they are

Limit = Annotated[int, Meta(ge=1, le=200, description="The most to return. A page of long views may be shorter.")]
Text = Annotated[str, Meta(extra_json_schema={"pattern": schemas.WITHOUT_NUL})]
LabelPattern = Annotated[
    str,
    Meta(
        description="`*` stands for any characters. With one, a page may be short or empty, and yet have a `next`.",
        extra_json_schema={"pattern": schemas.WITHOUT_NUL},
    ),
]
TaskHandle = Annotated[
    str,
    Meta(
        description=f"A label, that of a chain with a step (`LABEL/STEP`), or the beginning or end of a ref: at least "
        f"{PART_LEAST} characters. "
        f"An end is looked for among the newest {LOOKED_MOST:,} tasks.",
        extra_json_schema={"pattern": schemas.WITHOUT_NUL},
    ),
]
_NEXT = "The `next` of the previous page."
TaskCursor = Annotated[str, Meta(description=_NEXT, extra_json_schema={"pattern": f"^{REF_PATTERN}$"})]
RowCursor = Annotated[str, Meta(description=_NEXT, extra_json_schema={"pattern": f"^[0-9]{{1,{ROW_ID_DIGITS}}}$"})]
KnownTarget = Annotated[schemas.TargetName, Meta(description="A former target that still has notices is known, too.")]
_BATCH_ITEM = {
    "anyOf": [
        {"$ref": "#/components/schemas/NewTask"},
        {
            "description": "In a `batch`, a NewTask with `line`, its line in a file, and `row_key` of up to 200 "
            "characters: a batch takes each key once. Whatever else is refused by itself, as its `BatchItem` says."
        },
    ]
}
# Read as a float, since 7.0 is an integer for JSON Schema, and for the tools that make requests from the document.
Id = Annotated[float, Meta(ge=1, le=_ROW_ID_MOST, multiple_of=1, extra_json_schema={"type": "integer"})]


class TaskFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which tasks to list."""

    state: TaskState | None = None
    label: LabelPattern | None = None
    model: Text | None = None
    batch: Text | None = None
    waits: (
        Annotated[Literal["pick"], Meta(description="Only tasks for which a person has to pick a picture.")] | None
    ) = None
    handle: TaskHandle | None = None
    chains: (
        Annotated[
            Literal["first"],
            Meta(description="Of the tasks of a chain that have the label which `handle` is, only the first."),
        ]
        | None
    ) = None
    limit: Limit = 50
    cursor: TaskCursor | None = None


class CallbackFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which callbacks to list."""

    ref: Text | None = None
    verdict: Verdict | None = None
    limit: Limit = 50
    cursor: RowCursor | None = None


class NoticeFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which notices to list."""

    state: NoticeState | None = None
    target: KnownTarget | None = None
    ref: Text | None = None
    limit: Limit = 50
    cursor: RowCursor | None = None


class CostFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """What to sum costs by, and from which day on: a date, or so many days back (`7d`, of which today is one)."""

    by: CostDimension = CostDimension.DAY
    since: Annotated[str, Meta(pattern=r"^([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])|[0-9]{1,5}d)$")] | None = (
        None
    )


class NewTaskList(Struct, frozen=True, forbid_unknown_fields=True):
    """Tasks to queue. Each is accepted or refused on its own; those of which one goes on from another by its name, all
    together: then the code of those that are not at fault is `chain_refused`.

    With `batch`, they are rows of the batch with this name. With `dry_run`, all is checked and nothing is stored.
    """

    tasks: Annotated[
        list[Annotated[Raw, Meta(extra_json_schema=_BATCH_ITEM)]],
        Meta(min_length=1, max_length=BATCH_TASKS_MOST),
    ]
    batch: schemas.ShortText | None = None
    dry_run: bool = False


class NewCallbackUrl(Struct, frozen=True, forbid_unknown_fields=True):
    """A callback URL for a submission made elsewhere."""

    label: schemas.ShortText | None = None
    model: schemas.ShortText | None = None
    task_id: schemas.ProviderId | None = None


class TaskIdPatch(Struct, frozen=True, forbid_unknown_fields=True):
    """The provider's id of a task, set afterwards."""

    task_id: schemas.ProviderId


class ReplayRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How to replay: with `accept`, the callback is believed although it could not be confirmed."""

    accept: bool = False


class RedriveRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead notices to put back to due (by default all), and the target to send them `to` instead."""

    target: str | None = None
    ids: Annotated[list[Id], Meta(min_length=1, max_length=200)] | None = None
    to: schemas.TargetName | None = None


class DiscardRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead notices to discard: those to a target, these, or these if they are to that target."""

    target: str | None = None
    ids: Annotated[list[Id], Meta(min_length=1, max_length=200)] | None = None


class TargetTestRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which target to send a sample to (by default the only one), and of which event."""

    target: schemas.TargetName | None = None
    event: schemas.SampleEvent = "completed"


def parse_row_id(text: str) -> int | None:
    """The text as a row's id, or None if it cannot be one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= ROW_ID_DIGITS else None


def parse_cursor(cursor: str | None) -> int | None:
    """The row before which a page begins. Raises RequestRefused."""
    before = None if cursor is None else parse_row_id(cursor)
    if cursor is not None and before is None:
        raise bad_cursor()
    return before


def bad_cursor() -> RequestRefused:
    """The refusal of a cursor that is not one of ours."""
    return RequestRefused(
        422, "invalid_parameter", "unknown cursor", "cursor", remedy="send the `next` of the previous page unchanged"
    )
