"""What an attacker found before its users did: put-back clocks, broken logs, a busy disk at the worst moment."""

import asyncio
import logging
from pathlib import Path

import pytest
from fakes import (
    MINUTE,
    NOW,
    POLICY,
    SLACK,
    Clock,
    FakeProvider,
    FakeSender,
    a_notice,
    a_task,
    busy,
    got,
    impatient,
    notices,
    owe,
    parse,
    put,
    says,
)
from fakes import body as a_body
from living import until
from msgspec.structs import replace
from submit_rig import TAKEN
from sweep_rig import NOTHING, a_sweep

from receiver.client.schemas import NewTask
from receiver.core.errors import Refused, Unavailable
from receiver.core.types import Ending, Event, NoticeState, Policy, Shape, Source, State, Verdict
from receiver.notify.attention import raise_attention
from receiver.notify.dispatch import Notify
from receiver.notify.messages.message import NoLinks
from receiver.store import Store
from receiver.tasks.ingest import Ingest
from receiver.tasks.intake import Intake
from receiver.tasks.submit import Submit
from receiver.telemetry import logs
from receiver.telemetry.metrics import Metrics
from receiver.tokens import Ring

pytestmark = pytest.mark.anyio

DAY = 24 * 60 * MINUTE
TOLD = replace(POLICY, targets=(SLACK,))


def a_submit(store: Store, provider: FakeProvider, clock: Clock) -> Submit:
    return Submit(
        store,
        provider,
        POLICY,
        clock,
        callback_url=lambda ref: f"https://me.example/{ref}",
        key_id="abcd1234",
        concurrency=2,
        metrics=Metrics(),
        luck=lambda: 0.5,
    )


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_put_back_by_a_day_does_not_hold_up_submissions(store: Store, restarted: bool) -> None:
    clock, provider = Clock(), FakeProvider()
    submit = a_submit(store, provider, clock)
    clock.now = NOW + DAY
    assert await submit.claim() is None
    await put(store, a_task(State.QUEUED, due_at=clock() + MINUTE))
    clock.now = NOW
    fresh = a_submit(store, provider, clock) if restarted else submit
    assert await fresh.claim() is not None


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_put_back_by_a_day_does_not_hold_up_polls(store: Store, restarted: bool) -> None:
    clock, provider = Clock(), FakeProvider()
    sweep = a_sweep(store, provider, clock)
    clock.now = NOW + DAY
    first = a_task(poll_at=clock())
    await put(store, first)
    provider.reply = NOTHING
    look = await sweep.claim()
    assert look is not None
    await sweep.carry(look)  # from now on it is to be looked at in a day and some minutes
    clock.now = NOW
    fresh = a_sweep(store, provider, clock) if restarted else sweep
    assert await fresh.claim() is not None


async def test_a_put_back_clock_is_still_minded_when_the_disk_is_busy_at_first(store: Store, tmp_path: Path) -> None:
    clock, provider = Clock(), FakeProvider()
    await impatient(store)
    clock.now = NOW + DAY
    sweep, submit = a_sweep(store, provider, clock), a_submit(store, provider, clock)
    assert [await sweep.claim(), await submit.claim()] == [None, None]
    await put(store, a_task(poll_at=clock() + MINUTE), a_task(State.QUEUED, due_at=clock() + MINUTE))
    clock.now = NOW
    for loop in (sweep, submit):
        with busy(tmp_path / "r.db"), pytest.raises(Unavailable):
            await loop.claim()
        assert await loop.claim() is not None


async def test_the_sweep_leaves_a_task_whose_submission_is_unanswered_to_its_own_loop(store: Store) -> None:
    """Or its lease would be gone, and with it the way out of `submitting`."""
    clock = Clock()
    task = a_task(State.SUBMITTING, poll_at=NOW, lease_until=NOW, hint_step=0)
    await put(store, task)
    assert await a_sweep(store, FakeProvider(), clock).claim() is None
    assert await a_submit(store, FakeProvider(), clock).claim() is None
    after = await got(store, task.ref)
    assert (after.state, after.unsure) == (State.WAITING, True)


async def test_a_ping_is_not_repeated_because_the_disk_was_busy_when_it_had_gone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.tasks.settle.RECORD_GAPS_S", (0.01,) * 1000)
    await impatient(store)
    sender, clock = FakeSender(), Clock()
    notify = Notify(
        store,
        sender,
        TOLD,
        clock,
        schedule_ms=[1000],
        timeout_ms=1000,
        links=NoLinks(),
        metrics=Metrics(),
    )
    await owe(store, a_notice())
    send = await notify.claim()
    assert send is not None

    async def failed() -> str | None:
        return store.fault

    with busy(tmp_path / "r.db"):
        carried = asyncio.create_task(notify.carry(send))
        await until(failed)
    await carried
    assert [it.state for it in await notices(store)] == [NoticeState.SENT]


def test_no_work_fails_for_want_of_a_log(tmp_path: Path) -> None:
    """A log on a pipe that nobody reads, or on a full disk: the line is lost, and nothing else."""

    class Broken:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        flush = write

    broken = Broken()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", broken)
        logs.setup(broken, tty=False)  # type: ignore[arg-type]  # as much of a stream as is needed
        try:
            logging.getLogger("receiver.siege").error("nobody reads this")
        finally:
            root = logging.getLogger()
            root.removeHandler(root.handlers[-1])


def an_ingest(store: Store, policy: Policy = TOLD) -> Ingest:
    return Ingest(store, parse, policy, Clock(), Metrics())


async def test_junk_after_the_end_is_kept_and_calls_for_nobody(store: Store) -> None:
    task = a_task(State.COMPLETED, settled_at=NOW, settled_by=Source.CALLBACK)
    await put(store, task)
    assert await an_ingest(store).receive(task.ref, b"junk", b"{}") is Verdict.UNPARSED
    assert await notices(store) == []


async def test_a_withdrawn_task_that_ends_all_the_same_calls_for_a_person(store: Store) -> None:
    """After a 503 that was in truth taken, its maker withdrew it: it may cost, and there are pictures."""
    task = a_task(State.CANCELLED, settled_by=Source.PERSON)
    await put(store, task)
    ended = a_body(says(Ending.COMPLETED, shape=Shape.TASK))
    assert await an_ingest(store).receive(task.ref, ended, b"{}") is Verdict.CONFLICT
    [told] = await notices(store)
    assert (told.event, told.ref) == (Event.ATTENTION, task.ref)


async def test_attention_for_a_task_is_told_to_those_who_hear_of_it(store: Store) -> None:
    """Where nobody of them does, all are: a person is needed."""
    heroes = replace(SLACK, name="heroes", labels=("hero*",))
    for label, names in (("hero-1", ["heroes", "team"]), ("extra", ["team"])):
        async with store.write() as tx:
            policy = replace(POLICY, targets=(heroes, replace(SLACK, name="team")))
            assert await raise_attention(tx, f"cause-{label}", "look", policy, NOW, a_task(label=label))
        assert sorted(it.target for it in await notices(store) if it.report.label == label) == names
    async with store.write() as tx:
        alone = replace(POLICY, targets=(heroes,))
        assert await raise_attention(tx, "cause", "look", alone, NOW, a_task(label="alone"))
    assert [it.target for it in await notices(store) if it.report.label == "alone"] == ["heroes"]


async def test_an_end_that_a_person_believed_was_not_withdrawn(store: Store) -> None:
    """Nor does another end that contradicts it call for anybody: it was believed by somebody who looked."""
    task = a_task(State.COMPLETED, settled_by=Source.PERSON, settled_at=NOW)
    await put(store, task)
    assert await an_ingest(store).receive(task.ref, a_body(says(Ending.FAILED)), b"{}") is Verdict.CONFLICT
    assert await notices(store) == []


async def test_pictures_after_a_failure_that_nobody_could_confirm_call_for_a_person(store: Store) -> None:
    """They were paid for, and the task will not change by itself any more."""
    task = a_task(State.FAILED, settled_by=Source.CALLBACK, settled_at=NOW, confirmed=False)
    await put(store, task)
    assert await an_ingest(store).receive(task.ref, a_body(says(Ending.COMPLETED)), b"{}") is Verdict.CONFLICT
    [told] = await notices(store)
    assert (told.event, told.report.cause) == (Event.ATTENTION, f"conflict:{task.ref}")
    assert told.report.text is not None
    assert "told as failed" in told.report.text
    assert "says completed" in told.report.text


def an_intake(store: Store, policy: Policy) -> Intake:
    ring, metrics = Ring(["k" * 32]), Metrics()
    return Intake(store, policy, ring, Clock(), metrics, public_url="https://me.example", unreachable=None)


async def test_a_key_whose_task_was_removed_makes_no_other(store: Store) -> None:
    """With `tasks=1d`, within the key's 30 days: another task would be paid for again."""
    asked = NewTask("midjourney_outpaint", {"jobId": "j", "imageNo": 0, "scale": 1.5})
    first, _ = await an_intake(store, POLICY).create(asked, "key")
    await an_intake(store, POLICY).cancel(first.ref)
    async with store.write() as tx:
        await tx.pruning.drop_tasks([first.ref], NOW, 10)
    with pytest.raises(Refused, match=f"made {first.ref}, which RETENTION has removed"):
        await an_intake(store, POLICY).create(asked, "key")
    assert await store.tasks.page() == []


async def test_a_repeated_request_is_the_same_task_whatever_the_settings_say_by_then(store: Store) -> None:
    asked = NewTask("midjourney_outpaint", {"jobId": "j", "imageNo": 0, "scale": 1.5}, targets=("slack",))
    task, _ = await an_intake(store, TOLD).create(asked, "key")
    assert await an_intake(store, POLICY).create(asked, "key") == (task, True)
    with pytest.raises(Refused, match="no target"):
        await an_intake(store, replace(POLICY, targets=())).create(asked, "another")


async def test_an_id_told_of_a_queued_task_keeps_it_from_being_paid_for_again(store: Store) -> None:
    task = a_task(State.QUEUED)
    await put(store, task)
    await an_intake(store, POLICY).tell_id(task.ref, "told-id")
    provider = FakeProvider()
    provider.answers.append(TAKEN)
    assert await a_submit(store, provider, Clock()).claim() is None
    assert (await got(store, task.ref)).state is State.WAITING
