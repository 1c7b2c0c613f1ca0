"""Reports the end of a task once more, because a person asked for that."""

from msgspec.structs import replace

from receiver.core.chains import needs_picker
from receiver.core.decide import begin_report, owed_notices
from receiver.core.errors import RequestRefused
from receiver.core.hints import describe_hint
from receiver.core.types import (
    Clock,
    Image,
    Notice,
    NoticeEvent,
    NoticeState,
    Policy,
    Report,
    Step,
    StepKind,
    Task,
    TaskState,
)
from receiver.store import Store
from receiver.store.insist import decide_again
from receiver.tasks.find_task import require_task

_EVENTS = {
    TaskState.COMPLETED: NoticeEvent.COMPLETED,
    TaskState.FAILED: NoticeEvent.FAILED,
    TaskState.CANCELLED: NoticeEvent.FAILED,
    TaskState.LOST: NoticeEvent.LOST,
}
_OPEN = (NoticeState.DUE, NoticeState.SENDING, NoticeState.HELD)


@decide_again
async def notify_again(store: Store, policy: Policy, clock: Clock, ref: str) -> int:
    """Send the notices of a task's end again; how many. If some were given up, only those, since the others arrived.

    Raises RequestRefused: if it has not ended, if they are still being sent, or if nobody wants them.
    """
    async with store.write() as tx:
        task = await require_task(tx, ref)
        now = clock()
        event = _EVENTS.get(task.state)
        if event is None:
            raise RequestRefused(409, "not_ended", f"the task is {task.state}, so there is no end to report yet")
        earlier = [it for it in (await tx.notices.by_refs([ref])).get(ref, []) if it.event is event]
        if any(it.state in _OPEN for it in earlier):
            raise RequestRefused(409, "under_way", "its notices are still being sent")
        names = {target.name for target in policy.targets}
        dead = [it.id for it in earlier if it.state is NoticeState.DEAD and it.id is not None and it.target in names]
        if dead:
            await tx.steps.add([Step(ref, now, StepKind.NOTIFIED)])
            return await tx.notices.redrive(now, targets=None, ids=dead, to=None, limit=len(dead))
        images = (await tx.tasks.images_by_ref([ref])).get(ref, ())
        new = _repeat_notices(task, event, images, earlier[-1].report if earlier else None, policy, now)
        if not new:
            raise RequestRefused(409, "nobody_told", "no target is configured that wants to know of this task")
        await tx.steps.add([Step(ref, now, StepKind.NOTIFIED)])
        await tx.notices.insert(new)
    return len(new)


def _repeat_notices(
    task: Task, event: NoticeEvent, images: tuple[Image, ...], earlier: Report | None, policy: Policy, now: int
) -> list[Notice]:
    span = None
    if task.settled_at is not None and task.submitted_at is not None:
        span = max(0, task.settled_at - task.submitted_at)
    report = replace(
        begin_report(task, event),
        confirmed=task.confirmed,
        unconfirmed=earlier.unconfirmed if earlier is not None and not task.confirmed else None,
        heard=describe_hint(task.hint_note) if event is NoticeEvent.LOST else None,
        images=images,
        error=task.error and replace(task.error, raw=None),
        cost=task.usage.cost if task.usage else None,
        duration_ms=earlier.duration_ms if earlier is not None else span,
        picks=task.picks if needs_picker(task) else 0,
    )
    owed = owed_notices(replace(task, quiet=False), report, policy, now)
    return [replace(it, due_at=now) for it in owed]  # what pictures there are, it has
