"""What systemd and a service say to each other: the socket it passes, sd_notify(3), the watchdog.

All of it is words in the environment and datagrams on a socket; where systemd is not, nothing happens.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

from receiver.core.errors import SettingsError
from receiver.store import Store

FIRST_FD = 3  # sd_listen_fds(3)
BEATS = 3  # in the span in which systemd wants to hear of us: two may be late


def passed_socket(env: Mapping[str, str]) -> int | None:
    """The descriptor of the listening socket that systemd passed to this process; None if it passed none.

    Raises SettingsError for several: the service has one address.
    """
    if env.get("LISTEN_PID") != str(os.getpid()):  # what another process was passed
        return None
    count = env.get("LISTEN_FDS", "")
    if count not in ("1", "0", ""):
        raise SettingsError(f"systemd passes {count} sockets (LISTEN_FDS), and one is served: leave one ListenStream=")
    return FIRST_FD if count == "1" else None


def is_journal(env: Mapping[str, str], fd: int) -> bool:
    """Whether what is written there goes to the journal as it is: `JOURNAL_STREAM` of systemd.exec(5) names it."""
    try:
        state = os.fstat(fd)
    except OSError:
        return False
    return env.get("JOURNAL_STREAM") == f"{state.st_dev}:{state.st_ino}"


def sd_notify(*words: str) -> None:
    """Tell systemd these assignments, such as `READY=1`, if it is there and listens; never waits, never raises."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, contextlib.suppress(OSError):
        told.setblocking(False)
        # @ names an abstract socket
        told.sendto("\n".join(words).encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


def watchdog_s(env: Mapping[str, str]) -> float | None:
    """Within how many seconds systemd wants to hear of this process; None where it does not."""
    usec = env.get("WATCHDOG_USEC", "")
    ours = env.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    return int(usec) / 1_000_000 if ours and usec.isdigit() and int(usec) else None


async def feed_watchdog(store: Store, within_s: float) -> None:
    """For ever: tell systemd that we live, `BEATS` times in `within_s`.

    We do while the loop turns and the store answers: that a commit fails (the disk is full, say) is told as the status,
    for a restart would not mend it; one that does not come to an end, or never gets its turn, may be mended by it.
    """
    beat_s = within_s / BEATS
    probing: asyncio.Task[str | None] | None = None
    said: str | None = None
    while True:
        if probing is None:
            probing = asyncio.create_task(store.probe(), name="watchdog")
        done, _ = await asyncio.wait({probing}, timeout=beat_s)
        if not done:
            continue
        fault, probing = probing.result(), None
        sd_notify("WATCHDOG=1")
        if fault != said:
            sd_notify(f"STATUS=callbacks are refused, {fault}" if fault else "STATUS=callbacks are stored again")
            said = fault
        await asyncio.sleep(beat_s)
