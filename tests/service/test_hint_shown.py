"""What was heard of an end and why it did not count is shown: by the API, `tasks show`, the doctor and the pings."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from kit.commands import task as shown_task
from kit.fakes import POLICY, Clock, a_task, body, foreign, got, parse, put, says
from receiver.cli.task_text import describe_task
from receiver.client.schemas import HintView
from receiver.core.types import Ending, NoticeEvent, Outcome, Report
from receiver.notify.messages.content import build_report
from receiver.notify.messages.message import NoLinks
from receiver.store import Store
from receiver.tasks.ingest import CallbackIngest
from receiver.telemetry.metrics import Metrics
from receiver.upkeep.doctor.findings import CheckResult
from receiver.upkeep.doctor.work import WorkSnapshot, check_work
from receiver.web.api.present import task_views

DOUBT = HintView(
    "completed",
    "completed",
    "no picture was found in it",
    "callback",
    12,
    "A callback said “completed”, but no picture was found in it.",
)
UNREAD = HintView("", None, None, "callback", 13, "A callback could not be read.")
TODAY = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (says(Ending.COMPLETED, images=()), "A callback said “completed”, but no picture was found in it."),
        (foreign(Ending.FAILED), "A callback said “failed”, but no poll has confirmed it."),
        (None, "A callback could not be read."),
    ],
)
async def test_the_api_names_the_callback_and_the_doubt(store: Store, outcome: Outcome | None, text: str) -> None:
    tasks = [a_task(task_id=f"job-{number}") for number in range(2)]
    await put(store, *tasks)
    ingest = CallbackIngest(store, parse, POLICY, Clock(), Metrics())
    await ingest.receive_callback(tasks[0].ref, body(says(Ending.RUNNING, "job-0")), b"{}")
    for _ in range(2):
        await ingest.receive_callback(tasks[0].ref, b"?" if outcome is None else body(outcome), b"{}")
    hinted, other = await task_views(store, [await got(store, it.ref) for it in tasks])
    assert hinted.hint is not None
    page = await store.callbacks.page(ref=tasks[0].ref)
    assert (hinted.hint.text, hinted.hint.callback_id) == (text, page[1].id), "the first of equal ones"
    assert hinted.hint.ending == (outcome and outcome.ending.value)
    assert other.hint is None


@pytest.mark.parametrize("state", ["waiting", "lost"])
def test_tasks_show_says_what_was_heard_and_how_to_accept_it(state: str) -> None:
    text = " ".join(describe_task(replace(shown_task(state), hint=DOUBT)).split())
    assert DOUBT.text in text
    assert "receiver callbacks replay --accept 12" in text
    assert "a poll has to confirm it" not in text


def test_what_could_not_be_read_is_shown_and_not_offered_to_be_accepted() -> None:
    text = describe_task(replace(shown_task("waiting"), hint=UNREAD))
    assert UNREAD.text in text
    assert "--accept" not in text


def test_the_doctor_names_tasks_that_may_have_ended() -> None:
    since = (TODAY - timedelta(hours=1)).isoformat()
    doubted = replace(shown_task("waiting"), submitted_at=since, hint=DOUBT)
    seen = WorkSnapshot(dead=(), due=(), queued=(), waiting=[doubted, doubted], lost=())
    [finding] = check_work(seen, TODAY)
    assert finding.result is CheckResult.WARNING
    assert finding.text == f"2 tasks may have ended, but what says so does not count: {DOUBT.text}"
    assert finding.remedy == f"see what you can do with `receiver tasks show {doubted.ref}`"


def test_the_doctor_leaves_alone_what_settles_by_itself_and_what_was_lost_long_ago() -> None:
    pending = replace(shown_task("waiting"), hint=replace(DOUBT, doubt=None))
    old = replace(shown_task("lost"), submitted_at=(TODAY - timedelta(days=8)).isoformat(), hint=DOUBT)
    seen: dict[str, Any]
    for seen in ({"waiting": [pending]}, {"lost": [old]}):
        rest: dict[str, Any] = dict.fromkeys(WorkSnapshot.__struct_fields__, ()) | {"queue": None}
        assert [it.result for it in check_work(WorkSnapshot(**{**rest, **seen}), TODAY)] == [CheckResult.OK]


def test_the_lost_ping_says_what_was_heard_before_it_says_what_to_do() -> None:
    report = Report(event=NoticeEvent.LOST, ref="r1", task_id="job-1", heard=DOUBT.text)
    heard, advice, _ = build_report(report, NoLinks()).trouble
    assert heard == DOUBT.text
    assert advice.startswith("What to do:")
    assert len(build_report(replace(report, heard=None), NoLinks()).trouble) == 2


def test_an_unconfirmed_ping_says_why_it_is_that() -> None:
    report = Report(event=NoticeEvent.FAILED, ref="r1", confirmed=False, unconfirmed="the provider did not answer")
    assert "but the provider did not answer. Check" in build_report(report, NoLinks()).doubt
    assert "but we could not confirm it. Check" in build_report(replace(report, unconfirmed=None), NoLinks()).doubt
