"""A picture that can never be drawn costs those beside it no thumbnail, no place on the sheet, and no time twice."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from kit.archive_loop import DONE, JPEG, archiving, links, owed, serving
from receiver.core.types import ArchiveState
from receiver.pictures.archive import DRAW_MOST_S, SCHEDULE_MS
from receiver.pictures.drawing.protocol import SHEET_PICTURES_MOST, ContactSheet, DrawResult
from receiver.pictures.files import SHEET
from receiver.store import Store

pytestmark = pytest.mark.anyio

GOOD, BAD, LATE = DrawResult(JPEG, 1024, 768), DrawResult(error="drawing it takes too long"), DrawResult()


async def test_those_left_without_time_by_a_bad_picture_are_drawn_at_once_without_it(
    store: Store, tmp_path: Path
) -> None:
    """In the same round, so that the ping has them too; the sheet is that of all who can be drawn."""
    async with serving(pictures=4) as site, archiving(store, tmp_path) as rig:
        rig.drawer.fails = [ContactSheet(JPEG + b"3", (BAD, LATE, LATE, GOOD))]
        ref = await owed(store, links(site))
        await rig.round()
        assert await rig.state(ref) == DONE
        assert rig.drawer.asked == [["0", "1", "2", "3"], ["1", "2", "3"]]
        assert [(bool(it.small), it.error) for it in await rig.copies(ref)] == [(False, BAD.error), *[(True, None)] * 3]
        sheet = rig.files.find_file(ref, SHEET)
        assert sheet is not None
        assert sheet.read_bytes() == JPEG + b"1 2 3"


@pytest.mark.parametrize(
    "drawn",
    [[(BAD, BAD, LATE, GOOD)], [(BAD, LATE, LATE, GOOD), (BAD, LATE, GOOD)]],
    ids=["at-once", "one-by-one"],
)
async def test_two_bad_pictures_end_a_round_so_that_others_have_their_turn(
    store: Store, tmp_path: Path, drawn: list[tuple[DrawResult, ...]]
) -> None:
    """What they held up is drawn in the next round, which nobody's first round waits for."""
    async with serving(pictures=4) as site, archiving(store, tmp_path) as rig:
        rig.drawer.fails = [ContactSheet(JPEG, some) for some in drawn]
        ref = await owed(store, links(site))
        await rig.round()
        assert (await rig.state(ref), len(rig.drawer.asked)) == ((ArchiveState.DUE, SCHEDULE_MS[0], 1), len(drawn))
        assert await rig.waits(ref) == 0
        rig.clock.forward(SCHEDULE_MS[0])
        await rig.round()
        assert (await rig.state(ref))[0] is ArchiveState.DONE
        assert rig.drawer.asked[-1] == ["2", "3"]
        assert [(bool(it.small), it.error) for it in await rig.copies(ref)] == [
            (False, BAD.error),
            (False, BAD.error),
            (True, None),
            (True, None),
        ]


async def test_a_round_draws_no_longer_than_its_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many sheets' worth of pictures there are; what was drawn beyond the first sheet is not drawn again."""
    passed = iter([0.0, 0.0, DRAW_MOST_S, 0.0, 0.0])
    async with serving(pictures=SHEET_PICTURES_MOST + 2) as site, archiving(store, tmp_path) as rig:
        ref = await owed(store, links(site, SHEET_PICTURES_MOST + 2))
        task = await rig.loop.claim()
        assert task is not None
        fetched, _ = await rig.loop._fetch_missing(task)
        with monkeypatch.context() as patched:
            patched.setattr("receiver.pictures.archive.time", SimpleNamespace(monotonic=lambda: next(passed)))
            copies, undrawn = await rig.loop._draw_thumbnails(task, fetched)
            assert (undrawn, [len(it) for it in rig.drawer.asked]) == (True, [SHEET_PICTURES_MOST])
            _, undrawn = await rig.loop._draw_thumbnails(task, copies)
        assert (undrawn, rig.drawer.asked[1:]) == (False, [[str(SHEET_PICTURES_MOST), str(SHEET_PICTURES_MOST + 1)]])
        assert ref == task.ref


async def test_where_no_picture_is_to_blame_the_rest_is_drawn_in_the_next_round(store: Store, tmp_path: Path) -> None:
    """A machine that is too busy is not asked again at once."""
    async with serving(pictures=2) as site, archiving(store, tmp_path) as rig:
        rig.drawer.fails = [ContactSheet(JPEG, (GOOD, LATE))]
        ref = await owed(store, links(site, 2))
        await rig.round()
        assert (await rig.state(ref), len(rig.drawer.asked)) == ((ArchiveState.DUE, SCHEDULE_MS[0], 1), 1)
        rig.clock.forward(SCHEDULE_MS[0])
        await rig.round()
        assert [(bool(it.small), it.error) for it in await rig.copies(ref)] == [(True, None)] * 2


async def test_what_is_known_to_be_bad_is_not_drawn_again(store: Store, tmp_path: Path) -> None:
    """Nor is it after a kill: it is recorded as soon as it is found."""
    async with serving(pictures=3) as site, archiving(store, tmp_path) as rig:
        rig.drawer.fails = [ContactSheet(JPEG, (LATE, BAD, GOOD))]
        ref = await owed(store, links(site, 3))
        task = await rig.loop.claim()
        assert task is not None
        known = {it.image_no: it for it in (await rig.loop._fetch_missing(task))[0].values()}
        await rig.loop._draw_batch(task, known, [0, 1, 2], sheet=True)
        assert [it.error for it in await rig.copies(ref)] == [None, BAD.error, None]
        await rig.loop.carry_out(task)
        assert rig.drawer.asked == [["0", "1", "2"], ["0", "2"]]
        assert await rig.state(ref) == DONE
