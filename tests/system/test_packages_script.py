"""What `make test` and CI install beforehand: nothing that is there, and where nothing can be installed, it says so."""

import shutil
import subprocess
from pathlib import Path

import pytest

from kit.commands import ROOT

BASH = shutil.which("bash")


def packages(path: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """The script on a machine whose programs are in `path`: no apt-get is among them."""
    assert BASH is not None
    command = [BASH, str(ROOT / ".ci/packages"), *names]
    return subprocess.run(command, env={"PATH": str(path)}, capture_output=True, text=True)


@pytest.fixture
def programs_folder(tmp_path: Path) -> Path:
    identity = shutil.which("id")
    assert identity is not None
    (tmp_path / "id").symlink_to(identity)
    return tmp_path


def test_what_is_there_needs_no_word(programs_folder: Path) -> None:
    (programs_folder / "promtool").write_text("#!/bin/sh\n")
    (programs_folder / "promtool").chmod(0o755)
    done = packages(programs_folder, "prometheus")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_not_to_be_had_is_named_and_the_tests_go_on(programs_folder: Path) -> None:
    done = packages(programs_folder, "one-made-up", "two-made-up")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "not on this machine, so that tests skip: one-made-up two-made-up (apt-get install one-made-up two-made-up)\n"
    )


def test_both_who_install_use_it() -> None:
    assert "\n.ci/packages\n" in (ROOT / ".ci/run").read_text()
    assert ".ci/packages $(PACKAGES)" in (ROOT / "Makefile").read_text()
