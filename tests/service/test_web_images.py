"""Pictures over HTTP: who may see them, what a browser is told of them, and that nothing else is ever shown."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from msgspec import Struct

from kit.fakes import NOW, Clock
from kit.pages import logged_in
from kit.web import Served, near, problem, served
from receiver.pictures.files import SHEET
from receiver.pictures.signed_links import LASTS_S
from receiver.tokens import new_ref

pytestmark = pytest.mark.anyio

REF = new_ref(NOW, b"0123456789")
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 1000
NOT_THERE = (404, "not_found", None)


class Place(Struct, eq=False):
    """A service with one picture in its archive, and the path of a good link to it."""

    web: Served
    clock: Clock
    link: str
    anybody: httpx.AsyncClient


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    clock = Clock()
    async with near(tmp_path, clock=clock, public_url="https://pings.example") as web:
        await web.parts.files.save_file(REF, "0.png", PNG)
        link = urlsplit(web.parts.links.image_url(REF, "0.png") or "")
        transport = web.client._transport
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as anybody:
            yield Place(web, clock, f"{link.path}?{link.query}", anybody)


async def test_a_signed_link_shows_its_picture_to_anybody_until_it_ends(place: Place) -> None:
    shown = await place.anybody.get(place.link)

    assert (shown.status_code, shown.content) == (200, PNG)
    place.clock.forward((LASTS_S + 86_400) * 1000)
    assert problem(await place.anybody.get(place.link)) == NOT_THERE


async def test_a_token_shows_every_picture(place: Place) -> None:
    path = urlsplit(place.link).path

    assert (await place.web.client.get(path)).content == PNG
    assert problem(await place.anybody.get(path)) == NOT_THERE
    wrong = {"Authorization": "Bearer not-the-token-at-all-0001"}
    assert problem(await place.anybody.get(path, headers=wrong)) == NOT_THERE


async def test_no_browser_takes_a_picture_for_anything_else(place: Place) -> None:
    headers = (await place.anybody.get(place.link)).headers

    assert headers["content-type"] == "image/png"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert headers["cache-control"] == "private, max-age=86400, immutable"
    assert headers["content-length"] == str(len(PNG))


@pytest.mark.parametrize("suffix", ["mp4", "webm", "mov"])
async def test_a_browser_may_play_a_video_and_still_run_nothing(place: Place, suffix: str) -> None:
    """It wraps the video in a page, whose own load of the file needs the same origin. Tried with Chromium 156."""
    await place.web.parts.files.save_file(REF, f"0.{suffix}", b"film")
    headers = (await place.web.client.get(f"/images/{REF}/0.{suffix}")).headers

    assert headers["content-type"].startswith("video/")
    assert headers["x-content-type-options"] == "nosniff"
    policy = headers["content-security-policy"]
    assert policy == "sandbox allow-same-origin; default-src 'none'; media-src 'self'"


async def test_a_contact_sheet_is_asked_for_anew(place: Place) -> None:
    """It is drawn again under its name when more pictures have come."""
    await place.web.parts.files.save_file(REF, SHEET, PNG)
    shown = await place.web.client.get(f"/images/{REF}/{SHEET}")
    assert (shown.status_code, shown.headers["cache-control"]) == (200, "private, no-cache")


async def test_a_picture_that_is_known_is_not_sent_again(place: Place) -> None:
    tag = (await place.anybody.get(place.link)).headers["etag"]

    for known in (tag, f'"other", {tag}', f"W/{tag}"):
        again = await place.anybody.get(place.link, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await place.anybody.get(place.link, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_a_part_of_a_film_can_be_asked_for(place: Place) -> None:
    part = await place.anybody.get(place.link, headers={"Range": "bytes=1-3"})

    assert (part.status_code, part.content) == (206, b"PNG")
    assert part.headers["content-range"] == f"bytes 1-3/{len(PNG)}"
    assert part.headers["x-content-type-options"] == "nosniff"


async def test_a_look_at_its_head_sends_no_picture(place: Place) -> None:
    head = await place.anybody.head(place.link)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(PNG))
    assert (await place.anybody.post(place.link)).status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        f"/images/{REF}/1.png",
        f"/images/{REF}/0.small.jpg",
        f"/images/{REF}/",
        f"/images/{REF}",
        "/images/",
        f"/images/{REF}/0.png/",
        f"/images/{REF}/..%2f..%2freceiver.toml",
        f"/images/..%2f..%2f/{REF}",
        "/images/../receiver.toml",
        "/images/%2e%2e/receiver.toml",
        "/images/parts/x.part",
        f"/images/{REF}/0.png%00.html",
        f"/images/{REF.upper()}/0.png",
        f"/images/{REF}/0.svg",
        "/images//etc/passwd",
    ],
)
async def test_nothing_but_the_archive_s_own_files_is_shown(place: Place, path: str) -> None:
    """With a token too, and all of it in the same words."""
    answer = await place.web.client.get(path)

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


async def test_a_link_for_a_file_that_is_gone_says_no_more_than_any_other(place: Place) -> None:
    gone = urlsplit(place.web.parts.links.image_url(REF, "7.png") or "")

    signed = await place.anybody.get(f"{gone.path}?{gone.query}")
    forged = await place.anybody.get(place.link[:-1] + ("A" if place.link[-1] != "A" else "B"))

    assert signed.json() == forged.json()
    assert problem(signed) == NOT_THERE


async def test_a_picture_goes_out_whole_over_a_real_connection(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        content = PNG * 100
        await web.parts.files.save_file(REF, "1.png", content)

        assert (await web.client.get(f"/images/{REF}/1.png")).content == content


async def test_a_session_shows_every_picture_on_our_own_pages_alone(place: Place) -> None:
    """Its cookie comes with what other sites on this host load as well."""
    path = urlsplit(place.link).path
    async with logged_in(place.web) as browser:
        shown = await browser.get(path)
        cut = await browser.get(path, headers={"Cookie": f"{browser.headers['cookie'][:-1]}"})
        by_link = await browser.get(place.link)

    assert (shown.status_code, shown.content) == (200, PNG)
    assert shown.headers["cross-origin-resource-policy"] == "same-origin"
    assert shown.headers["vary"] == "Cookie"
    assert problem(cut) == NOT_THERE
    assert by_link.headers["cross-origin-resource-policy"] == "cross-origin"
