"""Callbacks in, verdicts out: each is on disk before its verdict is known outside.

Callbacks that arrive while a transaction is under way wait together for the next one (group commit): one read of their
tasks, `decide` folded over each task's callbacks in order of arrival, one commit. A body nobody can parse, or that
breaks its row, costs only itself. Also here: replaying a stored callback.
"""

import asyncio
import hashlib
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.errors import RequestRefused, StaleUpdate, StoreError, StoreUnavailable
from receiver.core.types import Callback, Clock, Outcome, OutcomeSource, Policy, Task, TaskState, Verdict
from receiver.notify.attention import raise_attention
from receiver.store import Lane, Store
from receiver.tasks.settle import TaskBatch
from receiver.telemetry import logs
from receiver.telemetry.metrics import Metrics

HELD_MOST = 16 * 1024 * 1024  # bytes read and not yet committed
HELD_EACH = 4 * 1024  # bytes that one is counted as beside its own: it holds its connection, and its place here
BATCH_MOST = 256
GATHER_MOST_S = 0.001  # how long the first of a row waits for half of it
KEPT_MOST = 50  # callbacks kept per task
KEPT_BYTES_MOST = 2 * 1024 * 1024
STALE_TRIES = 3

_UNPARSED = "The body of a callback for {} could not be read; has the provider changed its format? {} {}"
_KEPT = "It is kept: `receiver callbacks list --verdict unparsed`."
_NOT_KEPT = "It is not kept: the task has too many already."
_POLLED = "The task is polled instead."
_NOT_POLLED = "The task cannot be polled, for want of {}: look at the body, and at the provider's own list."
_CONTRADICTED = (
    "{0} was told as {1}, which nobody could confirm, and now a callback says {2}. `receiver tasks show {0}` names the "
    "callback; it is not believed by itself."
)
_WITHDRAWN = (
    "{0} was withdrawn, and yet a callback says how it ended: the provider took it after all, and it may cost. "
    "`receiver tasks show {0}` names the callback, which has the pictures' links."
)

log = logging.getLogger(__name__)

BodyParser = Callable[[bytes], Outcome | None]
VerdictListener = Callable[[Verdict | StoreUnavailable], None]
"""Hears once what became of a callback: its verdict when it is on disk, or why it is not. Must not raise."""


class _WaitingCallback(Struct, frozen=True, eq=False):
    callback: Callback
    outcome: Outcome | None
    source: OutcomeSource
    listener: VerdictListener


class _VerdictFuture:
    """A `Told` for one who awaits its `future`."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

    def __call__(self, result: Verdict | StoreUnavailable) -> None:
        if self.future.done():  # who asked has gone
            return
        if isinstance(result, Verdict):
            self.future.set_result(result)
        else:
            self.future.set_exception(result)


class CallbackQuota:
    """What is kept of a batch: each body once, within the bounds of its task; beyond them only a count."""

    def __init__(self, known: set[tuple[str, bytes]]) -> None:
        self._known = known
        self.kept: list[tuple[Callback, bool]] = []
        self.counted: list[Callback] = []

    def keep_or_count(self, task: Task, callback: Callback, *, must: bool) -> Task:
        """Keep or count a callback; one that settles its task is kept in any case. Returns the task with its sums."""
        new = (task.ref, callback.digest) not in self._known
        size = len(callback.body) if new else 0
        if not must and (task.kept >= KEPT_MOST or task.kept_bytes + size > KEPT_BYTES_MOST):
            self.counted.append(callback)
            return task
        self._known.add((task.ref, callback.digest))
        self.kept.append((callback, new))
        return replace(task, kept=task.kept + 1, kept_bytes=task.kept_bytes + size)

    def has_body(self, callback: Callback) -> bool:
        """Whether its bytes are kept, by this callback or one before it."""
        return (callback.ref, callback.digest) in self._known


class CallbackIngest:
    """The one way in for callbacks. `parse` must not raise; if it does, the body counts as unparsed."""

    def __init__(self, store: Store, parse: BodyParser, policy: Policy, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._parse = parse
        self._policy = policy
        self._clock = clock
        self._metrics = metrics
        self._queue: deque[_WaitingCallback] = deque()
        self._held_bytes = 0
        self._last_size = 0  # how many the last batch had
        self._enough = asyncio.Event()  # half as many are here again
        self._flushing: asyncio.Task[None] | None = None

    @property
    def queue_depth(self) -> int:
        """How many callbacks wait for their commit."""
        return len(self._queue)

    async def receive_callback(self, ref: str, body: bytes, headers: bytes) -> Verdict:
        """Store one callback of the task `ref` (its token was verified) and say what became of it.

        Raises Unavailable when nothing could be stored, or too much already waits to be.
        """
        verdict = _VerdictFuture()
        self.receive_nowait(ref, body, headers, verdict)
        return await verdict.future

    def receive_nowait(self, ref: str, body: bytes, headers: bytes, told: VerdictListener) -> None:
        """`receive` for those who do not wait: `told` hears, later, what became of the callback.

        Raises Unavailable, and tells nothing, when too much already waits to be stored.
        """
        callback = Callback(ref=ref, received_at=self._clock(), body=body, headers=headers, digest=_body_digest(body))
        self._enqueue(callback, OutcomeSource.CALLBACK, told)

    async def replay(self, callback_id: int, *, accept: bool) -> Verdict:
        """Parse a stored callback again, by the same rules; with `accept` a person believes it. Raises Refused."""
        found = await self._store.callbacks.get([callback_id])
        if not found:
            raise RequestRefused(404, "not_found", f"there is no callback {callback_id}")
        [kept] = found
        if kept.body is None:
            raise RequestRefused(409, "no_body", "the bytes of this callback were not kept")
        if accept and self._parse_outcome(kept.ref, kept.body) is None:
            raise RequestRefused(
                409, "unparsed", "no outcome can be read from this body, so there is nothing to accept"
            )
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
        """Flush what waits, for at most `timeout_s`."""
        if self._flushing is not None:
            await asyncio.wait({self._flushing}, timeout=timeout_s)

    def _enqueue(self, callback: Callback, source: OutcomeSource, told: VerdictListener) -> None:
        size = _held_size(callback)
        if self._held_bytes + size > HELD_MOST:
            raise StoreUnavailable("too many callbacks wait to be stored", retry_after_s=2)
        self._held_bytes += size
        self._queue.append(_WaitingCallback(callback, self._parse_outcome(callback.ref, callback.body), source, told))
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
            log.exception("a body broke its parser", extra={"action": "callback.parse", "ref": ref})
            return None

    async def _flush_queue(self) -> None:
        logs.bind_ref(None)  # begun by one callback, and for all
        try:
            while self._queue:
                await self._commit_batch([])
        finally:
            self._flushing = None

    async def _gather_batch(self) -> list[_WaitingCallback]:
        """The batch of a turn that has come. It lets in what is at the door: a fuller batch costs each callback less.

        Adds no wait when idle. After a full batch its senders are about to come again, in a row. Whoever of them is
        first waits for half of them, `GATHER_MOST_S` at most; else he would have a commit for himself, and all others
        wait for it. All this within the turn: before it, the other lane would have one turn after the other meanwhile.
        """
        await self._let_in()
        if 2 * len(self._queue) < self._last_size:
            self._enough.clear()
            most = asyncio.get_running_loop().call_later(GATHER_MOST_S, self._enough.set)
            await self._enough.wait()
            most.cancel()
            await self._let_in()
        self._last_size = min(len(self._queue), BATCH_MOST)
        return [self._queue.popleft() for _ in range(self._last_size)]

    async def _let_in(self) -> None:
        before = 0
        while before < len(self._queue) < BATCH_MOST:
            before = len(self._queue)
            await asyncio.sleep(0)

    async def _commit_batch(self, batch: list[_WaitingCallback]) -> None:
        """Store a batch, an empty one being filled when its turn has come.

        One that fails for no fault of the disk is split until the row at fault stands alone.
        """
        try:
            verdicts = await self._store_batch(batch)
        except StoreError as error:
            # Its traceback holds every frame on the way, and with them all bodies, until garbage is looked for.
            refused = _without_traceback(error)
            queued, self._queue = self._queue, deque()  # they would wait for the same, one batch after the other
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
            log.exception("a callback broke its row; its bytes are kept", extra=extra)
            if waiting.outcome is not None:  # what was read from it may be at fault: then it is a body nobody can parse
                await self._commit_batch([replace(waiting, outcome=None)])
            else:
                await self._keep_raw(waiting)
        else:
            for waiting, verdict in zip(batch, verdicts, strict=True):
                self._report_result(waiting, verdict)

    async def _store_batch(self, batch: list[_WaitingCallback]) -> list[Verdict]:
        for _ in range(STALE_TRIES):
            try:
                return await self._write_batch(batch)
            except StaleUpdate:
                continue
        raise StoreUnavailable("the tasks kept changing")

    async def _write_batch(self, batch: list[_WaitingCallback]) -> list[Verdict]:
        async with self._store.write(Lane.INGEST) as tx:
            if not batch:
                batch.extend(await self._gather_batch())
            now = self._clock()
            book = await TaskBatch.read_tasks(tx, (it.callback.ref for it in batch), self._policy, now)
            for waiting in batch:
                if waiting.callback.ref not in book.tasks:
                    book.adopt_task(waiting.callback.ref)
            await book.look_up_owners((it.callback.ref, it.outcome) for it in batch if it.outcome is not None)
            called = [ref for ref, task in book.tasks.items() if task.kept]
            shelf = CallbackQuota(await tx.callbacks.body_digests(called) if called else set())
            verdicts = []
            for waiting in batch:
                ref = waiting.callback.ref
                was_open = book.tasks[ref].settled_at is None
                verdict = book.apply_outcome(ref, waiting.outcome, waiting.source).verdict
                task = book.tasks[ref]
                settles = was_open and task.settled_at is not None
                book.set_task(shelf.keep_or_count(task, replace(waiting.callback, verdict=verdict), must=settles))
                verdicts.append(verdict)
            await book.write_back()
            await tx.callbacks.insert(shelf.kept)
            if shelf.counted:
                await tx.callbacks.count_only(shelf.counted)
            for waiting, verdict in zip(batch, verdicts, strict=True):
                task = book.tasks[waiting.callback.ref]
                if verdict is Verdict.UNPARSED and not task.state.is_final:
                    text = _unparsed_text(task, self._policy, kept=shelf.has_body(waiting.callback))
                    await raise_attention(tx, "unparsed", text, self._policy, now, task)
                if verdict is Verdict.CONFLICT and task.state is TaskState.CANCELLED:
                    text = _WITHDRAWN.format(task.ref)
                    await raise_attention(tx, f"withdrawn:{task.ref}", text, self._policy, now, task)
                elif verdict is Verdict.CONFLICT and not task.confirmed and waiting.outcome is not None:
                    text = _CONTRADICTED.format(task.ref, task.state, waiting.outcome.ending)
                    await raise_attention(tx, f"conflict:{task.ref}", text, self._policy, now, task)
        self._metrics.count_callbacks(verdict.value for verdict in verdicts)
        self._metrics.count_settled(book.ended_tasks)
        _log_batch(batch, verdicts)
        return verdicts

    async def _keep_raw(self, waiting: _WaitingCallback) -> None:
        """The last resort for a row that the store refuses: its bytes alone, without an outcome."""
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
    """The same for those who wait, with nothing of where it came from."""
    if isinstance(error, StoreUnavailable):
        return StoreUnavailable(str(error), retry_after_s=error.retry_after_s)
    return StoreUnavailable(str(error))


def _unparsed_text(task: Task, policy: Policy, *, kept: bool) -> str:
    lack = "the provider's id of it" if policy.can_poll else "a PROVIDER_KEY"
    polled = policy.can_poll and task.task_id is not None
    said = _KEPT if kept else _NOT_KEPT
    return _UNPARSED.format(task.ref, said, _POLLED if polled else _NOT_POLLED.format(lack))


def _log_batch(batch: Sequence[_WaitingCallback], verdicts: Sequence[Verdict]) -> None:
    """One line a commit: of a single callback its verdict, of many how many there were of each."""
    if len(batch) == 1:
        [ref] = {it.callback.ref for it in batch}
        log.info("a callback: %s", verdicts[0], extra={"action": f"callback.{verdicts[0]}", "ref": ref})
    else:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in Counter(verdicts).items())
        log.info("%d callbacks: %s", len(batch), counts, extra={"action": "callback.stored"})


def _held_size(callback: Callback) -> int:
    return len(callback.body) + len(callback.headers) + HELD_EACH


def _body_digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()
