"""Going on from a picture: the forms of a task's page, what they make, and what they say if they are wrong."""

import re
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from kit.fakes import NOW, a_ref
from kit.pages import form_token, logged_in
from kit.web import Served, near
from receiver.core.types import HoldReason, Image, ImageCopy, OutcomeSource, Task, TaskState, Usage
from receiver.tokens import new_ref
from receiver.web.pages.going_on.go_on import WAYS
from receiver.web.pages.page import TOKEN_FIELD

pytestmark = pytest.mark.anyio

HERO = Task(
    ref=new_ref(NOW, b"0123456789"),
    created_at=NOW,
    provider="vtrix",
    model="midjourney_diffusion",
    params=b'{"text":"a lighthouse --v 7"}',
    prompt="a lighthouse --v 7",
    label="hero",
    state=TaskState.COMPLETED,
    submitted_at=NOW,
    settled_at=NOW,
)
IMAGES = tuple(Image(number, f"https://pics.example/{number}.png", job_id="job-0") for number in range(4))
KEY = "0123456789abcdef0123456789abcdef"
PUBLIC = "https://receiver.example.com"


class Place(Struct, eq=False):
    """A service with a completed task, and somebody who is logged in."""

    web: Served
    client: httpx.AsyncClient

    async def put(self, task: Task, images: tuple[Image, ...] = IMAGES) -> None:
        async with self.web.parts.store.write() as tx:
            await tx.tasks.insert([task])
            await tx.tasks.add_images([(task.ref, image) for image in images])
            copies = [ImageCopy(it.image_no, file=f"{it.image_no}.png", width=1024, height=1024) for it in images]
            await tx.copies.upsert([(task.ref, copy) for copy in copies])

    async def get(self, query: str = "", ref: str = HERO.ref) -> str:
        answer = await self.client.get(f"/tasks/{ref}{query}")
        assert answer.status_code == 200
        return answer.text

    async def post(self, ref: str = HERO.ref, act: str = "go-on", **fields: Any) -> httpx.Response:
        token = await form_token(self.client, "/logout")
        return await self.client.post(f"/tasks/{ref}/{act}", data={TOKEN_FIELD: token, **fields})

    async def extend(self, **fields: Any) -> httpx.Response:
        given = {"do": "extend", "imageNo": "2", "scale": "1.5", "key": KEY, **fields}
        return await self.post(**{name: it for name, it in given.items() if it is not None})

    async def children(self, ref: str = HERO.ref) -> list[Task]:
        return await self.web.parts.store.chains.children(ref, 20)

    async def made(self, answer: httpx.Response) -> Task:
        assert answer.status_code == 303, answer.text
        ref = answer.headers["location"].removeprefix("/tasks/").partition("?")[0]
        return (await self.web.parts.store.tasks.get([ref]))[ref]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with near(tmp_path, public_url=PUBLIC) as web, logged_in(web) as client:
        place = Place(web, client)
        await place.put(HERO)
        yield place


async def test_the_page_offers_what_can_follow(place: Place) -> None:
    page = await place.get()
    assert re.findall(r'<a href="[^"]*do=(\w+)&amp;image=0"', page) == [*WAYS, "again"]
    assert 'id="go"' not in page


async def test_a_task_made_of_a_prompt_is_there_to_be_submitted_again(place: Place) -> None:
    page = await place.get("?do=again&image=2")
    assert "a lighthouse --v 7</textarea>" in page
    assert 'aria-current="true">Again</a>' in page
    assert re.search(r'href="#p2" data-pick="2" aria-current', page)
    again = await place.made(await place.post(do="again", text="a lighthouse --v 7", label="two", key=KEY))
    assert (again.again_of, again.params, again.label) == (HERO.ref, HERO.params, "two")
    wrong = await place.post(do="again", text="", key=KEY)
    assert (wrong.status_code, "Prompt is missing." in wrong.text) == (422, True)
    assert 'aria-current="true">Again</a>' in wrong.text


async def test_other_models_are_there_while_a_form_is_open(place: Place) -> None:
    for query in ("?do=extend&image=2", "?do=again&image=2", "?image=2"):
        page = await place.get(query)
        assert f'<a class="other" href="/new?from={HERO.ref}&amp;image=2">Other models</a>' in page


@pytest.mark.parametrize(
    ("model", "params", "ways", "says"),
    [
        ("midjourney_retexture", {"imgUrl": "https://a.example/a.png"}, ["upscale"], "This model allows nothing else."),
        ("midjourney_upscale", {"jobId": "a", "imageNo": 0, "type": 0}, ["extend", "pan", "vary", "remix"], ""),
        ("midjourney_V8.1_t2i", {"text": "a"}, ["vary", "remix", "again"], ""),
    ],
)
async def test_only_what_the_models_allow_is_offered(
    place: Place, model: str, params: dict[str, Any], ways: list[str], says: str
) -> None:
    task = replace(HERO, ref=a_ref(), model=model, params=msgspec.json.encode(params))
    await place.put(task)
    page = await place.get(ref=task.ref)
    assert re.findall(r'<a href="[^"]*do=(\w+)&amp;', page) == ways
    assert says in page


async def test_a_video_has_no_ways_to_go_on(place: Place) -> None:
    task = replace(HERO, ref=a_ref(), model="midjourney_video_diffusion", params=b'{"prompt":"a"}')
    await place.put(task, tuple(replace(it, type="video") for it in IMAGES))
    assert "Nothing here can follow this video." in await place.get(ref=task.ref)


async def test_the_frame_is_drawn_for_the_chosen_picture_and_scale(place: Place) -> None:
    page = await place.get("?do=extend&image=2&scale=1.5")
    assert f'<image href="/images/{HERO.ref}/2.png" x="170.7" y="170.7" width="682.7" height="682.7"' in page
    assert "56 % of the new picture is newly painted." in page
    assert "Picture 2 in the frame of the new one" in page
    assert re.search(r'<input type="radio" name="imageNo" form="go" value="2" checked', page)
    wider = await place.get("?do=extend&imageNo=1&image=2&scale=2&scale-exact=1.5&scale-drawn=1.5")
    assert f'<image href="/images/{HERO.ref}/1.png" x="256.0" y="256.0"' in wider
    panned = await place.get("?do=pan&image=0&scale=2.0&direction=left")
    assert 'x="512.0" y="256.0" width="512.0" height="512.0"' in panned


@pytest.mark.parametrize("query", ["?do=extend&image=99", "?do=extend&image=x", "?do=extend&scale=%00", "?do=extend"])
async def test_an_address_with_nonsense_shows_a_form_that_is_right(place: Place, query: str) -> None:
    page = await place.get(query)
    assert "Extend picture" in page
    assert re.search(r'name="imageNo" form="go" value="0" checked', page)


@pytest.mark.parametrize("query", ["?do=fly", "?do=", "?do=<script>"])
async def test_a_way_that_there_is_not_opens_nothing(place: Place, query: str) -> None:
    page = await place.get(query)
    assert 'id="go"' not in page
    assert "<script>" not in page


async def test_a_form_makes_a_task_whose_chain_is_known(place: Place) -> None:
    child = await place.made(await place.extend(remixPrompt="a village", label="wide"))
    assert (child.model, child.parent, child.parent_image) == ("midjourney_outpaint", HERO.ref, 2)
    assert msgspec.json.decode(child.params) == {"scale": 1.5, "remixPrompt": "a village"}
    assert (child.label, child.held_by, child.targets) == ("wide", HoldReason.PARENT, None)


async def test_a_double_click_makes_one_task(place: Place) -> None:
    first, second = await place.extend(), await place.extend()
    assert second.headers["location"] == f"{first.headers['location']}?done=before#done"
    assert len(await place.children()) == 1
    assert (await place.extend(scale="1.6")).status_code == 303
    assert len(await place.children()) == 2


async def test_two_clicks_at_once_make_one_task(place: Place) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(place.extend)
    assert len(await place.children()) == 1


async def test_who_reloads_a_form_that_was_wrong_sees_the_task(place: Place) -> None:
    for act in ("go-on", "pick"):
        answer = await place.client.get(f"/tasks/{HERO.ref}/{act}")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/tasks/{HERO.ref}")
        assert (await place.client.get(f"/tasks/{a_ref()}/{act}")).status_code == 404


async def test_other_models_have_a_form_of_their_own(place: Place) -> None:
    found = re.search(r'<a class="other" href="([^"]+)"', await place.get("?image=2"))
    assert found is not None
    page = await place.client.get(found[1].replace("&amp;", "&"))
    assert re.search(r'name="image" form="go" value="2" checked', page.text)


@pytest.mark.parametrize("key", ["", "x", "0" * 500, "<b>"])
async def test_a_form_without_a_good_key_makes_a_task_each_time(place: Place, key: str) -> None:
    for _ in range(2):
        assert (await place.extend(key=key)).status_code == 303
    assert len(await place.children()) == 2


async def test_what_is_wrong_is_said_beside_its_field_and_all_is_kept(place: Place) -> None:
    answer = await place.extend(scale="9", remixPrompt="{red, blue} <b>sky</b>", label="wide & high", imageNo="3")
    assert answer.status_code == 422
    page = answer.text
    assert "This was not sent:" in page
    assert '<a href="#f-scale-exact">Scale is 1.1 to 2.0.</a>' in page
    assert re.search(r'<input id="f-scale-exact"[^>]*value="9"[^>]*aria-invalid="true"', page)
    assert "{red, blue} &lt;b&gt;sky&lt;/b&gt;</textarea>" in page
    assert 'value="wide &amp; high"' in page
    assert re.search(r'value="3" checked', page)
    assert await place.children() == []


async def test_braces_are_told_and_can_be_allowed(place: Place) -> None:
    answer = await place.extend(remixPrompt="{red, blue} sky")
    assert answer.status_code == 422
    assert "{a,b} makes two generations, and each is paid for." in answer.text
    assert 'name="allow_permutations" value="1">' in answer.text
    assert (await place.extend(remixPrompt="{red, blue} sky", allow_permutations="1")).status_code == 303


async def test_what_only_the_upstream_refuses_can_be_sent_all_the_same(place: Place) -> None:
    fields = {"do": "pan", "imageNo": "0", "direction": "left", "scale": "5", "key": KEY}
    answer = await place.post(**fields)
    assert answer.status_code == 422
    assert 'name="anyway" value="1">' in answer.text
    child = await place.made(await place.post(**fields, anyway="1"))
    assert msgspec.json.decode(child.params) == {"direction": 3, "scale": 5.0}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"imageNo": "7"}, "There is no picture 7."),
        ({"imageNo": "x"}, "Choose a picture."),
        ({"imageNo": None}, "Choose a picture."),
        ({"scale": ""}, "Scale is missing."),
        ({"label": "x" * 201}, "A label must have 1 to 200 characters"),
        ({"told": "1"}, "Choose at least one: nobody would be told."),
        ({"told": "1", "target": "gone"}, "Unknown target"),
        ({"remixPrompt": "x" * 8_193}, "8,193 characters"),
    ],
)
async def test_each_fault_is_named(place: Place, fields: dict[str, Any], says: str) -> None:
    answer = await place.extend(**fields)
    assert answer.status_code == 422
    assert says in answer.text
    assert await place.children() == []


@pytest.mark.parametrize("prompt", ["x" * 8_192, "山" * 8_192, "😀" * 8_192, "\u202egnp.exe", "a\r\nb"], ids=range(5))
async def test_any_prompt_is_sent_as_it_was_typed(place: Place, prompt: str) -> None:
    child = await place.made(await place.extend(remixPrompt=prompt))
    assert msgspec.json.decode(child.params)["remixPrompt"] == prompt.replace("\r\n", "\n")


async def test_who_is_told_can_be_chosen(place: Place) -> None:
    assert (await place.made(await place.extend(told="1", target=["slack"]))).targets == ("slack",)
    assert (await place.made(await place.extend(told="1", target=["slack", "mail"]))).targets is None


async def test_without_a_script_the_drawing_is_made_anew(place: Place) -> None:
    answer = await place.extend(show="1", remixPrompt="a & b", **{"scale-exact": "1.7", "scale-drawn": "1.5"})
    path = answer.headers["location"]
    assert (answer.status_code, path.startswith(f"/tasks/{HERO.ref}?do=extend&image=2")) == (303, True)
    assert "form_token" not in path
    page = (await place.client.get(path)).text
    assert 'data-exact aria-label="Scale, exactly"' in page
    assert re.search(r'id="f-scale-exact"[^>]*value="1.7"', page)
    assert "a &amp; b</textarea>" in page
    long = await place.extend(show="1", remixPrompt="山" * 8_192)
    assert (long.status_code, "山" * 8_192 in long.text) == (200, True)
    assert await place.children() == []


async def test_a_picture_without_a_job_id_cannot_be_followed(place: Place) -> None:
    task = replace(HERO, ref=a_ref())
    await place.put(task, tuple(replace(it, job_id=None) for it in IMAGES))
    says = "The picture’s job id is not known, so nothing can follow it."
    assert says in await place.get("?do=extend", ref=task.ref)
    answer = await place.post(ref=task.ref, do="extend", imageNo="1", scale="1.5", key=KEY)
    assert (answer.status_code, says in answer.text) == (422, True)


async def test_a_picture_that_the_model_does_not_take_cannot_be_chosen(place: Place) -> None:
    task = replace(HERO, ref=a_ref())
    await place.put(task, tuple(Image(n, f"https://pics.example/{n}.png", job_id="job-0") for n in range(40)))
    page = await place.get("?do=extend", ref=task.ref)
    assert len(re.findall(r'name="imageNo"', page)) == 4
    assert "36 more cannot be followed." in page
    answer = await place.post(ref=task.ref, do="extend", imageNo="17", scale="1.5", key=KEY)
    assert answer.status_code == 422


async def test_a_task_that_was_deleted_meanwhile_is_told(place: Place) -> None:
    answer = await place.post(ref=a_ref(), do="extend", imageNo="0", scale="1.5", key=KEY)
    assert (answer.status_code, "removed by retention" in answer.text) == (404, True)
    assert (await place.post(ref="nonsense", do="extend")).status_code == 404


@pytest.mark.parametrize("way", ["", "fly", "extend\0", "<b>"])
async def test_a_form_that_was_changed_makes_nothing(place: Place, way: str) -> None:
    answer = await place.post(do=way, imageNo="0", scale="1.5")
    assert answer.status_code in (303, 422) if way == "extend\0" else answer.status_code == 422


async def test_the_form_of_another_model_is_not_taken_for_this_one(place: Place) -> None:
    answer = await place.post(do="upscale", imageNo="0", scale="1.5", direction="left", key=KEY)
    assert (answer.status_code, "Choose one." in answer.text) == (422, True)


async def test_a_chain_that_is_full_goes_on_beside_it(place: Place) -> None:
    parent = HERO
    for depth in range(1, 8):
        step = replace(HERO, ref=a_ref(), root=HERO.ref, parent=parent.ref, depth=depth)
        await place.put(step)
        parent = step
    child = await place.made(await place.post(ref=parent.ref, do="extend", imageNo="1", scale="1.5", key=KEY))
    assert (child.parent, child.held_by) == (None, None)
    assert msgspec.json.decode(child.params) == {"jobId": "job-0", "imageNo": 1, "scale": 1.5}


async def test_a_form_needs_its_token(place: Place) -> None:
    answer = await place.client.post(f"/tasks/{HERO.ref}/go-on", data={"do": "extend", "scale": "1.5", "imageNo": "0"})
    assert answer.status_code == 403
    assert await place.children() == []


async def test_what_waits_for_an_unconfirmed_end_is_told_before(place: Place) -> None:
    task = replace(HERO, ref=a_ref(), confirmed=False)
    await place.put(task)
    assert "Nothing has confirmed yet that this task completed" in await place.get("?do=extend", ref=task.ref)


async def test_what_it_may_cost_and_take_is_said_and_that_a_budget_is_used_up(tmp_path: Path) -> None:
    paid = replace(
        HERO,
        ref=a_ref(),
        model="midjourney_outpaint",
        params=b'{"jobId":"a","imageNo":0,"scale":1.5}',
        settled_by=OutcomeSource.CALLBACK,
        settled_at=NOW + 58_000,
        usage=Usage(Decimal("0.05")),
        spend_day="2025-12-29",
    )
    async with near(tmp_path, public_url=PUBLIC, budget_day="0.09") as web, logged_in(web) as client:
        place = Place(web, client)
        await place.put(HERO)
        await place.put(paid)
        page = await place.get("?do=extend")
        assert '<span class="hint">about $0.05, some 58 s</span>' in page
        note = "The budget of $0.09 a day is used up: it will wait until midnight (UTC)."
        assert f'<p class="note warn">{note}</p>' in page
        assert note not in await place.get("?do=upscale")
        assert (await place.extend()).status_code == 303


async def test_whoever_opened_the_question_to_share_can_leave_it(place: Place) -> None:
    assert 'popovertarget="share" popovertargetaction="hide">Leave it</button>' in await place.get()
