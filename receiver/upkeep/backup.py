"""Upkeep of the state as a whole: a backup beside the running service, its rotation, and putting it back.

A backup is one file: a copy of the database with the keys in it, without which the callback URLs that are out would be
refused; copies of pictures go into a folder beside it, if they are wanted. It is there whole under its name, or not at
all, and so is what is restored; what was there before is kept aside.
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
    """What a backup says of itself."""

    version: str  # of this program
    made_at: int


class BackupResult(Struct, frozen=True):
    """A backup that was made: sizes in bytes; `images` None if they were left out; `removed` by rotation."""

    file: str
    size: int
    schema: int
    tasks: int
    keys: int
    images: int | None
    removed: tuple[str, ...] = ()


class RestoreResult(Struct, frozen=True):
    """What was restored, from a backup made at `made_at` (None: a plain database), and what was done to the rest."""

    schema: int
    tasks: int
    unsure: int  # tasks that were queued, and may have been submitted since
    made_at: int | None
    images: int
    aside: str | None  # where the database is that was there before
    keys_added: int  # secret keys that were not here
    keys_new: bool  # they are all there are


def back_up(
    database: Path, pattern: Path, kept: Mapping[str, tuple[str, ...]], archive: Path, clock: Clock, images: ImagesMode
) -> BackupResult:
    """Copy the `database` into a file, and the words that are `kept` with it, while the service may be running.

    The file's name may have a date in it, as strftime writes it, in UTC. Raises StoreError's children, Unwritable.
    """
    now = clock()
    file = pattern.with_name(datetime.fromtimestamp(now / 1000, UTC).strftime(pattern.name))
    if not database.is_file():
        raise StoreUnavailable(
            f"there is no database {database}: say where it is, by --config or RECEIVER_DATABASE_URL"
        )
    whose = database_owner(database)
    with explain_os_errors(f"cannot write {file}"):
        _make_folder(file.parent, whose)
        if file.exists() and not backup.is_backup(file):
            raise Unwritable(f"{file} is there already and is no backup: give another name")
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
            os.rename(part, file)
            fsync_path(file.parent)
    return BackupResult(
        str(file), file.stat().st_size, inside.schema, inside.tasks, len(kept.get("secret_keys", ())), taken
    )


def _make_folder(folder: Path, whose: tuple[int, int]) -> None:
    """Have a folder for backups, for its owner only."""
    if not folder.exists():
        _make_folder(folder.parent, whose)
        folder.mkdir(mode=0o700, exist_ok=True)
        _give_to_owner(folder, whose)


def _give_to_owner(path: Path, whose: tuple[int, int]) -> None:
    """What is made in a folder of the service's user is that user's too; elsewhere it stays with whoever made it."""
    if path.parent.stat().st_uid == whose[0]:
        chown_if_root(path, whose)


def rotate_backups(pattern: Path, keep: int) -> tuple[str, ...]:
    """Remove all but the newest `keep` backups whose names fit the pattern, and what killed backups left behind.

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
    """Whether a name has a date in it, as strftime writes it."""
    return datetime.fromtimestamp(0, UTC).strftime(pattern) != datetime.fromtimestamp(1e9, UTC).strftime(pattern)


def restore_backup(
    file: Path, database: Path, state_dir: Path, *, given_keys: tuple[str, ...], clock: Clock, queue: bool
) -> RestoreResult:
    """Put a backup, or a plain copy of a database, in the place of `database`. Nobody may be using it.

    1. The copy is made beside it, checked page by page, and only then takes its place, in one step. Unless `queue`,
       what was queued in it may have been submitted since: such tasks are unsure.
    2. What was there before is kept aside under a name with the time in it.
    3. Secret keys that are not here are added behind those that are, if settings do not give them (`given_keys`):
       callback URLs of either remain good. API tokens are put back only where there are none.
    4. Pictures that are not here come from the folder beside the backup.

    Raises Locked, Corrupt, Newer, other StoreErrors, Unwritable.
    """
    if not file.is_file():
        raise StoreError(f"there is no backup {file}")
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
    """Let `part` take the database's place; where what was there is now.

    The old one gets its second name first, so that the rename which removes its first name loses nothing. Its log must
    be gone by then, or it would be taken for the new one's: it is folded into it, or, where that cannot be because the
    database is damaged, put aside with it.
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
    os.rename(part, database)
    fsync_path(database.parent)
    return aside if "" in ends else None


def _free_name(name: str) -> Path:
    """This name, or with a number behind it where it is taken."""
    names = (Path(name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(path for path in names if not path.exists())


def _undo_killed_restore(database: Path) -> None:
    """Undo what a restore did that was killed before its copy took the database's place: second names go, and what was
    put aside already comes back."""
    for path in database.parent.glob(f"{database.name}{_ASIDE}*"):
        if path.name.endswith(_BESIDE) or not database.exists() or not path.samefile(database):
            continue
        for end in (*_BESIDE, ""):  # the second name of the database last: by it the rest is found
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
        why = error.__cause__ or error  # SQLite's own words: ours have a remedy, which is for the database in use
        raise CorruptDatabase(f"{file} is damaged, and nothing was changed: take an earlier backup ({why})") from error
    except StoreError as error:
        raise StoreError(f"{file}: {error}; nothing was changed") from error


# -- keys --


def _put_keys(
    state_dir: Path, words: Mapping[str, tuple[str, ...]], given: tuple[str, ...], whose: tuple[int, int]
) -> tuple[int, bool]:
    """How many secret keys were added to those that are here, and whether there were none."""
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
        os.rename(part, path)
        fsync_path(path.parent)


def _date_in_name(name: str, pattern: str) -> datetime | None:
    """When a name that fits the pattern says that it was made."""
    try:
        made = datetime.strptime(name, pattern)
    except ValueError:
        return None
    return made if made.strftime(pattern) == name else None
