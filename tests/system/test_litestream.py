"""A restore drill with Litestream, where that program is: what it copied is put back, and served."""

import asyncio
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from kit.database_faults import NOWHERE, new_callback
from kit.live_service import Service, serving, until
from kit.state_folder import run

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[2] / "systemd" / "litestream.yml"


async def litestream(*command: str) -> asyncio.subprocess.Process:
    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec("litestream", *command, stdout=quiet, stderr=quiet)


@pytest.mark.skipif(not shutil.which("litestream"), reason="litestream is not on this machine")
async def test_what_litestream_copied_is_restored_and_served(tmp_path: Path) -> None:
    """Every callback that was answered before its last second is there, the service being killed without a word."""
    state, there, config = tmp_path / "state", tmp_path / "there", tmp_path / "litestream.yml"
    state.mkdir()
    there.mkdir()
    config.write_text(
        f"dbs:\n  - path: {state}/receiver.db\n    replicas:\n      - type: file\n        path: {tmp_path}/replica\n"
    )
    copy = tmp_path / "copy.db"
    async with serving(state, NOWHERE) as service:
        copying = await litestream("replicate", "-config", str(config))
        answered = []
        for _ in range(50):
            ref, path = new_callback()
            assert (await service.http.post(path, content=b'{"id": "any"}')).status_code == 200
            answered.append(ref)

        async def copied() -> bool:
            for end in ("", "-wal", "-shm"):
                Path(f"{copy}{end}").unlink(missing_ok=True)  # noqa: ASYNC240 - a test's own files
            restoring = await litestream("restore", "-config", str(config), "-o", str(copy), f"{state}/receiver.db")
            if await restoring.wait():
                return False
            with sqlite3.connect(copy) as raw:
                [(count,)] = raw.execute("SELECT count(*) FROM tasks")
            raw.close()
            return bool(count == len(answered))

        await until(copied)
        await service.stop(signal.SIGKILL)
        copying.terminate()
        await copying.wait()
    later = Service(there, NOWHERE)
    try:
        told = run("restore", str(copy), folder=there, DATABASE_URL=f"sqlite:///{there}/receiver.db")
        assert (told.returncode, "a plain database" in told.stdout) == (0, True), told.stderr
        await later.start()
        for ref in answered:
            assert (await later.task(ref))["origin"] == "adopted"
    finally:
        await later.stop()
        await later.http.aclose()


def test_the_example_names_the_database_where_systemd_puts_it() -> None:
    assert "path: /var/lib/receiver/receiver.db\n" in EXAMPLE.read_text()
