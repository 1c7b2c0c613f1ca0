"""A Ctrl-C while the program is still being loaded ends it with status 130, without a traceback."""

import subprocess
import sys

import pytest

from kit.live_service import PATIENCE_S

_INTERRUPTED = """
import sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from receiver.__main__ import main
sys.argv = ["receiver", "--version"]
main()
"""


@pytest.mark.parametrize("module", ["click", "receiver.cli.main", "receiver.cli.streams"])
def test_it_says_nothing(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED.format(module=module)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
