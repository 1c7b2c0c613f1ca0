"""The units as they are in the repository, and systemd's own judge of them."""

import subprocess
from pathlib import Path

from kit.live_service import PATIENCE_S

HOME = Path(__file__).parents[2]


def analyze(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *args], capture_output=True, text=True, timeout=PATIENCE_S)


def unit(name: str) -> str:
    return (HOME / "systemd" / name).read_text()
