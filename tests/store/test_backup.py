"""Backups: made beside the running service, whole or not there, rotated by the dates in their names."""

import asyncio
import errno
import os
import stat
from pathlib import Path

import pytest

from kit.fakes import DAY, NOW, a_task
from kit.state_folder import TASK, Place
from receiver.core.errors import StoreUnavailable, Unwritable
from receiver.store import open_store
from receiver.upkeep import backup as upkeep
from receiver.upkeep.backup_pictures import ImagesMode

pytestmark = pytest.mark.anyio


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# Made


async def test_a_backup_has_all_that_is_needed_and_is_for_its_owner_only(place: Place) -> None:
    await place.filled()
    made = place.back_up()
    assert (made.tasks, made.keys, made.images, made.size) == (3, 2, None, place.file.stat().st_size)
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.file.parent.stat().st_mode) == 0o700
    assert [it.name for it in place.file.parent.iterdir()] == [place.file.name]
    assert sorted(it.name for it in place.state.iterdir()) == [
        "api_tokens", "images", "receiver.db", "receiver.db.lock", "secret_keys",
    ]  # fmt: skip


async def test_a_database_that_is_written_to_has_no_part_in_the_copy(place: Place) -> None:
    """A transaction that is open when the copy is made is not in it, and what it changed is nowhere half there."""
    await place.filled()
    store = await open_store(place.database)
    async with store.write() as tx:
        await tx.tasks.insert([a_task(task_id="later")])
        await tx.tasks.get(["any"])  # what was put off is written
        assert (await asyncio.to_thread(place.back_up)).tasks == 3
    await store.close()


@pytest.mark.parametrize("images", [ImagesMode.LINK, ImagesMode.COPY])
async def test_pictures_go_with_it_linked_or_copied(place: Place, images: ImagesMode) -> None:
    """Half a picture does not. They come back where they are missing, and take no room twice when linked."""
    await place.filled()
    assert place.back_up(images).images == 1
    picture, kept = (Path(root, "ab", TASK, "0.png") for root in (place.images, f"{place.file}.images"))
    assert kept.samefile(picture) == (images is ImagesMode.LINK)
    assert os.listdir(f"{place.file}.images") == ["ab"]
    picture.unlink()
    assert place.restore().images == 1
    assert picture.read_bytes() == b"a picture"
    assert place.restore().images == 0


async def test_what_links_in_the_archive_lead_to_is_in_no_backup(place: Place, tmp_path: Path) -> None:
    """The service's user can make links to whatever root, who makes the backup, can read."""
    await place.filled()
    secret = tmp_path / "secret"
    for folder in (secret / "deep", secret / f"{TASK[:-2]}cd"):
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(b"root's own")
    (place.images / "cd").symlink_to(secret)
    (place.images / "ab" / f"{TASK[:-4]}22ab").symlink_to(secret / "deep")
    (place.images / "ab" / TASK / "1.png").symlink_to(secret / "deep" / "0.png")
    (place.images / "ab" / TASK / "shadow").write_bytes(b"no name of ours")
    (place.images / "ab" / f"{TASK[:-4]}11ab").mkdir()
    assert place.back_up(ImagesMode.COPY).images == 1
    kept = Path(f"{place.file}.images")
    assert [(top, files) for top, _, files in os.walk(kept) if files] == [(str(kept / "ab" / TASK), ["0.png"])]


@pytest.mark.parametrize("linked", ["ab", f"ab/{TASK}"])
async def test_nothing_is_put_back_through_a_folder_that_is_a_link(place: Place, tmp_path: Path, linked: str) -> None:
    """A person is told which one it is."""
    await place.filled()
    place.back_up(ImagesMode.COPY)
    folder = place.images / linked
    folder.rename(tmp_path / "aside")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / TASK).mkdir(parents=True)
    folder.symlink_to(elsewhere)
    with pytest.raises(Unwritable, match=f"{linked} is a link"):
        place.restore()
    assert [it.name for it in elsewhere.rglob("*")] == [TASK]


@pytest.mark.parametrize("name", ["0.png", "0.png.part"])
async def test_nothing_is_put_back_through_a_file_that_is_a_link(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The link goes, and the picture comes, from another disk too."""

    link = os.link

    def elsewhere(old: str, new: str, **more: bool) -> None:
        if str(new).endswith(".png"):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(old, new, **more)

    await place.filled()
    place.back_up(ImagesMode.COPY)
    victim = tmp_path / "victim"
    victim.write_bytes(b"root's own")
    picture = place.images / "ab" / TASK / "0.png"
    picture.unlink()
    picture.with_name(name).symlink_to(victim)
    monkeypatch.setattr(os, "link", elsewhere)
    assert place.restore().images == 1
    assert (picture.read_bytes(), picture.is_symlink(), victim.read_bytes()) == (b"a picture", False, b"root's own")


async def test_a_name_that_is_no_backup_is_not_written_over(place: Place) -> None:
    await place.filled()
    own = sorted(it for it in place.state.iterdir() if it.is_file())
    before = {it: it.read_bytes() for it in own}
    for file in own:
        with pytest.raises(Unwritable, match="exists and is not a backup"):
            place.back_up(file=file)
    assert {it: it.read_bytes() for it in own} == before
    place.back_up()
    assert place.back_up().tasks == 3  # an earlier backup of that name is


async def test_a_disk_without_room_takes_no_backup(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a byte is written: it may be the disk that callbacks are stored on."""
    await place.filled()
    monkeypatch.setattr("receiver.atomic_files.SPARE_BYTES", 1 << 60)
    with pytest.raises(Unwritable, match=r"MiB free, and .* MiB are needed"):
        place.back_up()
    assert list(place.file.parent.iterdir()) == []


def test_there_has_to_be_a_database(place: Place) -> None:
    with pytest.raises(StoreUnavailable, match="there is no database"):
        place.back_up()
    assert not place.state.exists()


# Rotation


async def test_rotation_keeps_the_newest_by_the_date_in_their_names(place: Place) -> None:
    """What is no backup, or has another name, is not touched; what a kill left is removed."""
    await place.filled()
    pattern = place.file.with_name("receiver-%Y%m%dT%H%M%SZ.db")
    for day in range(4):
        place.back_up(ImagesMode.LINK, NOW + day * DAY, pattern)
    names = sorted(it.name for it in pattern.parent.iterdir())
    assert names[0].startswith("receiver-20251229T")
    for name in ("receiver-20200101T000000Z.db", "mine.db", "receiver-20200101T000000Z.db.bak"):
        pattern.with_name(name).write_bytes(b"no backup")
    pattern.with_name("receiver-20200101T000000Z.db.part").write_bytes(b"half a backup")
    assert [Path(it).name for it in upkeep.rotate_backups(pattern, 2)] == [names[2], names[0]]
    assert sorted(it.name for it in pattern.parent.iterdir()) == [
        "mine.db", "receiver-20200101T000000Z.db", "receiver-20200101T000000Z.db.bak", *names[4:],
    ]  # fmt: skip
    assert upkeep.rotate_backups(pattern, 2) == ()
