"""What the page to pick on says in each state in which nothing can be picked, or nothing was."""

import pytest
from msgspec.structs import replace

from kit.chains import a_child
from kit.fakes import a_task
from receiver.core.errors import RequestRefused
from receiver.core.types import HoldReason, Task, TaskState
from receiver.web.pages.going_on import pick_states

DONE = a_task(TaskState.COMPLETED)
HELD, TO_PICK = a_child(DONE, None), a_child(DONE, None, held_by=HoldReason.PICK)
PICKED = replace(TO_PICK, held_by=None, parent_image=2, picked_by="link")
OWN = replace(TO_PICK, parent_image=3)


@pytest.mark.parametrize(
    ("task", "children", "says"),
    [
        (a_task(), [HELD], "has not ended yet"),
        (a_task(TaskState.QUEUED), [a_child(DONE)], "has not ended yet"),
        (a_task(TaskState.LOST), [HELD], "has no result of this task"),
        (a_task(TaskState.LOST), [PICKED, a_child(DONE)], "has no result of this task"),
        (a_task(TaskState.LOST), [PICKED], "Picture 2 was picked already."),
        (replace(DONE, confirmed=False), [HELD], "has not confirmed yet that this task has completed"),
        (replace(DONE, confirmed=False), [], "Nothing waits"),
        (a_task(TaskState.FAILED, confirmed=False), [HELD], "seems to have failed"),
        (a_task(TaskState.FAILED), [], "did not complete"),
        (a_task(TaskState.CANCELLED), [], "did not complete"),
        (DONE, [HELD], "ended just now"),
        (DONE, [PICKED], "Picture 2 was picked already."),
        (DONE, [PICKED, replace(PICKED, parent_image=0)], "Pictures 0 and 2 were picked already."),
        (DONE, [OWN], "only go on from picture 3."),
        (DONE, [OWN, replace(OWN, parent_image=1)], "only go on from pictures 1 and 3."),
        (DONE, [OWN, PICKED], "Picture 2 was picked already."),
        (DONE, [], "Nothing waits"),
    ],
)
def test_why_nothing_can_be_picked(task: Task, children: list[Task], says: str) -> None:
    text = pick_states.describe_closed(task, children)
    assert says in text
    assert not {"`", "_"} & set(text), "neither commands nor names that programs read"


@pytest.mark.parametrize("code", ["not_ended", "nothing_to_pick", "picked"])
def test_what_is_closed_is_said_as_on_the_page_itself(code: str) -> None:
    refused = RequestRefused(409, code, "x_y", remedy="give its `job_id`")
    assert pick_states.describe_refusal(refused, "closed") == "closed"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("not_usable", "Pick another."),
        ("chain_too_large", "Pick fewer."),
        ("invalid_parameter", "Open the link again"),
        ("not_found", "has been deleted"),
        ("too_large", "The problem."),
    ],
)
def test_a_refusal_says_what_to_do_on_the_page(code: str, says: str) -> None:
    refused = RequestRefused(422, code, "the problem", "image_no", remedy="give its `job_id`")
    text = pick_states.describe_refusal(refused, "closed")
    assert says in text
    assert "_" not in text


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (TaskState.COMPLETED, "Video 3 was not made."),
        (TaskState.FAILED, "There is no video."),
        (TaskState.LOST, "There is no video yet."),
        (TaskState.WAITING, "There is no video yet."),
    ],
)
def test_in_the_place_of_a_picture_stands_why_it_is_not_there(state: TaskState, says: str) -> None:
    assert pick_states.describe_no_picture(a_task(state), "video", 3) == says
