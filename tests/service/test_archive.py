"""The loop that keeps pictures: what it records, when it tries again, and that no ping waits for it in vain."""

import asyncio
import hashlib
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from kit.archive_loop import DONE, JPEG, PICTURE_WAIT, Archiving, Site, answer, archiving, links, owed, png, serving
from kit.fakes import NOW, a_task, got, put, says
from kit.listening import Behave
from kit.live_service import PATIENCE_S
from kit.provider_server import hang
from receiver.core.types import ArchiveState, Ending, Image, ImageCopy, OutcomeSource, Policy, Target, TaskState
from receiver.pictures import fetch
from receiver.pictures.archive import SCHEDULE_MS, SPACING_MS
from receiver.pictures.drawing.protocol import SHEET_PICTURES_MOST, ContactSheet
from receiver.pictures.files import SHEET
from receiver.pictures.round_leases import LEASE_MS
from receiver.service import worker
from receiver.store import Store, open_store
from receiver.tasks.settle import TaskBatch

pytestmark = pytest.mark.anyio


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving(pictures=4) as serves:
        yield serves


@pytest.fixture
async def rig(store: Store, tmp_path: Path) -> AsyncIterator[Archiving]:
    async with archiving(store, tmp_path) as opened:
        yield opened


def copy_of(number: int, **more: object) -> ImageCopy:
    """What is to be recorded of the site's picture of that number."""
    content = png(number)
    kept = {"file": f"{number}.png", "sha256": hashlib.sha256(content).digest(), "size": len(content)}
    small = {"width": 1024, "height": 768, "small": f"{number}.small.jpg", "tiny": f"{number}.tiny.jpg"}
    return ImageCopy(**{"image_no": number, "media_type": "image/png", **kept, **small, **more})  # type: ignore[arg-type]


async def test_all_pictures_are_kept_with_thumbnails_and_a_contact_sheet(rig: Archiving, site: Site) -> None:
    ref = await owed(rig.store, links(site))
    assert await rig.round()
    assert await rig.state(ref) == DONE
    assert await rig.copies(ref) == [copy_of(number) for number in range(4)]
    assert rig.held(ref) == sorted(
        [*(f"{n}{it}" for n in range(4) for it in (".png", ".small.jpg", ".tiny.jpg")), SHEET]
    )
    sheet, first = rig.files.find_file(ref, SHEET), rig.files.find_file(ref, "0.png")
    assert sheet is not None
    assert first is not None
    assert (sheet.read_bytes(), first.read_bytes()) == (JPEG + b"0 1 2 3", png(0))
    assert rig.drawer.asked == [["0", "1", "2", "3"]]
    assert site.asked == [f"/{number}.png" for number in range(4)]
    assert not await rig.round()


async def test_the_notices_go_as_soon_as_the_pictures_are_here(rig: Archiving, site: Site) -> None:
    ref = await owed(rig.store, links(site))
    assert await rig.waits(ref) == PICTURE_WAIT
    await rig.round()
    assert await rig.waits(ref) == 0


async def test_a_tls_connection_that_breaks_in_the_midst_ends_a_round_like_any_other(
    rig: Archiving, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """httpx lets such an error of OpenSSL's through; a round that is not counted would be tried without an end."""

    async def breaks(response: httpx.Response) -> AsyncIterator[bytes]:
        yield png(0)[:100]
        raise ssl.SSLError("record layer failure")

    ref = await owed(rig.store, links(site))
    with monkeypatch.context() as patched:
        patched.setattr(httpx.Response, "aiter_raw", breaks)
        await rig.round()
    assert await rig.state(ref) == (ArchiveState.DUE, SCHEDULE_MS[0], 1)
    rig.clock.forward(SCHEDULE_MS[0])
    await rig.round()
    assert (await rig.state(ref))[0] is ArchiveState.DONE


async def test_a_settled_task_owes_its_pictures(rig: Archiving, site: Site) -> None:
    """From the outcome to the copy, the loop woken by the commit."""
    task = a_task(TaskState.WAITING)
    ref = task.ref
    await put(rig.store, task)
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run_loops([rig.loop], rig.store, rig.clock, stop))
    listener = rig.store.open_listener()
    async with rig.store.write() as tx:
        book = await TaskBatch.read_tasks(tx, [ref], Policy(targets=(Target(name="t", url="json://t/"),)), NOW)
        book.apply_outcome(ref, says(Ending.COMPLETED, images=()), OutcomeSource.POLL)
        assert book.tasks[ref].archive is None
        images = tuple(Image(number, link) for number, link in enumerate(links(site, 2)))
        book.apply_outcome(ref, says(Ending.COMPLETED, images=images), OutcomeSource.POLL)
        await book.write_back()
    async with asyncio.timeout(PATIENCE_S):
        while (await got(rig.store, ref)).archive is not ArchiveState.DONE:
            await listener.take_refs(1)
    stop.set()
    await running
    assert [it.file for it in await rig.copies(ref)] == ["0.png", "1.png"]


# What does not come


async def test_a_failed_first_round_lets_the_notices_go_and_there_is_another(rig: Archiving, site: Site) -> None:
    """What came is on the contact sheet meanwhile; when the last one comes, it is drawn anew."""
    site.at["/1.png"] = [answer(b"", 503), answer(png(1))]
    ref = await owed(rig.store, links(site))
    await rig.round()
    assert await rig.state(ref) == (ArchiveState.DUE, SCHEDULE_MS[0], 1)
    assert await rig.waits(ref) == 0
    assert [it.image_no for it in await rig.copies(ref)] == [0, 2, 3]
    assert not await rig.round(), "it is not due"
    rig.clock.forward(SCHEDULE_MS[0])
    await rig.round()
    assert await rig.state(ref) == (ArchiveState.DONE, None, 1)
    assert await rig.copies(ref) == [copy_of(number) for number in range(4)]
    assert rig.drawer.asked == [["0", "2", "3"], ["0", "1", "2", "3"]]
    assert site.asked == ["/0.png", "/1.png", "/2.png", "/3.png", "/1.png"]


async def test_where_nothing_came_nothing_is_drawn_and_the_notices_go(rig: Archiving, site: Site) -> None:
    site.at["/0.png"] = answer(b"", 503)
    ref = await owed(rig.store, links(site, 1))
    await rig.round()
    assert (await rig.state(ref), await rig.waits(ref)) == ((ArchiveState.DUE, SCHEDULE_MS[0], 1), 0)
    assert rig.drawer.asked == []
    assert rig.held(ref) == []


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ("http://169.254.169.254/secret", "169.254.169.254 is at 169.254.169.254, which is not public (link-local)"),
        ("http://127.0.0.2/secret", "127.0.0.2 is at 127.0.0.2, which is not public (loopback)"),
        ("http://user@cdn.example/secret", "the link contains a user name"),
        ("{site}/gone", "127.0.0.1 answered HTTP 410"),
    ],
)
async def test_what_is_refused_for_good_is_not_asked_for_again(
    rig: Archiving, site: Site, link: str, says: str
) -> None:
    """The others are kept all the same, and what was wrong with it is told."""
    site.at["/gone"] = answer(b"", 410)
    ref = await owed(rig.store, [link.format(site=site.link("")), site.link("/1.png")])
    alone = await owed(rig.store, [link.format(site=site.link(""))])
    while await rig.round():
        pass
    assert await rig.state(ref) == DONE
    assert await rig.copies(ref) == [ImageCopy(0, error=says), copy_of(1)]
    assert await rig.state(alone) == (ArchiveState.FAILED, None, 0)
    assert await rig.copies(alone) == [ImageCopy(0, error=says)]
    assert await rig.waits(alone) == await rig.waits(ref) == 0


async def test_after_the_last_round_it_is_given_up_and_says_why(rig: Archiving, site: Site) -> None:
    """With one picture kept it is done; without any it has failed."""
    for number in (1, 2):
        site.at[f"/{number}.png"] = answer(b"", 503)
    some, none = await owed(rig.store, links(site, 2)), await owed(rig.store, [site.link("/2.png")])
    for number, gap in enumerate((*SCHEDULE_MS, None), 1):
        assert await rig.round()
        assert await rig.round()
        if gap is not None:
            assert await rig.state(some) == await rig.state(none) == (ArchiveState.DUE, gap, number)
            rig.clock.forward(gap)
    assert await rig.state(some) == (ArchiveState.DONE, None, 6)
    assert await rig.copies(some) == [copy_of(0), ImageCopy(1, error="127.0.0.1 answered HTTP 503")]
    assert await rig.state(none) == (ArchiveState.FAILED, None, 6)
    assert rig.drawer.asked == [["0"]]


async def test_a_silent_host_is_asked_once_a_round(rig: Archiving, site: Site) -> None:
    """Not for each of its pictures, one time limit after the other."""
    asked = await serving_nothing()
    ref = await owed(rig.store, [f"http://127.0.0.1:{asked}/{n}" for n in range(3)] + [site.link("/3.png")])
    await rig.round()
    assert await rig.state(ref) == (ArchiveState.DUE, SCHEDULE_MS[0], 1)
    assert [it.image_no for it in await rig.copies(ref)] == [3]


async def serving_nothing() -> int:
    """A port that nobody listens on."""
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


# Drawing


async def test_a_tampered_picture_fails_its_own_thumbnail_and_nothing_else(rig: Archiving, site: Site) -> None:
    rig.drawer.errors["1"] = "it is damaged"
    ref = await owed(rig.store, links(site, 3))
    await rig.round()
    assert await rig.state(ref) == DONE
    broken = copy_of(1, width=None, height=None, small=None, tiny=None, error="it is damaged")
    assert await rig.copies(ref) == [copy_of(0), broken, copy_of(2)]


async def test_what_could_not_be_drawn_is_drawn_again_and_not_fetched(rig: Archiving, site: Site) -> None:
    rig.drawer.fails = [OSError("no process"), ContactSheet(error="no time")]
    ref = await owed(rig.store, links(site, 2))
    await rig.round()
    assert (await rig.state(ref), await rig.waits(ref)) == ((ArchiveState.DUE, SCHEDULE_MS[0], 1), 0)
    for _ in range(2):
        rig.clock.forward(SCHEDULE_MS[1])
        await rig.round()
    assert await rig.state(ref) == (ArchiveState.DONE, None, 2)
    assert await rig.copies(ref) == [copy_of(0), copy_of(1)]
    assert site.asked == ["/0.png", "/1.png"]


async def test_where_nothing_can_ever_be_drawn_the_copies_are_enough(rig: Archiving, site: Site) -> None:
    rig.drawer.fails = [ContactSheet(error="no time")] * 9
    ref = await owed(rig.store, links(site, 1))
    for gap in (*SCHEDULE_MS, 0):
        await rig.round()
        rig.clock.forward(gap)
    assert await rig.state(ref) == (ArchiveState.DONE, None, 6)
    assert rig.held(ref) == ["0.png"]


async def test_more_pictures_than_a_sheet_takes_have_thumbnails_all_the_same(rig: Archiving, site: Site) -> None:
    site.at = {f"/{number}.png": answer(png(number)) for number in range(64)}
    ref = await owed(rig.store, links(site, 64))
    await rig.round()
    assert [len(it) for it in rig.drawer.asked] == [SHEET_PICTURES_MOST, 64 - SHEET_PICTURES_MOST]
    assert all(it.small for it in await rig.copies(ref))
    sheet = rig.files.find_file(ref, SHEET)
    assert sheet is not None
    assert sheet.read_bytes().endswith(b" 35")


async def test_films_are_kept_and_not_drawn(rig: Archiving, site: Site) -> None:
    film = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + b"\0" * 100
    site.at["/0.png"] = answer(film)
    ref = await owed(rig.store, links(site, 2))
    await rig.round()
    first, second = await rig.copies(ref)
    assert (first.file, first.media_type, first.small, first.error) == ("0.mp4", "video/mp4", None, None)
    assert second == copy_of(1)
    assert rig.drawer.asked == [["1"]]


# Whose turn it is


async def test_a_task_is_leased_and_the_lease_begins_anew_with_each_picture(rig: Archiving, site: Site) -> None:
    ref = await owed(rig.store, links(site, 2))
    site.before = lambda path: rig.clock.forward(60_000)
    task = await rig.loop.claim()
    assert task is not None
    assert await rig.state(ref) == (ArchiveState.DUE, LEASE_MS, 0)
    assert await rig.loop.next_due() == NOW + LEASE_MS
    async with rig.store.write() as tx:
        assert await tx.tasks.due_for_archive(NOW + LEASE_MS - 1) == []
    seen: list[int] = []
    site.at["/1.png"] = watched(rig, ref, seen)
    await rig.loop.carry_out(task)
    assert seen == [LEASE_MS - 60_000], "a minute ago, when the first was recorded"


def watched(rig: Archiving, ref: str, seen: list[int]) -> Behave:
    """A picture, and how long the lease still lasts when it is asked for."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await rig.state(ref))[1] or 0)
        writer.write(answer(png(1)))
        await writer.drain()

    return behave


async def test_first_rounds_go_first_and_one_place_is_theirs_alone(rig: Archiving, site: Site) -> None:
    again = [await owed(rig.store, links(site, 1), archive_at=NOW - 9, archive_tries=1) for _ in range(2)]
    first = await owed(rig.store, links(site, 1))
    taken = [await rig.loop.claim() for _ in range(3)]
    assert [it and it.ref for it in taken] == [first, again[0], None]
    assert await rig.loop.next_due() is None, "all places are taken: it is asked again when one falls free"
    for task in taken:
        if task is not None:
            await rig.loop.carry_out(task)
    while await rig.round():
        pass
    assert [await rig.state(it) for it in again] == [(ArchiveState.DONE, None, 1)] * 2


async def test_a_flood_of_tasks_is_begun_at_its_pace(store: Store, tmp_path: Path, site: Site) -> None:
    """Twenty a second. A clock that was put back meanwhile does not stop it."""
    async with archiving(store, tmp_path, spacing_ms=SPACING_MS) as rig:
        for _ in range(3):
            await owed(store, links(site, 1))
        assert await rig.round()
        assert not await rig.round()
        assert await rig.loop.next_due() == NOW + SPACING_MS
        rig.clock.forward(SPACING_MS)
        assert await rig.round()
        rig.clock.forward(-86_400_000)
        assert await rig.round()


async def test_a_start_takes_up_at_once_what_a_kill_left(tmp_path: Path, site: Site) -> None:
    """First rounds, that is: a ping may be waiting. A later one may be under way or not yet due, and keeps its time."""
    store = await open_store(tmp_path / "r.db")
    async with archiving(store, tmp_path) as before:
        first = await owed(store, links(site, 1))
        again = await owed(store, links(site, 1), archive_at=NOW + 5000, archive_tries=2)
        assert await before.loop.claim() is not None
    await store.close()
    store = await open_store(tmp_path / "r.db")
    async with archiving(store, tmp_path) as after:
        assert await after.round()
        assert not await after.round()
        assert await after.state(first) == DONE
        assert await after.state(again) == (ArchiveState.DUE, 5000, 2)
    await store.close()


async def test_a_clock_that_was_put_back_keeps_nothing_waiting(rig: Archiving, site: Site) -> None:
    site.at["/0.png"] = [answer(b"", 503), answer(png(0))]
    ref = await owed(rig.store, links(site, 1))
    await rig.round()
    rig.clock.forward(-30 * 86_400_000)
    assert await rig.round()
    assert await rig.state(ref) == (ArchiveState.DONE, None, 1)


# Resumed


async def test_what_is_recorded_is_not_fetched_again(rig: Archiving, site: Site) -> None:
    """What is on disk and not recorded is replaced; what is recorded and no longer there is fetched again."""
    ref = await owed(rig.store, links(site, 4))
    await rig.files.save_file(ref, "0.png", png(0))
    await rig.files.save_file(ref, "2.png", b"nobody recorded this")
    recorded = [
        copy_of(0, small=None, tiny=None),
        copy_of(1, small=None, tiny=None),
        ImageCopy(3, error="127.0.0.1 answered HTTP 404"),
    ]
    async with rig.store.write() as tx:
        await tx.copies.upsert([(ref, it) for it in recorded])
    await rig.round()
    assert site.asked == ["/1.png", "/2.png"]
    assert await rig.copies(ref) == [copy_of(0), copy_of(1), copy_of(2), recorded[2]]


# A start


def test_a_start_imports_no_http_client() -> None:
    """It would cost 200 ms, which nobody needs before the first picture."""
    script = "import sys; import receiver.pictures.archive; sys.exit('httpx' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=PATIENCE_S).returncode == 0


async def test_no_client_can_be_made_and_then_one_can(
    rig: Archiving, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **more: object) -> None:
        raise OSError("no certificates")

    ref = await owed(rig.store, links(site, 1))
    with monkeypatch.context() as patched:
        patched.setattr(fetch, "PictureFetcher", broken)
        await rig.round()
    assert await rig.state(ref) == (ArchiveState.DUE, SCHEDULE_MS[0], 1)
    rig.clock.forward(SCHEDULE_MS[0])
    await rig.round()
    assert await rig.state(ref) == (ArchiveState.DONE, None, 1)
