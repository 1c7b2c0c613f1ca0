"""The pictures we keep: a folder for each task, files that are there whole or not at all.

A file is written beside them, under a temporary name, and moved to its own once it is on disk; what a kill leaves under
a temporary name is removed by `tidy`. Only names that this room would write itself are ever read.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import stat
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from receiver.atomic_files import fsync_path
from receiver.core.errors import Unwritable
from receiver.tokens import is_ref

SHEET = "sheet.jpg"
SAMPLE = "sample"
MEDIA = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
    "mp4": "video/mp4",
    "webm": "video/webm",
}
"""The media type of each suffix that a file of ours may have."""

_PARTS = "parts"  # the folder of the temporary names; on the same disk, so that a move is one step
_FILE = re.compile(rf"{re.escape(SHEET)}|(0|[1-9][0-9]{{0,3}})(\.small)?\.({'|'.join(MEDIA)})")
_DIGEST = re.compile(r"digest-[1-9][0-9]{0,18}")


def image_name(image_no: int, suffix: str, *, small: bool = False) -> str:
    """The name of a task's image number `image_no`, or of its thumbnail; `suffix` is one of `MEDIA`."""
    return f"{image_no}{'.small' if small else ''}.{suffix}"


def send_of(folder: str) -> int | None:
    """The id of the send whose digest has this folder; None if it is none of a digest."""
    return int(folder.removeprefix("digest-")) if _DIGEST.fullmatch(folder) else None


def media_type(file: str) -> str:
    """What a file of ours is, by its name."""
    return MEDIA[file.rpartition(".")[2]]


class PendingFile:
    """A file that is still being written. Made by `Files.part`; gone afterwards, unless it was kept."""

    def __init__(self, folder: "_ArchiveLayout", path: Path) -> None:
        self._folder = folder
        self._path = path
        self._lock = threading.Lock()  # a write whose caller was cancelled may still be under way in its thread
        self._file: int | None = None
        self._dropped = False
        self._hash = hashlib.sha256()
        self.size = 0  # bytes

    @property
    def sha256(self) -> bytes:
        """The digest of what was written."""
        return self._hash.digest()

    async def write(self, chunk: bytes) -> None:
        """Add to it. Raises Unwritable."""
        await asyncio.to_thread(self._write_chunk, chunk)

    async def keep_as(self, folder: str, file: str) -> Path:
        """It is whole: on disk under its own name, in place of what had it, when this returns. Raises Unwritable."""
        path = self._folder.path_of(folder, file)
        await asyncio.to_thread(self._rename_into_place, path)
        return path

    async def discard(self) -> None:
        """Close it, and remove what was not kept."""
        await asyncio.to_thread(self._close_and_unlink)

    def _write_chunk(self, chunk: bytes) -> None:
        with self._lock, _translate_os_errors():
            if self._file is None:
                if self._dropped:
                    raise ValueError("this part was dropped")
                self._folder.make_folder(self._path.parent)
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            left = memoryview(chunk)
            while left:
                left = left[os.write(self._file, left) :]
            self._hash.update(chunk)
            self.size += len(chunk)

    def _rename_into_place(self, path: Path) -> None:
        with self._lock, _translate_os_errors():
            if self._file is None:
                raise ValueError("nothing was written, or it was dropped")
            os.fsync(self._file)
            try:
                self._folder.make_folder(path.parent)
                os.rename(self._path, path)
            except FileNotFoundError:  # an empty folder that was just removed
                self._folder.make_folder(path.parent)
                os.rename(self._path, path)
            fsync_path(path.parent)
            os.close(self._file)
            self._file = None

    def _close_and_unlink(self) -> None:
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
                with contextlib.suppress(OSError):
                    self._path.unlink()
            self._dropped = True


class _ArchiveLayout:
    """Where the files are, and the names that are good there."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, folder: str, file: str) -> Path:
        """Where a file belongs. Raises ValueError on a name that is not one of ours."""
        if not self.is_folder_name(folder) or not _FILE.fullmatch(file):
            raise ValueError("no such name in the archive")
        return self.root / folder[-2:] / folder / file

    @staticmethod
    def is_folder_name(folder: str) -> bool:
        """Whether a folder may have this name."""
        return folder == SAMPLE or is_ref(folder) or _DIGEST.fullmatch(folder) is not None

    def make_folder(self, folder: Path) -> None:
        """Have a folder, for its owner only, that outlasts a loss of power."""
        if folder.is_dir():
            return
        if folder != self.root:
            self.make_folder(folder.parent)
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        fsync_path(folder.parent)


class ArchiveFiles:
    """The files of the archive in the folder `root`, which is made with the first of them.

    A folder in it belongs to a task (its ref), to a digest (`digest-` and the send's id) or is `sample`.
    """

    def __init__(self, root: Path) -> None:
        self._folder = _ArchiveLayout(root)
        self._mark = secrets.token_hex(4)  # of the temporary names of this process

    def find_file(self, folder: str, file: str) -> Path | None:
        """The file, if it is there. Any name may be asked for; none leads outside."""
        try:
            path = self._folder.path_of(folder, file)
        except ValueError:
            return None
        with contextlib.suppress(OSError):
            return path if stat.S_ISREG(path.lstat().st_mode) else None
        return None

    async def save_file(self, folder: str, file: str, content: bytes) -> Path:
        """Keep `content`, in place of what had that name; on disk when this returns.

        Raises Unwritable, and ValueError on a name that `find` would not find.
        """
        self._folder.path_of(folder, file)  # before anything is written
        async with self.open_pending() as part:
            await part.write(content)
            return await part.keep_as(folder, file)

    @contextlib.asynccontextmanager
    async def open_pending(self) -> AsyncIterator[PendingFile]:
        """A file to be written bit by bit, and kept under a name once that is known."""
        part = PendingFile(self._folder, self._folder.root / _PARTS / f"{self._mark}-{secrets.token_hex(8)}.part")
        try:
            yield part
        finally:
            await part.discard()

    def disk_space(self) -> tuple[int, int]:
        """How many bytes are free on its disk, and how many it has. Raises Unwritable."""
        with _translate_os_errors():
            near = next(it for it in (self._folder.root, *self._folder.root.parents) if it.is_dir())
            disk = os.statvfs(near)
        return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize

    async def remove_folders(self, folders: Sequence[str]) -> None:
        """Remove all that is kept of these tasks and digests. Raises Unwritable."""
        await asyncio.to_thread(self._remove_folders, folders)

    async def list_tops(self) -> list[str]:
        """The folders that those of tasks and digests are in, by name: some hundreds. Raises Unwritable."""
        return await asyncio.to_thread(self._list_named, self._folder.root, lambda name: len(name) == 2)

    async def list_folders(self, top: str) -> list[str]:
        """The folders of tasks and digests in one of `tops`, by name: thousands, perhaps. Raises Unwritable."""
        return await asyncio.to_thread(
            self._list_named,
            self._folder.root / top,
            lambda name: name[-2:] == top and self._folder.is_folder_name(name),
        )

    async def keep_only(self, files: Mapping[str, Collection[str]], before: int) -> int:
        """Remove from each of these folders what is not among its files and was written before this time.

        In milliseconds; gives how many files were removed. Raises Unwritable.
        """
        return await asyncio.to_thread(self._keep_only, files, before)

    async def remove_old_pending(self, before: int) -> int:
        """Remove what was written under temporary names before this time, in milliseconds. Raises Unwritable."""
        return await asyncio.to_thread(self._remove_from, self._folder.root / _PARTS, (), before)

    def _remove_folders(self, folders: Sequence[str]) -> None:
        for folder in folders:
            self._remove_from(self._folder.path_of(folder, SHEET).parent, (), None)

    def _keep_only(self, files: Mapping[str, Collection[str]], before: int) -> int:
        return sum(
            self._remove_from(self._folder.path_of(folder, SHEET).parent, kept, before)
            for folder, kept in files.items()
        )

    @staticmethod
    def _remove_from(path: Path, kept: Collection[str], before: int | None) -> int:
        """The folder goes too, if nothing is in it; what is no file in it stays."""
        count = 0
        with _translate_os_errors(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if path.is_symlink():  # whatever it leads to is not ours
                return 0
            young = before is not None and path.stat().st_mtime * 1000 >= before
            with os.scandir(path) as entries:
                for it in entries:
                    with contextlib.suppress(FileNotFoundError):
                        old = before is None or it.stat(follow_symlinks=False).st_mtime * 1000 < before
                        if old and it.name not in kept and not it.is_dir(follow_symlinks=False):
                            os.unlink(it)
                            count += 1
            if not young:
                with contextlib.suppress(OSError):  # there is something in it
                    path.rmdir()
        return count

    @staticmethod
    def _list_named(path: Path, is_good: Callable[[str], bool]) -> list[str]:
        with (
            _translate_os_errors(),
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(path) as entries,
        ):
            return sorted(it.name for it in entries if is_good(it.name) and it.is_dir(follow_symlinks=False))
        return []

    async def remove_leftovers(self) -> None:
        """Remove what an earlier process left under temporary names. Raises Unwritable."""
        await asyncio.to_thread(self._remove_leftovers)

    def _remove_leftovers(self) -> None:
        with _translate_os_errors(), contextlib.suppress(FileNotFoundError):
            for path in (self._folder.root / _PARTS).iterdir():
                if path.name.endswith(".part") and not path.name.startswith(f"{self._mark}-"):
                    path.unlink(missing_ok=True)


@contextlib.contextmanager
def _translate_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unwritable(f"the archive cannot be written: {error.strerror or error}") from error
