"""Whether what runs is what is installed: since when systemd has a unit running, and what has changed since."""

import contextlib
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

ASK_MOST_S = 10
# Of a service: its process, which reads its files before the unit is active. In microseconds of CLOCK_MONOTONIC.
_BEGAN_FIELDS = {True: "ExecMainStartTimestampMonotonic", False: "ActiveEnterTimestampMonotonic"}


def running_since(unit: str) -> float | None:
    """The time (seconds since 1970) from which on this unit has run; None if it does not, or nobody knows."""
    began = _BEGAN_FIELDS[unit.endswith(".service")]
    try:
        told = subprocess.run(  # noqa: S603 - our own words
            ("systemctl", "show", f"--property=ActiveState,{began}", unit),  # noqa: S607 - systemd's, wherever it is
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ASK_MOST_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    fields = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    microseconds = fields.get(began, "")
    if fields.get("ActiveState") not in ("active", "reloading") or not microseconds.isdigit() or not int(microseconds):
        return None
    return time.time() - (time.monotonic() - int(microseconds) / 1_000_000)


def first_newer(paths: Iterable[Path], than: float) -> Path | None:
    """The first of these that was changed, moved here or put under another's name after that time; None if none was."""
    for path in paths:
        with contextlib.suppress(OSError):
            if path.stat().st_ctime > than:
                return path
    return None
