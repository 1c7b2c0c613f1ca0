"""A plain copy of a database is three files: all of its commits are restored, or nothing is; and nothing foreign is."""

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.fakes import a_ref, a_task, put
from kit.state_folder import KEYS, TASK, TOKENS, Place, log_of, run
from receiver.core.errors import CorruptDatabase, StoreError, Unwritable
from receiver.core.types import Callback
from receiver.store import open_store
from receiver.store.sqlite.write_ahead_log import is_log_header
from receiver.upkeep.backup_pictures import ImagesMode

pytestmark = pytest.mark.anyio
ANSWERED = 200


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    await place.filled()
    return place


def beside(file: Path, end: str = "-wal") -> Path:
    """Another of a database's files."""
    return Path(f"{file}{end}")


async def copied(place: Place, folder: Path) -> tuple[Path, list[str]]:
    """A copy of a state directory as a kill leaves it, and the refs of callbacks that were answered until then."""
    store = await open_store(place.database)
    refs = [a_ref() for _ in range(ANSWERED)]
    for number, ref in enumerate(refs):
        async with store.write() as tx:
            await tx.callbacks.insert([(Callback(ref=ref, received_at=number, body=b"{}"), True)])
        if number == ANSWERED - 13:  # so that the rest is in the log alone
            with sqlite3.connect(place.database) as raw:
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            raw.close()
    shutil.copytree(place.state, folder, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
    await store.close()
    return folder / "receiver.db", refs


async def kept(place: Place) -> set[str]:
    """The refs of all callbacks that are there."""
    store = await open_store(place.database)
    found: set[str] = set()
    before = None
    while page := await store.callbacks.page(before=before, limit=200):
        found |= {str(it.ref) for it in page}
        before = page[-1].id
    await store.close()
    return found


async def test_no_answered_callback_is_lost_with_the_log_beside_a_copy(place: Place, tmp_path: Path) -> None:
    """It was: 12 of 200, with status 0."""
    copy, answered = await copied(place, tmp_path / "copy")
    before = {it.name: it.read_bytes() for it in copy.parent.iterdir() if it.is_file()}
    assert before["receiver.db-wal"]
    new = Place(tmp_path / "new")
    new.state.mkdir(parents=True)
    assert new.restore(copy).made_at is None
    assert await kept(new) == set(answered)
    assert {it.name: it.read_bytes() for it in copy.parent.iterdir() if it.is_file()} == before, "the copy is untouched"
    assert sorted(it.name for it in new.state.iterdir() if it.is_file()) == [
        "api_tokens", "receiver.db", "receiver.db.lock", "secret_keys",
    ]  # fmt: skip


async def test_secrets_and_pictures_beside_a_copy_come_with_it(place: Place, tmp_path: Path) -> None:
    copy, _ = await copied(place, tmp_path / "copy")
    new = Place(tmp_path / "new")
    new.state.mkdir(parents=True)
    told = run("restore", str(copy), folder=new.state)
    assert told.returncode == 0, told.stderr
    assert "secret keys: 2, from the backup" in told.stdout
    assert "it had no secret keys" not in told.stdout
    assert (new.state / "secret_keys").read_text().split() == list(KEYS)
    assert (new.state / "api_tokens").read_text().split() == list(TOKENS)
    assert (new.images / "ab" / TASK / "0.png").read_bytes() == b"a picture"
    (copy.with_name("secret_keys")).unlink()
    assert "it had no secret keys" in run("restore", str(copy), folder=new.state).stdout


@pytest.mark.parametrize("harm", [lambda log: b"\1" + log[1:], lambda log: log[:24] + b"\1" + log[25:]])
async def test_a_log_that_sqlite_would_take_for_an_empty_one_is_refused(
    place: Place, tmp_path: Path, harm: Callable[[bytes], bytes]
) -> None:
    copy, _ = await copied(place, tmp_path / "copy")
    log = beside(copy)
    log.write_bytes(harm(log.read_bytes()))
    with pytest.raises(CorruptDatabase, match=r"receiver\.db-wal cannot be applied .* so nothing was changed"):
        place.restore(copy)
    assert len(await kept(place)) == ANSWERED


FRAME = 24 + 4096


def foreign_frame(log: bytes) -> bytes:
    """A frame of another log: its first salt is newer than the header's."""
    salt = (int.from_bytes(log[16:20], "big") + 1) % (1 << 32)
    return b"\0\0\0\1\0\0\0\5" + salt.to_bytes(4, "big") + bytes(FRAME - 12)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda log: log[:-100], "was cut off in the middle of a page"),
        (lambda log: log[: len(log) // 2 + 1000], "was cut off in the middle of a page"),
        (lambda log: log[:40], "was cut off in the middle of a page"),
        (lambda log: log[:32] + bytes(8) + log[40:], "a transaction in it is damaged, and others follow"),
        (lambda log: log[:100] + b"damage" + log[106:], "a transaction in it is damaged, and others follow"),
        (lambda log: log[: 32 + FRAME] + bytes(FRAME) + log[32 + 2 * FRAME :], "is damaged, and others follow|belong"),
        (lambda log: log + foreign_frame(log), "has parts that do not belong to it"),
        (lambda log: log[:32] + foreign_frame(log) * 3, "has parts that do not belong to it"),
    ],
)
async def test_a_log_that_sqlite_would_silently_shorten_is_refused_by_name(
    place: Place, tmp_path: Path, harm: Callable[[bytes], bytes], says: str
) -> None:
    copy, _ = await copied(place, tmp_path / "copy")
    log = beside(copy)
    log.write_bytes(harm(log.read_bytes()))
    with pytest.raises(CorruptDatabase, match=rf"{log} cannot be applied .*{says}.*nothing was changed; copy both"):
        place.restore(copy)
    assert len(await kept(place)) == ANSWERED
    told = run("restore", str(copy), folder=place.state)
    assert (told.returncode, str(log) in told.stderr) == (1, True)


async def test_what_can_be_read_of_a_damaged_log_can_be_had_on_purpose(place: Place, tmp_path: Path) -> None:
    copy, answered = await copied(place, tmp_path / "copy")
    log = beside(copy)
    whole = log.read_bytes()
    log.write_bytes(whole[: 32 + 5 * FRAME + 200] + b"damage" + whole[32 + 5 * FRAME + 206 :])
    with pytest.raises(CorruptDatabase, match=r"its first \d+ bytes can be read") as refused:
        place.restore(copy)
    [good] = re.findall(r"first (\d+) bytes", str(refused.value))
    os.truncate(log, int(good))
    assert place.restore(copy).log_left_out == 0
    assert set(answered[:-13]) < await kept(place) < set(answered)


@pytest.mark.parametrize("cut", [0, 4096])
async def test_a_transaction_that_a_kill_left_unfinished_is_named(place: Place, tmp_path: Path, cut: int) -> None:
    """Its commit is missing, so that nobody was answered; all before it is there."""
    copy, answered = await copied(place, tmp_path / "copy")
    log = beside(copy)
    whole = log.read_bytes()
    commits = [n for n in range((len(whole) - 32) // FRAME) if any(whole[32 + n * FRAME + 4 : 32 + n * FRAME + 8])]
    assert commits[-1] - commits[-2] > 1, "the last transaction has several pages"
    log.write_bytes(whole[: 32 + commits[-1] * FRAME - cut])
    told = run("restore", str(copy), folder=place.state)
    assert told.returncode == 0, told.stderr
    assert f"{log} ends in the middle of a transaction: " in told.stdout
    assert await kept(place) == set(answered[:-1])


async def test_pages_left_over_from_an_earlier_round_of_the_log_are_no_loss(place: Place, tmp_path: Path) -> None:
    store = await open_store(place.database)
    for state in range(40):
        async with store.write() as tx:
            await tx.callbacks.insert([(Callback(ref=a_ref(), received_at=state, body=b"{}"), True)])
    with sqlite3.connect(place.database) as raw:
        raw.execute("PRAGMA wal_checkpoint(RESTART)")  # the next commit begins at the front
    raw.close()
    await put(store, a_task(task_id="the newest"))
    copy = tmp_path / "copy" / "receiver.db"
    copy.parent.mkdir()
    for end in ("", "-wal"):
        shutil.copy(f"{place.database}{end}", f"{copy}{end}")
    await store.close()
    done = place.restore(copy)
    assert (done.tasks, done.log_left_out) == (4, 0)
    assert 0 < done.log_pages < (beside(copy).stat().st_size - 32) // FRAME
    assert len(await kept(place)) == 40


@pytest.mark.parametrize("all_of_it", [True, False])
async def test_the_log_of_another_database_is_refused_by_name(place: Place, tmp_path: Path, all_of_it: bool) -> None:
    copy, _ = await copied(place, tmp_path / "copy")
    other = Place(tmp_path / "other")
    other.state.mkdir(parents=True)
    await other.filled()
    if all_of_it:  # every page of it is in its log
        other.database.unlink()
        store = await open_store(other.database)
        await put(store, *(a_task(task_id=None) for _ in range(3)))
        shutil.copy(f"{other.database}-wal", f"{copy}-wal")
        await store.close()
    else:
        foreign, _ = await copied(other, tmp_path / "foreign")
        shutil.copy(f"{foreign}-wal", f"{copy}-wal")
    with pytest.raises(CorruptDatabase, match=r"receiver\.db.* nothing was changed"):
        place.restore(copy)
    assert len(await kept(place)) == ANSWERED


async def test_the_header_of_a_log_is_known_by_its_checksum(place: Place, tmp_path: Path) -> None:
    copy, _ = await copied(place, tmp_path / "copy")
    header = beside(copy).read_bytes()[:32]
    assert is_log_header(header)
    assert is_log_header(b"")
    assert is_log_header(bytes(32))
    assert not is_log_header(header[:31])
    assert not any(is_log_header(header[:at] + bytes([header[at] ^ 1]) + header[at + 1 :]) for at in range(32))


async def test_a_log_beside_a_backup_is_refused_by_name(place: Place) -> None:
    """A backup is whole: what lies beside it is another's, or somebody has changed it."""
    place.back_up()
    log = beside(place.file)
    log.write_bytes(b"anything")
    with pytest.raises(StoreError, match=rf"{log} lies beside a backup.*nothing was changed; .*mv {log}"):
        place.restore()
    log.write_bytes(b"")
    assert place.restore().tasks == 3


async def test_the_log_of_a_killed_restore_is_no_part_of_the_next(place: Place, tmp_path: Path) -> None:
    copy, _ = await copied(place, tmp_path / "copy")
    place.back_up()
    shutil.copy(f"{copy}-wal", f"{place.database}.part-wal")
    assert place.restore().tasks == 3
    assert not beside(place.database, ".part-wal").exists()


async def test_a_database_in_use_is_no_backup(place: Place, tmp_path: Path) -> None:
    """Copied while it is written to, it could be half of one state and half of another."""
    new = Place(tmp_path / "new")
    new.state.mkdir(parents=True)
    store = await open_store(place.database)
    await put(store, a_task(task_id="later"))
    try:
        with pytest.raises(StoreError, match=r"a service is using .*; copy it with `receiver backup`"):
            new.restore(place.database)
    finally:
        await store.close()
    assert new.restore(place.database).tasks == 4
    with pytest.raises(StoreError, match="is the database that is in use"):
        place.restore(place.database)


# Foreign content

FOREIGN = [
    ("CREATE TRIGGER spy AFTER INSERT ON callbacks BEGIN DELETE FROM tasks; END", "the trigger 'spy'"),
    ("CREATE VIEW spy AS SELECT * FROM callbacks", "the view 'spy'"),
    ("CREATE TABLE spy (x)", "the table 'spy'"),
    ("CREATE INDEX spy ON tasks (label)", "the index 'spy'"),
    ("CREATE VIRTUAL TABLE spy USING fts5(x)", "the table 'spy"),
    ("ALTER TABLE tasks ADD COLUMN spy TEXT", "its table 'tasks' is missing or was changed"),
    ("DROP TABLE probes", "its table 'probes' is missing"),
]


@pytest.mark.parametrize("kind", ["a backup", "a plain copy", "in the log of a copy"])
@pytest.mark.parametrize(("statement", "says"), FOREIGN)
async def test_what_the_program_did_not_make_is_refused(
    place: Place, tmp_path: Path, statement: str, says: str, kind: str
) -> None:
    """It would run inside our own transactions."""
    file = place.file
    if kind == "a backup":
        place.back_up()
    else:
        file, _ = await copied(place, tmp_path / "copy")
    raw = sqlite3.connect(file, isolation_level=None)
    raw.execute(statement)
    if kind == "in the log of a copy":
        await_copy = tmp_path / "again" / "receiver.db"
        await_copy.parent.mkdir()
        for end in ("", "-wal"):
            shutil.copy(f"{file}{end}", f"{await_copy}{end}")
        file = await_copy
    raw.close()
    before = {it: it.read_bytes() for it in place.state.iterdir() if it.is_file()}
    with pytest.raises(StoreError, match=f"{says}.*so nothing was changed; "):
        place.restore(file)
    assert {it: it.read_bytes() for it in place.state.iterdir() if it.is_file()} == before


@pytest.mark.parametrize("schema", [1, 2, 3])
async def test_an_older_schema_and_what_litestream_adds_are_no_foreign_content(
    tmp_path: Path, schema: int, place: Place
) -> None:
    from bench.history import make_history

    file = tmp_path / "older.db"
    make_history(file, 10, schema=schema)
    raw = sqlite3.connect(file, isolation_level=None)
    raw.execute("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)")
    raw.execute("CREATE TABLE _litestream_lock (id INTEGER)")
    raw.execute("ANALYZE")
    raw.close()
    assert place.restore(file).schema == schema


# Folders


async def test_a_backup_makes_no_folder_that_is_missing(place: Place) -> None:
    """With a mistyped path, backups would pile up where nobody looks for them, or on the wrong disk."""
    missing = place.file.parent / "nope" / "b.db"
    with pytest.raises(
        Unwritable, match=f"the folder {missing.parent} does not exist; .*mkdir -m 700 {missing.parent}"
    ):
        place.back_up(file=missing)
    assert os.listdir(place.file.parent) == []
    for images in ImagesMode:
        with pytest.raises(Unwritable, match="does not exist"):
            place.back_up(images, file=missing)
    assert log_of(place).exists() is False
