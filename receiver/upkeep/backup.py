"""Backup, rotation and restore of the service's state; backups are made while the service runs.

A backup is one file: a copy of the database with the secret keys in it, since without them the service would refuse the
callback URLs that are in use. Copies of pictures can go into a folder beside it. Backup and restore are atomic, and a
restore keeps what was there before under another name.
"""

import itertools
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from receiver import __version__
from receiver.atomic_files import (
    DRAFT_SUFFIX,
    copy_content,
    draft_file,
    explain_os_errors,
    fsync_path,
    is_being_written,
    remove_path,
    rename_into_place,
    require_free_space,
)
from receiver.core.errors import CorruptDatabase, NewerSchema, StoreError, StoreUnavailable, Unwritable
from receiver.core.types import Clock
from receiver.store.sqlite import backup
from receiver.store.sqlite.files import chown_if_root, database_owner, take_lock
from receiver.upkeep import backup_pictures
from receiver.upkeep.backup_pictures import ImagesMode

MANIFEST = "manifest"
_ASIDE = ".before-restore-"
_BESIDE = ("-wal", "-shm", "-journal")


class BackupManifest(Struct, frozen=True):
    """What a backup says about itself."""

    version: str  # of this program
    made_at: int


class BackupResult(Struct, frozen=True):
    """A backup that was made. `size` is in bytes; `images` is None if they were left out; rotation `removed` others."""

    file: str
    size: int
    schema: int
    tasks: int
    keys: int
    images: int | None
    removed: tuple[str, ...] = ()


class RestoreResult(Struct, frozen=True):
    """What was restored. `made_at` is None if it was a plain database instead of a backup."""

    schema: int
    tasks: int
    unsure: int  # tasks that were queued then and may have been submitted since
    made_at: int | None
    images: int
    aside: str | None  # where the previous database is now
    keys_added: int  # secret keys that were missing here
    keys_new: bool  # there were none here before


def back_up(
    database: Path, pattern: Path, kept: Mapping[str, tuple[str, ...]], archive: Path, clock: Clock, images: ImagesMode
) -> BackupResult:
    """Back up the `database`, and the secrets in `kept` with it, into a file; the service may be running.

    The file's name may contain strftime codes for a date in UTC. Raises StoreError and Unwritable.
    """
    now = clock()
    file = pattern.with_name(datetime.fromtimestamp(now / 1000, UTC).strftime(pattern.name))
    if not database.is_file():
        raise StoreUnavailable(
            f"there is no database {database}", remedy="say where it is with --config or RECEIVER_DATABASE_URL"
        )
    whose = database_owner(database)
    with explain_os_errors(f"cannot write {file}"):
        _make_folder(file.parent, whose)
        if file.exists() and not backup.is_backup(file):
            raise Unwritable(f"{file} exists and is not a backup", remedy="give the backup another name")
        require_free_space(file.parent, database.stat().st_size)
        with draft_file(file) as part:
            _give_to_owner(part, whose)
            manifest = msgspec.json.encode(BackupManifest(__version__, now))
            words = {name: "\n".join(each).encode() for name, each in kept.items() if each}
            inside = backup.copy_database(database, part, {MANIFEST: manifest, **words})
            taken = (
                None
                if images is ImagesMode.NONE
                else backup_pictures.back_up_pictures(archive, backup_pictures.folder_of(file), images)
            )
            rename_into_place(part, file)
    return BackupResult(
        str(file), file.stat().st_size, inside.schema, inside.tasks, len(kept.get("secret_keys", ())), taken
    )


def _make_folder(folder: Path, whose: tuple[int, int]) -> None:
    """Make a folder for backups, for its owner only."""
    if not folder.exists():
        _make_folder(folder.parent, whose)
        folder.mkdir(mode=0o700, exist_ok=True)
        _give_to_owner(folder, whose)


def _give_to_owner(path: Path, whose: tuple[int, int]) -> None:
    """What we make in a folder of the service's user belongs to that user; elsewhere it keeps its owner."""
    if path.parent.stat().st_uid == whose[0]:
        chown_if_root(path, whose)


def rotate_backups(pattern: Path, keep: int) -> tuple[str, ...]:
    """Remove all but the newest `keep` backups with names that fit the pattern, and what killed backups left behind.

    Raises Unwritable.
    """
    found: dict[Path, datetime] = {}
    with explain_os_errors(f"cannot remove old backups from {pattern.parent}"):
        for path in pattern.parent.iterdir():
            name = path.name.removesuffix(DRAFT_SUFFIX)
            file = path.with_name(name.removesuffix(backup_pictures.SUFFIX))
            if (made := _date_in_name(file.name, pattern.name)) is None:
                continue
            if path == file:
                if path.is_file() and backup.is_backup(path):
                    found[path] = made
            elif (name != path.name or not file.exists()) and not is_being_written(file):
                remove_path(path)
        old = sorted(found, key=lambda it: found[it], reverse=True)[keep:]
        for path in old:
            path.unlink()
            remove_path(backup_pictures.folder_of(path))
    return tuple(map(str, old))


def has_date(pattern: str) -> bool:
    """Whether a name contains strftime codes for a date."""
    return datetime.fromtimestamp(0, UTC).strftime(pattern) != datetime.fromtimestamp(1e9, UTC).strftime(pattern)


def restore_backup(
    file: Path, database: Path, state_dir: Path, *, given_keys: tuple[str, ...], clock: Clock, queue: bool
) -> RestoreResult:
    """Replace `database` with a backup, or with a plain copy of a database. The service must not be running.

    1. The copy is made beside the database, checked page by page, and then takes its place in one step. Unless `queue`,
       its queued tasks become unsure, since they may have been submitted after the backup.
    2. The previous database is kept under a name with the time in it.
    3. Secret keys that are missing here are added behind the present ones, unless settings give the keys
       (`given_keys`): callback URLs of both stay valid. API tokens are restored only if there are none.
    4. Pictures that are missing here come from the folder beside the backup.

    Raises DatabaseLocked, CorruptDatabase, NewerSchema, other StoreErrors, and Unwritable.
    """
    if not file.is_file():
        raise StoreError(f"the backup {file} does not exist")
    database = database.resolve()
    lock = take_lock(database)
    try:
        whose = database_owner(database)
        with explain_os_errors(f"cannot restore into {database.parent}"):
            _undo_killed_restore(database)
            require_free_space(database.parent, file.stat().st_size)
            with draft_file(database) as part:
                chown_if_root(part, whose)
                copy_content(file, part)
                inside = _judge_copy(part, file)
                manifest = inside.kept.get(MANIFEST)
                backup.prepare_restored(part, clock(), queue=queue)
                words = {name: tuple(text.decode().split()) for name, text in inside.kept.items() if name != MANIFEST}
                added, new = _put_keys(state_dir, words, given_keys, whose)
                put = backup_pictures.restore_pictures(backup_pictures.folder_of(file), state_dir / "images", whose)
                aside = _swap_database(database, part, clock())
        return RestoreResult(
            schema=inside.schema,
            tasks=inside.tasks,
            unsure=0 if queue else inside.queued,
            made_at=msgspec.json.decode(manifest, type=BackupManifest).made_at if manifest else None,
            images=put,
            aside=None if aside is None else str(aside),
            keys_added=added,
            keys_new=new,
        )
    finally:
        os.close(lock)


def _swap_database(database: Path, part: Path, now: int) -> Path | None:
    """Rename `part` to `database`; returns where the previous database is now.

    The previous one gets its second name first, so that the rename loses nothing. Its write-ahead log must be gone by
    then, or SQLite would apply it to the new one: it is checkpointed into the old database, or kept with it where a
    damaged database does not allow that.
    """
    backup.checkpoint_wal(database)
    ends = [end for end in ("", *_BESIDE) if os.path.exists(f"{database}{end}")]
    stamp = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y%m%dT%H%M%S")
    aside = _free_name(f"{database}{_ASIDE}{stamp}")
    for end in ends:
        os.link(f"{database}{end}", f"{aside}{end}")
    fsync_path(database.parent)
    for end in ends:
        if end:
            os.unlink(f"{database}{end}")
    rename_into_place(part, database)
    return aside if "" in ends else None


def _free_name(name: str) -> Path:
    """This name, with a number behind it if it is taken."""
    names = (Path(name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(path for path in names if not path.exists())


def _undo_killed_restore(database: Path) -> None:
    """Undo a restore that was killed before its copy took the database's place: remove second names, and bring back
    what it had put aside."""
    for path in database.parent.glob(f"{database.name}{_ASIDE}*"):
        if path.name.endswith(_BESIDE) or not database.exists() or not path.samefile(database):
            continue
        for end in (*_BESIDE, ""):  # the second name of the database last, since it leads to the rest
            there, here = Path(f"{path}{end}"), Path(f"{database}{end}")
            if there.exists() and not here.exists():
                there.rename(here)
            elif there.exists() and there.samefile(here):
                there.unlink()


def _judge_copy(part: Path, file: Path) -> backup.DatabaseSummary:
    try:
        return backup.verify_database(part)
    except NewerSchema:
        raise
    except CorruptDatabase as error:
        why = error.__cause__ or error.problem  # SQLite's own words; our remedy is for the database in use
        raise CorruptDatabase(
            f"{file} is damaged ({why}), so nothing was changed", remedy="use an earlier backup"
        ) from error
    except StoreError as error:
        raise StoreError(f"{file}: {error.problem}, so nothing was changed", remedy=error.remedy) from error


# -- keys --


def _put_keys(
    state_dir: Path, words: Mapping[str, tuple[str, ...]], given: tuple[str, ...], whose: tuple[int, int]
) -> tuple[int, bool]:
    """Returns how many secret keys were added, and whether there were none before."""
    tokens = state_dir / "api_tokens"
    if words.get("api_tokens") and not tokens.exists():
        _write_words(tokens, words["api_tokens"], whose)
    if given:
        return 0, False
    path = state_dir / "secret_keys"
    here = tuple(path.read_text().split()) if path.exists() else ()
    added = tuple(key for key in words.get("secret_keys", ()) if key not in here)
    if added:
        _write_words(path, here + added, whose)
    return len(added), not here


def _write_words(path: Path, words: Iterable[str], whose: tuple[int, int]) -> None:
    with draft_file(path) as part:
        chown_if_root(part, whose)
        part.write_text("".join(f"{word}\n" for word in words))
        fsync_path(part)
        rename_into_place(part, path)


def _date_in_name(name: str, pattern: str) -> datetime | None:
    """The date in a name that fits the pattern; None if it does not fit."""
    try:
        made = datetime.strptime(name, pattern)
    except ValueError:
        return None
    return made if made.strftime(pattern) == name else None
