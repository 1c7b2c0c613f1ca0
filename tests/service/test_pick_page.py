"""The page behind a pick's link: a GET only shows, a POST picks, and of many at once one does."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import anyio
import httpx
import pytest
from msgspec import Struct
from msgspec.structs import replace

from kit.fakes import NOW, a_ref
from kit.web import Served, near
from receiver.core.types import HoldReason, Image, ImageCopy, Task, TaskState
from receiver.tokens import new_ref

pytestmark = pytest.mark.anyio

PARENT = Task(
    ref=new_ref(NOW, b"0123456789"),
    created_at=NOW,
    provider="vtrix",
    model="midjourney_diffusion",
    label="<b>a & lighthouse</b>",
    state=TaskState.COMPLETED,
    submitted_at=NOW,
    settled_at=NOW,
    children=1,
    picks=1,
    root=new_ref(NOW, b"0123456789"),
)
CHILD = Task(
    ref=a_ref(),
    created_at=NOW,
    provider="vtrix",
    model="midjourney_outpaint",
    params=b'{"scale":1.5}',
    held_by=HoldReason.PICK,
    root=PARENT.ref,
    parent=PARENT.ref,
    depth=1,
)
IMAGES = tuple(Image(number, f"https://pics.example/{number}.png", job_id="job-0") for number in range(4))


class Place(Struct, eq=False):
    """A service with a chain that waits for a pick, and a client without a token."""

    web: Served
    anybody: httpx.AsyncClient

    def link(self, number: int) -> str:
        return self.web.parts.links.pick_path(PARENT.ref, number)

    async def child(self) -> Task:
        return (await self.web.parts.store.tasks.get([CHILD.ref]))[CHILD.ref]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with near(tmp_path) as web:
        await put(web, [PARENT, CHILD], IMAGES)
        transport = web.client._transport
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as anybody:
            yield Place(web, anybody)


async def put(web: Served, tasks: Sequence[Task], images: Sequence[Image]) -> None:
    async with web.parts.store.write() as tx:
        await tx.tasks.insert(tasks)
        await tx.tasks.add_images([(PARENT.ref, image) for image in images])
        await tx.copies.upsert([(PARENT.ref, ImageCopy(2, file="2.png", small="2-small.jpg", width=3, height=2))])


async def test_a_link_that_is_only_opened_changes_nothing(place: Place) -> None:
    """Chats and mail programs open each link, some of them again and again."""
    for _ in range(100):
        shown = await place.anybody.get(place.link(2))
        assert shown.status_code == 200
    assert (await place.child()).held_by is HoldReason.PICK
    assert (await place.anybody.head(place.link(2))).status_code == 200
    assert (await place.child()).held_by is HoldReason.PICK


async def test_of_eight_that_pick_at_once_one_does(place: Place) -> None:
    answers: list[int] = []

    async def press() -> None:
        answers.append((await place.anybody.post(place.link(2))).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(press)

    assert sorted(answers) == [200] + [409] * 7
    child = await place.child()
    assert (child.state, child.held_by, child.parent_image, child.picked_by) == (TaskState.QUEUED, None, 2, "link")
    assert child.params == b'{"jobId":"job-0","imageNo":2,"scale":1.5}'


async def test_several_pictures_can_be_ticked(place: Place) -> None:
    done = await place.anybody.post(place.link(0), data={"also": ["1", "3"]})

    assert "Outpaint goes on from pictures 0 and 1 and 3" in done.text
    tasks = await place.web.parts.store.chains.children(PARENT.ref, 16)
    assert sorted(it.parent_image or 0 for it in tasks) == [0, 1, 3]


async def test_the_page_shows_the_picture_and_what_follows(place: Place) -> None:
    shown = (await place.anybody.get(place.link(2))).text

    assert "&lt;b&gt;a &amp; lighthouse&lt;/b&gt;" in shown
    assert "Go on from picture 2" in shown
    assert "outpaint" in shown
    assert re.search(r'<img src="/images/[^"]*/2\.png\?until=[^"]*" alt="Picture 2 of 4"', shown)
    sheet = re.search(r'href="(/static/app\.[0-9a-f]{12}\.css)"', shown)
    assert sheet is not None
    style = await place.anybody.get(sheet[1])
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in style.headers["cache-control"]


async def test_a_picture_without_a_copy_is_a_link_to_the_providers(place: Place) -> None:
    shown = (await place.anybody.get(place.link(1))).text
    assert 'href="https://pics.example/1.png"' in shown


async def test_after_the_pick_the_page_says_so(place: Place) -> None:
    await place.anybody.post(place.link(2))

    shown = await place.anybody.get(place.link(1))
    assert shown.status_code == 200
    assert "Picture 2 was picked already." in shown.text
    assert "<button" not in shown.text


@pytest.mark.parametrize(
    "spoil", [lambda path: path[:-1], lambda path: path.replace(".2.", ".3."), lambda _: "/pick/x"]
)
async def test_a_link_that_is_not_ours_finds_nothing(place: Place, spoil: Callable[[str], str]) -> None:
    for method in ("GET", "POST"):
        shown = await place.anybody.request(method, spoil(place.link(2)))
        assert shown.status_code == 404
        assert "There is nothing to pick here" in shown.text
    assert (await place.child()).held_by is HoldReason.PICK


async def test_nothing_can_be_picked_before_the_end(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        waiting = replace(PARENT, state=TaskState.WAITING, settled_at=None)
        await put(web, [waiting, replace(CHILD, held_by=HoldReason.PARENT)], ())
        link = web.parts.links.pick_path(PARENT.ref, 0)
        assert "The task has not ended yet." in (await web.client.get(link)).text
        assert (await web.client.post(link)).status_code == 409


@pytest.mark.parametrize("form", ["also=x", "also=-1", f"also={'9' * 50}", "also=1&" * 900, "&" * 1_900])
async def test_a_form_that_was_changed_picks_nothing_wrong(place: Place, form: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await place.anybody.post(place.link(0), content=form, headers=headers)
    assert answer.status_code in (200, 413, 422)
    if answer.status_code != 200:
        assert (await place.child()).held_by is HoldReason.PICK


async def test_nothing_from_elsewhere_runs_on_the_page(place: Place) -> None:
    headers = (await place.anybody.get(place.link(2))).headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")


async def test_a_video_has_a_link_and_no_picture(place: Place) -> None:
    """To our own copy, or else to the provider's."""
    async with place.web.parts.store.write() as tx:
        await tx.copies.upsert([(PARENT.ref, ImageCopy(number, file=f"{number}.mp4")) for number in (1, 2)])
    kept, elsewhere = [(await place.anybody.get(place.link(number))).text for number in (1, 3)]

    assert re.search(rf'href="/images/{PARENT.ref}/1\.mp4\?[^"]+" rel="noreferrer">Open picture 1</a>', kept)
    assert "<img" not in kept
    assert 'href="https://pics.example/3.png" rel="noreferrer">Open picture 3 at the provider</a>' in elsewhere


@pytest.mark.parametrize(
    ("state", "says"),
    [(TaskState.COMPLETED, "has not confirmed yet"), (TaskState.LOST, "has no result of this task")],
)
async def test_of_an_end_that_is_not_certain_a_person_is_told_in_words(
    tmp_path: Path, state: TaskState, says: str
) -> None:
    async with near(tmp_path) as web:
        await put(web, [replace(PARENT, state=state, confirmed=False), replace(CHILD, held_by=HoldReason.PARENT)], ())
        link = web.parts.links.pick_path(PARENT.ref, 0)
        for answer in (await web.client.get(link), await web.client.post(link)):
            assert says in answer.text
            assert "job_id" not in answer.text
            assert "<button" not in answer.text


async def test_what_wants_pictures_of_its_own_is_not_picked_for_on_the_page(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        own = [replace(CHILD, ref=a_ref(), parent_image=number) for number in (6, 7)]
        await put(web, [PARENT, *own], IMAGES)
        link = web.parts.links.pick_path(PARENT.ref, 0)
        for answer in (await web.client.get(link), await web.client.post(link)):
            assert "only go on from pictures 6 and 7" in answer.text
            assert "<button" not in answer.text
