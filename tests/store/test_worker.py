"""The loops: what a fault in one does to all, what stopping waits for, and what wakes them."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import pytest
from anyio import wait_all_tasks_blocked

from kit.fakes import NOW, Clock
from kit.live_service import PATIENCE_S, until
from receiver.core.errors import StoreUnavailable
from receiver.service import worker
from receiver.store import Store, Topic

pytestmark = pytest.mark.anyio


class FakeLoop:
    """A loop over a list: claims what is in `work` (raising what is an exception), carries it with `do`."""

    def __init__(self, topic: Topic = Topic.SWEEP, *, width: int = 2, grace_s: float = 60.0) -> None:
        self.topic = topic
        self.width = width
        self.grace_s = grace_s
        self.work: deque[str | Exception] = deque()
        self.due: int | None = None
        self.claims = 0
        self.idle = asyncio.Event()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.do: Callable[[str], Awaitable[object]] = lambda work: asyncio.sleep(0)

    async def claim(self) -> str | None:
        self.claims += 1
        if not self.work:
            self.idle.set()
            return None
        work = self.work.popleft()
        if isinstance(work, Exception):
            raise work
        return work

    async def carry_out(self, work: str, /) -> None:
        self.begun.append(work)
        await self.do(work)
        self.ended.append(work)

    async def next_due(self) -> int | None:
        return self.due


@pytest.fixture(autouse=True)
async def _nobody_else_wakes(store: Store) -> None:
    """Over PostgreSQL, a store that has just begun to listen wakes every loop once."""

    async def listens() -> bool:
        return store.listening is not False

    await until(listens)


class Running:
    """The loops under way; `stop` ends them as a signal would."""

    def __init__(self, store: Store, *loops: FakeLoop, clock: Clock | None = None) -> None:
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(worker.run_loops(loops, store, clock or Clock(), self._stop))

    async def stop(self) -> None:
        self._stop.set()
        await self.task


async def test_work_is_claimed_until_there_is_none_and_carried(store: Store) -> None:
    loop = FakeLoop()
    loop.work.extend("abc")
    running = Running(store, loop)
    await loop.idle.wait()
    await running.stop()
    assert loop.ended == ["a", "b", "c"]


async def test_no_more_is_carried_at_once_than_the_loop_is_wide(store: Store) -> None:
    loop, gate = FakeLoop(width=2), asyncio.Event()
    loop.do = lambda work: gate.wait()
    loop.work.extend("abcd")
    running = Running(store, loop)
    await wait_all_tasks_blocked()
    assert (loop.begun, list(loop.work)) == (["a", "b"], ["c", "d"])
    gate.set()
    await loop.idle.wait()
    await running.stop()
    assert sorted(loop.ended) == ["a", "b", "c", "d"]


async def test_a_wake_brings_new_work_at_once(store: Store) -> None:
    loop = FakeLoop()
    running = Running(store, loop)
    await loop.idle.wait()
    loop.idle.clear()
    loop.work.append("new")
    store.wake(Topic.SWEEP)
    await loop.idle.wait()
    await running.stop()
    assert loop.ended == ["new"]


async def test_a_wake_during_a_claim_is_not_missed(store: Store) -> None:
    """The count is taken before looking: work that came just after the look is still found."""
    loop = FakeLoop()
    looked = asyncio.Event()

    async def due() -> int | None:
        if not looked.is_set():
            looked.set()
            loop.work.append("just missed")
            loop.idle.clear()
            store.wake(Topic.SWEEP)
        return None

    loop.next_due = due  # type: ignore[method-assign]
    running = Running(store, loop)
    await looked.wait()
    await loop.idle.wait()
    await running.stop()
    assert loop.ended == ["just missed"]


async def test_a_wake_of_another_topic_disturbs_nobody(store: Store) -> None:
    loop = FakeLoop(Topic.SWEEP)
    running = Running(store, loop)
    await loop.idle.wait()
    await wait_all_tasks_blocked()
    looked = loop.claims
    store.wake(Topic.NOTIFY)
    await wait_all_tasks_blocked()
    assert loop.claims == looked
    await running.stop()


async def test_what_comes_due_between_the_two_looks_is_claimed_at_once(store: Store) -> None:
    """After a claim that was a moment too early, what is due is no longer ahead: it would wait for the interval."""

    class Late(FakeLoop):
        async def next_due(self) -> int | None:
            if self.claims == 1:
                self.work.append("came due just now")
            return None

    loop = Late()
    running = Running(store, loop)
    carried = asyncio.Event()

    async def do(work: str) -> None:
        carried.set()

    loop.do = do
    async with asyncio.timeout(worker.INTERVAL_S / 2):
        await carried.wait()
    await running.stop()
    assert loop.ended == ["came due just now"]


async def test_what_is_due_soon_is_claimed_without_a_wake(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "INTERVAL_S", 3600.0)
    loop = FakeLoop()
    loop.due = NOW + 1
    running = Running(store, loop)
    await loop.idle.wait()
    loop.idle.clear()
    await asyncio.wait_for(loop.idle.wait(), PATIENCE_S)
    assert loop.claims >= 2
    loop.due = None
    await running.stop()


async def test_an_unexpected_fault_in_a_claim_stops_everything(store: Store) -> None:
    """A loop that silently died would be worse; the service manager starts us again."""
    broken, healthy = FakeLoop(Topic.NOTIFY), FakeLoop(Topic.SWEEP)
    broken.work.append(KeyError("a bug"))
    running = Running(store, broken, healthy)
    with pytest.raises(ExceptionGroup) as caught:
        await running.task
    assert caught.group_contains(KeyError, match="a bug")


async def test_a_fault_of_the_store_in_a_claim_is_survived(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "FAULT_WAIT_S", 0.0)
    loop = FakeLoop()
    loop.work.extend([StoreUnavailable("the disk is full"), StoreUnavailable("still"), "after all"])
    running = Running(store, loop)
    await loop.idle.wait()
    await running.stop()
    assert loop.ended == ["after all"]


@pytest.mark.parametrize("fault", [StoreUnavailable("the disk is full"), ValueError("a bug")])
async def test_a_fault_in_one_piece_of_work_costs_only_that(store: Store, fault: Exception) -> None:
    """Its lease brings it back."""
    loop = FakeLoop()

    async def do(work: str) -> None:
        if work == "bad":
            raise fault

    loop.do = do
    loop.work.extend(["bad", "good"])
    running = Running(store, loop)
    await loop.idle.wait()
    await running.stop()
    assert loop.ended == ["good"]


async def test_stopping_waits_for_work_under_way_and_claims_no_more(store: Store) -> None:
    loop, gate = FakeLoop(width=1), asyncio.Event()
    loop.do = lambda work: gate.wait()
    loop.work.extend(["under way", "not begun"])
    running = Running(store, loop)
    await wait_all_tasks_blocked()
    stopping = asyncio.create_task(running.stop())
    await wait_all_tasks_blocked()
    assert not stopping.done()
    gate.set()
    await stopping
    assert (loop.ended, list(loop.work)) == (["under way"], ["not begun"])


async def test_work_that_outlives_its_grace_is_cancelled_and_may_tidy_up(store: Store) -> None:
    loop, tidied = FakeLoop(grace_s=0.0), []

    async def do(work: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            tidied.append(work)

    loop.do = do
    loop.work.append("endless")
    running = Running(store, loop)
    await loop.idle.wait()
    await running.stop()
    assert (tidied, loop.ended) == (["endless"], [])


async def test_nothing_is_left_running_after_a_fault(store: Store) -> None:
    before = _running()
    broken, healthy = FakeLoop(Topic.NOTIFY), FakeLoop(Topic.SWEEP)
    running = Running(store, broken, healthy)
    await healthy.idle.wait()
    await wait_all_tasks_blocked()
    broken.work.append(KeyError("a bug"))
    store.wake(Topic.NOTIFY)
    with pytest.raises(ExceptionGroup):
        await running.task
    await wait_all_tasks_blocked()
    assert _running() == before


def _running() -> set[asyncio.Task[None]]:
    """The tasks there are, but for a wake-up on its way to other processes."""
    return {it for it in asyncio.all_tasks() if it.get_name() != "announce"}
