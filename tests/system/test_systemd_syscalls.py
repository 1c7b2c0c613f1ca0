"""The filters of system calls in the units, against what the programs call: nothing that they need is taken away."""

import asyncio
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kit.commands import OUTPAINT, RECEIVER, environment
from kit.database_faults import NOWHERE
from kit.fakes import DAY
from kit.live_service import PATIENCE_S, serving, until
from kit.picture_files import plain
from kit.systemd import analyze, unit
from receiver import sandbox
from receiver.core.types import Callback
from receiver.pictures.drawing.protocol import DrawLimits
from receiver.sandbox import SandboxOptions
from receiver.store import open_store

pytestmark = pytest.mark.skipif(
    not (shutil.which("systemd-analyze") and shutil.which("strace")),
    reason="systemd-analyze or strace is not on this machine",
)


@functools.cache
def calls_of(group: str) -> frozenset[str]:
    """The calls of one of systemd's groups, groups within it opened."""
    lines = analyze("syscall-filter", group).stdout.splitlines()[1:]
    words = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return frozenset().union(*(calls_of(word) if word.startswith("@") else {word} for word in words))


def allowed(name: str) -> frozenset[str]:
    """What a unit's SystemCallFilter= lines leave."""
    left: frozenset[str] = frozenset()
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit(name), re.MULTILINE):
        named = frozenset().union(*(calls_of(group) for group in line.lstrip("~").split()))
        left = left - named if line.startswith("~") else left | named
    return left


def called(trace: Path) -> tuple[set[str], list[str]]:
    """The names of the calls in a trace, and those that make memory both writable and executable."""
    lines = trace.read_text(errors="replace").splitlines()
    names = {found[1] for line in lines if (found := re.match(r"[0-9]+ +([a-z0-9_]+)\(", line))}
    return names, [line for line in lines if "PROT_WRITE|PROT_EXEC" in line]


def child_of(pid: int) -> int:
    """The one process that a process has started."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_the_child_that_draws_pictures_may_do_all_it_does(tmp_path: Path) -> None:
    """It limits itself first, by calls which a tighter filter would take away."""
    (tmp_path / "0.png").write_bytes(plain())
    task = json.dumps({"limits": list(DrawLimits()), "pictures": [["0", str(tmp_path / "0.png")]]})
    trace = tmp_path / "trace"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(trace), sys.executable, "-m", "receiver.pictures.drawing"],
        input=task.encode(),
        capture_output=True,
        timeout=PATIENCE_S,
        env=environment(),
        cwd=tmp_path,
    )
    assert json.loads(done.stdout.split(b"\n")[0])["without"] == []
    names, twofold = called(trace)
    assert {"prlimit64", "setpriority"} <= names
    assert names - allowed("receiver.service") == set()
    assert twofold == []


@pytest.mark.anyio
async def test_the_service_may_do_all_it_does(tmp_path: Path) -> None:
    """A start, a submission, a callback, a message that fails, a stop."""
    trace = tmp_path / "trace"
    async with sandbox.open_sandbox(SandboxOptions(latency_s=0.1)) as provider:
        service = await asyncio.create_subprocess_exec(
            *("strace", "-f", "-qq", "-o", str(trace), *RECEIVER, "serve", "--port", "0"),
            cwd=tmp_path,
            stderr=asyncio.subprocess.PIPE,
            env=environment(
                DATABASE_URL=f"sqlite:///{tmp_path}/receiver.db",
                PROVIDER_URL=f"{provider.url}/model/v1/generation",
                PROVIDER_KEY="any-key-will-do",
                NOTIFY_URLS="json://127.0.0.1:9/",
                SWEEP_FIRST="1",
            ),
        )
        assert service.stderr is not None
        line = {}
        while "port" not in line:
            line = json.loads(await service.stderr.readline())
        api = environment(SERVER=f"http://127.0.0.1:{line['port']}", DATABASE_URL=f"sqlite:///{tmp_path}/receiver.db")

        async def said(*command: str) -> bytes:
            asked = await asyncio.create_subprocess_exec(
                *RECEIVER, *command, env=api, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
            )
            return (await asked.communicate())[0]

        async def tried() -> bool:
            notices = json.loads(await said("notices", "list", "--json"))["notices"]
            return any(notice["attempts"] for notice in notices)

        await said(*OUTPAINT)
        await until(tried)
        os.kill(child_of(service.pid), signal.SIGTERM)
        await service.communicate()
    names, twofold = called(trace)
    assert {"fdatasync", "epoll_wait", "sendto"} <= names  # it was this that was traced
    as_root = calls_of("@chown")  # by SQLite and by us, of the database's files, where it is root; the unit is not
    assert names - allowed("receiver.service") - as_root == set()
    assert twofold == []


def test_the_backup_may_do_all_it_does(tmp_path: Path) -> None:
    """That it cannot be nice does not matter: the unit is."""
    (tmp_path / "backups").mkdir(mode=0o700)  # the unit's StateDirectory
    settings = environment(DATABASE_URL=f"sqlite:///{tmp_path}/receiver.db")
    made = (
        "import asyncio, pathlib\nfrom receiver.store import open_store\n"
        "async def made(): await (await open_store(pathlib.Path('receiver.db'))).close()\nasyncio.run(made())\n"
    )
    subprocess.run([sys.executable, "-c", made], env=settings, cwd=tmp_path, check=True, timeout=PATIENCE_S)
    trace = tmp_path / "trace"
    done = subprocess.run(
        [*("strace", "-f", "-qq", "-o", str(trace)), *RECEIVER, "backup", "--keep", "2", "backups/receiver-%Y%m%d.db"],
        env=settings,
        cwd=tmp_path,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    names, twofold = called(trace)
    assert "fsync" in names
    assert names - allowed("receiver-backup.service") - calls_of("@chown") == {"setpriority"}
    assert twofold == []


def strace(trace: Path, *command: str) -> tuple[str, ...]:
    """A command of ours, traced."""
    return "strace", "-f", "-qq", "-o", str(trace), *RECEIVER, *command


@pytest.mark.anyio
async def test_prune_may_do_all_it_does_alone(tmp_path: Path) -> None:
    """With rows to remove, and room to give back."""
    store = await open_store(tmp_path / "receiver.db")
    old = time.time_ns() // 1_000_000 - 91 * DAY
    callbacks = [(Callback(ref=f"gone{no}", received_at=old, body=b"x" * 9000), True) for no in range(40)]
    async with store.write() as tx:
        await tx.callbacks.insert(callbacks)
    await store.close()
    trace = tmp_path / "trace"
    done = await asyncio.create_subprocess_exec(
        *strace(trace, "prune", "--json"),
        env=environment(DATABASE_URL=f"sqlite:///{tmp_path}/receiver.db"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    told = json.loads((await done.communicate())[0])
    assert told["removed"] == {"callbacks": 40}
    assert told["given_back"] > 0
    names, twofold = called(trace)
    assert "ftruncate" in names
    assert names - allowed("receiver-prune.service") - calls_of("@chown") == set()
    assert twofold == []


@pytest.mark.anyio
async def test_prune_may_do_all_it_does_to_ask_the_service(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    async with serving(tmp_path, NOWHERE) as service:
        asked = await asyncio.create_subprocess_exec(
            *strace(trace, "prune"), env=service.env, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        assert (await asked.communicate())[0] == b"the running service begins now; see its log\n"
        assert await service.stop(signal.SIGTERM) == 0
    names, twofold = called(trace)
    assert {"connect", "sendto"} <= names
    assert names - allowed("receiver-prune.service") - calls_of("@chown") == set()
    assert twofold == []
