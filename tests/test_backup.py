"""Backups: made beside the running service, whole or not there, put back with nothing lost and nothing paid for twice."""

import asyncio
import json
import os
import signal
import sqlite3
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_rig import RECEIVER, environment
from fakes import DAY, NOW, POLICY, Clock, FakeProvider, a_task, put
from fault_rig import NOWHERE, new_callback
from living import SECRET, Service, serving, until

from bench.history import grow
from receiver import upkeep
from receiver.errors import Corrupt, Locked, Newer, StoreError, Unavailable, Unwritable
from receiver.metrics import Metrics
from receiver.model import Callback, State
from receiver.store import open_store
from receiver.submit import Submit
from receiver.tokens import Ring
from receiver.upkeep import Backup, Images, Restored

pytestmark = pytest.mark.anyio

KEYS = ("the-first-secret-key-0123", "a-second-secret-key-0123")
TOKENS = ("an-api-token-0123456789",)


def log_of(place: "Place") -> Path:
    """The write-ahead log of its database."""
    return Path(f"{place.database}-wal")


class Place:
    """A state directory, and another one beside it for backups."""

    def __init__(self, root: Path) -> None:
        self.state = root / "state"
        self.database = self.state / "receiver.db"
        self.images = self.state / "images"
        self.file = root / "kept" / "receiver.db.backup"

    async def filled(self, count: int = 3, state: State = State.COMPLETED) -> None:
        """A database with tasks, the secrets beside it, and a picture."""
        store = await open_store(self.database)
        await put(store, *(a_task(state, task_id=None) for _ in range(count)))
        await store.close()
        (self.state / "secret_keys").write_text("\n".join(KEYS))
        (self.state / "api_tokens").write_text("\n".join(TOKENS))
        folder = self.images / "ab" / "a-task-ab"
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(b"a picture")
        (self.images / "parts").mkdir()
        (self.images / "parts" / "half.part").write_bytes(b"half a")

    def back_up(self, images: Images = Images.NONE, now: int = NOW, file: Path | None = None) -> Backup:
        kept = {"secret_keys": KEYS, "api_tokens": TOKENS}
        return upkeep.back_up(self.database, file or self.file, kept, self.images, Clock(now), images)

    def restore(self, file: Path | None = None, *, given: tuple[str, ...] = (), queue: bool = False) -> Restored:
        return upkeep.restore(
            file or self.file, self.database, self.state, given_keys=given, clock=Clock(), queue=queue
        )

    async def states(self) -> list[str]:
        """The states of the tasks that are there."""
        store = await open_store(self.database)
        try:
            return [task.state.value for task in await store.tasks.page(limit=200)]
        finally:
            await store.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def run(*command: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command, to its end."""
    return subprocess.run(
        [*RECEIVER, *command], cwd=folder, env=environment(**settings), capture_output=True, text=True, timeout=60
    )


# Made


async def test_a_backup_has_all_that_is_needed_and_is_for_its_owner_only(place: Place) -> None:
    await place.filled()
    made = place.back_up()
    assert (made.tasks, made.keys, made.images, made.size) == (3, 2, None, place.file.stat().st_size)
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.file.parent.stat().st_mode) == 0o700
    assert [it.name for it in place.file.parent.iterdir()] == [place.file.name]
    assert sorted(it.name for it in place.state.iterdir()) == [
        "api_tokens", "images", "receiver.db", "receiver.db.lock", "secret_keys",
    ]  # fmt: skip


async def test_what_was_answered_before_a_backup_under_load_is_in_it(tmp_path: Path) -> None:
    """And the service goes on answering meanwhile; what it answered later makes its task anew when it is sent again."""
    state = tmp_path / "state"
    state.mkdir()
    answered: list[str] = []
    async with serving(state, NOWHERE) as service:

        async def post() -> None:
            while True:
                ref, path = new_callback()
                assert (await service.http.post(path, content=b'{"id": "any"}')).status_code == 200
                answered.append(ref)

        posting = [asyncio.create_task(post()) for _ in range(8)]

        async def many() -> bool:
            return len(answered) >= 200

        await until(many)
        before = list(answered)
        backup = await asyncio.create_subprocess_exec(
            *RECEIVER, "backup", str(tmp_path / "b.db"), env=service.env, stdout=asyncio.subprocess.PIPE
        )
        told = (await backup.communicate())[0].decode()
        during = len(answered)
        await until(many)
        for each in posting:
            each.cancel()
        await asyncio.gather(*posting, return_exceptions=True)
    assert (backup.returncode, "with 1 secret key in it (mode 0600" in told) == (0, True)
    assert during > len(before), "it answered while the backup was made"
    there = tmp_path / "there"
    there.mkdir()
    restored = run("restore", "../b.db", "--json", folder=there)
    assert restored.returncode == 0, restored.stderr
    assert (there / "secret_keys").read_text().split() == [SECRET]
    store = await open_store(there / "receiver.db")
    known = await store.tasks.get(before)
    await store.close()
    assert set(known) == set(before)
    later = Service(there, NOWHERE)
    del later.env["RECEIVER_SECRET_KEYS"]
    try:
        await later.start()
        path = f"/callbacks/{Ring([SECRET]).token(answered[-1])}"
        assert (await later.http.post(path, content=b'{"id": "any"}')).status_code == 200
        assert (await later.task(answered[-1]))["origin"] == "adopted"
    finally:
        await later.stop()
        await later.http.aclose()


async def test_a_database_that_is_written_to_has_no_part_in_the_copy(place: Place) -> None:
    """A transaction that is open when the copy is made is not in it, and what it changed is nowhere half there."""
    await place.filled()
    store = await open_store(place.database)
    async with store.write() as tx:
        await tx.tasks.insert([a_task(task_id="later")])
        await tx.tasks.get(["any"])  # what was put off is written
        assert (await asyncio.to_thread(place.back_up)).tasks == 3
    await store.close()


@pytest.mark.parametrize("images", [Images.LINK, Images.COPY])
async def test_pictures_go_with_it_linked_or_copied(place: Place, images: Images) -> None:
    """Half a picture does not. They come back where they are missing, and take no room twice when linked."""
    await place.filled()
    assert place.back_up(images).images == 1
    picture, kept = (Path(root, "ab", "a-task-ab", "0.png") for root in (place.images, f"{place.file}.images"))
    assert kept.samefile(picture) == (images is Images.LINK)
    assert [it.name for it in Path(f"{place.file}.images").iterdir()] == ["ab"]
    picture.unlink()
    assert place.restore().images == 1
    assert picture.read_bytes() == b"a picture"
    assert place.restore().images == 0


async def test_a_name_that_is_no_backup_is_not_written_over(place: Place) -> None:
    await place.filled()
    own = sorted(it for it in place.state.iterdir() if it.is_file())
    before = {it: it.read_bytes() for it in own}
    for file in own:
        with pytest.raises(Unwritable, match="is there already and is no backup"):
            place.back_up(file=file)
    assert {it: it.read_bytes() for it in own} == before
    place.back_up()
    assert place.back_up().tasks == 3  # an earlier backup of that name is


async def test_a_disk_without_room_takes_no_backup(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a byte is written: it may be the disk that callbacks are stored on."""
    await place.filled()
    monkeypatch.setattr("receiver.upkeep.parts.SPARE", 1 << 60)
    with pytest.raises(Unwritable, match=r"MiB free, and .* are needed"):
        place.back_up()
    assert list(place.file.parent.iterdir()) == []


def test_there_has_to_be_a_database(place: Place) -> None:
    with pytest.raises(Unavailable, match="there is no database"):
        place.back_up()
    assert not place.state.exists()


# Rotation


async def test_rotation_keeps_the_newest_by_the_date_in_their_names(place: Place) -> None:
    """What is no backup, or has another name, is not touched; what a kill left is removed."""
    await place.filled()
    pattern = place.file.with_name("receiver-%Y%m%dT%H%M%SZ.db")
    for day in range(4):
        place.back_up(Images.LINK, NOW + day * DAY, pattern)
    names = sorted(it.name for it in pattern.parent.iterdir())
    assert names[0].startswith("receiver-20251229T")
    for name in ("receiver-20200101T000000Z.db", "mine.db", "receiver-20200101T000000Z.db.bak"):
        pattern.with_name(name).write_bytes(b"no backup")
    pattern.with_name("receiver-20200101T000000Z.db.part").write_bytes(b"half a backup")
    assert [Path(it).name for it in upkeep.rotate(pattern, 2)] == [names[2], names[0]]
    assert sorted(it.name for it in pattern.parent.iterdir()) == [
        "mine.db", "receiver-20200101T000000Z.db", "receiver-20200101T000000Z.db.bak", *names[4:],
    ]  # fmt: skip
    assert upkeep.rotate(pattern, 2) == ()


def test_keep_wants_a_date_to_go_by(tmp_path: Path) -> None:
    told = run("backup", "receiver.db.backup", "--keep", "3", folder=tmp_path)
    assert (told.returncode, "--keep goes by the date in FILE's name" in told.stderr) == (2, True)


# Put back


async def test_what_was_there_is_kept_aside_and_can_be_put_back(place: Place) -> None:
    await place.filled()
    place.back_up()
    store = await open_store(place.database)
    await put(store, a_task(task_id="later"))
    await store.close()
    done = place.restore()
    assert (done.tasks, len(await place.states())) == (3, 3)
    assert done.aside is not None
    assert place.restore(Path(done.aside)).made_at is None
    assert len(await place.states()) == 4


async def test_what_is_only_in_the_log_of_the_old_one_is_kept_aside_too(place: Place) -> None:
    """A killed service leaves its last commits in the log, which may not be taken for the new database's."""
    await place.filled()
    place.back_up()
    copy = place.state / "copy"
    copy.mkdir()
    store = await open_store(place.database)
    await put(store, a_task(task_id="later"))
    for end in ("", "-wal"):
        (copy / f"receiver.db{end}").write_bytes(Path(f"{place.database}{end}").read_bytes())
    await store.close()
    for end in ("", "-wal"):
        (copy / f"receiver.db{end}").replace(f"{place.database}{end}")
    done = place.restore()
    assert len(await place.states()) == 3
    assert done.aside is not None
    place.restore(Path(done.aside))
    assert len(await place.states()) == 4


async def test_a_damaged_database_is_put_aside_and_its_log_is_not_taken_for_the_new_ones(place: Place) -> None:
    """That is what backups are for."""
    await place.filled()
    place.back_up()
    store = await open_store(place.database)
    await put(store, a_task(task_id="later"))
    log = log_of(place).read_bytes()
    await store.close()
    junk = os.urandom(8192)
    place.database.write_bytes(junk)
    log_of(place).write_bytes(log)
    done = place.restore()
    assert len(await place.states()) == 3
    assert done.aside is not None
    assert os.stat(done.aside).st_size >= len(junk)


async def test_a_service_that_runs_is_not_restored_under(place: Place) -> None:
    await place.filled()
    place.back_up()
    store = await open_store(place.database)
    with pytest.raises(Locked):
        place.restore()
    settings = {"DATABASE_URL": f"sqlite:///{place.database}"}
    for command in (("restore", str(place.file)), ("migrate",)):
        told = run(*command, folder=place.state, **settings)
        assert (told.returncode, f"the service is running on {place.database}" in told.stderr) == (1, True)
    assert run("backup", str(place.file), folder=place.state, **settings).returncode == 0
    await store.close()


def flipped(file: Path) -> None:
    """One bit of a text in a row: no index has it, and SQLite's own check does not see it."""
    content = bytearray(file.read_bytes())
    content[content.rindex(b"midjourney_outpaint") - 40] ^= 1
    file.write_bytes(content)


def halved(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def newer(file: Path) -> None:
    with sqlite3.connect(file) as raw:
        raw.execute("DROP TABLE backup")
        raw.execute("INSERT INTO migrations (number, name) VALUES (9000, 'later')")
    raw.close()


@pytest.mark.parametrize(
    ("harm", "error", "says"),
    [
        (flipped, Corrupt, "is damaged, and nothing was changed: take an earlier backup"),
        (halved, Corrupt, "is damaged, and nothing was changed"),
        (lambda file: file.write_bytes(os.urandom(8192)), Corrupt, "is damaged, and nothing was changed"),
        (lambda file: file.write_bytes(b""), StoreError, "this is no database of receiver's; nothing was changed"),
        (newer, Newer, "install the newer version"),
        (Path.unlink, StoreError, "there is no backup"),
    ],
)
async def test_what_is_no_whole_backup_changes_nothing(
    place: Place, harm: Callable[[Path], Any], error: type[Exception], says: str
) -> None:
    await place.filled()
    place.back_up()
    harm(place.file)
    before = {it: it.read_bytes() for it in place.state.iterdir() if it.is_file()}
    with pytest.raises(error, match=says):
        place.restore()
    assert {it: it.read_bytes() for it in place.state.iterdir() if it.is_file()} == before


async def test_a_task_that_was_queued_then_is_unsure_and_never_paid_for_twice(place: Place) -> None:
    """It may have been submitted since. A person who knows that it was not says so."""
    await place.filled(2, State.QUEUED)
    place.back_up()
    for queue, submitted, states in ((False, 0, {"waiting"}), (True, 1, {"queued", "submitting"})):
        assert place.restore(queue=queue).unsure == (0 if queue else 2)
        store = await open_store(place.database)
        provider = FakeProvider()
        submit = Submit(
            store, provider, POLICY, Clock(), callback_url=str, key_id="k", concurrency=1, metrics=Metrics()
        )
        claimed = await submit.claim()
        assert (claimed is not None) == bool(submitted)
        tasks = await store.tasks.page()
        assert {(task.state.value) for task in tasks} == states
        assert {task.unsure for task in tasks} == {not queue}
        await store.close()


# Keys


async def test_keys_that_are_here_stay_first_and_those_of_the_backup_are_good_again(place: Place) -> None:
    await place.filled()
    place.back_up()
    keys = place.state / "secret_keys"
    keys.write_text("a-key-made-since-0123456")
    assert place.restore().keys_added == 2
    assert keys.read_text().split() == ["a-key-made-since-0123456", *KEYS]
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert place.restore().keys_added == 0


async def test_on_a_new_machine_the_keys_are_those_of_the_backup(place: Place, tmp_path: Path) -> None:
    await place.filled()
    place.back_up()
    new = Place(tmp_path / "new")
    new.state.mkdir(parents=True)
    done = new.restore(place.file)
    assert (done.keys_new, done.keys_added, done.aside) == (True, 2, None)
    assert (new.state / "secret_keys").read_text().split() == list(KEYS)
    assert (new.state / "api_tokens").read_text().split() == list(TOKENS)
    assert len(await new.states()) == 3


async def test_keys_that_settings_give_are_nobody_elses_to_add_to(place: Place) -> None:
    await place.filled()
    place.back_up()
    before = (place.state / "secret_keys").read_text()
    (place.state / "api_tokens").write_text("a-token-made-since-01234")
    assert place.restore(given=("given-secret-key-0123456",)).keys_added == 0
    assert (place.state / "secret_keys").read_text() == before
    assert (place.state / "api_tokens").read_text() == "a-token-made-since-01234"


async def test_no_secret_is_left_in_the_database_nor_printed(place: Place) -> None:
    """It was in the backup, and SQLite leaves what it deletes where it was."""
    await place.filled()
    settings = {"DATABASE_URL": f"sqlite:///{place.database}"}
    told = [
        run("backup", str(place.file), folder=place.state, **settings),
        run("restore", str(place.file), folder=place.state, **settings),
        run("restore", str(place.file), "--json", folder=place.state, **settings),
    ]
    assert [it.returncode for it in told] == [0, 0, 0]
    assert all(key.encode() in place.file.read_bytes() for key in (*KEYS, *TOKENS))
    texts = [place.database.read_bytes(), *(it.stdout.encode() + it.stderr.encode() for it in told)]
    assert not any(key.encode() in text for key in (*KEYS, *TOKENS) for text in texts)


# Migration


async def test_migrate_applies_what_is_missing_and_says_so(tmp_path: Path) -> None:
    grow(tmp_path / "receiver.db", 10, schema=1)
    told = run("migrate", "--json", folder=tmp_path)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["applied"] == ["0002_archive", "0003_prune"]
    assert "has schema 3 already: nothing to do" in run("migrate", folder=tmp_path).stdout
    store = await open_store(tmp_path / "receiver.db")
    assert len(await store.tasks.page()) == 10
    await store.close()


def test_upkeep_makes_no_database_where_there_is_none(tmp_path: Path) -> None:
    for command in (("migrate",), ("prune",), ("backup", "b.db")):
        told = run(*command, folder=tmp_path)
        assert (told.returncode, "there is no database receiver.db" in told.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


# Retention by command


async def test_prune_is_done_here_or_asked_of_the_service(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "receiver.db")
    old = time.time_ns() // 1_000_000 - 91 * DAY
    async with store.write() as tx:
        await tx.callbacks.insert([(Callback(ref="gone", received_at=old, body=b"{}"), True)])
    await store.close()
    told = run("prune", "--json", folder=tmp_path)
    assert json.loads(told.stdout)["removed"] == {"callbacks": 1}, told.stderr
    assert "none, all is young enough" in run("prune", folder=tmp_path).stdout
    async with serving(tmp_path, NOWHERE) as service:
        asked = await asyncio.create_subprocess_exec(
            *RECEIVER, "prune", env=service.env, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        assert (await asked.communicate())[0] == b"the running service begins now; its log tells\n"
        assert await service.stop(signal.SIGTERM) == 0
