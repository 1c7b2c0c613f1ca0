"""Attention: the notice that a person is needed."""

from collections.abc import Mapping

from receiver.core.decide import wants_task
from receiver.core.types import Notice, NoticeEvent, Policy, Report, Task
from receiver.store import Tx

ATTENTION_QUIET_MS = 3_600_000
SINGLY_MOST = 20  # tasks of one kind of attention that are reported one by one within `ATTENTION_QUIET_MS`


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
        step=task.step if task else None,
        model=task.model if task else None,
        prompt=task.prompt if task else None,
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


async def raise_task_attention(
    tx: Tx, kind: str, texts: Mapping[str, tuple[Task, str]], summary: str, policy: Policy, now: int
) -> None:
    """Raise attention of one kind for several tasks: the same may be happening to a thousand others.

    `texts` has each task with its text under its ref, perhaps with a suffix that tells this occasion from an earlier
    one. Each is reported at once, and once an hour. Beyond `SINGLY_MOST` within the hour, one notice reports all of
    them: `summary`, with their `{count}` so far and the number reported `{singly}`. It comes again at 100, at 1,000 …
    """
    if not texts:
        return
    count = await tx.notices.count_causes(kind, now - ATTENTION_QUIET_MS, now)
    more = 0
    for about, (task, text) in texts.items():
        cause = f"{kind}:{about}"
        if count < SINGLY_MOST:
            count += await raise_attention(tx, cause, text, policy, now, task)
        else:
            more += await tx.notices.raise_attention(cause, text, now, ATTENTION_QUIET_MS)
    if more:
        count += more
        step = 10 ** (len(str(count)) - 1)
        words = summary.format(count=f"{count:,}", singly=SINGLY_MOST)
        await raise_attention(tx, f"{kind}-many:{step}", words, policy, now)
