"""Root works in the state directory of a user who planted links there: nothing of root's is read, given or lost."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kit.state_folder import KEYS, TASK, Place, run
from receiver.config.generated_secrets import read_generated
from receiver.core.errors import ReceiverError, SettingsError, UnsafeFile
from receiver.pictures.files import ArchiveFiles
from receiver.store import open_store
from receiver.store.sqlite.files import OpeningGuard
from receiver.store.sqlite.inspect import inspect_database
from receiver.upkeep.backup_pictures import ImagesMode
from receiver.upkeep.doctor import machine
from receiver.upkeep.doctor.findings import CheckResult, Finding

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led astray")]

USER = 12_345
SECRET = "root-s-own-secret-0123456789"


class Planted(Place):
    """A state directory of an unprivileged user, below folders that only root can change; and a secret of root's."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.secret = root / "roots" / "secret"
        self.secret.parent.mkdir()
        self.secret.write_text(SECRET)
        self.secret.chmod(0o600)
        self.inside = self.state / "backups" / "b.db"

    async def given_away(self) -> "Planted":
        await self.filled()
        self.inside.parent.mkdir()
        for path in (self.state, *self.state.rglob("*")):
            os.chown(path, USER, USER)
        return self

    def plant(self, path: Path, target: Path, way: str) -> None:
        """Put a link in the place of what is there, as its owner can."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if way == "symbolic":
            path.symlink_to(target)
            os.chown(path, USER, USER, follow_symlinks=False)
        else:
            os.link(target, path)

    def roots(self) -> dict[str, tuple[int, int, bytes]]:
        """Everything of root's: owner, mode and content."""
        return {
            str(it): (it.lstat().st_uid, it.lstat().st_mode, it.read_bytes() if it.is_file() else b"")
            for it in (self.secret.parent, *self.secret.parent.rglob("*"))
        }

    def leaked(self) -> list[Path]:
        """Files outside root's own folder that hold the secret."""
        places = [it for it in (*self.state.rglob("*"), *self.file.parent.rglob("*")) if not it.is_symlink()]
        return [it for it in places if it.is_file() and it.stat().st_nlink == 1 and SECRET.encode() in it.read_bytes()]


@pytest.fixture
async def place() -> AsyncIterator[Planted]:
    with tempfile.TemporaryDirectory() as root:  # open to others, unlike pytest's own
        yield await Planted(Path(root)).given_away()


def command(place: Planted, *args: str) -> str:
    """What a command says as root, and that it did not go through."""
    told = run(*args, folder=place.secret.parent.parent, DATABASE_URL=f"sqlite:///{place.database}")
    assert told.returncode, told.stdout
    assert SECRET not in told.stdout + told.stderr
    return told.stdout + told.stderr


WAYS = pytest.mark.parametrize("way", ["symbolic", "hard"])


@WAYS
@pytest.mark.parametrize("name", ["secret_keys", "api_tokens"])
async def test_secrets_of_roots_are_not_taken_for_ours(place: Planted, name: str, way: str) -> None:
    """Neither sent to the service as a token, nor put into a backup, nor given to the service's user."""
    place.back_up()
    place.plant(place.state / name, place.secret, way)
    before = place.roots()
    with pytest.raises(SettingsError, match=f"{name} .*link"):
        read_generated(place.state / name)
    assert "link" in command(place, "backup", str(place.file))
    assert "link" in command(place, "doctor")
    if name == "secret_keys":
        with pytest.raises(UnsafeFile, match="link"):
            place.restore()
    else:
        assert "link" in command(place, "tasks", "list")
        place.restore()
    assert place.roots() == before
    assert place.leaked() == []


def a_database(path: Path) -> Path:
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT, probed_at INTEGER)")
    raw.execute("CREATE TABLE tasks (state TEXT)")
    raw.execute("INSERT INTO tasks VALUES (?)", (SECRET,))
    raw.commit()
    raw.close()
    path.chmod(0o600)
    return path


@WAYS
@pytest.mark.parametrize("end", ["", "-wal", "-shm", ".lock"])
async def test_a_database_of_roots_is_not_opened_in_the_place_of_ours(place: Planted, end: str, way: str) -> None:
    target = a_database(place.secret.with_name("other.db")) if not end else place.secret
    place.back_up()
    place.plant(Path(f"{place.database}{end}"), target, way)
    before = place.roots()
    doings: list[Callable[[], object]] = [place.restore]
    if end != ".lock":
        doings += [lambda: inspect_database(place.database), lambda: place.back_up(file=place.file.with_name("c.db"))]
    for each in doings:
        with pytest.raises(ReceiverError):
            each()
    with pytest.raises(ReceiverError):
        await open_store(place.database)
    for args in (("migrate",), ("prune",), ("doctor",)):
        command(place, *args)
    assert place.roots() == before
    assert place.leaked() == []


async def test_a_link_that_takes_the_databases_place_while_it_is_opened_is_noticed(place: Planted) -> None:
    """SQLite takes names only: what it has open is compared before it is used."""
    other = a_database(place.secret.with_name("other.db"))
    guard = OpeningGuard(place.database)
    place.plant(place.database, other, "symbolic")
    raw = sqlite3.connect(place.database)
    with pytest.raises(UnsafeFile, match=r"was replaced while it was being opened"):
        guard.check()
    raw.close()


async def test_a_backup_goes_through_no_folder_that_is_a_link(place: Planted) -> None:
    kept = place.secret.parent / "kept"
    kept.mkdir()
    (kept / "receiver-20200101T000000Z.db").write_text("root's own backup")
    place.plant(place.inside.parent, kept, "symbolic")
    before = place.roots()
    told = command(place, "backup", "--keep", "1", str(place.inside.with_name("receiver-%Y%m%dT%H%M%SZ.db")))
    assert f"{place.inside.parent} is a link" in told
    assert place.roots() == before


@pytest.mark.parametrize("name", ["b.db", "b.db.part", "b.db.images"])
@WAYS
async def test_a_backup_in_their_folder_overwrites_nothing_of_roots(place: Planted, name: str, way: str) -> None:
    """It is made where they cannot reach it, and moved in."""
    place.plant(place.inside.with_name(name), place.secret, way)
    before = place.roots()
    try:
        place.back_up(ImagesMode.COPY, file=place.inside)
    except ReceiverError:
        assert name == "b.db"
    else:
        assert (place.inside.stat().st_uid, place.inside.is_symlink()) == (USER, False)
    assert place.roots() == before
    assert place.leaked() == []
    assert {it.name for it in place.state.parent.iterdir()} == {"state", "roots", "kept"}


@WAYS
async def test_nothing_of_roots_is_restored_from(place: Planted, way: str) -> None:
    """Its content would be the user's to read, even if it is no database."""
    for name in ("b.db", "b.db-wal"):
        place.inside.with_name("b.db").unlink(missing_ok=True)
        shutil.copy(place.database, place.inside)
        os.chown(place.inside, USER, USER)
        place.plant(place.inside.with_name(name), place.secret, way)
        before = place.roots()
        with pytest.raises(UnsafeFile, match="link"):
            place.restore(place.inside)
        assert place.roots() == before
        assert place.leaked() == []


@WAYS
@pytest.mark.parametrize("name", ["receiver.db.part", "secret_keys.part", "receiver.db.part-wal"])
async def test_a_restore_writes_over_nothing_of_roots(place: Planted, name: str, way: str) -> None:
    place.back_up()
    (place.state / "secret_keys").unlink()
    place.plant(place.state / name, place.secret, way)
    before = place.roots()
    assert place.restore().keys_added == len(KEYS)
    assert place.roots() == before
    for made in ("receiver.db", "secret_keys"):
        assert ((place.state / made).stat().st_uid, (place.state / made).is_symlink()) == (USER, False)
    assert {it.name for it in place.state.parent.iterdir()} == {"state", "roots", "kept"}


@pytest.mark.parametrize("linked", ["images", "images/ab", f"images/ab/{TASK}"])
async def test_no_picture_is_taken_from_or_put_through_a_link(place: Planted, linked: str) -> None:
    place.back_up(ImagesMode.COPY)
    roots = place.secret.parent / "ab" / TASK
    roots.mkdir(parents=True)
    (roots / "0.png").write_text(SECRET)
    (roots / "1.png").write_text(SECRET)
    target = {"images": place.secret.parent, "images/ab": roots.parent}.get(linked, roots)
    place.plant(place.state / linked, target, "symbolic")
    before = place.roots()
    for images in (ImagesMode.COPY, ImagesMode.LINK):
        try:
            assert place.back_up(images, file=place.inside).images == 0
        except ReceiverError:
            assert linked == "images"
    for there in roots.iterdir():
        there.unlink()
    before = place.roots()
    with pytest.raises(ReceiverError, match="link"):
        place.restore()
    (roots / "0.png").write_text(SECRET)
    before = place.roots()
    files = ArchiveFiles(place.images)
    for doing in (
        files.list_tops(),
        files.list_folders("ab"),
        files.remove_folders([TASK]),
        files.keep_only({TASK: ()}, 1 << 50),
    ):
        with contextlib.suppress(ReceiverError):
            await doing
    assert place.roots() == before
    assert place.leaked() == []


async def test_a_picture_that_is_a_hard_link_to_a_file_of_roots_is_in_no_backup(place: Planted) -> None:
    place.plant(place.images / "ab" / TASK / "0.png", place.secret, "hard")
    for images in (ImagesMode.COPY, ImagesMode.LINK):
        with pytest.raises(UnsafeFile, match="hard link"):
            place.back_up(images, file=place.inside)
    assert place.leaked() == []


# The doctor's remedies


def findings(place: Planted) -> list[Finding]:
    kept = ("secret_keys", "api_tokens")
    return [
        *machine.check_permissions(place.state, place.database, kept, ()),
        *machine.check_database(place.database),
    ]


@WAYS
@pytest.mark.parametrize("name", ["secret_keys", "api_tokens", "receiver.db", "receiver.db-wal", "receiver.db.lock"])
async def test_no_remedy_of_the_doctor_gives_roots_files_away(place: Planted, name: str, way: str) -> None:
    """Whoever does what it says, still has them."""
    place.secret.chmod(0o644)
    place.plant(place.state / name, place.secret, way)
    before = place.roots()
    wrong = [it for it in findings(place) if it.result is CheckResult.FAILED]
    assert wrong
    for it in wrong:
        assert str(place.secret) not in it.text
        assert "--reference" not in (it.remedy or "")
        for doing in (it.remedy or "").split("`")[1::2]:
            await (await asyncio.create_subprocess_shell(doing, stdout=asyncio.subprocess.DEVNULL)).wait()
    assert place.roots() == before
    assert name not in os.listdir(place.state), "the remedy removes the link"


async def test_a_file_that_root_left_there_is_given_back_by_itself(place: Planted) -> None:
    """By a command that goes through no link."""
    os.chown(place.state / "secret_keys", 0, 0)
    [wrong] = [it for it in findings(place) if "belongs" in it.text]
    assert wrong.remedy == f"chown -h {USER}:{USER} {place.state}/secret_keys"
