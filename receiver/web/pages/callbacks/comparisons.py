"""The table that sets what a callback says beside what is known of its task. Pure."""

from msgspec import Struct

from receiver.core.after_end import STATE_AT_END, picture_digest
from receiver.core.money import format_usd
from receiver.core.sanitize import one_line
from receiver.core.types import Outcome, Task, TaskState
from receiver.notify.messages.media_words import count_media
from receiver.web.pages.callbacks.verdicts import says_briefly, state_words

_ID_MOST = 200  # characters
_NOT_SAID = "not said"


class ComparedRow(Struct, frozen=True, gc=False):
    """One line: what the callback says, what the task has; whether these contradict each other."""

    name: str
    says: str
    knew: str
    differs: bool = False
    code: bool = False  # ids


def compare(outcome: Outcome | None, task: Task | None, pictures: int) -> list[ComparedRow]:
    """What the callback says beside what is known now of its task, which has so many `pictures`; empty if there is
    nothing to compare."""
    if outcome is None or task is None:
        return []
    rows = [_compare_ids(outcome, task), _compare_states(outcome, task), _compare_pictures(outcome, task, pictures)]
    said = outcome.usage.cost if outcome.usage is not None else None
    paid = task.usage.cost if task.usage is not None else None
    if said is not None or paid is not None:
        differs = None not in (said, paid) and said != paid
        rows.append(
            ComparedRow("cost", _NOT_SAID if said is None else format_usd(said),
                        "not known" if paid is None else format_usd(paid), differs)
        )  # fmt: skip
    return rows


def _compare_ids(outcome: Outcome, task: Task) -> ComparedRow:
    said = one_line(outcome.task_id or outcome.job_id or "", _ID_MOST)
    known = one_line(task.task_id or "", _ID_MOST)
    differs = outcome.task_id is not None and task.task_id is not None and outcome.task_id != task.task_id
    return ComparedRow("id", said or _NOT_SAID, known or "not known yet", differs, code=bool(said or known))


def _compare_states(outcome: Outcome, task: Task) -> ComparedRow:
    says = outcome.ending.value if outcome.says_end else says_briefly(outcome)
    differs = outcome.says_end and task.state.is_final and STATE_AT_END[outcome.ending] is not task.state
    return ComparedRow("state", says, state_words(task), differs)


def _compare_pictures(outcome: Outcome, task: Task, pictures: int) -> ComparedRow:
    said = count_media([it.type for it in outcome.images]) if outcome.images else "none"
    other = outcome.images and task.pictures is not None and picture_digest(outcome.images) != task.pictures
    ended = task.state.is_final or task.state is TaskState.LOST
    knew = f"{pictures}" if pictures else "none" if ended else "none yet"
    same_number = bool(other) and len(outcome.images) == pictures
    return ComparedRow("pictures", said.split()[0] if outcome.images else said,
                       f"{knew}, at other addresses" if same_number else knew, bool(other))  # fmt: skip
