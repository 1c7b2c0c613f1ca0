"""Share links: what a stranger sees and never learns, how long, and who can make one."""

import io
import re
import zipfile
from collections.abc import AsyncIterator
from decimal import Decimal
from html import unescape
from pathlib import Path

import httpx
import pytest
from msgspec import Struct
from msgspec.structs import replace

from kit.fakes import NOW, Clock
from kit.pages import logged_in, post_form
from kit.web import Served, near
from receiver.core.types import ArchiveState, Image, ImageCopy, StepKind, Task, TaskState, Usage
from receiver.pictures.share_links import Share, share_token
from receiver.tokens import new_ref

pytestmark = pytest.mark.anyio

DAY_MS = 86_400_000
REF = new_ref(NOW, b"0123456789")
TASK = Task(
    ref=REF,
    created_at=NOW,
    provider="vtrix",
    model="midjourney_outpaint",
    label="hero",
    prompt="a small house on the shore",
    task_id="prov-secret-17",
    state=TaskState.COMPLETED,
    submitted_at=NOW,
    settled_at=NOW + 58_000,
    usage=Usage(cost=Decimal("0.05")),
)
GONE = "There is nothing here, or the link has ended"
HOSTILE = '<script>alert(1)</script><img src=x onerror="x">\u202e"\''


class Place(Struct, eq=False):
    """A service with a task of four pictures, a browser that is logged in, and one that is not."""

    web: Served
    clock: Clock
    browser: httpx.AsyncClient
    stranger: httpx.AsyncClient

    def path(self, days: int = 7, ref: str = REF, *, with_prompt: bool = False) -> str:
        """Of a good link."""
        share = Share(ref, NOW // 1000 * 1000 + days * DAY_MS, with_prompt)
        return f"/s/{share_token(self.web.parts.ring, share)}"

    async def change(self, **more: object) -> None:
        """Give the task other values."""
        tasks = self.web.parts.store.tasks
        task = (await tasks.get([REF]))[REF]
        async with self.web.parts.store.write() as tx:
            await tx.tasks.update([(task, replace(task, **more))])


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    clock = Clock()
    async with near(tmp_path, clock=clock, public_url="https://pings.example") as web, logged_in(web) as browser:
        async with web.parts.store.write() as tx:
            await tx.tasks.insert([TASK])
            for number in range(4):
                name = f"{number}.png"
                await tx.tasks.add_images([(REF, Image(number, f"https://pics.example/{name}", job_id="job-secret"))])
                copy = ImageCopy(number, name, size=9, media_type="image/png", width=1024, height=768)
                await tx.copies.upsert([(REF, replace(copy, small=f"{number}.small.jpg"))])
        for number in range(4):
            await web.parts.files.save_file(REF, f"{number}.png", b"picture %d" % number)
            await web.parts.files.save_file(REF, f"{number}.small.jpg", b"small %d" % number)
        async with httpx.AsyncClient(transport=web.client._transport, base_url="http://receiver") as stranger:
            yield Place(web, clock, browser, stranger)


def sources(page: str) -> list[str]:
    """The addresses of all pictures and videos of a page."""
    return [unescape(it) for it in re.findall(r'<(?:img|video) src="([^"]*)"', page)]


async def copied(place: Place, *copies: ImageCopy) -> None:
    async with place.web.parts.store.write() as tx:
        await tx.copies.upsert([(REF, it) for it in copies])


async def test_a_stranger_sees_every_picture_with_nothing_but_the_link(place: Place) -> None:
    shown = await place.stranger.get(place.path())

    assert shown.status_code == 200
    assert len(sources(shown.text)) == 4
    for number, source in enumerate(sources(shown.text)):
        assert (await place.stranger.get(source)).content == b"picture %d" % number
    [small] = {unescape(it) for it in re.findall(r'srcset="(/images/[^ ]*/0\.small\.jpg[^ ]*) 512w, ', shown.text)}
    assert (await place.stranger.get(small)).content == b"small 0"
    assert 'alt="Picture 1 of 4" width="1024" height="768" fetchpriority="high"' in shown.text
    assert shown.text.count('loading="lazy"') == 2
    assert "Download all 4" in shown.text
    assert "This link ends on" in shown.text


async def test_a_stranger_learns_nothing_else(place: Place) -> None:
    text = (await place.stranger.get(place.path())).text

    for secret in (
        "house",
        "0.05",
        "outpaint",
        "vtrix",
        "prov-secret",
        "job-secret",
        "pics.example",
        "<script",
        "<nav",
    ):
        assert secret not in text, secret
    assert f">{REF}" not in text


async def test_whoever_is_logged_in_sees_what_strangers_see(place: Place) -> None:
    assert (await place.browser.get(place.path())).text == (await place.stranger.get(place.path())).text


async def test_its_headers_keep_it_among_those_who_have_the_link(place: Place) -> None:
    for path in (place.path(), "/s/false"):
        headers = (await place.stranger.get(path)).headers
        assert headers["cache-control"] == "private"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-robots-tag"] == "noindex"
        assert headers["content-security-policy"].startswith("default-src 'self'")
    assert '<meta name="robots" content="noindex">' in (await place.stranger.get(place.path())).text


async def test_a_link_and_all_that_hangs_on_it_end_together(place: Place) -> None:
    path = place.path(days=1)
    picture = sources((await place.stranger.get(path)).text)[0]

    place.clock.forward(DAY_MS - 1_000)
    assert (await place.stranger.get(path)).status_code == 200
    assert (await place.stranger.get(picture)).status_code == 200
    place.clock.forward(1_000)
    ended, false = await place.stranger.get(path), await place.stranger.get("/s/false")
    assert (ended.status_code, false.status_code) == (404, 404)
    assert GONE in ended.text
    assert ended.text == false.text
    assert (await place.stranger.get(picture)).status_code == 404
    assert (await place.stranger.get(f"{path}/pictures.zip")).status_code == 404


async def test_a_link_to_a_task_that_is_gone_says_no_more_than_a_false_one(place: Place) -> None:
    gone = await place.stranger.get(place.path(ref=new_ref(NOW, b"9876543210")))

    assert gone.status_code == 404
    assert gone.text == (await place.stranger.get("/s/false")).text


async def test_the_prompt_is_shown_only_if_it_was_chosen(place: Place) -> None:
    await place.change(label=None)
    with_prompt = (await place.stranger.get(place.path(with_prompt=True))).text
    without = (await place.stranger.get(place.path())).text

    assert '<p class="prompt"><bdi>a small house on the shore</bdi></p>' in with_prompt
    assert 'alt="Picture 2 of 4: a small house on the shore"' in with_prompt
    assert "house" not in without
    assert "<h1><bdi>4 pictures</bdi></h1>" in without
    names = [
        unescape(it.headers["content-disposition"])
        for it in [await place.stranger.head(f"{place.path(with_prompt=it)}/pictures.zip") for it in (True, False)]
    ]
    assert ["house" in it for it in names] == [True, False]


async def test_hostile_words_are_words(place: Place) -> None:
    await place.change(label=HOSTILE, prompt=HOSTILE * 100)
    text = (await place.stranger.get(place.path(with_prompt=True))).text

    assert "<script" not in text
    assert "<img src=x" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


async def test_all_pictures_can_be_downloaded(place: Place) -> None:
    answer = await place.stranger.get(f"{place.path()}/pictures.zip")

    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        assert {it: opened.read(it) for it in opened.namelist()} == {
            f"hero-{it}.png": b"picture %d" % it for it in range(4)
        }


async def test_a_look_at_its_head_sends_no_page(place: Place) -> None:
    assert (await place.stranger.head(place.path())).status_code == 200
    assert (await place.stranger.head("/s/false")).status_code == 404
    assert (await place.stranger.post(place.path())).status_code == 405


async def test_what_is_no_picture_is_played_or_downloaded(place: Place) -> None:
    await copied(
        place,
        ImageCopy(0, "0.mp4", media_type="video/mp4"),
        ImageCopy(1, "1.svg", media_type="image/svg+xml"),
        ImageCopy(2, "2.tif", media_type="image/tiff", width=9, height=9, small="2.small.jpg"),
        ImageCopy(3, "3.png", media_type="image/png", error="damaged"),
    )
    text = unescape((await place.stranger.get(place.path())).text)

    assert re.search(r'<video src="/images/[^"]*/0\.mp4\?[^"]*" controls preload="metadata"', text)
    assert 'download="hero-1.svg">Download picture 2 of 4 (SVG drawing)</a>' in text
    assert 'download="hero-2.tif">Download picture 3 of 4 (TIFF picture)</a>' in text
    assert 'download="hero-3.png">Download picture 4 of 4 (PNG picture)</a>' in text
    assert "<img" not in text


async def test_what_is_missing_is_said_in_its_place(place: Place) -> None:
    await copied(place, ImageCopy(1, error="10.0.0.1 answered HTTP 404"))
    text = (await place.stranger.get(place.path())).text

    assert "Picture 2 of 4 was not kept." in text
    assert "Download all 3" in text
    assert "10.0.0.1" not in text


@pytest.mark.parametrize(
    ("archive", "says"),
    [
        (ArchiveState.DUE, "The pictures are not here yet."),
        (ArchiveState.FAILED, "There are no pictures here any more."),
    ],
)
async def test_without_any_picture_it_says_so(place: Place, archive: ArchiveState, says: str) -> None:
    await copied(place, *(ImageCopy(number, error="gone") for number in range(4)))
    await place.change(archive=archive)
    shown = await place.stranger.get(place.path())

    assert shown.status_code == 200
    assert says in shown.text
    assert "Download" not in shown.text


async def test_a_single_picture_is_downloaded_as_it_is(place: Place) -> None:
    await copied(place, *(ImageCopy(number, error="gone") for number in (0, 2, 3)))
    text = (await place.stranger.get(place.path())).text

    assert 'download="hero-1.png">Download</a>' in text
    assert "pictures.zip" not in text


# -- making one --


async def test_a_link_is_made_and_shown_once(place: Place) -> None:
    made = await post_form(place.browser, f"/tasks/{REF}/share", days="7", prompt="1")

    assert made.status_code == 200
    assert "Whoever has this link sees the 4 pictures and the prompt until" in made.text
    [link] = re.findall(r'<input id="link" [^>]*value="https://pings.example(/s/[^"]*)" readonly', made.text)
    assert made.headers["cache-control"] == "no-store"
    [step] = await place.web.parts.store.steps.of(REF)
    assert (step.kind, step.text, link in str(step)) == (StepKind.SHARED, "5 January 2026", False)
    shown = await place.stranger.get(link)
    assert (shown.status_code, "house" in shown.text) == (200, True)
    place.clock.forward(7 * DAY_MS - 1_000)
    assert (await place.stranger.get(link)).status_code == 200
    place.clock.forward(2_000)
    assert (await place.stranger.get(link)).status_code == 404


@pytest.mark.parametrize("days", ["", "0", "2", "365", "-1", "7 ", "NaN", "9" * 400])
async def test_it_lasts_as_long_as_a_link_can_and_no_other_time(place: Place, days: str) -> None:
    refused = await post_form(place.browser, f"/tasks/{REF}/share", days=days)

    assert refused.status_code == 422
    assert "A link lasts 1, 7 or 30 days." in refused.text


async def test_nothing_is_shared_that_is_not_there(place: Place) -> None:
    await copied(place, *(ImageCopy(number, error="gone") for number in range(4)))

    assert (await post_form(place.browser, f"/tasks/{REF}/share", days="7")).status_code == 409
    assert (await post_form(place.browser, f"/tasks/{new_ref(NOW)}/share", days="7")).status_code == 404
    assert (await post_form(place.browser, "/tasks/nobody/share", days="7")).status_code == 404


async def test_only_a_form_of_ours_makes_one(place: Place) -> None:
    path = f"/tasks/{REF}/share"

    assert (await place.browser.post(path, data={"days": "7"})).status_code == 403
    elsewhere = await place.browser.post(path, data={"days": "7"}, headers={"Origin": "https://evil.example"})
    assert elsewhere.status_code == 403
    assert (await place.stranger.post(path, data={"days": "7"})).status_code == 303
    assert (await place.browser.get(path)).status_code in (404, 405)
