"""Whose each nanosecond of CPU is: a ledger for each thread, and wrappers that tell it what is being done.

A nanosecond counts for the innermost stage only. What the wrappers cost is measured before, on calls that do nothing,
and told beside it, by the stages it fell into.
"""

import asyncio
import statistics
import time
import types
from collections.abc import Callable, Coroutine, Generator
from enum import IntEnum
from typing import Any

from msgspec import Struct

CALLS = 400
COLD = bytearray(1024 * 1024)  # copied, it leaves little else in a core's own caches


class Stage(IntEnum):
    """What a callback's CPU is spent on; `NAMES` has them in words."""

    READING = 0
    HTTP = 1
    ROUTE = 2
    TOKEN = 3
    BODY = 4
    DIGEST = 5
    INGEST = 6
    DECIDE = 7
    ROWS = 8
    STATEMENTS = 9
    COMMIT = 10
    SWITCHING = 11
    SENDING = 12
    ASKING = 13
    GARBAGE = 14
    LOOP = 15


NAMES = {
    Stage.READING: "sockets: receiving",
    Stage.HTTP: "HTTP: uvicorn, httptools, our bounds",
    Stage.ROUTE: "the callback's route",
    Stage.TOKEN: "its token's MAC",
    Stage.BODY: "parsing its body",
    Stage.DIGEST: "SHA-256 of its body",
    Stage.INGEST: "ingest: batches, verdicts",
    Stage.DECIDE: "deciding",
    Stage.ROWS: "tasks from rows, rows from tasks",
    Stage.STATEMENTS: "SQLite: statements",
    Stage.COMMIT: "SQLite: COMMIT",
    Stage.SWITCHING: "to SQLite's thread and back",
    Stage.SENDING: "sockets: sending",
    Stage.ASKING: "sockets: asking which are ready",
    Stage.GARBAGE: "garbage collector",
    Stage.LOOP: "event loop, and what no seam shows",
}


class Wrapper(IntEnum):
    """The kinds of wrapper, each with a cost of its own."""

    CALL = 0
    STEP = 1
    TURN = 2


class Cost(Struct, frozen=True):
    """What a wrapper adds to each passage, in nanoseconds: to the stage it opens, and to the one around it."""

    inside: float
    outside: float


class Ledger:
    """The CPU of the thread that uses it, by stage, and how often each kind of wrapper was passed.

    What is not within a wrapper is `base`; `clock` is in nanoseconds.
    """

    def __init__(self, base: Stage, clock: Callable[[], int] = time.thread_time_ns) -> None:
        self.spent = [0] * len(Stage)  # nanoseconds
        self.opened = [[0] * len(Stage) for _ in Wrapper]  # by the stage that was opened
        self.around = [[0] * len(Stage) for _ in Wrapper]  # by the stage that it was opened in
        self._stage = int(base)
        self._clock = clock
        self._since = clock()

    def enter(self, stage: int, wrapper: int) -> int:
        """From now on it is `stage`; returns what it was, for `leave`."""
        now = self._clock()
        outer = self._stage
        self.spent[outer] += now - self._since
        self.opened[wrapper][stage] += 1
        self.around[wrapper][outer] += 1
        self._stage = stage
        self._since = now
        return outer

    def leave(self, outer: int) -> None:
        """It is `outer` again."""
        now = self._clock()
        self.spent[self._stage] += now - self._since
        self._stage = outer
        self._since = now

    def clear(self) -> None:
        """Forget what was counted; may be called by another thread while this one waits."""
        for counts in (self.spent, *self.opened, *self.around):
            counts[:] = [0] * len(Stage)

    def own(self, costs: list[Cost]) -> list[float]:
        """The nanoseconds in each stage that were the wrappers' own."""
        return [
            sum(
                cost.inside * self.opened[wrapper][stage] + cost.outside * self.around[wrapper][stage]
                for wrapper, cost in zip(Wrapper, costs, strict=True)
            )
            for stage in Stage
        ]


def called(ledger: Ledger, stage: Stage, call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, as `stage`."""
    opens, kind = int(stage), int(Wrapper.CALL)

    def wrapped(*args: Any, **named: Any) -> Any:
        outer = ledger.enter(opens, kind)
        try:
            return call(*args, **named)
        finally:
            ledger.leave(outer)

    return wrapped


def stepped(ledger: Ledger, stage: Stage, makes: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """The coroutine function `makes`, each step of whose coroutines is `stage`; what passes while they wait is not."""
    opens, kind = int(stage), int(Wrapper.STEP)

    @types.coroutine
    def wrapped(*args: Any, **named: Any) -> Generator[Any, Any, Any]:
        inner = makes(*args, **named)
        resume: Callable[[Any], Any] = inner.send
        told: Any = None
        while True:
            outer = ledger.enter(opens, kind)
            try:
                asked = resume(told)
            except StopIteration as ended:
                return ended.value
            finally:
                ledger.leave(outer)
            try:
                told = yield asked
                resume = inner.send
            except BaseException as error:  # the coroutine's to hear
                told, resume = error, inner.throw

    return wrapped


def turned(
    ledger: Ledger, find: Callable[[Any], int | None], run: Callable[[asyncio.Handle], None]
) -> Callable[[asyncio.Handle], None]:
    """`Handle._run`, each callback as the stage that `find` gives it, if any."""
    kind = int(Wrapper.TURN)

    def wrapped(handle: asyncio.Handle) -> None:
        stage = find(handle._callback)  # type: ignore[attr-defined]  # there is no other way to know what is run
        if stage is None:
            run(handle)
            return
        outer = ledger.enter(stage, kind)
        try:
            run(handle)
        finally:
            ledger.leave(outer)

    return wrapped


def measured(find: Callable[[Any], int | None], run: Callable[[asyncio.Handle], None]) -> list[Cost]:
    """What each kind of wrapper costs here and now; `find` and `run` as for `turned`. Needs a running loop."""
    scratch = Ledger(Stage.LOOP)

    def nothing(given: object = None) -> None:
        return None

    async def at_once(given: object = None) -> None:
        return None

    def step(makes: Callable[..., Any]) -> Callable[[object], None]:
        def drive(given: object) -> None:
            try:
                makes(given).send(None)
            except StopIteration:
                return

        return drive

    handle = asyncio.Handle(nothing, (), asyncio.get_running_loop())
    turn = turned(scratch, lambda callback: find(callback) or Stage.HTTP, run)
    return [
        _cost(scratch, nothing, called(scratch, Stage.HTTP, nothing), None),
        _cost(scratch, step(at_once), step(stepped(scratch, Stage.HTTP, at_once)), None),
        _cost(scratch, run, turn, handle),
    ]


def _cost(scratch: Ledger, bare: Callable[[Any], object], wrapped: Callable[[Any], object], given: object) -> Cost:
    """From medians. Driving the bare call counts as its own time: the sum of the two figures is right."""
    alone, _ = _took(scratch, bare, given)
    both, within = _took(scratch, wrapped, given)
    inside = max(0.0, within - alone)
    return Cost(inside, max(0.0, both - alone - inside))


def _took(scratch: Ledger, call: Callable[[Any], object], given: object) -> tuple[float, float]:
    """Nanoseconds of a call among other work, that is with cold caches; and what the ledger counted of them."""
    took, counted = [], []
    for _ in range(CALLS):
        bytes(COLD)
        before, began = scratch.spent[Stage.HTTP], time.thread_time_ns()
        call(given)
        took.append(time.thread_time_ns() - began)
        counted.append(scratch.spent[Stage.HTTP] - before)
    return statistics.median(took), statistics.median(counted)
