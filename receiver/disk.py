"""What outlasts a loss of power."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk. Raises OSError."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
