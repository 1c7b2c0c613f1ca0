"""A submit loop with a budget, which kills itself: `kit.dying_spender FOLDER LIFE STEPS` of `kit.programs`.

It dies at its STEPS-th step: before and after each commit, and before and after the provider takes a task. 0: it lives
until nothing more is submitted. What the provider takes is a line in `taken`, whoever dies: each costs $0.05, which
callbacks for some of the tasks report. Every LIFE is a while later than the one before, on the same day.
"""

import asyncio
import os
import random
import signal
from decimal import Decimal
from pathlib import Path

from kit.fakes import MINUTE, NOW, POLICY, Clock, FakeProvider, body, parse, says
from kit.submit_loop import a_budget, a_submit
from receiver.core.budgets import Budget, BudgetRules
from receiver.core.money import NANO
from receiver.core.types import Ending, SubmitAnswer, SubmitResult, TaskState, Usage
from receiver.store import Store, open_store
from receiver.store.sqlite.engine import SqliteConnection
from receiver.tasks.ingest import CallbackIngest
from receiver.telemetry.metrics import Metrics

LIFE_MS = 20 * MINUTE  # longer than an unsure task holds a place
COST = Usage(Decimal("0.05"))
DOLLAR = BudgetRules(Budget(NANO))


class Fuse:
    """Ends the process at its last step, as if the power went."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Taker(FakeProvider):
    """Takes every task, and notes it in a file."""

    def __init__(self, ledger: Path, fuse: Fuse) -> None:
        super().__init__()
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._fuse = fuse

    async def submit(self, model: str, params: bytes, callback: str | None) -> SubmitAnswer:
        self._fuse.step()
        task_id = f"id of {(callback or '').rpartition('/')[2]}"
        os.write(self._ledger, f"{task_id}\n".encode())
        self._fuse.step()
        return SubmitAnswer(SubmitResult.TAKEN, "200", says(Ending.RUNNING, task_id))


def wrap_commits(fuse: Fuse) -> None:
    """Die around every commit that writes."""
    commit = SqliteConnection.commit

    async def dying_commit(self: SqliteConnection) -> bool:
        if self._deferred or self._began:
            fuse.step()
        wrote = await commit(self)
        if wrote:
            fuse.step()
        return wrote

    SqliteConnection.commit = dying_commit  # type: ignore[method-assign]  # the harness's own wrapping


async def spend(store: Store, ledger: Path, clock: Clock, fuse: Fuse, chance: random.Random) -> None:
    """Submit what the budget allows; let some of it end; and again, until nothing moves."""
    submit = a_submit(store, Taker(ledger, fuse), clock, concurrency=10, budget=a_budget(clock, DOLLAR))
    ingest = CallbackIngest(store, parse, POLICY, clock, Metrics())
    moved = True
    while moved:
        moved = False
        while (work := await submit.claim()) is not None:
            await submit.carry_out(work)
            moved = True
        for task in await store.tasks.page(state=TaskState.WAITING, limit=100):
            if task.task_id is not None and chance.random() < 0.5:
                ended = says(Ending.COMPLETED, task.task_id, usage=COST)
                await ingest.receive_callback(task.ref, body(ended), b"{}")
                moved = True
        clock.forward(MINUTE // 60)


async def live(folder: Path, life: int, steps: int) -> None:
    """One life."""
    fuse = Fuse(steps)
    wrap_commits(fuse)
    store = await open_store(folder / "r.db")
    await spend(store, folder / "taken", Clock(NOW + life * LIFE_MS), fuse, random.Random(life))  # noqa: S311 - repeatable
    await store.close()


def run(words: list[str]) -> None:
    """What `kit.programs` calls."""
    asyncio.run(live(Path(words[0]), int(words[1]), int(words[2])))
