"""The commands of upkeep, with the service and without; and as root, whose files may lock nobody out."""

import asyncio
import json
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

from bench.history import make_history
from kit.commands import RECEIVER
from kit.database_faults import NOWHERE
from kit.fakes import DAY, a_task, put
from kit.live_service import serving
from kit.state_folder import Place, run
from receiver.core.types import Callback, Task, TaskState
from receiver.store import open_store
from receiver.store.migrations.steps import load_migrations

pytestmark = pytest.mark.anyio


# Migration


async def test_migrate_applies_what_is_missing_and_says_so(tmp_path: Path) -> None:
    make_history(tmp_path / "receiver.db", 10, schema=1)
    told = run("migrate", "--json", folder=tmp_path)
    assert told.returncode == 0, told.stderr
    steps = load_migrations("sqlite")
    assert json.loads(told.stdout)["applied"] == [it.name for it in steps[1:]]
    assert f"already has schema {steps[-1].number}: nothing to do" in run("migrate", folder=tmp_path).stdout
    store = await open_store(tmp_path / "receiver.db")
    assert len(await store.tasks.page()) == 10
    await store.close()


def test_upkeep_makes_no_database_where_there_is_none(tmp_path: Path) -> None:
    for command in (("migrate",), ("prune",), ("backup", "b.db")):
        told = run(*command, folder=tmp_path)
        assert (told.returncode, "there is no database receiver.db" in told.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


async def test_a_backup_asks_for_no_key_of_the_providers(tmp_path: Path) -> None:
    """Its unit has none, even where the service, which has, confirms every callback."""
    await (await open_store(tmp_path / "receiver.db")).close()
    told = run("backup", "b.db", folder=tmp_path, CONFIRM="always")
    assert told.returncode == 0, told.stderr


# Retention by command


async def test_prune_is_done_here_or_asked_of_the_service(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "receiver.db")
    old = time.time_ns() // 1_000_000 - 91 * DAY
    async with store.write() as tx:
        await tx.callbacks.insert([(Callback(ref="gone", received_at=old, body=b"{}"), True)])
    await store.close()
    told = run("prune", "--json", folder=tmp_path)
    assert json.loads(told.stdout)["removed"] == {"callbacks": 1}, told.stderr
    assert "removed: nothing;" in run("prune", folder=tmp_path).stdout
    async with serving(tmp_path, NOWHERE) as service:
        asked = await asyncio.create_subprocess_exec(
            *RECEIVER, "prune", env=service.env, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        assert (await asked.communicate())[0] == b"the running service begins now; see its log\n"
        assert await service.stop(signal.SIGTERM) == 0


# As root


NOBODY = 65_534
CLOSED = [it for it in Path(__file__).resolve().parents if not it.stat().st_mode & 0o001]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root leaves files to others")
@pytest.mark.skipif(bool(CLOSED), reason=f"another user cannot reach these tests: {CLOSED[-1:]} is closed to others")
async def test_what_root_does_locks_the_services_user_out_of_nothing() -> None:
    """Every file that upkeep makes beside the database belongs to the database's owner, and the owner can go on."""
    with tempfile.TemporaryDirectory() as root:  # pytest's own folder is for root alone
        os.chown(root, NOBODY, NOBODY)
        place = Place(Path(root))
        place.state.mkdir()
        os.chown(place.state, NOBODY, NOBODY)
        settings = {"DATABASE_URL": f"sqlite:///{place.database}"}

        def as_nobody(task: Task, *, log: bool) -> int:
            """Open the database as its owner, write to it, and close it or die (which leaves a log); 0 if that went."""
            child = os.fork()
            if child == 0:
                try:
                    os.setgroups([])
                    os.setgid(NOBODY)
                    os.setuid(NOBODY)
                    asyncio.set_event_loop_policy(None)
                    asyncio.run(_written(place.database, task, log=log))
                    os._exit(0)
                except BaseException:  # the child may not go on as a second pytest
                    os._exit(1)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        def forked(*, log: bool) -> int:
            status: list[int] = []
            task = a_task(TaskState.COMPLETED, task_id=None)
            thread = threading.Thread(target=lambda: status.append(as_nobody(task, log=log)))  # with no loop that runs
            thread.start()
            thread.join()
            return status[0]

        assert forked(log=False) == 0
        (place.state / "backups").mkdir()  # by systemd
        os.chown(place.state / "backups", NOBODY, NOBODY)
        pattern = str(place.state / "backups" / "receiver-%Y%m%dT%H%M%SZ.db")
        for log in (False, True):
            assert forked(log=log) == 0
            backup = run("backup", pattern, "--keep", "3", "--json", folder=place.state, **settings)
            assert backup.returncode == 0, backup.stderr
            for command in (("prune",), ("migrate",), ("restore", json.loads(backup.stdout)["file"])):
                told = run(*command, folder=place.state, **settings)
                assert told.returncode == 0, told.stderr
                astray = [
                    it for it in place.state.rglob("*") if (it.stat().st_uid, it.stat().st_gid) != (NOBODY, NOBODY)
                ]
                assert astray == []
                assert forked(log=log) == 0


async def _written(path: Path, task: Task, *, log: bool) -> None:
    store = await open_store(path)
    await put(store, task)
    if log:
        os._exit(0)
    await store.close()
