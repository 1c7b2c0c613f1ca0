"""What the tests of upkeep share: a state directory with a database, secrets and a picture, and its backups."""

import subprocess
from pathlib import Path

from kit.commands import RECEIVER, environment
from kit.fakes import NOW, Clock, a_task, put
from kit.live_service import PATIENCE_S
from receiver.core.types import TaskState
from receiver.store import open_store
from receiver.upkeep import backup
from receiver.upkeep.backup import BackupResult, RestoreResult
from receiver.upkeep.backup_pictures import ImagesMode

KEYS = ("the-first-secret-key-0123", "a-second-secret-key-0123")
TOKENS = ("an-api-token-0123456789",)
TASK = "0199c0de-0000-7000-8000-0000000000ab"  # whose picture there is


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

    async def filled(self, count: int = 3, state: TaskState = TaskState.COMPLETED) -> None:
        """A database with tasks, the secrets beside it, and a picture; and a folder for backups."""
        self.file.parent.mkdir(mode=0o700, exist_ok=True)
        store = await open_store(self.database)
        await put(store, *(a_task(state, task_id=None) for _ in range(count)))
        await store.close()
        (self.state / "secret_keys").write_text("\n".join(KEYS))
        (self.state / "api_tokens").write_text("\n".join(TOKENS))
        folder = self.images / "ab" / TASK
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes(b"a picture")
        (self.images / "parts").mkdir()
        (self.images / "parts" / "half.part").write_bytes(b"half a")

    def back_up(self, images: ImagesMode = ImagesMode.NONE, now: int = NOW, file: Path | None = None) -> BackupResult:
        kept = {"secret_keys": KEYS, "api_tokens": TOKENS}
        return backup.back_up(self.database, file or self.file, kept, self.images, Clock(now), images)

    def restore(self, file: Path | None = None, *, given: tuple[str, ...] = (), queue: bool = False) -> RestoreResult:
        return backup.restore_backup(
            file or self.file, self.database, self.state, given_keys=given, clock=Clock(), queue=queue
        )

    async def states(self) -> list[str]:
        """The states of the tasks that are there."""
        store = await open_store(self.database)
        try:
            return [task.state.value for task in await store.tasks.page(limit=200)]
        finally:
            await store.close()


def run(*command: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command, to its end."""
    return subprocess.run(
        [*RECEIVER, *command],
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
