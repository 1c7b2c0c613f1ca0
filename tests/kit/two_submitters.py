"""Two processes that submit over one database, to one provider."""

from msgspec import Struct

from kit.fakes import Clock, FakeProvider, a_task, claimed, put, says
from kit.submit_loop import a_budget, a_submit
from receiver.core.budgets import BudgetRules
from receiver.core.types import Ending, SubmitAnswer, SubmitResult, Task, TaskState
from receiver.store import Store
from receiver.tasks.submit import SubmitLoop


class Pair(Struct, frozen=True, eq=False):
    """Two loops that have looked for work once, and the provider that they share. It takes what it is sent."""

    store: Store
    provider: FakeProvider
    clock: Clock
    one: SubmitLoop
    two: SubmitLoop

    async def queue(self, count: int) -> list[Task]:
        tasks = [a_task(TaskState.QUEUED, due_at=self.clock(), turn=turn) for turn in range(count)]
        await put(self.store, *tasks)
        return tasks

    async def claim_in_turn(self, most: int = 100) -> list[Task]:
        """What both claim, one after the other, until neither finds anything."""
        found: list[Task] = []
        while len(found) < most:
            works = [await self.one.claim(), await self.two.claim()]
            if works == [None, None]:
                break
            found += filter(None, works)
        return found

    async def answer(self, loop: SubmitLoop, answer: SubmitAnswer) -> Task:
        """Let this loop submit its next task, which gets this answer."""
        self.provider.answers.append(answer)
        work: Task = await claimed(loop.claim)
        await loop.carry_out(work)
        return work


async def a_pair(
    store: Store, other: Store, clock: Clock, *, concurrency: int = 4, rules: BudgetRules | None = None
) -> Pair:
    provider = FakeProvider()
    provider.answer = lambda: SubmitAnswer(
        SubmitResult.TAKEN, "200", says(Ending.RUNNING, f"job-{len(provider.submitted)}", created_at=clock())
    )
    loops = [
        a_submit(it, provider, clock, concurrency=concurrency, budget=a_budget(clock, rules)) for it in (store, other)
    ]
    for loop in loops:
        assert await loop.claim() is None
    return Pair(store, provider, clock, *loops)
