"""What the store has, as the API shows it. Pages are bounded in bytes too: a task may have many long links."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from receiver.client.schemas import AttemptView, CallbackView, NoticeView, TaskView
from receiver.client.views import notice_view, rfc3339, task_view
from receiver.core.queue_waits import QueueWait
from receiver.core.types import Notice, Task
from receiver.notify.dispatch import NoticeDispatcher
from receiver.providers.echoes import EchoRedactor
from receiver.store import Attempt, Store
from receiver.store.tables.callbacks import StoredCallback

PAGE_BYTES = 1 << 20  # of JSON; a page ends before the view that would exceed them, unless that is its first
_TURN_FIRST, _TURN_MOST = 4, 64  # how many views are made at once, so that few are made in vain

FindWaits = Callable[[Sequence[Task]], Awaitable[Sequence[QueueWait | None]]]
Item = TypeVar("Item")
View = TypeVar("View")


async def views_that_fit(
    items: Sequence[Item], make_views: Callable[[list[Item]], Awaitable[list[View]]], most: int = PAGE_BYTES
) -> list[View]:
    """The views of the first items, as many as fit into `most` bytes, and at least one."""
    views: list[View] = []
    size, turn = 0, _TURN_FIRST
    while some := list(items[len(views) : len(views) + turn]):
        for view in await make_views(some):
            size += len(msgspec.json.encode(view))
            if views and size > most:
                return views
            views.append(view)
        turn = max(1, min(_TURN_MOST, (most - size) * len(views) // max(1, size)))
    return views


_headers = msgspec.json.Decoder(dict[str, str])


async def task_views(store: Store, tasks: list[Task], find_waits: FindWaits | None = None) -> list[TaskView]:
    """The tasks in the order given, with their images, our copies of the images, and their notices; and what they wait
    for, if `find_waits` is given."""
    if not tasks:
        return []
    refs = [task.ref for task in tasks]
    images = await store.tasks.images_by_ref(refs)
    copies = await store.copies.by_refs(refs)
    notices = await store.notices.by_refs(refs)
    waits = await find_waits(tasks) if find_waits else [None] * len(tasks)
    hinted = {task.ref: task.hint_note.digest for task in tasks if task.hint_note and task.hint_note.digest}
    ids = await store.callbacks.ids_by_digest(list(hinted)) if hinted else {}
    return [
        task_view(
            task,
            images.get(task.ref, ()),
            notices.get(task.ref, []),
            copies.get(task.ref, ()),
            ids.get((task.ref, hinted.get(task.ref, b""))),
            wait,
        )
        for task, wait in zip(tasks, waits, strict=True)
    ]


async def notice_views(store: Store, notify: NoticeDispatcher, notices: list[Notice]) -> list[NoticeView]:
    """The notices with every attempt, and what they wait for."""
    history = await store.notices.attempt_history([it.id for it in notices if it.id is not None]) if notices else {}
    return [
        notice_view(
            it,
            [_attempt_view(each) for each in history.get(it.id or 0, ())],
            (wait.why.value, wait.until) if wait else None,
        )
        for it, wait in zip(notices, await notify.find_waits(notices), strict=True)
    ]


def _attempt_view(attempt: Attempt) -> AttemptView:
    return AttemptView(rfc3339(attempt.at), attempt.duration_ms, attempt.error)


def callback_view(kept: StoredCallback, echoes: EchoRedactor) -> CallbackView:
    """A callback. Its bytes, where the store was asked for them, are shown as text, or as base64 if not UTF-8; never
    with the provider's key, which they may repeat."""
    text = encoded = None
    if kept.body is not None:
        body = echoes.redact_shown(kept.body)
        try:
            text = body.decode()
        except UnicodeDecodeError:
            encoded = msgspec.to_builtins(body)
    return CallbackView(
        id=kept.id,
        ref=kept.ref,
        received_at=rfc3339(kept.received_at),
        verdict=kept.verdict.value,
        size=kept.size,
        replay_of=kept.replay_of,
        headers=_headers.decode(echoes.redact(kept.headers)),
        body=text,
        body_base64=encoded,
    )
