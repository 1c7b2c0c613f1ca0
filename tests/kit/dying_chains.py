"""Chains that go on by themselves in a process which kills itself: `kit.dying_chains FOLDER LIFE STEPS` of
`kit.programs`.

It dies at its STEPS-th step: before and after each commit, and before and after the provider takes a task. 0: it lives
until nothing moves. What the provider takes is a line in `taken`, whoever dies. A task whose submission is unclear is
found by a poll. What waits for a pick goes on from the pictures 0 and 1; a task with the label `bad` fails.
"""

import asyncio
from pathlib import Path

from kit.chains import ChainBench
from kit.dying_spender import Fuse, Taker, wrap_commits
from kit.fakes import MINUTE, NOW
from kit.submit_loop import a_submit
from receiver.core.types import Ending, TaskState
from receiver.store import Store, open_store

LIFE_MS = 20 * MINUTE  # longer than an unsure task holds a place


async def go_on(store: Store, ledger: Path, now: int, fuse: Fuse) -> None:
    """Submit, end, follow and pick, until nothing moves."""
    bench = ChainBench(store)
    bench.clock.now = now
    submit = a_submit(store, Taker(ledger, fuse), bench.clock, concurrency=10)
    moved = True
    while moved:
        moved = False
        while (work := await submit.claim()) is not None:
            await submit.carry_out(work)
            moved = True
        for task in await store.tasks.page(state=TaskState.WAITING, limit=100):
            await bench.end(task, Ending.FAILED if task.label == "bad" else Ending.COMPLETED)
            moved = True
        moved = await bench.follow_all() > 0 or moved
        for task in await store.chains.open_picks(100):
            await bench.picks.pick(task.ref, [0, 1])
            moved = True


async def live(folder: Path, life: int, steps: int) -> None:
    """One life."""
    fuse = Fuse(steps)
    wrap_commits(fuse)
    store = await open_store(folder / "r.db")
    await go_on(store, folder / "taken", NOW + life * LIFE_MS, fuse)
    await store.close()


def run(words: list[str]) -> None:
    """What `kit.programs` calls."""
    asyncio.run(live(Path(words[0]), int(words[1]), int(words[2])))
