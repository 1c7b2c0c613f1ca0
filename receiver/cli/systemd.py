"""The interface to systemd: socket activation, sd_notify(3) and the watchdog.

It consists of environment variables and datagrams on a socket. Without systemd nothing happens.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

from receiver.core.errors import SettingsError
from receiver.store import Store

FIRST_FD = 3  # sd_listen_fds(3)
BEATS = 3  # keep-alives within the watchdog's time, so that two may be late


def passed_socket(env: Mapping[str, str]) -> int | None:
    """The descriptor of the listening socket that systemd passed to this process; None if it passed none.

    Raises SettingsError for several, since the service has one address.
    """
    if env.get("LISTEN_PID") != str(os.getpid()):  # they are for another process
        return None
    count = env.get("LISTEN_FDS", "")
    if count not in ("1", "0", ""):
        raise SettingsError(
            f"systemd passes {count} sockets (LISTEN_FDS), but the service takes one", remedy="keep one ListenStream="
        )
    return FIRST_FD if count == "1" else None


def is_journal(env: Mapping[str, str], fd: int) -> bool:
    """Whether `fd` writes straight to the journal: `JOURNAL_STREAM` of systemd.exec(5) names it."""
    try:
        state = os.fstat(fd)
    except OSError:
        return False
    return env.get("JOURNAL_STREAM") == f"{state.st_dev}:{state.st_ino}"


def sd_notify(*words: str) -> None:
    """Send systemd these assignments, such as `READY=1`, if it listens. Never waits, never raises."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.setblocking(False)
        # @ names an abstract socket
        sender.sendto("\n".join(words).encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


def watchdog_s(env: Mapping[str, str]) -> float | None:
    """Within how many seconds systemd expects a keep-alive of this process; None if it does not."""
    usec = env.get("WATCHDOG_USEC", "")
    ours = env.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    return int(usec) / 1_000_000 if ours and usec.isdigit() and int(usec) else None


async def feed_watchdog(store: Store, within_s: float) -> None:
    """Send keep-alives for ever, `BEATS` times in `within_s`, while the event loop runs and the store answers.

    A commit that fails (on a full disk, say) is only reported as the status, since a restart would not help. One that
    never ends, or never gets its turn, stops the keep-alives, since a restart may help.
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
            sd_notify(f"STATUS=callbacks are refused: {fault}" if fault else "STATUS=callbacks are stored again")
            said = fault
        await asyncio.sleep(beat_s)
