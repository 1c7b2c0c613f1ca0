"""What a person does from the page of a task: each act changes the task, says so, and refuses on the page itself."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kit.fakes import DAY, HOUR, NOW, a_notice, a_ref
from kit.pages import post_form
from kit.task_page import TaskPlace, done_task, kept_pictures, stored_task, task_place
from kit.web import completed
from receiver.core.types import ArchiveState, ImageCopy, NoticeEvent, NoticeState, TaskState

pytestmark = pytest.mark.anyio


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[TaskPlace]:
    async with task_place(tmp_path) as found:
        yield found


async def test_an_act_on_an_unknown_task_finds_nothing(place: TaskPlace) -> None:
    for act in ("cancel", "poll", "resubmit", "fetch-again", "notify-again", "task-id"):
        answer = await post_form(place.browser, f"/tasks/{a_ref()}/{act}", task_id="x")
        assert answer.status_code == 404
        assert "It may have been removed by retention." in answer.text


async def test_a_form_without_its_token_does_nothing(place: TaskPlace) -> None:
    queued = stored_task(TaskState.QUEUED, due_at=NOW + DAY)
    await place.put(queued)
    answer = await place.browser.post(f"/tasks/{queued.ref}/cancel", data={"form_token": "1.2.3"})
    assert answer.status_code == 403
    assert (await place.task(queued.ref)).state is TaskState.QUEUED


async def test_a_queued_task_is_cancelled(place: TaskPlace) -> None:
    queued = stored_task(TaskState.QUEUED, due_at=NOW + DAY, label="no")
    await place.put(queued)

    answer = await place.act(queued.ref, "cancel")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/tasks/{queued.ref}?done=cancelled#done")
    assert (await place.task(queued.ref)).state is TaskState.CANCELLED
    shown = await place.page(queued.ref, "?done=cancelled")
    assert re.search(r'id="done"[^>]*>It is cancelled. Nothing was charged.<', shown)
    assert '<span class="state off">cancelled</span>' in shown
    assert "Cancelled, before it was sent." in shown


async def test_what_cannot_be_done_is_said_on_the_page(place: TaskPlace) -> None:
    ref = await completed(place.web)
    answer = await place.act(ref, "cancel")

    assert answer.status_code == 409
    assert re.search(r'id="done" role="alert" tabindex="-1"><p>The task is completed, and only a queued', answer.text)
    assert "What happened" in answer.text


async def test_the_provider_is_asked(place: TaskPlace) -> None:
    waiting = stored_task(poll_at=NOW + DAY)
    await place.put(waiting)
    assert (await place.act(waiting.ref, "poll")).headers["location"].endswith("?done=asked#done")
    assert (await place.task(waiting.ref)).poll_at == NOW


async def test_an_unsure_task_is_submitted_again(place: TaskPlace) -> None:
    unsure = stored_task(task_id=None, unsure=True, poll_at=NOW + DAY)
    await place.put(unsure)
    place.clock.forward(HOUR)

    shown = await place.page(unsure.ref)
    assert "Nobody knows whether the provider took it" in shown
    assert 'popovertarget="resubmit"' in shown
    assert "If the provider has it after all, it is paid twice." in shown
    assert (await place.act(unsure.ref, "resubmit")).status_code == 303
    assert (await place.task(unsure.ref)).state is TaskState.QUEUED


async def test_its_id_is_told(place: TaskPlace) -> None:
    unsure = stored_task(task_id=None, unsure=True, poll_at=NOW + DAY)
    await place.put(unsure)

    wrong = await place.act(unsure.ref, "task-id", task_id="two words")
    assert wrong.status_code == 422
    assert "an id has no blanks" in wrong.text
    assert 'value="two words"' in wrong.text
    assert (await place.act(unsure.ref, "task-id", task_id=" prov-7 ")).status_code == 303
    assert (await place.task(unsure.ref)).task_id == "prov-7"


async def test_pictures_are_fetched_again(place: TaskPlace) -> None:
    done = done_task()
    images, _ = kept_pictures(1)
    await place.put(done, images=images, copies=[ImageCopy(0, error="pics.example answered HTTP 403")])

    shown = await place.page(done.ref)
    assert "Picture 0 was not kept" in shown
    assert shown.count("Fetch again") == 1
    assert "Not kept: pics.example answered HTTP 403." in shown
    assert 'href="https://pics.example/0.png" rel="noreferrer">Open it at the provider</a>' in shown
    assert (await place.act(done.ref, "fetch-again")).status_code == 303
    assert (await place.task(done.ref)).archive is ArchiveState.DUE


async def test_notices_are_sent_again(place: TaskPlace) -> None:
    done = done_task()
    await place.put(done)
    store = place.web.parts.store

    assert (await place.act(done.ref, "notify-again")).headers["location"].endswith("?done=notified#done")
    made = (await store.notices.by_refs([done.ref]))[done.ref]
    assert [(it.target, it.event, it.state, it.due_at) for it in made] == [
        ("slack", NoticeEvent.COMPLETED, NoticeState.DUE, NOW),
        ("mail", NoticeEvent.COMPLETED, NoticeState.DUE, NOW),
    ]
    again = await place.act(done.ref, "notify-again")
    assert again.status_code == 409
    assert "Its notices are still being sent." in again.text


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (TaskState.FAILED, NoticeEvent.FAILED),
        (TaskState.CANCELLED, NoticeEvent.FAILED),
        (TaskState.LOST, NoticeEvent.LOST),
    ],
)
async def test_every_end_can_be_reported_again(place: TaskPlace, state: TaskState, event: NoticeEvent) -> None:
    ended = stored_task(state, quiet=True)
    await place.put(ended)
    assert (await place.act(ended.ref, "notify-again")).status_code == 303

    made = (await place.web.parts.store.notices.by_refs([ended.ref]))[ended.ref]
    assert [it.event for it in made] == [event] * 2
    assert made[0].report.error == ended.error
    assert "Notified again." in await place.page(ended.ref)


async def test_there_is_no_end_to_report_yet(place: TaskPlace) -> None:
    waiting = stored_task(poll_at=NOW + DAY)
    await place.put(waiting)
    answer = await place.act(waiting.ref, "notify-again")
    assert answer.status_code == 409
    assert "there is no end to report yet" in answer.text


async def test_nobody_may_want_to_know(tmp_path: Path) -> None:
    async with task_place(tmp_path, targets="") as place:
        done = done_task()
        await place.put(done)
        assert "Notify again" not in await place.page(done.ref)
        answer = await post_form(place.browser, f"/tasks/{done.ref}/notify-again")
        assert answer.status_code == 409
        assert "No target is configured that wants to know" in answer.text


async def test_only_those_that_were_given_up_are_sent_again(place: TaskPlace) -> None:
    done = done_task()
    await place.put(done)
    store = place.web.parts.store
    async with store.write() as tx:
        await tx.notices.insert(
            [
                a_notice("slack", ref=done.ref, state=NoticeState.SENT),
                a_notice("mail", ref=done.ref, state=NoticeState.DEAD, error="no"),
                a_notice("gone", ref=done.ref, state=NoticeState.DEAD, error="no"),
            ]
        )
    await place.act(done.ref, "notify-again")
    states = [(it.target, it.state) for it in (await store.notices.by_refs([done.ref]))[done.ref]]
    assert states == [("slack", NoticeState.SENT), ("mail", NoticeState.DUE), ("gone", NoticeState.DEAD)]
