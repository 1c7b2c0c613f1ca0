"""Views of the API, made from what the store has."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from receiver.client.schemas import (
    AttemptView,
    ChainLink,
    ErrorView,
    HintView,
    ImageView,
    NoticeView,
    TaskNotice,
    TaskView,
    UsageView,
    image_path,
)
from receiver.core.hints import describe_hint
from receiver.core.queue_waits import QueueWait
from receiver.core.types import ArchiveState, HintNote, Image, ImageCopy, Notice, Task, Usage


def task_view(
    task: Task,
    images: tuple[Image, ...],
    notices: list[Notice],
    copies: Sequence[ImageCopy] = (),
    hint_id: int | None = None,
    wait: QueueWait | None = None,
) -> TaskView:
    """A task as the API shows it; `hint_id` is the callback that its hint came with, `wait` what it waits for."""
    copies_by_no = {copy.image_no: copy for copy in copies}
    return TaskView(
        ref=task.ref,
        task_id=task.task_id,
        model=task.model,
        params=msgspec.json.decode(task.params),
        label=task.label,
        state=task.state.value,
        unsure=task.unsure,
        settled_by=task.settled_by and task.settled_by.value,
        confirmed=task.confirmed,
        origin=task.origin.value,
        held_by=task.held_by and task.held_by.value,
        created_at=rfc3339(task.created_at),
        submitted_at=rfc3339_or_none(task.submitted_at),
        settled_at=rfc3339_or_none(task.settled_at),
        progress=task.progress,
        polls=task.polls,
        images=[_image_view(task, it, copies_by_no.get(it.image_no)) for it in images],
        error=ErrorView(task.error.code, task.error.message, _decode_raw(task.error.raw)) if task.error else None,
        usage=_usage_view(task.usage) if task.usage else None,
        notices=[TaskNotice(it.target, it.event.value, it.state.value, it.attempts, it.error) for it in notices],
        hint=_hint_view(task.hint_note, hint_id),
        waits_for=wait.why.value if wait else None,
        waits_since=rfc3339_or_none(wait.since if wait else None),
        waits_until=rfc3339_or_none(wait.until if wait else None),
        waits_detail=wait.detail if wait else None,
        chain=chain_link(task),
    )


def chain_link(task: Task) -> ChainLink | None:
    """Where a task stands in its chain; None if it belongs to none."""
    if task.root is None:
        return None
    return ChainLink(
        root=task.root,
        parent=task.parent,
        step=task.step,
        image_no=task.parent_image,
        children=max(0, task.children),
        picks=max(0, task.picks),
        picked_by=task.picked_by,
    )


def _hint_view(note: HintNote | None, callback_id: int | None) -> HintView | None:
    text = describe_hint(note)
    if note is None or text is None:
        return None
    return HintView(note.status, note.ending and note.ending.value, note.doubt, note.source.value, callback_id, text)


def _image_view(task: Task, image: Image, copy: ImageCopy | None) -> ImageView:
    view = ImageView(image.image_no, image.type, image.url, image.job_id)
    if copy is None:
        again = task.archive_at if task.archive_tries else None
        return replace(view, archive=task.archive and task.archive.value, archive_at=rfc3339_or_none(again))
    if copy.file is None:
        return replace(view, archive=ArchiveState.FAILED.value, archive_error=copy.error)
    return replace(
        view,
        archived=image_path(task.ref, copy.file),
        width=copy.width,
        height=copy.height,
        archive=ArchiveState.DONE.value,
        archive_error=copy.error,
        media_type=copy.media_type,
    )


def notice_view(
    notice: Notice, history: Sequence[AttemptView] = (), waits: tuple[str, int] | None = None
) -> NoticeView:
    """A notice as the API shows it; `waits` is what it waits for and until when."""
    return NoticeView(
        id=notice.id or 0,
        ref=notice.ref,
        target=notice.target,
        event=notice.event.value,
        state=notice.state.value,
        attempts=notice.attempts,
        error=notice.error,
        created_at=rfc3339(notice.created_at),
        due_at=rfc3339(notice.due_at),
        sent_at=rfc3339_or_none(notice.sent_at),
        text=notice.report.text,
        history=tuple(history),
        waits_for=waits and waits[0],
        waits_until=waits and rfc3339(waits[1]),
        label=notice.report.label,
    )


def _usage_view(usage: Usage) -> UsageView:
    return UsageView(None if usage.cost is None else str(usage.cost), usage.discount)


def rfc3339(at: int) -> str:
    """Milliseconds UTC as `2026-11-22T08:16:00.123Z`."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_or_none(at: int | None) -> str | None:
    """The same, or None for None."""
    return None if at is None else rfc3339(at)


def _decode_raw(raw: bytes | None) -> Any:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return raw.decode("utf-8", "replace")
