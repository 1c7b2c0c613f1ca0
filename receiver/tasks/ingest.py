"""Stores callbacks and decides their verdicts. A callback is on disk before its verdict leaves this module.

Callbacks that arrive during a transaction wait for the next one together (group commit): one read of their tasks,
`decide` for each callback in order of arrival, one commit. A body that cannot be parsed, or whose row cannot be stored,
does not affect the others. A stored callback can be replayed. If a callback reports an end that cannot be believed,
attention is raised at once.
"""

import asyncio
import hashlib
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from enum import IntEnum

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.errors import RequestRefused, StaleUpdate, StoreError, StoreUnavailable
from receiver.core.types import Callback, Clock, Outcome, OutcomeSource, Policy, Step, StepKind, Task, Verdict
from receiver.store import Lane, Store
from receiver.tasks.callback_attention import HandledCallback, is_expected, raise_callback_attention
from receiver.tasks.kept_hints import BodyParser
from receiver.tasks.settle import TaskBatch
from receiver.telemetry import logs
from receiver.telemetry.metrics import Metrics

HELD_MOST = 16 * 1024 * 1024  # bytes read and not yet committed
HELD_EACH = 4 * 1024  # bytes added for each callback: its connection, and its place in the queue
BATCH_MOST = 256
GATHER_MOST_S = 0.001  # how long the first of a wave of callbacks waits for half of the wave
KEPT_MOST = 50  # stored callbacks per task
KEPT_BYTES_MOST = 2 * 1024 * 1024
ENDS_MOST = 20  # more of those that say how the task ended, each body once; and one for each id that is denied
ENDS_BYTES_MOST = 1024 * 1024
NAMING_MOST = 64 * 1024  # bytes of a body that is kept in any case, because the id that it names is polled
CROWDED_RETRY_S = 60
STALE_TRIES = 3

log = logging.getLogger(__name__)

VerdictListener = Callable[[Verdict | StoreUnavailable], None]
"""Called once for each callback: with its verdict when it is on disk, or the error why it is not. Must not raise."""


class _WaitingCallback(Struct, frozen=True, eq=False):
    callback: Callback
    outcome: Outcome | None
    source: OutcomeSource
    listener: VerdictListener


class _VerdictFuture:
    """A `VerdictListener` whose `future` can be awaited."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

    def __call__(self, result: Verdict | StoreUnavailable) -> None:
        if self.future.done():  # the caller was cancelled
            return
        if isinstance(result, Verdict):
            self.future.set_result(result)
        else:
            self.future.set_exception(result)


class CallbackWeight(IntEnum):
    """What is lost if a callback is only counted."""

    REPEATABLE = 0  # progress, or what was said before
    MAY_END = 1  # it could not be read
    SAYS_END = 2  # it says how the task ended
    NAMES_ID = 3  # it names an id that is polled from now on
    SETTLES = 4  # the task was settled by it


def weigh_callback(outcome: Outcome | None, verdict: Verdict, *, settles: bool, new_id: bool) -> CallbackWeight:
    """How much depends on a callback with this verdict."""
    if settles:
        return CallbackWeight.SETTLES
    if new_id:
        return CallbackWeight.NAMES_ID
    if verdict is not Verdict.DUPLICATE and outcome is not None and outcome.says_end:
        return CallbackWeight.SAYS_END
    return CallbackWeight.MAY_END if outcome is None else CallbackWeight.REPEATABLE


class CallbackQuota:
    """Which callbacks of a batch are stored: each body once, up to the quota of its task; others are only counted.

    The quota falls on repetition and on progress. Beyond it, what says how the task ended is stored up to a quota of
    its own, and what may say so up to half of that; what settles the task is always stored. That quota grows with each
    id that the provider denies, so that whoever makes up ids does not keep the true end out. What may be the end of an
    open task and finds no room is neither stored nor counted, and must not be answered as if it were.
    """

    def __init__(self, known: set[tuple[str, bytes]]) -> None:
        self._known = known
        self.kept: list[tuple[Callback, bool]] = []
        self.counted: list[Callback] = []

    def keep_or_count(self, task: Task, callback: Callback, weight: CallbackWeight) -> Task | None:
        """Store or only count a callback. Returns the task with its new sums, or None if there is no room."""
        new = (task.ref, callback.digest) not in self._known
        size = len(callback.body) if new else 0
        within = task.kept < KEPT_MOST and task.kept_bytes + size <= KEPT_BYTES_MOST
        polled = weight is CallbackWeight.NAMES_ID and size <= NAMING_MOST  # bounded by the ids that are polled
        if within or weight is CallbackWeight.SETTLES:
            task = replace(task, kept=task.kept + 1, kept_bytes=task.kept_bytes + size)
        elif new and (polled or self._has_room(task, size, weight)):
            task = replace(task, kept_ends=task.kept_ends + 1, kept_ends_bytes=task.kept_ends_bytes + size)
        elif new and weight >= CallbackWeight.MAY_END and not task.state.is_final:
            return None
        else:
            self.counted.append(callback)
            return task
        self._known.add((task.ref, callback.digest))
        self.kept.append((callback, new))
        return task

    def _has_room(self, task: Task, size: int, weight: CallbackWeight) -> bool:
        if weight is CallbackWeight.REPEATABLE:
            return False
        most = ENDS_MOST + len(task.denied)
        bytes_most = ENDS_BYTES_MOST * most // ENDS_MOST
        share = 2 if weight is CallbackWeight.MAY_END else 1
        return task.kept_ends < most // share and task.kept_ends_bytes + size <= bytes_most // share


class CallbackIngest:
    """The only way in for callbacks. `parse` should not raise; if it does, the body counts as unparsed."""

    def __init__(self, store: Store, parse: BodyParser, policy: Policy, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._parse = parse
        self._policy = policy
        self._clock = clock
        self._metrics = metrics
        self._queue: deque[_WaitingCallback] = deque()
        self._held_bytes = 0
        self._last_size = 0  # callbacks in the last batch
        self._enough = asyncio.Event()  # set when half as many are waiting again
        self._flushing: asyncio.Task[None] | None = None

    @property
    def queue_depth(self) -> int:
        """How many callbacks wait to be committed."""
        return len(self._queue)

    async def receive_callback(self, ref: str, body: bytes, headers: bytes) -> Verdict:
        """Store one callback of the task `ref`, whose token was verified, and return its verdict.

        Raises StoreUnavailable if it could not be stored, or if too many callbacks are waiting.
        """
        verdict = _VerdictFuture()
        self.receive_nowait(ref, body, headers, verdict)
        return await verdict.future

    def receive_nowait(self, ref: str, body: bytes, headers: bytes, listener: VerdictListener) -> None:
        """The same without waiting: `listener` is called later.

        Raises StoreUnavailable, and never calls `listener`, if too many callbacks are waiting.
        """
        callback = Callback(ref=ref, received_at=self._clock(), body=body, headers=headers, digest=_body_digest(body))
        self._enqueue(callback, OutcomeSource.CALLBACK, listener)

    async def replay(self, callback_id: int, *, accept: bool) -> Verdict:
        """Parse a stored callback again, by the same rules; `accept`: a person believes it. Raises RequestRefused."""
        found = await self._store.callbacks.get([callback_id])
        if not found:
            raise RequestRefused(404, "not_found", f"there is no callback {callback_id}")
        [kept] = found
        if kept.body is None:
            raise RequestRefused(409, "no_body", "the body of this callback was not stored, so it cannot be replayed")
        if accept and self._parse_outcome(kept.ref, kept.body) is None:
            raise RequestRefused(409, "unparsed", "this body cannot be parsed, so there is nothing to accept")
        callback = Callback(
            ref=kept.ref,
            received_at=self._clock(),
            body=kept.body,
            headers=kept.headers,
            digest=_body_digest(kept.body),
            replay_of=callback_id,
        )
        verdict = _VerdictFuture()
        self._enqueue(callback, OutcomeSource.PERSON if accept else OutcomeSource.CALLBACK, verdict)
        return await verdict.future

    async def close(self, timeout_s: float = 2.0) -> None:
        """Commit the callbacks that wait, for at most `timeout_s`."""
        if self._flushing is not None:
            await asyncio.wait({self._flushing}, timeout=timeout_s)

    def _enqueue(self, callback: Callback, source: OutcomeSource, listener: VerdictListener) -> None:
        size = _held_size(callback)
        if self._held_bytes + size > HELD_MOST:
            raise StoreUnavailable("too many callbacks are waiting to be stored", retry_after_s=2)
        self._held_bytes += size
        self._queue.append(
            _WaitingCallback(callback, self._parse_outcome(callback.ref, callback.body), source, listener)
        )
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_queue(), name="ingest")
        elif 2 * len(self._queue) >= self._last_size:
            self._enough.set()

    def _report_result(self, waiting: _WaitingCallback, result: Verdict | StoreUnavailable) -> None:
        self._held_bytes -= _held_size(waiting.callback)
        waiting.listener(result)

    def _parse_outcome(self, ref: str, body: bytes) -> Outcome | None:
        try:
            return self._parse(body)
        except Exception:
            log.exception("the parser failed on the body of a callback", extra={"action": "callback.parse", "ref": ref})
            return None

    async def _flush_queue(self) -> None:
        logs.bind_ref(None)  # one callback started this, but it serves all
        try:
            while self._queue:
                await self._commit_batch([])
        finally:
            self._flushing = None

    async def _gather_batch(self) -> list[_WaitingCallback]:
        """The next batch, once the write lane's turn has come. A fuller batch costs each callback less.

        Adds no wait when idle. After a large batch the same senders usually come again together: the first of them
        waits for half of them, at most `GATHER_MOST_S`, because a commit for itself alone would delay all the others.
        The wait is inside the turn; before it, the other lane would take turn after turn in the meantime.
        """
        await self._let_in()
        if 2 * len(self._queue) < self._last_size:
            self._enough.clear()
            timeout = asyncio.get_running_loop().call_later(GATHER_MOST_S, self._enough.set)
            await self._enough.wait()
            timeout.cancel()
            await self._let_in()
        self._last_size = min(len(self._queue), BATCH_MOST)
        return [self._queue.popleft() for _ in range(self._last_size)]

    async def _let_in(self) -> None:
        before = 0
        while before < len(self._queue) < BATCH_MOST:
            before = len(self._queue)
            await asyncio.sleep(0)

    async def _commit_batch(self, batch: list[_WaitingCallback]) -> None:
        """Store a batch; an empty one is filled when its turn comes.

        If it fails and the store is not at fault, it is split until the callback at fault is alone.
        """
        try:
            verdicts = await self._store_batch(batch)
        except StoreError as error:
            # Its traceback would keep every frame, and so all bodies, in memory until the next garbage collection.
            refused = _without_traceback(error)
            queued, self._queue = self._queue, deque()  # they would fail for the same reason
            for waiting in (*batch, *queued):
                self._report_result(waiting, refused)
            batch.clear()
        except Exception:
            if not batch:
                batch.append(self._queue.popleft())
            if len(batch) > 1:
                half = len(batch) // 2
                await self._commit_batch(batch[:half])
                await self._commit_batch(batch[half:])
                return
            [waiting] = batch
            extra = {"action": "callback.store", "ref": waiting.callback.ref}
            log.exception("a callback could not be stored as it was parsed; its body is stored", extra=extra)
            if waiting.outcome is not None:  # the parsed outcome may be at fault: store it as unparsed
                await self._commit_batch([replace(waiting, outcome=None)])
            else:
                await self._keep_raw(waiting)
        else:
            for waiting, verdict in zip(batch, verdicts, strict=True):
                self._report_result(waiting, _no_room() if verdict is None else verdict)

    async def _store_batch(self, batch: list[_WaitingCallback]) -> list[Verdict | None]:
        """The verdicts of a batch; None for a callback that its task has no room for."""
        for _ in range(STALE_TRIES):
            try:
                return await self._write_batch(batch)
            except StaleUpdate:
                continue
        raise StoreUnavailable("the tasks kept changing while the callbacks were stored")

    async def _write_batch(self, batch: list[_WaitingCallback]) -> list[Verdict | None]:
        async with self._store.write(Lane.INGEST) as tx:
            if not batch:
                batch.extend(await self._gather_batch())
            tasks = await tx.tasks.get(list(dict.fromkeys(it.callback.ref for it in batch)))
            now = self._clock()
            stored = TaskBatch(tx, tasks, self._policy, now)
            for waiting in batch:
                if waiting.callback.ref not in stored.tasks:
                    stored.adopt_task(waiting.callback.ref)
            await stored.look_up_owners((it.callback.ref, it.outcome) for it in batch if it.outcome is not None)
            called = [ref for ref, task in stored.tasks.items() if task.kept]
            quota = CallbackQuota(await tx.callbacks.body_digests(called) if called else set())
            verdicts: list[Verdict | None] = []
            handled: list[tuple[_WaitingCallback, Task, Verdict]] = []  # with their tasks before them
            crowded: list[Task] = []
            for waiting in batch:
                ref = waiting.callback.ref
                before, callback = stored.tasks[ref], waiting.callback
                verdict = stored.apply_outcome(ref, waiting.outcome, waiting.source, digest=callback.digest).verdict
                task = stored.tasks[ref]
                weight = weigh_callback(
                    waiting.outcome,
                    verdict,
                    settles=verdict is Verdict.ACCEPTED and task.settled_at is not None,
                    new_id=len(task.candidates) > len(before.candidates),
                )
                summed = quota.keep_or_count(task, replace(callback, verdict=verdict), weight)
                stored.set_task(summed or before)
                verdicts.append(verdict if summed else None)
                if summed is None:
                    crowded.append(before)
                else:
                    handled.append((waiting, before, verdict))
            await stored.write_back()
            await tx.callbacks.insert(quota.kept)
            if quota.counted:
                await tx.callbacks.count_only(quota.counted)
            await stored.raise_doubts()
            if believed := [it.callback for it in batch if it.source is OutcomeSource.PERSON]:
                await tx.steps.add([Step(it.ref, now, StepKind.BELIEVED, str(it.replay_of)) for it in believed])
            remarkable = [
                HandledCallback(before, stored.tasks[before.ref], verdict, it.outcome)
                for it, before, verdict in handled
                if not is_expected(before, verdict, it.outcome)
            ]
            if remarkable or crowded:
                await raise_callback_attention(tx, remarkable, crowded, self._policy, now)
        self._metrics.count_callbacks(verdict for _, _, verdict in handled)
        self._metrics.count_settled(stored.ended_tasks)
        _log_batch([(before.ref, verdict) for _, before, verdict in handled])
        return verdicts

    async def _keep_raw(self, waiting: _WaitingCallback) -> None:
        """The last resort for a callback that the store refuses: its body alone, without an outcome."""
        try:
            async with self._store.write(Lane.INGEST) as tx:
                raw = replace(waiting.callback, verdict=Verdict.UNPARSED, headers=b"{}")
                await tx.callbacks.insert([(raw, True)])
        except StoreError as error:
            self._report_result(waiting, _without_traceback(error))
        except Exception as error:
            extra = {"action": "callback.store", "ref": waiting.callback.ref}
            log.exception("a callback could not be stored at all", extra=extra)
            self._report_result(waiting, StoreUnavailable(f"the callback could not be stored: {type(error).__name__}"))
        else:
            self._report_result(waiting, Verdict.UNPARSED)


def _without_traceback(error: StoreError) -> StoreUnavailable:
    """A new error with the same text, for the callers that wait."""
    if isinstance(error, StoreUnavailable):
        return StoreUnavailable(error.problem, remedy=error.remedy, retry_after_s=error.retry_after_s)
    return StoreUnavailable(error.problem, remedy=error.remedy)


def _no_room() -> StoreUnavailable:
    problem = "this task has too many callbacks that say how it ended, and polls decide between them first"
    return StoreUnavailable(problem, retry_after_s=CROWDED_RETRY_S)


def _log_batch(stored: Sequence[tuple[str, Verdict]]) -> None:
    """One line per commit: the verdict of a single callback, or the number of each verdict."""
    if len(stored) == 1:
        [(ref, verdict)] = stored
        log.info("a callback: %s", verdict, extra={"action": f"callback.{verdict}", "ref": ref})
    elif stored:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in Counter(it for _, it in stored).items())
        log.info("%d callbacks: %s", len(stored), counts, extra={"action": "callback.stored"})


def _held_size(callback: Callback) -> int:
    return len(callback.body) + len(callback.headers) + HELD_EACH


def _body_digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()
