"""Backup, rotation and restore of the service's state; backups are made while the service runs.

A backup is one file: a copy of the database with the secret keys in it, since without them the service would refuse the
callback URLs that are in use. Copies of pictures can go into a folder beside it. Backup and restore are atomic, and a
restore keeps what was there before under another name.

Root may do this in folders of the service's user, so nothing here is opened through a link there: see `safe_open`.
"""

import fcntl
import itertools
import os
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from receiver import __version__
from receiver.atomic_files import (
    DRAFT_SUFFIX,
    atomic_write,
    draft_file,
    explain_os_errors,
    fsync_path,
    is_being_written,
    move_into_place,
    remove_path,
    require_free_space,
)
from receiver.core.errors import CorruptDatabase, NewerSchema, StoreError, StoreUnavailable, Unwritable
from receiver.core.money import amount_text
from receiver.core.types import Clock
from receiver.safe_open import look_at, open_file, pinned_folder, private_folder
from receiver.store.sqlite import backup
from receiver.store.sqlite.backup import FoldedLog
from receiver.store.sqlite.files import (
    SIDE_FILES,
    chown_if_ours,
    chown_path_if_ours,
    database_owner,
    resolve_database,
    take_lock,
)
from receiver.upkeep import backup_pictures
from receiver.upkeep.backup_pictures import ImagesMode

MANIFEST = "manifest"
_ASIDE = ".before-restore-"
_WITH_COMMITS = ("-wal", "-journal")  # what may hold commits, or parts of them, beside a plain copy of a database
_IF_NONE = ("api_tokens", "password_hash")  # restored only if there are none
_SECRETS = ("secret_keys", *_IF_NONE)
_SECRETS_MOST = 1 << 20  # bytes


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
    batches_closed: int  # batches that were open then: rows that they took since are not known
    made_at: int | None
    images: int
    aside: str | None  # where the previous database is now
    keys_added: int  # secret keys that were missing here
    keys_new: bool  # there were none here before
    keys_found: int  # secret keys in the backup, or beside a plain database
    log_pages: int = 0  # that were taken from the -wal beside a plain database
    log_left_out: int = 0  # that were not, because their transaction is not whole
    spent_since: str | None = None  # USD that the previous database knows of; None: it cannot be read


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
    database = resolve_database(database)
    whose = database_owner(database)
    with explain_os_errors(f"cannot write {file}"):
        if not file.parent.is_dir():
            raise Unwritable(
                f"the folder {file.parent} does not exist",
                remedy=f"correct the path, or make it with `mkdir -m 700 {file.parent}`",
            )
        if look_at(file) is not None and not backup.is_backup(file):
            raise Unwritable(f"{file} exists and is not a backup", remedy="give the backup another name")
        require_free_space(file.parent, database.stat().st_size)
        with (
            pinned_folder(file.parent) as folder,
            private_folder(file.parent) as work,
            draft_file(work / file.name) as part,
        ):
            manifest = msgspec.json.encode(BackupManifest(__version__, now))
            words = {name: "\n".join(each).encode() for name, each in kept.items() if each}
            inside = backup.copy_database(database, part, {MANIFEST: manifest, **words})
            taken = (
                None
                if images is ImagesMode.NONE
                else backup_pictures.back_up_pictures(archive, backup_pictures.folder_of(file), images)
            )
            if folder.stat().st_uid == whose[0]:  # elsewhere it keeps its owner
                chown_path_if_ours(part, whose)
            size = part.stat().st_size
            move_into_place(part, folder / file.name)
    return BackupResult(str(file), size, inside.schema, inside.tasks, len(kept.get("secret_keys", ())), taken)


def rotate_backups(pattern: Path, keep: int) -> tuple[str, ...]:
    """Remove all but the newest `keep` backups with names that fit the pattern, and what killed backups left behind.

    Raises Unwritable.
    """
    found: dict[Path, datetime] = {}
    with explain_os_errors(f"cannot remove old backups from {pattern.parent}"), pinned_folder(pattern.parent) as folder:
        for path in folder.iterdir():
            name = path.name.removesuffix(DRAFT_SUFFIX)
            file = path.with_name(name.removesuffix(backup_pictures.SUFFIX))
            if (made := _date_in_name(file.name, pattern.name)) is None or path.is_symlink():
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
    return tuple(str(pattern.with_name(path.name)) for path in old)


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
       (`given_keys`): callback URLs of both stay valid. API tokens, or the pages' password, only if there are none.
    4. Pictures that are missing here come from the folder beside the backup.

    A plain copy of a database may be three files: what its -wal holds is folded in, and the secrets and pictures beside
    it are taken like those in a backup.

    Raises DatabaseLocked, CorruptDatabase, NewerSchema, other StoreErrors, UnsafeFile and Unwritable.
    """
    with explain_os_errors(f"cannot read {file}"):
        if look_at(file) is None or not file.is_file():
            raise StoreError(f"the backup {file} does not exist")
    database = resolve_database(database)
    if database.exists() and database.samefile(file):
        raise StoreError(f"{file} is the database that is in use", remedy="name a backup of it")
    lock = take_lock(database)
    try:
        whose = database_owner(database)
        with explain_os_errors(f"cannot restore into {database.parent}"):
            with pinned_folder(database.parent) as folder:
                _undo_killed_restore(folder / database.name)
            require_free_space(database.parent, file.stat().st_size)
            with private_folder(database.parent) as work, draft_file(work / database.name) as part:
                folded = _copy_whole(file, part)
                inside = _judge_copy(part, file)
                manifest = inside.kept.get(MANIFEST)
                made_at = msgspec.json.decode(manifest, type=BackupManifest).made_at if manifest else None
                closed = backup.prepare_restored(
                    part, clock(), queue=queue, batches_closed=_closed_why(made_at), made_at=made_at
                )
                spent = backup.carry_books(part, database)
                words = {name: tuple(text.decode().split()) for name, text in inside.kept.items() if name != MANIFEST}
                pictures = backup_pictures.folder_of(file)
                if manifest is None:
                    words, pictures = _read_secrets_beside(file), file.with_name("images")
                added, new = _put_keys(state_dir, words, given_keys, whose)
                put = backup_pictures.restore_pictures(pictures, state_dir / "images", whose)
                chown_path_if_ours(part, whose)
                with pinned_folder(database.parent) as folder:
                    aside = _swap_database(database, folder, part, clock())
        return RestoreResult(
            schema=inside.schema,
            tasks=inside.tasks,
            unsure=0 if queue else inside.queued,
            batches_closed=closed,
            made_at=made_at,
            images=put,
            aside=None if aside is None else str(aside),
            keys_added=added,
            keys_new=new,
            keys_found=len(words.get("secret_keys", ())),
            log_pages=folded.pages,
            log_left_out=folded.left_out,
            spent_since=None if spent is None else amount_text(spent),
        )
    finally:
        os.close(lock)


def _closed_why(made_at: int | None) -> str:
    of = f" of {datetime.fromtimestamp(made_at / 1000, UTC):%Y-%m-%d %H:%M} UTC" if made_at else ""
    return f"a backup{of} was restored, which does not know the rows that were sent after it"


def _copy_whole(file: Path, part: Path) -> FoldedLog:
    """Copy a database with all its commits into the empty file `part`; what came from its log. Raises StoreError."""
    for end in SIDE_FILES:  # a killed restore's
        Path(f"{part}{end}").unlink(missing_ok=True)
    if _is_in_use(file):
        raise StoreError(f"a service is using {file}", remedy="copy it with `receiver backup`, and restore that")
    _copy_file(file, part)
    beside = [end for end in _WITH_COMMITS if (found := look_at(Path(f"{file}{end}"))) is not None and found.st_size]
    if not beside:
        return FoldedLog()
    if backup.is_backup(part):
        raise StoreError(
            f"{file}{beside[0]} lies beside a backup, which is whole without it, so nothing was changed",
            remedy=f"if nobody has changed the backup on purpose, move it away: `mv {file}{beside[0]} {file}.aside`",
        )
    try:
        for end in beside:
            _copy_file(Path(f"{file}{end}"), Path(f"{part}{end}"))
        return backup.fold_in_log(part)
    except StoreError as error:
        raise CorruptDatabase(
            f"{file}{beside[0]} cannot be applied to {file} ({error.problem}), so nothing was changed",
            remedy="copy both again while the service is stopped, or use an earlier backup; if a part of the -wal can "
            "be read and you want only that, cut a copy of it with `truncate -s BYTES`",
        ) from error
    finally:
        for end in SIDE_FILES:
            Path(f"{part}{end}").unlink(missing_ok=True)


def _copy_file(file: Path, copy: Path) -> None:
    with (
        open(file, "rb", opener=open_file) as source,
        open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as target,
    ):
        shutil.copyfileobj(source, target, 1 << 20)


def _is_in_use(file: Path) -> bool:
    """Whether a service holds the lock of the database `file`."""
    try:
        lock = open_file(f"{file}.lock")
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _read_secrets_beside(file: Path) -> dict[str, tuple[str, ...]]:
    """The generated secrets beside a plain copy of a database, as in a copy of a whole state directory."""
    words = {}
    for name in _SECRETS:
        try:
            with open(file.with_name(name), "rb", opener=open_file) as secrets:
                words[name] = tuple(secrets.read(_SECRETS_MOST).decode().split())
        except FileNotFoundError:
            continue
        except UnicodeDecodeError:
            raise StoreError(f"{file.with_name(name)} is not UTF-8 text", remedy="move it away") from None
    return words


def _swap_database(database: Path, folder: Path, part: Path, now: int) -> Path | None:
    """Give `part` the name of the database in its (pinned) folder; returns where the previous database is now.

    The previous one gets its second name first, so that the rename loses nothing. Its write-ahead log must be gone by
    then, or SQLite would apply it to the new one: it is checkpointed into the old database, or kept with it where a
    damaged database does not allow that.
    """
    backup.checkpoint_wal(database)
    here = folder / database.name
    ends = [end for end in ("", *SIDE_FILES) if os.path.lexists(f"{here}{end}")]
    stamp = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y%m%dT%H%M%S")
    aside = _free_name(f"{here}{_ASIDE}{stamp}")
    for end in ends:
        os.link(f"{here}{end}", f"{aside}{end}", follow_symlinks=False)
    fsync_path(folder)
    for end in ends:
        if end:
            os.unlink(f"{here}{end}")
    move_into_place(part, here)
    return database.with_name(aside.name) if "" in ends else None


def _free_name(name: str) -> Path:
    """This name, with a number behind it if it is taken."""
    names = (Path(name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(path for path in names if not path.exists())


def _undo_killed_restore(database: Path) -> None:
    """Undo a restore that was killed before its copy took the database's place: remove second names, and bring back
    what it had put aside."""
    for path in database.parent.glob(f"{database.name}{_ASIDE}*"):
        if path.name.endswith(SIDE_FILES) or not database.exists() or not path.samefile(database):
            continue
        for end in (*SIDE_FILES, ""):  # the second name of the database last, since it leads to the rest
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
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with pinned_folder(state_dir) as folder:
        for name in _IF_NONE:
            if words.get(name) and not os.path.lexists(folder / name):
                _write_words(folder / name, words[name], whose)
        if given:
            return 0, False
        here: tuple[str, ...] = ()
        if look_at(state_dir / "secret_keys") is not None:
            with open(state_dir / "secret_keys", "rb", opener=open_file) as file:
                here = tuple(file.read(_SECRETS_MOST).decode().split())
        added = tuple(key for key in words.get("secret_keys", ()) if key not in here)
        if added:
            _write_words(folder / "secret_keys", here + added, whose)
        return len(added), not here


def _write_words(path: Path, words: Iterable[str], whose: tuple[int, int]) -> None:
    with atomic_write(path) as file:
        chown_if_ours(file.fileno(), whose)
        file.write("".join(f"{word}\n" for word in words).encode())


def _date_in_name(name: str, pattern: str) -> datetime | None:
    """The date in a name that fits the pattern; None if it does not fit."""
    try:
        made = datetime.strptime(name, pattern)
    except ValueError:
        return None
    return made if made.strftime(pattern) == name else None
