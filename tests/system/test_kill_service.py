"""kill -9 in the middle of everything: after a restart every task ends as it should, and every ping comes."""

import signal
from pathlib import Path

import pytest

from kit.commands import TESTS
from kit.dying import POINTS
from kit.live_service import Service, sinking
from receiver import sandbox
from receiver.sandbox import Fate, SandboxOptions

pytestmark = pytest.mark.anyio

DYING = str(TESTS / "kit" / "dying.py")


@pytest.mark.parametrize("point", POINTS)
async def test_nothing_is_lost_by_a_kill(tmp_path: Path, point: str) -> None:
    """One task; the process dies at the point; the real service takes over and ends the job, paid for once."""
    fate = Fate.DROPPED | Fate.COMPLETES if point == "polled" else Fate.COMPLETES
    retry_s = (0.1,) * 10_000  # a provider that insists, so that the restart is in time, however long it takes
    options = SandboxOptions(latency_s=0.2, seed=1, script=(fate,), callback_retry_s=retry_s)
    async with sandbox.open_sandbox(options) as provider, sinking() as sink:
        service = Service(tmp_path, f"{provider.url}/model/v1/generation", NOTIFY_URLS=sink.url, SWEEP_FIRST="1")
        try:
            await service.start(DYING, point)
            ref = await service.submit("hero")
            assert await service.ended() == -signal.SIGKILL
            await service.start()
            task = await service.settled(ref)
            assert (task["state"], len(task["images"]), task["confirmed"]) == ("completed", 4, True)
            assert len(provider.book.submissions) == 1
            assert len(sink.got) == (2 if point == "sent" else 1)
            assert [notice["state"] for notice in task["notices"]] == ["sent"]
        finally:
            await service.stop()
            await service.http.aclose()
