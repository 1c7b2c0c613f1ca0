"""The page to submit a task with any model: its form is made from the declaration."""

import html
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
from kit.model_params import good_params
from kit.pages import form_token, logged_in
from kit.web import Served, near
from receiver.core.types import HoldReason, Image, Task, TaskState
from receiver.providers.models import MODELS, check_params, param_hints
from receiver.web.pages.going_on.form_errors import curl
from receiver.web.pages.going_on.forms import write_typed
from receiver.web.pages.page import TOKEN_FIELD

pytestmark = pytest.mark.anyio

HERO = Task(
    ref=a_ref(),
    created_at=NOW,
    provider="vtrix",
    model="midjourney_diffusion",
    params=b'{"text":"a lighthouse"}',
    label="he<b>ro",
    state=TaskState.COMPLETED,
    submitted_at=NOW,
    settled_at=NOW,
)


class Place(Struct, eq=False):
    """A service, and somebody who is logged in."""

    web: Served
    client: httpx.AsyncClient

    async def post(self, **fields: Any) -> httpx.Response:
        token = await form_token(self.client, "/logout")
        return await self.client.post("/new", data={TOKEN_FIELD: token, "key": "0123456789abcdef" * 2, **fields})

    async def follow(self, answer: httpx.Response) -> str:
        assert answer.status_code == 303, answer.text
        return (await self.client.get(answer.headers["location"].partition("#")[0])).text

    async def read(self, answer: httpx.Response) -> Task:
        assert answer.status_code == 303, answer.text
        ref = answer.headers["location"].removeprefix("/tasks/").partition("?")[0]
        return (await self.web.parts.store.tasks.get([ref]))[ref]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with near(tmp_path, public_url="https://receiver.example.com") as web, logged_in(web) as client:
        async with web.parts.store.write() as tx:
            await tx.tasks.insert([HERO])
            await tx.tasks.add_images(
                [(HERO.ref, Image(n, f"https://p.example/{n}", job_id="job-0")) for n in range(4)]
            )
        yield Place(web, client)


@pytest.mark.parametrize("name", MODELS)
async def test_every_model_has_a_form_that_makes_its_task(place: Place, name: str) -> None:
    model, params = MODELS[name], good_params(name, optional=True)
    page = (await place.client.get("/new", params={"model": name})).text
    for field in model.fields:
        assert f'name="{field.name}"' in page
    task = await place.read(await place.post(model=name, **write_typed(model, params)))
    assert (task.model, task.params) == (name, check_params(name, params))


async def test_without_a_model_it_is_the_one_that_makes_pictures(place: Place) -> None:
    for query in ("", "?model=", "?model=nonsense", "?model=<script>"):
        page = (await place.client.get(f"/new{query}")).text
        assert re.search(r'<option value="diffusion" selected>', page)
        assert "<script>" not in page


async def test_the_address_fills_the_form(place: Place) -> None:
    page = (await place.client.get("/new?model=pan&direction=up&scale=1.4&label=x&jobId=%22%3E%3Cb%3E")).text
    assert re.search(r'name="direction" value="up" checked', page)
    assert re.search(r'name="scale-exact"[^>]*value="1.4"', page)
    assert 'value="&#34;&gt;&lt;b&gt;"' in page


async def test_what_is_wrong_is_said_and_kept(place: Place) -> None:
    answer = await place.post(model="edit", jobId="a-job", imageNo="1", canvas="big", remixPrompt="<i>sky")
    assert answer.status_code == 422
    assert '<a href="#f-canvas">Canvas must be a width and a height' in answer.text
    assert "Position is missing." in answer.text
    assert re.search(r'name="canvas"[^>]*value="big"[^>]*aria-invalid="true"', answer.text)
    assert "&lt;i&gt;sky</textarea>" in answer.text
    assert "receiver submit edit --help" in answer.text


async def test_a_task_can_go_on_from_a_picture_with_any_model(place: Place) -> None:
    page = (await place.client.get("/new", params={"from": HERO.ref, "image": "2", "model": "inpaint"})).text
    assert "he&lt;b&gt;ro" in page
    assert 'name="jobId"' not in page
    assert re.search(r'name="image" form="go" value="2" checked', page)
    mask = '{"areas":[{"width":500,"height":500,"points":[0,0,1,0,1,1]}]}'
    task = await place.read(await place.post(model="midjourney_inpaint", image="3", mask=mask, **{"from": HERO.ref}))
    assert (task.parent, task.parent_image) == (HERO.ref, 3)
    assert msgspec.json.decode(task.params) == {"mask": msgspec.json.decode(mask)}


async def test_a_model_that_takes_the_whole_job_needs_no_picture(place: Place) -> None:
    task = await place.read(await place.post(model="midjourney_reroll", **{"from": HERO.ref}))
    assert task.parent == HERO.ref


async def test_a_task_without_pictures_yet_is_gone_on_from_by_a_pick(place: Place) -> None:
    waiting = replace(HERO, ref=a_ref(), state=TaskState.WAITING, settled_at=None)
    async with place.web.parts.store.write() as tx:
        await tx.tasks.insert([waiting])
    task = await place.read(await place.post(model="midjourney_upscale", type="creative", **{"from": waiting.ref}))
    assert (task.parent_image, task.held_by) == (None, HoldReason.PARENT)


@pytest.mark.parametrize("ref", ["nonsense", a_ref(), "<b>"])
async def test_a_task_that_is_not_there_cannot_be_gone_on_from(place: Place, ref: str) -> None:
    assert (await place.client.get("/new", params={"from": ref})).status_code == 404
    assert (await place.post(model="midjourney_upscale", type="standard", **{"from": ref})).status_code == 404


async def test_what_nobody_can_call_back_is_asked_for(tmp_path: Path) -> None:
    async with near(tmp_path, provider_url="https://provider.example/generation") as web, logged_in(web) as client:
        place = Place(web, client)
        assert 'name="poll_only" value="1" checked' in (await client.get("/new")).text
        refused = await place.post(model="diffusion", text="a cat")
        assert (refused.status_code, 'name="poll_only" value="1">' in refused.text) == (422, True)
        assert (await place.read(await place.post(model="diffusion", text="a cat", poll_only="1"))).poll_only


async def test_nobody_else_sees_or_sends_it(place: Place) -> None:
    stranger = httpx.AsyncClient(transport=place.client._transport, base_url="http://receiver")
    for answer in (await stranger.get("/new"), await stranger.post("/new", data={"model": "diffusion", "text": "a"})):
        assert (answer.status_code, answer.headers["location"].startswith("/login")) == (303, True)
    assert (await place.client.post("/new", data={"model": "diffusion", "text": "a"})).status_code == 403


# -- another model, chosen while the form is that of the one before --


async def test_a_form_is_not_sent_as_that_of_another_model(place: Place) -> None:
    """Who chooses a model and presses Submit means that model, and has not seen its form."""
    answer = await place.post(model="V8.1_t2i", shown="midjourney_diffusion", text="a <b>lighthouse", label="mine")
    assert answer.status_code == 422
    assert "The form was still that of diffusion. This is that of V8.1_t2i: look it over, and submit it." in answer.text
    assert re.search(r'<option value="V8.1_t2i" selected', answer.text)
    assert "a &lt;b&gt;lighthouse</textarea>" in answer.text
    assert 'value="mine"' in answer.text
    assert await place.web.parts.store.tasks.get([HERO.ref]) == {HERO.ref: HERO}
    made = await place.post(model="V8.1_t2i", shown="midjourney_V8.1_t2i", text="a lighthouse")
    assert (await place.read(made)).model == "midjourney_V8.1_t2i"


async def test_what_was_typed_goes_along_to_the_form_of_another_model(place: Place) -> None:
    text, shown = "a lighthouse, “wide” & high", "midjourney_diffusion"
    for model in ("video_diffusion", "V8.1_t2i", "outpaint"):
        page = await place.follow(await place.post(model=model, shown=shown, show="1", text=text, label="mine"))
        assert re.search(rf'<option value="{model}" selected', page)
        assert "a lighthouse, “wide” &amp; high" in page
        assert re.search(r'name="label"[^>]*value="mine"', page)


async def test_a_long_prompt_goes_along_too(place: Place) -> None:
    text = "山" * 8_000
    answer = await place.post(model="V8.1_t2i", shown="diffusion", show="1", text=text)
    assert (answer.status_code, text in answer.text) == (200, True)
    assert "This was not sent" not in answer.text


async def test_a_value_that_the_other_model_does_not_take_stays_behind(place: Place) -> None:
    given = {"jobId": "job", "imageNo": "2", "scale": "2.9", "scale-exact": "2.9", "direction": "up"}
    page = await place.follow(await place.post(model="outpaint", shown="pan", show="1", **given))
    assert re.search(r'name="jobId"[^>]*value="job"', page)
    assert re.search(r'name="scale-exact"[^>]*value="1.5"', page)


async def test_the_picture_and_who_is_told_go_along(place: Place) -> None:
    fields = {"from": HERO.ref, "image": "3", "told": "1", "scale": "1.7", "scale-exact": "1.7"}
    page = await place.follow(await place.post(model="pan", shown="midjourney_outpaint", show="1", **fields))
    assert re.search(r'name="image" form="go" value="3" checked', page)
    assert re.search(r'name="scale-exact"[^>]*value="1.7"', page)
    assert 'name="from" value="' + HERO.ref in page


async def test_enter_in_a_field_submits_the_form(place: Place) -> None:
    """A browser presses the first button of a form, which must not be the one that shows another model."""
    page = (await place.client.get("/new")).text
    buttons = re.findall(r'<button[^>]*form="go"[^>]*>', page)
    assert 'name="show"' not in buttons[0]
    assert "hidden" in buttons[0]


# -- twice --


async def test_the_form_that_comes_back_is_the_same_one(place: Place) -> None:
    key = "0123456789abcdef"
    page = (await place.client.get(f"/new?key={key}")).text
    assert f'name="key" value="{key}"' in page
    first = await place.post(model="diffusion", text="a cat", key=key)
    again = await place.post(model="diffusion", text="a cat", key=key)
    assert first.headers["location"] + "?done=before#done" == again.headers["location"]
    said = "That form was sent before, and this task is what it made. Nothing new was sent."
    assert said in await place.follow(again)
    assert (await place.read(await place.post(model="diffusion", text="a dog", key=key))).ref not in str(first.headers)


@pytest.mark.parametrize("key", ["x", "<b>", "0123", "0" * 100])
async def test_a_key_in_the_address_that_is_none_is_not_used(place: Place, key: str) -> None:
    page = (await place.client.get("/new", params={"key": key})).text
    assert re.search(r'name="key" value="[0-9a-f]{16,64}"', page)
    assert f'value="{key}"' not in page


# -- tips --


async def test_what_is_probably_a_mistake_is_said_after_it_was_sent(place: Place) -> None:
    answer = await place.post(model="diffusion", text="a <b>cat --ar 3x2 --v7")
    page = await place.follow(answer)
    tips = param_hints("midjourney_diffusion", {"text": "a <b>cat --ar 3x2 --v7"})
    assert len(tips) == 2
    assert "It is submitted as it is, but look at this again:" in page
    for tip in tips:
        assert curl(tip[1:]) in html.unescape(page)
    assert "look at this again" not in await place.follow(await place.post(model="diffusion", text="a cat"))


# -- from a picture --


@pytest.mark.parametrize("model", ["pan", "upscale", "retexture"])
async def test_who_must_type_a_job_id_is_shown_an_easier_way(place: Place, model: str) -> None:
    page = (await place.client.get("/new", params={"model": model})).text
    assert 'Or choose the picture in the <a href="/">gallery</a>' in page
    assert "Or choose the picture" not in (await place.client.get("/new?model=diffusion")).text
    assert "Or choose the picture" not in (await place.client.get(f"/new?model={model}&from={HERO.ref}")).text
