"""A submit loop with a budget, over a provider that takes everything, and what its tasks come to cost."""

from decimal import Decimal

from kit.fakes import MODEL, POLICY, Clock, FakeProvider, got, says
from kit.submit_loop import Rig, a_budget, a_submit
from receiver.core.budgets import Budget, BudgetRules, PeriodKind
from receiver.core.clock_check import ClockWatch
from receiver.core.money import NANO
from receiver.core.spend import SpendCounts, contribution
from receiver.core.types import Ending, SubmitAnswer, SubmitResult, Task, Usage
from receiver.store import Store
from receiver.tasks.budget_check import BudgetCheck

CENT = NANO // 100
DOLLAR = BudgetRules(Budget(NANO))
TODAY = "2025-12-29"
PRICED = {MODEL: 5 * CENT}


class Spender(Rig, frozen=True, eq=False):
    """A submit loop with a budget, over a provider that takes everything."""

    budget: BudgetCheck

    async def send(self) -> Task | None:
        """Submit the next task; None if none is submitted."""
        work = await self.submit.claim()
        if work is not None:
            number = len(self.provider.submitted)
            self.provider.answers.append(
                SubmitAnswer(SubmitResult.TAKEN, "200", says(Ending.RUNNING, f"id-{number}", created_at=self.clock()))
            )
            await self.submit.carry_out(work)
        return work and await got(self.store, work.ref)

    async def send_all(self, most: int = 100) -> list[Task]:
        """Submit as long as something is submitted."""
        sent: list[Task] = []
        while len(sent) < most and (task := await self.send()) is not None:
            sent.append(task)
        return sent

    async def end(self, task: Task, cost: str | None, ending: Ending = Ending.COMPLETED) -> None:
        """The provider calls back; what it cost is `cost`."""
        usage = None if cost is None else Usage(Decimal(cost))
        await self.called_with(task, says(ending, task.task_id, usage=usage))

    async def committed(self, period: str = TODAY) -> int:
        return (await self.store.spend.committed(PeriodKind.DAY, period)).amount


def a_spender(
    store: Store, clock: Clock, rules: BudgetRules = DOLLAR, *, width: int = 10, watch: ClockWatch | None = None
) -> Spender:
    provider = FakeProvider()
    budget = a_budget(clock, rules) if watch is None else BudgetCheck(rules, POLICY, watch)
    submit = a_submit(store, provider, clock, concurrency=width, budget=budget)
    return Spender(store, provider, clock, submit, budget)


async def check_books(store: Store) -> None:
    """The books hold the sum of what all tasks contribute."""
    added = [contribution(task) for task in await store.tasks.page(limit=1000)]
    expected = SpendCounts(*(sum(it) for it in zip(*filter(None, added), strict=True))) if any(added) else SpendCounts()
    assert await store.spend.sum_all("0", "9") == expected
