"""The doctor's findings: each check reports what it found and, if something is wrong, what to do about it.

Checks get settings as arguments. They change nothing, show no secrets and have a time limit: one that hangs is
abandoned, in a thread that does not keep the process from exiting.
"""

import threading
from collections.abc import Callable, Iterable
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

CHECK_MOST_S = 10.0
SEE_SERVICE = "see the finding `service` above"


class CheckResult(StrEnum):
    """How a check ended. Only `FAILED` keeps the service from doing its work."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(Struct, frozen=True):
    """One thing that a check found, and the remedy if it needs one."""

    check: str
    result: CheckResult
    text: str
    remedy: str | None = None


def ok(text: str) -> Finding:
    """All is well. `run_check` fills in the name of the check."""
    return Finding("", CheckResult.OK, text)


def warning(text: str, remedy: str) -> Finding:
    """It works, but not as it should."""
    return Finding("", CheckResult.WARNING, text, remedy)


def failure(text: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding("", CheckResult.FAILED, text, remedy)


def skip(text: str, remedy: str | None = None) -> Finding:
    """It could not be checked."""
    return Finding("", CheckResult.SKIPPED, text, remedy)


def run_check(check: str, look: Callable[[], Iterable[Finding]], most_s: float = CHECK_MOST_S) -> list[Finding]:
    """Run `look`; returns its findings under the name `check`. What it raises becomes a finding.

    After `most_s` seconds, returns what it found until then, and that it did not end.
    """
    found: list[Finding] = []

    def collect_findings() -> None:
        try:
            found.extend(replace(each, check=check) for each in look())
        except OSError as error:
            text = f"the check could not run: {error.strerror or type(error).__name__}"
            found.append(Finding(check, CheckResult.FAILED, text, _ROOT))
        except Exception as error:  # its text may contain anything, even a secret
            found.append(Finding(check, CheckResult.FAILED, f"the check crashed with {type(error).__name__}", _OURS))

    thread = threading.Thread(target=collect_findings, name=check, daemon=True)
    thread.start()
    thread.join(most_s)
    findings = list(found)
    if thread.is_alive():
        findings.append(Finding(check, CheckResult.FAILED, f"the check did not end within {most_s:g} s", _HANGS))
    return findings


_ROOT = "run the doctor as the service's user or as root"
_OURS = "please report this bug in receiver"
_HANGS = "check whether the network, the DNS or the disk hangs"
