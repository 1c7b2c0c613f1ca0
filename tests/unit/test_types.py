"""What the frozen types promise: they never change, cost the garbage collector nothing, and say how a thing begins."""

import msgspec
import pytest

from kit.fakes import NOW, PICTURES, says
from receiver.core import types
from receiver.core.types import (
    AttemptResult,
    Callback,
    ConfirmMode,
    Ending,
    HintNote,
    Image,
    MessageStyle,
    Notice,
    NoticeEvent,
    NoticeState,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    Policy,
    PollReply,
    PollResult,
    Report,
    Retention,
    Send,
    SubmitAnswer,
    SubmitResult,
    Target,
    Task,
    TaskOrigin,
    TaskState,
    Verdict,
)

STRUCTS = [it for name in types.__all__ if isinstance(it := getattr(types, name), msgspec.StructMeta)]


@pytest.mark.parametrize("struct", STRUCTS)
def test_a_value_never_changes_so_it_can_be_shared(struct: type[msgspec.Struct]) -> None:
    assert struct.__struct_config__.frozen


@pytest.mark.parametrize("struct", [it for it in STRUCTS if it is not Retention])
def test_values_by_the_thousand_cost_the_garbage_collector_nothing(struct: type[msgspec.Struct]) -> None:
    assert not struct.__struct_config__.gc


@pytest.mark.parametrize("struct", [Report, Notice, Send, Target, Policy, Callback])
def test_what_has_many_fields_of_one_kind_is_made_by_their_names(struct: type[msgspec.Struct]) -> None:
    """A date in the place of another would go unseen."""
    with pytest.raises(TypeError, match="positional"):
        struct(None)


# -- tasks --


@pytest.mark.parametrize("state", TaskState)
def test_completed_failed_and_cancelled_are_final_and_a_lost_task_is_not(state: TaskState) -> None:
    assert state.is_final is (state in {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED})


@pytest.mark.parametrize(
    ("ending", "images", "ends"),
    [
        (Ending.RUNNING, (), False),
        (Ending.RUNNING, PICTURES, False),
        (Ending.COMPLETED, PICTURES, True),
        (Ending.COMPLETED, (), False),
        (Ending.FAILED, (), True),
        (Ending.CANCELLED, (), True),
    ],
)
def test_an_outcome_ends_its_task_unless_it_is_a_completion_without_a_picture(
    ending: Ending, images: tuple[Image, ...], ends: bool
) -> None:
    assert says(ending, images=images).is_terminal is ends


@pytest.mark.parametrize(
    ("ending", "images", "doubt", "why"),
    [
        (Ending.RUNNING, (), "it has no status", None),
        (Ending.COMPLETED, (), None, "no picture was found in it"),
        (Ending.COMPLETED, (), "its link is too long", "its link is too long"),
        (Ending.COMPLETED, PICTURES, "it has no status", "it has no status"),
        (Ending.COMPLETED, PICTURES, None, None),
        (Ending.FAILED, (), "it has no status", "it has no status"),
        (Ending.FAILED, (), None, None),
    ],
)
def test_an_end_is_doubted_for_its_own_doubt_or_for_lack_of_pictures(
    ending: Ending, images: tuple[Image, ...], doubt: str | None, why: str | None
) -> None:
    outcome = says(ending, images=images, doubt=doubt)
    assert outcome.says_end is (ending is not Ending.RUNNING)
    assert outcome.why_doubted == why
    assert outcome.is_terminal is (outcome.says_end and why is None)


def test_a_note_of_a_hint_is_stored_with_what_it_says_and_nothing_else() -> None:
    note = HintNote("", OutcomeSource.POLL)
    assert msgspec.json.encode(note) == b'{"status":"","source":"poll"}'


def test_a_refusal_is_of_all_tasks_unless_its_words_allow_for_another_reading() -> None:
    answer = SubmitAnswer(SubmitResult.UNAUTHORIZED, "403")
    assert (answer.may_be_own, answer.cause, answer.outcome) == (False, None, None)


def test_a_new_task_is_queued_and_nothing_has_been_counted_yet() -> None:
    task = Task(ref="r", created_at=NOW, provider="p")
    assert (task.state, task.origin) == (TaskState.QUEUED, TaskOrigin.SUBMITTED)
    counts = (task.tries, task.claim, task.polls, task.poll_step, task.kept, task.kept_bytes, task.archive_tries)
    assert counts == (0,) * 7
    assert (task.refusals, task.kept_ends, task.kept_ends_bytes) == (0,) * 3
    assert (task.candidates, task.denied) == ((), ())
    assert (task.poll_only, task.unsure, task.confirmed) == (False, False, True)
    unknown = {name for name in Task.__struct_fields__ if getattr(task, name) is None}
    assert {"task_id", "held_by", "submitted_at", "due_at", "poll_at", "hint", "hint_step", "archive"} <= unknown


def test_a_new_callback_is_unparsed_until_it_is_decided() -> None:
    callback = Callback(ref="r", received_at=NOW, body=b"{}")
    assert (callback.verdict, callback.headers, callback.replay_of) == (Verdict.UNPARSED, b"{}", None)


def test_an_outcome_says_no_more_than_came() -> None:
    assert Outcome(Ending.RUNNING, OutcomeShape.TASK, "") == Outcome(
        ending=Ending.RUNNING, shape=OutcomeShape.TASK, status="", progress=None, images=(), error=None, usage=None
    )
    assert Image(0, "https://a/").type == "image"
    assert PollReply(PollResult.NOTHING, "no answer").body == b""


# -- notices --


def test_a_new_notice_is_due_and_has_not_been_tried() -> None:
    notice = Notice(target="t", event=NoticeEvent.LOST, report=Report(event=NoticeEvent.LOST), created_at=1, due_at=2)
    assert (notice.state, notice.attempts, notice.sent_at) == (NoticeState.DUE, 0, None)


def test_an_attempt_without_an_error_was_delivered() -> None:
    assert AttemptResult() == AttemptResult(
        error=None,
        permanent=False,
        looks_final=False,
        of_message=False,
        retry_after_ms=None,
        duration_ms=0,
        put_off=False,
    )


def test_a_report_is_stored_with_what_it_says_and_nothing_else() -> None:
    """Thousands of them are kept, and an older version's row still reads as it was meant."""
    report = Report(event=NoticeEvent.LOST, ref="r")
    assert msgspec.json.encode(report) == b'{"event":"lost","ref":"r"}'
    assert report.confirmed


def test_a_target_hears_everything_as_text_unless_it_says_otherwise() -> None:
    target = Target(name="team", url="json://secret.invalid/")
    assert (target.on, target.style) == (frozenset(NoticeEvent), MessageStyle.TEXT)
    assert (target.models, target.labels, target.quiet_except) == ((), (), frozenset())


def test_the_url_of_a_target_is_a_secret_and_not_printed() -> None:
    assert repr(Target(name="team", url="json://secret.invalid/")) == "Target('team')"


# -- settings that decisions go by --


def test_a_policy_starts_with_the_defaults_that_the_readme_gives() -> None:
    minute = 60_000
    policy = Policy()
    assert (policy.targets, policy.confirm, policy.can_poll) == ((), ConfirmMode.MISMATCH, True)
    assert policy.confirm_within_ms == 15 * minute
    assert policy.deadline_ms == 24 * 60 * minute
    assert (policy.sweep_first_ms, policy.sweep_max_ms) == (2 * minute, 15 * minute)
    assert (policy.picture_wait_ms, policy.started_at) == (15_000, 0)


def test_rows_are_kept_for_90_days_polls_for_30_tasks_and_pictures_for_ever() -> None:
    assert str(Retention()) == "tasks=0 callbacks=90d polls=30d notices=90d images=0"


def test_a_decision_changes_nothing_unless_it_says_so() -> None:
    decision = types.Decision(Verdict.LATE)
    assert (decision.task, decision.images, decision.notices) == (None, (), ())


def test_a_target_shows_pictures_by_its_style_or_as_files() -> None:
    styles = (MessageStyle.TEXT, MessageStyle.EMAIL)
    shown = [
        Target(name="t", url="x://", style=it, takes_files=files).shows_pictures
        for it in styles
        for files in (False, True)
    ]
    assert shown == [False, True, True, True]
