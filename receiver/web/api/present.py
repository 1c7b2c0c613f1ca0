"""What the store has, as the API shows it. A page of tasks costs at most four further queries, however long it is."""

import msgspec

from receiver.client.schemas import AttemptView, CallbackView, NoticeView, TaskView, notice_view, rfc3339, task_view
from receiver.core.types import Notice, Task
from receiver.notify.dispatch import NoticeDispatcher
from receiver.store import Attempt, Store
from receiver.store.tables.callbacks import StoredCallback

_headers = msgspec.json.Decoder(dict[str, str])


async def task_views(store: Store, tasks: list[Task]) -> list[TaskView]:
    """The tasks in the order given, with their images, our copies of the images, and their notices."""
    if not tasks:
        return []
    refs = [task.ref for task in tasks]
    images = await store.tasks.images_by_ref(refs)
    copies = await store.copies.by_refs(refs)
    notices = await store.notices.by_refs(refs)
    hinted = {task.ref: task.hint_note.digest for task in tasks if task.hint_note and task.hint_note.digest}
    ids = await store.callbacks.ids_by_digest(list(hinted)) if hinted else {}
    return [
        task_view(
            task,
            images.get(task.ref, ()),
            notices.get(task.ref, []),
            copies.get(task.ref, ()),
            ids.get((task.ref, hinted.get(task.ref, b""))),
        )
        for task in tasks
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


def callback_view(kept: StoredCallback) -> CallbackView:
    """A callback. Its bytes, where the store was asked for them, are shown as text, or as base64 if not UTF-8."""
    text = encoded = None
    if kept.body is not None:
        try:
            text = kept.body.decode()
        except UnicodeDecodeError:
            encoded = msgspec.to_builtins(kept.body)
    return CallbackView(
        id=kept.id,
        ref=kept.ref,
        received_at=rfc3339(kept.received_at),
        verdict=kept.verdict.value,
        size=kept.size,
        replay_of=kept.replay_of,
        headers=_headers.decode(kept.headers),
        body=text,
        body_base64=encoded,
    )
