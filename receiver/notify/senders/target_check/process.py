"""Starts the child that loads the targets, reads what it found, and ends it.

A child, because Apprise's plugins stay in the memory of the process that loads them, and may do as they like there. One
that hangs or dies costs only its own target's check.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator, Sequence

import msgspec

from receiver.core.sanitize import one_line
from receiver.core.types import Target

CHILD = (sys.executable, "-I", "-m", "receiver.notify.senders.target_check")
WITHIN_S = 60.0  # for all targets
EACH_S = 15.0  # for one of them
_LINE_MOST = 600  # characters of a warning
_Fault = tuple[str, str | None]

log = logging.getLogger(__name__)


async def warn_of_unusable(targets: Sequence[Target], *, child: Sequence[str] = CHILD) -> None:
    """Log a warning for each target whose URL cannot work, with the reason and what to do. Raises nothing but
    CancelledError."""
    left, unchecked = list(targets), 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WITHIN_S):
            while left:
                done = await _check_some(left, child)
                unchecked += done < len(left)
                left = left[done + 1 :]  # the one at which the child ended is left out
    if unchecked := unchecked + len(left):
        what = "target" if unchecked == 1 else "targets"
        log.warning("%d %s could not be checked", unchecked, what, extra={"action": "target.unchecked"})


async def _check_some(targets: Sequence[Target], child: Sequence[str]) -> int:
    """Check targets in one child, which may end early; returns how many it has checked."""
    try:
        process = await asyncio.create_subprocess_exec(
            *child, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={}, cwd="/", start_new_session=True
        )
    except OSError:
        return 0
    assert process.stdin is not None  # noqa: S101 - asked for above
    assert process.stdout is not None  # noqa: S101 - likewise
    done = 0
    try:
        process.stdin.write(msgspec.json.encode([target.url for target in targets]))
        process.stdin.close()
        for target in targets:
            async with asyncio.timeout(EACH_S):
                line = await process.stdout.readline()
            fault = msgspec.json.decode(line, type=_Fault | None)
            done += 1
            if fault:
                text = f"no message can be sent to {target.name}: {'; '.join(_parts(fault))}"
                log.warning("%s", one_line(text, _LINE_MOST), extra={"action": "target.unusable"})
    except (TimeoutError, ValueError, OSError, asyncio.LimitOverrunError):  # it hangs, died, or writes nonsense
        pass
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()  # closes the pipes, and reaps it
    return done


def _parts(fault: _Fault) -> Iterator[str]:
    return (part for part in fault if part)
