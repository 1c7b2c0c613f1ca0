"""The files of the archive: a folder for each task; every file is there whole or not at all (atomic write).

A file is written under a temporary name, and renamed once its content is on disk. `remove_leftovers` removes what a
kill left under temporary names. We only ever read names that this module would write.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from receiver.atomic_files import fsync_path, open_new, rename_into_place
from receiver.core.errors import Unwritable
from receiver.pictures.sniff import KINDS
from receiver.safe_open import pinned_folder
from receiver.tokens import is_ref

SHEET = "sheet.jpg"
SAMPLE = "sample"
MEDIA = {suffix: kind.media_type for suffix, kind in KINDS.items()}
"""The media type of each suffix that our files may have."""

LEFT_MS = 86_400_000  # after this time, nobody writes to a temporary file any more
_PARTS = "parts"  # the folder for temporary names; on the same disk, so that a rename is one step
_FILE = re.compile(rf"{re.escape(SHEET)}|(0|[1-9][0-9]{{0,3}})(\.small|\.tiny)?\.({'|'.join(MEDIA)})")
_DIGEST = re.compile(r"digest-[1-9][0-9]{0,18}")


def image_name(image_no: int, suffix: str, thumbnail: Literal["small", "tiny"] | None = None) -> str:
    """The file name of a task's image `image_no`, or of one of its thumbnails; `suffix` is one of `MEDIA`."""
    return f"{image_no}.{thumbnail}.{suffix}" if thumbnail else f"{image_no}.{suffix}"


def send_of(folder: str) -> int | None:
    """The id of the send whose digest this folder belongs to; None if it is not a digest's folder."""
    return int(folder.removeprefix("digest-")) if _DIGEST.fullmatch(folder) else None


def media_type(file: str) -> str:
    """The media type of one of our files, by its name."""
    return MEDIA[file.rpartition(".")[2]]


class PendingFile:
    """A file that is still being written. Made by `ArchiveFiles.open_pending`, which removes it unless it was kept."""

    def __init__(self, folder: "_ArchiveLayout", path: Path) -> None:
        self._folder = folder
        self._path = path
        self._lock = threading.Lock()  # a write may still run in its thread after its caller was cancelled
        self._file: int | None = None
        self._dropped = False
        self._hash = hashlib.sha256()
        self.size = 0  # bytes

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of what was written so far."""
        return self._hash.digest()

    async def write(self, chunk: bytes) -> None:
        """Append to the file. Raises Unwritable."""
        await asyncio.to_thread(self._write_chunk, chunk)

    async def keep_as(self, folder: str, file: str) -> Path:
        """Give the file its final name, replacing what had it; on disk when this returns. Raises Unwritable."""
        path = self._folder.path_of(folder, file)
        await asyncio.to_thread(self._rename_into_place, path)
        return path

    async def discard(self) -> None:
        """Close the file, and remove it unless it was kept."""
        await asyncio.to_thread(self._close_and_unlink)

    def _write_chunk(self, chunk: bytes) -> None:
        with self._lock, _translate_os_errors():
            if self._file is None:
                if self._dropped:
                    raise ValueError("this file was discarded")
                self._folder.make_folder(self._path.parent)
                self._file = open_new(self._path)
            left = memoryview(chunk)
            while left:
                left = left[os.write(self._file, left) :]
            self._hash.update(chunk)
            self.size += len(chunk)

    def _rename_into_place(self, path: Path) -> None:
        with self._lock, _translate_os_errors():
            if self._file is None:
                raise ValueError("nothing was written, or the file was discarded")
            os.fsync(self._file)
            try:
                self._folder.make_folder(path.parent)
                rename_into_place(self._path, path)
            except FileNotFoundError:  # the folder was empty, and was just removed
                self._folder.make_folder(path.parent)
                rename_into_place(self._path, path)
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
    """Where the files are, and which names are valid."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, folder: str, file: str) -> Path:
        """The path of a file. Raises ValueError for a name that we would not use."""
        if not self.is_folder_name(folder) or not _FILE.fullmatch(file):
            raise ValueError("not a name that the archive uses")
        return self.root / folder[-2:] / folder / file

    @staticmethod
    def is_folder_name(folder: str) -> bool:
        """Whether this is a valid name for a folder."""
        return folder == SAMPLE or is_ref(folder) or _DIGEST.fullmatch(folder) is not None

    def make_folder(self, folder: Path) -> None:
        """Make a folder for its owner only, durably; nothing if it exists."""
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
    """The files of the archive in the folder `root`, which is created with the first file.

    Each folder in it belongs to a task (named by its ref), to a digest (`digest-` and the send's id), or is `sample`.
    With `shared`, other processes write there too.
    """

    def __init__(self, root: Path, *, shared: bool = False) -> None:
        self.root = root
        self._shared = shared
        self._folder = _ArchiveLayout(root)
        self._mark = secrets.token_hex(4)  # marks this process's temporary names

    def find_file(self, folder: str, file: str) -> Path | None:
        """The file's path, if it exists. Any name may be given: none leads outside the archive."""
        try:
            path = self._folder.path_of(folder, file)
        except ValueError:
            return None
        with contextlib.suppress(OSError):
            return path if stat.S_ISREG(path.lstat().st_mode) else None
        return None

    async def save_file(self, folder: str, file: str, content: bytes) -> Path:
        """Write `content` to a file, replacing what had that name; on disk when this returns.

        Raises Unwritable, and ValueError for a name that `find_file` would not find.
        """
        self._folder.path_of(folder, file)  # before anything is written
        async with self.open_pending() as part:
            await part.write(content)
            return await part.keep_as(folder, file)

    @contextlib.asynccontextmanager
    async def open_pending(self) -> AsyncIterator[PendingFile]:
        """A file to be written piece by piece, and kept under a name once that is known."""
        part = PendingFile(self._folder, self._folder.root / _PARTS / f"{self._mark}-{secrets.token_hex(8)}.part")
        try:
            yield part
        finally:
            await part.discard()

    def disk_space(self) -> tuple[int, int]:
        """Free and total bytes of the archive's disk. Raises Unwritable."""
        with _translate_os_errors():
            near = next(it for it in (self._folder.root, *self._folder.root.parents) if it.is_dir())
            disk = os.statvfs(near)
        return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize

    async def remove_folders(self, folders: Sequence[str]) -> None:
        """Remove the folders of these tasks and digests. Raises Unwritable."""
        await asyncio.to_thread(self._remove_folders, folders)

    async def list_tops(self) -> list[str]:
        """The top folders, by name; those of tasks and digests are in them. Some hundreds. Raises Unwritable."""
        return await asyncio.to_thread(self._list_named, self._folder.root, lambda name: len(name) == 2)

    async def list_folders(self, top: str) -> list[str]:
        """The folders of tasks and digests in a top folder, by name; perhaps thousands. Raises Unwritable."""
        return await asyncio.to_thread(
            self._list_named,
            self._folder.root / top,
            lambda name: name[-2:] == top and self._folder.is_folder_name(name),
        )

    async def keep_only(self, files: Mapping[str, Collection[str]], before: int) -> int:
        """Remove from each folder the files that are not listed for it and were written before `before` (milliseconds).

        Returns how many were removed. Raises Unwritable.
        """
        return await asyncio.to_thread(self._keep_only, files, before)

    async def remove_old_pending(self, before: int) -> int:
        """Remove files with temporary names written before `before` (milliseconds). Raises Unwritable."""
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
        """Removes the folder too if it is left empty. Folders inside it stay."""
        count = 0
        if path.is_symlink():  # what it leads to is not ours
            return 0
        with (
            _translate_os_errors(),
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            pinned_folder(path) as folder,
        ):
            young = before is not None and folder.stat().st_mtime * 1000 >= before
            with os.scandir(folder) as entries:
                for it in entries:
                    with contextlib.suppress(FileNotFoundError):
                        old = before is None or it.stat(follow_symlinks=False).st_mtime * 1000 < before
                        if old and it.name not in kept and not it.is_dir(follow_symlinks=False):
                            os.unlink(it)
                            count += 1
            if not young:
                with contextlib.suppress(OSError), pinned_folder(path.parent) as around:  # it is not empty
                    (around / path.name).rmdir()
        return count

    @staticmethod
    def _list_named(path: Path, is_good: Callable[[str], bool]) -> list[str]:
        with (
            _translate_os_errors(),
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            pinned_folder(path) as folder,
            os.scandir(folder) as entries,
        ):
            return sorted(it.name for it in entries if is_good(it.name) and it.is_dir(follow_symlinks=False))
        return []

    async def remove_leftovers(self) -> None:
        """Remove what an earlier process left under temporary names. Raises Unwritable."""
        await asyncio.to_thread(self._remove_leftovers)

    def _remove_leftovers(self) -> None:
        if self._shared:  # young ones may be of processes that live
            self._remove_from(self._folder.root / _PARTS, (), time.time_ns() // 1_000_000 - LEFT_MS)
            return
        with (
            _translate_os_errors(),
            contextlib.suppress(FileNotFoundError),
            pinned_folder(self._folder.root / _PARTS) as folder,
        ):
            for path in folder.iterdir():
                if path.name.endswith(".part") and not path.name.startswith(f"{self._mark}-"):
                    path.unlink(missing_ok=True)


@contextlib.contextmanager
def _translate_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unwritable(f"cannot write to the archive: {error.strerror or error}") from error
