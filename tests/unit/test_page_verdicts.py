"""What the page of a callback says of each verdict, whatever became of its task, and what it sets side by side."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import MINUTE, NOW, PICTURES, POLICY, a_task
from receiver.core.after_end import picture_digest
from receiver.core.hints import deny_id
from receiver.core.types import (
    ConfirmMode,
    Ending,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    PollResult,
    Task,
    TaskState,
    Usage,
    Verdict,
)
from receiver.store.tables.callbacks import StoredCallback
from receiver.web.pages.callbacks.bodies import BodyKind
from receiver.web.pages.callbacks.comparisons import ComparedRow, compare
from receiver.web.pages.callbacks.verdicts import (
    Asked,
    Case,
    describe_row,
    explain_verdict,
    mark_of,
    may_believe,
    percent,
    says_briefly,
    state_words,
)
from receiver.web.pages.sentences import Sentence, plain_text

HOSTILE = "\u202e<script>alert(1)</script>\x00\n" + "x" * 9000
DONE = Outcome(Ending.COMPLETED, OutcomeShape.TASK, "completed", task_id="job-1", images=PICTURES)
FAILED = Outcome(Ending.FAILED, OutcomeShape.TASK, "failed", task_id="job-1")
RUNNING = Outcome(Ending.RUNNING, OutcomeShape.TASK, "processing", task_id="job-1", progress=0.35)
FOREIGN = replace(DONE, task_id="another")
COMPLETED = a_task(TaskState.COMPLETED, settled_by=OutcomeSource.CALLBACK, pictures=picture_digest(PICTURES))
BY_POLL = replace(COMPLETED, settled_by=OutcomeSource.POLL)
UNCONFIRMED = replace(COMPLETED, confirmed=False)
WAITING = a_task(progress=0.4)
LOST = a_task(TaskState.LOST)


def a_callback(verdict: Verdict, **more: Any) -> StoredCallback:
    row: dict[str, Any] = {"id": 7, "ref": WAITING.ref, "received_at": NOW, "size": 986, "replay_of": None}
    return StoredCallback(**{**row, "verdict": verdict, "headers": b"{}", "body": b"{}", **more})


def explain(verdict: Verdict, outcome: Outcome | None, task: Task | None, **more: Any) -> str:
    """The three parts, with a bar between them."""
    kept = a_callback(verdict, **more.pop("kept", {}))
    kind = BodyKind.JSON if outcome is not None else BodyKind.TEXT
    values: dict[str, Any] = {"kind": kind, "media_type": "text/html", "policy": POLICY, "now": NOW + MINUTE, **more}
    found = explain_verdict(Case(kept=kept, outcome=outcome, task=task, **values))
    assert found.what, "what became of it"
    assert found.after, "what comes next"
    return " | ".join(plain_text(it) for it in (found.what, found.why, found.after))


OWN = "it came on the task’s own URL and carries its id."


@pytest.mark.parametrize(
    ("outcome", "task", "more", "says"),
    [
        (DONE, COMPLETED, {}, f"It settled the task: | {OWN} | The task is completed."),
        (DONE, COMPLETED, {"told": ("slack",)}, f"It settled the task: | {OWN} | slack was told."),
        (DONE, COMPLETED, {"told": ("a", "b", "me")}, f"It settled the task: | {OWN} | a, b and me were told."),
        (RUNNING, WAITING, {}, f"It moved the task to 35 %: | {OWN} | Its end is still to come."),
        (RUNNING, COMPLETED, {}, f"It moved the task to 35 %: | {OWN} | The task is completed."),
        (
            replace(RUNNING, progress=None),
            WAITING,
            {},
            f"It told us more about the task: | {OWN} | Its end is still to",
        ),
        (DONE, None, {}, f"It settled the task: | {OWN} | Its task was removed by retention."),
        (None, COMPLETED, {}, "changed the task. | What it says cannot be read any more. | The task is completed."),
        (None, LOST, {"kept": {"body": None}}, "changed the task. | Its bytes were not kept. | The task is lost: no"),
        (
            DONE,
            replace(COMPLETED, settled_by=OutcomeSource.PERSON),
            {"kept": {"replay_of": 3}},
            "It settled the task: | somebody believed callback 3, of which it is the replay. | The task is completed.",
        ),
    ],
)
def test_accepted(outcome: Outcome | None, task: Task | None, more: dict[str, Any], says: str) -> None:
    assert says in explain(Verdict.ACCEPTED, outcome, task, **more)


@pytest.mark.parametrize(
    ("task", "more", "says"),
    [
        (COMPLETED, {"earlier": 5}, "It says again what callback 5 said."),
        (WAITING, {"earlier": 5}, "It says again what callback 5 said."),
        (COMPLETED, {"earlier": 7, "settling": 4}, "It says again what callback 4 said."),
        (COMPLETED, {}, "It says again what was known."),
        (BY_POLL, {"settling": 4}, "It says what the provider had said already when it was asked."),
        (replace(BY_POLL, settled_by=OutcomeSource.PERSON), {}, "It says what somebody had settled already."),
        (WAITING, {}, "It says again what was known."),
        (None, {}, "It says again what was known."),
    ],
)
def test_duplicate(task: Task | None, more: dict[str, Any], says: str) -> None:
    rest = " | Nothing was changed, and nobody was told again. | Nothing is to be done."
    assert explain(Verdict.DUPLICATE, DONE, task, **more) == says + rest


@pytest.mark.parametrize(
    ("outcome", "task", "says"),
    [
        (replace(RUNNING, progress=0.9), COMPLETED, "It says 90 %, but the task had ended. | Nothing was changed. | N"),
        (RUNNING, LOST, "It says 35 %, but the task was lost by then. | Nothing was changed. | If its end comes after"),
        (replace(DONE, images=()), COMPLETED, "It says completed, but no picture was found in it, and the task had en"),
        (None, COMPLETED, "It says nothing that can be read, but the task had ended."),
        (RUNNING, None, "It says 35 %, but the task had ended."),
    ],
)
def test_late(outcome: Outcome | None, task: Task | None, says: str) -> None:
    assert explain(Verdict.LATE, outcome, task).startswith(says)


@pytest.mark.parametrize(
    ("outcome", "task", "says"),
    [
        (
            FAILED,
            COMPLETED,
            "It says failed; the task is completed. | It was kept and changed nothing: an end is final. | If you doubt "
            "the first, look into the provider’s list.",
        ),
        (DONE, COMPLETED, "It says completed, but with other pictures than the task has. | It was kept and changed no"),
        (FAILED, a_task(TaskState.FAILED), "It says failed; the task had ended otherwise then, and is failed now. | "),
        (FAILED, replace(UNCONFIRMED, poll_at=NOW), "was never confirmed. | It is asked now."),
        (FAILED, UNCONFIRMED, "was never confirmed. | If you know that it is right, believe it."),
        (FAILED, None, "It says failed; the task had ended otherwise. | It was kept and changed nothing: an end is"),
        (None, COMPLETED, "It says something else; the task is completed."),
    ],
)
def test_conflict(outcome: Outcome | None, task: Task | None, says: str) -> None:
    assert says in explain(Verdict.CONFLICT, outcome, task)


HINTED = replace(WAITING, hint=DONE, hint_until=NOW + 9 * MINUTE, poll_at=NOW + 2 * MINUTE)
ANYBODY = "so anybody with the URL could have sent it."


@pytest.mark.parametrize(
    ("outcome", "task", "more", "says"),
    [
        (
            FOREIGN,
            HINTED,
            {"asked": Asked(4, PollResult.UNKNOWN)},
            f"It is not believed yet. | It says “completed”, but carries an id that is not this task’s, {ANYBODY} The "
            "provider was asked four times and does not know the id (404). | Asked again at 09:22:00. If nothing "
            "confirms it by 09:29:00, the task is completed with this, marked unconfirmed.",
        ),
        (
            replace(FOREIGN, task_id=None),
            HINTED,
            {},
            f"It says “completed”, but carries no id, {ANYBODY} | The provider is asked at 09",
        ),
        (replace(DONE, shape=OutcomeShape.JOB), HINTED, {}, f"not in the form of the provider’s own tasks, {ANYBODY}"),
        (DONE, replace(HINTED, task_id=None), {}, f"the task’s id was not known by then, {ANYBODY}"),
        (
            DONE,
            HINTED,
            {"policy": replace(POLICY, confirm=ConfirmMode.ALWAYS)},
            "want each callback confirmed by the provider (CONFIRM). | The provider is asked at 09:22:00. If "
            "nothing confirms it by 09:29:00, you are asked.",
        ),
        (replace(DONE, images=()), HINTED, {}, "but no picture was found in it. | The provider is asked at 09:22:00."),
        (FOREIGN, replace(HINTED, hint=FAILED), {}, "the task is failed with what another callback said, marked unc"),
        (FOREIGN, deny_id(HINTED, "another"), {}, "with what another callback said, marked unconfirmed."),
        (RUNNING, replace(WAITING, task_id=None), {}, "not known by then, so anybody with the URL could have sent it."),
        (FOREIGN, replace(WAITING, poll_at=None), {}, "| If you know that it is right, believe it."),
        (FOREIGN, HINTED, {"policy": replace(POLICY, can_poll=False)}, "| There is no key for the provider, so it can"),
        (FOREIGN, HINTED, {"asked": Asked(1, PollResult.NOTHING)}, "The provider was asked once and did not answer."),
        (FOREIGN, HINTED, {"asked": Asked(13, PollResult.BUSY)}, "was asked 13 times and was too busy to answer."),
        (FOREIGN, HINTED, {"asked": Asked(2, PollResult.OUTCOME)}, "was asked twice and did not confirm it."),
        (FOREIGN, COMPLETED, {}, "It was not believed. | It says “completed”, but carries an id that is not this tas"),
        (FOREIGN, UNCONFIRMED, {}, "| Nothing confirmed it in time: the task is completed with it, marked unconfirme"),
        (FAILED, UNCONFIRMED, {}, "| The task is completed, unconfirmed. If you know that this is right, believe it."),
        (FOREIGN, LOST, {}, "It is not believed yet. | It says “completed”, but carries an id that is not this task’"),
        (FOREIGN, None, {}, "It was not believed. | It says “completed”, but the task’s id was not known by then"),
        (None, HINTED, {}, "What it says cannot be read any more. | The provider is asked at 09:22:00."),
    ],
)
def test_hint(outcome: Outcome | None, task: Task | None, more: dict[str, Any], says: str) -> None:
    assert says in explain(Verdict.HINT, outcome, task, **more)


LATER = replace(BY_POLL, settled_at=NOW + 1)


@pytest.mark.parametrize(
    ("task", "more", "says"),
    [
        (
            LATER,
            {},
            "Nobody could read it: it is text/html, no JSON. | The provider was asked instead, and said completed. | "
            "Nothing is to be done.",
        ),
        (LATER, {"media_type": ""}, "it is text, no JSON."),
        (LATER, {"media_type": "application/json"}, "it is text, no JSON."),
        (LATER, {"kind": BodyKind.EMPTY}, "it is empty."),
        (LATER, {"kind": BodyKind.JSON}, "it is JSON, but says nothing about a task that we understand."),
        (LATER, {"kind": BodyKind.BROKEN}, "it begins like JSON, but is cut off or broken."),
        (LATER, {"kind": BodyKind.BINARY}, "it is not text."),
        (LATER, {"kind": BodyKind.UNKNOWN, "kept": {"body": None}}, "its bytes were not kept."),
        (COMPLETED, {}, "| It changed nothing. | The task is completed."),
        (
            WAITING,
            {"asked": Asked(1, PollResult.OUTCOME)},
            "| The provider was asked instead once and named no end. | ",
        ),
        (WAITING, {}, "| The provider is asked instead, at 09:22:00. | Its end is still to come."),
        (replace(WAITING, poll_at=NOW), {}, "| The provider is asked instead. | Its end is still to come."),
        (replace(WAITING, poll_at=None), {}, "| It changed nothing. | Its end is still to come."),
        (WAITING, {"policy": replace(POLICY, can_poll=False)}, "| It changed nothing. | There is no key for the prov"),
        (None, {}, "| So it changed nothing. | Its task was removed by retention."),
    ],
)
def test_unparsed(task: Task | None, more: dict[str, Any], says: str) -> None:
    assert says in explain(Verdict.UNPARSED, None, task, **more)


def test_unparsed_that_this_version_can_read() -> None:
    said = explain(Verdict.UNPARSED, DONE, WAITING)
    assert said == (
        "Nobody could read it when it came; this version can: it says completed, 2 pictures. | It changes nothing "
        "until it is replayed. | Its end is still to come."
    )


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("task", [None, WAITING, LOST, COMPLETED, UNCONFIRMED, a_task(TaskState.QUEUED)])
@pytest.mark.parametrize("outcome", [None, DONE, FAILED, RUNNING, FOREIGN])
def test_every_case_has_its_parts(verdict: Verdict, task: Task | None, outcome: Outcome | None) -> None:
    said = explain(verdict, outcome, task)
    assert said.count(" | ") == 2
    assert "  " not in said.replace(" |  | ", "")


def test_words_from_outside_are_short_and_on_one_line() -> None:
    odd = replace(FOREIGN, status=HOSTILE, doubt=HOSTILE)
    found = explain_verdict(
        Case(kept=a_callback(Verdict.HINT), outcome=odd, kind=BodyKind.JSON, media_type="", task=WAITING, policy=POLICY,
             now=NOW)
    )  # fmt: skip
    foreign = [it for it in (*found.what, *found.why, *found.after) if "script" in it.text]
    assert [it.outside for it in foreign] == [True] * len(foreign) != []
    assert all(len(it.text) <= 210 and "\u202e" not in it.text and "\n" not in it.text for it in foreign)


@pytest.mark.parametrize(
    ("verdict", "outcome", "task", "kind", "says"),
    [
        (Verdict.ACCEPTED, DONE, COMPLETED, BodyKind.JSON, "completed, 2 pictures"),
        (Verdict.ACCEPTED, FAILED, COMPLETED, BodyKind.JSON, "failed"),
        (Verdict.ACCEPTED, RUNNING, COMPLETED, BodyKind.JSON, "35 %"),
        (Verdict.DUPLICATE, DONE, COMPLETED, BodyKind.JSON, "says again what is settled"),
        (Verdict.DUPLICATE, RUNNING, WAITING, BodyKind.JSON, "says again what was known"),
        (Verdict.LATE, RUNNING, COMPLETED, BodyKind.JSON, "35 %, after the end"),
        (Verdict.CONFLICT, FAILED, COMPLETED, BodyKind.JSON, "says failed; the task is completed"),
        (Verdict.CONFLICT, FAILED, None, BodyKind.JSON, "says failed"),
        (Verdict.HINT, FOREIGN, WAITING, BodyKind.JSON, "completed, 2 pictures; carries another id"),
        (Verdict.HINT, replace(FOREIGN, task_id=None), WAITING, BodyKind.JSON, "completed, 2 pictures; carries no id"),
        (
            Verdict.HINT,
            replace(DONE, images=()),
            WAITING,
            BodyKind.JSON,
            "completed, no pictures; cannot be believed a",
        ),
        (Verdict.HINT, replace(DONE, shape=OutcomeShape.JOB), WAITING, BodyKind.JSON, "not the provider’s own form"),
        (Verdict.HINT, DONE, WAITING, BodyKind.JSON, "completed, 2 pictures; to be confirmed"),
        (Verdict.HINT, None, WAITING, BodyKind.JSON, "nothing that can be read; cannot be read any more"),
        (Verdict.UNPARSED, None, WAITING, BodyKind.TEXT, "not JSON"),
        (Verdict.UNPARSED, None, WAITING, BodyKind.EMPTY, "empty"),
        (Verdict.UNPARSED, None, WAITING, BodyKind.BROKEN, "broken JSON"),
        (Verdict.UNPARSED, DONE, WAITING, BodyKind.JSON, "completed, 2 pictures, as this version reads it"),
        (Verdict.ACCEPTED, None, WAITING, BodyKind.UNKNOWN, "open it to read it"),
    ],
)
def test_rows(verdict: Verdict, outcome: Outcome | None, task: Task | None, kind: BodyKind, says: str) -> None:
    assert says in describe_row(a_callback(verdict), outcome, task, kind=kind)


def test_only_a_hint_that_waits_asks_for_somebody() -> None:
    assert mark_of(Verdict.HINT, WAITING) == mark_of(Verdict.HINT, UNCONFIRMED) == mark_of(Verdict.HINT, None) == "warn"
    assert mark_of(Verdict.HINT, COMPLETED) == "off"
    assert mark_of(Verdict.CONFLICT, COMPLETED) == "bad"


@pytest.mark.parametrize(
    ("verdict", "outcome", "task", "may"),
    [
        (Verdict.HINT, FOREIGN, WAITING, True),
        (Verdict.HINT, FOREIGN, LOST, True),
        (Verdict.CONFLICT, FAILED, UNCONFIRMED, True),
        (Verdict.CONFLICT, FAILED, COMPLETED, False),
        (Verdict.HINT, RUNNING, WAITING, False),
        (Verdict.HINT, None, WAITING, False),
        (Verdict.HINT, FOREIGN, None, False),
        (Verdict.ACCEPTED, DONE, WAITING, False),
    ],
)
def test_what_can_be_believed(verdict: Verdict, outcome: Outcome | None, task: Task | None, may: bool) -> None:
    assert may_believe(a_callback(verdict), outcome, task) is may
    assert not may_believe(a_callback(verdict, body=None), outcome, task)


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (replace(DONE, images=PICTURES[:1]), "completed, 1 picture"),
        (replace(FAILED, ending=Ending.CANCELLED), "cancelled"),
        (replace(RUNNING, progress=None), "running"),
        (replace(RUNNING, unknown_status=True, status="odd"), "“odd”, which we do not know"),
        (None, "nothing that can be read"),
    ],
)
def test_says_briefly(outcome: Outcome | None, says: str) -> None:
    assert says_briefly(outcome) == says


@pytest.mark.parametrize(
    ("progress", "words"), [(0.0, "0 %"), (0.354, "35 %"), (1.0, "100 %"), (7.0, "100 %"), (-1.0, "0 %")]
)
def test_percent(progress: float, words: str) -> None:
    assert percent(progress) == words


def test_what_differs_is_marked() -> None:
    rows = compare(FOREIGN, replace(WAITING, task_id="job-1"), 0)
    assert rows == [
        ComparedRow("id", "another", "job-1", differs=True, code=True),
        ComparedRow("state", "completed", "waiting, 40 %"),
        ComparedRow("pictures", "2", "none yet"),
    ]


def test_an_end_that_contradicts_the_end_is_marked() -> None:
    said = replace(FAILED, usage=Usage(Decimal("0.05")))
    rows = compare(said, replace(COMPLETED, usage=Usage(Decimal("0.10"))), 2)
    assert [(it.name, it.says, it.knew, it.differs) for it in rows] == [
        ("id", "job-1", "job-1", False),
        ("state", "failed", "completed", True),
        ("pictures", "none", "2", False),
        ("cost", "$0.05", "$0.10", True),
    ]


def test_other_pictures_are_marked() -> None:
    other = replace(DONE, images=(replace(PICTURES[0], url="https://elsewhere/0.png"),))
    assert compare(other, COMPLETED, 2)[2] == ComparedRow("pictures", "1", "2", differs=True)
    as_many = replace(DONE, images=(PICTURES[0], replace(PICTURES[1], url="https://elsewhere/0.png")))
    assert compare(as_many, COMPLETED, 2)[2] == ComparedRow("pictures", "2", "2, at other addresses", differs=True)


def test_what_is_not_said_or_not_known_is_no_difference() -> None:
    said = replace(DONE, task_id=None, usage=Usage(Decimal("0.05")))
    rows = compare(said, replace(WAITING, task_id=None), 0)
    assert [(it.says, it.knew, it.differs) for it in rows] == [
        ("not said", "not known yet", False),
        ("completed", "waiting, 40 %", False),
        ("2", "none yet", False),
        ("$0.05", "not known", False),
    ]
    assert compare(None, WAITING, 0) == compare(DONE, None, 0) == []


def test_states_in_words() -> None:
    assert state_words(WAITING) == "waiting, 40 %"
    assert state_words(UNCONFIRMED) == "completed, unconfirmed"
    assert state_words(replace(COMPLETED, progress=1.0)) == "completed"


def test_sentences_are_made_of_pieces() -> None:
    found: Sentence = explain_verdict(
        Case(kept=a_callback(Verdict.DUPLICATE), outcome=DONE, kind=BodyKind.JSON, media_type="", task=COMPLETED,
             policy=POLICY, now=NOW, earlier=5)
    ).what  # fmt: skip
    assert [it.href for it in found] == ["", "/callbacks/5", ""]
