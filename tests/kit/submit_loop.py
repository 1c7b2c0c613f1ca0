"""A submit loop with all it stands on, and the answers that a provider may give."""

from msgspec import Struct

from kit.fakes import (
    NOW,
    POLICY,
    SECOND,
    Clock,
    FakeProvider,
    a_task,
    got,
    put,
    says,
)
from receiver.core.types import Answer, Ending, Error, Policy, Source, State, Taken, Task
from receiver.store import Store
from receiver.tasks.settle import Book
from receiver.tasks.submit import Submit
from receiver.telemetry.metrics import Metrics

TAKEN = Answer(Taken.TAKEN, "200", says(Ending.RUNNING, created_at=NOW))
NOT_SENT = Answer(Taken.NOT_SENT, "connection refused")
BUSY = Answer(Taken.BUSY, "429", retry_after_ms=40 * SECOND)
REFUSED = Answer(Taken.REFUSED, "400", error=Error("004007002", "imageNo is missing"))
BARRED = Answer(Taken.BARRED, "401")
UNCLEAR = Answer(Taken.UNCLEAR, "read timeout")


class Rig(Struct, frozen=True, eq=False):
    """A submit loop with all it stands on."""

    store: Store
    provider: FakeProvider
    clock: Clock
    submit: Submit

    async def step(self, *answers: Answer) -> bool:
        """One turn of the loop for each answer; whether there was work for all."""
        for answer in answers:
            self.provider.answers.append(answer)
            work = await self.submit.claim()
            if work is None:
                self.provider.answers.clear()
                return False
            await self.submit.carry(work)
        return True

    async def queue(self, count: int = 1) -> list[Task]:
        tasks = [a_task(State.QUEUED, due_at=self.clock()) for _ in range(count)]
        await put(self.store, *tasks)
        return tasks

    async def after(self, answer: Answer) -> Task:
        """A fresh task, submitted and answered so."""
        [task] = await self.queue()
        assert await self.step(answer)
        return await got(self.store, task.ref)

    async def called(self, task: Task, ending: Ending, task_id: str = "job-1") -> None:
        """A callback on the task's token, applied as ingest would."""
        async with self.store.write() as tx:
            book = await Book.read(tx, [task.ref], POLICY, self.clock())
            book.apply(task.ref, says(ending, task_id), Source.CALLBACK)
            await book.write()


def a_submit(
    store: Store, provider: FakeProvider, clock: Clock, *, policy: Policy = POLICY, concurrency: int = 4
) -> Submit:
    return Submit(
        store,
        provider,
        policy,
        clock,
        callback_url=lambda ref: f"https://me.example/callbacks/{ref}",
        key_id="0a1b2c3d",
        concurrency=concurrency,
        metrics=Metrics(),
        luck=lambda: 0.5,
    )
