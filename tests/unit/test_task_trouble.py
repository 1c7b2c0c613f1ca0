"""The box that says what is wrong with a task, and what a person can do."""

from typing import Any

import pytest

from kit.fakes import HOUR, MINUTE, NOW, PICTURES, a_ref, a_task
from receiver.core.chains import PARENT_FAILED
from receiver.core.queue_waits import QueueReason, QueueWait
from receiver.core.types import (
    ArchiveState,
    Ending,
    HintNote,
    HoldReason,
    ImageCopy,
    OutcomeSource,
    Task,
    TaskError,
    TaskState,
)
from receiver.providers.advice import ADVICE_BY_CODE, page_advice
from receiver.web.pages.sentences import plain_text
from receiver.web.pages.task.states import TaskAct, TaskScene
from receiver.web.pages.task.trouble import Trouble, describe_trouble

PARENT = a_task(TaskState.FAILED, label="shore", ref=a_ref())
FILTER = "Sorry, our AI moderator thinks this prompt is probably against our community standards."


def trouble(task: Task, **more: Any) -> Trouble | None:
    return describe_trouble(TaskScene(**{"task": task, "now": NOW + 3 * MINUTE, "images": PICTURES, **more}))


def told(found: Trouble | None) -> tuple[str, str, str, str]:
    """The kind, the title, what happened, and what to do."""
    assert found is not None
    return found.kind, found.title, plain_text(found.what), plain_text(found.todo)


def failed(message: str, code: str | None = None, **more: Any) -> Task:
    return a_task(TaskState.FAILED, error=TaskError(code, message), settled_by=OutcomeSource.CALLBACK, **more)


@pytest.mark.parametrize(
    "task",
    [
        a_task(),
        a_task(TaskState.SUBMITTING),
        a_task(TaskState.QUEUED),
        a_task(TaskState.COMPLETED),
        a_task(TaskState.CANCELLED, settled_by=OutcomeSource.PERSON),
        a_task(hint_note=HintNote("half", OutcomeSource.CALLBACK, Ending.RUNNING)),
    ],
)
def test_nothing_is_wrong(task: Task) -> None:
    assert trouble(task) is None


def test_the_filter_stopped_the_prompt() -> None:
    found = trouble(failed(FILTER, "004007098"))
    assert told(found) == (
        "bad",
        "The generation failed",
        f"The provider’s filter stopped the prompt: “{FILTER}”",
        "change the words of the prompt and submit it again. The same words will fail again.",
    )
    assert found is not None
    assert [plain_text(it) for it in found.small] == ["Code 004007098, as the provider gave it."]


@pytest.mark.parametrize(
    ("task", "title", "what", "todo"),
    [
        (failed("no such job", "404"), "The generation failed", "The provider said: “no such job”.",
         "the provider does not know the job, or the model. Jobs are forgotten after some days: make the picture once "
         "more, and go on from that."),
        (failed("odd", "77"), "The generation failed", "The provider said: “odd”.",
         "submit it again; if it fails again, ask the provider."),
        (failed(""), "The generation failed", "The provider gave no reason.",
         "submit it again; if it fails again, ask the provider."),
        (a_task(TaskState.FAILED, error=TaskError("400", "Bad scale."), settled_by=OutcomeSource.ANSWER),
         "The provider refused it", "The provider said: “Bad scale.”",
         "submit it again; if it fails again, ask the provider."),
    ],
)  # fmt: skip
def test_why_it_failed(task: Task, title: str, what: str, todo: str) -> None:
    assert told(trouble(task)) == ("bad", title, what, todo)


def test_advice_on_pages_speaks_of_no_options() -> None:
    """A page has forms. What names a command is for tasks whose page says it otherwise."""
    for code in ADVICE_BY_CODE:
        advice = page_advice(code)
        assert advice is not None
        assert "--" not in advice or code == PARENT_FAILED
        assert advice[0].islower()
    assert page_advice("nonsense") is None


def test_words_of_the_provider_stay_words() -> None:
    found = trouble(failed("<b>a</b>\u202e\nb", "<i>"))
    assert found is not None
    assert [it.text for it in found.what if it.outside] == ["<b>a</b> b"]
    assert [it.text for it in found.small[0] if it.outside] == ["<i>"]


def test_nobody_could_confirm_an_end() -> None:
    done = a_task(TaskState.COMPLETED, confirmed=False)
    assert told(trouble(done)) == (
        "warn",
        "Nobody could confirm this",
        "A callback said so, and the provider could not be asked.",
        "look before you rely on it.",
    )
    why = trouble(done, why_unconfirmed="the provider does not know the task")
    assert told(why)[2] == "A callback said so, but the provider does not know the task."


def test_nobody_could_confirm_a_failure() -> None:
    assert told(trouble(failed("moderated", confirmed=False))) == (
        "warn",
        "Nobody could confirm that it failed",
        "A callback said so: “moderated”. The provider could not be asked.",
        "look for it in the provider’s list before you submit it again, or you may pay twice.",
    )
    assert told(trouble(failed("", confirmed=False), why_unconfirmed="it is too busy"))[2] == (
        "A callback said so. But it is too busy."
    )


@pytest.mark.parametrize(
    ("state", "became"),
    [(TaskState.FAILED, "failed"), (TaskState.CANCELLED, "was cancelled"), (TaskState.LOST, "did not complete")],
)
def test_what_waited_for_a_failure_was_not_sent(state: TaskState, became: str) -> None:
    error = TaskError(PARENT_FAILED, "“shore” failed")
    task = a_task(TaskState.CANCELLED, settled_by=OutcomeSource.PARENT, error=error)
    found = trouble(task, parent=a_task(state, label="shore"))
    what = f"shore {became}, so this was not sent. Nothing was charged."
    assert told(found) == ("warn", "It was not sent", what, "submit shore again.")


def test_what_waited_is_told_though_its_parent_is_gone() -> None:
    error = TaskError(PARENT_FAILED, "“shore” failed")
    task = a_task(TaskState.CANCELLED, settled_by=OutcomeSource.PARENT, error=error)
    assert told(trouble(task)) == ("warn", "It was not sent", "“shore” failed.", "")


def test_it_was_given_up() -> None:
    lost = a_task(TaskState.LOST, hint_note=HintNote("ok", OutcomeSource.CALLBACK, Ending.COMPLETED))
    found = trouble(lost)
    assert told(found)[2:] == (
        "No callback came within its time, and the provider does not know it. A late callback still settles it.",
        "ask the provider once more, or look for job-1 in its list.",
    )
    assert found is not None
    assert [plain_text(it) for it in found.small] == ["A callback said “ok”, but no poll has confirmed it."]
    unknown = trouble(a_task(TaskState.LOST, task_id=None))
    assert told(unknown)[2:] == (
        "No callback came within its time, and its id is not known. A late callback still settles it.",
        "look for it in the provider’s list before you submit it again, or you may pay twice.",
    )


def test_nobody_knows_whether_it_was_taken() -> None:
    found = trouble(a_task(task_id=None, unsure=True), now=NOW + HOUR + 5 * MINUTE + 9_000)
    assert told(found) == (
        "warn",
        "Nobody knows whether the provider took it",
        "The provider’s answer broke off. A callback would settle it; none came in 1 h 5 min.",
        "look into the provider’s list. If it is there, tell its id; if it is not, submit it again.",
    )


def test_until_a_person_is_asked_an_unsure_task_waits_for_its_callback() -> None:
    found = trouble(a_task(task_id=None, unsure=True, submitted_at=NOW), now=NOW + MINUTE)
    assert told(found) == (
        "warn",
        "Nobody knows yet whether the provider took it",
        "The provider’s answer broke off. A callback settles it; if none comes by 09:35:00, it needs you.",
        "wait for its callback.",
    )


def test_what_was_submitted_again_need_not_be_submitted_once_more() -> None:
    failed = a_task(TaskState.FAILED, settled_by=OutcomeSource.CALLBACK, error=TaskError(None, "no"))
    found = trouble(failed, repeated=a_task(label="shore"))
    assert told(found)[3] == "nothing: it was submitted again as shore."


@pytest.mark.parametrize(
    ("can_poll", "asks"),
    [(True, "the provider is asked about it."), (False, "without a provider key, nobody can ask about it.")],
)
def test_something_was_heard(can_poll: bool, asks: str) -> None:
    waiting = a_task(hint_note=HintNote("ok", OutcomeSource.CALLBACK, Ending.COMPLETED))
    what = f"A callback said “ok”, but no poll has confirmed it. Now {asks}"
    assert told(trouble(waiting, can_poll=can_poll))[2] == what


@pytest.mark.parametrize(
    ("wait", "title", "what", "todo"),
    [
        (QueueWait(QueueReason.NO_KEY), "Submissions pause", "The service has no provider key.",
         "set PROVIDER_KEY where the service runs."),
        (QueueWait(QueueReason.KEY, until=NOW + HOUR, detail="HTTP 401"), "Submissions pause",
         "The provider refuses our key or balance (HTTP 401).",
         "check PROVIDER_KEY, and the account’s balance and plan. One task tries at 10:20:00."),
        (QueueWait(QueueReason.KEY), "Submissions pause", "The provider refuses our key or balance.",
         "check PROVIDER_KEY, and the account’s balance and plan."),
        (QueueWait(QueueReason.DOWN), "Submissions pause", "The provider cannot be reached.",
         "nothing, unless it lasts: then check the network."),
        (QueueWait(QueueReason.BUDGET, until=NOW + HOUR, detail="$40 of $40 is spent"), "The budget is used up",
         "$40 of $40 is spent", "raise the budget, or wait until 10:20:00."),
        (QueueWait(QueueReason.PRICE), "Its model needs a price", "A budget cannot hold without one.",
         "see receiver costs."),
        (QueueWait(QueueReason.PAUSED, detail="the whole queue: `receiver queue resume`"), "Submitting is paused",
         "The whole queue: receiver queue resume.", ""),
        (QueueWait(QueueReason.PICK), "Pick a picture", "It goes on from a picture of shore, once somebody picks one.",
         "open shore and pick one."),
    ],
)  # fmt: skip
def test_why_it_is_not_submitted(wait: QueueWait, title: str, what: str, todo: str) -> None:
    assert told(trouble(a_task(TaskState.QUEUED), wait=wait, parent=PARENT)) == ("warn", title, what, todo)


@pytest.mark.parametrize("why", [QueueReason.TURN, QueueReason.ROOM, QueueReason.BUSY, QueueReason.RETRY])
def test_waiting_in_turn_is_no_trouble(why: QueueReason) -> None:
    assert trouble(a_task(TaskState.QUEUED), wait=QueueWait(why)) is None


def test_a_person_has_to_say() -> None:
    held = a_task(TaskState.QUEUED, held_by=HoldReason.PERSON, why="HTTP 403: no")
    assert told(trouble(held))[1:] == (
        "It needs you",
        "The provider did not take it, again and again: “HTTP 403: no”.",
        "submit it again, or cancel it.",
    )


@pytest.mark.parametrize(
    ("copies", "title", "what", "todo"),
    [
        ((ImageCopy(0, file="0.png"), ImageCopy(1, error="pics.example answered HTTP 403")),
         "Picture 1 was not kept", "Its link had ended before it was fetched: pics.example answered HTTP 403.",
         "fetch it again soon, if at all: the provider’s links end."),
        ((ImageCopy(0, error="pics.example answered HTTP 404"), ImageCopy(1, error="x")),
         "None of its 2 pictures was kept",
         "Their links had ended before they were fetched: pics.example answered HTTP 404.",
         "fetch them again soon, if at all: the provider’s links end."),
        ((ImageCopy(1, error="pics.example is at 10.0.0.1, which is not public (private)"),),
         "Picture 1 was not kept", "pics.example is at 10.0.0.1, which is not public (private).",
         "add the host to FETCH_ALLOW, start the service again, then fetch it again."),
        ((ImageCopy(0, error="the picture is larger than 30 MiB"),), "Picture 0 was not kept",
         "The picture is larger than 30 MiB.", "fetch it again."),
        ((ImageCopy(0),), "Picture 0 was not kept", "Nobody knows why.", "fetch it again."),
    ],
)  # fmt: skip
def test_pictures_that_were_not_kept(copies: tuple[ImageCopy, ...], title: str, what: str, todo: str) -> None:
    found = trouble(a_task(TaskState.COMPLETED, archive=ArchiveState.DONE), copies=copies)
    assert told(found) == ("warn", title, what, todo)
    assert found is not None
    assert found.acts == (TaskAct.FETCH_AGAIN,)


def test_some_of_many_pictures_were_not_kept() -> None:
    copies = tuple(ImageCopy(number, error="x") for number in range(2))
    found = trouble(a_task(TaskState.COMPLETED), images=PICTURES * 2, copies=copies)
    assert told(found)[1] == "2 of 4 pictures were not kept"


def test_pictures_that_are_still_fetched_are_no_trouble() -> None:
    assert trouble(a_task(TaskState.COMPLETED, archive=ArchiveState.DUE), copies=(ImageCopy(0, error="late"),)) is None
