"""Opens files for root where another user may have planted links: symlink and hard link attacks fail.

The service's user owns the state directory, and root runs `backup`, `restore`, `doctor`, `prune` and others there. So
root walks each path folder by folder:

1. In a folder that only root can change, links are followed as usual.
2. In another user's folder no link is followed. What is there must belong to that user or, under this one name, to
   root: a second name (a hard link) could be one of root's own files from elsewhere.
3. The descriptor that was checked is the one that is used. The name is not looked up again.

Other users than root could only open what they may open anyway, so for them nothing is checked.
"""

import contextlib
import errno
import fcntl
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

from msgspec import Struct

from receiver.core.errors import ReceiverError, UnsafeFile

_LINKS_MOST = 40  # as the kernel has it
_PRIVATE = ".receiver-upkeep-"  # the beginning of the names of `private_folder`
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Trust(IntEnum):
    """Who can put something into a folder."""

    OURS = 0  # only root
    SHARED = 1  # others too, as in /tmp
    FOREIGN = 2  # its owner, who is not root


def judge_folder(folder: os.stat_result, trusted: frozenset[int]) -> Trust:
    """Pure, like `why_unsafe`: `trusted` are the users that count as root."""
    if folder.st_uid not in trusted:
        return Trust.FOREIGN
    return Trust.SHARED if folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else Trust.OURS


def why_unsafe(found: os.stat_result, folder: os.stat_result, trusted: frozenset[int]) -> str | None:
    """Why what was `found` in `folder`, itself and not what it links to, may have been planted for root; else None."""
    trust, is_folder = judge_folder(folder, trusted), stat.S_ISDIR(found.st_mode)
    if trust is Trust.OURS or (trust is Trust.SHARED and is_folder):
        return None
    if stat.S_ISLNK(found.st_mode):
        ours = trust is Trust.SHARED and found.st_uid in trusted
        return None if ours else "is a link, and root follows no link in another user's folder"
    if trust is Trust.FOREIGN and found.st_uid not in trusted | {folder.st_uid}:
        return f"belongs to {user_name(found.st_uid)}, and its folder to {user_name(folder.st_uid)}"
    if not is_folder and found.st_nlink > 1 and (trust is Trust.SHARED or found.st_uid != folder.st_uid):
        return f"belongs to {user_name(found.st_uid)} and has a second name elsewhere (a hard link)"
    return None


def user_name(number: int) -> str:
    """The name of a user, for messages."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a DynamicUser that is not running now
        return f"user {number}"


def is_guarded() -> bool:
    """Whether this process may open what its caller's users could not: only then is anything checked."""
    return os.geteuid() == 0


def open_file(path: str | Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of an existing regular file; also an `opener` for `open`. Raises UnsafeFile and OSError."""
    if not is_guarded():
        return os.open(path, flags | os.O_CLOEXEC)
    with _walked(Path(path)) as found:
        state = os.fstat(_existing(found, path))
        if not stat.S_ISREG(state.st_mode):  # a FIFO would block us
            raise UnsafeFile(f"{path} is not a file", remedy="move it away")
        return os.open(_by_descriptor(found.file), flags & ~os.O_NOFOLLOW | os.O_CLOEXEC)


def real_path(path: Path) -> Path:
    """The path without links, of what is safe to open or does not exist yet. Raises UnsafeFile and OSError.

    For a library that takes only names, such as SQLite: check with `opened_files` what it has opened.
    """
    if not is_guarded():
        return path.resolve()
    with _walked(path) as found:
        return found.path


def look_at(path: Path) -> os.stat_result | None:
    """What is there, if it is safe to open; None if nothing is. Raises UnsafeFile and OSError."""
    if not is_guarded():
        return os.stat(path) if os.path.exists(path) else None
    with _walked(path) as found:
        return None if found.file == -1 else os.fstat(found.file)


def is_exposed(folder: Path) -> bool:
    """Whether this is root, and others can put links into the folder, even while it is in use."""
    if not is_guarded():
        return False
    with _walked(folder) as found:
        return judge_folder(os.fstat(_existing(found, folder)), _trusted_users()) is not Trust.OURS


@contextlib.contextmanager
def pinned_folder(path: Path) -> Iterator[Path]:
    """A path that leads to this very folder, whatever becomes of its name meanwhile. Raises UnsafeFile and OSError.

    Errors that pass through call the folder by its own name.
    """
    if not is_guarded():
        yield path
        return
    with _walked(path) as found:
        pinned = _by_descriptor(_existing(found, path))
        if not stat.S_ISDIR(os.fstat(found.file).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        try:
            yield Path(pinned)
        except ReceiverError as error:
            error.problem = error.problem.replace(pinned, str(path))
            error.remedy = error.remedy and error.remedy.replace(pinned, str(path))
            error.args = tuple(it.replace(pinned, str(path)) for it in error.args)
            raise
        except OSError as error:
            if isinstance(error.filename, str):
                error.filename = error.filename.replace(pinned, str(path))
            raise


@contextlib.contextmanager
def private_folder(folder: Path) -> Iterator[Path]:
    """A folder for work whose results are then moved into `folder`: nobody else can change what is in it.

    That is `folder` itself, unless root works in another user's. Then a new one is made above it, in the last folder
    on the way that only root can change, and removed afterwards. Raises UnsafeFile and OSError.
    """
    if not is_guarded():
        yield folder
        return
    with _walked(folder) as found:
        safe = found.safe
        if judge_folder(os.fstat(_existing(found, folder)), _trusted_users()) is Trust.OURS and safe == found.path:
            yield folder
            return
    _remove_left_folders(safe)
    made = Path(tempfile.mkdtemp(prefix=_PRIVATE, dir=safe))
    lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield made
    finally:
        os.close(lock)
        shutil.rmtree(made, ignore_errors=True)


def opened_files() -> dict[int, os.stat_result]:
    """The regular files that this process has open, by descriptor."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            state = os.stat(f"/proc/self/fd/{name}")
            if stat.S_ISREG(state.st_mode):
                found[int(name)] = state
    return found


# -- the walk --


class _Step(Struct, frozen=True):
    """A folder (or, at the end, a file) on the way: a descriptor for looking only, and its name."""

    opened: int
    name: str
    safe: bool  # nobody else can change it, nor any folder above it; in a sticky one, our own files are safe too


class _Found(Struct, frozen=True):
    """Where a walk ended: `file` is -1 if it does not exist. `safe` is the last safe folder on the way."""

    file: int
    path: Path
    safe: Path


@contextlib.contextmanager
def _walked(path: Path) -> Iterator[_Found]:
    """Walk to `path`. Raises UnsafeFile, and FileNotFoundError if a folder on the way does not exist."""
    trusted = _trusted_users()
    left = list(reversed(path.absolute().parts[1:]))
    steps = [_Step(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), "/", safe=True)]
    try:
        file, links = steps[0].opened, 0
        while left:
            name, folder = left.pop(), steps[-1].opened
            if name == "..":
                if len(steps) > 1:
                    os.close(steps.pop().opened)
                continue
            place = Path(*(it.name for it in steps), name)
            try:
                opened = os.open(name, _LOOK, dir_fd=folder)
            except FileNotFoundError:
                if left:
                    raise
                file = -1
                break
            state = os.fstat(opened)
            is_link = stat.S_ISLNK(state.st_mode)
            if not is_link:
                steps.append(_Step(opened, name, steps[-1].safe and _is_safe_folder(state, trusted)))
            try:
                if (why := why_unsafe(state, os.fstat(folder), trusted)) is not None:
                    away = f"remove it: `rm {place}`" if "link" in why else f"move it away: `mv {place} /root/`"
                    raise UnsafeFile(f"{place} {why}", remedy=f"see what it is with `ls -ld {place}`, and {away}")
                target = Path(os.readlink("", dir_fd=opened)) if is_link else Path()
            finally:
                if is_link:
                    os.close(opened)
            if is_link:
                links += 1
                if links > _LINKS_MOST:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
                left += [it for it in reversed(target.parts) if it != "/"]
                if target.is_absolute():
                    while len(steps) > 1:
                        os.close(steps.pop().opened)
        names = [it.name for it in steps]
        if file != -1:
            file = steps[-1].opened
        else:
            names.append(name)
        yield _Found(file, Path(*names), Path(*(it.name for it in steps if it.safe)))
    finally:
        for step in steps:
            os.close(step.opened)


def _trusted_users() -> frozenset[int]:
    """Root; and in a user namespace, where the host's root is nobody, the owner of /."""
    return frozenset({0, os.stat("/").st_uid})


def _is_safe_folder(state: os.stat_result, trusted: frozenset[int]) -> bool:
    if not stat.S_ISDIR(state.st_mode):
        return False
    trust = judge_folder(state, trusted)
    return trust is Trust.OURS or (trust is Trust.SHARED and bool(state.st_mode & stat.S_ISVTX))


def _existing(found: _Found, path: str | Path) -> int:
    if found.file == -1:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return found.file


def _by_descriptor(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _remove_left_folders(folder: Path) -> None:
    """Remove what killed processes left of their private folders."""
    for left in folder.glob(f"{_PRIVATE}*"):
        with contextlib.suppress(OSError):
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)
