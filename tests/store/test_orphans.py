"""Files in the archive that belong to nobody go after a day, a few at a time; what is anybody's, or may be, stays."""

import os
from pathlib import Path

import pytest

from kit.fakes import DAY, HOUR, MINUTE, NOW, Clock, a_notice, a_ref, a_task, owe, put
from kit.retention import OLD, a_past, folder_of, passed, pruning, sent
from receiver.core.errors import Unwritable
from receiver.core.types import ArchiveState, ImageCopy, TaskState
from receiver.pictures.files import SAMPLE, SHEET, ArchiveFiles
from receiver.pictures.orphans import PARTS, TURN, OrphanCleanup
from receiver.store import Store

pytestmark = pytest.mark.anyio


async def held(folder: Path, name: str, *files: str, age: int = DAY + 1) -> Path:
    """A folder of the archive with files that were written so many milliseconds before NOW."""
    for file in files:
        await ArchiveFiles(folder / "images").save_file(name, file, b"a picture")
    return aged(folder_of(folder, name), age)


def aged(path: Path, age: int = DAY + 1) -> Path:
    for it in (*path.iterdir(), path):
        os.utime(it, ns=((NOW - age) * 1_000_000,) * 2, follow_symlinks=False)
    return path


def names(path: Path) -> list[str]:
    return sorted(it.name for it in path.iterdir())


async def swept(store: Store, folder: Path, images: int = 0) -> int:
    """How many files were nobody's, in the whole archive; pictures are kept `images` days."""
    pruner = pruning(store, folder, images=images)
    await pruner.run_full_pass()
    return pruner.removed["orphaned files"]


async def test_a_folder_whose_task_is_gone_goes_after_a_day(store: Store, tmp_path: Path) -> None:
    """Not before: its row may be on its way."""
    old = await held(tmp_path, a_ref(), "0.png", "0.small.jpg", SHEET)
    young = await held(tmp_path, a_ref(), "0.png", age=DAY - 1)
    mixed = await held(tmp_path, a_ref(), "0.png")
    (mixed / "1.png").write_bytes(b"just written")
    assert await swept(store, tmp_path) == 4
    assert not old.exists()
    assert (names(young), names(mixed)) == (["0.png"], ["1.png"])


async def test_of_a_task_only_that_stays_which_it_knows_of(store: Store, tmp_path: Path) -> None:
    """A kill between a file and its row, and a second fetch of another type, leave the first one behind."""
    task = await a_past(store, tmp_path, OLD)
    path = await held(tmp_path, task.ref, "0.webp", "1.png")
    (path / "2.png.part").write_bytes(b"half a picture, from a restore that was killed")
    aged(path)
    assert await swept(store, tmp_path) == 3
    assert names(path) == ["0.png", "0.small.jpg", "0.tiny.jpg", SHEET]


async def test_of_a_task_that_keeps_no_copy_nothing_stays(store: Store, tmp_path: Path) -> None:
    """Nor does its folder: a kill as retention removed it left that much."""
    task = a_task(TaskState.COMPLETED, archive=ArchiveState.FAILED)
    await put(store, task)
    async with store.write() as tx:
        await tx.copies.upsert(
            [(task.ref, ImageCopy(0, error="our copy was removed after 10 days, as set by RETENTION"))]
        )
    path = await held(tmp_path, task.ref, SHEET)
    assert await swept(store, tmp_path) == 1
    assert not path.exists()


@pytest.mark.parametrize(
    "task",
    [
        a_task(TaskState.COMPLETED, archive=ArchiveState.DUE, archive_at=NOW - DAY),
        a_task(TaskState.COMPLETED, archive=ArchiveState.DUE, archive_at=NOW + HOUR, archive_tries=5),
        a_task(TaskState.WAITING),
        a_task(TaskState.QUEUED),
    ],
    ids=lambda it: f"{it.state}-{it.archive_at}",
)
async def test_what_a_task_under_way_has_is_left_alone_however_old_it_is(
    store: Store, tmp_path: Path, task: object
) -> None:
    """A picture that is here and not yet drawn, one that is here and not yet recorded; or the database is a restored
    one, and knows less than there is."""
    await put(store, task)  # type: ignore[arg-type]  # as given
    path = await held(tmp_path, task.ref, "0.png", "1.webp", SHEET, age=100 * DAY)  # type: ignore[attr-defined]  # likewise
    assert await swept(store, tmp_path) == 0
    assert names(path) == ["0.png", "1.webp", SHEET]


async def test_a_digest_s_sheet_goes_with_its_send_or_at_the_age_of_pictures(store: Store, tmp_path: Path) -> None:
    await owe(store, a_notice(created_at=OLD, due_at=OLD), a_notice(created_at=OLD, due_at=OLD))
    send = await sent(store, NOW - MINUTE, digest=True)
    kept = await held(tmp_path, f"digest-{send}", SHEET, age=11 * DAY)
    gone = await held(tmp_path, f"digest-{send + 1}", SHEET)
    assert await swept(store, tmp_path) == 1
    assert (names(kept), gone.exists()) == ([SHEET], False)
    assert await swept(store, tmp_path, images=12) == 0
    assert await swept(store, tmp_path, images=10) == 1
    assert not kept.exists()


async def test_what_is_half_written_goes_after_a_day(store: Store, tmp_path: Path) -> None:
    files = ArchiveFiles(tmp_path / "images")
    async with files.open_pending() as old, files.open_pending() as young:
        await old.write(b"half")
        parts = aged(tmp_path / "images" / "parts")
        await young.write(b"half")
        await swept(store, tmp_path)
        assert len(names(parts)) == 1
        await young.keep_as(a_ref(), "0.png")


async def test_what_is_not_ours_is_not_touched(store: Store, tmp_path: Path) -> None:
    """The sample; names that we would not give; folders; what links lead to, though not the link itself."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "holiday.png").write_bytes(b"a picture of mine")
    aged(mine)
    images = tmp_path / "images"
    await held(tmp_path, SAMPLE, "0.png", SHEET)
    ref, linked = a_ref(), a_ref()
    path = await held(tmp_path, ref, "0.png")
    (path / "1.png").symlink_to(mine / "holiday.png")
    (path / "notes").mkdir()
    (path / "notes" / "text").write_bytes(b"a person's")
    aged(path)
    for name in ("ab/notes", f"zz/{ref}", "lost+found"):
        (images / name).mkdir(parents=True)
        (images / name / "0.png").write_bytes(b"somebody else's")
        aged(images / name)
    (images / linked[-2:]).mkdir(exist_ok=True)
    (images / linked[-2:] / linked).symlink_to(mine)
    (images / "ln").symlink_to(mine)
    (images / "ab" / a_ref()).write_bytes(b"a file where a folder should be")
    assert await swept(store, tmp_path) == 2
    assert names(mine) == ["holiday.png"]
    assert names(path) == ["notes"]
    assert names(folder_of(tmp_path, SAMPLE)) == ["0.png", SHEET]
    assert all((images / name / "0.png").exists() for name in ("ab/notes", f"zz/{ref}", "lost+found"))


async def test_a_pass_looks_at_a_part_and_the_next_one_goes_on_there(store: Store, tmp_path: Path) -> None:
    """So that an archive of a million folders is looked through once a day, and never in one go."""
    for place in range(2 * PARTS + 1):
        ref = f"{a_ref()[:-2]}{place:02x}"
        await held(tmp_path, ref, "0.png")
    clock = Clock()
    pruner = pruning(store, tmp_path, clock=clock, alone=False)
    found = []
    for _ in range(17):
        pruner.start_pass_now()
        await passed(pruner)
        found.append(pruner.removed["orphaned files"])
    assert found == [3 * passes for passes in range(1, 17)] + [2 * PARTS + 1]


async def test_a_turn_takes_a_few_folders_only(store: Store, tmp_path: Path) -> None:
    folder = f"{a_ref()[:-6]}"
    for place in range(TURN + 7):
        await held(tmp_path, f"{folder}{place:04x}ab", "0.png")
    strays = OrphanCleanup(store, ArchiveFiles(tmp_path / "images"))
    await strays.begin_pass(NOW, whole=False)
    assert await strays.remove_some(NOW, None) == (TURN, True)
    assert await strays.remove_some(NOW, None) == (7, False)
    assert await strays.remove_some(NOW, None) == (0, False)


async def test_an_archive_that_cannot_be_looked_at_is_told_and_tried_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command says so; that the service's loop goes on with all else is tested in `test_prune`."""

    async def fails(*args: object) -> list[str]:
        raise Unwritable("cannot write to the archive: Permission denied")

    await held(tmp_path, a_ref(), "0.png")
    with monkeypatch.context() as patched:
        patched.setattr(ArchiveFiles, "list_tops", fails)
        with pytest.raises(Unwritable):
            await swept(store, tmp_path)
    assert await swept(store, tmp_path) == 1


async def test_a_file_finds_its_folder_again_that_was_removed_as_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its being there and the move into it."""
    files, ref = ArchiveFiles(tmp_path / "images"), a_ref()
    path = await held(tmp_path, ref, SHEET)
    rename = os.rename
    removed: list[Path] = []

    def late(old: Path, new: Path) -> None:
        if not removed:
            (path / SHEET).unlink()
            path.rmdir()
            removed.append(path)
        rename(old, new)

    monkeypatch.setattr(os, "rename", late)
    assert (await files.save_file(ref, "0.png", b"one")).read_bytes() == b"one"
