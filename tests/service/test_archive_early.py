"""Hosts announce pictures before they have them: "not found" is final only after a minute, and pings wait a moment."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kit.archive_loop import PICTURE_WAIT, Archiving, Site, answer, archiving, links, owed, png, serving
from kit.fakes import got
from receiver.core.errors import RequestRefused
from receiver.core.types import ArchiveState, ImageCopy
from receiver.pictures.archive import EARLY_ROUNDS, PATIENT_ROUNDS, SCHEDULE_MS
from receiver.store import Store

pytestmark = pytest.mark.anyio

NOT_YET = answer(b"", 404)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving(pictures=2) as serves:
        yield serves


@pytest.fixture
async def rig(store: Store, tmp_path: Path) -> AsyncIterator[Archiving]:
    async with archiving(store, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("early", [NOT_YET, answer(b"<html>still being made</html>"), answer(b"{}", 202)])
async def test_a_picture_that_comes_late_is_kept_and_the_ping_has_it(rig: Archiving, site: Site, early: bytes) -> None:
    site.at["/1.png"] = [early, early, answer(png(1))]
    ref = await owed(rig.store, links(site, 2))
    for tries in range(PATIENT_ROUNDS):
        await rig.round()
        assert await rig.state(ref) == (ArchiveState.DUE, SCHEDULE_MS[tries], tries + 1)
        assert await rig.waits(ref) > 0
        rig.clock.forward(SCHEDULE_MS[tries])
    await rig.round()
    assert (await rig.state(ref))[0] is ArchiveState.DONE
    assert [it.file for it in await rig.copies(ref)] == ["0.png", "1.png"]
    assert await rig.waits(ref) <= 0


async def test_a_picture_that_never_comes_is_given_up_after_the_first_rounds(rig: Archiving, site: Site) -> None:
    """And its ping waits no longer than PICTURE_WAIT."""
    site.at["/1.png"] = NOT_YET
    ref = await owed(rig.store, links(site, 2))
    waited = 0
    for tries in range(EARLY_ROUNDS):
        await rig.round()
        if tries == PATIENT_ROUNDS:
            assert await rig.waits(ref) == 0
        else:
            assert 0 < await rig.waits(ref) == PICTURE_WAIT - waited
        rig.clock.forward(SCHEDULE_MS[tries])
        waited += SCHEDULE_MS[tries]
    await rig.round()
    assert await rig.state(ref) == (ArchiveState.DONE, None, EARLY_ROUNDS)
    assert (await rig.copies(ref))[1] == ImageCopy(1, error="127.0.0.1 answered HTTP 404")
    assert site.asked.count("/1.png") == EARLY_ROUNDS + 1


async def test_a_ping_does_not_wait_for_what_may_take_long(rig: Archiving, site: Site) -> None:
    """One picture is early, the other's host has a fault."""
    site.at |= {"/0.png": NOT_YET, "/1.png": answer(b"", 503)}
    ref = await owed(rig.store, links(site, 2))
    await rig.round()
    assert await rig.waits(ref) == 0


# Fetched again


async def missed(rig: Archiving, site: Site) -> str:
    """A task with one picture kept, and one that was refused for good."""
    site.at["/1.png"] = [answer(b"", 410), answer(png(1))]
    ref = await owed(rig.store, links(site, 2))
    await rig.round()
    assert [it.file for it in await rig.copies(ref)] == ["0.png", None]
    assert (await rig.state(ref))[0] is ArchiveState.DONE
    return ref


async def test_what_was_missed_can_be_fetched_again(rig: Archiving, site: Site) -> None:
    """And only that; the contact sheet then has all of them."""
    ref = await missed(rig, site)
    await rig.loop.fetch_again(ref)
    assert await rig.state(ref) == (ArchiveState.DUE, 0, 0)
    assert [it.file for it in await rig.copies(ref)] == ["0.png"]
    await rig.round()
    assert (await rig.state(ref))[0] is ArchiveState.DONE
    assert [it.file for it in await rig.copies(ref)] == ["0.png", "1.png"]
    assert site.asked == ["/0.png", "/1.png", "/1.png"]
    assert rig.drawer.asked[-1] == ["0", "1"]


async def test_a_copy_that_is_gone_from_the_disk_counts_as_missed(rig: Archiving, site: Site) -> None:
    ref = await owed(rig.store, links(site, 2))
    await rig.round()
    path = rig.files.find_file(ref, "1.png")
    assert path is not None
    path.unlink()
    await rig.loop.fetch_again(ref)
    await rig.round()
    assert rig.files.find_file(ref, "1.png") is not None


async def test_nothing_is_fetched_again_where_nothing_is_missing(rig: Archiving, site: Site) -> None:
    ref = await owed(rig.store, links(site, 2))
    await rig.round()
    before = await got(rig.store, ref)
    assert await rig.loop.fetch_again(ref) == before == await got(rig.store, ref)


async def test_a_round_under_way_is_not_disturbed(rig: Archiving, site: Site) -> None:
    ref = await owed(rig.store, links(site, 2))
    task = await rig.loop.claim()
    assert task is not None
    with pytest.raises(RequestRefused) as refused:
        await rig.loop.fetch_again(ref)
    assert (refused.value.status, refused.value.code) == (409, "under_way")
    await rig.loop.carry_out(task)
    assert (await rig.state(ref))[0] is ArchiveState.DONE


async def test_a_task_without_pictures_and_an_unknown_one_are_refused(rig: Archiving) -> None:
    ref = await owed(rig.store, [])
    for asked, status in ((ref, 409), (ref[:-1] + ("0" if ref[-1] != "0" else "1"), 404)):
        with pytest.raises(RequestRefused) as refused:
            await rig.loop.fetch_again(asked)
        assert refused.value.status == status
