"""Batches for tests: the parts that handle them over one store, and ends for their rows."""

from typing import Any

from kit.fakes import POLICY, Clock, notices
from receiver.client.batch_schemas import NewBatch
from receiver.client.schemas import NewTask
from receiver.core.decide import mark_lost
from receiver.core.types import (
    Ending,
    Notice,
    NoticeEvent,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    Policy,
    QueueLane,
    Task,
    TaskError,
    TaskState,
)
from receiver.store import Store
from receiver.tasks.batches import BatchControl
from receiver.tasks.intake import TaskIntake
from receiver.tasks.judge_requests import CreatedTask
from receiver.tasks.settle import TaskBatch
from receiver.telemetry.metrics import Metrics
from receiver.tokens import Ring

FAILED = TaskError("004007098", "generation failed")


def a_row(line: int, **more: Any) -> NewTask:
    """The row of a file at this line."""
    params = {"jobId": f"job of {line}", "imageNo": 0, "scale": 1.5}
    return NewTask("midjourney_outpaint", params, **{"line": line, "row_key": f"key of {line}", **more})


class BatchBench:
    """The service's parts for batches over one store, with a clock that a test moves."""

    def __init__(self, store: Store, policy: Policy = POLICY) -> None:
        self.store, self.policy, self.clock = store, policy, Clock()
        ring, metrics = Ring(["k" * 32]), Metrics()
        self.control = BatchControl(store, policy, self.clock, metrics)
        self.intake = TaskIntake(
            store, policy, ring, self.clock, metrics, public_url="https://me.example", unreachable=None
        )

    async def open(self, name: str = "rows", lines: int = 0, **more: Any) -> list[Task]:
        """Open a batch, and add the rows of this many lines, from line 2 on."""
        await self.control.open(NewBatch(name, **more))
        return await self.add(name, *range(2, 2 + lines)) if lines else []

    async def add(self, name: str, *lines: int) -> list[Task]:
        """Add the rows of these lines; their tasks."""
        made = await self.intake.create_many([a_row(line) for line in lines], batch=name)
        return [it.task for it in made if isinstance(it, CreatedTask) and it.task is not None]

    async def end(self, task: Task, ending: Ending = Ending.COMPLETED, error: TaskError | None = None) -> None:
        """The provider says how a task ended."""
        self.clock.forward(1_000)
        if ending is Ending.FAILED and error is None:
            error = FAILED
        outcome = Outcome(ending=ending, shape=OutcomeShape.TASK, status=ending.value, error=error)
        async with self.store.write() as tx:
            batch = await TaskBatch.read_tasks(tx, [task.ref], self.policy, self.clock())
            batch.apply_outcome(task.ref, outcome, OutcomeSource.PERSON)
            await batch.write_back()

    async def lose(self, task: Task) -> None:
        """A task is given up."""
        async with self.store.write() as tx:
            batch = await TaskBatch.read_tasks(tx, [task.ref], self.policy, self.clock())
            batch.apply_decision(task.ref, mark_lost(batch.tasks[task.ref], self.policy, self.clock()))
            await batch.write_back()

    async def lane(self, name: str = "rows") -> QueueLane:
        """The batch as it is stored."""
        return (await self.store.lanes.by_name([name]))[name]

    async def rows(self, name: str = "rows") -> list[Task]:
        """The newest task of each of its rows, by line."""
        lane = await self.lane(name)
        return await self.store.batch_rows.in_states(lane.id, list(TaskState), limit=1_000)

    async def told(self) -> list[Notice]:
        """The notices that batches have ended."""
        return await notices(self.store, event=NoticeEvent.BATCH)
