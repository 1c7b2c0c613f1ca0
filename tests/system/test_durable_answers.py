"""Answered means on the disk, not only out of the process: the service's system calls, in their order.

`test_store_sqlite.py` checks that the writing connection says `synchronous=FULL`; here the kernel is asked.
"""

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from msgspec import Struct

from kit.live_service import PATIENCE_S, SECRET, Service, until
from receiver.tokens import Ring, new_ref

pytestmark = pytest.mark.anyio

CALLS = "trace=fdatasync,fsync,pwrite64,write,writev,sendto,sendmsg,recvfrom,recvmsg"
# The tracer is a grandchild (-D): the process that the test started is the service, and takes its signals.
UNDER_STRACE = """import os, sys
os.execvp("strace", ["strace", "-D", "-f", "-y", "-s", "65536", "-e", sys.argv[1], "-o", sys.argv[2],
                     sys.executable, "-m", "receiver", "serve"])"""


class Call(Struct, frozen=True):
    """A system call with its arguments; it was under way from line `began` of the trace to line `ended`."""

    name: str
    text: str
    began: int
    ended: int


def calls(trace: str) -> list[Call]:
    """The calls of a trace that ended, in the order in which they began."""
    begun: dict[str, tuple[str, int]] = {}
    found = []
    for at, line in enumerate(trace.splitlines()):
        thread, _, text = line.partition(" ")
        text = text.strip()
        began = at
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>"), at
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>", text):
            start, began = begun.pop(thread)
            text = start + text[resumed.end() :]
        if name := re.match(r"\w+(?=\()", text):
            found.append(Call(name[0], text, began, at))
    return sorted(found, key=lambda call: call.began)


def is_durable_before_answered(told: list[Call], marker: str) -> bool:
    """Whether a sync of the WAL began after the marked bytes were written to it, and ended before their 200 began."""
    [received] = [it for it in told if it.name.startswith("recv") and marker in it.text]
    later = [it for it in told if it.began > received.ended]
    answer = next(
        it for it in later if it.name in ("sendto", "sendmsg", "write", "writev") and "HTTP/1.1 200" in it.text
    )
    wal = [it for it in told if "-wal>" in it.text and it.ended < answer.began]
    written = max((it.ended for it in wal if "write" in it.name and marker in it.text), default=answer.began)
    return any(it.name in ("fdatasync", "fsync") and it.text.endswith(" = 0") and it.began > written for it in wal)


def why_not_traced() -> str | None:
    """Why no process can be traced here, if so."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-D", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, timeout=PATIENCE_S
    )
    return f"tracing is forbidden here: {tried.stderr.strip()[:200]}" if tried.returncode or tried.stderr else None


async def test_the_wal_is_synced_between_a_callback_and_its_200(tmp_path: Path) -> None:
    if reason := why_not_traced():
        pytest.skip(reason)
    trace = tmp_path / "trace"
    markers = [f"the-marked-body-{number}" for number in range(3)]
    service = Service(tmp_path, "http://127.0.0.1:9/never-asked")
    try:
        await service.start("-c", UNDER_STRACE, CALLS, str(trace))
        for marker in markers:
            token = Ring([SECRET]).token(new_ref(time.time_ns() // 1_000_000))
            answer = await service.http.post(f"/callbacks/{token}", content=marker.encode())
            assert answer.status_code == 200
    finally:
        await service.stop()
        await service.http.aclose()

    async def whole() -> bool:
        return "+++ exited with 0 +++" in trace.read_text()[-200:]

    await until(whole)
    told = calls(trace.read_text())
    assert [is_durable_before_answered(told, marker) for marker in markers] == [True, True, True]


RECEIVED = '7 recvfrom(11<TCP:[1]>, "POST /callbacks/x HTTP/1.1\\r\\n\\r\\nmarked", 262144, 0, NULL, NULL) = 40'
WRITTEN = '8 pwrite64(9</r.db-wal>, "\\0\\0marked", 4096, 32) = 4096'
SYNCED = "8 fdatasync(9</r.db-wal>) = 0"
ANSWERED = '7 sendto(11<TCP:[1]>, "HTTP/1.1 200 OK\\r\\n", 17, 0, NULL, 0) = 17'
SYNCING = ("8 fdatasync(9</r.db-wal> <unfinished ...>", "8 <... fdatasync resumed>) = 0")


@pytest.mark.parametrize(
    ("lines", "durable"),
    [
        ((RECEIVED, WRITTEN, SYNCED, ANSWERED), True),
        ((RECEIVED, WRITTEN, *SYNCING, ANSWERED), True),
        ((RECEIVED, WRITTEN, SYNCING[0], ANSWERED, SYNCING[1]), False),
        ((RECEIVED, WRITTEN, ANSWERED, SYNCED), False),
        ((RECEIVED, SYNCED, WRITTEN, ANSWERED), False),
        ((RECEIVED, SYNCED, ANSWERED), False),
        ((RECEIVED, WRITTEN, SYNCED.replace("-wal", ""), ANSWERED), False),
        ((RECEIVED, WRITTEN, SYNCED.replace("= 0", "= -1 EIO"), ANSWERED), False),
    ],
)
def test_a_trace_without_the_sync_in_its_place_is_told_from_one_with_it(lines: tuple[str, ...], durable: bool) -> None:
    assert is_durable_before_answered(calls("\n".join(lines)), "marked") is durable
