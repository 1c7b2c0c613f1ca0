"""The usual body, a completed task object in plain ASCII, decoded in a single step.

It returns what `bodies` would, or None: anything unusual is left to `bodies` (a test compares the two). It exists
because it makes a callback a third cheaper.
"""

import re
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from receiver.core.types import Ending, Image, Outcome, OutcomeShape, Usage
from receiver.providers import json_values
from receiver.providers.vtrix.picture_places import IMAGES_MOST, PLACEHOLDER_IDS

_Word = Annotated[str, Meta(min_length=1, max_length=json_values.ID_MOST)]


class _ImageItem(Struct, gc=False):
    url: Annotated[str, Meta(max_length=json_values.URL_MOST)]
    type: _Word = "image"
    jobId: _Word | None = None  # noqa: N815 - the provider's name
    job_id: None = None
    image_url: None = None
    content: None = None
    metadata: None = None


class _ContentBlock(Struct, gc=False):
    content: list[_ImageItem]


class _TaskMetadata(Struct, gc=False):
    jobId: None = None  # noqa: N815 - the provider's name
    job_id: None = None
    provider: None = None
    provider_context: None = None


class _TaskUsage(Struct, gc=False):
    cost: Annotated[str, Meta(pattern=r"^\d{1,9}(\.\d{1,9})?$")]
    discount: Annotated[float, Meta(ge=0, le=1000)] | None = None


class _CompletedTask(Struct, gc=False):
    id: _Word
    status: Literal["completed"]
    model: _Word
    created_at: Annotated[int, Meta(ge=1_000_000_000, lt=4_100_000_000)]
    output: list[_ContentBlock]
    progress: Annotated[float, Meta(ge=0, le=1)] | None = None
    usage: _TaskUsage | None = None
    metadata: _TaskMetadata | None = None
    error: None = None


_ODD = (b"\\", b"\x7f", b'" ')  # an escape, a control character, a text that may be blank
_is_url = re.compile(r"https?://[^ /?#][^ ]*").fullmatch
_decode = msgspec.json.Decoder(_CompletedTask).decode


def parse_completed(body: bytes) -> Outcome | None:
    """The outcome of a plain completed task object; None for any other body."""
    if not body.isascii() or any(odd in body for odd in _ODD):
        return None
    try:
        task = _decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return None
    items = [item for block in task.output for item in block.content]
    if not 0 < len(items) <= IMAGES_MOST or not all(_is_url(item.url) for item in items):
        return None
    if any(item.jobId in PLACEHOLDER_IDS for item in items):
        return None
    usage = task.usage
    return Outcome(
        ending=Ending.COMPLETED,
        shape=OutcomeShape.TASK,
        status="completed",
        task_id=task.id,
        model=task.model,
        created_at=task.created_at * 1000,
        progress=task.progress,
        images=tuple([Image(place, item.url, item.type, item.jobId) for place, item in enumerate(items)]),
        usage=None if usage is None else Usage(Decimal(usage.cost), usage.discount),
    )
