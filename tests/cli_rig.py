"""What the tests of the commands share: how a command is started, and with which environment."""

import os
import re
import sys
from pathlib import Path

RECEIVER = [sys.executable, "-m", "receiver"]
ROOT = Path(__file__).parent.parent
REF = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
OUTPAINT = ("submit", "outpaint", "--job-id", "a-job", "--image-no", "0", "--scale", "1.5")


def environment(**settings: str) -> dict[str, str]:
    """The environment of a command: ours without any setting, and these."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    return ours | {"PYTHONPATH": str(ROOT)} | {f"RECEIVER_{name}": value for name, value in settings.items()}
