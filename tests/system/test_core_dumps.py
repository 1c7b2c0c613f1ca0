"""The keys are in the service's memory, which reaches no core dump; what looks at the service still can."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from kit.live_service import Service
from receiver.cli.core_dumps import forbid_core_dumps

pytestmark = pytest.mark.anyio

NOBODY = 65_534
ANYBODYS = all(it.stat().st_mode & 0o001 for at in (__file__, sys.executable) for it in Path(at).resolve().parents)
AS_NOBODY = (
    f"import os, sys; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY});"
    "os.execv(sys.executable, [sys.executable, '-m', 'receiver', 'serve'])"
)
AT_THE_END = (
    "import atexit, ctypes, resource, sys; from receiver.cli.main import main;"
    "atexit.register(lambda: print('dumpable', ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), 'core',"
    " *resource.getrlimit(resource.RLIMIT_CORE)));"
    "sys.argv = ['receiver', 'serve']; main()"
)


async def test_the_service_is_not_dumpable_and_may_write_no_core_file(tmp_path: Path) -> None:
    service = Service(tmp_path, "http://127.0.0.1:9/generation")
    async with service.http:
        await service.start("-c", AT_THE_END)
        await service.stop()
    assert "dumpable 0 core 0 0" in (tmp_path / "service.log").read_text()


@pytest.mark.skipif(os.geteuid() == 0 and not ANYBODYS, reason="another user cannot reach this Python or these tests")
async def test_a_service_without_roots_rights_still_counts_its_descriptors_and_root_owns_its_memory() -> None:
    """Its own /proc is closed to others of its user, and not to itself: the metrics stay whole."""
    with tempfile.TemporaryDirectory() as root:  # pytest's own folder may be for root alone
        root_runs = os.geteuid() == 0
        if root_runs:
            os.chown(root, NOBODY, NOBODY)
        service = Service(Path(root), "http://127.0.0.1:9/generation")
        async with service.http:
            await service.start(*(("-c", AS_NOBODY) if root_runs else ()))
            metrics = (await service.http.get("/metrics")).text
            owner = os.stat(f"/proc/{service.pid}/environ").st_uid
            await service.stop()
    assert owner == 0
    assert "process_open_fds" in metrics
    assert "process_resident_memory_bytes" in metrics


def test_a_system_without_prctl_still_gets_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    def no_libc(*_: object, **__: object) -> None:
        raise OSError("not here")

    limits: list[object] = []
    monkeypatch.setattr(ctypes, "CDLL", no_libc)
    monkeypatch.setattr("resource.setrlimit", lambda *given: limits.append(given[1]))
    forbid_core_dumps()
    assert limits == [(0, 0)]
