"""Attention: the notice that a person is needed."""

from receiver.core.decide import wants_task
from receiver.core.types import Notice, NoticeEvent, Policy, Report, Task
from receiver.store import Tx

ATTENTION_QUIET_MS = 3_600_000


async def raise_attention(
    tx: Tx, cause: str, text: str, policy: Policy, now: int, task: Task | None = None, *, but: str | None = None
) -> bool:
    """Write the notices that a person is needed; False if there were some for this cause within the hour.

    They go to every target that wants attention, except `but`, the one it is about. If it is about a task, they go to
    those among them that want this task, or to all if there are none.
    """
    if not await tx.notices.raise_attention(cause, text, now, ATTENTION_QUIET_MS):
        return False
    report = Report(
        event=NoticeEvent.ATTENTION,
        ref=task.ref if task else None,
        label=task.label if task else None,
        model=task.model if task else None,
        text=text,
        cause=cause,
    )
    targets = [it for it in policy.targets if NoticeEvent.ATTENTION in it.on and it.name != but]
    if task is not None:
        targets = [it for it in targets if wants_task(task, it)] or targets
    await tx.notices.insert(
        Notice(target=it.name, event=report.event, report=report, created_at=now, due_at=now, ref=report.ref)
        for it in targets
    )
    return True
