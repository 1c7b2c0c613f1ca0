"""Commands before a service that answers as told."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from kit.commands import Answers, Run, serving
from receiver.cli.main import cli


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def run(answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a command in an empty folder, without settings of its own, and waits nowhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("receiver.client.client.STREAM_GAP_S", 0)
    monkeypatch.setattr("receiver.cli.waiting.GAP_S", 0.001)
    for name in [it for it in os.environ if it.startswith("RECEIVER_")]:
        monkeypatch.delenv(name)
    with serving(answers) as server:
        own = {"RECEIVER_SERVER": f"http://127.0.0.1:{server.server_address[1]}", "RECEIVER_API_TOKEN": "any-token"}
        yield lambda *args, **env: CliRunner().invoke(cli, args, env={**own, **env})
        server.shutdown()
