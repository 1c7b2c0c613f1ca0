"""Who is notified of a task that was cancelled with the one that it goes on from. Pure."""

from collections.abc import Mapping

from msgspec.structs import replace

from receiver.core.chains import tasks_that_led_to, was_withdrawn
from receiver.core.decide import begin_report, owed_notices
from receiver.core.types import Notice, NoticeEvent, Policy, Task


def cancelled_notices(child: Task, known: Mapping[str, Task], policy: Policy, now: int) -> tuple[Notice, ...]:
    """The notices of a task that its parent's end cancelled: only for targets that were not notified of what began it,
    or of a task between the two. None if a person cancelled what began it. `known` has the tasks above."""
    above = tasks_that_led_to(child, known)
    if above and was_withdrawn(above[-1]):
        return ()
    notified = {it.target for task in above for it in _failure_notices(task, policy, now)}
    return tuple(it for it in _failure_notices(child, policy, now) if it.target not in notified)


def _failure_notices(task: Task, policy: Policy, now: int) -> tuple[Notice, ...]:
    report = replace(begin_report(task, NoticeEvent.FAILED), error=task.error)
    return owed_notices(task, report, policy, now)
