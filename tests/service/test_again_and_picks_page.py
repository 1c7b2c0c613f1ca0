"""On a task's page: submit it again, pick the picture that others go on from, and the strip of its chain."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from kit.fakes import NOW, a_ref
from kit.pages import form_token, logged_in
from kit.web import Served, near
from receiver.core.types import HoldReason, Image, ImageCopy, Task, TaskError, TaskState
from receiver.tokens import new_ref
from receiver.web.pages.page import TOKEN_FIELD

pytestmark = pytest.mark.anyio

KEY = "0123456789abcdef0123456789abcdef"
SHORE = Task(
    ref=new_ref(NOW, b"0123456789"),
    created_at=NOW,
    provider="vtrix",
    model="midjourney_diffusion",
    params=b'{"text":"a shore"}',
    prompt="a shore",
    label="shore",
    state=TaskState.COMPLETED,
    submitted_at=NOW,
    settled_at=NOW,
    root=new_ref(NOW, b"0123456789"),
)
LANTERN = Task(
    ref=new_ref(NOW + 1, b"0123456789"),
    created_at=NOW,
    provider="vtrix",
    model="midjourney_outpaint",
    params=b'{"jobId":"job-0","imageNo":2,"scale":1.5,"remixPrompt":"an old <b>lantern</b>"}',
    prompt="an old <b>lantern</b>",
    label="lantern",
    state=TaskState.FAILED,
    error=TaskError("004007098", "against our <i>standards</i>"),
    submitted_at=NOW,
    settled_at=NOW,
)
WIDE = replace(
    LANTERN,
    ref=a_ref(),
    label="wide",
    params=b'{"scale":2.0}',
    state=TaskState.QUEUED,
    error=None,
    settled_at=None,
    submitted_at=None,
    held_by=HoldReason.PICK,
    root=SHORE.ref,
    parent=SHORE.ref,
    depth=1,
)
IMAGES = tuple(Image(number, f"https://pics.example/{number}.png", job_id="job-0") for number in range(4))


class Place(Struct, eq=False):
    """A service, and somebody who is logged in."""

    web: Served
    client: httpx.AsyncClient

    async def put(self, *tasks: Task) -> None:
        completed = [it.ref for it in tasks if it.state is TaskState.COMPLETED]
        async with self.web.parts.store.write() as tx:
            await tx.tasks.insert(tasks)
            await tx.tasks.add_images([(ref, image) for ref in completed for image in IMAGES])
            copies = [ImageCopy(it.image_no, file=f"{it.image_no}.png", width=1024, height=1024) for it in IMAGES]
            await tx.copies.upsert([(ref, copy) for ref in completed for copy in copies])

    async def get(self, ref: str) -> str:
        answer = await self.client.get(f"/tasks/{ref}")
        assert answer.status_code == 200
        return answer.text

    async def post(self, ref: str, act: str, **fields: Any) -> httpx.Response:
        token = await form_token(self.client, "/logout")
        return await self.client.post(f"/tasks/{ref}/{act}", data={TOKEN_FIELD: token, **fields})

    async def again(self, task: Task = LANTERN, **fields: Any) -> httpx.Response:
        given = {"do": "again", "key": KEY, "jobId": "job-0", "imageNo": "2", "scale": "1.5", "label": "lantern"}
        return await self.post(task.ref, "go-on", **given | {"remixPrompt": "an old <b>lantern</b>"} | fields)

    async def read(self, answer: httpx.Response) -> Task:
        assert answer.status_code == 303, answer.text
        ref = answer.headers["location"].removeprefix("/tasks/").partition("?")[0]
        return (await self.web.parts.store.tasks.get([ref]))[ref]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with near(tmp_path, public_url="https://receiver.example.com") as web, logged_in(web) as client:
        yield Place(web, client)


async def test_a_failed_task_is_there_to_be_changed(place: Place) -> None:
    await place.put(LANTERN)
    page = await place.get(LANTERN.ref)
    assert '<h2 id="go-on">Submit it again</h2>' in page
    assert "an old &lt;b&gt;lantern&lt;/b&gt;</textarea>" in page
    assert re.search(r'name="scale-exact"[^>]*value="1.5"', page)
    assert re.search(r'name="jobId"[^>]*value="job-0"', page)
    assert re.search(r'name="imageNo" value="2" checked', page)
    assert "a new task" in page


async def test_it_is_submitted_again_with_what_was_changed(place: Place) -> None:
    await place.put(LANTERN)
    again = await place.read(
        await place.again(scale="1.8", remixPrompt="a new one", label="two", told="1", target="mail")
    )
    assert (again.again_of, again.label, again.targets) == (LANTERN.ref, "two", ("mail",))
    changed = {"jobId": "job-0", "imageNo": 2, "scale": 1.8, "remixPrompt": "a new one"}
    assert msgspec.json.decode(again.params) == changed
    emptied = await place.read(await place.again(remixPrompt="", label=""))
    assert (emptied.label, msgspec.json.decode(emptied.params)) == (
        None,
        {"jobId": "job-0", "imageNo": 2, "scale": 1.5},
    )


async def test_a_double_click_submits_it_once(place: Place) -> None:
    await place.put(LANTERN)
    first, second = await place.again(), await place.again()
    assert second.headers["location"] == f"{first.headers['location']}?done=before#done"


async def test_what_is_wrong_with_it_is_said(place: Place) -> None:
    await place.put(LANTERN)
    answer = await place.again(scale="7", jobId="")
    assert answer.status_code == 422
    assert "Scale is 1.1 to 2.0." in answer.text
    assert "Job id is missing." in answer.text


async def test_what_a_person_allowed_before_is_allowed_again(place: Place) -> None:
    params = b'{"jobId":"job-0","imageNo":0,"direction":3,"scale":5.0,"remixPrompt":"{a,b}"}'
    task = replace(LANTERN, model="midjourney_pan", params=params)
    await place.put(task)
    page = await place.get(task.ref)
    assert 'name="anyway" value="1" checked' in page
    again = await place.read(
        await place.again(
            task, imageNo="0", scale="5.0", direction="left", remixPrompt="{a,b}", anyway="1", allow_permutations="1"
        )
    )
    assert again.params == params


async def test_the_parameters_of_the_task_before_are_kept(place: Place) -> None:
    child = replace(LANTERN, parent=SHORE.ref, parent_image=2, root=SHORE.ref, depth=1)
    await place.put(SHORE, child)
    page = await place.get(child.ref)
    assert 'name="jobId"' not in page
    again = await place.read(await place.again(child, scale="1.9", jobId="forged", imageNo="0"))
    assert msgspec.json.decode(again.params)["jobId"] == "job-0"
    assert msgspec.json.decode(again.params)["imageNo"] == 2


async def test_a_model_that_nobody_knows_can_be_submitted_again(place: Place) -> None:
    task = replace(LANTERN, model="some_model", params=b'{"deep":{"x":[1]}}')
    await place.put(task)
    assert "Submit it again" in await place.get(task.ref)
    assert (await place.read(await place.again(task))).params == task.params


@pytest.mark.parametrize(
    "changes",
    [
        {"state": TaskState.LOST, "unsure": True},
        {"state": TaskState.FAILED, "confirmed": False},
        {"state": TaskState.WAITING, "settled_at": None, "error": None},
    ],
)
async def test_what_may_be_paid_twice_is_not_offered_again(place: Place, changes: dict[str, Any]) -> None:
    task = replace(LANTERN, **changes)
    await place.put(task)
    assert 'id="go-on"' not in await place.get(task.ref)
    assert (await place.again(task)).status_code == 409


async def test_a_lost_and_a_cancelled_task_can_be_submitted_again(place: Place) -> None:
    for state in (TaskState.LOST, TaskState.CANCELLED):
        task = replace(LANTERN, ref=a_ref(), state=state, error=None)
        await place.put(task)
        assert "Submit it again" in await place.get(task.ref)
        assert (await place.read(await place.again(task, key=""))).again_of == task.ref


async def test_a_waiting_pick_is_made_by_choosing_a_picture(place: Place) -> None:
    await place.put(SHORE, WIDE)
    page = await place.get(SHORE.ref)
    assert "Pick the picture that goes on" in page
    assert len(re.findall(r'<input type="checkbox" name="image_no"', page)) == 4
    assert len(re.findall(r'data-pick="', page)) == 4  # one way to choose, not two
    picked = await place.read(await place.post(SHORE.ref, "pick", image_no="3"))
    assert (picked.ref, picked.parent_image, picked.picked_by) == (WIDE.ref, 3, "gallery")
    assert "Pick the picture" not in await place.get(SHORE.ref)
    late = await place.post(SHORE.ref, "pick", image_no="1")
    assert (late.status_code, "Picture 3 was picked already." in late.text) == (409, True)


async def test_several_pictures_can_be_picked(place: Place) -> None:
    await place.put(SHORE, WIDE)
    answer = await place.post(SHORE.ref, "pick", image_no=["0", "2"])
    assert answer.headers["location"] == f"/tasks/{SHORE.ref}"
    children = await place.web.parts.store.chains.children(SHORE.ref, 9)
    assert sorted(it.parent_image or 0 for it in children) == [0, 2]


@pytest.mark.parametrize(
    "numbers", [[], ["x"], ["-1"], ["9" * 30], ["0", "<b>"], ["63"], [str(it) for it in range(20)]]
)
async def test_a_pick_with_nonsense_picks_nothing(place: Place, numbers: list[str]) -> None:
    await place.put(SHORE, WIDE)
    answer = await place.post(SHORE.ref, "pick", image_no=numbers)
    assert answer.status_code in (409, 422)
    assert "Pick the picture that goes on" in answer.text
    assert (await place.web.parts.store.tasks.get([WIDE.ref]))[WIDE.ref].held_by is HoldReason.PICK


async def test_before_and_after_are_a_strip(place: Place) -> None:
    done = replace(WIDE, state=TaskState.COMPLETED, held_by=None, parent_image=2, settled_at=NOW)
    big = replace(WIDE, ref=a_ref(), label="<u>big</u>", parent=done.ref, parent_image=1, held_by=None, depth=2)
    await place.put(SHORE, done, big)
    page = await place.get(done.ref)
    assert "Before and after" in page
    assert re.findall(r'<li class="to">([^<]*)<br>([^<]*)</li>', page) == [
        ("picture 2", "2.0 ×"),
        ("picture 1", "2.0 ×"),
    ]
    assert re.search(rf'<a href="/tasks/{done.ref}" aria-current="page">', page)
    assert f'<image href="/images/{done.ref}/1.png" x="25.0"' in page
    assert "&lt;u&gt;big&lt;/u&gt;" in page


async def test_a_parent_that_was_removed_is_told(place: Place) -> None:
    alone = replace(WIDE, state=TaskState.COMPLETED, held_by=None, parent_image=2, settled_at=NOW)
    await place.put(alone)
    assert "removed by retention" in await place.get(alone.ref)
