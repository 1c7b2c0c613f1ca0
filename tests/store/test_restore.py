"""What is put back: all of it or nothing, with good keys, and nothing paid for twice; what was there stays aside."""

import contextlib
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kit.fakes import HOUR, MINUTE, NOW, POLICY, SECOND, Clock, FakeProvider, a_task, notices, parse, put, says
from kit.state_folder import KEYS, TOKENS, Place, log_of
from kit.submit_loop import a_budget, a_submit
from kit.sweep_loop import a_sweep
from receiver.core.errors import CorruptDatabase, NewerSchema, StoreError
from receiver.core.types import Ending, SubmitAnswer, SubmitResult, TaskState
from receiver.store import Store, open_store
from receiver.tasks.submit import SubmitLoop
from receiver.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


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
    (copy / "receiver.db").write_bytes(place.database.read_bytes())
    (copy / "receiver.db-wal").write_bytes(log_of(place).read_bytes())
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
        (flipped, CorruptDatabase, r"is damaged \(.*\), so nothing was changed; use an earlier backup"),
        (halved, CorruptDatabase, "so nothing was changed"),
        (lambda file: file.write_bytes(os.urandom(8192)), CorruptDatabase, "so nothing was changed"),
        (lambda file: file.write_bytes(b""), StoreError, "this is not a receiver database, so nothing was changed"),
        (newer, NewerSchema, "install the newer version"),
        (Path.unlink, StoreError, "does not exist"),
    ],
)
async def test_what_is_no_whole_backup_changes_nothing(
    place: Place, harm: Callable[[Path], Any], error: type[Exception], says: str
) -> None:
    await place.filled()
    place.back_up()
    harm(place.file)
    before = {it: it.read_bytes() for it in place.state.iterdir() if it.is_file()}
    with pytest.raises(error, match=says) as told:
        place.restore()
    assert "keep a copy of the file" not in str(told.value), "that is the remedy for the database in use"
    assert {it: it.read_bytes() for it in place.state.iterdir() if it.is_file()} == before


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Store]:
    """Its database, closed in any case."""
    store = await open_store(place.database)
    try:
        yield store
    finally:
        await store.close()


async def test_restored_tasks_do_not_keep_new_ones_waiting(place: Place) -> None:
    """Fifty were queued in the backup, and the provider takes ten: none of them may have been sent, or all. New
    tasks go at once, up to the ten; what may be running for another reason is still counted."""
    await place.filled(50, TaskState.QUEUED)
    place.back_up()
    assert place.restore().unsure == 50
    async with opened(place) as store:
        clock, provider = Clock(), FakeProvider()
        running = a_task(TaskState.WAITING, task_id=None, unsure=True, place_until=NOW + 5 * MINUTE, poll_at=NOW + HOUR)
        await put(store, running, *(a_task(TaskState.QUEUED, turn=turn) for turn in range(20)))
        submit = a_submit(store, provider, clock, concurrency=10)
        submitted = 0
        while (task := await submit.claim()) is not None:
            submitted += 1
            provider.answers.append(SubmitAnswer(SubmitResult.TAKEN, "200", says(Ending.RUNNING, f"job-{task.ref}")))
            await submit.carry_out(task)
        assert (submitted, await store.tasks.places_taken(clock())) == (9, 10)
        unsure = [task for task in await store.tasks.page(limit=200) if task.unsure]
        assert (len(unsure), {it.state for it in unsure}) == (51, {TaskState.WAITING})


async def test_a_person_is_asked_about_each_restored_task_once_its_callback_has_had_time(place: Place) -> None:
    await place.filled(2, TaskState.QUEUED)
    place.back_up()
    place.restore()
    async with opened(place) as store:
        clock = Clock()
        assert await a_submit(store, FakeProvider(), clock).claim() is None
        sweep = a_sweep(store, FakeProvider(), clock)
        for after, asked in ((0, 0), (15 * MINUTE, 2), (HOUR, 2)):
            clock.forward(after)
            for _ in range(20):
                if (job := await sweep.claim()) is not None:
                    await sweep.carry_out(job)
                clock.forward(SECOND)
            told = [it.report.cause or "" for it in await notices(store) if it.target == "slack"]
            assert sum(it.startswith("unsure:") for it in told) == asked


async def test_a_task_that_was_queued_then_is_unsure_and_never_paid_for_twice(place: Place) -> None:
    """It may have been submitted since. A person who knows that it was not says so."""
    await place.filled(2, TaskState.QUEUED)
    place.back_up()
    for queue, submitted, states in ((False, 0, {"waiting"}), (True, 1, {"queued", "submitting"})):
        assert place.restore(queue=queue).unsure == (0 if queue else 2)
        store = await open_store(place.database)
        provider = FakeProvider()
        submit = SubmitLoop(
            store,
            provider,
            POLICY,
            Clock(),
            parse=parse,
            callback_url=str,
            key_id="k",
            concurrency=1,
            metrics=Metrics(),
            budget=a_budget(Clock()),
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
