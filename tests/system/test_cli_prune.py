"""`receiver prune` where somebody else has the database; the rest of it is in test_upkeep_commands.py."""

import fcntl
from pathlib import Path

import pytest

from kit.state_folder import run
from receiver.store import open_store


@pytest.mark.anyio
async def test_prune_says_who_has_the_database_where_no_service_answers(tmp_path: Path) -> None:
    """Another command of upkeep, perhaps: that is no reason to start anything."""
    await (await open_store(tmp_path / "receiver.db")).close()
    with (tmp_path / "receiver.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = run("prune", folder=tmp_path, SERVER="http://127.0.0.1:9", API_TOKEN="any-token-of-some-length")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == (
        "receiver: another process has receiver.db open, and no service answers at http://127.0.0.1:9: if a restore or "
        "another prune is running, wait for it; else set RECEIVER_SERVER to the service's address\n"
    )
