"""A submit loop with all it stands on, and the answers that a provider may give."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from kit.fakes import NOW, POLICY, SECOND, Clock, FakeProvider, a_task, body, got, parse, put, says, steady
from receiver.core.budgets import BudgetRules
from receiver.core.loop_states import SubmitState
from receiver.core.proven_limit import ProvenLimit
from receiver.core.provider_pace import ProviderPace
from receiver.core.types import Ending, Outcome, Policy, SubmitAnswer, SubmitResult, Task, TaskError, TaskState
from receiver.store import Store
from receiver.tasks.budget_check import BudgetCheck
from receiver.tasks.ingest import CallbackIngest
from receiver.tasks.shared_state import SUBMITTING
from receiver.tasks.submit import SubmitLoop
from receiver.telemetry.metrics import Metrics

TAKEN = SubmitAnswer(SubmitResult.TAKEN, "200", says(Ending.RUNNING, created_at=NOW))
NOT_SENT = SubmitAnswer(SubmitResult.NOT_SENT, "connection refused")
BUSY = SubmitAnswer(SubmitResult.BUSY, "429", retry_after_ms=40 * SECOND)
REFUSED = SubmitAnswer(SubmitResult.REFUSED, "400", error=TaskError("004007002", "imageNo is missing"))
BARRED = SubmitAnswer(SubmitResult.UNAUTHORIZED, "401")
UNCLEAR = SubmitAnswer(SubmitResult.UNCLEAR, "read timeout")


class Rig(Struct, frozen=True, eq=False):
    """A submit loop with all it stands on."""

    store: Store
    provider: FakeProvider
    clock: Clock
    submit: SubmitLoop

    async def step(self, *answers: SubmitAnswer) -> bool:
        """One turn of the loop for each answer; whether there was work for all."""
        for answer in answers:
            self.provider.answers.append(answer)
            work = await self.submit.claim()
            if work is None:
                self.provider.answers.clear()
                return False
            await self.submit.carry_out(work)
        return True

    async def queue(self, count: int = 1) -> list[Task]:
        tasks = [a_task(TaskState.QUEUED, due_at=self.clock(), turn=turn) for turn in range(count)]
        await put(self.store, *tasks)
        return tasks

    async def after(self, answer: SubmitAnswer) -> Task:
        """A fresh task, submitted and answered so."""
        [task] = await self.queue()
        assert await self.step(answer)
        return await got(self.store, task.ref)

    async def called(self, task: Task, ending: Ending, task_id: str = "job-1") -> None:
        """A callback on the task's token."""
        await self.called_with(task, says(ending, task_id))

    async def called_with(self, task: Task, outcome: Outcome | None) -> None:
        """A callback on the task's token that says so; None: nobody can read it."""
        ingest = CallbackIngest(self.store, parse, POLICY, self.clock, Metrics())
        await ingest.receive_callback(task.ref, b"?" if outcome is None else body(outcome), b"{}")


def a_budget(clock: Callable[[], int], rules: BudgetRules | None = None) -> BudgetCheck:
    """The check of these budgets, by default of none, with a clock that never leaps."""
    return BudgetCheck(rules or BudgetRules(), POLICY, steady(clock))


def a_submit(
    store: Store,
    provider: FakeProvider,
    clock: Clock,
    *,
    policy: Policy = POLICY,
    concurrency: int = 4,
    budget: BudgetCheck | None = None,
) -> SubmitLoop:
    return SubmitLoop(
        store,
        provider,
        policy,
        clock,
        parse=parse,
        callback_url=lambda ref: f"https://me.example/callbacks/{ref}",
        key_id="0a1b2c3d",
        concurrency=concurrency,
        metrics=Metrics(),
        budget=budget or a_budget(clock),
        jitter=lambda: 0.5,
    )


async def put_state(store: Store, **found: Any) -> None:
    """As if another process had found this out, of a provider that takes four at once."""
    async with store.write() as tx:
        await SUBMITTING.lock(tx.paces)
        await SUBMITTING.put_as_it_is(
            tx.paces, SubmitState(**{"pace": ProviderPace(), "limit": ProvenLimit(4), **found})
        )


async def forget_states(store: Store) -> None:
    """As when the database is opened by the only process over it."""
    async with store.write() as tx:
        await tx.paces.forget_all()


def a_rig(store: Store, clock: Clock) -> Rig:
    """The loop over an empty store and a provider that answers as told."""
    provider = FakeProvider()
    return Rig(store, provider, clock, a_submit(store, provider, clock))
