"""What the store has, as the API shows it. A page costs two queries more than its tasks, however long it is."""

import msgspec

from receiver.model import Task
from receiver.store import Store
from receiver.store.callbacks import Kept
from receiver.views import CallbackView, TaskView, rfc3339, task_view

_headers = msgspec.json.Decoder(dict[str, str])


async def shown(store: Store, tasks: list[Task]) -> list[TaskView]:
    """The tasks with their images and notices, in the order given."""
    if not tasks:
        return []
    refs = [task.ref for task in tasks]
    images = await store.tasks.images(refs)
    notices = await store.notices.of(refs)
    return [task_view(task, images.get(task.ref, ()), notices.get(task.ref, [])) for task in tasks]


def callback_view(kept: Kept) -> CallbackView:
    """A callback; with its bytes where the store was asked for them: as text, or base64 where they are not UTF-8."""
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
