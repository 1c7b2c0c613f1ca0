"""What the page to pick on says if nothing can be picked there now, or nothing was. Pure.

Whoever opens it may have only the link: so it speaks of no commands, and of no names that a program reads.
"""

from collections.abc import Sequence

from receiver.core.chains import is_held
from receiver.core.errors import RequestRefused
from receiver.core.types import HoldReason, Task, TaskState

_NOT_ENDED = "The task has not ended yet. You will be notified once there is something to pick."
_LOST = (
    "The service has no result of this task, and cannot find out what became of it. If a result still arrives, you can "
    "pick here. If the provider shows one, ask whoever runs this service to let what waits go on from it."
)
_UNCONFIRMED = (
    "The provider has not confirmed yet that this task has completed, so nothing can be picked. Try it again later. If "
    "the result is right and this stays so, ask whoever runs this service to release what waits."
)
_DOUBTED = (
    "The task seems to have failed, but the provider has not confirmed that. If a result still arrives, you can pick "
    "here."
)
_JUST_ENDED = "The task has ended just now. Open this page again in a moment."
_NOT_COMPLETED = "The task did not complete, so nothing goes on from it."
_NOTHING = "Nothing waits for a pick here any more."
_OWN = "What still waits can only go on from {}. Ask whoever runs this service to pick for it."
_BY_CODE = {
    "not_usable": "What waits cannot go on from that one: the provider did not send all that this takes. Pick another.",
    "chain_too_large": "So many cannot be picked here. Pick fewer.",
    "invalid_parameter": "The form was changed, or too many were ticked. Open the link again, and pick up to 16.",
    "not_found": "The task has been deleted.",
}


def describe_closed(task: Task, children: Sequence[Task]) -> str:
    """Why nothing can be picked now."""
    held = [it for it in children if is_held(it)]
    if held and (why := _why_uncertain(task)):
        return why
    picked = sorted({it.parent_image for it in children if it.picked_by and it.parent_image is not None})
    own = sorted({it.parent_image for it in held if it.parent_image is not None})
    if own and not picked:
        return _OWN.format(_name_pictures(own))
    if picked:
        named = _name_pictures(picked)
        return f"{named[:1].upper()}{named[1:]} {'was' if len(picked) == 1 else 'were'} picked already."
    if any(it.held_by is HoldReason.PARENT for it in held):
        return _JUST_ENDED
    return _NOT_COMPLETED if task.state.is_final and task.state is not TaskState.COMPLETED else _NOTHING


def describe_refusal(refused: RequestRefused, closed: str) -> str:
    """Why nothing was picked; `closed` says it if nothing can be now."""
    if refused.code in ("not_ended", "nothing_to_pick", "picked"):
        return closed
    return _BY_CODE.get(refused.code) or f"{refused.problem[:1].upper()}{refused.problem[1:]}."


def describe_no_picture(task: Task, noun: str, number: int) -> str:
    """What stands in the place of a picture that is not there."""
    if task.state is TaskState.COMPLETED:
        return f"{noun.capitalize()} {number} was not made."
    return f"There is no {noun}." if task.state.is_final else f"There is no {noun} yet."


def _why_uncertain(task: Task) -> str | None:
    if task.state is TaskState.LOST:
        return _LOST
    if not task.state.is_final:
        return _NOT_ENDED
    if task.confirmed:
        return None
    return _UNCONFIRMED if task.state is TaskState.COMPLETED else _DOUBTED


def _name_pictures(numbers: Sequence[int]) -> str:
    words = " and ".join(map(str, numbers))
    return f"picture {words}" if len(numbers) == 1 else f"pictures {words}"
