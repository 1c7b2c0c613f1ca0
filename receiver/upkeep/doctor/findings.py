"""What the doctor looks at: each check tells what it found and, where something is wrong, what to do about it.

Settings reach a check as arguments. None of them changes anything, shows a secret, or takes longer than it may: one
that hangs is left behind, in a thread that does not keep the process from exiting.
"""

import threading
from collections.abc import Callable, Iterable
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

CHECK_MOST_S = 10.0


class CheckResult(StrEnum):
    """How it is. Only `FAILED` keeps the service from doing its work."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(Struct, frozen=True):
    """One thing that a check found, and the remedy, if it needs one."""

    check: str
    result: CheckResult
    text: str
    remedy: str | None = None


def ok(text: str) -> Finding:
    """All is well. Which check says so is filled in by `bounded`."""
    return Finding("", CheckResult.OK, text)


def warning(text: str, remedy: str) -> Finding:
    """It works, but not as it should."""
    return Finding("", CheckResult.WARNING, text, remedy)


def failure(text: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding("", CheckResult.FAILED, text, remedy)


def skip(text: str, remedy: str | None = None) -> Finding:
    """It could not be looked at."""
    return Finding("", CheckResult.SKIPPED, text, remedy)


def run_check(check: str, look: Callable[[], Iterable[Finding]], most_s: float = CHECK_MOST_S) -> list[Finding]:
    """What `look` finds, under the name `check`, after `most_s` at the latest: then what it found until then, and that
    it did not end. Raises nothing that a check may raise."""
    found: list[Finding] = []

    def collect_findings() -> None:
        try:
            found.extend(replace(each, check=check) for each in look())
        except OSError as error:
            text = f"this could not be looked at: {error.strerror or type(error).__name__}"
            found.append(Finding(check, CheckResult.FAILED, text, _ROOT))
        except Exception as error:  # its text may be anything, a secret too
            found.append(Finding(check, CheckResult.FAILED, f"this check broke with {type(error).__name__}", _OURS))

    thread = threading.Thread(target=collect_findings, name=check, daemon=True)
    thread.start()
    thread.join(most_s)
    told = list(found)
    if thread.is_alive():
        told.append(Finding(check, CheckResult.FAILED, f"no end within {most_s:g} s", _HANGS))
    return told


_ROOT = "run the doctor as the service's user or as root"
_OURS = "that is a fault of ours: please report it"
_HANGS = "see whether the network, its DNS, or the disk hangs"
