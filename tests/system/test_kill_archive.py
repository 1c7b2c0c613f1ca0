"""kill -9 while archiving: after a restart nothing is missing, no picture is half written, nothing is left over."""

import asyncio
import signal
from pathlib import Path

import pytest

from kit.archive_loop import JPEG, archiving, owed, png, serving
from kit.dying_archive import POINTS
from kit.live_service import PATIENCE_S
from kit.programs import Programs
from receiver.core.types import ArchiveState
from receiver.pictures.files import SHEET
from receiver.store import open_store

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("point", POINTS)
async def test_nothing_is_lost_by_a_kill_while_archiving(tmp_path: Path, programs: Programs, point: str) -> None:
    """Right after the kill each file under its own name is whole; after the next round all are there, and no more."""
    wanted = {f"{n}.png": png(n) for n in range(3)}
    wanted |= {f"{n}.{thumbnail}.jpg": JPEG for n in range(3) for thumbnail in ("small", "tiny")}
    wanted[SHEET] = JPEG + b"0 1 2"
    async with serving(pictures=3) as site:
        store = await open_store(tmp_path / "r.db")
        ref = await owed(store, [site.link(f"/{number}.png") for number in range(3)])
        await store.close()
        async with asyncio.timeout(PATIENCE_S):
            assert await programs.run("kit.dying_archive", str(tmp_path), point) == -signal.SIGKILL
        folder = tmp_path / "images" / ref[-2:] / ref
        for path in folder.iterdir():
            assert path.read_bytes() == wanted[path.name]
        parts = list((tmp_path / "images" / "parts").iterdir())
        assert bool(parts) == (point in ("written", "synced"))
        store = await open_store(tmp_path / "r.db")
        async with archiving(store, tmp_path) as rig:
            assert await rig.round()
            assert await rig.state(ref) == (ArchiveState.DONE, None, 0)
            assert await rig.waits(ref) == 0
            assert [(it.file, it.small, it.tiny, it.error) for it in await rig.copies(ref)] == [
                (f"{number}.png", f"{number}.small.jpg", f"{number}.tiny.jpg", None) for number in range(3)
            ]
        await store.close()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == wanted
    assert not list((tmp_path / "images" / "parts").iterdir())
    fetched_again = [path for path in set(site.asked) if site.asked.count(path) > 1]
    assert fetched_again == (["/1.png"] if point in ("written", "synced", "kept", "recorded") else [])
