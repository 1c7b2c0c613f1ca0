"""Chains through whatever happens, in whatever order: made, ended, lost, picked, cancelled, resubmitted, told twice and
otherwise; dead processes, restored backups, retention.

A machine drives the real parts over a real database, with a provider of its own. After every step: nothing was
submitted twice without a person, nothing was submitted without the picture that it goes on from, what a task holds is
counted right, and nobody waits for a task that is certainly over.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kit.chains import ChainBench, check_counts
from kit.fakes import DAY, MINUTE, POLICY, Clock, FakeProvider, body, parse
from kit.new_database import place_database
from kit.submit_loop import a_submit
from receiver.client.schemas import AgainRequest, NewTask, WaitFor
from receiver.core.decide import settle_task
from receiver.core.errors import RequestRefused
from receiver.core.types import (
    Ending,
    HoldReason,
    Image,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    SubmitAnswer,
    SubmitResult,
    Task,
    TaskError,
    TaskState,
)
from receiver.store import open_store
from receiver.store.sqlite.backup import prepare_restored
from receiver.tasks.ingest import CallbackIngest
from receiver.tasks.intake import TaskIntake
from receiver.tasks.settle import TaskBatch
from receiver.telemetry.metrics import Metrics
from receiver.tokens import Ring

TASKS_MOST = 60
KNOWN_JOB = "a-job-that-a-person-knows"
MODELS: dict[str, dict[str, Any]] = {"midjourney_outpaint": {"scale": 1.5}, "midjourney_upscale": {"type": 0}}
AT = st.integers(0, TASKS_MOST)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 5), st.sampled_from([0, 1, (0, 1), "all", "pick", "pick"]), st.sampled_from(sorted(MODELS))
    ),
    min_size=1,
    max_size=5,
)
IMAGES = st.sampled_from([0, 2, (0, 1), "all", "pick", "pick"])
ENDINGS = st.sampled_from([Ending.COMPLETED, Ending.COMPLETED, Ending.COMPLETED, Ending.FAILED, Ending.CANCELLED])
TAKEN = st.sampled_from(
    [SubmitResult.TAKEN, SubmitResult.TAKEN, SubmitResult.UNCLEAR, SubmitResult.REFUSED, SubmitResult.NOT_SENT]
)


class Chains(RuleBasedStateMachine):
    """A few chains, their provider, and everything that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.home = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.provider = FakeProvider()
        self.sent = Counter[str]()  # by ref: how often the provider may have taken it
        self.asked = Counter[str]()  # by ref: how often a person had it submitted again
        self.ids = 0
        self.do(place_database(self.home / "r.db"))
        self.begin()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def begin(self) -> None:
        self.store = self.do(open_store(self.home / "r.db"))
        self.bench = ChainBench(self.store)
        self.bench.clock = self.clock
        self.bench.follow._clock = self.bench.picks._clock = self.clock
        self.submit = a_submit(self.store, self.provider, self.clock, concurrency=20)
        self.ingest = CallbackIngest(self.store, parse, POLICY, self.clock, Metrics())
        self.intake = TaskIntake(
            self.store,
            POLICY,
            Ring(["k" * 32]),
            self.clock,
            Metrics(),
            public_url="https://me.example",
            unreachable=None,
        )

    def tasks(self, *states: TaskState) -> list[Task]:
        """Those in these states if there are any, else all."""
        every = sorted(self.do(self.store.tasks.page(limit=1_000)), key=lambda it: it.ref)
        return [it for it in every if it.state in states] or every

    def one(self, at: int, *states: TaskState) -> Task | None:
        found = self.tasks(*states)
        return found[at % len(found)] if found else None

    def ask(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What a person asks for, which may be refused."""
        with contextlib.suppress(RequestRefused):
            return self.do(work)
        return None

    # -- what happens --

    @initialize(steps=STEPS)
    def a_chain(self, steps: list[tuple[int, Any, str]]) -> None:
        self.grow(steps)

    @rule(steps=STEPS)
    def grow(self, steps: list[tuple[int, Any, str]]) -> None:
        """Another chain: a root, and steps that each go on from one before."""
        if len(self.tasks()) + 4 * len(steps) < TASKS_MOST:
            chain = [self.do(self.intake.create_one(NewTask("midjourney_diffusion", {"text": "a house"}), None))]
            for at, image_no, model in steps:
                wait = WaitFor(ref=chain[at % len(chain)].task.ref, image_no=image_no)
                made = self.ask(self.intake.create_one(NewTask(model, MODELS[model], anyway=True, wait_for=wait), None))
                chain += [made] if made is not None else []

    @rule(at=AT, image_no=IMAGES, model=st.sampled_from(sorted(MODELS)), live=st.booleans())
    def go_on(self, at: int, image_no: Any, model: str, live: bool) -> None:
        parent = self.one(at, *((TaskState.QUEUED, TaskState.WAITING) if live else ()))
        if parent is not None and len(self.tasks()) < TASKS_MOST:
            new = NewTask(model, MODELS[model], anyway=True, wait_for=WaitFor(ref=parent.ref, image_no=image_no))
            self.ask(self.intake.create_one(new, None))

    @rule(at=AT, count=st.integers(1, 4))
    def goes_well(self, at: int, count: int) -> None:
        """All that is due is taken, and one of them completes."""
        self.send(SubmitResult.TAKEN, 4)
        self.called(at, Ending.COMPLETED, count, jobs=True, any_state=False)
        self.followed(2)

    @rule(at=AT, numbers=st.sampled_from([[0], [0], [1, 0]]))
    def picked_well(self, at: int, numbers: list[int]) -> None:
        """One that waits for a pick goes on, and all that is due with it."""
        self.goes_well(at, 2)
        self.pick(at, numbers, job=False, child=True)
        self.send(SubmitResult.TAKEN, 3)

    @rule(taken=TAKEN, times=st.integers(1, 3))
    def send(self, taken: SubmitResult, times: int) -> None:
        self.clock.forward(2 * MINUTE)
        for _ in range(times):
            task = self.do(self.submit.claim())
            if task is None:
                return
            self.check_sent(task)
            self.ids += 1
            running = Outcome(
                ending=Ending.RUNNING, shape=OutcomeShape.TASK, status="running", task_id=f"id-{self.ids}"
            )
            error = TaskError("004007002", "no") if taken is SubmitResult.REFUSED else None
            self.provider.answers.append(
                SubmitAnswer(taken, "said", running if taken is SubmitResult.TAKEN else None, error=error)
            )
            if taken in (SubmitResult.TAKEN, SubmitResult.UNCLEAR):
                self.sent[task.ref] += 1
                assert self.sent[task.ref] <= 1 + self.asked[task.ref], "submitted twice, and nobody asked for it"
            self.do(self.submit.carry_out(task))

    @rule(at=AT, ending=ENDINGS, count=st.integers(0, 4), jobs=st.booleans(), any_state=st.booleans())
    def called(self, at: int, ending: Ending, count: int, jobs: bool, any_state: bool) -> None:
        """A callback; also for a task that has ended: the same again, or something else."""
        task = self.one(at, *(() if any_state else (TaskState.WAITING,)))
        if task is not None:
            said = self.says(task, ending, max(1, count), jobs=jobs or count > 2)
            self.do(self.ingest.receive_callback(task.ref, body(said), b"{}"))

    @rule(at=AT, ending=ENDINGS)
    def ended_unconfirmed(self, at: int, ending: Ending) -> None:
        task = self.one(at, TaskState.WAITING, TaskState.LOST)
        if task is not None and not task.state.is_final:
            said = self.says(task, ending, 4, jobs=True)
            made = settle_task(task, said, OutcomeSource.CALLBACK, POLICY, self.clock(), unconfirmed="nothing says so")

            async def write() -> None:
                async with self.store.write() as tx:
                    batch = await TaskBatch.read_tasks(tx, [task.ref], POLICY, self.clock())
                    batch.apply_decision(task.ref, made)
                    await batch.write_back()

            self.do(write())

    @rule(at=AT)
    def lost(self, at: int) -> None:
        task = self.one(at, TaskState.WAITING)
        if task is not None and task.state is TaskState.WAITING:
            self.do(self.bench.lose(task))

    @rule(turns=st.integers(1, 4))
    def followed(self, turns: int) -> None:
        for _ in range(turns):
            self.do(self.bench.follow.claim())

    @rule(at=AT, numbers=st.lists(st.integers(0, 4), min_size=1, max_size=3), job=st.booleans(), child=st.booleans())
    def pick(self, at: int, numbers: list[int], job: bool, child: bool) -> None:
        open_ = [it for it in self.tasks() if (it.held_by is HoldReason.PICK if child else it.picks)] or self.tasks()
        if open_:
            numbers = numbers[:1] if job else numbers
            self.ask(self.bench.picks.pick(open_[at % len(open_)].ref, numbers, job_id=KNOWN_JOB if job else None))

    @rule(at=AT)
    def release(self, at: int) -> None:
        ended = [it for it in self.tasks() if it.children and it.state.is_final] or self.tasks()
        if ended:
            self.ask(self.bench.picks.release(ended[at % len(ended)].ref))

    @rule(at=AT)
    def resubmit(self, at: int) -> None:
        unsure = [it for it in self.tasks() if it.unsure] or self.tasks()
        if unsure and self.ask(self.intake.resubmit_task(unsure[at % len(unsure)].ref)):
            self.asked[unsure[at % len(unsure)].ref] += 1

    @rule(at=AT, how=st.sampled_from(["one", "children", "again", "tell", "first"]))
    def a_person(self, at: int, how: str) -> None:
        task = self.one(at, TaskState.QUEUED)
        if task is None or (how == "again" and len(self.tasks()) >= TASKS_MOST):
            return
        self.ids += how == "tell"
        what: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "one": lambda: self.intake.cancel_task(task.ref),
            "children": lambda: self.intake.cancel_children(task.ref),
            "again": lambda: self.intake.submit_again(task.ref, AgainRequest(), None),
            "tell": lambda: self.intake.set_task_id(task.ref, f"id-{self.ids}"),
            "first": lambda: self.intake.put_first(task.ref),
        }
        self.ask(what[how]())

    @rule()
    def the_process_dies(self) -> None:
        self.do(self.store.close())
        self.begin()

    @rule()
    def backed_up(self) -> None:
        self.do(self.store.close())
        shutil.copy(self.home / "r.db", self.home / "backup.db")
        self.begin()

    @rule()
    def restored(self) -> None:
        if (self.home / "backup.db").exists():
            self.do(self.store.close())
            for file in self.home.glob("r.db*"):
                file.unlink()
            shutil.copy(self.home / "backup.db", self.home / "r.db")
            prepare_restored(self.home / "r.db", self.clock(), queue=False, batches_closed="restored")
            self.begin()

    @rule(at=AT)
    def pruned(self, at: int) -> None:
        task = self.one(at, TaskState.COMPLETED, TaskState.CANCELLED, TaskState.FAILED, TaskState.LOST)

        async def drop(ref: str) -> None:
            async with self.store.write() as tx:
                await tx.connection.run_statement("UPDATE notices SET state = 'sent'")
                await tx.connection.run_statement("UPDATE tasks SET archive_at = NULL")
                await tx.pruning.drop_tasks([ref], self.clock() + DAY, 1_000)

        if task is not None:
            self.do(drop(task.ref))

    # -- how --

    def says(self, task: Task, ending: Ending, count: int, *, jobs: bool) -> Outcome:
        images = tuple(
            Image(no, f"https://pics.example/{task.ref}/{no}.png", job_id=f"{task.ref}:{no}" if jobs else None)
            for no in range(count)
        )
        return Outcome(
            ending=ending,
            shape=OutcomeShape.TASK,
            status=ending.value,
            task_id=task.task_id,
            images=images if ending is Ending.COMPLETED else (),
            error=None if ending is Ending.COMPLETED else TaskError("004007098", "generation failed"),
        )

    def check_sent(self, task: Task) -> None:
        """What goes on from a picture was given that of its own parent, of the number that it is said to be from."""
        if task.parent is None:
            return
        params = msgspec.json.decode(task.params)
        assert params["imageNo"] == task.parent_image
        assert params["jobId"] == f"{task.parent}:{task.parent_image}" or (
            params["jobId"] == KNOWN_JOB and task.picked_by
        )

    # -- what must hold --

    @invariant()
    def chains_are_right(self) -> None:
        self.do(check_counts(self.store))

    def teardown(self) -> None:
        try:
            self.do(self.bench.follow_all())
            self.do(check_counts(self.store))
            assert self.do(self.store.chains.next_followups(10)) == []
        finally:
            self.do(self.store.close())
            self.loop.close()
            shutil.rmtree(self.home)


TestChains = Chains.TestCase
TestChains.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
