"""A provider that repeats each callback until it is answered, and what must be in the database afterwards.

senders = CallbackSenders(store)
await senders.send(await senders.make_tasks(20))
await senders.check(store)
"""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence

from kit.fakes import POLICY, Clock, a_task, body, parse, put, says
from receiver.core.errors import StoreUnavailable
from receiver.core.types import Ending, NoticeEvent, Task, TaskState, Verdict
from receiver.store import Store
from receiver.tasks.ingest import CallbackIngest
from receiver.telemetry.metrics import Metrics

AGAIN_S = 0.02


class CallbackSenders:
    """Some of them at once, over one store. `refused` is what they were told instead of a verdict."""

    def __init__(self, store: Store, *, at_once: int = 32) -> None:
        self.store = store
        self.ingest = CallbackIngest(store, parse, POLICY, Clock(), Metrics())
        self.answered: dict[str, Verdict] = {}
        self.refused: Counter[str] = Counter()
        self.first_refusal = asyncio.Event()
        self._at_once = at_once
        self._made = 0

    async def make_tasks(self, count: int) -> list[Task]:
        """Put tasks into the store that wait for their callback."""
        numbers = range(self._made, self._made + count)
        self._made += count
        tasks = [a_task(task_id=f"job-{number}") for number in numbers]
        await put(self.store, *tasks)
        return tasks

    async def send(self, tasks: Sequence[Task]) -> None:
        """Send the callback that ends each of them; returns once all are answered."""
        to_send = deque(tasks)

        async def send_some() -> None:
            while to_send:
                await self._send_one(to_send.popleft())

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._at_once, len(tasks))):
                group.create_task(send_some())

    async def _send_one(self, task: Task) -> None:
        said = body(says(Ending.COMPLETED, task.task_id))
        while True:
            try:
                verdict = await self.ingest.receive_callback(task.ref, said, b"{}")
            except StoreUnavailable as error:
                self.refused[error.problem] += 1
                self.first_refusal.set()
                await asyncio.sleep(AGAIN_S)
            else:
                self.answered[task.ref] = verdict
                return

    async def check(self, store: Store, *, but: frozenset[str] = frozenset()) -> None:
        """Nothing that was answered is lost or misjudged, each task has ended once, and is told once."""
        assert set(self.answered.values()) <= {Verdict.ACCEPTED, Verdict.DUPLICATE}, Counter(self.answered.values())
        rows = await everything(store, "callbacks", "ref, verdict")
        accepted = Counter(ref for ref, verdict in rows if verdict == Verdict.ACCEPTED)
        assert {verdict for _, verdict in rows} <= {Verdict.ACCEPTED, Verdict.DUPLICATE}
        asked = set(self.answered) - but
        assert asked <= set(accepted)
        assert max(accepted.values()) == 1
        states = dict(await everything(store, "tasks", "ref, state"))
        assert {states[ref] for ref in asked} == {TaskState.COMPLETED}
        told = Counter(ref for ref, event in await everything(store, "notices", "ref, event") if event == _TOLD)
        assert set(told) >= asked
        assert max(told.values()) == 1


_TOLD = NoticeEvent.COMPLETED


async def everything(store: Store, table: str, columns: str) -> list[tuple[str, str]]:
    """All rows of a table."""
    return [tuple(row) for row in await store.tasks._db.fetch_rows(f"SELECT {columns} FROM {table}")]
