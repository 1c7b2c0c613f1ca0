"""The whole service watches one clock: a leap holds what cannot be undone, and makes the service no less ready."""

from pathlib import Path

import pytest

from kit.fakes import DAY, Clock
from kit.web import opened, serving
from receiver.clocks import boot_clock
from receiver.service import wiring

pytestmark = pytest.mark.anyio


async def test_after_a_leap_the_api_prunes_nothing_and_the_service_stays_ready(tmp_path: Path) -> None:
    wall, boot = Clock(), Clock(DAY)
    async with opened(tmp_path, clock=wall, boot=boot) as parts, serving(parts) as served:
        assert (await served.client.post("/api/v1/prune", json={})).status_code == 202
        wall.forward(100 * DAY)
        refused = await served.client.post("/api/v1/prune", json={})
        assert refused.status_code == 409
        assert "clock_leapt" in refused.text
        assert "leapt 100 days ahead" in refused.text
        assert await parts.prune.claim() is None
        assert (await served.client.get("/readyz")).status_code == 200
        metrics = (await served.client.get("/metrics")).text
        assert "receiver_clock_leaps_total 1.0" in metrics


async def test_a_restart_on_the_same_machine_remembers_the_clock(tmp_path: Path) -> None:
    wall, boot = Clock(), Clock(DAY)
    async with opened(tmp_path, clock=wall, boot=boot) as parts:
        await parts.prune.claim()
    wall.forward(100 * DAY)
    async with opened(tmp_path, clock=wall, boot=boot) as parts:
        await parts.prune.claim()
        stored = await parts.store.clock_checks.load()
        assert stored is not None
        assert stored.leap_ms == 100 * DAY


def test_this_machine_has_a_clock_that_cannot_leap_and_a_name_for_its_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = boot_clock()
    assert 0 < first <= boot_clock()
    assert wiring.read_boot_id().isalnum()
    # Where systemd hides the file, it passes the same name.
    monkeypatch.setattr(wiring, "BOOT_ID_FILE", tmp_path / "hidden")
    monkeypatch.setenv("BOOT_ID", "0123abcd")
    assert wiring.read_boot_id() == "0123abcd"
    monkeypatch.delenv("BOOT_ID")
    assert wiring.read_boot_id() == ""
