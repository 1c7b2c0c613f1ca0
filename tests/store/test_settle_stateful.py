"""Whatever comes, in whatever order: answers, callbacks, polls, contradictions, clock jumps, dead processes.

A machine drives the real rooms over a real database through shuffled stories of a few tasks, with a provider of its own
that knows what became of each. After every step the promises of the design's first section are checked.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from kit.fakes import (
    MAIL,
    MINUTE,
    PICTURES,
    POLICY,
    SLACK,
    Clock,
    FakeProvider,
    a_task,
    body,
    got,
    notices,
    parse,
    put,
    steady,
)
from kit.new_database import place_database
from kit.submit_loop import a_budget
from receiver.core.after_end import contradicts_refusal, picture_digest
from receiver.core.spend import SpendCounts, contribution
from receiver.core.types import (
    Ending,
    Notice,
    NoticeEvent,
    Outcome,
    OutcomeShape,
    PollReply,
    PollResult,
    SubmitAnswer,
    SubmitResult,
    Task,
    TaskState,
    Verdict,
)
from receiver.store import Store, open_store
from receiver.tasks.ingest import CallbackIngest
from receiver.tasks.submit import SubmitLoop
from receiver.tasks.sweep import LEASE_MS as LOOK_LEASE_MS
from receiver.tasks.sweep import PollJob, SweepLoop
from receiver.telemetry.metrics import Metrics

BOTH = replace(POLICY, targets=(SLACK, MAIL))
TASKS_MOST = 4
INDEX = st.integers(0, TASKS_MOST - 1)
ENDINGS = st.sampled_from(Ending)
WAITS = st.sampled_from([500, 5_000, 2 * MINUTE])
TAKEN = st.sampled_from(SubmitResult)
SHAPES = st.sampled_from(
    [OutcomeShape.TASK, OutcomeShape.TASK, OutcomeShape.TASK, OutcomeShape.JOB, OutcomeShape.OTHER]
)
ENDS = {
    TaskState.COMPLETED: NoticeEvent.COMPLETED,
    TaskState.FAILED: NoticeEvent.FAILED,
    TaskState.CANCELLED: NoticeEvent.FAILED,
}


class Stories(RuleBasedStateMachine):
    """A few tasks, their provider, and everything that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.home = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.provider = FakeProvider()
        self.store: Store = self.do(open_store(self.do(place_database(self.home / "r.db"))))
        self.begin()
        self.refs: list[str] = []
        self.in_flight: list[Task] = []  # claimed for submission, not answered yet
        self.looks: list[tuple[int, PollJob]] = []  # since when: claimed for a poll, not answered yet
        self.called: set[str] = set()
        self.unclear: set[str] = set()  # submissions of which nobody knows whether they were taken
        self.ended: dict[str, Task] = {}
        self.doubted: set[str] = set()  # an end was heard of them that cannot be believed
        self.given = 0  # verdicts

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def begin(self) -> None:
        """The rooms, as a process makes them at its start."""
        shared = (self.store, self.provider, replace(BOTH, started_at=self.clock()), self.clock)
        self.submit = SubmitLoop(
            *shared,
            parse=parse,
            callback_url=lambda ref: ref,
            key_id="k",
            concurrency=3,
            metrics=Metrics(),
            budget=a_budget(self.clock),
            jitter=lambda: 0.5,
        )
        self.sweep = SweepLoop(*shared, watch=steady(self.clock), parse=parse, jitter=lambda: 0.5, metrics=Metrics())
        self.ingest = CallbackIngest(self.store, parse, shared[2], self.clock, Metrics())

    def says(self, number: int, ending: Ending, shape: OutcomeShape, *, other: bool, doubt: bool = False) -> Outcome:
        """What the provider says of a task; `other` names an id that is not its own, `doubt` makes an end doubtful."""
        own = shape is OutcomeShape.TASK
        task_id = f"job-{number}" + ("-other" if other else "") if own else None
        images = tuple(replace(it, url=f"{it.url}&of={number}-{ending}") for it in PICTURES)
        return Outcome(
            ending,
            shape,
            ending.value,
            task_id,
            images=images if ending is Ending.COMPLETED else (),
            doubt="odd" if doubt else None,
        )

    # -- what may happen: few rules that do much, since hypothesis leaves some out of every story --

    @initialize(count=st.integers(1, TASKS_MOST))
    def queue(self, count: int) -> None:
        tasks = [a_task(TaskState.QUEUED) for _ in range(count)]
        self.refs = [it.ref for it in tasks]
        self.do(put(self.store, *tasks))

    @rule(wait=WAITS, early=st.none() | ENDINGS, shape=SHAPES, hold=st.booleans(), taken=TAKEN, ending=ENDINGS)
    def submission(
        self, wait: int, early: Ending | None, shape: OutcomeShape, hold: bool, taken: SubmitResult, ending: Ending
    ) -> None:
        """A task is claimed; perhaps its callback overtakes the answer; perhaps the answer takes its time."""
        self.clock.forward(wait)
        self.claim()
        if self.in_flight and early is not None:
            self.call(self.in_flight[-1].ref, early, shape, other=False, times=1)
        if self.in_flight and not hold:
            self.answer(self.in_flight.pop(), taken, ending)

    @precondition(lambda self: self.in_flight)
    @rule(at=INDEX, taken=TAKEN, ending=ENDINGS)
    def late_answer(self, at: int, taken: SubmitResult, ending: Ending) -> None:
        self.answer(self.in_flight.pop(at % len(self.in_flight)), taken, ending)

    @rule(
        at=INDEX,
        ending=st.none() | ENDINGS,
        shape=SHAPES,
        other=st.booleans(),
        doubt=st.booleans(),
        times=st.integers(1, 3),
    )
    def callback(
        self, at: int, ending: Ending | None, shape: OutcomeShape, other: bool, doubt: bool, times: int
    ) -> None:
        """Mostly for a task that was sent, but anybody with the token may call."""
        sent = sorted(self.unclear) or self.refs
        self.call(sent[at % len(sent)], ending, shape, other=other, times=times, doubt=doubt)

    @rule(wait=WAITS, hold=st.booleans(), at=INDEX, heard=st.sampled_from(PollResult), ending=ENDINGS)
    def poll(self, wait: int, hold: bool, at: int, heard: PollResult, ending: Ending) -> None:
        self.clock.forward(wait)
        now = self.clock()
        self.looks = [(since, it) for since, it in self.looks if now < since + LOOK_LEASE_MS]
        look = self.do(self.sweep.claim())
        if look is not None:
            assert all(it.task.ref != look.task.ref for _, it in self.looks), "one poll in flight per task"
            self.looks.append((now, look))
        if self.looks and not hold:
            self.reply(self.looks.pop(at % len(self.looks))[1], heard, ending)

    @rule(ms=st.sampled_from([20 * MINUTE, 26 * 60 * MINUTE, -5_000, -60 * MINUTE]))
    def the_clock_jumps(self, ms: int) -> None:
        self.clock.forward(ms)
        self.looks.clear()  # the lease of a look may be over, and somebody else look

    @rule()
    def the_process_dies(self) -> None:
        self.unclear.update(it.ref for it in self.in_flight)
        self.in_flight.clear()
        self.looks.clear()
        self.do(self.store.close())
        self.store = self.do(open_store(self.home / "r.db"))
        self.begin()
        self.claim()

    # -- how it happens --

    def claim(self) -> None:
        claimed = self.do(self.submit.claim())
        self.unclear.update(it.ref for it in self.in_flight if (it.lease_until or 0) <= self.clock())
        if claimed is None:
            return
        assert claimed.ref not in self.called, "somebody called its token: it was taken"
        assert claimed.ref not in self.unclear, "a repeat could be paid twice"
        assert claimed.ref not in self.ended
        self.in_flight.append(claimed)

    def answer(self, task: Task, taken: SubmitResult, ending: Ending) -> None:
        outcome = self.says(self.refs.index(task.ref), ending, OutcomeShape.TASK, other=False)
        self.provider.answers.append(SubmitAnswer(taken, "told so", outcome if taken is SubmitResult.TAKEN else None))
        if taken in (SubmitResult.TAKEN, SubmitResult.UNCLEAR):
            self.unclear.add(task.ref)
        self.do(self.submit._submit(task))  # the request went out when the task was claimed: its answer took so long

    def reply(self, look: PollJob, heard: PollResult, ending: Ending) -> None:
        outcome = replace(
            self.says(self.refs.index(look.task.ref), ending, OutcomeShape.TASK, other=False), task_id=look.task_id
        )
        self.provider.replies.clear()
        self.provider.replies.append(PollReply(heard, "said", outcome if heard is PollResult.OUTCOME else None, b"b"))
        self.do(self.sweep.carry_out(look))

    def call(
        self,
        ref: str,
        ending: Ending | None,
        shape: OutcomeShape,
        *,
        other: bool,
        times: int,
        doubt: bool = False,
    ) -> None:
        """The same callback so often, all at once; without an ending nobody can read it."""
        number = self.refs.index(ref)
        outcome = None if ending is None else self.says(number, ending, shape, other=other, doubt=doubt)
        if contradicts_refusal(self.do(got(self.store, ref)), outcome):
            return  # that opens it again, which other tests are about
        sent = b"?" if outcome is None else body(outcome)

        async def receive() -> list[Verdict]:
            return await asyncio.gather(*(self.ingest.receive_callback(ref, sent, b"{}") for _ in range(times)))

        verdicts = self.do(receive())
        self.given += times
        self.called.add(ref)
        assert Verdict.ACCEPTED not in verdicts[1:], "the same words settle or move a task once"
        assert (verdicts[0] is Verdict.UNPARSED) is (ending is None)
        if doubt and ending not in (None, Ending.RUNNING):
            assert Verdict.ACCEPTED not in verdicts, "a doubted end settles nothing"
            self.doubted |= {ref} if ref not in self.ended else set()

    # -- what must hold --

    @invariant()
    def promises(self) -> None:
        if self.refs:
            tasks = self.do(self.store.tasks.get(self.refs))
            self.the_end_is_the_end(tasks)
            self.the_books_hold_what_all_tasks_contribute(tasks)
            owed: list[Notice] = self.do(notices(self.store))  # of all at once: reading takes most of this test's time
            self.each_end_is_told_once_to_each_target(owed)
            self.pictures_are_those_of_the_outcome_that_settled()
            self.every_callback_is_kept_or_counted()
            self.a_doubted_end_is_told_once(owed)

    def the_end_is_the_end(self, tasks: dict[str, Task]) -> None:
        """A final state stays, with all that it was settled by; until then somebody will look, nobody send again."""
        for ref, before in self.ended.items():
            for name in ("state", "settled_by", "settled_at", "pictures", "confirmed", "error", "usage"):
                assert getattr(tasks[ref], name) == getattr(before, name)
        self.ended.update({ref: task for ref, task in tasks.items() if task.state.is_final})
        for task in tasks.values():
            assert task.state is not TaskState.WAITING or task.poll_at is not None
            assert task.state is not TaskState.QUEUED or task.ref not in self.called | self.unclear

    def the_books_hold_what_all_tasks_contribute(self, tasks: dict[str, Task]) -> None:
        """Also of tasks that were sent, refused, unsure, lost and found."""
        added = filter(None, map(contribution, tasks.values()))
        sums = SpendCounts(*map(sum, zip(SpendCounts(), *added, strict=True)))
        assert self.do(self.store.spend.sum_all("0", "9")) == sums

    def each_end_is_told_once_to_each_target(self, owed: list[Notice]) -> None:
        assert len(owed) < 1000, "all of them"
        for ref in self.refs:
            told = [(it.target, it.event) for it in owed if it.ref == ref and it.event is not NoticeEvent.ATTENTION]
            assert len(set(told)) == len(told)
            ends = [it for it in told if it[1] is not NoticeEvent.LOST]
            event = ENDS[self.ended[ref].state] if ref in self.ended else None
            assert sorted(ends) == [(name, event) for name in ("mail", "slack") if event]

    def pictures_are_those_of_the_outcome_that_settled(self) -> None:
        images = self.do(self.store.tasks.images_by_ref(self.refs))
        assert set(images) == {ref for ref, task in self.ended.items() if task.state is TaskState.COMPLETED}
        for ref, found in images.items():
            assert (picture_digest(found), len(found)) == (self.ended[ref].pictures, len(PICTURES))

    def every_callback_is_kept_or_counted(self) -> None:
        kept = len(self.do(self.store.callbacks.page(limit=10_000)))
        assert kept + sum(self.do(self.store.callbacks.overflow_count(ref)) for ref in self.refs) == self.given

    def a_doubted_end_is_told_once(self, owed: list[Notice]) -> None:
        """To each target, however often it was heard and whatever came after."""
        for ref in self.refs:
            told = [it.target for it in owed if it.ref == ref and it.report.cause == f"doubted:{ref}"]
            assert sorted(told) == (["mail", "slack"] if ref in self.doubted else [])

    def teardown(self) -> None:
        self.do(self.store.close())
        self.loop.close()
        shutil.rmtree(self.home)


TestStories = Stories.TestCase
TestStories.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
