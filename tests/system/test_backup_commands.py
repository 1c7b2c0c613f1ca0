"""`receiver backup` and `receiver restore` as processes, beside a service that runs and without one."""

import asyncio
from pathlib import Path

import pytest

from kit.commands import RECEIVER
from kit.database_faults import NOWHERE, new_callback
from kit.live_service import SECRET, Service, serving, until
from kit.state_folder import KEYS, TOKENS, Place, run
from receiver.core.errors import DatabaseLocked
from receiver.store import open_store
from receiver.tokens import Ring

pytestmark = pytest.mark.anyio


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


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


def test_keep_wants_a_date_to_go_by(tmp_path: Path) -> None:
    told = run("backup", "receiver.db.backup", "--keep", "3", folder=tmp_path)
    assert (told.returncode, "--keep needs a date in FILE's name" in told.stderr) == (2, True)


async def test_a_service_that_runs_is_not_restored_under(place: Place) -> None:
    await place.filled()
    place.back_up()
    store = await open_store(place.database)
    with pytest.raises(DatabaseLocked):
        place.restore()
    settings = {"DATABASE_URL": f"sqlite:///{place.database}"}
    for command in (("restore", str(place.file)), ("migrate",)):
        told = run(*command, folder=place.state, **settings)
        assert (told.returncode, f"the service is running on {place.database}" in told.stderr) == (1, True)
    assert run("backup", str(place.file), folder=place.state, **settings).returncode == 0
    await store.close()


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
