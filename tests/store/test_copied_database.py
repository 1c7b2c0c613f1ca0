"""A database that was copied to another machine submits nothing there until a person says so."""

from pathlib import Path

import pytest

from kit.fakes import NOW, POLICY, Clock, attention
from kit.submit_loop import TAKEN, Rig, a_rig, a_submit
from receiver.core.queue_waits import QueueReason
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.service import wiring
from receiver.store import Store
from receiver.tasks.copied_database import pause_if_copied

pytestmark = pytest.mark.anyio


@pytest.fixture
def rig(store: Store, clock: Clock) -> Rig:
    return a_rig(store, clock)


async def test_a_database_that_stays_where_it_is_goes_on(rig: Rig) -> None:
    await rig.queue()
    assert [await pause_if_copied(rig.store, POLICY, "one", NOW + turn) for turn in range(3)] == [False] * 3
    assert await rig.step(TAKEN)
    assert await attention(rig.store) == []


async def test_a_copy_waits_until_a_person_says_that_the_other_service_is_stopped(rig: Rig) -> None:
    await rig.queue()
    await pause_if_copied(rig.store, POLICY, "one", NOW)
    assert await pause_if_copied(rig.store, POLICY, "another", NOW + 1)
    assert await rig.submit.claim() is None
    assert await attention(rig.store) == ["copied-database"]
    wait = (await rig.submit.queue.describe()).wait
    assert wait is not None
    assert (wait.why, wait.since) == (QueueReason.PAUSED, NOW + 1)
    why = "is a copy of one that was served elsewhere" if rig.store.shared else "was last served on another machine"
    assert why in (wait.detail or "")
    again = a_submit(rig.store, rig.provider, rig.clock)
    assert not await pause_if_copied(rig.store, POLICY, "another", NOW + 2), "the next start there"
    assert await again.claim() is None
    async with rig.store.write() as tx:
        await tx.gates.resume(DEFAULT_PROVIDER)
    assert await again.claim() is not None


async def test_a_machine_without_a_name_changes_nothing(rig: Rig) -> None:
    await pause_if_copied(rig.store, POLICY, "one", NOW)
    assert not await pause_if_copied(rig.store, POLICY, "", NOW)
    assert await rig.store.gates.served_on() == "one"


def test_a_machine_is_named_by_a_hash_of_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "machine-id"
    monkeypatch.setattr(wiring, "MACHINE_ID_FILE", file)
    assert wiring.read_machine() == ""
    file.write_text("\n")
    assert wiring.read_machine() == "", "an image that is not started yet"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    named = wiring.read_machine()
    assert len(named) == 32
    assert "0123456789abcdef" not in named
