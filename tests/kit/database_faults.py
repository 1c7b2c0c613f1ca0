"""What the tests of faults and of floods share: another process's lock, and callbacks to tasks of their own."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from kit.live_service import SECRET
from receiver.tokens import Ring, new_ref

NOWHERE = "http://127.0.0.1:9/generation"  # a provider that is never reached
LOCKING = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
other.execute("ROLLBACK")
"""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """A process that is not ours holds the database's write lock."""
    command = [sys.executable, "-c", LOCKING, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            other.stdin.close()


def new_callback() -> tuple[str, str]:
    """A fresh ref, and the path of its callback URL, minted with the service's key: the callback makes the task."""
    ref = new_ref(time.time_ns() // 1_000_000)
    return ref, f"/callbacks/{Ring([SECRET]).token(ref)}"
