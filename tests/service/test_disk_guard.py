"""A disk that is nearly full: callbacks are refused before SQLite fails, all else goes on, a person is told of it."""

import os
from pathlib import Path

import pytest

from kit.fakes import HOUR, NOW, Clock, a_notice, attention, owe
from kit.retention import pruning
from kit.web import DONE, callback_path, minted, served
from receiver.store import Store
from receiver.store.sqlite.files import FREE_FLOOR, disk_full_reason

pytestmark = pytest.mark.anyio

MIB = 1 << 20


class Disk:
    """What statvfs(3) is told, in place of the truth."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, total: int = 20 << 30) -> None:
        self.free, self.total = total, total
        monkeypatch.setattr("receiver.store.sqlite.files.os.statvfs", self.told)

    def told(self, path: object) -> os.statvfs_result:
        return os.statvfs_result((1, 1, self.total, self.free, self.free, 1, 1, 1, 0, 255))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.mark.parametrize(("total", "least"), [(20 << 30, FREE_FLOOR), (256 * MIB, FREE_FLOOR), (8 * MIB, MIB // 2)])
def test_the_floor_is_16_mib_or_a_sixteenth_of_a_small_disk(disk: Disk, total: int, least: int) -> None:
    disk.total, disk.free = total, least
    assert disk_full_reason(Path("any")) is None
    disk.free = least - 1
    assert "the disk is full" in (disk_full_reason(Path("any")) or "")


async def test_callbacks_are_503_while_all_else_is_recorded_and_it_passes(tmp_path: Path, disk: Disk) -> None:
    """So that results of what was sent, and of what was asked, are not lost for want of the last megabytes."""
    async with served(tmp_path, clock=Clock()) as web:
        ref = await minted(web.client, task_id="prov-1", model="midjourney_outpaint")
        assert (await web.client.get("/readyz")).status_code == 200
        disk.free = FREE_FLOOR - 1
        answer = await web.client.post(callback_path(web.parts, ref), json=DONE)
        assert (answer.status_code, "the disk is full" in answer.text) == (503, True)
        assert int(answer.headers["retry-after"]) > 0
        await owe(web.parts.store, a_notice())
        ready = await web.client.get("/readyz")
        assert (ready.status_code, "the disk is full" in ready.json()["why"]) == (503, True)
        assert (await web.client.get("/healthz")).status_code == 200
        disk.free = FREE_FLOOR
        assert (await web.client.post(callback_path(web.parts, ref), json=DONE)).status_code == 200
        assert (await web.client.get("/readyz")).status_code == 200


async def test_a_person_is_told_once_an_hour(store: Store, tmp_path: Path, disk: Disk) -> None:
    clock = Clock(NOW)
    pruner = pruning(store, tmp_path, clock=clock, alone=False)
    await pruner.claim()
    assert await attention(store) == []
    disk.free = FREE_FLOOR - 1
    for hours in (1, 2):
        for _ in range(3):
            await pruner.claim()
        assert await attention(store) == ["disk"] * hours
        clock.forward(HOUR)
