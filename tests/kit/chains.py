"""Chains for tests: the parts that handle them over one store, and tasks that wait for others."""

from typing import Any

from msgspec.structs import replace

from kit.fakes import POLICY, Clock, a_task, got, put
from receiver.core.decide import mark_lost, settle_task, withdraw_task
from receiver.core.types import (
    Ending,
    HoldReason,
    Image,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    Policy,
    Task,
    TaskError,
    TaskState,
)
from receiver.store import Store
from receiver.tasks.follow import FollowLoop
from receiver.tasks.picks import PickControl
from receiver.tasks.settle import TaskBatch
from receiver.telemetry.metrics import Metrics

UPSCALE = "midjourney_upscale"
OUTPAINT = "midjourney_outpaint"
RETEXTURE = "midjourney_retexture"
REROLL = "midjourney_reroll"
PARAMS = {REROLL: b"{}", UPSCALE: b'{"type":0}', OUTPAINT: b'{"scale":1.5}', RETEXTURE: b'{"remixPrompt":"bricks"}'}
PUBLIC = "https://me.example/images/"


def pictures(count: int = 4, **more: Any) -> tuple[Image, ...]:
    """What a task comes with: so many pictures, each of a job of its own."""
    return tuple(
        Image(**{"image_no": no, "url": f"https://pics.example/{no}.png", "job_id": f"job of {no}", **more})
        for no in range(count)
    )


def a_child(parent: Task, image_no: int | None = 0, model: str = OUTPAINT, **more: Any) -> Task:
    """A task that waits for `parent`; without a number, a person picks the picture."""
    task = a_task(
        TaskState.QUEUED,
        model=model,
        params=PARAMS[model],
        due_at=None,
        held_by=HoldReason.PARENT,
        parent=parent.ref,
        root=parent.root or parent.ref,
        depth=parent.depth + 1,
        parent_image=image_no,
    )
    return replace(task, **more)


class ChainBench:
    """The service's parts for chains over one store, with a clock that a test moves."""

    def __init__(self, store: Store, policy: Policy = POLICY, *, public: bool = True) -> None:
        self.store, self.policy, self.clock, self.metrics = store, policy, Clock(), Metrics()

        def image_url(folder: str, file: str) -> str | None:
            return f"{PUBLIC}{folder}/{file}" if public else None

        self.picks = PickControl(store, policy, self.clock, image_url=image_url)
        self.follow = FollowLoop(store, policy, self.clock, image_url=image_url, metrics=self.metrics)

    async def plant(self, parent: Task, *children: Task) -> tuple[Task, ...]:
        """Put a task and those that wait for it into the store; as they are then."""
        parent = replace(parent, root=parent.root or parent.ref)
        await put(self.store, parent, *children)
        return tuple([await got(self.store, it.ref) for it in (parent, *children)])

    async def end(
        self, task: Task, ending: Ending = Ending.COMPLETED, images: tuple[Image, ...] | None = None, **more: Any
    ) -> Task:
        """The task ends, as a poll found; `unconfirmed` says why that is not certain."""
        found = pictures() if images is None else images
        outcome = Outcome(
            ending=ending,
            shape=OutcomeShape.TASK,
            status=ending.value,
            images=found if ending is Ending.COMPLETED else (),
            error=None if ending is Ending.COMPLETED else TaskError("004007098", "generation failed"),
        )
        async with self.store.write() as tx:
            batch = await TaskBatch.read_tasks(tx, [task.ref], self.policy, self.clock())
            now = batch.tasks[task.ref]
            batch.apply_decision(
                task.ref, settle_task(now, outcome, OutcomeSource.POLL, self.policy, self.clock(), **more)
            )
            await batch.write_back()
        return await got(self.store, task.ref)

    async def lose(self, task: Task) -> Task:
        """The task is given up."""
        async with self.store.write() as tx:
            batch = await TaskBatch.read_tasks(tx, [task.ref], self.policy, self.clock())
            batch.apply_decision(task.ref, mark_lost(batch.tasks[task.ref], self.policy, self.clock()))
            await batch.write_back()
        return await got(self.store, task.ref)

    async def withdraw(self, task: Task) -> Task:
        """A person cancels the task before it was sent."""
        async with self.store.write() as tx:
            now = (await tx.tasks.get([task.ref]))[task.ref]
            await tx.tasks.update([(now, withdraw_task(now, self.clock()))])
        return await got(self.store, task.ref)

    async def follow_all(self, *, turns: int = 1_000) -> int:
        """Let the loop go on until nothing is left to follow; in how many turns."""
        for turn in range(turns):
            if (work := await self.follow.claim()) != "follow":
                if work is not None:
                    await self.follow.carry_out(work)
                return turn
        raise AssertionError(f"it still goes on after {turns} turns")

    async def read(self, *tasks: Task) -> list[Task]:
        """These tasks as they are stored now."""
        found = await self.store.tasks.get([it.ref for it in tasks])
        return [found[it.ref] for it in tasks]


async def check_counts(store: Store) -> None:
    """What holds of all chains, whatever has happened: counts are right, and nobody waits for what is over."""
    tasks = {task.ref: task for task in await store.tasks.page(limit=10_000)}
    followed = set(await store.chains.next_followups(10_000))
    held: dict[str, list[Task]] = {}
    for task in tasks.values():
        if task.state is TaskState.QUEUED and task.held_by in (HoldReason.PARENT, HoldReason.PICK):
            assert task.due_at is None, task
            held.setdefault(task.parent or "", []).append(task)
    for task in tasks.values():
        children = held.pop(task.ref, [])
        picks = [it for it in children if it.held_by is HoldReason.PICK or it.parent_image is None]
        assert (task.children, task.picks) == (len(children), len(picks)), task
        waits = [it for it in children if it.held_by is HoldReason.PARENT]
        if waits and task.state.is_final and task.confirmed:
            assert task.ref in followed, "a child waits for ever"
    assert not held, "a child waits for a task that is gone"
