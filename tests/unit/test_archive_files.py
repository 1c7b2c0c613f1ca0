"""The files of the archive: there whole or not at all, under names of ours only, for their owner only."""

import asyncio
import errno
import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from receiver.core.errors import Unwritable
from receiver.pictures.files import MEDIA, SHEET, ArchiveFiles, image_name, media_type

pytestmark = pytest.mark.anyio

REF = "0199c0de-0000-7000-8000-0000000000ab"


def left(root: Path) -> list[str]:
    """All files below a folder."""
    return sorted(str(it.relative_to(root)) for it in root.rglob("*") if it.is_file())


async def test_what_is_put_is_found_again_and_for_its_owner_only(tmp_path: Path) -> None:
    """Whatever the umask says."""
    files = ArchiveFiles(tmp_path / "state" / "images")
    before = os.umask(0)
    try:
        path = await files.save_file(REF, SHEET, b"one")
    finally:
        os.umask(before)
    assert files.find_file(REF, SHEET) == path == tmp_path / "state" / "images" / "ab" / REF / "sheet.jpg"
    assert path.read_bytes() == b"one"
    assert path.stat().st_mode & 0o777 == 0o600
    made = [path.parent, path.parent.parent, path.parent.parent.parent]
    assert [it.stat().st_mode & 0o777 for it in made] == [0o700] * 3
    await files.save_file(REF, SHEET, b"another")
    assert path.read_bytes() == b"another"
    assert left(tmp_path) == [f"state/images/ab/{REF}/sheet.jpg"]


@pytest.mark.parametrize("folder", [REF, "digest-1", "digest-9223372036854775807", "sample"])
@pytest.mark.parametrize(
    "file", [SHEET, "0.png", "0.small.jpg", "0.tiny.jpg", "9999.webm", *(f"63.{it}" for it in MEDIA)]
)
async def test_every_name_of_ours_is_a_good_one(tmp_path: Path, folder: str, file: str) -> None:
    files = ArchiveFiles(tmp_path)
    assert files.find_file(folder, file) is None
    assert await files.save_file(folder, file, b"x") == files.find_file(folder, file)


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        *(
            (REF, file)
            for file in ("", ".", "..", "/etc/passwd", "../0.png", "0.png/..", "0.png\0", "0.png\n", "0.exe")
        ),
        *(
            (REF, file)
            for file in ("00.png", "-1.png", "10000.png", "0.PNG", "0.html", "0.small.html", "٣.png", "0.part")
        ),
        *((REF, file) for file in ("sheet.png", "sheet.jpg.part", "a/sheet.jpg", "0..png", "0.small.small.jpg")),
        (REF, "0.small.tiny.jpg"),
        *((folder, "0.png") for folder in ("", ".", "..", "/", "/etc", "../..", f"{REF}/..", f"{REF}/", f"{REF}\n")),
        *(
            (folder, "0.png")
            for folder in (REF.upper(), "parts", "ab", "digest-0", "digest--1", "digest-1/..", "samples")
        ),
        *((folder, "0.png") for folder in ("digest-٣", "digest-99999999999999999999", "sample/..")),
    ],
)
async def test_no_other_name_is_found_or_written(tmp_path: Path, folder: str, file: str) -> None:
    """Not even where there is such a file."""
    root = tmp_path / "images"
    files = ArchiveFiles(root)
    await files.save_file(REF, "0.png", b"x")
    (tmp_path / "0.png").write_bytes(b"a secret")
    assert files.find_file(folder, file) is None
    with pytest.raises(ValueError, match="not a name"):
        await files.save_file(folder, file, b"x")
    assert left(tmp_path) == ["0.png", f"images/ab/{REF}/0.png"]


def test_names_and_types_belong_together() -> None:
    assert (image_name(3, "png"), image_name(3, "jpg", "small")) == ("3.png", "3.small.jpg")
    assert image_name(3, "jpg", "tiny") == "3.tiny.jpg"
    assert [media_type(it) for it in (SHEET, "0.small.jpg", "1.webm")] == ["image/jpeg", "image/jpeg", "video/webm"]


async def test_a_part_is_nowhere_until_it_is_kept(tmp_path: Path) -> None:
    files = ArchiveFiles(tmp_path)
    async with files.open_pending() as part:
        await part.write(b"on")
        assert files.find_file(REF, "0.png") is None
        await part.write(b"e")
        path = await part.keep_as(REF, "0.png")
        assert (part.size, part.sha256) == (3, hashlib.sha256(b"one").digest())
    assert path.read_bytes() == b"one"
    assert left(tmp_path) == [f"ab/{REF}/0.png"]


async def test_what_was_not_kept_is_gone(tmp_path: Path) -> None:
    """Also if its writer is cancelled."""
    files = ArchiveFiles(tmp_path)
    async with files.open_pending() as part:
        await part.write(b"half")
        assert len(left(tmp_path)) == 1
    assert left(tmp_path) == []

    begun = asyncio.Event()

    async def writing() -> None:
        async with files.open_pending() as part:
            await part.write(b"half")
            begun.set()
            await asyncio.sleep(3600)

    task = asyncio.create_task(writing())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left(tmp_path) == []


async def test_a_part_is_closed_only_when_its_thread_has_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number of a closed file that is still written to may by then be another's, the database's even."""
    inside, go, open_still = threading.Event(), threading.Event(), []
    write = os.write

    def slow(file: int, content: bytes) -> int:
        inside.set()
        go.wait(10)
        os.fstat(file)
        open_still.append(file)
        return write(file, content)

    files = ArchiveFiles(tmp_path)

    async def writing() -> None:
        async with files.open_pending() as part:
            monkeypatch.setattr(os, "write", slow)
            await part.write(b"half")

    task = asyncio.create_task(writing())
    await asyncio.to_thread(inside.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(open_still) == 1
    assert left(tmp_path) == []


async def test_what_other_processes_are_writing_stays_until_it_is_a_day_old(tmp_path: Path) -> None:
    """Where several share the folder, what one of them finds at its start may be of one that lives."""
    files, other = ArchiveFiles(tmp_path, shared=True), ArchiveFiles(tmp_path, shared=True)
    async with other.open_pending() as young, other.open_pending() as old:
        await young.write(b"one")
        await old.write(b"another")
        [first, second] = sorted((tmp_path / "parts").iterdir(), key=lambda it: it.read_bytes() == b"one")
        yesterday = time.time() - 2 * 86_400
        os.utime(first, (yesterday, yesterday))
        await files.remove_leftovers()
        assert list((tmp_path / "parts").iterdir()) == [second]
        assert (await young.keep_as(REF, SHEET)).read_bytes() == b"one"


async def test_what_an_earlier_process_left_is_tidied_and_nothing_else(tmp_path: Path) -> None:
    await ArchiveFiles(tmp_path).remove_leftovers()  # there is nothing at all yet
    earlier, files = ArchiveFiles(tmp_path), ArchiveFiles(tmp_path)
    async with earlier.open_pending() as half:
        await half.write(b"half")
        async with files.open_pending() as part:
            await part.write(b"whole")
            await files.remove_leftovers()
            await part.keep_as(REF, "0.png")
        assert left(tmp_path) == [f"ab/{REF}/0.png"]


async def test_a_disk_that_takes_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves what was there as it was."""
    files = ArchiveFiles(tmp_path)
    await files.save_file(REF, "0.png", b"one")

    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for call in ("write", "fsync", "rename"):
        with monkeypatch.context() as patched:
            patched.setattr(os, call, full)
            with pytest.raises(Unwritable, match="No space left on device"):
                await files.save_file(REF, "0.png", b"another")
        assert [path.read_bytes() for path in (tmp_path / "ab" / REF).iterdir()] == [b"one"]
        assert left(tmp_path) == [f"ab/{REF}/0.png"]


async def test_a_file_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes, then its name, then the folder that holds the name; and each folder that was made, in its own."""
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def syncing(file: int) -> None:
        done.append(f"sync {os.path.basename(os.readlink(f'/proc/self/fd/{file}'))[-6:]}")
        fsync(file)

    def renaming(old: Path, new: Path) -> None:
        done.append(f"rename {new.name}")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "rename", renaming)
    root = tmp_path / "images"
    await ArchiveFiles(root).save_file("sample", "0.png", b"x")
    parent = tmp_path.name[-6:]
    made = [f"sync {parent}", "sync images", "sync images", "sync le"]  # images; parts; le; sample
    assert [it for it in done if it not in made] == [done[2], "rename 0.png", "sync sample"]
    assert done[2].endswith(".part"[-5:])
    assert [it for it in done if it in made] == made


async def test_links_lead_nowhere(tmp_path: Path) -> None:
    """What somebody linked into the archive is neither shown, nor emptied with the task's folder."""
    root, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    files, linked = ArchiveFiles(root), REF.replace("0ab", "1ab")
    elsewhere.mkdir()
    (elsewhere / "0.png").write_bytes(b"a secret")
    await files.save_file(REF, "0.png", b"one")
    (root / "ab" / REF / "1.png").symlink_to(elsewhere / "0.png")
    (root / "ab" / linked).symlink_to(elsewhere)
    assert files.find_file(REF, "1.png") is None
    await files.remove_folders([REF, linked])
    assert left(elsewhere) == ["0.png"]
    assert not (root / "ab" / REF).exists()


async def test_what_is_no_file_does_not_stop_a_removal(tmp_path: Path) -> None:
    """Retention would come to it every hour, and go no further."""
    files = ArchiveFiles(tmp_path)
    folder = (await files.save_file(REF, "0.png", b"one")).parent
    (folder / "notes").mkdir()
    await files.remove_folders([REF, "digest-1"])
    assert os.listdir(folder) == ["notes"]


async def test_space_is_that_of_its_disk_also_before_there_is_anything(tmp_path: Path) -> None:
    free, total = ArchiveFiles(tmp_path / "not" / "yet").disk_space()
    assert 0 <= free <= total
    assert total > 0
