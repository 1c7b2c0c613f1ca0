"""The ledger of `bench.where` counts each nanosecond once; `make bench` has the full runs of it."""

import asyncio
import os
from pathlib import Path

import pytest

from bench.processes import LOAD_CORE, SERVER_CORE
from bench.where import measure, table
from bench.where_ledger import Ledger, Stage, Wrapper, called, stepped
from bench.where_server import seam

CORES: set[int] = getattr(os, "sched_getaffinity", lambda _: set())(0)


@pytest.mark.skipif(not CORES >= SERVER_CORE | LOAD_CORE, reason="the cores that the benchmarks pin to are not ours")
def test_the_stages_of_a_callback_add_up_to_all_of_its_cpu(tmp_path: Path) -> None:
    """No stage is empty, nothing is counted twice or left out, and the rows say so."""
    shares = measure(tmp_path, count=300, runs=1)
    assert set(shares.stages) == set(Stage)
    assert min(shares.stages.values()) > 0
    assert 0 < shares.wrappers < shares.counted
    total, *parts = table(shares)
    assert sum(float(share.removesuffix("%")) for _, _, share in parts) == pytest.approx(100, abs=1)
    assert sum(float(each.split()[0]) for _, each, _ in parts) == pytest.approx(float(total[1].split()[0]), abs=1)


class Clock:
    """A thread's CPU that the test spends, in nanoseconds."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def spend(self, ns: int) -> None:
        self.now += ns


def test_time_counts_for_the_innermost_stage_only() -> None:
    """Of a call within a call the inner one's time is not the outer one's, also when it raises."""
    clock = Clock()
    ledger = Ledger(Stage.LOOP, clock)

    def parse() -> None:
        clock.spend(5)
        raise ValueError("no JSON")

    def receive() -> None:
        clock.spend(20)
        with pytest.raises(ValueError, match="no JSON"):
            called(ledger, Stage.BODY, parse)()
        clock.spend(10)

    clock.spend(300)
    called(ledger, Stage.HTTP, receive)()
    assert (ledger.spent[Stage.LOOP], ledger.spent[Stage.HTTP], ledger.spent[Stage.BODY]) == (300, 30, 5)
    assert ledger.around[Wrapper.CALL][Stage.HTTP] == ledger.opened[Wrapper.CALL][Stage.BODY] == 1


@pytest.mark.anyio
async def test_what_passes_while_a_coroutine_waits_is_not_its_own() -> None:
    """Its steps are counted, and it hears results and cancellations as if nobody counted."""
    clock = Clock()
    ledger = Ledger(Stage.LOOP, clock)
    asked: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def read() -> str:
        clock.spend(1)
        answer = await asked
        clock.spend(2)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            clock.spend(4)
        return answer

    reading = asyncio.ensure_future(stepped(ledger, Stage.ROWS, read)())
    await asyncio.sleep(0)
    clock.spend(100)
    asked.set_result("rows")
    for _ in range(3):
        await asyncio.sleep(0)
    reading.cancel()
    assert await reading == "rows"
    assert ledger.spent[Stage.ROWS] == 7


def test_a_seam_that_has_moved_is_said_aloud() -> None:
    """A stage must not be lost in silence when the product changes."""
    with pytest.raises(SystemExit, match="Ledger has no gone any more"):
        seam(Ledger, "gone", lambda part: part)
