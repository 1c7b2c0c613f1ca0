"""How long a task of a model usually takes."""

from receiver.store import Store

USUAL_OF = 20  # results whose median it is


async def usual_duration(store: Store, model: str) -> int | None:
    """The median of a model's last results, in milliseconds; None if there are none."""
    spans = sorted(await store.tasks.recent_durations(model, USUAL_OF))
    return spans[len(spans) // 2] if spans else None
