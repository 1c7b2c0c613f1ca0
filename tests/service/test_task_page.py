"""The page of a task: its pictures, what happened to it, and what a person can do about it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from kit.fakes import DAY, MINUTE, NOW, a_notice, a_ref
from kit.task_page import TaskPlace, done_task, kept_pictures, stored_task, task_place
from kit.web import DONE, callback_path, completed, minted
from receiver.core.types import (
    Callback,
    Image,
    ImageCopy,
    NoticeState,
    OutcomeSource,
    TaskError,
    TaskState,
    Verdict,
)

pytestmark = pytest.mark.anyio

HOSTILE = "<script>alert(1)</script>\u202e\"' onload=x {{ 7*7 }} " + "w" * 200


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[TaskPlace]:
    async with task_place(tmp_path) as found:
        yield found


async def test_a_completed_task(place: TaskPlace) -> None:
    ref = await completed(place.web)
    shown = await place.page(ref)

    assert "<h1><bdi>hero</bdi></h1>" in shown
    assert "<title>hero · receiver</title>" in shown
    assert '<span class="state good">completed</span>' in shown
    assert re.search(r'<a href="/callbacks/1">Callback 1</a>, accepted: completed, 1 picture.', shown)
    assert "&#34;status&#34;: &#34;completed&#34;" in shown  # its body, indented
    assert "1 picture is being fetched." in shown
    assert f'<dd class="mono">{ref}</dd>' in shown
    assert "style=" not in shown
    assert "onclick" not in shown


@pytest.mark.parametrize("ref", ["x", "0", a_ref(NOW - DAY), "%00", "a" * 300])
async def test_there_is_no_such_task(place: TaskPlace, ref: str) -> None:
    answer = await place.browser.get(f"/tasks/{ref}")
    assert answer.status_code == 404
    assert "There is no such task" in answer.text or "There is nothing here" in answer.text


async def test_the_short_ref_of_a_ping_leads_to_the_task(place: TaskPlace) -> None:
    first, second = done_task(ref=f"{'0' * 7}1{a_ref()[8:]}"), done_task(ref=f"{'0' * 7}1{a_ref()[8:]}")
    await place.put(first)
    for part in (first.ref[:8], first.ref[-8:]):
        answer = await place.browser.get(f"/tasks/{part}")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/tasks/{first.ref}")
    await place.put(second)
    answer = await place.browser.get(f"/tasks/{first.ref[:8]}")
    assert answer.status_code == 404
    assert "More than one task’s ref has that." in answer.text


async def test_a_task_that_was_submitted_again_names_the_new_one(place: TaskPlace) -> None:
    failed = stored_task(TaskState.FAILED, settled_by=OutcomeSource.ANSWER, error=TaskError(None, "no"))
    await place.put(failed)
    again = stored_task(TaskState.QUEUED, due_at=NOW + DAY, label="again", again_of=failed.ref)
    await place.put(again)
    shown = await place.page(failed.ref)
    link = rf'<a href="/tasks/{again.ref}">(<bdi>)?again'
    assert re.search(rf"<span>submitted again as {link}", shown)
    assert re.search(rf"nothing: it was submitted again as {link}", shown)


async def test_nobody_sees_it_without_a_login(place: TaskPlace) -> None:
    ref = await completed(place.web)
    transport = place.web.client._transport
    async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as anybody:
        for known in (ref, a_ref()):
            answer = await anybody.get(f"/tasks/{known}")
            assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next=%2Ftasks%2F{known}")
        assert (await anybody.post(f"/tasks/{ref}/notify-again")).status_code in (303, 403)


async def test_four_pictures_stand_side_by_side(place: TaskPlace) -> None:
    done = done_task(prompt="a small house")
    images, copies = kept_pictures(4)
    await place.put(done, images=images, copies=copies)
    shown = await place.page(done.ref, "?image=2")

    files = re.findall(
        r'<li id="p(\d)"><a href="([^"]+)"><img src="([^"]+)" alt="([^"]+)" width="(\d+)" height="(\d+)"', shown
    )
    assert files == [
        (
            str(number),
            f"/images/{done.ref}/{number}.png",
            f"/images/{done.ref}/{number}.png",
            f"Picture {number} of 4: a small house",
            "1536",
            "1024",
        )
        for number in range(4)
    ]
    assert shown.count('fetchpriority="high"') == 1
    picks = re.findall(r'<a class="pick" href="\?image=\d#p(\d)" data-pick="\d"( aria-current="true")?', shown)
    assert picks == [("0", ""), ("1", ""), ("2", ' aria-current="true"'), ("3", "")]
    assert "Download all 4" in shown
    assert "look beside" in shown


async def test_one_picture_has_no_picks(place: TaskPlace) -> None:
    done = done_task()
    images, copies = kept_pictures(1)
    await place.put(done, images=images, copies=copies)
    shown = await place.page(done.ref, "?image=nonsense")
    assert 'class="pick"' not in shown
    assert ">Download</a>" in shown


async def test_forty_pictures_are_lazy(place: TaskPlace) -> None:
    done = done_task()
    images, copies = kept_pictures(40)
    await place.put(done, images=images, copies=copies)
    shown = await place.page(done.ref)
    assert shown.count('class="pick"') == 40
    assert len(re.findall(r"<img [^>]*>", shown)) == 80
    assert len(re.findall(r'<img [^>]*loading="lazy"', shown)) == 79
    assert "look beside" not in shown


async def test_a_video_can_be_played(place: TaskPlace) -> None:
    done = done_task(model="midjourney_video_diffusion")
    images = [Image(number, f"https://pics.example/{number}.mp4", type="video") for number in range(2)]
    await place.put(done, images=images, copies=[ImageCopy(0, file="0.mp4", media_type="video/mp4")])
    shown = await place.page(done.ref)
    assert re.search(r'<video controls preload="metadata" src="/images/[^"]*/0.mp4" width="16" height="9"', shown)
    assert "<strong>Video 1</strong>" in shown


async def test_hostile_words_are_only_words(place: TaskPlace) -> None:
    ref = a_ref()
    failed = stored_task(
        TaskState.FAILED,
        ref=ref,
        label=HOSTILE,
        prompt=HOSTILE,
        model=HOSTILE,
        task_id="<i>id</i>",
        params=b'{"<b>": "<script>", "n": 1}',
        error=TaskError("<code>", HOSTILE),
        settled_by=OutcomeSource.CALLBACK,
    )
    await place.put(failed)
    async with place.web.parts.store.write() as tx:
        body = HOSTILE.encode()
        await tx.callbacks.insert([(Callback(ref=ref, received_at=NOW, body=body, digest=b"1"), True)])
        await tx.notices.insert([a_notice("slack", ref=ref, state=NoticeState.DEAD, error=HOSTILE)])
    shown = await place.page(ref)

    assert "<script>alert" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "\u202e" not in re.sub(r'value="[^"]*"|<textarea.*?</textarea>', "", shown)  # a form has it as it was typed
    assert "{{ 7*7 }}" in shown
    for tag in ("<i>id", "<b>", "<code>&lt;code", '" onload'):
        assert tag not in shown


async def test_many_callbacks_stay_within_bounds(place: TaskPlace) -> None:
    waiting = stored_task(poll_at=NOW + DAY)
    await place.put(waiting)
    bodies = [(f'{{"id": "job-1", "status": "x{number}", "junk": "{"j" * 8_000}"}}').encode() for number in range(500)]
    async with place.web.parts.store.write() as tx:
        await tx.callbacks.insert(
            [
                (Callback(ref=waiting.ref, received_at=NOW + at * MINUTE, body=it, digest=b"%d" % at), True)
                for at, it in enumerate(bodies)
            ]
        )
    shown = await place.page(waiting.ref)

    assert "Show 443 more" in shown
    assert shown.count("<details><summary>Body, ") <= 20
    assert shown.count('href="/callbacks/') >= 500
    assert len(shown) < 600_000


async def test_a_body_that_repeats_our_key_does_not_show_it(place: TaskPlace) -> None:
    ref = await minted(place.web.client, task_id="prov-1", model="midjourney_outpaint")
    await place.web.client.post(callback_path(place.web.parts, ref), json={**DONE, "key": "a-provider-key"})
    shown = await place.page(ref)
    assert "a-provider-key" not in shown
    assert "[redacted]" in shown


async def test_what_came_before_and_after_is_linked(place: TaskPlace) -> None:
    refs = [a_ref() for _ in range(3)]
    await place.put(*(done_task(ref=ref) for ref in refs))
    shown = await place.page(refs[1])
    assert f'href="/tasks/{refs[2]}" rel="prev" data-key="[">Newer</a>' in shown
    assert f'href="/tasks/{refs[0]}" rel="next" data-key="]">Older</a>' in shown
    newest = await place.page(refs[2])
    assert ">Newer</a>" not in newest


async def test_a_task_under_way_shows_what_is_asked_for(place: TaskPlace) -> None:
    parent = done_task(label="shore")
    images, copies = kept_pictures(1)
    await place.put(parent, images=images, copies=copies)
    child = stored_task(
        ref=a_ref(),
        parent=parent.ref,
        parent_image=0,
        root=parent.ref,
        progress=0.62,
        params=b'{"jobId":"job-0","imageNo":0,"scale":2}',
        poll_at=NOW + DAY,
    )
    await place.put(child)
    shown = await place.page(child.ref)

    assert '<span class="state busy">waiting, 62 %</span>' in shown
    assert f'data-refs="{child.ref} {parent.ref}" data-open' in shown
    assert f'<image href="/images/{parent.ref}/0.png" x="384.0" y="256.0" width="768.0" height="512.0"' in shown
    assert "What is asked for: extend picture 0 of" in shown
    assert re.search(r'<progress value="62" max="100"', shown)


@pytest.mark.parametrize("state", list(TaskState))
async def test_every_state_has_a_page(place: TaskPlace, state: TaskState) -> None:
    for more in ({}, {"confirmed": False}, {"unsure": True}, {"task_id": None, "model": None}):
        task = stored_task(state, **more)
        await place.put(task)
        shown = await place.page(task.ref)
        assert "What happened" in shown
        assert shown.count("<h1>") == 1


async def test_parts_that_are_replaced_while_one_looks(place: TaskPlace) -> None:
    """The script asks for the page and puts each of these in the place of the old one."""
    ref = await completed(place.web)
    parts = re.findall(r'data-part="([a-z-]+)"', await place.page(ref))
    assert sorted(parts) == ["acts", "facts", "go-on", "stage", "state", "timeline", "trouble"]
    assert 'data-part="stage">' in await place.page(ref)  # its picture is still being fetched
    waiting = stored_task(poll_at=NOW + DAY)
    await place.put(waiting)
    assert '<div data-part="trouble"></div>' in await place.page(waiting.ref)
    assert '<div class="going" data-part="go-on"></div>' in await place.page(waiting.ref)
    done = done_task()
    images, copies = kept_pictures(1)
    await place.put(done, images=images, copies=copies)
    assert 'data-part="stage" data-settled' in await place.page(done.ref)


async def test_a_verdict_of_each_kind_is_told(place: TaskPlace) -> None:
    done = done_task(settled_by=OutcomeSource.CALLBACK)
    await place.put(done)
    async with place.web.parts.store.write() as tx:
        await tx.callbacks.insert(
            [
                (Callback(ref=done.ref, received_at=NOW + at, body=b"%d" % at, digest=b"%d" % at, verdict=it), True)
                for at, it in enumerate(Verdict)
            ]
        )
    shown = await place.page(done.ref)
    for verdict in Verdict:
        assert f"</a>, {verdict.value}: " in shown
