"""The Procfile, as platforms run it: the port and the database come as bare PORT and DATABASE_URL."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.processes import wait_for_answer
from kit.commands import ROOT, environment
from kit.live_service import PATIENCE_S, free_port

BIN = Path(sys.executable).parent


@contextlib.contextmanager
def started(folder: Path, **env: str) -> Iterator["subprocess.Popen[str]"]:
    """`honcho start`, in a folder that has the Procfile; with the commands of this Python in PATH."""
    (folder / "Procfile").write_text((ROOT / "Procfile").read_text())
    path = f"{BIN}:{os.environ['PATH']}"
    process = subprocess.Popen(
        [sys.executable, "-m", "honcho", "start"],
        cwd=folder,
        env={**environment(), "PATH": path, "PYTHONUNBUFFERED": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)


def test_the_port_of_the_platform_is_listened_on_wherever_its_router_is(tmp_path: Path) -> None:
    """Not on loopback alone; and what is answered was written into the database that it names."""
    port = free_port()
    with started(tmp_path, PORT=str(port), DATABASE_URL=f"sqlite:///{tmp_path}/there.db") as process:
        assert wait_for_answer(port, "/readyz") == 200
        assert (tmp_path / "there.db").exists()
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=PATIENCE_S)
    assert f"listening on http://0.0.0.0:{port}" in said
    assert '"msg": "stopped"' in said  # in order, not killed


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"DATABASE_URL": "postgres://someone:a-password@db.example/x"}, "DATABASE_URL is PostgreSQL, and STATE_DIR"),
        ({"DYNO": "web.1"}, "deletes its disk at every restart"),
    ],
)
def test_what_is_missing_is_refused_by_its_name(tmp_path: Path, env: dict[str, str], told: str) -> None:
    with started(tmp_path, PORT=str(free_port()), **env) as process:
        said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert told in re.sub(r"\s+", " ", said)
    assert "a-password" not in said
