"""kill -9 in the middle of upkeep, at each call that changes a file: nothing is broken, lost or left over.

Each run is a child of the test's own process, forked, which ends itself before its n-th such call; n grows until the
work comes to its end.
"""

import asyncio
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.fakes import DAY, NOW, a_task, put
from kit.retention import OLD, YOUNG, a_past, left, pruning
from kit.state_folder import KEYS, TASK, Place
from receiver.atomic_files import draft_file
from receiver.core.errors import ReceiverError
from receiver.pictures.files import ArchiveFiles
from receiver.store import open_store
from receiver.store.sqlite.engine import SqliteConnection
from receiver.upkeep import backup
from receiver.upkeep.backup_pictures import ImagesMode

CALLS = ("rename", "link", "unlink", "rmdir", "mkdir", "fsync", "pwrite", "ftruncate")
MOST = 200  # kills, by far


class Fuse:
    """Ends the process, as if the power went, before the n-th call that it hears of."""

    def __init__(self, nth: int) -> None:
        self._left = nth

    def burn(self) -> None:
        """There is one."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, heard of."""

        def heard(*args: Any, **more: Any) -> Any:
            self.burn()
            return call(*args, **more)

        return heard


def killed(nth: int, work: Callable[[], object]) -> bool:
    """Do the work in a child that dies before its n-th call; False if it came to its end first."""
    child = os.fork()
    if child == 0:
        try:
            fuse = Fuse(nth)
            for name in CALLS:
                setattr(os, name, fuse.around(getattr(os, name)))
            commit = SqliteConnection.commit

            async def dying_commit(self: SqliteConnection) -> bool:
                await self.fetch_rows("SELECT 1")  # whatever was put off is written now
                fuse.burn()
                return await commit(self)

            SqliteConnection.commit = dying_commit  # type: ignore[method-assign]  # the harness's own wrapping
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def kills(work: Callable[[], object], check: Callable[[], object], prepare: Callable[[], object]) -> int:
    """Kill the work at each of its calls, from a state that is prepared anew, and check what is left each time."""
    for nth in range(1, MOST):
        prepare()
        died = killed(nth, work)
        check()
        if not died:
            return nth - 1
    raise AssertionError(f"it goes on after {MOST} calls")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    asyncio.run(place.filled())
    return place


def states(place: Place) -> int:
    return len(asyncio.run(place.states()))


def test_a_backup_that_is_killed_is_there_whole_or_not_at_all(place: Place) -> None:
    """The one of that name before it stays until then. The next one clears up."""
    pattern = place.file.with_name("receiver-%Y%m%d.db")
    name = "receiver-20251229.db"

    def prepare() -> None:
        place.back_up(ImagesMode.LINK, NOW, pattern)

    def check() -> None:
        elsewhere = Place(place.state.parent / "elsewhere")
        elsewhere.state.mkdir(exist_ok=True, parents=True)
        assert elsewhere.restore(pattern.with_name(name)).tasks == 3
        place.back_up(ImagesMode.LINK, NOW + DAY, pattern)
        backup.rotate_backups(pattern, 2)
        found = sorted(it.name for it in pattern.parent.iterdir())
        assert [it for it in found if not it.endswith(".images")] == [name, "receiver-20251230.db"]
        assert (pattern.parent / "receiver-20251230.db.images" / "ab" / TASK / "0.png").exists()
        assert not [it for it in found if it.endswith(".part")]

    assert kills(lambda: place.back_up(ImagesMode.LINK, NOW, pattern), check, prepare) > 8


def test_a_restore_that_is_killed_leaves_the_old_database_or_the_new_one(place: Place) -> None:
    """Whole, with good keys; whatever is put back afterwards finds nothing in its way, and nothing that was is lost."""
    place.back_up(ImagesMode.COPY)

    def prepare() -> None:
        for path in place.state.glob("receiver.db*"):
            path.unlink()
        (place.state / "secret_keys").write_text("a-key-made-since-0123456")
        (place.images / "ab" / TASK / "0.png").unlink(missing_ok=True)

        async def four() -> None:
            store = await open_store(place.database)
            await put(store, *(a_task(task_id=f"now-{number}") for number in range(4)))
            await store.close()

        asyncio.run(four())

    def check() -> None:
        count = states(place)
        assert count in (3, 4)
        kept = (place.state / "secret_keys").read_text().split()
        assert kept in (["a-key-made-since-0123456"], ["a-key-made-since-0123456", *KEYS])
        done = place.restore()
        assert (states(place), (place.state / "secret_keys").read_text().split()[1:]) == (3, list(KEYS))
        assert (place.images / "ab" / TASK / "0.png").read_bytes() == b"a picture"
        assert not list(place.state.rglob("receiver.db*.part"))
        asides = [it for it in place.state.glob("receiver.db.before-restore-*") if it.suffix != ".lock"]
        assert len(asides) == (1 if count == 4 else 2)
        assert done.aside is not None
        found = []
        for aside in asides:
            with sqlite3.connect(aside) as raw:
                found += raw.execute("SELECT count(*) FROM tasks").fetchall()
            raw.close()
        assert (4,) in found

    assert kills(lambda: place.restore(), check, prepare) > 12


def test_retention_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """No file is left that no row knows of; what is young has lost nothing."""

    async def prepare() -> None:
        for path in (tmp_path / "state").glob("r.db*"):
            path.unlink()
        store = await open_store(tmp_path / "state" / "r.db")
        for at in (OLD, OLD, YOUNG):
            await a_past(store, tmp_path / "state", at)
        await store.close()

    async def prune() -> None:
        store = await open_store(tmp_path / "state" / "r.db")
        await pruning(store, tmp_path / "state", tasks=10, callbacks=20, polls=20, notices=20).run_full_pass()
        await store.close()

    async def check() -> None:
        await prune()
        store = await open_store(tmp_path / "state" / "r.db")
        found = await left(store)
        [task] = await store.tasks.page()
        await store.close()
        assert found == {it: 2 if it == "callbacks" else 1 for it in found}
        folders = [it for it in (tmp_path / "state" / "images").glob("*/*") if it.parent.name != "parts"]
        assert [it.name for it in folders] == [task.ref]
        assert len(list(folders[0].iterdir())) == 4
        await ArchiveFiles(tmp_path / "state" / "images").remove_folders([task.ref])

    def run(work: Callable[[], Any]) -> Callable[[], None]:
        return lambda: asyncio.run(work())

    assert kills(run(prune), run(check), run(prepare)) > 8


def test_a_killed_write_of_one_backup_does_not_spoil_another(place: Place) -> None:
    """Two at once for one name: the second is told so, and the first comes to its end."""
    place.back_up()
    with draft_file(place.file), pytest.raises(ReceiverError, match="another process is writing"):
        place.back_up()
    assert place.restore().tasks == 3
