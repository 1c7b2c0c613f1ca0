"""kill -9 while chains go on: each step is taken once, and every chain comes to its end."""

import asyncio
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.chains import UPSCALE, a_child, check_counts
from kit.fakes import a_task, got, put
from kit.live_service import PATIENCE_S
from kit.new_database import place_database
from kit.programs import Programs
from receiver.core.types import OutcomeSource, TaskState
from receiver.store import Store, open_store

pytestmark = pytest.mark.anyio

LIVES = 30
STEPS_MOST = 24


async def plant(store: Store) -> dict[str, str]:
    """Two chains: make → pick → wide → big, with one beside it; and one that fails in its middle. By name: refs."""
    make, bad = a_task(TaskState.QUEUED, label="make", turn=1), a_task(TaskState.QUEUED, label="fine", turn=2)
    wide, beside = a_child(make, None, label="wide"), a_child(make, 3, UPSCALE, label="beside")
    big = a_child(wide, 0, UPSCALE, label="big")
    middle = a_child(bad, 1, label="bad")
    below = [a_child(middle, 0, UPSCALE, label="below"), a_child(middle, None, label="below")]
    last = a_child(below[1], 0, label="below")
    make, bad = replace(make, root=make.ref), replace(bad, root=bad.ref)
    await put(store, make, bad, wide, beside, big, middle, *below, last)
    return {it.label or "": it.ref for it in (make, wide, beside, big, middle)}


@pytest.mark.parametrize("seed", [1, 2])
async def test_whenever_the_process_dies_each_step_is_taken_once_and_all_end(
    tmp_path: Path, programs: Programs, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - repeatable
    store = await open_store(await place_database(tmp_path / "r.db"))
    refs = await plant(store)
    await store.close()
    deaths = 0
    for life in range(LIVES):
        last = life == LIVES - 1
        steps = 0 if last else chance.randint(1, STEPS_MOST)
        async with asyncio.timeout(PATIENCE_S):
            status = await programs.run("kit.dying_chains", str(tmp_path), str(life), str(steps))
        assert status in ((0,) if last else (0, -signal.SIGKILL))
        deaths += status != 0
    assert deaths >= 5
    taken = (tmp_path / "taken").read_text().splitlines()
    assert len(taken) == len(set(taken)), "one task was sent twice"

    store = await open_store(tmp_path / "r.db")
    await check_counts(store)
    tasks = await store.tasks.page(limit=100)
    assert await store.chains.next_followups(10) == []
    assert Counter((it.label, it.state, it.settled_by is OutcomeSource.PARENT) for it in tasks) == {
        **{(label, TaskState.COMPLETED, False): 1 for label in ("make", "fine", "beside", "wide", "big")},
        **{(f"{label} #1", TaskState.COMPLETED, False): 1 for label in ("wide", "big")},
        ("bad", TaskState.FAILED, False): 1,
        ("below", TaskState.CANCELLED, True): 3,
    }
    sent = {it.ref for it in tasks if it.state is not TaskState.CANCELLED}
    assert {it.removeprefix("id of ") for it in taken} <= sent, "one that dies before it is sent counts as unsure"
    for name, image_no in (("wide", 0), ("beside", 3), ("big", 0), ("bad", 1)):
        params = (await got(store, refs[name])).params
        assert f'"jobId":"job of {image_no}"'.encode() in params
    await store.close()
