"""The calls about submitting as a whole: how it stands, and to pause or resume it."""

from msgspec.structs import replace

from receiver.client.queue_schemas import QueuedLane, QueueView
from receiver.client.views import rfc3339, rfc3339_or_none
from receiver.core.queue_waits import QueueState, QueueWait, wait_of_lane
from receiver.core.types import QueueLane
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.service.wiring import ServiceParts

RESTORE_SHOWN_MS = 7 * 86_400_000


async def show_queue(parts: ServiceParts) -> QueueView:
    """How submitting stands."""
    view = queue_view(await parts.submit.queue.describe())
    restored = await parts.store.lanes.last_restore()
    if restored is None or not 0 <= parts.clock() - restored[0] < RESTORE_SHOWN_MS:
        return view
    return replace(view, restored_at=rfc3339(restored[0]), restored_from=rfc3339_or_none(restored[1]))


async def pause_queue(parts: ServiceParts) -> QueueView:
    """Submit nothing from now on, over restarts. What the provider has goes on."""
    async with parts.store.write() as tx:
        await tx.gates.pause(DEFAULT_PROVIDER, parts.clock())
    return await show_queue(parts)


async def resume_queue(parts: ServiceParts) -> QueueView:
    """Submit again."""
    async with parts.store.write() as tx:
        await tx.gates.resume(DEFAULT_PROVIDER)
    return await show_queue(parts)


def queue_view(state: QueueState) -> QueueView:
    """The state as the API says it."""
    scene, wait = state.scene, state.wait
    return QueueView(
        paused_at=rfc3339_or_none(scene.paused_at),
        in_hand=scene.taken,
        places=scene.places,
        concurrency=state.limit.concurrency,
        more_at=rfc3339_or_none(state.limit.next_probe(scene.now)),
        waits_for=wait.why.value if wait else None,
        waits_since=rfc3339_or_none(wait.since if wait else None),
        waits_until=rfc3339_or_none(wait.until if wait else None),
        waits_detail=wait.detail if wait else None,
        lanes=[_lane_view(lane, queued, wait_of_lane(lane, scene)) for lane, queued in state.lanes],
    )


def _lane_view(lane: QueueLane, queued: int, wait: QueueWait | None) -> QueuedLane:
    return QueuedLane(
        name=lane.name,
        batch=lane.batch,
        priority=lane.priority.name.lower(),
        queued=queued,
        paused_at=rfc3339_or_none(lane.paused_at),
        paused_by=lane.paused_by,
        paused_why=lane.paused_why,
        waits_for=wait.why.value if wait else None,
        waits_since=rfc3339_or_none(wait.since if wait else None),
        waits_until=rfc3339_or_none(wait.until if wait else None),
        waits_detail=wait.detail if wait else None,
    )
