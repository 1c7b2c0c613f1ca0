"""Whether what runs is what is installed: since when systemd has run a unit, and which files changed since."""

import contextlib
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

ASK_MOST_S = 10
# For a service (True), its process, which reads its files before the unit is active. Microseconds of CLOCK_MONOTONIC.
_BEGAN_FIELDS = {True: "ExecMainStartTimestampMonotonic", False: "ActiveEnterTimestampMonotonic"}


def running_since(unit: str) -> float | None:
    """Since when this unit has run, in seconds since 1970; None if it does not run or systemd does not say."""
    began = _BEGAN_FIELDS[unit.endswith(".service")]
    try:
        output = subprocess.run(  # noqa: S603 - fixed arguments
            ("systemctl", "show", f"--property=ActiveState,{began}", unit),  # noqa: S607 - systemd's, wherever it is
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ASK_MOST_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    fields = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    microseconds = fields.get(began, "")
    if fields.get("ActiveState") not in ("active", "reloading") or not microseconds.isdigit() or not int(microseconds):
        return None
    return time.time() - (time.monotonic() - int(microseconds) / 1_000_000)


def first_newer(paths: Iterable[Path], than: float) -> Path | None:
    """The first of these whose contents or name changed after that time; None if none did."""
    for path in paths:
        with contextlib.suppress(OSError):
            if path.stat().st_ctime > than:
                return path
    return None
