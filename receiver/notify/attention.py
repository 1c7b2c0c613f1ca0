"""Attention: the notice that a person is needed."""

from receiver.core.decide import wants_task
from receiver.core.types import Notice, NoticeEvent, Policy, Report, Task
from receiver.store import Tx

ATTENTION_QUIET_MS = 3_600_000


async def raise_attention(
    tx: Tx, cause: str, text: str, policy: Policy, now: int, task: Task | None = None, *, but: str | None = None
) -> bool:
    """Owe a notice that a person is needed, at most one per cause and hour; whether it was owed now.

    Of a task those are told who hear of it; where nobody of them hears of such, all who do. `but` names a target that
    is not told: the one it is about.
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
    told = [it for it in policy.targets if NoticeEvent.ATTENTION in it.on and it.name != but]
    if task is not None:
        told = [it for it in told if wants_task(task, it)] or told
    await tx.notices.insert(
        Notice(target=it.name, event=report.event, report=report, created_at=now, due_at=now, ref=report.ref)
        for it in told
    )
    return True
