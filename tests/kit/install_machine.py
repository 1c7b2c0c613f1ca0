"""What the tests of `receiver install` share: how it is run, what it left, a machine whose systemctl notes calls."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kit.commands import RECEIVER, environment
from kit.live_service import PATIENCE_S
from receiver.cli.install import command, unit_age
from receiver.cli.main import cli

KEY = "a-provider-key-that-nobody-sees"
TARGET = "json://127.0.0.1/a-target-that-nobody-sees"
URL = "https://receiver.example.org"
HIDDEN = "receiver: as a service it will not start: "
UNITS = (
    "receiver.socket",
    "receiver.service",
    "receiver-backup.service",
    "receiver-backup.timer",
    "receiver-prune.service",
    "receiver-prune.timer",
)


def run(*args: str, stdin: str | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
    """`receiver install` without a terminal; where this machine has its Python is left out of what it says."""
    done = subprocess.run(
        [*RECEIVER, "install", *args],
        capture_output=True,
        text=True,
        input=stdin or "",
        env={**environment(), **env},
        timeout=PATIENCE_S,
    )
    done.stderr = "".join(it for it in done.stderr.splitlines(keepends=True) if not it.startswith(HIDDEN))
    return done


def given(root: Path, *more: str) -> tuple[str, ...]:
    """All that is asked for."""
    files = ("--provider-key-file", str(root.parent / "key"), "--target-file", str(root.parent / "target"))
    return ("--root", str(root), "--public-url", URL, *files, *more)


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Each file below: mode, when it was written, contents."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            state = path.stat()
            found[str(path.relative_to(root))] = (stat.S_IMODE(state.st_mode), state.st_mtime_ns, path.read_bytes())
    return found


class Machine:
    """A root directory with a program and a systemctl that note how they were called.

    `began` is since when systemd would say that the units have run: seconds since 1970, None if they do not.
    """

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = place / "machine"
        self._calls = place / "calls"
        self.home = place / "home"
        (self.home / ".venv/bin").mkdir(parents=True)
        (self.home / "receiver").mkdir()
        (self.home / "receiver/__init__.py").touch()
        (place / "bin").mkdir()
        for program in (self.home / ".venv/bin/receiver", place / "bin/systemctl"):
            program.write_text(f'#!/bin/sh\necho "$(basename $0) $*" >> {self._calls}\nenv > {place}/env\n')
            program.chmod(0o755)
        self.env = place / "env"
        self.began: float | None = None
        monkeypatch.setenv("PATH", f"{place / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setattr(command, "ROOT", self.root)
        monkeypatch.setattr(command, "find_blockers", lambda *_, uninstall: [])
        monkeypatch.setattr(unit_age, "running_since", lambda _: self.began)

    def install(self, *args: str) -> Result:
        return CliRunner().invoke(cli, ["install", "--prefix", str(self.home), *args])

    def runs(self) -> None:
        """From now on: what is there now is what it has read, and what is written from now on is newer."""
        stamp = self.root.parent / "stamp"
        stamp.write_text("")
        self.began = stamp.stat().st_ctime
        while stamp.stat().st_ctime == self.began:  # a file system's time goes on in ticks
            stamp.write_text("")

    def calls(self) -> list[str]:
        """Those since the last look."""
        found = self._calls.read_text().splitlines() if self._calls.exists() else []
        self._calls.unlink(missing_ok=True)
        return found
