"""Notices out to a target that refuses them: no answer is final at once, and one bad message holds up no other."""

import pytest
from msgspec.structs import replace

from kit.fakes import HOUR, MAIL, NOW, SECOND, SLACK, Clock, FakeSender, attention, notices, owe
from kit.notify_loop import DOWN, PICKY, REFUSED, SCHEDULE, a_notify, all_that_may_go, some, states
from receiver.core import pacing
from receiver.core.types import AttemptResult, Notice, NoticeEvent, NoticeState, Target
from receiver.notify.messages.message import Message
from receiver.store import Store

pytestmark = pytest.mark.anyio


class ChoosySender(FakeSender):
    """Refuses the messages about tasks whose label is "bad"."""

    def __init__(self, refusal: AttemptResult) -> None:
        super().__init__()
        self.refusal = refusal

    async def send(self, target: Target, message: Message) -> AttemptResult:
        sent = await super().send(target, message)
        return self.refusal if "bad" in message.title and target.name == "slack" else sent


def labelled(label: str, count: int, at: int = NOW) -> list[Notice]:
    return [replace(it, report=replace(it.report, label=label)) for it in some(count, at=at)]


async def unsent(store: Store, label: str) -> list[Notice]:
    found = await notices(store, event=NoticeEvent.COMPLETED)
    return [it for it in found if it.report.label == label and it.state is not NoticeState.SENT]


async def told(store: Store) -> list[str]:
    return [it.report.text or "" for it in await notices(store, event=NoticeEvent.ATTENTION)]


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_a_refusal_of_ten_seconds_loses_nothing(
    store: Store, sender: FakeSender, clock: Clock, count: int
) -> None:
    """A proxy answers 404 while the service behind it is deployed."""
    notify = a_notify(store, sender, clock, SLACK, MAIL)
    await owe(store, *some(count))
    sender.results.extend([REFUSED] * 2)  # the second: of the same, or of the next
    await all_that_may_go(notify)
    for gap in SCHEDULE[:2]:
        clock.forward(gap)
        await all_that_may_go(notify)
    assert {it.state for it in await notices(store, event=NoticeEvent.COMPLETED)} == {NoticeState.SENT}


async def test_what_looks_final_is_told_at_once_and_tried_by_the_schedule(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    notify = a_notify(store, sender, clock, SLACK, MAIL)
    await owe(store, *some(1))
    for tries, gap in enumerate(SCHEDULE, start=1):
        sender.results.append(REFUSED)
        assert await all_that_may_go(notify) == ([1, 1] if tries == 1 else [1]), "and mail is told"
        [notice] = await notices(store, event=NoticeEvent.COMPLETED)
        assert (notice.state, notice.attempts, notice.due_at) == (NoticeState.DUE, tries, clock() + gap)
        clock.forward(gap)
    [text] = await told(store)
    assert text.startswith(
        "slack refuses our messages: error=404. What the target's URL names does not exist (any more): check the URL. "
        "Nothing is lost: they are tried again"
    )
    sender.results.append(REFUSED)
    await all_that_may_go(notify)
    [notice] = await notices(store, event=NoticeEvent.COMPLETED)
    assert (notice.state, notice.attempts) == (NoticeState.DEAD, len(SCHEDULE) + 1)
    assert "could not be delivered" in (await told(store))[-1]


async def test_a_target_that_refuses_everything_rests_as_any_other(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    for refusal in (REFUSED, PICKY):
        notify = a_notify(store, sender, clock, SLACK)
        await owe(store, *some(20, at=clock()))
        sender.results.extend([refusal] * 3)
        assert await all_that_may_go(notify) == [1, 1, 1]
        clock.forward(SCHEDULE[0])
        sender.results.append(refusal)
        assert len(await all_that_may_go(notify)) >= 1
        clock.forward(HOUR)
        await all_that_may_go(notify)
        assert set(await states(store)) == {"sent"}


async def test_a_target_that_refuses_everything_is_not_hammered(store: Store, clock: Clock) -> None:
    """Whatever it answers: between two rests there is what was refused, and one that is new."""
    for refusal in (REFUSED, PICKY):
        sender = ChoosySender(refusal)
        notify = a_notify(store, sender, clock, SLACK)
        await owe(store, *labelled("bad", 200, at=clock()))
        await all_that_may_go(notify)
        before = len(sender.sent)
        for _ in range(60):
            clock.forward(10 * SECOND)
            await all_that_may_go(notify)
        assert len(sender.sent) - before < 130
        sender.refusal = AttemptResult()
        clock.forward(HOUR)
        await all_that_may_go(notify)
        assert set(await states(store)) == {"sent"}


async def test_one_message_that_is_refused_for_what_it_holds_makes_nothing_wait(store: Store, clock: Clock) -> None:
    sender = ChoosySender(PICKY)
    notify = a_notify(store, sender, clock, SLACK, MAIL)
    await owe(store, *labelled("bad", 1))
    for gap in (0, *SCHEDULE):
        clock.forward(gap)
        await all_that_may_go(notify)
        await owe(store, *labelled("good", 1, at=clock()))
        assert await all_that_may_go(notify) == [1]
    [bad] = await unsent(store, "bad")
    assert (bad.state, bad.attempts) == (NoticeState.DEAD, len(SCHEDULE) + 1)
    assert await attention(store) == ["message-refused:slack", "target:slack"], "at its third failure, and at the end"
    assert "slack refuses a message again and again: error=422: a forbidden word" in (await told(store))[0]


@pytest.mark.parametrize("refusal", [PICKY, REFUSED], ids=lambda it: it.error)
async def test_many_that_are_refused_hold_up_the_others_for_no_hours(
    store: Store, clock: Clock, refusal: AttemptResult
) -> None:
    """A firewall before the target may answer 403 to what looks bad, too."""
    sender = ChoosySender(refusal)
    notify = a_notify(store, sender, clock, SLACK)
    await owe(store, *labelled("bad", 20), *labelled("good", 20, at=NOW + 1))
    waited = 0
    while await unsent(store, "good"):
        await all_that_may_go(notify)
        clock.forward(5 * SECOND)
        waited += 5 * SECOND
    assert waited <= HOUR
    for _ in range(40):  # from then on nothing new waits for longer than a rest
        clock.forward(60 * SECOND)
        await owe(store, *labelled("good", 1, at=clock()))
        await all_that_may_go(notify)
        assert all(clock() - it.created_at < pacing.REST_MOST for it in await unsent(store, "good"))


async def test_what_failed_for_another_reason_still_probes_the_target(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    """What hangs may have arrived: better one that comes twice than many."""
    notify = a_notify(store, sender, clock, SLACK)
    await owe(store, *some(5))
    sender.results.extend([DOWN] * 6)
    await all_that_may_go(notify)
    for gap in SCHEDULE[:3]:
        clock.forward(gap)
        await all_that_may_go(notify)
    assert [it.attempts for it in await notices(store)] == [2, 2, 2, 0, 0]
