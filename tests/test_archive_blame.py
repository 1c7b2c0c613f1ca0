"""A picture that can never be drawn costs those beside it no thumbnail, no place on the sheet, and no time twice."""

from pathlib import Path

import pytest
from archive_rig import DONE, JPEG, archiving, links, owed, serving

from receiver.archive import SCHEDULE_MS
from receiver.files import SHEET
from receiver.model import Archive
from receiver.pictures import Drawn, Sheet
from receiver.store import Store

pytestmark = pytest.mark.anyio

GOOD, BAD, LATE = Drawn(JPEG, 1024, 768), Drawn(error="drawing it takes too long"), Drawn()


async def test_those_left_without_time_by_a_bad_picture_are_drawn_at_once_without_it(
    store: Store, tmp_path: Path
) -> None:
    """In the same round, so that the ping has them too; the sheet is that of all who can be drawn."""
    async with serving(pictures=4) as site, archiving(store, tmp_path) as rig:
        rig.drawer.fails = [
            Sheet(JPEG + b"3", (BAD, LATE, LATE, GOOD)),
            Sheet(None, (BAD, LATE, LATE), "no time"),
        ]
        ref = await owed(store, links(site))
        await rig.round()
        assert await rig.state(ref) == DONE
        assert rig.drawer.asked == [["0", "1", "2", "3"], ["1", "2", "3"], ["2", "3"]]
        assert [(bool(it.small), it.error) for it in await rig.copies(ref)] == [
            (False, BAD.error),
            (False, BAD.error),
            (True, None),
            (True, None),
        ]
        sheet = rig.files.find(ref, SHEET)
        assert sheet is not None
        assert sheet.read_bytes() == JPEG + b"2 3"


async def test_where_no_picture_is_to_blame_the_rest_is_drawn_in_the_next_round(store: Store, tmp_path: Path) -> None:
    """A machine that is too busy is not asked again at once."""
    async with serving(pictures=2) as site, archiving(store, tmp_path) as rig:
        rig.drawer.fails = [Sheet(JPEG, (GOOD, LATE))]
        ref = await owed(store, links(site, 2))
        await rig.round()
        assert (await rig.state(ref), len(rig.drawer.asked)) == ((Archive.DUE, SCHEDULE_MS[0], 1), 1)
        rig.clock.forward(SCHEDULE_MS[0])
        await rig.round()
        assert [(bool(it.small), it.error) for it in await rig.copies(ref)] == [(True, None)] * 2


async def test_what_is_known_to_be_bad_is_not_drawn_again(store: Store, tmp_path: Path) -> None:
    """Nor is it after a kill: it is recorded as soon as it is found."""
    async with serving(pictures=3) as site, archiving(store, tmp_path) as rig:
        rig.drawer.fails = [Sheet(JPEG, (LATE, BAD, GOOD))]
        ref = await owed(store, links(site, 3))
        task = await rig.loop.claim()
        assert task is not None
        known = {it.image_no: it for it in (await rig.loop._fetched(task))[0].values()}
        await rig.loop._sketch(task, known, [0, 1, 2], sheet=True)
        assert [it.error for it in await rig.copies(ref)] == [None, BAD.error, None]
        await rig.loop.carry(task)
        assert rig.drawer.asked == [["0", "1", "2"], ["0", "2"]]
        assert await rig.state(ref) == DONE
