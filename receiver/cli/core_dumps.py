"""No core dumps: the memory of a process that has the keys is never written to a disk."""

import logging

_PR_SET_DUMPABLE = 4

log = logging.getLogger(__name__)


def limit_core_dumps() -> None:
    """Forbid core files, for this process and all that it starts."""
    import resource  # here, so that the overview of the commands does not wait for it

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def forbid_core_dumps() -> None:
    """Make this process undumpable: no core file, none through a pipe either (such as systemd-coredump's, which the
    limit alone does not stop), and only root can attach a debugger or read its memory and environment.

    What it starts is dumpable again, under the limit.
    """
    limit_core_dumps()
    import ctypes

    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):  # not Linux
        log.debug("this system has no prctl", extra={"action": "serve.start"})
